"""`hornbeam export`: artifacts in a bundle, each proved; what fails is kept aside, what was there stays."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from hornbeam.config import ExportOptions
from hornbeam.data.dataset import Dataset
from hornbeam.data.loader import Loader
from hornbeam.data.tasks import Task
from hornbeam.deployment import Predictor
from hornbeam.deployment.bundle.manifest import FORMATS as FILES
from hornbeam.deployment.bundle.manifest import Manifest
from hornbeam.deployment.bundle.verifying import files_of, verify_artifact
from hornbeam.deployment.conversion.job import Converted
from hornbeam.errors import DataError
from hornbeam.evaluation.trust.safeguards import Safeguards
from hornbeam.runs import Run
from hornbeam.workflow import export_pictures, exporting

FORMATS = ("keras", "litert", "onnx")


@pytest.fixture(scope="module")
def whole(hornbeam, trained, tmp_path_factory):
    """A bundle with three formats and five golden pictures."""
    out = tmp_path_factory.mktemp("whole") / "shapes"
    done = hornbeam("export", trained, "--format", ",".join(FORMATS), "--golden", 5, "--out", out)
    assert done.code == 0, done.err
    return out, done


@pytest.fixture
def quick(whole, monkeypatch):
    """Conversions that copy what was converted once; `quick.damage[format]` is done to the file."""
    manifest = Manifest.load(whole[0])

    class Quick:
        damage = {}  # noqa: RUF012 - one for each test
        jobs = []  # noqa: RUF012

    def convert(job):
        Quick.jobs.append(job)
        said = {}
        for name in job.formats:
            artifact = manifest.artifacts.get(name, manifest.artifacts["litert"])
            path = Path(job.out, FILES[name])
            shutil.copy(whole[0] / artifact.file, path)
            outcome = Quick.damage.get(name, lambda path: None)(path)
            if isinstance(outcome, Converted):
                said[name] = outcome
                continue
            error = outcome if isinstance(outcome, str) else None
            said[name] = Converted(
                name, path.name, artifact.inputs, artifact.outputs, artifact.notes, error=error
            )
        return said

    monkeypatch.setattr(exporting, "convert", convert)
    Quick.damage, Quick.jobs = {}, []
    return Quick


def bundle_of(out):
    return json.loads((out / "bundle.json").read_text())


def files_below(out):
    return {p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()}


def flip_weights(path):
    """Turn over bits of the middle half of a file, where weights are: signs, and factors of two."""
    content = np.frombuffer(path.read_bytes(), np.uint8).copy()
    content[len(content) // 4 : -len(content) // 4] ^= 0x80
    path.write_bytes(content.tobytes())


def last(done):
    """Return the error, which follows the warnings."""
    return done.err.splitlines()[-1]


def test_a_bundle_has_all_that_was_promised(whole, trained):
    out, done = whole
    run, bundle = Run.open(trained), bundle_of(out)
    assert {name.rpartition(".")[0] if "golden" in name else name for name in files_below(out)} == {
        "bundle.json", "model.keras", "model.tflite", "model.onnx",
        *(f"golden/00{i}" for i in range(5)),
    }  # fmt: skip
    pictures = len(run.dataset().only("validation"))
    for name in FORMATS:
        contract = bundle["artifacts"][name]["contract"]
        assert contract["passed"]
        assert contract["pictures"] == pictures
        assert contract["milliseconds"] > 0
        numbers = contract["outputs"]["label"]
        assert numbers["first_answer_equal"] == 1
        assert numbers["largest_difference"] < 1e-4
        accuracy = numbers["accuracy"]
        assert accuracy["low"] <= accuracy["change"] == 0 <= accuracy["high"]
        assert accuracy["model"] == accuracy["artifact"]
        line = next(line for line in done.out.splitlines() if line.startswith(name))
        assert "as the model" in line
        verify_artifact(out, Manifest.load(out).artifacts[name])
    assert "Fewer than 500 pictures prove less" in done.err
    assert "5 held-out pictures go with the bundle" in done.out
    assert set(bundle["fingerprints"]) == {"model", "answers", "pictures"}
    assert {"hornbeam", "keras", "onnx", "ai-edge-litert"} <= set(bundle["versions"])
    safeguards = Safeguards.load(trained)
    assert bundle["unknown"]["above"] == safeguards.unknown.threshold
    assert bundle["calibration"]["label"]["scale"] == list(safeguards.scalings["label"].scale)


def test_golden_pictures_are_held_out_ones_of_several_classes_with_the_models_answers(
    whole, trained
):
    out, run = whole[0], Run.open(trained)
    held_out = run.dataset().only("validation")
    contents = {held_out.read(row): row for row in range(len(held_out))}
    golden = Manifest.load(out).golden
    rows = [contents[(out / each.file).read_bytes()] for each in golden]
    labels = held_out.labels(run.tasks()[0])[rows]
    assert len(set(labels.tolist())) == min(5, len(set(held_out.labels(run.tasks()[0]).tolist())))
    batch = Loader(held_out.take(rows), batch_size=5, image_size=run.image_size()).batch(0)
    logits = np.asarray(run.load_model().predict_on_batch(batch.images)["label"])
    scaled = Safeguards.load(trained).scalings["label"].apply(logits)
    expected = np.exp(scaled) / np.exp(scaled).sum(axis=1, keepdims=True)
    np.testing.assert_allclose([g.expected["label"] for g in golden], expected, atol=1e-5)
    for name in FORMATS:
        said = [each.answers[name]["label"] for each in golden]
        np.testing.assert_allclose(said, expected, atol=1e-4)


@pytest.mark.parametrize("format", FORMATS)
def test_whoever_asks_the_archive_by_bytes_gets_what_the_contract_was_about(
    format, whole, tmp_path, monkeypatch
):
    """What the loader prepared for the contract, and what the predictor prepares, are one."""
    out = whole[0]
    monkeypatch.setenv("HORNBEAM_CACHE", str(tmp_path))
    with Predictor(out.with_name("shapes.zip"), format=format) as predictor:
        answers = predictor.predict([out / each.file for each in predictor.manifest.golden])
        for answer, golden in zip(answers, predictor.manifest.golden, strict=True):
            np.testing.assert_allclose(
                answer.probabilities["label"], golden.answers[format]["label"], atol=1e-6
            )
            np.testing.assert_allclose(
                answer.unknown_score, golden.answers[format]["unknown"][0], atol=1e-5
            )


@pytest.mark.parametrize("victim", ["litert", "onnx"])
def test_a_damaged_artifact_is_kept_aside_and_the_others_are_kept(
    victim, quick, hornbeam_here, trained, tmp_path
):
    quick.damage[victim] = flip_weights
    out = tmp_path / "out"
    done = hornbeam_here("export", trained, "--format", "keras,litert,onnx", "--out", out)
    assert done.code == 3
    assert f"'{victim}': no artifact that answers as the model did; " in last(done)
    file = Manifest.load(out).failed and {"litert": "model.tflite", "onnx": "model.onnx"}[victim]
    assert f"kept as {out / file}.failed" in done.err
    assert (out / f"{file}.failed").is_file()
    assert not (out / file).exists()
    rest = {"keras", "litert", "onnx"} - {victim}
    bundle = bundle_of(out)
    assert set(bundle["artifacts"]) == rest
    assert set(bundle["failed"]) == {victim}
    assert bundle["failed"][victim]["failures"]
    assert not bundle["failed"][victim]["passed"]
    assert all(set(each["answers"]) == rest for each in bundle["golden"])
    with zipfile.ZipFile(out.with_name("out.zip")) as archive:
        assert not [name for name in archive.namelist() if "failed" in name]
    Predictor(out)


def poisoned(path):
    """Make all biases of the last layer NaN."""
    import onnx
    from onnx import numpy_helper

    model = onnx.load(path)
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.shape == (6,):
            tensor.CopyFrom(numpy_helper.from_array(values * np.float32("nan"), tensor.name))
    onnx.save(model, path)


def with_another_input(path):
    import onnx

    model = onnx.load(path)
    tensor = onnx.helper.make_tensor_value_info("mean", onnx.TensorProto.FLOAT, [3])
    model.graph.input.append(tensor)
    onnx.save(model, path)


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (poisoned, "answers to 9 of 9 are no finite numbers"),
        (with_another_input, "its graph has 2 inputs; expected 1"),
        (lambda path: path.write_bytes(b"no model"), "its file cannot be read"),
        (lambda path: "ValueError: such a layer is unknown", "it cannot be made: ValueError: such a"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told(damage, sentence, quick, hornbeam_here, trained, tmp_path):
    quick.damage["onnx"] = damage
    out = tmp_path / "out"
    done = hornbeam_here(
        "export", trained, "--format", "litert,onnx", "--out", out, "--contract-pictures", 9
    )
    assert done.code == 3
    assert f"onnx: {sentence}" in done.err
    assert set(bundle_of(out)["artifacts"]) == {"litert"}


def test_float_operators_in_an_int8_file_must_be_named(quick, hornbeam_here, trained, tmp_path):
    out = tmp_path / "out"
    done = hornbeam_here("export", trained, "--format", "litert-int8", "--out", out)
    assert done.code == 3
    assert "are left in float, and no note says so" in done.err
    assert "CONV_2D" in done.err


def test_formats_are_added_to_a_bundle_of_the_same_model(quick, hornbeam_here, trained, tmp_path):
    out = tmp_path / "out"
    assert hornbeam_here("export", trained, "--out", out, "--golden", 3).code == 0
    first = bundle_of(out)
    done = hornbeam_here("export", trained, "--format", "onnx", "--out", out, "--golden", 6)
    assert done.code == 0, done.err
    both = bundle_of(out)
    assert both["artifacts"]["litert"] == first["artifacts"]["litert"]
    assert set(both["artifacts"]) == {"litert", "onnx"}
    assert [g["file"] for g in both["golden"]] == [g["file"] for g in first["golden"]]
    for golden in both["golden"]:
        assert set(golden["answers"]) == {"litert", "onnx"}
    for name in ("litert", "onnx"):
        Predictor(out, format=name)
    with zipfile.ZipFile(out.with_name("out.zip")) as archive:
        assert {"out/model.tflite", "out/model.onnx"} <= set(archive.namelist())


def test_formats_that_are_there_and_other_models_are_refused_without_overwrite(
    quick, hornbeam_here, trained, tmp_path
):
    out, other = tmp_path / "out", tmp_path / "other"
    assert hornbeam_here("export", trained, "--out", out, "--format", "keras,litert").code == 0
    before = {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}
    done = hornbeam_here("export", trained, "--out", out, "--format", "litert,onnx")
    assert done.code == 2
    assert "has litert already; choose another --out, or pass --overwrite" in done.sentence
    shutil.copytree(trained, other, symlinks=True)
    safeguards = Safeguards.load(other)
    unknown = dataclasses.replace(safeguards.unknown, threshold=safeguards.unknown.threshold + 0.5)
    dataclasses.replace(safeguards, unknown=unknown).save(other)
    done = hornbeam_here("export", other, "--out", out, "--format", "onnx")
    assert done.code == 2
    assert "is of another model" in last(done)
    assert {p: p.read_bytes() for p in out.rglob("*") if p.is_file()} == before
    done = hornbeam_here("export", other, "--out", out, "--format", "onnx", "--overwrite")
    assert done.code == 0, done.err
    assert set(bundle_of(out)["artifacts"]) == {"onnx"}
    assert not (out / "model.keras").exists()


def test_without_golden_pictures_none_leave_the_house(quick, hornbeam_here, trained, tmp_path):
    out = tmp_path / "out"
    done = hornbeam_here("export", trained, "--out", out, "--golden", 0, "--no-zip")
    assert done.code == 0, done.err
    assert files_below(out) == {"bundle.json", "model.tflite"}
    assert "held-out pictures go with" not in done.out
    assert not out.with_name("out.zip").exists()


def test_where_all_fails_an_earlier_bundle_stays(quick, hornbeam_here, trained, tmp_path):
    out = tmp_path / "out"
    assert hornbeam_here("export", trained, "--out", out).code == 0
    before = {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}
    quick.damage["litert"] = flip_weights
    done = hornbeam_here("export", trained, "--out", out, "--overwrite")
    assert done.code == 3
    after = {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}
    assert after.pop(out / "model.tflite.failed") != before[out / "model.tflite"]
    assert after == before


@pytest.mark.parametrize(
    "there",
    [lambda out: (out.mkdir(), (out / "holiday.jpg").write_bytes(b"x")), lambda out: out.write_bytes(b"x")],
)  # fmt: skip
def test_what_is_no_bundle_is_never_replaced(there, quick, hornbeam_here, trained, tmp_path):
    out = tmp_path / "out"
    there(out)
    done = hornbeam_here("export", trained, "--out", out, "--overwrite")
    assert done.code == 2
    assert "there is something that is no bundle" in done.sentence
    assert out.is_file() or (out / "holiday.jpg").is_file()


def test_an_archive_that_is_no_bundle_is_never_replaced(quick, hornbeam_here, trained, tmp_path):
    with zipfile.ZipFile(tmp_path / "out.zip", "w") as archive:
        archive.writestr("holiday.jpg", b"x")
    content = (tmp_path / "out.zip").read_bytes()
    done = hornbeam_here("export", trained, "--out", tmp_path / "out", "--overwrite")
    assert done.code == 2
    assert "out.zip is there already and is no bundle" in done.sentence
    assert hornbeam_here("export", trained, "--out", tmp_path / "out", "--no-zip").code == 0
    assert (tmp_path / "out.zip").read_bytes() == content


def test_calibration_pictures_are_training_pictures_and_no_copies_of_held_out_ones(
    quick, hornbeam_here, trained, tmp_path, monkeypatch
):
    seen = []
    prepare = export_pictures.prepare

    def watch(dataset, path, **options):
        seen.append(dataset)
        return prepare(dataset, path, **options)

    monkeypatch.setattr(export_pictures, "prepare", watch)
    hornbeam_here(
        "export", trained, "--format", "onnx-int8", "--out", tmp_path / "out",
        "--calibration-pictures", 20,
    )  # fmt: skip
    judged, calibration, selection = seen
    assert judged.splits == ("validation",)
    assert calibration.splits == selection.splits == ("train",)
    assert (len(calibration), len(selection)) == (20, 20)
    assert not set(calibration.paths) & set(selection.paths)
    task = Run.open(trained).tasks()[0]
    assert set(np.bincount(calibration.labels(task), minlength=6).tolist()) <= {3, 4}


def test_copies_of_held_out_pictures_do_not_calibrate():
    task = Task("kind", ("a",))
    labels = {task: pa.array([0, 0, 0], pa.int32())}
    pictures = Dataset.from_columns("/", ["a", "b", "c"], ["train", "train", "test"], labels)
    pictures = pictures.with_column("digest", ["1", "2", "1"])
    left = export_pictures._apart_from(pictures, pictures.only("test"))
    assert left.paths == ["b"]


def test_a_killed_export_loses_nothing(whole, trained, tmp_path, converting):
    out = tmp_path / "out"
    shutil.copytree(whole[0], out)
    before = {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}
    for _ in range(2):
        process, child = converting(trained, "--out", out, "--overwrite")
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        os.kill(child, signal.SIGCONT)
        assert gone(child)
        assert {p: p.read_bytes() for p in out.rglob("*") if p.is_file()} == before
    Predictor(out)


@pytest.fixture
def converting(tmp_path_factory):
    """Start `hornbeam export …`; return it, and the process that converts, stopped before its first line.

    So there is time for whatever a test does meanwhile, on every machine.
    """
    site = tmp_path_factory.mktemp("site")
    (site / "sitecustomize.py").write_text(
        "import os, signal, sys\n"
        'if "hornbeam.deployment.conversion.child" in sys.orig_argv:\n'
        "    os.kill(os.getpid(), signal.SIGSTOP)\n"
    )
    path = os.pathsep.join(filter(None, (str(site), os.environ.get("PYTHONPATH"))))
    started = []

    def start(*words, **environment):
        process = subprocess.Popen(
            [sys.executable, "-m", "hornbeam", "export", *map(str, words)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
            env={**os.environ, "KERAS_BACKEND": "tensorflow", "PYTHONPATH": path, **environment},
        )  # fmt: skip
        started.append(process)
        for line in process.stdout:
            if line.startswith("Converting"):
                break
        return process, stopped_child_of(process.pid)

    yield start
    for process in started:
        process.kill()
        process.communicate()


def stopped_child_of(pid):
    """Return the number of the only child, once there is one that is stopped."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        done = subprocess.run(
            ["ps", "-o", "pid=,state=", "--ppid", str(pid)], capture_output=True, text=True
        )
        if done.stdout.split()[1:] == ["T"]:
            return int(done.stdout.split()[0])
        time.sleep(0.05)
    raise AssertionError(f"there is no child that is stopped: {done.stdout}")


