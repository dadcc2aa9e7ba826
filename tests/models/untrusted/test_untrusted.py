"""Model files of strangers: hostile ones are refused at once and cost no memory, honest ones load."""

import base64
import contextlib
import json
import marshal
import random
import subprocess
import sys
import time
import warnings
import zipfile

import h5py
import hostile
import keras
import numpy as np
import pytest

from hornbeam.errors import ModelError
from hornbeam.models.restoring import keras_files
from hornbeam.models.restoring.readers import read_weight_file
from hornbeam.models.untrusted import loading
from hornbeam.models.untrusted.effort import check_effort
from hornbeam.models.zoo import ZOO

DENSE, layer, sequential = hostile.DENSE, hostile.layer, hostile.sequential


def code(mark):
    """A marshalled function, as Keras writes a lambda, that leaves a mark when it runs."""
    made = compile(f"lambda x: open({str(mark)!r}, 'w')", "f", "eval")
    return base64.b64encode(marshal.dumps(made.co_consts[0])).decode()


def refused(path, words, opened=loading.load_model):
    """Assert that a file is refused in a sentence, and quickly."""
    start = time.process_time()  # others may be busy
    with pytest.raises(ModelError, match=words) as caught:
        opened(path)
    assert time.process_time() - start < 2
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert str(path) in sentence
    return sentence


def lambda_config(mark):
    given = {
        "class_name": "__lambda__",
        "config": {"code": code(mark), "defaults": None, "closure": None},
    }
    return layer("Lambda", function=given, arguments={})


def test_a_lambda_layer_is_refused_and_its_code_does_not_run(tmp_path):
    mark = tmp_path / "ran"
    refused(
        hostile.archive(tmp_path / "m.keras", sequential(lambda_config(mark))), "a Lambda layer"
    )
    refused(hostile.hdf5(tmp_path / "m.h5", sequential(lambda_config(mark))), "a Lambda layer")
    assert not mark.exists()


def test_a_lambda_layer_of_keras_own_making_loads_with_trust_and_not_without(tmp_path):
    inputs = keras.Input((3,))
    model = keras.Model(inputs, keras.layers.Lambda(lambda x: x * 2)(inputs))
    model.save(tmp_path / "m.keras")
    refused(tmp_path / "m.keras", "Lambda.*--trust")
    loaded = loading.load_model(tmp_path / "m.keras", trust=True)
    np.testing.assert_array_equal(loaded(np.ones((1, 3))), 2 * np.ones((1, 3)))


def test_code_in_any_place_of_a_configuration_is_refused(tmp_path):
    mark = tmp_path / "ran"
    given = {"class_name": "__lambda__", "config": {"value": [code(mark), None, None]}}
    for where in ("activation", "kernel_initializer", "anything"):
        config = json.loads(json.dumps(DENSE))
        config["config"][where] = given
        refused(hostile.archive(tmp_path / "m.keras", sequential(config)), "__lambda__")
    assert not mark.exists()


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("os", "system"),
        ("subprocess", "Popen"),
        ("builtins", "eval"),
        ("keras.src.utils.file_utils", "get_file"),
        ("keras.utils", "Progbar"),
        ("keras.src.saving.saving_lib", "H5IOStore"),
        ("keras.layers", "os"),
        ("keras.layers.Dense", "mro"),
        (None, "system"),
        (None, "Lambda"),
        ("keras.layers", "TFSMLayer"),
        ("keras.src.layers.core.lambda_layer", "Lambda"),
        ("keras.layers", "TorchModuleWrapper"),
        ("keras.layers", "StringLookup"),
        ("keras_hub.layers", "Anything"),
        (["os"], "system"),
    ],
)
def test_a_class_that_is_no_layer_of_keras_is_refused_by_name(module, name, tmp_path):
    path = hostile.archive(tmp_path / "m.keras", sequential(layer(name, module)))
    refused(path, r"m\.keras is refused: .*" + name)


@pytest.mark.parametrize(
    ("module", "function"),
    [
        ("keras.utils", "get_file"),
        ("keras.saving", "load_model"),
        ("os", "system"),
        ("builtins", "exec"),
        ("keras.activations", "__loader__"),
        ("keras.ops", "save"),
    ],
)
def test_a_function_that_is_no_activation_is_refused(module, function, tmp_path):
    dense = json.loads(json.dumps(DENSE))
    dense["config"]["activation"] = {
        "module": module, "class_name": "function", "config": function, "registered_name": function,
    }  # fmt: skip
    path = hostile.archive(tmp_path / "m.keras", sequential(dense))
    refused(path, f"function.*{function}")


