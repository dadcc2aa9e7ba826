"""How good an artifact's answers are: as its contract says, or measured on labelled pictures."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hornbeam.data.remote import is_remote
from hornbeam.data.tasks import Task
from hornbeam.data.walking import is_hidden, natural_key, walk_pictures
from hornbeam.deployment.bundle.manifest import Artifact, Manifest
from hornbeam.errors import ConfigError, DataError, listing
from hornbeam.evaluation.comparison.paired import Paired
from hornbeam.evaluation.scoring.shares import Share

_TESTS = ("test", "validation", "val", "valid")


@dataclasses.dataclass(frozen=True)
class Accuracy:
    """Share of right first answers.

    Attributes:
        share: with its interval.
        source: on which pictures, in words.
        pictures: tells which those are; accuracies of different ones are not compared.
        right: which of them were right, `[pictures]`, where they were asked here; else `None`.
        change: the accuracy less the trained model's, with the ends of its interval, of a contract.
        model: tells which model that is; changes from different ones are not compared.
    """

    share: Share
    source: str
    pictures: str
    right: NDArray[np.bool_] | None = None
    change: tuple[float, float, float] | None = None
    model: str | None = None


@dataclasses.dataclass(frozen=True)
class Labelled:
    """Pictures whose classes are known.

    Attributes:
        source: where they lie.
        paths: of them.
        labels: indices of their classes, int64.
    """

    source: str
    paths: tuple[str, ...]
    labels: NDArray[np.int64]


def read_labelled(data: str, tasks: Sequence[Task], limit: int | None) -> Labelled:
    """Read a folder with a folder of pictures for each class, or one that has such as `test`.

    Pictures are found as `predict` finds them, hidden ones left out. A folder `test` that is a class is
    a class.

    Args:
        data: the folder.
        tasks: of the bundles; one, of one label a picture.
        limit: at most so many pictures, spread over all.

    Raises:
        ConfigError: there is no such folder, or the bundles answer something else.
        DataError: its folders are no classes of the bundles.
    """
    root = Path(data)
    if is_remote(data) or not root.is_dir():
        raise ConfigError(
            f"DATA {data}: expected a folder that has a folder of pictures per class."
        )
    if len(tasks) != 1 or tasks[0].multi_label:
        raise ConfigError(
            "DATA takes bundles of one task with one label a picture; leave it out, and the accuracy "
            "of the contract is told."
        )
    places = {name: number for number, name in enumerate(tasks[0].classes)}
    splits = (root / name for name in _TESTS if name not in places)
    root = next((folder for folder in splits if folder.is_dir()), root)
    folders = sorted(
        (each for each in root.iterdir() if each.is_dir() and not is_hidden(each.name)),
        key=lambda folder: natural_key(folder.name),
    )
    foreign = [folder.name for folder in folders if folder.name not in places]
    if foreign or not folders:
        if not foreign:
            raise DataError(
                f"{root}: there is no folder named like a class of the bundle ({listing(places)})."
            )
        what = "folder {} is no class" if len(foreign) == 1 else "folders {} are no classes"
        raise DataError(
            f"{root}: the {what.format(listing(foreign))} of the bundle ({listing(places)})."
        )
    found = [
        (str(folder / path), places[folder.name])
        for folder in folders
        for path in walk_pictures(str(folder))
    ]
    if not found:
        raise DataError(f"{root}: there are no pictures.")
    if limit is not None and limit < len(found):
        found = [found[int(i)] for i in np.linspace(0, len(found) - 1, limit)]
    paths, labels = zip(*found, strict=True)
    return Labelled(str(root), paths, np.asarray(labels, np.int64))


def measured_accuracy(
    labelled: Labelled, task: Task, answers: Sequence[Mapping[str, int] | None]
) -> Accuracy:
    """Return the accuracy of answers that were given here; a picture that cannot be read is wrong."""
    first = np.array([-1 if each is None else each[task.name] for each in answers], np.int64)
    right = first == labelled.labels
    share = Share(int(right.sum()), len(right))
    source = f"{len(right)} pictures of {labelled.source}"
    if unread := sum(each is None for each in answers):
        count = "counts" if unread == 1 else "count"
        source += f", of which {unread} cannot be read and {count} as wrong"
    return Accuracy(share, source, source, right)


def contract_accuracy(manifest: Manifest, artifact: Artifact, name: str) -> Accuracy | None:
    """Return what `bundle.json` says of the first task; `None` where it says nothing.

    Args:
        manifest: the bundle's.
        artifact: one of its own.
        name: what the bundle is called.
    """
    outputs = artifact.contract.get("outputs")
    told: Any = outputs.get(manifest.tasks[0].name, {}) if isinstance(outputs, Mapping) else {}
    told = told.get("accuracy") if isinstance(told, Mapping) else None
    if not isinstance(told, Mapping):
        return None
    try:
        pictures = int(told["pictures"])
        right = round(float(told["artifact"]) * pictures)
        change = float(told["change"]), float(told["low"]), float(told["high"])
    except (KeyError, TypeError, ValueError, OverflowError):  # a stranger may have written it
        return None
    if pictures < 1 or not 0 <= right <= pictures:
        return None
    share = Share(right, pictures)
    source = f"{pictures} pictures of the contract of {name}"
    prints = manifest.fingerprints
    # A bundle that does not say which pictures those were can only be compared with itself.
    which = f"{prints.get('pictures', f'of {name}')}: {pictures} for {manifest.tasks[0].name}"
    return Accuracy(share, source, which, None, change, prints.get("model", f"of {name}"))


def better(first: Accuracy | None, second: Accuracy | None) -> int | None:
    """Return 1 if the first is more accurate by more than chance, 0 if as good or better, -1 if less.

    Answers to the same pictures are compared picture by picture. Of two contracts only the changes
    from the trained model are known, with intervals; those from the same one differ where they do not
    touch. A lower number is never called equal, as too few pictures are no proof of it.

    Returns:
        The same; `None` where the two are of different pictures, changes from different models, or one
        is not known.
    """
    if first is None or second is None or first.pictures != second.pictures:
        return None
    if first.right is not None and second.right is not None:
        clearly = Paired.of(second.right, first.right).interval[0] > 0
    elif first.change is not None and second.change is not None and first.model == second.model:
        clearly = first.change[1] > second.change[2]
    else:
        return None
    return 1 if clearly else 0 if first.share.value >= second.share.value else -1
