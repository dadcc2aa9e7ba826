"""A bundle is asked with NumPy, OpenCV or Pillow, and one runtime: nothing else is installed there."""

import json
import subprocess
import sys
from importlib import metadata

import numpy as np
import pytest
from bare_venv import SOURCE, make_bare_venv
from small_bundles import coloured, encoded

from hornbeam.deployment import Predictor

LITERT = ("ai-edge-litert", "backports.strenum", "flatbuffers", "ml_dtypes", "protobuf", "tqdm",
          "typing_extensions")  # fmt: skip
ONNX = ("onnxruntime", "flatbuffers", "packaging", "protobuf")
OPENVINO = ("openvino", "openvino-telemetry")
COMMAND = ("pydantic", "pydantic_core", "annotated-types", "typing-inspection", "typing_extensions",
           "rich", "markdown-it-py", "mdurl", "pygments")  # fmt: skip
"""What the command line needs beside."""

ABSENT = ("keras", "tensorflow", "jax", "pyarrow", "scipy", "sklearn", "yaml", "fsspec", "h5py")

SCRIPT = """
import importlib.util, json, sys
absent, bundle, format, pictures = json.loads(sys.argv[1])
there = [name for name in absent if importlib.util.find_spec(name)]
assert not there, there
from hornbeam.deployment import Predictor
with Predictor(bundle, format=format, threads=2, batch_size=8) as predictor:
    for answer in predictor.stream(pictures):
        print(json.dumps([answer.error, {n: v.tolist() for n, v in answer.probabilities.items()}]))
"""


@pytest.fixture
def many(tmp_path):
    """JPEG and PNG, larger than the network's, enough for batches."""
    paths = []
    for number, pixels in enumerate(coloured(20, side=150)):
        kind = ("JPEG", "PNG")[number % 2]
        paths.append(str(tmp_path / f"{number}.{kind.lower()}"))
        (tmp_path / paths[-1]).write_bytes(encoded(pixels, kind))
    return paths


@pytest.mark.parametrize(
    ("pictures_by", "runtime", "format"),
    [
        ("opencv-python-headless", LITERT, "litert"),
        ("pillow", LITERT, "litert"),
        ("opencv-python-headless", ONNX, "onnx"),
        ("pillow", ONNX, "onnx"),
        ("opencv-python-headless", OPENVINO, "openvino"),
    ],
)
def test_a_bundle_answers_in_a_bare_environment_as_here(
    trees, many, tmp_path, pictures_by, runtime, format
):
    python = make_bare_venv(tmp_path / "venv", "numpy", pictures_by, *runtime)
    other = "PIL" if pictures_by.startswith("opencv") else "cv2"
    absent = (*ABSENT, "pydantic", "rich", other)
    found = _ask(python, absent, trees, format, many)
    expected = [
        answer.probabilities["label"] for answer in Predictor(trees, format=format).stream(many)
    ]
    assert [error for error, _ in found] == [None] * len(many)
    tolerance = 1e-5 if other == "PIL" else 0.02
    np.testing.assert_allclose([p["label"] for _, p in found], expected, atol=tolerance)


def test_the_command_needs_pydantic_and_rich_beside(trees, many, tmp_path):
    python = make_bare_venv(
        tmp_path / "venv", "numpy", "opencv-python-headless", *{*LITERT, *COMMAND}
    )
    command = [python, "-I", "-m", "hornbeam", "predict", trees, *many, "--out"]
    for out in (tmp_path / "a.csv", tmp_path / "a.jsonl"):
        done = subprocess.run(
            [*command, out], capture_output=True, text=True, timeout=600, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert len(out.read_text().splitlines()) >= len(many)


@pytest.mark.slow
def test_pip_installs_what_is_needed_and_no_more(trees, many, tmp_path):
    """As a user does it: the named packages with whatever they require."""
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", venv], check=True, timeout=120)
    python = venv / "bin" / "python"
    names = [
        f"{name}=={metadata.version(name)}"
        for name in ("numpy", "opencv-python-headless", LITERT[0])
    ]
    subprocess.run(
        [python, "-m", "pip", "install", "-q", *names], check=True, timeout=500, capture_output=True
    )
    (packages,) = (venv / "lib").glob("python*/site-packages")
    (packages / "hornbeam.pth").write_text(f"{SOURCE}\n")
    found = _ask(python, (*ABSENT, "pydantic", "PIL"), trees, "litert", many)
    expected = [answer.probabilities["label"] for answer in Predictor(trees).stream(many)]
    np.testing.assert_allclose([p["label"] for _, p in found], expected, atol=1e-5)


def _ask(python, absent, bundle, format, pictures):
    arguments = json.dumps([absent, str(bundle), format, pictures])
    done = subprocess.run(
        [python, "-I", "-c", SCRIPT, arguments],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]