def test_files_that_a_vocabulary_names_are_not_read(tmp_path):
    secret = tmp_path / "secret.txt"
    secret.write_text("word\n")
    for name in ("StringLookup", "TextVectorization", "IntegerLookup"):
        config = layer(name, vocabulary=str(secret))
        refused(hostile.archive(tmp_path / "m.keras", sequential(config)), f"{name} layer")


def test_more_declared_weights_than_bytes_are_refused(tmp_path):
    dense = json.loads(json.dumps(DENSE))
    dense["config"]["units"] = 2**29
    path = hostile.archive(tmp_path / "m.keras", sequential(dense))
    assert path.stat().st_size < 8000
    refused(path, "declare 2,684,354,560 weights, and it holds 10")
    refused(hostile.hdf5(tmp_path / "m.h5", sequential(dense)), "declare .* weights")


def test_a_shape_that_is_declared_beside_a_model_is_not_believed(tmp_path):
    dense = json.loads(json.dumps(DENSE))
    dense["build_config"] = {"input_shape": [None, 2**30]}
    refused(hostile.archive(tmp_path / "m.keras", sequential(dense)), "declare .* weights")


def test_absurd_numbers_and_feature_maps_are_refused(tmp_path):
    dense = json.loads(json.dumps(DENSE))
    dense["config"]["units"] = 2**62
    refused(hostile.archive(tmp_path / "m.keras", sequential(dense)), "units=46.* absurd")
    padding = layer("ZeroPadding2D", padding=[[50_000, 50_000], [50_000, 50_000]])
    path = hostile.archive(tmp_path / "m.keras", sequential(padding, shape=(8, 8, 3)))
    refused(path, "makes 30,.* numbers of a picture")


@pytest.mark.parametrize("depth", [150, 100_000])
def test_a_configuration_that_is_nested_deep_is_refused(depth, tmp_path):
    text = '{"a":' * depth + "1" + "}" * depth
    refused(hostile.archive(tmp_path / "m.keras", text), "nested too deep")


@pytest.mark.parametrize("name", ["../../evil.py", "/etc/evil", "assets/../../evil", "..\\evil.py"])
def test_entries_that_lead_out_of_an_archive_are_refused(name, tmp_path):
    path = tmp_path / "m.keras"
    hostile.archive(path, sequential(DENSE), more=[(name, b"x")])
    refused(path, "leads out of the archive")
    refused(path, "leads out of the archive", read_weight_file)
    assert [each.name for each in tmp_path.iterdir()] == ["m.keras"]


def test_entries_that_keras_does_not_write_or_that_are_there_twice_are_refused(tmp_path):
    path = tmp_path / "m.keras"
    refused(hostile.archive(path, sequential(DENSE), more=[("assets/v.txt", b"x")]), "assets/v.txt")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile, of the name
        hostile.archive(path, sequential(DENSE), more=[("config.json", b"{}")])
    refused(path, "'config.json' twice")


def test_an_archive_that_unpacks_to_much_more_is_refused(tmp_path):
    path = tmp_path / "m.keras"
    hostile.archive(
        path, sequential(DENSE), content=bytes(300 * 2**20), compression=zipfile.ZIP_DEFLATED
    )
    assert path.stat().st_size < 400_000
    refused(path, "unpack to 314,")
    refused(path, "unpack to 314,", read_weight_file)
    hostile.archive(path, " " * 17 * 2**20)
    refused(path, "config.json has 17,")


def test_arrays_with_huge_shapes_and_nothing_stored_are_refused(tmp_path):
    def fill(group):
        group.create_dataset("dense/kernel", (2**20, 2**12), np.float32, fillvalue=1.0)

    path = hostile.hdf5(tmp_path / "m.h5", sequential(DENSE), fill)
    assert path.stat().st_size < 20_000
    refused(path, "declare 17,179,869,184 bytes")
    refused(path, "declare 17,179,869,184 bytes", read_weight_file)

    def packed(file):
        zeros = {"fillvalue": 0.0, "chunks": (2**16,), "compression": "gzip"}
        file.create_dataset("layers/dense/vars/0", (2**34,), np.float32, **zeros)

    path = hostile.archive(tmp_path / "m.keras", sequential(DENSE), hostile.weights(packed))
    refused(path, "declare 68,")
    refused(path, "declare 68,", read_weight_file)


def test_chunks_larger_than_their_array_are_refused(tmp_path):
    def fill(group):
        group.create_dataset(
            "dense/kernel", (4, 2), np.float32, chunks=(2**15, 2**13), maxshape=(None, None)
        )

    path = hostile.hdf5(tmp_path / "m.h5", sequential(DENSE), fill)
    refused(path, "pieces of 1,073,741,824 bytes")


