"""ONNX files, by tf2onnx and ONNX Runtime."""

from __future__ import annotations

import contextlib
import gc
import json
import shutil
import tempfile
import warnings
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hornbeam.deployment.bundle.manifest import FEATURES, IMAGE, Tensor
from hornbeam.deployment.conversion.graph import answer_names, frozen_graph, input_specs
from hornbeam.deployment.conversion.job import Converted, Job
from hornbeam.deployment.conversion.operators import foreign_to_onnx, missing
from hornbeam.errors import ModelError

if TYPE_CHECKING:
    import keras

OPSET = 18
"""The newest that tf2onnx 1.17 knows all of; ONNX Runtime has it since 1.14, OpenVINO since 2023.1."""


def convert(model: keras.Model, job: Job, path: Path) -> Converted:
    """Write an `.onnx` file of any batch."""
    return write_onnx(model, job, path, "onnx")


def write_onnx(model: keras.Model, job: Job, path: Path, name: str = "onnx") -> Converted:
    """Write a float32 `.onnx` file of any batch, whose outputs are called as those of the model.

    It is made once for all formats that begin with it.

    Args:
        model: see `rebuild.rebuilt`.
        job: what was asked for.
        path: where to write it.
        name: of the format for which it is made.

    Raises:
        ModelError: ONNX has no operator for something.
    """
    if model not in _MADE:
        folder = Path(tempfile.mkdtemp(prefix="hornbeam-onnx-"))
        weakref.finalize(model, shutil.rmtree, folder, ignore_errors=True)
        _write(model, job, folder / "model.onnx")
        _MADE[model] = folder / "model.onnx"
    shutil.copyfile(_MADE[model], path)
    called = output_names(job)
    return Converted(
        name, path.name,
        {n: Tensor(n, s.dtype.name, tuple(s.shape)) for n, s in input_specs(model, None).items()},
        {n: Tensor(c, "float32", (None, *model.output[n].shape[1:])) for n, c in called.items()},
    )  # fmt: skip


_MADE: weakref.WeakKeyDictionary[keras.Model, Path] = weakref.WeakKeyDictionary()


def output_names(job: Job) -> dict[str, str]:
    """Return how outputs are called in the file: as the tasks, unless an input has that name."""
    return {name: f"{name} (answer)" if name in (IMAGE, FEATURES) else name for name in job.outputs}


def _write(model: keras.Model, job: Job, path: Path) -> None:
    import onnx
    import onnxruntime

    made = _converted(model, job)
    foreign = foreign_to_onnx(made)
    if foreign:
        raise missing("ONNX", foreign, model)
    _rename(
        made, dict(zip(answer_names(job.outputs).values(), output_names(job).values(), strict=True))
    )
    plain = path.with_name("plain.onnx")
    onnx.save(made, plain)
    del made
    gc.collect()  # graphs of TensorFlow are full of cycles
    # ONNX Runtime folds constants, and batch normalisation into convolutions, in a tenth of the memory
    # that TensorFlow's own optimiser takes. On this level it puts in no operators of its own.
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(path)
    options.log_severity_level = 3
    onnxruntime.InferenceSession(str(plain), options, providers=["CPUExecutionProvider"])
    plain.unlink()
    finished = onnx.load(path)
    _finish(finished, model, job)
    onnx.checker.check_model(finished, full_check=True)
    onnx.save(finished, path)


def _converted(model: keras.Model, job: Job) -> Any:
    """Return what tf2onnx makes, before it is optimised: a `ModelProto`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy: "In the future `np.object` will be defined"
        from keras.src.export.tf2onnx_lib import patch_tf2onnx

        patch_tf2onnx()  # tf2onnx 1.17 was written for NumPy 1
    import tensorflow as tf
    from tf2onnx import optimizer, tfonnx

    ends = [
        f"{name}:0" for name in (*input_specs(model, None), *answer_names(job.outputs).values())
    ]
    inputs, outputs = ends[: -len(job.outputs)], ends[-len(job.outputs) :]
    frozen = frozen_graph(model, job.outputs, batch=None)
    with tf.Graph().as_default() as graph, _constants_once():
        tf.import_graph_def(frozen, name="")
        del frozen
        made = tfonnx.process_tf_graph(
            graph, opset=OPSET, input_names=inputs, output_names=outputs,
            tensors_to_rename={name: name.removesuffix(":0") for name in (*inputs, *outputs)},
        )  # fmt: skip
        return optimizer.optimize_graph(made, catch_errors=False).make_model("Hornbeam")


@contextlib.contextmanager
def _constants_once() -> Iterator[None]:
    """Keep tf2onnx from copying all weights after each of its optimisations (ResNet50: 2.4 GB)."""
    from tf2onnx.graph import Node

    before = Node.update_proto

    def update(node: Any, external_tensor_storage: Any = None) -> None:
        if not node.is_const():  # constants are read elsewhere, when the model is made
            before(node, external_tensor_storage)

    Node.update_proto = update
    try:
        yield
    finally:
        Node.update_proto = before


def _rename(made: Any, names: dict[str, str]) -> None:
    """Rename outputs; what was called so before gets another name."""
    taken = set(names.values())
    every = {n for node in made.graph.node for n in (*node.input, *node.output)}
    free = {name: f"{name}/inside" for name in every & taken}
    anew = {**free, **names}
    for node in made.graph.node:
        node.input[:] = [anew.get(name, name) for name in node.input]
        node.output[:] = [anew.get(name, name) for name in node.output]
    for each in (*made.graph.initializer, *made.graph.output, *made.graph.value_info):
        each.name = anew.get(each.name, each.name)


def _finish(made: Any, model: keras.Model, job: Job) -> None:
    """Say what the file is, and what it takes and gives."""
    import onnx

    specs = input_specs(model, None)
    if {each.name for each in made.graph.input} != set(specs):
        raise ModelError(f"The file takes {', '.join(i.name for i in made.graph.input)}.")
    for end in (*made.graph.input, *made.graph.output):
        end.type.tensor_type.shape.dim[0].Clear()
        end.type.tensor_type.shape.dim[0].dim_param = "batch"
    used = {node.domain for node in made.graph.node}
    kept = [each for each in made.opset_import if each.domain in used]
    del made.opset_import[:]
    made.opset_import.extend(kept)
    made.producer_name = "hornbeam"
    made.producer_version = str(job.description.get("version", ""))
    onnx.helper.set_model_props(made, _properties(job, specs[IMAGE].shape))


def _properties(job: Job, shape: Any) -> dict[str, str]:
    """Return what the file says of itself, in text.

    `names`, `task`, `imgsz` and `batch` as Ultralytics writes them, whose readers take literals of
    Python; all, of all tasks, as JSON in `hornbeam`.
    """
    tasks = job.description.get("tasks", {})
    first = next(iter(tasks.values()), ())
    return {
        "description": str(job.description.get("name", "")),
        "author": "Hornbeam",
        "version": str(job.description.get("version", "")),
        "task": "classify",
        "names": repr(dict(enumerate(first))),
        "imgsz": repr([int(side) for side in shape[1:3]]),
        "channels": str(shape[3]),
        "batch": "1",
        "dynamic": "True",
        "hornbeam": json.dumps({**job.description, "outputs": output_names(job)}),
    }
