"""What TensorBoard is given can be read back with TensorBoard's own code, on each backend."""

import io
import os
import signal
import subprocess
import sys

import keras
import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from hornbeam.data import sources
from hornbeam.data.loader import Loader
from hornbeam.data.tasks import Task
from hornbeam.events import EventFile, event_files
from hornbeam.models.classifier import build_classifier
from hornbeam.models.zoo import ZOO
from hornbeam.training.callbacks import Clock
from hornbeam.training.following.layer_graph import layer_graph
from hornbeam.training.following.sample_pictures import SamplePictures, _caption, grid
from hornbeam.training.following.tensorboard import TensorBoard, tag_of


def read(directory):
    return EventAccumulator(str(directory), {"images": 0, "scalars": 0, "histograms": 0}).Reload()


def curve(directory, tag):
    return [(event.step, event.value) for event in read(directory).Scalars(tag)]


def model_of(seed=0):
    keras.utils.set_random_seed(seed)
    return build_classifier(ZOO["compact"], (32, 32), (Task("label", ("a", "b")),))


def following(directory, model=None, **options):
    clock = Clock(100, 4)
    callback = TensorBoard(directory, clock, **options)
    callback.set_model(model or model_of())
    return clock, callback


def test_a_curve_is_called_by_its_metric_and_side():
    assert tag_of("loss") == "loss/train"
    assert tag_of("val_label_accuracy") == "label_accuracy/validation"
    assert tag_of("learning_rate") == "learning_rate"


def test_points_have_their_steps_and_values(tmp_path):
    clock, callback = following(tmp_path)
    for clock.step in (3, 7):
        callback.on_epoch_end(0, {"loss": clock.step / 2, "val_loss": 1.5, "learning_rate": 0.125})
        assert curve(tmp_path, "loss/train")[-1] == (clock.step, clock.step / 2)  # at once
    callback.on_train_end()
    assert curve(tmp_path, "loss/validation") == [(3, 1.5), (7, 1.5)]
    assert curve(tmp_path, "learning_rate") == [(3, 0.125), (7, 0.125)]


def test_histograms_are_those_of_the_weights(tmp_path):
    model = model_of()
    _, callback = following(tmp_path, model, histograms=True)
    model.weights[0].assign(np.full(model.weights[0].shape, np.nan))  # is left out, not an error
    callback.on_epoch_end(0, {})
    callback.on_train_end()
    found = read(tmp_path)
    assert set(found.Tags()["histograms"]) == {f"weights/{w.path}" for w in model.weights[1:]}
    kernel = max(model.weights[1:], key=lambda w: w.shape.num_elements())
    values = kernel.numpy().ravel().astype(float)
    (histogram,) = [event.histogram_value for event in found.Histograms(f"weights/{kernel.path}")]
    assert histogram.num == len(values)
    assert histogram.sum == pytest.approx(values.sum())
    assert (histogram.min, histogram.max) == (values.min(), values.max())
    edges = np.array(histogram.bucket_limit)
    expected = np.histogram(values, np.concatenate([[-np.inf], edges]))[0]
    # A value on an edge may count on either side of it.
    np.testing.assert_allclose(histogram.bucket, expected, atol=1)


def test_pictures_show_labels_and_answers(tmp_path, shapes):
    dataset = sources.open_dataset(shapes)
    loader = Loader(dataset, batch_size=16, image_size=(32, 32))
    model = build_classifier(ZOO["compact"], (32, 32), dataset.tasks)
    clock, callback = following(tmp_path, model, pictures=SamplePictures(loader, 6))
    clock.step = 5
    callback.on_epoch_end(0, {"val_loss": 1.0})
    (event,) = read(tmp_path).Images("validation/label")
    assert event.step == 5
    page = Image.open(io.BytesIO(event.encoded_image_string))
    assert (page.width, page.height) == (event.width, event.height) == (300, 132)
    # One picture of each of the six classes, as the loader gives it.
    rows = np.linspace(0, len(dataset) - 1, 6).astype(int)
    assert len(set(dataset.labels(dataset.tasks[0])[rows])) == 6
    for index, row in enumerate(rows):
        picture = Loader(dataset.take([row]), batch_size=1, image_size=(32, 32)).batch(0).images[0]
        left, top = index % 3 * 100, index // 3 * 66
        shown = np.asarray(page)[top : top + 32, left : left + 32].astype(float)
        assert np.abs(shown - picture).mean() < 12, "the pixels of JPEG are near"
        other = np.asarray(page)[(top + 66) % 132 :][:32, left : left + 32].astype(float)
        assert np.abs(other - picture).mean() > 20, "of other pictures they are not"


