"""Variables in checkpoints of TensorFlow 1 and 2, read without building a graph or a model."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hornbeam.errors import ConfigError, ModelError
from hornbeam.models.restoring.tables import Stored, first_sentence

_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"
_SHARD = re.compile(r"\.data-\d{5}-of-(\d{5})$")


def find_prefix(path: Path) -> Path | None:
    """Return what the files of a checkpoint have in common, or `None` where there is none.

    Args:
        path: that prefix, one of the files, a directory with a file `checkpoint`, or a SavedModel.

    Raises:
        ConfigError: a directory has several checkpoints, and nothing says which.
    """
    if path.is_dir():
        if (path / "variables" / "variables.index").is_file():
            return path / "variables" / "variables"
        return _latest(path)
    if path.suffix in (".index", ".meta") or _SHARD.search(path.name):
        path = path.with_name(
            _SHARD.sub("", path.name).removesuffix(".index").removesuffix(".meta")
        )
    if Path(f"{path}.index").is_file():
        return path
    return path if path.is_file() and path.suffix != ".pb" and _is_v1(path) else None


def read_checkpoint(prefix: Path) -> dict[str, Stored]:
    """Read the table of a checkpoint; each array is read when it is asked for.

    Names are those of TensorFlow 1 (`MobilenetV2/Conv/weights`), or, in checkpoints of objects, the
    names that the variables had (`Conv1/kernel`), where those are unique.

    Raises:
        ModelError: TensorFlow is not installed, or files are missing or damaged.
    """
    try:
        import tensorflow as tf
    except ImportError:
        raise ModelError(
            f"{prefix} is a TensorFlow checkpoint, and TensorFlow, which reads it, is not installed; "
            "pip install tensorflow-cpu, or save the weights as .safetensors where it is."
        ) from None
    _require_shards(prefix)
    try:
        reader = tf.train.load_checkpoint(str(prefix))
        shapes = reader.get_variable_to_shape_map()
        types = reader.get_variable_to_dtype_map()
        names = _names_of_objects(reader.get_tensor(_GRAPH)) if _GRAPH in shapes else {}
    except Exception as error:  # TensorFlow has kinds of its own, also RuntimeError
        raise ModelError(f"{prefix} cannot be read: {first_sentence(error)}.") from None
    table = {}
    for key in sorted(shapes):
        if key == _GRAPH:
            continue
        name = names.get(key, key.removesuffix(_VALUE))

        def read(key: str = key) -> Any:
            return reader.get_tensor(key)

        table[name] = Stored(tuple(shapes[key]), types[key].name, read)
    return table


def _names_of_objects(content: bytes) -> dict[str, str]:
    """Return by key the names that the variables had, where no two had the same."""
    from tensorflow.core.protobuf import trackable_object_graph_pb2

    graph = trackable_object_graph_pb2.TrackableObjectGraph()
    graph.ParseFromString(content)
    keys: dict[str, set[str]] = {}
    for node in graph.nodes:
        for attribute in node.attributes:
            if attribute.full_name and attribute.checkpoint_key.endswith(_VALUE):
                keys.setdefault(attribute.full_name, set()).add(attribute.checkpoint_key)
    return {
        key: re.sub(r":\d+$", "", name)
        for name, those in keys.items() if len(those) == 1
        for key in those
    }  # fmt: skip


def _require_shards(prefix: Path) -> None:
    there = sorted(prefix.parent.glob(f"{prefix.name}.data-*"))
    counts = {int(found[1]) for path in there if (found := _SHARD.search(path.name))}
    if not Path(f"{prefix}.index").is_file():
        return
    count = max(counts, default=1)
    for number in range(count):
        shard = Path(f"{prefix}.data-{number:05}-of-{count:05}")
        if not shard.is_file():
            raise ModelError(
                f"The checkpoint {prefix} lacks its file {shard.name}; copy it as well."
            )


def _latest(directory: Path) -> Path | None:
    note = directory / "checkpoint"
    if note.is_file():
        found = re.search(r'^model_checkpoint_path: "(.*)"', note.read_text(errors="replace"), re.M)
        if found:
            # Written with the place where it was; the directory may have moved.
            here, there = directory / Path(found[1]).name, directory / found[1]
            return find_prefix(here) or find_prefix(there)
    prefixes = [path.with_suffix("") for path in sorted(directory.glob("*.index"))]
    if len(prefixes) > 1:
        names = ", ".join(prefix.name for prefix in prefixes[:5])
        raise ConfigError(f"{directory} holds several checkpoints ({names}); name one of them.")
    return prefixes[0] if prefixes else None


def _is_v1(path: Path) -> bool:
    """Whether this is a checkpoint of the first kind: a table of leveldb, by its last bytes."""
    with path.open("rb") as file:
        file.seek(0, 2)
        if file.tell() < 48:
            return False
        file.seek(-8, 2)
        return file.read() == bytes.fromhex("57fb808b247547db")
