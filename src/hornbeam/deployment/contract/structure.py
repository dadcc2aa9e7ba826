"""What must be true of a file before it is asked anything: inputs, outputs, operators.

Some converters succeed with files that no other runtime takes, or whose inputs nobody knows of.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from xml.etree import ElementTree

from hornbeam.deployment.bundle.manifest import FEATURES, IMAGE, UNKNOWN, Artifact, Manifest, Tensor

COMPILED = b"edgetpu-custom-op"
"""What a file has inside that the Edge TPU's compiler has made."""

_INT8 = ("litert-int8", "edgetpu", "onnx-int8")
_DOMAINS = ("", "ai.onnx", "ai.onnx.ml")
_QUANTISED_DOMAINS = (*_DOMAINS, "com.microsoft")
"""ONNX Runtime's own, which has the quantised operators that ONNX lacks."""

_ONNX_FLOATS = ("Gemm", "MatMul", "Conv", "ConvTranspose")
"""Operators that cost time: in an int8 file all their inputs come out of a DequantizeLinear."""


def faults(directory: Path, artifact: Artifact, manifest: Manifest) -> list[str]:
    """Return what is wrong with a file, a sentence each; nothing where it may be asked.

    Args:
        directory: that it is in.
        artifact: what the converter said of it.
        manifest: what it is to answer.
    """
    said = _of_tensors(artifact, manifest)
    look = _LOOKS.get(artifact.format.partition("-")[0])
    path = directory / artifact.file
    if look is not None:
        try:
            said += look(path, artifact, manifest)
        except Exception as error:  # of libraries that read what may be no such file at all
            words = " ".join(str(error).split())[:300]
            said.append(f"its file cannot be read ({type(error).__name__}: {words})")
    return said


def _of_tensors(artifact: Artifact, manifest: Manifest) -> list[str]:
    said = []
    inputs = [IMAGE, *([FEATURES] if manifest.features else [])]
    outputs = [t.name for t in manifest.tasks] + [UNKNOWN] * (manifest.unknown is not None)
    for what, found, wanted in (
        ("inputs", artifact.inputs, inputs), ("outputs", artifact.outputs, outputs),
    ):  # fmt: skip
        if sorted(found) != sorted(wanted):
            said.append(f"its {what} are {_names(found)}; expected {_names(wanted)}")
    if IMAGE in artifact.inputs:
        image = artifact.inputs[IMAGE]
        static = artifact.format.startswith("litert") or artifact.format == "edgetpu"
        batches: tuple[int | None, ...] = (1,) if static else (None,)
        if image.dtype != "uint8":
            said.append(f"its pixels are {image.dtype}; expected uint8")
        if tuple(image.shape[1:]) != manifest.image_size or image.shape[0] not in batches:
            said.append(f"its pixels have the shape {list(image.shape)}")
    for task in manifest.tasks:
        tensor = artifact.outputs.get(task.name)
        if tensor is not None and tensor.shape[-1:] != (len(task.classes),):
            said.append(f"its output {task.name} has the shape {list(tensor.shape)}")
    return said


def _of_litert(path: Path, artifact: Artifact, manifest: Manifest) -> list[str]:
    from hornbeam.deployment.conversion.quantisation.flatbuffer import Graph, float_operators
    from hornbeam.deployment.conversion.quantisation.side_features import first_operators

    graph = Graph(path.read_bytes())
    said = []
    foreign = {o.type for o in graph.operators if o.type.startswith("CUSTOM") or "FLEX" in o.type}
    if artifact.format == "edgetpu":
        foreign -= {f"CUSTOM {COMPILED.decode()}"}
    if foreign:
        said.append(f"it has operators that LiteRT lacks: {_names(sorted(foreign))}")
    if any(side < 0 for tensor in graph.inputs for side in tensor.shape):
        said.append("the shapes of its inputs are not fixed")
    said += _counted(graph.inputs, artifact.inputs, "inputs")
    said += _counted(graph.outputs, artifact.outputs, "outputs")
    if artifact.format in _INT8:
        first = first_operators(graph) if manifest.features else ()
        said += _unnamed({o.type for o in float_operators(graph) if o not in first}, artifact)
    return said


def _of_onnx(path: Path, artifact: Artifact, manifest: Manifest) -> list[str]:
    import onnx

    from hornbeam.deployment.conversion.quantisation.side_features import first_nodes

    onnx.checker.check_model(str(path))
    graph = onnx.load(str(path)).graph
    stored = {tensor.name for tensor in graph.initializer}
    inputs = [given.name for given in graph.input if given.name not in stored]
    said = _counted(inputs, artifact.inputs, "inputs")
    said += _counted(graph.output, artifact.outputs, "outputs")
    int8 = artifact.format in _INT8
    domains = _QUANTISED_DOMAINS if int8 else _DOMAINS
    foreign = {f"{n.domain}.{n.op_type}" for n in graph.node if n.domain not in domains}
    if foreign:
        said.append(f"it has operators that ONNX lacks: {_names(sorted(foreign))}")
    if int8:
        integers = {
            name
            for node in graph.node
            if node.op_type == "DequantizeLinear"
            for name in node.output
        }
        first = [node.name for node in first_nodes(graph)] if manifest.features else []
        floats = {
            node.op_type
            for node in graph.node
            if node.op_type in _ONNX_FLOATS
            and not set(node.input[:2]) <= integers
            and node.name not in first
        }
        said += _unnamed(floats, artifact)
    return said


def _of_openvino(path: Path, artifact: Artifact, manifest: Manifest) -> list[str]:
    layers = [layer.get("type") for layer in ElementTree.parse(path).iter("layer")]
    said = _counted([t for t in layers if t == "Parameter"], artifact.inputs, "inputs")
    said += _counted([t for t in layers if t == "Result"], artifact.outputs, "outputs")
    return said if path.with_suffix(".bin").is_file() else [*said, "its .bin file is missing"]


def _of_savedmodel(path: Path, artifact: Artifact, manifest: Manifest) -> list[str]:
    return [] if (path / "saved_model.pb").is_file() else ["it has no saved_model.pb"]


_LOOKS: Mapping[str, Callable[[Path, Artifact, Manifest], list[str]]] = {
    "litert": _of_litert,
    "edgetpu": _of_litert,
    "onnx": _of_onnx,
    "openvino": _of_openvino,
    "savedmodel": _of_savedmodel,
}
"""By the beginning of the format's name."""


def _counted(found: Iterable[object], told: Mapping[str, Tensor], what: str) -> list[str]:
    count = len(list(found))
    return [] if count == len(told) else [f"its graph has {count} {what}; expected {len(told)}"]


def _unnamed(types: set[str], artifact: Artifact) -> list[str]:
    """Return a sentence about operators that are in float, but for those that the notes name."""
    told = " ".join(artifact.notes)
    silent = sorted(name for name in types if name not in told)
    if not silent:
        return []
    return [f"operators of these types are left in float, and no note says so: {_names(silent)}"]


def _names(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"
