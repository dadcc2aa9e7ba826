"""The pictures in the body of a request, whatever its media type."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from hornbeam.deployment.server.refusals import Refusal
from hornbeam.deployment.server.schemas import (
    BATCH,
    BYTES,
    FORM,
    JSON,
    LARGEST,
    SINGLE,
    Features,
    Question,
    Questions,
)

_TYPES = f"{FORM}, {JSON}, {BYTES} or image/…"

_MOST_FIELDS = 16
"""Of a form, beside the pictures; there is use for one."""

_SIGNS_A_PICTURE, _SIGNS_A_COLUMN = 16, 8
"""Commas and brackets of JSON, at most: base64 has none, and 32 MiB of them would take gigabytes."""

_NOT_ASCII, _MOST_NOT_ASCII = bytes(range(128, 256)), 64 * 1024
"""Of JSON: only names of numbers beside pictures can have some, and mistakes."""


class Received(NamedTuple):
    """A picture as it came.

    Attributes:
        name: of the file, where the client told one.
        data: its bytes; or, as text, their base64.
        features: numbers beside it, float32 `[columns]`; `None` where the model takes none.
    """

    name: str | None
    data: bytes | str
    features: NDArray[np.float32] | None


class Asked(NamedTuple):
    """What a body asks about.

    Attributes:
        pictures: at least one.
        batch: whether one that cannot be read has its error in its place, and the others answers.
    """

    pictures: list[Received]
    batch: bool


def media_type(content_type: str | None) -> str:
    """Return the media type of a request without its parameters, in lower case.

    Raises:
        Refusal: it is none of those that are taken.
    """
    kind = (content_type or "").partition(";")[0].strip().lower()
    if kind not in (FORM, JSON, BYTES) and not kind.startswith("image/"):
        raise Refusal(
            415, f"Send pictures as {_TYPES} (Content-Type was {_quoted(kind)})." if kind
            else f"Send pictures as {_TYPES}; there was no Content-Type.",
        )  # fmt: skip
    return kind


def read_form(
    kind: str, content_type: str, body: bytes, columns: Sequence[str], max_pictures: int
) -> Asked:
    """Return the pictures in a body.

    Args:
        kind: see `media_type`.
        content_type: the whole header.
        body: all of it.
        columns: names of the numbers that the model takes beside a picture, in its order.
        max_pictures: more are refused.

    Raises:
        Refusal: there is none, too many, or the body is not what its media type says.
    """
    if not body:
        raise Refusal(422, "The request is empty; send a picture.")
    if kind == FORM:
        return _read_multipart(content_type, body, columns, max_pictures)
    if kind == JSON:
        return _read_json(body, columns, max_pictures)
    if columns:
        raise Refusal(
            422, f"This model takes numbers beside each picture ({', '.join(columns)}): send a form "
            f"with a field '{SINGLE}' and a field 'features', or JSON.",
        )  # fmt: skip
    return Asked([Received(None, body, None)], batch=False)


def _read_json(body: bytes, columns: Sequence[str], max_pictures: int) -> Asked:
    kind: type[Question] | type[Questions] = Question
    _require_few_values(body, columns, max_pictures)
    try:
        content = json.loads(_in_ascii(body))
        kind = Questions if isinstance(content, dict) and BATCH in content else Question
        asked = kind.model_validate(content, strict=True)
    except ValidationError as error:
        raise Refusal(422, _fault(error)) from None
    except (ValueError, RecursionError) as error:
        raise Refusal(422, f"The request is not JSON ({error}).") from None
    questions = asked.images if isinstance(asked, Questions) else [asked]
    _count(len(questions), max_pictures)
    pictures = [
        Received(None, _without_address(q.image), _numbers(q.features, columns, place))
        for place, q in enumerate(questions)
    ]
    return Asked(pictures, batch=isinstance(asked, Questions))


def _in_ascii(text: bytes) -> str:
    """Return JSON whose other characters are escaped: one alone makes Python's text four times as long.

    Raises:
        ValueError: it is not UTF-8.
        Refusal: there are many, and base64 has none.
    """
    if not text.isascii():
        if len(text) - len(text.translate(None, _NOT_ASCII)) > _MOST_NOT_ASCII:
            raise Refusal(422, "The JSON is not base64 and numbers: most of its text is not ASCII.")
        text = re.sub(
            rb"[\x80-\xff]+", lambda found: json.dumps(found[0].decode())[1:-1].encode(), text
        )
    return text.decode("ascii")


def _require_few_values(text: bytes, columns: Sequence[str], max_pictures: int) -> None:
    """Refuse JSON whose values cannot all belong to pictures, before they take the memory."""
    most = (max_pictures + 1) * (_SIGNS_A_PICTURE + _SIGNS_A_COLUMN * len(columns))
    # Of encodings other than UTF-8 nothing is found here, and they are not read either.
    if sum(map(text.count, (b",", b"[", b"{"))) > most:
        raise Refusal(422, f"The JSON has more values than {max_pictures} pictures can have.")


def _without_address(text: str) -> str:
    """Return base64 alone, where somebody sends a `data:` address."""
    return text.partition(",")[2] if text.startswith("data:") else text


def _read_multipart(
    content_type: str, body: bytes, columns: Sequence[str], max_pictures: int
) -> Asked:
    _, options = parse_options_header(content_type)
    boundary = options.get(b"boundary")
    if not boundary:
        raise Refusal(422, "The Content-Type of the form names no boundary.")
    parts = _Parts(max_pictures)
    try:
        parser = MultipartParser(boundary, parts.callbacks())
        parser.write(body)
        parser.finalize()
    except (FormParserError, UnicodeDecodeError, ValueError) as error:
        raise Refusal(422, f"The form is damaged ({error}).") from None
    if not parts.complete:
        raise Refusal(422, "The form is cut short.")
    if not parts.pictures:
        raise Refusal(422, f"The form has no picture; send a file as '{SINGLE}'.")
    _require_few_values(parts.features or b"", columns, max_pictures)
    given = _features_of(parts.features, len(parts.pictures))
    pictures = [
        Received(name, data, _numbers(features, columns, place))
        for place, ((name, data), features) in enumerate(zip(parts.pictures, given, strict=True))
    ]
    return Asked(pictures, batch=len(pictures) > 1)


def _features_of(text: bytes | None, count: int) -> Sequence[Features | None]:
    """Return the numbers beside each picture, of a form's field: an object, or a list of them."""
    if text is None:
        return [None] * count
    try:
        content = json.loads(_in_ascii(text))
        listed = content if isinstance(content, list) else [content]
        values = [
            Question.model_validate({"image": "-", "features": each}, strict=True)
            for each in listed
        ]
    except ValidationError as error:
        raise Refusal(422, _fault(error)) from None
    except (ValueError, RecursionError) as error:
        raise Refusal(422, f"The field 'features' is not JSON ({error}).") from None
    if len(values) != count:
        raise Refusal(
            422,
            f"The field 'features' has numbers for {len(values)} pictures, and there are {count}.",
        )
    return [value.features for value in values]