def test_a_right_answer_is_green_and_a_wrong_one_red(shapes):
    dataset = sources.open_dataset(shapes)
    loader = Loader(dataset, batch_size=8, image_size=(96, 96))
    drawn = SamplePictures(loader, 1).draw(AlwaysFirst(6))["label"]
    assert colour_of_answer(drawn) == "green"  # row 0 is of class 0
    drawn = SamplePictures(loader, 1).draw(AlwaysFirst(6, first=3))["label"]
    assert colour_of_answer(drawn) == "red"


class AlwaysFirst:
    def __init__(self, classes, first=0):
        self.logits = np.eye(classes, dtype=np.float32)[first] * 9

    def predict_on_batch(self, inputs):
        return {"label": np.repeat(self.logits[None], len(inputs), axis=0)}


def colour_of_answer(drawn):
    content, (height, _) = drawn
    ink = np.asarray(Image.open(io.BytesIO(content))).astype(int)[height - 18 :]
    red, green, _ = ink.reshape(-1, 3)[ink.sum(axis=2).argmin()]
    return "green" if green > red + 30 else "red" if red > green + 30 else "none"


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_grid_takes_any_channels_and_long_names(channels):
    images = np.zeros((5, 300, 200, channels), np.uint8)
    page = grid(images, [("a name that is far too long for the picture " * 3, "b", (0, 0, 0))] * 5)
    assert page.size == (3 * (128 + 4), 2 * (192 + 34))


def test_an_answer_that_is_no_number_is_called_so():
    task = Task("label", ("a", "b"))
    assert _caption(task, np.int64(0), np.array([np.nan, np.inf]))[:2] == ("a", "no number")


def test_the_graph_has_every_layer_with_its_inputs():
    inputs = keras.Input((8, 8, 3), name="image")
    inner_input = keras.Input((8, 8, 3), name="inner_input")
    x = keras.layers.Conv2D(4, 3, padding="same", name="conv")(inner_input)
    inner = keras.Model(inner_input, keras.layers.ReLU(name="relu")(x), name="backbone")
    shared = keras.layers.Conv2D(4, 1, name="shared")
    y = inner(inputs)
    total = keras.layers.Add(name="sum")([shared(y), shared(keras.layers.ReLU(name="again")(y))])
    model = keras.Model(inputs, {"label": keras.layers.Flatten(name="flat")(total)})
    keras.Model(inputs, shared(keras.layers.Conv2D(4, 1)(inputs)))  # uses it too; not of this model
    nodes = parse(layer_graph(model))
    assert {name: (node.op, sorted(node.input)) for name, node in nodes.items()} == {
        "image": ("InputLayer", []),
        "backbone/inner_input": ("InputLayer", ["image"]),
        "backbone/conv": ("Conv2D", ["backbone/inner_input"]),
        "backbone/relu": ("ReLU", ["backbone/conv"]),
        "again": ("ReLU", ["backbone/relu"]),
        "shared": ("Conv2D", nodes["shared"].input),
        "shared_2": ("Conv2D", nodes["shared_2"].input),
        "sum": ("Add", ["shared", "shared_2"]),
        "flat": ("Flatten", ["sum"]),
    }
    assert {nodes["shared"].input[0], nodes["shared_2"].input[0]} == {"again", "backbone/relu"}
    assert [d.size for d in nodes["flat"].attr["_output_shapes"].list.shape[0].dim] == [-1, 256]
    assert nodes["backbone/conv"].attr["parameters"].i == 3 * 3 * 3 * 4 + 4


@pytest.mark.parametrize("name", ["mobilenet_v2", "resnet50", "efficientnet_b0"])
def test_the_graph_of_a_network_of_the_zoo_is_connected(name):
    model = build_classifier(ZOO[name], (64, 64), (Task("label", ("a", "b")),))
    nodes = parse(layer_graph(model))
    reached, waiting = set(), [list(nodes)[-1]]
    assert nodes[waiting[0]].op == "Dense"
    while waiting:
        node = waiting.pop()
        if node not in reached:
            reached.add(node)
            waiting += nodes[node].input  # each is there
    assert reached == set(nodes)
    assert sum(n.attr["parameters"].i for n in nodes.values()) == model.count_params()