def test_a_bundle_that_was_moved_when_the_export_was_killed_comes_back(
    quick, whole, hornbeam_here, trained, tmp_path
):
    out = tmp_path / "out"
    shutil.copytree(whole[0], tmp_path / ".earlier-out")
    done = hornbeam_here("export", trained, "--out", out, "--format", "litert")
    assert done.code == 2
    assert "has litert already" in done.sentence
    assert files_below(out) == files_below(whole[0])


def test_an_earlier_bundle_that_was_changed_is_not_carried_on(
    quick, hornbeam_here, trained, tmp_path
):
    out = tmp_path / "out"
    assert hornbeam_here("export", trained, "--out", out).code == 0
    artifact = Manifest.load(out).artifacts["litert"]
    flip_weights(files_of(out, artifact)[0])
    done = hornbeam_here("export", trained, "--out", out, "--format", "onnx")
    assert done.code == 1
    assert "is not the file that the bundle was made with" in last(done)
    assert set(bundle_of(out)["artifacts"]) == {"litert"}


@pytest.mark.slow
def test_a_model_trained_on_jax_is_exported(hornbeam, shapes, tmp_path):
    run, out = tmp_path / "run", tmp_path / "out"
    words = ("--epochs", 1, "--batch-size", 8, "--image-size", 32)
    assert hornbeam("train", shapes, "--run", run, *words, backend="jax").code == 0
    done = hornbeam("export", run, "--format", "litert,onnx", "--out", out, backend="jax")
    assert done.code == 0, done.err
    bundle = bundle_of(out)
    for name in ("litert", "onnx"):
        assert bundle["artifacts"][name]["contract"]["outputs"]["label"]["first_answer_equal"] == 1


