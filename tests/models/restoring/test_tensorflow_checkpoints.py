"""Checkpoints of TensorFlow 2's objects, and what is found where on the disk."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from hornbeam.data.tasks import Task
from hornbeam.errors import ConfigError, ModelError
from hornbeam.models.classifier import BACKBONE, build_classifier
from hornbeam.models.restoring.readers import read_weight_file
from hornbeam.models.restoring.restore import restore
from hornbeam.models.zoo import ZOO

TASKS = (Task("label", ("a", "b")),)
PIXELS = np.random.default_rng(0).integers(0, 256, (2, 48, 48, 3), np.uint8)


def network(seed):
    keras.utils.set_random_seed(seed)
    return build_classifier(ZOO["mobilenet_v2_035"], (48, 48), TASKS)


@pytest.fixture(scope="module")
def theirs():
    return network(1)


@pytest.fixture
def saved(theirs, tmp_path):
    """A checkpoint of a model with its optimizer, as `tf.train.Checkpoint` writes it."""
    optimizer = keras.optimizers.Adam()
    optimizer.build(theirs.trainable_variables)
    checkpoint = tf.train.Checkpoint(model=theirs, optimizer=optimizer)
    manager = tf.train.CheckpointManager(checkpoint, str(tmp_path / "saved"), max_to_keep=2)
    return manager.save()


@pytest.mark.parametrize("how", ["prefix", "index", "data", "directory"])
def test_a_checkpoint_of_objects_is_restored_by_the_names_that_the_variables_had(
    how, theirs, saved, tmp_path
):
    path = {"prefix": saved, "index": f"{saved}.index", "data": f"{saved}.data-00000-of-00001",
            "directory": tmp_path / "saved"}[how]  # fmt: skip
    ours = network(2)
    matched = restore(ours, tmp_path / path)
    np.testing.assert_allclose(
        ours.predict_on_batch(PIXELS)["label"], theirs.predict_on_batch(PIXELS)["label"], atol=1e-6
    )
    assert len(matched.taken) == 262
    assert any("adam" in name for name in matched.left_in_file)


def test_a_network_of_keras_without_our_classifier_around_it_is_restored(tmp_path):
    keras.utils.set_random_seed(3)
    bare = keras.applications.MobileNetV2(alpha=0.35, weights=None, input_shape=(48, 48, 3))
    path = tf.train.Checkpoint(bare).save(str(tmp_path / "bare"))
    ours = network(2)
    matched = restore(ours, tmp_path / path)
    inner = keras.Model(bare.input, bare.get_layer("out_relu").output)
    pixels = PIXELS / 127.5 - 1
    np.testing.assert_allclose(
        ours.get_layer(BACKBONE).predict_on_batch(pixels), inner.predict_on_batch(pixels), atol=1e-5
    )
    assert {"predictions/kernel", "predictions/bias"} <= set(matched.left_in_file)


def test_the_variables_of_a_saved_model_are_a_checkpoint_too(theirs, tmp_path):
    tf.saved_model.save(theirs, str(tmp_path / "exported"))
    ours = network(2)
    restore(ours, tmp_path / "exported")
    np.testing.assert_allclose(
        ours.predict_on_batch(PIXELS)["label"], theirs.predict_on_batch(PIXELS)["label"], atol=1e-6
    )


def test_a_directory_that_has_moved_is_read_where_it_is_now(saved, tmp_path):
    (tmp_path / "saved").rename(tmp_path / "moved")
    assert read_weight_file(tmp_path / "moved").path == tmp_path / "moved" / "ckpt-1"


def test_several_checkpoints_and_no_word_which_is_an_error(saved, tmp_path):
    directory = tmp_path / "saved"
    (directory / "checkpoint").unlink()
    assert read_weight_file(directory).path.name == "ckpt-1"
    for file in list(directory.glob("ckpt-1.*")):
        (directory / file.name.replace("ckpt-1", "ckpt-2")).write_bytes(file.read_bytes())
    with pytest.raises(ConfigError, match=r"several checkpoints \(ckpt-1, ckpt-2\); name one"):
        read_weight_file(directory)


def test_a_missing_or_truncated_shard_is_named(saved, tmp_path):
    shard = tmp_path / "saved" / "ckpt-1.data-00000-of-00001"
    whole = shard.read_bytes()
    shard.write_bytes(whole[: len(whole) // 2])
    ours = network(2)
    before = ours.get_weights()
    with pytest.raises(ModelError, match=r"ckpt-1 (is damaged|cannot be read)"):
        restore(ours, tmp_path / saved)
    shard.unlink()
    with pytest.raises(ModelError, match=r"lacks its file ckpt-1\.data-00000-of-00001"):
        restore(ours, tmp_path / saved)
    for old, new in zip(before, ours.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("content", [b"", b"\0" * 200])
def test_a_damaged_index_is_said_to_be_unreadable(content, saved, tmp_path):
    (tmp_path / "saved" / "ckpt-1.index").write_bytes(content)
    with pytest.raises(ModelError, match=r"ckpt-1 cannot be read: "):
        restore(network(2), tmp_path / saved)


def test_without_tensorflow_the_answer_is_what_to_install(saved, tmp_path, in_a_process):
    told = in_a_process(
        f"""
import sys
sys.modules["tensorflow"] = None  # as where it is not installed
from pathlib import Path
from hornbeam.errors import ModelError
from hornbeam.models.restoring.readers import read_weight_file
try:
    read_weight_file(Path({str(saved)!r}))
except ModelError as error:
    print(error)
""",
        backend="jax",
    )
    assert "TensorFlow, which reads it, is not installed; pip install tensorflow-cpu" in told