def test_a_model_without_layers_is_one_node():
    class Own(keras.Model):
        def call(self, x):
            return x

    (node,) = parse(layer_graph(Own(name="own model"))).values()
    assert (node.name, node.op) == ("own_model", "Own")


def parse(serialized):
    from tensorboard.compat.proto.graph_pb2 import GraphDef

    graph = GraphDef.FromString(serialized)
    assert len({node.name for node in graph.node}) == len(graph.node)
    return {node.name: node for node in graph.node}


def test_the_hparams_plugin_shows_options_beside_final_metrics(tmp_path):
    for run, rate in (("a", 0.5), ("b", 0.25)):
        options = {"learning_rate": rate, "optimizer": "adam", "nesterov": rate > 0.3}
        clock, callback = following(tmp_path / run / "tensorboard", hyperparameters=options)
        for clock.step in (1, 2):
            callback.on_epoch_end(0, {"val_accuracy": rate * clock.step})
        callback.on_train_end()
    groups = hparams(tmp_path)
    found = {g.sessions[0].name: g for g in groups}
    assert set(found) == {"a/tensorboard", "b/tensorboard"}
    group = found["b/tensorboard"]
    assert dict(plain(group.hparams)) == {
        "learning_rate": 0.25, "optimizer": "adam", "nesterov": False,
    }  # fmt: skip
    (metric,) = [m for m in group.metric_values if m.name.tag == "accuracy/validation"]
    assert (metric.value, metric.training_step) == (0.5, 2)
    assert group.sessions[0].status == 1, "the training has ended well"


def plain(hparams):
    for name, value in hparams.items():
        yield name, getattr(value, value.WhichOneof("kind"))


def hparams(directory):
    """Ask TensorBoard's own plugin, as its page does."""
    from tensorboard import context
    from tensorboard.backend.event_processing import data_provider, plugin_event_multiplexer
    from tensorboard.plugins import base_plugin
    from tensorboard.plugins.hparams import (
        api_pb2,
        backend_context,
        get_experiment,
        list_session_groups,
    )  # fmt: skip

    multiplexer = plugin_event_multiplexer.EventMultiplexer()
    multiplexer.AddRunsFromDirectory(str(directory))
    multiplexer.Reload()
    provider = data_provider.MultiplexerDataProvider(multiplexer, str(directory))
    asked = backend_context.Context(base_plugin.TBContext(data_provider=provider))
    request = context.RequestContext()
    experiment = get_experiment.Handler(request, asked, "", api_pb2.GetExperimentRequest()).run()
    wanted = api_pb2.ListSessionGroupsRequest(
        start_index=0, slice_size=100, allowed_statuses=[0, 1, 2, 3],
        col_params=[api_pb2.ColParams(metric=m.name) for m in experiment.metric_infos]
        + [api_pb2.ColParams(hparam=h.name) for h in experiment.hparam_infos],
    )  # fmt: skip
    return list_session_groups.Handler(
        request_context=request, backend_context=asked, experiment_id="", request=wanted
    ).run().session_groups  # fmt: skip


WRITER = """
import json, sys, time
from pathlib import Path
import keras
from hornbeam.training.callbacks import Clock
from hornbeam.training.following.tensorboard import TensorBoard

directory, state, stop = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
clock = Clock(100, 4)
callback = TensorBoard(directory, clock, hyperparameters={"learning_rate": 0.5})
inputs = keras.Input((4,))
callback.set_model(keras.Model(inputs, keras.layers.Dense(2)(inputs)))
if state.exists():
    kept = json.loads(state.read_text())
    clock.step = kept["step"]
    callback.set_state(kept["callback"])
while clock.step < 10:
    clock.step += 1
    callback.on_epoch_end(clock.step - 1, {"val_loss": 1 / clock.step})
    if clock.step == stop:
        state.write_text(json.dumps({"step": clock.step, "callback": callback.get_state()}))
    if stop and clock.step == stop + 3:
        with callback._events.path.open("ab") as file:
            file.write(b"half an event")
        print("written", flush=True)
        time.sleep(60)
callback.on_train_end()
"""