def test_a_test_split_judges_where_there_is_one(quick, hornbeam_here, trained):
    pictures = Run.open(trained).dataset()
    assert export_pictures.choose_split(pictures, "auto").splits == ("validation",)
    done = hornbeam_here("export", trained, "--out", "nowhere", "--split", "test")
    assert done.code == 1
    assert "has no 'test' split" in done.sentence
    assert not Path("nowhere").exists()


@pytest.mark.slow
def test_a_preprocess_that_depends_on_chance_is_refused(hornbeam, shapes, tmp_path):
    recipe, run = tmp_path / "recipe.py", tmp_path / "run"
    recipe.write_text("def preprocess(image, training, rng):\n    return image[:, ::2]\n")
    words = ("--epochs", 1, "--batch-size", 8, "--image-size", 32, "--recipe", recipe)
    assert hornbeam("train", shapes, "--run", run, *words).code == 0
    done = hornbeam("export", run, "--out", tmp_path / "out")
    assert done.code == 0, done.err
    assert (tmp_path / "out" / "recipe.py").read_bytes() == recipe.read_bytes()
    assert bundle_of(tmp_path / "out")["preprocess"] == "recipe.py"
    Predictor(tmp_path / "out", trust=True)
    (run / "recipe.py").write_text(
        "import os\n"
        "import numpy as np\n"
        "def preprocess(image, training, rng):\n"
        "    return np.full_like(image, os.urandom(1)[0]) ^ image\n"
    )
    done = hornbeam("export", run, "--out", tmp_path / "other")
    assert done.code == 3
    assert "must not depend on chance" in last(done)
    assert not (tmp_path / "other").exists()


