"""The process that exports: models of any backend, of recipes, and formats that fail alone."""

import os
import subprocess
import sys

import pytest
from networks import SIZE, answers_of, pictures

from hornbeam.deployment.bundle.manifest import FORMATS
from hornbeam.deployment.conversion.job import Job
from hornbeam.deployment.conversion.parent import convert
from hornbeam.errors import ModelError

RECIPE = """
import keras

@keras.saving.register_keras_serializable("mine")
class Doubled(keras.layers.Layer):
    def call(self, x):
        return x * 2.0

@keras.saving.register_keras_serializable("mine")
class Inverse(keras.layers.Layer):
    def call(self, x):
        return keras.ops.erfinv(keras.ops.tanh(x) * 0.5)

def build_model(input_shape, targets):
    raise NotImplementedError

def build(own):
    keras.utils.set_random_seed(0)
    image = keras.Input((32, 32, 3), dtype="uint8", name="image")
    x = keras.layers.Conv2D(8, 3)(keras.layers.Rescaling(1 / 255)(image))
    x = keras.layers.GlobalAveragePooling2D()(own(name="own")(x))
    made = {n: keras.layers.Dense(3, "softmax", dtype="float32")(x) for n in ("kind", "a")}
    return keras.Model(image, made)
"""

MAKE = """
import sys
import keras, numpy as np
if sys.argv[3] != "float32":
    keras.config.set_dtype_policy(sys.argv[3])
recipe = {"__name__": "recipe"}
exec(open(sys.argv[1]).read(), recipe)
model = recipe["build"](recipe[sys.argv[4]])
assert keras.backend.backend() == sys.argv[2], keras.backend.backend()
pictures = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
found = model.predict_on_batch(pictures)
np.savez("answers.npz", **{n: np.asarray(v) for n, v in found.items()})
model.save("model.keras")
"""


def made(folder, backend, layer="Doubled", policy="float32"):
    """A network of a recipe, saved by a process of another backend; and what it answered there."""
    import numpy as np

    recipe = folder / "recipe.py"
    recipe.write_text(RECIPE)
    subprocess.run(
        [sys.executable, "-c", MAKE, str(recipe), backend, policy, layer], cwd=folder, check=True,
        capture_output=True, env={**os.environ, "KERAS_BACKEND": backend}, timeout=600,
    )  # fmt: skip
    return recipe, dict(np.load(folder / "answers.npz"))


def job(folder, recipe, formats):
    return Job(
        str(folder / "model.keras"), str(recipe), tuple(formats), str(folder), ("kind", "a"),
        description={"tasks": {"kind": "xyz", "a": "uvw"}},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("backend", "policy"),
    [
        pytest.param("jax", "float32", marks=pytest.mark.slow),
        pytest.param("jax", "mixed_bfloat16", marks=pytest.mark.slow),
        ("tensorflow", "mixed_bfloat16"),
    ],
)
def test_a_model_trained_in_mixed_precision_or_on_jax_is_exported(tmp_path, backend, policy):
    import numpy as np

    recipe, expected = made(tmp_path, backend, policy=policy)
    formats = ("h5", "savedmodel", "litert", "litert-f16", "onnx", "openvino")
    found = convert(job(tmp_path, recipe, formats))
    assert {name: each.error for name, each in found.items()} == dict.fromkeys(formats)
    within = 1e-5 if policy == "float32" else 0.03
    for name, each in found.items():
        if name == "h5":  # opened with layers that only the other process knows
            continue
        answers = answers_of(tmp_path / FORMATS[name], each, pictures(size=SIZE))
        for task, values in expected.items():
            atol = max(within, 0.01 if name == "litert-f16" else 0)
            np.testing.assert_allclose(answers[task], values, atol=atol, err_msg=name)


def test_a_format_that_fails_says_why_and_keeps_no_other_back(tmp_path):
    recipe, _ = made(tmp_path, "tensorflow", "Inverse")
    found = convert(job(tmp_path, recipe, ("litert", "savedmodel", "onnx", "keras")))
    for name, says in (("litert", "LiteRT"), ("onnx", "ONNX")):
        assert found[name].error == (
            f"{says} has no operator for this: layer 'own' (Inverse) needs Erfinv. Make that of other "
            "operations, or choose another format."
        )
        assert not (tmp_path / FORMATS[name]).exists()
    assert found["savedmodel"].error is None
    assert (tmp_path / "model.keras").is_file()


def test_a_file_that_cannot_be_read_is_one_sentence(tmp_path):
    (tmp_path / "model.keras").write_bytes(b"nothing")
    (tmp_path / "recipe.py").write_text(RECIPE)
    with pytest.raises(ModelError) as caught:
        convert(job(tmp_path, tmp_path / "recipe.py", ("litert",)))
    assert "\n" not in str(caught.value)


def test_a_library_that_ends_the_process_keeps_no_other_format_back(tmp_path):
    """As a failed assertion in C++ does."""
    recipe = tmp_path / "recipe.py"
    recipe.write_text(RECIPE)
    made(tmp_path, "tensorflow")
    recipe.write_text(
        RECIPE
        + "\nimport os, signal\n"
        + "from hornbeam.deployment.conversion import child\n"
        + "import __main__\n"
        + "def _abort(model, job, path):\n"
        + "    path.write_bytes(b'half')\n"
        + "    from hornbeam.deployment.conversion.ending import tell\n"
        + "    tell('LiteRT answered')\n"
        + "    os.write(2, b'INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\\n')\n"
        + "    os.kill(os.getpid(), signal.SIGABRT)\n"
        + "__main__._CONVERTERS['litert'] = _abort\n"
    )
    found = convert(job(tmp_path, recipe, ("keras", "litert", "savedmodel")))
    assert list(found) == ["keras", "litert", "savedmodel"]
    assert found["litert"].error == (
        "the process that makes it was ended by SIGABRT while LiteRT answered"
    )
    assert found["keras"].error is found["savedmodel"].error is None
    assert (tmp_path / FORMATS["savedmodel"]).is_dir()
    assert not (tmp_path / FORMATS["litert"]).exists()


@pytest.mark.slow
def test_files_of_the_users_folder_are_not_taken_for_libraries(tmp_path, monkeypatch):
    recipe, _ = made(tmp_path, "tensorflow")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for name in ("onnx", "tf2onnx", "tensorflow"):
        (elsewhere / f"{name}.py").write_text("open('executed', 'w')\n")
    monkeypatch.chdir(elsewhere)
    assert convert(job(tmp_path, recipe, ("onnx",)))["onnx"].error is None
    assert not (elsewhere / "executed").exists()