def write(*words, kill=False):
    environment = {**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
    process = subprocess.Popen([sys.executable, "-c", WRITER, *map(str, words)], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)  # fmt: skip
    if kill:
        assert process.stdout.readline() == "written\n"
        process.send_signal(signal.SIGKILL)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == (-signal.SIGKILL if kill else 0), errors[-2000:]


@pytest.mark.slow
def test_curves_after_kills_and_resumes_are_those_of_an_uninterrupted_training(tmp_path):
    write(tmp_path / "whole", tmp_path / "none", 0)
    broken, state = tmp_path / "broken", tmp_path / "state.json"
    write(broken, state, 2, kill=True)  # a checkpoint at 2, killed at 5
    assert [step for step, _ in curve(broken, "loss/validation")] == [1, 2, 3, 4, 5]
    along = read(broken)  # a TensorBoard that was open all the time
    write(broken, state, 6, kill=True)  # from 2 to 9, with a checkpoint at 6
    assert len(event_files(broken, "train")) == 2
    write(broken, state, 0)
    assert curve(broken, "loss/validation") == curve(tmp_path / "whole", "loss/validation")
    assert [e.step for e in along.Reload().Scalars("loss/validation")] == list(range(1, 11))
    # Not what it had noted when it was killed: the first file was cut, the second too.
    for directory in (broken, tmp_path / "whole"):
        assert sum(e.HasField("graph_def") for e in events(directory)) == 1
        assert [p.sessions[0].status for p in hparams(directory)] == [1]


def events(directory):
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    for path in event_files(directory, "train"):
        yield from EventFileLoader(str(path)).Load()


def test_a_training_that_begins_anew_leaves_nothing_of_the_one_before(tmp_path):
    for _ in range(2):
        clock, callback = following(tmp_path)
        clock.step = 4
        callback.on_epoch_end(0, {"loss": 1.0})
    other = EventFile(tmp_path, "other")
    clock, callback = following(tmp_path)
    callback.on_epoch_end(0, {"loss": 2.0})
    assert len(event_files(tmp_path, "train")) == 1
    assert other.path.exists(), "files of others are not touched"


def test_a_file_of_the_same_second_is_another(tmp_path):
    files = [EventFile(tmp_path, "train") for _ in range(12)]
    assert len({file.path for file in files}) == 12
    assert [f.path for f in files] == list(event_files(tmp_path, "train"))


@pytest.mark.parametrize("backend", ["tensorflow", pytest.param("jax", marks=pytest.mark.slow)])
def test_a_training_shows_all_of_it_and_is_not_changed_by_it(
    hornbeam_here, shapes, tmp_path, backend
):
    weights = {}
    for name, options in {
        "shown": ("--tensorboard-images", 4, "--tensorboard-histograms"),
        "hidden": ("--no-tensorboard",),
    }.items():
        done = hornbeam_here("train", shapes, "--run", tmp_path / name, "--epochs", 2, "--batch-size", 8, "--image-size", 32, "--ema", 0.9, "--mixup", 0.2, *options, backend=backend)  # fmt: skip
        assert done.code == 0, done.err
        model = keras.saving.load_model(tmp_path / name / "model.keras", compile=False)
        weights[name] = model.get_weights()
    for shown, hidden in zip(weights["shown"], weights["hidden"], strict=True):
        np.testing.assert_array_equal(shown, hidden)
    assert not (tmp_path / "hidden" / "tensorboard").exists()
    found = read(tmp_path / "shown" / "tensorboard")
    steps = [e.step for e in found.Scalars("accuracy/validation")]
    assert len(steps) == 2
    for tag in ("loss/train", "loss/validation", "learning_rate", "pictures_per_second"):
        assert [e.step for e in found.Scalars(tag)] == steps
    assert [e.step for e in found.Images("validation/label")] == steps
    names = found.Tags()["histograms"]
    assert all([e.step for e in found.Histograms(name)] == steps for name in names)
    assert any(name.endswith("kernel") for name in names)
    assert found.Graph() is not None
    (group,) = hparams(tmp_path / "shown")
    shown = dict(plain(group.hparams))
    assert (shown["image_size"], shown["batch_size"], shown["ema"]) == ("32x32x3", 8, 0.9)