def left_to_do(quick, name="edgetpu"):
    """Let a format be one that the user has to finish."""

    def outcome(path):
        path.unlink()
        path.with_name("to-compile.tflite").write_bytes(b"integers")
        return Converted(name, "", {}, {}, ("It fits.",), left_to_do="Compile to-compile.tflite.")

    quick.damage[name] = outcome


def test_what_is_to_be_compiled_is_kept_alone_in_a_bundle_and_over_one(
    quick, hornbeam_here, trained, tmp_path
):
    left_to_do(quick)
    out = tmp_path / "out"
    for words in ((), ("--overwrite",)):
        done = hornbeam_here("export", trained, "--format", "edgetpu", "--out", out, *words)
        assert done.code == 0, done.err
        assert "edgetpu: Compile to-compile.tflite." in done.out
        assert f"What edgetpu needs is in {out}; nothing can be asked yet." in done.out
        assert (out / "to-compile.tflite").read_bytes() == b"integers"
        assert Manifest.load(out).left_to_do == {
            "edgetpu": ("Compile to-compile.tflite.", "It fits.")
        }
        assert not out.with_name("out.zip").exists()
    assert hornbeam_here("export", trained, "--out", out).code == 0
    assert set(Manifest.load(out).artifacts) == {"litert"}
    assert "edgetpu" in Manifest.load(out).left_to_do
    done = hornbeam_here("export", trained, "--format", "edgetpu", "--out", out)
    assert done.code == 0, done.err
    assert "litert: in " in done.out
    Predictor(out)


