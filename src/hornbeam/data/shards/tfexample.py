"""`tf.train.Example`, without TensorFlow: what a record carries, in the usual keys.

The messages are declared here, in a pool of their own, so that TensorFlow in the same process can
declare its own (tensorflow/core/example/{example,feature}.proto).
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from hornbeam.data.shards.records import Damaged

ENCODED = "image/encoded"
FORMAT = "image/format"
FILENAME = "image/filename"
HEIGHT = "image/height"
WIDTH = "image/width"
CHANNELS = "image/channels"
LABEL = "image/class/label"
TEXT = "image/class/text"
NUMBER = "image/feature/"
"""Before the name of a side feature, a float."""

Value = bytes | int | float | list[bytes] | list[int] | list[float]


def encode(features: Mapping[str, Value]) -> bytes:
    """Return the bytes of an example; the same features give the same bytes."""
    example = _message()()
    feature = example.features.feature
    for key, value in features.items():
        values = value if isinstance(value, list) else [value]
        kept = feature[key]  # without values it has no kind, and is read as a list of any
        if values and isinstance(values[0], bytes):
            kept.bytes_list.value.extend(values)
        elif values and isinstance(values[0], float):
            kept.float_list.value.extend(values)
        elif values:
            kept.int64_list.value.extend(values)
    # Without this the order of the keys differs from process to process.
    return bytes(example.SerializeToString(deterministic=True))


def parse(payload: bytes | memoryview) -> Any:
    """Return the features of an example: a mapping from keys to messages.

    Raises:
        Damaged: the payload is no `tf.train.Example`.
    """
    from google.protobuf.message import DecodeError

    try:
        return _message().FromString(payload).features.feature
    except (DecodeError, RuntimeError):  # the pure Python parser raises the second for bad UTF-8
        raise Damaged("it holds no tf.train.Example") from None


def picture(payload: memoryview) -> bytes:
    """Return the encoded picture of an example.

    Raises:
        Damaged: there is none, or more than one, or the payload is no `tf.train.Example`.
    """
    features = parse(payload)
    values = features[ENCODED].bytes_list.value if ENCODED in features else []
    if len(values) != 1:
        number = f"{len(values)} values of" if values else "no"
        raise Damaged(f"it has {number} '{ENCODED}'; expected one picture")
    return bytes(values[0])


def texts(features: Any, key: str) -> list[str]:
    """Return the texts under a key; none if it is not there.

    Raises:
        Damaged: one is not UTF-8.
    """
    if key not in features:
        return []
    try:
        return [value.decode() for value in features[key].bytes_list.value]
    except UnicodeDecodeError:
        raise Damaged(f"'{key}' is not UTF-8") from None


def numbers(features: Any, key: str) -> list[int]:
    """Return the whole numbers under a key; none if it is not there."""
    return list(features[key].int64_list.value) if key in features else []


@functools.cache
def _message() -> Any:
    """Return the class of `tf.train.Example`."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(
        name="hornbeam/example.proto", package="tensorflow", syntax="proto3"
    )

    def field(message: Any, name: str, number: int, kind: Any, of: str = "", **more: Any) -> None:
        label = more.pop("label", kinds.LABEL_REPEATED)
        made = message.field.add(name=name, number=number, type=kind, label=label, **more)
        if of:
            made.type_name = f".tensorflow.{of}"

    for name, kind in (
        ("BytesList", kinds.TYPE_BYTES),
        ("FloatList", kinds.TYPE_FLOAT),
        ("Int64List", kinds.TYPE_INT64),
    ):
        field(file.message_type.add(name=name), "value", 1, kind)
    feature = file.message_type.add(name="Feature")
    feature.oneof_decl.add(name="kind")
    for number, (name, of) in enumerate(
        (("bytes_list", "BytesList"), ("float_list", "FloatList"), ("int64_list", "Int64List")), 1
    ):
        field(feature, name, number, kinds.TYPE_MESSAGE, of, label=kinds.LABEL_OPTIONAL,
              oneof_index=0)  # fmt: skip
    features = file.message_type.add(name="Features")
    entry = features.nested_type.add(name="FeatureEntry")
    entry.options.map_entry = True
    field(entry, "key", 1, kinds.TYPE_STRING, label=kinds.LABEL_OPTIONAL)
    field(entry, "value", 2, kinds.TYPE_MESSAGE, "Feature", label=kinds.LABEL_OPTIONAL)
    field(features, "feature", 1, kinds.TYPE_MESSAGE, "Features.FeatureEntry")
    example = file.message_type.add(name="Example")
    field(example, "features", 1, kinds.TYPE_MESSAGE, "Features", label=kinds.LABEL_OPTIONAL)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("tensorflow.Example"))
