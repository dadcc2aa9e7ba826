"""Where a network looks: which parts of a picture speak for its answer (Grad-CAM)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hornbeam.data.loader import Loader
from hornbeam.data.pictures import Preprocess
from hornbeam.data.pixels.resize import ResizeMode
from hornbeam.errors import DataError, RunError
from hornbeam.evaluation.heat import heat_by_batches, rows_of
from hornbeam.evaluation.judged import Judged
from hornbeam.evaluation.predictions import Predictions
from hornbeam.storage import replacing

if TYPE_CHECKING:
    import keras

_OF_EACH = 4
"""Confident mistakes, uncertain answers and right ones that are explained, of each task."""

_SIDE = 160
"""Longest side of the pictures that are kept, in pixels."""

_TEXTS = ("paths", "tasks", "classes", "notes")


@dataclasses.dataclass(frozen=True)
class Explanations:
    """Heat over pictures: how much each place speaks for a class.

    Attributes:
        paths: of the pictures, one an entry; a picture may have several, one after the other.
        tasks: name of the question, one an entry.
        classes: the class that the heat speaks for, one an entry.
        notes: what the picture is and was named, one an entry.
        heat: float16 `[entries, rows, columns]`, 0 to 1 at the hottest place; all 0 where nothing in
            the picture speaks for the class.
        pictures: what the network saw, smaller: uint8 `[entries, height, width, 3]`.
        reason: why there is nothing, in a sentence; else empty.
    """

    paths: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    heat: NDArray[np.float16] = dataclasses.field(
        default_factory=lambda: np.zeros((0, 1, 1), np.float16)
    )
    pictures: NDArray[np.uint8] = dataclasses.field(
        default_factory=lambda: np.zeros((0, 1, 1, 3), np.uint8)
    )
    reason: str = ""

    def __len__(self) -> int:
        return len(self.paths)

    def save(self, path: Path) -> None:
        """Write a `.npz` file, whole or not at all."""
        # As bytes, because numpy cuts zeros off the ends of strings and refuses some of what files
        # are called.
        texts: dict[str, Any] = {
            name: np.frombuffer("\0".join(getattr(self, name)).encode(errors=_ODD), np.uint8)
            for name in _TEXTS
        }
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(
                file, heat=self.heat, pictures=self.pictures, reason=np.array(self.reason), **texts
            )

    @classmethod
    def load(cls, path: Path) -> Explanations:
        """Read a file that `save` wrote.

        Raises:
            RunError: it is damaged.
        """
        try:
            with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
                heat, pictures, reason = file["heat"], file["pictures"], str(file["reason"])
                texts: dict[str, Any] = {
                    name: tuple(file[name].tobytes().decode(errors=_ODD).split("\0"))
                    for name in (_TEXTS if len(heat) else ())
                }
            if {len(heat), len(pictures)} != {len(texts.get(name, ())) for name in _TEXTS}:
                raise ValueError("its parts differ in length")
        except Exception as error:  # numpy and zipfile raise many kinds for a damaged file
            raise RunError(f"{path} cannot be read ({' '.join(str(error).split())}).") from None
        return cls(heat=heat, pictures=pictures, reason=reason, **texts)


_ODD = "surrogatepass"
"""How names of files that are no UTF-8 are written, and read back."""


class _Wish(NamedTuple):
    """One heat to be computed: a picture's row, a class, and what is said of both."""

    row: int
    of: int
    note: str


def explain(
    model: keras.Model,
    predictions: Predictions,
    *,
    image_size: tuple[int, ...],
    batch_size: int,
    resize_mode: ResizeMode = "crop",
    preprocess: Preprocess | None = None,
) -> Explanations:
    """Say where a classifier looks, for some right, wrong and uncertain answers of each task.

    Grad-CAM (Selvaraju et al. 2017) at the last map of features: its channels, weighed by how much the
    logit grows with their mean, summed; what speaks against the class is left out. Where the head is
    linear in the map's mean these are its weights (CAM, Zhou et al. 2016), and no gradient is needed.

    Args:
        model: from uint8 pixels, and the dataset's side features if it has some, to logits by task.
        predictions: its answers to pictures that can be read.
        image_size: (height, width) or (height, width, channels) that the model takes.
        batch_size: pictures per forward pass, at most.
        resize_mode: how the model's training pictures got their shape.
        preprocess: the recipe's function, see `Loader`.
    """
    wishes = {task.name: _wishes(predictions, task) for task in predictions.tasks}
    rows = sorted({wish.row for of_task in wishes.values() for wish in of_task})
    if not rows:
        return Explanations(reason="There is no picture to look at.")
    place = {row: i for i, row in enumerate(rows)}
    loader = Loader(
        predictions.dataset.take(rows), batch_size=len(rows), image_size=image_size,
        resize_mode=resize_mode, preprocess=preprocess,
    )  # fmt: skip
    try:
        inputs = loader.batch(0).inputs
    except DataError as error:  # gone since the model was asked about them
        return Explanations(reason=str(error))
    seen = _small(inputs["image"] if isinstance(inputs, dict) else inputs)
    parts: list[Explanations] = []
    reasons = []
    for task in predictions.tasks:
        chosen = wishes[task.name]
        at = np.array([place[wish.row] for wish in chosen])
        of = np.array([wish.of for wish in chosen])
        heat = heat_by_batches(model, task.name, rows_of(inputs, at), of, batch_size)
        if isinstance(heat, str):
            reasons.append(heat)
            continue
        parts.append(Explanations(
            tuple(predictions.dataset.paths[wish.row] for wish in chosen),
            (task.name,) * len(chosen), tuple(task.classes[wish.of] for wish in chosen),
            tuple(wish.note for wish in chosen), heat.astype(np.float16), seen[at],
        ))  # fmt: skip
    return _joined(parts) if parts else Explanations(reason=reasons[0])