@pytest.mark.slow
def test_what_else_is_in_a_bundle_stays_when_formats_are_added(
    quick, hornbeam_here, trained, tmp_path
):
    out = tmp_path / "out"
    quick.damage["onnx"] = flip_weights
    assert hornbeam_here("export", trained, "--out", out, "--format", "litert,onnx").code == 3
    own = {
        "README.md": b"ours", "notes/a.txt": b"a", "golden/why.txt": b"b", "edgetpu.json": b"{}",
        "a:b.txt": b"no name for all systems",
    }  # fmt: skip
    (out / "notes").mkdir()
    for name, content in own.items():
        (out / name).write_bytes(content)
    (out / "link").symlink_to("README.md")
    before = bundle_of(out)
    failed = (out / "model.onnx.failed").read_bytes()

    quick.damage["h5"] = lambda path: "ValueError: no such layer"
    done = hornbeam_here("export", trained, "--out", out, "--format", "h5")
    assert done.code == 3
    assert bundle_of(out) == before

    done = hornbeam_here("export", trained, "--out", out, "--format", "keras")
    assert done.code == 0, done.err
    assert {name: (out / name).read_bytes() for name in own} == own
    assert (out / "link").is_symlink()
    assert (out / "model.onnx.failed").read_bytes() == failed
    assert bundle_of(out)["failed"] == before["failed"]
    assert "lacks 'a:b.txt' and 'link'" in done.err
    Predictor(out.with_name("out.zip"))

    quick.damage.pop("onnx")
    assert hornbeam_here("export", trained, "--out", out, "--format", "onnx").code == 0
    assert not (out / "model.onnx.failed").exists()
    assert bundle_of(out)["failed"] == {}


