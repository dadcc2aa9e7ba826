"""Without an Edge TPU its integers are asked on the CPU, and nobody claims more than that."""

import numpy as np
import pytest

from hornbeam.data.tasks import Task
from hornbeam.deployment.bundle.manifest import Artifact, Manifest
from hornbeam.deployment.contract import checking
from hornbeam.deployment.contract.agreement import HeldOut
from hornbeam.deployment.contract.pictures import Prepared
from hornbeam.deployment.contract.structure import COMPILED
from hornbeam.deployment.conversion.job import Converted
from hornbeam.errors import BundleError

ABOUT = Manifest(
    "n", "t", (8, 8, 3), "crop", 1, None, (), (Task("kind", ("a", "b")),), {}, {}, None, {}, {}, {}
)
PICTURES = Prepared(np.zeros((40, 8, 8, 3), np.uint8), None)
ANSWERS = np.tile(np.array([[0.9, 0.1]]), (40, 1))
HELD_OUT = HeldOut({"kind": ANSWERS}, {"kind": np.zeros(40, int)})


class Answering:
    """Stands in for a runtime; answers always the same."""

    def __init__(self, answer):
        self.answer = answer

    def run(self, image, features=None):
        return {"kind": np.tile(np.float32(self.answer), (len(image), 1))}

    def close(self):
        pass


@pytest.fixture
def asked(monkeypatch, tmp_path):
    """Which files are opened; no device is there, and the answers can be set."""
    said = {"files": [], "answer": (0.89, 0.11)}

    def open_runtime(directory, artifact, threads, trust=False):
        said["files"].append((artifact.format, artifact.file))
        if artifact.format == "edgetpu":
            raise BundleError(f"{directory / artifact.file} needs an Edge TPU")
        return Answering(said["answer"])

    monkeypatch.setattr(checking, "faults", lambda *given: [])
    monkeypatch.setattr(checking, "open_runtime", open_runtime)
    (tmp_path / "model-edgetpu.tflite").write_bytes(b"..." + COMPILED)
    (tmp_path / "to-compile.tflite").write_bytes(b"...")
    return said


def check(folder):
    artifact = Artifact("edgetpu", "model-edgetpu.tflite", 0, "", {}, {})
    return checking.check(folder, artifact, ABOUT, HELD_OUT, PICTURES, PICTURES.part(0, 1), 1)


def test_what_was_not_asked_on_its_device_has_not_passed(asked, tmp_path):
    found = check(tmp_path)
    assert asked["files"][-1] == ("litert-int8", "to-compile.tflite")
    assert found.sentence is None
    assert found.golden is None  # it is not what the device says
    assert found.contract["passed"] is None
    assert found.contract["outputs"]["kind"]["first_answer_equal"] == 1
    assert found.contract["outputs"]["kind"]["largest_difference"] == pytest.approx(0.01, abs=1e-6)
    assert "milliseconds" not in found.contract
    assert "to-compile.tflite, the same integers, on the CPU" in found.contract["not_asked"]
    assert str(tmp_path) not in found.contract["not_asked"]


def test_integers_that_answer_otherwise_fail_without_the_device(asked, tmp_path):
    asked["answer"] = (0.2, 0.8)
    found = check(tmp_path)
    assert found.contract["passed"] is False
    assert "0 % of the first answers" not in found.sentence  # int8 has no bound for all answers
    assert "are where its margin exceeds 0.1" in found.sentence


def test_what_is_still_to_be_compiled_is_asked_too(asked, tmp_path):
    made = Converted("edgetpu", "", {}, {}, left_to_do="Compile it.")
    found = checking.check_uncompiled(
        tmp_path, made, ABOUT, HELD_OUT, PICTURES, PICTURES.part(0, 1), 1
    )
    assert asked["files"] == [("litert-int8", "to-compile.tflite")]
    assert found.contract["passed"] is None
    assert checking.in_words(found) == (
        "Of 40 held-out pictures, 100.0 % of the first answers are the model's, and no probability "
        "differs by more than 0.01."
    )