def _wishes(predictions: Predictions, task: Any) -> list[_Wish]:
    """Choose what to explain of a task: the worst mistakes, what was uncertain, and what was right."""
    answers = Judged.of(predictions, task)
    mistakes = answers.mistakes()[:_OF_EACH].tolist()
    doubtful = answers.uncertain()
    uncertain = [row for row in doubtful[: 2 * _OF_EACH].tolist() if row not in mistakes]
    surest = [
        row for row in doubtful[::-1].tolist() if not answers.wrong[row] and answers.known[row]
    ]
    if task.multi_label:
        rows = [*mistakes, *uncertain[:_OF_EACH], *surest[:_OF_EACH]]
        return [_wish_of_many(predictions, answers, row) for row in dict.fromkeys(rows)]
    wishes = []
    for row in mistakes:
        note = (
            f"Is {answers.label_in_words(row)}, was named {answers.answer_in_words(row)} "
            f"({answers.confidence[row]:.0%})."
        )
        wishes += [
            _Wish(row, int(answers.answers[row]), note),
            _Wish(row, int(answers.labels[row]), note),
        ]
    for row in uncertain[:_OF_EACH]:
        second = task.classes[int(answers.second[row])]
        sure = answers.confidence[row]
        note = (
            f"Was named {answers.answer_in_words(row)} ({sure:.0%}), or {second} "
            f"({sure - answers.margin[row]:.0%}); is {answers.label_in_words(row)}."
        )
        wishes += [
            _Wish(row, int(answers.answers[row]), note),
            _Wish(row, int(answers.second[row]), note),
        ]
    seen: dict[int, int] = {}
    for row in surest:
        seen.setdefault(int(answers.answers[row]), row)  # one of each class
        if len(seen) == _OF_EACH:
            break
    for of, row in seen.items():
        if row not in mistakes and row not in uncertain[:_OF_EACH]:
            note = f"Was named right ({answers.confidence[row]:.0%})."
            wishes.append(_Wish(row, of, note))
    return wishes


def _wish_of_many(predictions: Predictions, answers: Judged, row: int) -> _Wish:
    """Choose the label to explain of a picture that may have several: the worst, else the surest."""
    probabilities = predictions.take([row]).probabilities(answers.task)[0]
    marks = answers.labels[row]
    off = np.abs(marks - probabilities)
    of = int(off.argmax()) if answers.wrong[row] else int(probabilities.argmax())
    has = "has" if marks[of] else "lacks"
    note = f"The picture {has} it; the model said {probabilities[of]:.0%}."
    return _Wish(row, of, note)


def _joined(parts: Sequence[Explanations]) -> Explanations:
    """Return the entries of several tasks as one; their maps may differ in size."""
    import cv2

    if len(parts) == 1:
        return parts[0]
    rows, columns = (max(part.heat.shape[axis] for part in parts) for axis in (1, 2))
    heat = np.stack([
        cv2.resize(one.astype(np.float32), (columns, rows)) for part in parts for one in part.heat
    ]).astype(np.float16)  # fmt: skip
    texts: dict[str, Any] = {
        name: tuple(text for part in parts for text in getattr(part, name)) for name in _TEXTS
    }
    return Explanations(heat=heat, pictures=np.concatenate([p.pictures for p in parts]), **texts)


def _small(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """Return what the network saw as small RGB pictures, whatever a recipe has made of the pixels."""
    import cv2

    if pixels.dtype != np.uint8:
        values = pixels.astype(np.float32)
        low, high = float(values.min()), float(values.max())
        pixels = np.rint(255 * (values - low) / max(high - low, 1e-9)).astype(np.uint8)
    channels = pixels.shape[-1]
    pixels = pixels[..., :3] if channels >= 3 else pixels[..., :1].repeat(3, axis=-1)
    height, width = pixels.shape[1:3]
    scale = min(1.0, _SIDE / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.stack(
        [cv2.resize(np.ascontiguousarray(p), size, interpolation=cv2.INTER_AREA) for p in pixels]
    )