def linked(group, other, kind):
    """Put a link, or what lies elsewhere, where the kernel should be."""
    name = "dense/kernel"
    if kind == "external link":
        group[name] = h5py.ExternalLink(str(other), "secret")
    elif kind == "soft link":
        group[name] = h5py.SoftLink("/model_weights/dense")
    elif kind == "external storage":
        group.create_dataset(name, (4, 2), np.float32, external=[(str(other), 0, 32)])
    elif kind == "virtual":
        layout = h5py.VirtualLayout((4, 2), np.float32)
        layout[:] = h5py.VirtualSource(str(other), "secret", (4, 2))
        group.create_virtual_dataset(name, layout)
    else:
        group["again"] = group.parent


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("external link", "is a link"),
        ("soft link", "is a link"),
        ("external storage", "lie in other files"),
        ("virtual", "lie in other files"),
        ("circle", "under two names"),
    ],
)
def test_arrays_that_lie_elsewhere_are_refused(kind, words, tmp_path):
    other = tmp_path / "other.h5"
    with h5py.File(other, "w") as file:
        file["secret"] = np.ones((4, 2), np.float32)
    path = hostile.hdf5(tmp_path / "m.h5", sequential(DENSE), lambda g: linked(g, other, kind))
    refused(path, words)
    refused(path, words, read_weight_file)


def test_damaged_files_are_told_in_a_sentence(tmp_path):
    good = hostile.archive(tmp_path / "m.keras", sequential(DENSE)).read_bytes()
    for content in (b"", b"PK", good[:200], good[: len(good) // 2], b"x" * 1000):
        for name in ("m.keras", "m.h5"):
            (tmp_path / name).write_bytes(content)
            refused(tmp_path / name, name)
    for config in ("[]", "7", '"x"', "{}", '{"class_name": 7, "config": {}}', "not json"):
        refused(hostile.archive(tmp_path / "m.keras", config), r"m\.keras")


def test_bytes_changed_anywhere_are_a_model_or_a_sentence(tmp_path):
    rng = random.Random(0)
    model = loading.load_model(hostile.archive(tmp_path / "good.keras", sequential(DENSE)))
    model.save_weights(tmp_path / "good.weights.h5")
    for name in ("keras", "weights.h5") * 40:
        content = bytearray((tmp_path / f"good.{name}").read_bytes())
        for _ in range(rng.randint(1, 5)):
            end = min(len(content), rng.choice([600, 2500, len(content)]))
            content[rng.randrange(end)] = rng.choice([0, 255, rng.randrange(256)])
        path = tmp_path / f"m.{name}"
        path.write_bytes(content)
        with contextlib.suppress(ModelError):
            read_weight_file(path)
        with contextlib.suppress(ModelError):
            loading.load_model(path)


def test_the_model_that_the_others_are_made_of_loads(tmp_path):
    model = loading.load_model(hostile.archive(tmp_path / "m.keras", sequential(DENSE)))
    np.testing.assert_array_equal(model(np.ones((1, 4), np.float32)), [[4, 4]])


def test_a_layer_that_was_registered_here_is_known(tmp_path):
    @keras.saving.register_keras_serializable("tests_untrusted")
    class Twice(keras.layers.Layer):
        def call(self, x):
            return 2 * x

    inputs = keras.Input((3,))
    keras.Model(inputs, Twice()(inputs)).save(tmp_path / "m.keras")
    loaded = loading.load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(loaded(np.ones((1, 3))), 2 * np.ones((1, 3)))
    keras.saving.get_custom_objects().pop("tests_untrusted>Twice")
    refused(tmp_path / "m.keras", "Twice.*--trust")


@pytest.mark.parametrize(
    "name",
    [
        "compact", "mobilenet_025", "mobilenet_v2_035", "mobilenet_v2_timm", "mobilenet_v3_small",
        "efficientnet_b0", "efficientnet_v2_b0", "resnet50", "resnet50_v2", "resnet50_timm",
        "resnet50_slim", "vgg16",
        *(
            pytest.param(large, marks=pytest.mark.slow)
            for large in ("convnext_tiny", "densenet121", "inception_v3", "inception_resnet_v2",
                          "xception", "nasnet_mobile")
        ),
    ],
)  # fmt: skip
def test_every_kind_of_network_of_the_zoo_is_let_through(name, tmp_path):
    side = max(ZOO[name].smallest, 32)
    backbone = ZOO[name].build_backbone((side, side), None)
    backbone.save(tmp_path / "m.keras")
    loading.look_through(tmp_path / "m.keras")
    assert not keras.src.backend.common.global_state.get_global_attribute("uninitialized_variables")


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_a_loaded_model_answers_as_the_saved_one(suffix, tmp_path):
    keras.utils.set_random_seed(3)
    backbone = ZOO["efficientnet_b0"].build_backbone((32, 32), None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of HDF5, which Keras calls legacy
        backbone.save(tmp_path / f"m{suffix}")
    pixels = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)).astype(np.float32)
    loaded = loading.load_model(tmp_path / f"m{suffix}")
    np.testing.assert_array_equal(
        loaded.predict_on_batch(pixels), backbone.predict_on_batch(pixels)
    )


MEASURED = """
import resource, sys
from pathlib import Path
import keras
from hornbeam.errors import ModelError
from hornbeam.models.untrusted.loading import load_model
keras.layers.Dense(1).build((None, 1))
for name in sys.argv[1:]:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        load_model(Path(name))
    except ModelError:
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(Path(name).name, (after - before) // 1024)
"""


def test_refusing_takes_no_memory(tmp_path):
    huge = json.loads(json.dumps(DENSE))
    huge["config"]["units"] = 2**29
    normal = layer("Normalization", axis=-1)
    files = [
        hostile.archive(tmp_path / "dense.keras", sequential(huge)),
        hostile.archive(tmp_path / "normal.keras", sequential(huge, normal)),
        hostile.archive(tmp_path / "embed.keras", sequential(layer("Embedding", input_dim=2**30, output_dim=64))),
        hostile.hdf5(tmp_path / "dense.h5", sequential(huge)),
        hostile.archive(tmp_path / "bomb.keras", sequential(DENSE), bytes(10**9), (), zipfile.ZIP_DEFLATED),
    ]  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, *map(str, files)],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    grown = dict(line.split() for line in done.stdout.splitlines())
    assert set(grown) == {path.name for path in files}, done.stderr
    assert all(int(megabytes) < 100 for megabytes in grown.values()), grown