@pytest.mark.slow
def test_two_exports_at_once_lose_nothing(whole, trained, tmp_path, converting):
    out = tmp_path / "out"
    words = (trained, "--out", out, "--format")
    first, child = converting(*words, "litert")
    second = subprocess.Popen(
        [sys.executable, "-m", "hornbeam", "export", *map(str, words), "keras"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "KERAS_BACKEND": "tensorflow"},
    )  # fmt: skip
    assert any("Another export writes" in line for line in iter(second.stdout.readline, ""))
    os.kill(child, signal.SIGCONT)
    for process in (first, second):
        out_of_it, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
        assert "Another export writes" not in out_of_it  # it is said once
    assert set(Manifest.load(out).artifacts) == {"litert", "keras"}
    assert {path.name for path in tmp_path.iterdir()} == {"out", "out.zip"}


def test_a_terminated_export_leaves_no_process_and_no_folder(trained, tmp_path, converting):
    (tmp_path / "temporary").mkdir()
    process, child = converting(
        trained, "--out", tmp_path / "out", TMPDIR=str(tmp_path / "temporary")
    )
    process.terminate()
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 143
    assert "hornbeam: stopped by SIGTERM." in errors
    assert gone(child)
    assert [path.name for path in tmp_path.iterdir()] == ["temporary"]
    assert not list((tmp_path / "temporary").iterdir())


