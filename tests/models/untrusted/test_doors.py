"""Wherever a model file comes in, a hostile one is a sentence and does nothing."""

import dataclasses
import hashlib
import json
import shutil

import h5py
import hostile
import keras
import numpy as np
import pytest

from hornbeam.deployment.bundle.manifest import Artifact, Manifest, Tensor
from hornbeam.deployment.predicting.predictor import Predictor
from hornbeam.errors import HornbeamError, RunError
from hornbeam.runs import Run


@pytest.fixture
def with_code(tmp_path):
    """A model of Keras' own making whose Lambda layer leaves a mark when it is called."""
    mark = tmp_path / "ran"
    pixels = keras.Input((32, 32, 3), dtype="uint8")

    touch = eval(f"lambda x: (open({str(mark)!r}, 'w').close(), x)[1]")
    hidden = keras.layers.Lambda(touch, output_shape=(32, 32, 3))(
        keras.layers.Rescaling(1.0)(pixels)
    )
    answer = keras.layers.Dense(6, activation="softmax")(keras.layers.Flatten()(hidden))
    path = tmp_path / "code.keras"
    keras.Model(pixels, {"label": answer}).save(path)
    mark.unlink(missing_ok=True)
    return path, mark


@pytest.fixture
def bundle(hornbeam, trained, tmp_path):
    out = tmp_path / "shapes"
    done = hornbeam("export", trained, "--format", "keras", "--out", out, "--golden", 0, "--no-zip")
    assert done.code == 0, done.err
    return out


def put_in(bundle, format, path):
    """Put another file into a bundle, as whoever made it could: with its digest."""
    manifest = Manifest.load(bundle)
    name = f"model.{format}"
    content = path.read_bytes()
    (bundle / name).write_bytes(content)
    before = manifest.artifacts["keras"]
    outputs = {"label": Tensor("label", "float32", (None, 6))}
    artifact = Artifact(
        format, name, len(content), hashlib.sha256(content).hexdigest(), before.inputs, outputs
    )
    dataclasses.replace(manifest, artifacts={format: artifact}, golden=(), unknown=None).save(
        bundle
    )


def test_code_in_a_bundle_runs_with_trust_only(bundle, with_code, shapes):
    path, mark = with_code
    put_in(bundle, "keras", path)
    with pytest.raises(HornbeamError, match=r"refused: a Lambda layer.*--trust"):
        Predictor(bundle, check=False)
    assert not mark.exists()
    picture = next(shapes.rglob("*.jpg"), None) or next(shapes.rglob("*.png"))
    with Predictor(bundle, check=False, trust=True) as predictor:
        assert predictor.predict([picture])[0].error is None
    assert mark.exists()


def test_the_command_says_so_in_a_sentence(hornbeam, bundle, with_code, shapes):
    path, mark = with_code
    put_in(bundle, "keras", path)
    done = hornbeam("predict", bundle, shapes)
    assert done.code == 1
    assert "a Lambda layer" in done.sentence
    done = hornbeam("benchmark", bundle, "--seconds", 0.1, "-b", 1)
    assert done.code == 1
    assert "keras cannot run here" in done.err
    assert not mark.exists()


def test_links_in_a_bundle_are_refused(bundle, tmp_path):
    def fill(group):
        group["dense/kernel"] = h5py.ExternalLink("/etc/passwd", "x")

    put_in(bundle, "h5", hostile.hdf5(tmp_path / "m.h5", hostile.sequential(hostile.DENSE), fill))
    with pytest.raises(HornbeamError, match="is a link to another place or file"):
        Predictor(bundle, check=False)


def test_the_model_of_a_run_is_looked_through(trained, with_code, tmp_path):
    path, mark = with_code
    run = tmp_path / "run"
    shutil.copytree(trained, run, symlinks=True)
    shutil.copy(path, run / "model.keras")
    with pytest.raises(
        RunError, match=r"model\.keras is refused: a Lambda layer.*recipe"
    ) as caught:
        Run.open(run).load_model()
    assert "--trust" not in str(caught.value)
    assert not mark.exists()


def test_the_parts_of_a_checkpoint_are_looked_through(trained, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(trained, run, symlinks=True)
    model = Run.open(run).load_model()
    (run / "model.keras").unlink()
    (run / "model.json").write_text(model.to_json())
    model.save_weights(run / "model.weights.h5")
    again = Run.open(run).load_model()
    for one, other in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    given = {"class_name": "__lambda__", "config": {"value": ["", None, None]}}
    config = json.loads(json.dumps(hostile.DENSE))
    config["config"]["activation"] = given
    (run / "model.json").write_text(json.dumps(hostile.sequential(config)))
    with pytest.raises(RunError, match=r"model\.json is refused"):
        Run.open(run).load_model()


def test_inspect_and_weights_read_arrays_of_what_holds_code_and_nothing_else(
    hornbeam, with_code, shapes, tmp_path
):
    path, mark = with_code
    done = hornbeam("inspect", path)
    assert done.code == 0, done.err
    assert "dense" in done.out
    bad = hostile.archive(
        tmp_path / "m.keras", hostile.sequential(hostile.DENSE), more=[("../x", b"")]
    )
    for words in (("inspect", bad), ("train", shapes, "--run", tmp_path / "r", "--weights", bad)):
        done = hornbeam(*words)
        assert done.code == 1
        assert "leads out of the archive" in done.sentence
    assert not mark.exists()


def test_a_run_whose_recipe_builds_a_very_long_network_opens_again(trained, tmp_path):
    run = Run(shutil.copytree(trained, tmp_path / "run", symlinks=True))
    pixels = keras.Input((32, 32, 3), dtype="uint8")
    long = keras.Sequential([keras.layers.Activation("relu") for _ in range(145)])
    flat = keras.layers.Flatten()(long(keras.layers.Rescaling(1 / 255)(pixels)))
    run.save_model(keras.Model(pixels, {"label": keras.layers.Dense(6)(flat)}))
    with pytest.raises(RunError, match="would call layers"):
        run.load_model()
    (run.path / "recipe.py").write_text("def preprocess(image, training, rng):\n    return image\n")
    assert len(run.load_model().layers) == 5