def named(count, start=0):
    """Small Dense layers of different names."""
    return [{**DENSE, "config": {**DENSE["config"], "name": f"d{start + n}"}} for n in range(count)]


def test_a_small_file_of_much_work_is_refused_at_once(tmp_path):
    row = hostile.archive(tmp_path / "row.keras", sequential(*named(400)))
    assert row.stat().st_size < 100_000
    refused(row, "would call layers 80,[0-9]+ times")
    refused(hostile.hdf5(tmp_path / "row.h5", sequential(*named(400))), "would call layers")
    inner = sequential(*named(40))
    outer = sequential(
        *[{**inner, "config": {**inner["config"], "name": f"m{n}"}} for n in range(20)]
    )
    refused(hostile.archive(tmp_path / "nested.keras", outer), "would call layers")


def test_models_called_by_models_multiply(tmp_path):
    """Six levels, each of which calls the one below eight times."""
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
    config = {"class_name": "Sequential", "config": json.loads(model.to_json())["config"]}
    for level in range(6):
        node = {"args": [], "kwargs": {}}
        called = {**config, "name": f"l{level}", "inbound_nodes": [node] * 8}
        config = {"class_name": "Functional", "config": {"name": f"m{level}", "layers": [called]}}
    with pytest.raises(ModelError, match="would call layers"):
        check_effort(config, tmp_path)


def test_models_in_models_in_models_are_counted_in_no_time(tmp_path):
    config = DENSE
    for level in range(30):
        config = {"class_name": "Sequential", "config": {"name": f"m{level}", "layers": [config]}}
    start = time.process_time()
    check_effort(config, tmp_path)
    assert time.process_time() - start < 0.5


def test_long_networks_that_people_have_are_no_effort(tmp_path):
    check_effort(sequential(*named(130)), tmp_path)
    hundred = keras.Sequential([keras.Input((2,)), *[keras.layers.Dense(2) for _ in range(100)]])
    hundred.save(tmp_path / "m.keras")
    assert len(loading.load_model(tmp_path / "m.keras").layers) == 100
    large = keras.applications.NASNetMobile(weights=None)
    check_effort(json.loads(large.to_json()), tmp_path)


@pytest.mark.parametrize("kind", ["keras", "h5"])
def test_a_file_that_is_refused_is_closed(tmp_path, kind, monkeypatch):
    closed = []
    path = tmp_path / f"m.{kind}"
    keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)]).save(path)
    close = h5py.File.close
    monkeypatch.setattr(h5py.File, "close", lambda self: (closed.append(self), close(self)))

    def hostile_file(file, path):
        raise ModelError("no")

    monkeypatch.setattr(keras_files, "check_hdf5", hostile_file)
    with pytest.raises(ModelError, match="no"):
        (keras_files.read_archive if kind == "keras" else keras_files.read_h5)(path)
    assert len(closed) == 1