class _Parts:
    """Collects what the parser finds in a form.

    Attributes:
        pictures: (name of the file, bytes) of parts that are files, or are called as pictures are.
        features: the text of the field of that name.
        complete: whether the last boundary was there.
    """

    def __init__(self, max_pictures: int) -> None:
        self.pictures: list[tuple[str | None, bytes]] = []
        self.features: bytes | None = None
        self.complete = False
        self._max_pictures = max_pictures
        self._others = 0
        self._name, self._value = bytearray(), bytearray()
        self._headers: dict[bytes, bytes] = {}
        self._data: list[bytes] = []

    def callbacks(self) -> Any:
        return {
            "on_part_begin": self._begin, "on_part_data": self._more, "on_part_end": self._close,
            "on_header_field": lambda data, start, end: self._name.extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
            "on_header_end": self._header, "on_end": self._end,
        }  # fmt: skip

    def _begin(self) -> None:
        self._headers, self._data = {}, []

    def _more(self, data: bytes, start: int, end: int) -> None:
        self._data.append(data[start:end])

    def _header(self) -> None:
        self._headers[bytes(self._name).lower()] = bytes(self._value)
        self._name.clear()
        self._value.clear()

    def _end(self) -> None:
        self.complete = True

    def _close(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        name, file = options.get(b"name", b""), options.get(b"filename")
        data = self._data[0] if len(self._data) == 1 else b"".join(self._data)
        if file is not None or name in (SINGLE.encode(), BATCH.encode()):
            _count(len(self.pictures) + 1, self._max_pictures)
            text = file.decode("utf-8", "replace") if file else None
            self.pictures.append((text, data))
        elif name == b"features":
            self.features = data
        else:
            self._others += 1
            if self._others > _MOST_FIELDS:
                raise Refusal(422, "The form has too many fields that are no pictures.")


def _count(pictures: int, most: int) -> None:
    if pictures > most:
        raise Refusal(422, f"More than {most} pictures in one request; send fewer at a time.")


def _numbers(
    given: Mapping[str, float] | None, columns: Sequence[str], place: int
) -> NDArray[np.float32] | None:
    """Return the numbers beside a picture in the model's order."""
    given = given or {}
    unknown = [name for name in given if name not in columns]
    missing = [name for name in columns if name not in given]
    if unknown:
        takes = f"takes {', '.join(columns)}" if columns else "takes none"
        raise Refusal(
            422, f"Picture {place}: there is no feature {_quoted(unknown[0])}; this model {takes}."
        )
    if missing:
        raise Refusal(422, f"Picture {place}: the feature {_quoted(missing[0])} is missing.")
    if not columns:
        return None
    values = np.array([given[name] for name in columns], np.float64)
    if not (np.abs(values) < LARGEST).all():
        raise Refusal(422, f"Picture {place}: its features are not within ±{LARGEST:g}.")
    return values.astype(np.float32)


def _fault(error: ValidationError) -> str:
    """Say in one sentence what pydantic found first."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    return f"{place or 'The JSON'}: {str(first['msg'])[:200]}."


def _quoted(text: str) -> str:
    return ascii(text[:100])
