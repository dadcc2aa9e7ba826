"""What a `.tflite` file says of itself: a signature, TFLite Metadata, and lists of classes.

By the published conventions (`metadata_schema.fbs` of tflite-support, version M001), which MediaPipe and
Android's tools read: a buffer called TFLITE_METADATA, and the files that it names in a zip archive after
the end of the flatbuffer. So a `.tflite` file can be opened as a `.zip`, too.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

from hornbeam.deployment.bundle.manifest import IMAGE
from hornbeam.deployment.conversion.graph import answer_names
from hornbeam.deployment.conversion.job import Job

SIGNATURE = "serving_default"
_BUFFER, _IDENTIFIER, _PARSER = "TFLITE_METADATA", b"M001", "1.0.0"
_COLOURS = {3: 1, 1: 2}
"""Of `ColorSpaceType`: RGB and GRAYSCALE; there is none for RGBA."""
_AXIS_LABELS, _FEATURE, _PICTURE, _NORMALIZATION = 2, 1, 2, 1
"""Of the enumerations `AssociatedFileType`, `ContentProperties`, `ProcessUnitOptions`."""


def described(content: bytes, job: Job) -> bytes:
    """Return a file that says what it is.

    Args:
        content: of a `.tflite` file, whose tensors are called as `litert.converter_of` says.
        job: what was asked for.
    """
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_litert.tools import flatbuffer_utils

    from hornbeam.deployment.conversion.quantisation.flatbuffer import model_of

    model = model_of(content)
    graph = model.subgraphs[0]
    outputs = {called: name for name, called in answer_names(job.outputs).items()}
    given = [(graph.tensors[i].name.decode(), i) for i in graph.inputs]
    made = [(outputs[graph.tensors[i].name.decode()], i) for i in graph.outputs]

    signature = schema.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = SIGNATURE, 0
    signature.inputs = [_mapped(schema, name, index) for name, index in given]
    signature.outputs = [_mapped(schema, name, index) for name, index in made]
    model.signatureDefs = [signature]

    files = label_files(job)
    shape = [int(side) for side in graph.tensors[dict(given)[IMAGE]].shape]
    buffer, entry = schema.BufferT(), schema.MetadataT()
    buffer.data = list(_metadata(job, [n for n, _ in given], [n for n, _ in made], shape, files))
    entry.name, entry.buffer = _BUFFER, len(model.buffers)
    model.buffers.append(buffer)
    model.metadata = [each for each in model.metadata or [] if each.name != _BUFFER.encode()]
    model.metadata.append(entry)
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model)) + _archive(files, job)


def label_files(job: Job) -> dict[str, str]:
    """Return the file of classes of each task: `labels.txt`, or of several `labels_colour.txt`."""
    tasks = list(job.description.get("tasks", {}))
    if len(tasks) == 1:
        return {tasks[0]: "labels.txt"}
    result: dict[str, str] = {}
    for number, name in enumerate(tasks):
        safe = re.sub(r"\W+", "_", name).strip("_")
        file = f"labels_{safe}.txt"
        result[name] = file if safe and file not in result.values() else f"labels_{number}.txt"
    return result


def _mapped(schema: Any, name: str, index: int) -> Any:
    result = schema.TensorMapT()
    result.name, result.tensorIndex = name, int(index)
    return result


def _archive(files: Mapping[str, str], job: Job) -> bytes:
    if not files:
        return b""
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w") as archive:  # stored: readers map it into memory
        for task, file in files.items():
            lines = [" ".join(name.splitlines()) for name in job.description["tasks"][task]]
            content = "".join(f"{line}\n" for line in lines).encode("utf-8", "replace")
            archive.writestr(zipfile.ZipInfo(file), content)  # of 1980, so that files are equal
    return memory.getvalue()


def _metadata(
    job: Job,
    inputs: Sequence[str],
    outputs: Sequence[str],
    shape: Sequence[int],
    files: Mapping[str, str],
) -> bytes:
    """Return a flatbuffer of `ModelMetadata`."""
    import flatbuffers

    told = job.description
    builder = flatbuffers.Builder(1024)
    write = _Writer(builder)
    asked = told.get("how_to_ask", {})
    given = [
        write.picture(name, "; ".join(f"{k}: {v}" for k, v in asked.items()), shape)
        if name == IMAGE
        else write.tensor(name, "Numbers beside the picture, as they are.", [])
        for name in inputs
    ]
    made = [
        write.tensor(
            name,
            _probabilities(name, told) if name in files else "How unlike the known classes it is.",
            [files[name]] if name in files else [],
        )
        for name in outputs
    ]
    subgraph = write.table({2: write.offsets(given), 3: write.offsets(made)})
    root = write.table({
        0: write.text(str(told.get("name", ""))),
        1: write.text("Image classifier, made by Hornbeam."),
        2: write.text(str(told.get("version", ""))),
        3: write.offsets([subgraph]),
        7: write.text(_PARSER),
    })  # fmt: skip
    builder.Finish(root, _IDENTIFIER)
    return bytes(builder.Output())


def _probabilities(task: str, told: Mapping[str, Any]) -> str:
    calibrated = task in told.get("calibrated", ())
    return "Probabilities, calibrated." if calibrated else "Probabilities, not calibrated."


class _Writer:
    """Writes tables by the numbers of their fields, in the order of the schema."""

    def __init__(self, builder: Any) -> None:
        self._builder = builder

    def text(self, value: str) -> tuple[str, int]:
        return "offset", self._builder.CreateString(value.encode("utf-8", "replace"))

    def offsets(self, tables: Sequence[int]) -> tuple[str, int]:
        self._builder.StartVector(4, len(tables), 4)
        for table in reversed(tables):
            self._builder.PrependUOffsetTRelative(table)
        return "offset", self._builder.EndVector()

    def floats(self, values: Sequence[float]) -> tuple[str, int]:
        self._builder.StartVector(4, len(values), 4)
        for value in reversed(values):
            self._builder.PrependFloat32(value)
        return "offset", self._builder.EndVector()

    def table(self, fields: Mapping[int, tuple[str, int]]) -> int:
        builder = self._builder
        builder.StartObject(max(fields, default=-1) + 1)
        for slot, (kind, value) in fields.items():
            if kind == "offset":
                builder.PrependUOffsetTRelativeSlot(slot, value, 0)
            elif kind == "byte":
                builder.PrependUint8Slot(slot, value, 0)
            else:
                builder.PrependUint32Slot(slot, value, 0)
        return int(builder.EndObject())

    def tensor(self, name: str, description: str, files: Sequence[str]) -> int:
        content = self.table({0: ("byte", _FEATURE), 1: ("offset", self.table({}))})
        labels = [
            self.table({0: self.text(file), 1: self.text("Classes."), 2: ("byte", _AXIS_LABELS)})
            for file in files
        ]
        fields = {0: self.text(name), 1: self.text(description), 3: ("offset", content)}
        return self.table(fields | ({6: self.offsets(labels)} if labels else {}))

    def picture(self, name: str, description: str, shape: Sequence[int]) -> int:
        _, height, width, channels = shape
        size = self.table({0: ("uint", width), 1: ("uint", height)})
        properties = self.table({
            0: ("byte", _COLOURS.get(channels, 0)), 1: ("offset", size),
        })  # fmt: skip
        content = self.table({0: ("byte", _PICTURE), 1: ("offset", properties)})
        # Nothing is to be done with the bytes: (x - 0) / 1. Readers refuse pictures without.
        options = self.table({0: self.floats([0.0]), 1: self.floats([1.0])})
        unit = self.table({0: ("byte", _NORMALIZATION), 1: ("offset", options)})
        stats = self.table({0: self.floats([255.0]), 1: self.floats([0.0])})
        return self.table({
            0: self.text(name), 1: self.text(description), 3: ("offset", content),
            4: self.offsets([unit]), 5: ("offset", stats),
        })  # fmt: skip