def test_the_process_that_converts_ends_with_one_that_is_killed(trained, tmp_path, converting):
    process, child = converting(trained, "--out", tmp_path / "out", TMPDIR=str(tmp_path))
    process.kill()
    process.wait()
    os.kill(child, signal.SIGCONT)
    assert gone(child)


def gone(pid):
    """Whether a process ends within a minute."""
    for _ in range(1200):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        state = Path(f"/proc/{pid}/stat")
        if state.is_file() and state.read_text().rpartition(")")[2].split()[0] == "Z":
            return True
        time.sleep(0.05)
    return False


def test_an_archive_has_a_name_that_can_be_opened_everywhere(
    quick, hornbeam_here, trained, tmp_path
):
    out = tmp_path / "b:1"
    assert hornbeam_here("export", trained, "--out", out).code == 0
    Predictor(tmp_path / "b:1.zip")


def test_an_archive_that_was_not_written_now_is_called_old(quick, hornbeam_here, trained, tmp_path):
    out = tmp_path / "out"
    assert "out.zip." in hornbeam_here("export", trained, "--out", out).out
    done = hornbeam_here("export", trained, "--out", out, "--format", "onnx", "--no-zip")
    assert done.code == 0
    assert "out.zip" not in done.out
    assert f"{out}.zip is of an earlier export" in done.err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--format", "litert-int8", "--float-layers", "["), "is no regular expression"),
        (("--format", "onnx-int8", "--float-layers", "auto"), "needs litert-int8"),
        (
            ("--format", "litert-int8", "--float-layers", "a", "--int8-activations", 16),
            "for 8 bits",
        ),
        (("--format", "edgetpu", "--int8-activations", 16), "needs litert-int8 or onnx-int8"),
    ],
)
def test_options_that_would_do_nothing_are_refused(words, sentence, hornbeam_here, tmp_path):
    done = hornbeam_here("export", tmp_path / "none", "--out", tmp_path / "out", *words)
    assert done.code == 2
    assert sentence in done.sentence


@pytest.mark.parametrize(
    ("run", "place"),
    [
        ("runs/photos-1", "runs/photos-1-bundle"),
        ("runs/photos-1/checkpoints/best", "runs/photos-1-best-bundle"),
        ("/data/photos-1", "/data/photos-1-bundle"),
    ],
)
def test_without_out_a_bundle_is_beside_its_run(run, place):
    assert ExportOptions(run=run).place == Path(place)
    assert ExportOptions(run=run, out="here").place == Path("here")


def test_formats_that_pass_over_an_option_are_named():
    given = {"run": "run", "out": "out", "format": "litert-int8,onnx-int8,edgetpu"}
    assert ExportOptions(**given, float_layers="auto").ignored() == [
        "--float-layers does nothing to onnx-int8 and edgetpu."
    ]
    assert ExportOptions(**given, int8_activations=16).ignored() == [
        "--int8-activations 16 does nothing to edgetpu."
    ]
    assert ExportOptions(**given).ignored() == []


def test_where_all_training_pictures_judge_the_sentence_says_what_to_do():
    task = Task("kind", ("a",))
    pictures = Dataset.from_columns(
        "/", ["a", "b"], ["train", "train"], {task: pa.array([0, 0], pa.int32())}
    )
    with pytest.raises(DataError, match=r"All 2 training pictures .* --contract-pictures N"):
        export_pictures._apart_from(pictures, pictures)
