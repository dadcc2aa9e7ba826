"""The pictures of an export: those that judge, that calibrate, and that go along."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hornbeam import backend, console
from hornbeam.config import ENOUGH_PICTURES, ExportOptions
from hornbeam.data.dataset import TRAIN, Dataset
from hornbeam.deployment.bundle.golden import choose_small
from hornbeam.deployment.bundle.manifest import (
    Manifest,
)
from hornbeam.deployment.contract.pictures import (
    Prepared,
    prepare,
    rows_to_calibrate,
    rows_to_judge,
    rows_to_take_along,
)
from hornbeam.deployment.predicting.preparation import Preparation
from hornbeam.errors import ContractError, DataError
from hornbeam.recipe import Recipe
from hornbeam.runs import Run
from hornbeam.workflow.judgement import choose_split, pipeline_of

_CALIBRATED = ("litert-dynamic", "litert-int8", "edgetpu", "onnx-int8")
"""Formats whose conversion looks at training pictures."""


class ExportPictures(NamedTuple):
    """Pictures of a run, as the network takes them.

    Attributes:
        judged: the held-out ones that the contract is about.
        prepared: the same.
        golden: content of the files of golden ones, at least one, by their rows among the judged.
    """

    judged: Dataset
    prepared: Prepared
    golden: dict[int, bytes]

    def part(self, count: int) -> Prepared:
        """Return the first golden pictures, prepared."""
        rows = list(self.golden)[:count]
        features = self.prepared.features
        return Prepared(self.prepared.images[rows], None if features is None else features[rows])


def look_at_pictures(
    run: Run, recipe: Recipe, options: ExportOptions, work: Path
) -> ExportPictures:
    """Decode the held-out pictures once, and read the files of those that are golden."""
    held_out = choose_split(run.dataset(), options.split)
    judged = held_out.take(rows_to_judge(held_out, options.contract_pictures))
    what = "training" if held_out.splits == (TRAIN,) else "held-out"
    console.say(f"The contract is about {len(judged)} {what} pictures of {len(held_out)}.")
    if what == "training":
        console.warn("No pictures were held out, so it says nothing about new ones.")
    elif len(judged) < ENOUGH_PICTURES:
        console.warn(
            f"Fewer than {ENOUGH_PICTURES} pictures prove less: rare changes are not seen."
        )
    prepared = prepare(
        judged, work / "judged.npy", image_size=run.image_size(),
        threads=options.threads or backend.cores(), **pipeline_of(run, recipe),
    )  # fmt: skip
    order = rows_to_take_along(judged, run.tasks()).tolist()
    return ExportPictures(
        judged, prepared, choose_small(order, judged.read, max(1, options.golden))
    )


def calibration_files(
    run: Run, recipe: Recipe, judged: Dataset, options: ExportOptions, work: Path
) -> tuple[str | None, str | None]:
    """Draw and decode training pictures; return files of those that calibrate, and that choose."""
    files: list[str | None] = [None, None]
    if set(_CALIBRATED) & set(options.format):
        training = _apart_from(run.dataset(), judged)
        rows = rows_to_calibrate(training, run.tasks(), options.calibration_pictures)
        for place, chosen in enumerate(rows):
            if len(chosen):
                found = prepare(
                    training.take(chosen), work / "decoded.npy", image_size=run.image_size(),
                    threads=options.threads or backend.cores(), **pipeline_of(run, recipe),
                )  # fmt: skip
                files[place] = str(work / f"calibration-{place}.npz")
                arrays: dict[str, Any] = {"image": found.images}
                if found.features is not None:
                    arrays["features"] = found.features
                np.savez(str(files[place]), **arrays)
        console.say(
            f"{len(rows[0])} training pictures calibrate int8, {len(rows[1])} others choose."
        )
    return files[0], files[1]


def _apart_from(pictures: Dataset, judged: Dataset) -> Dataset:
    """Return the training pictures that are none of those that judge, nor copies of them.

    Raises:
        DataError: there are none.
    """
    training = pictures.only(TRAIN)
    column = "digest" if "digest" in training.table.column_names else "path"
    taken = set(judged.table[column].to_pylist())
    rows = [i for i, key in enumerate(training.table[column].to_pylist()) if key not in taken]
    if not rows:
        raise DataError(
            f"All {len(training)} training pictures judge the answers; none is left to calibrate int8. "
            "Let fewer judge: --contract-pictures N."
        )
    return training.take(rows)


def require_same_pixels(folder: Path, manifest: Manifest, pictures: ExportPictures) -> None:
    """Check that users of the bundle see the same pixels as the network did in training.

    Raises:
        ContractError: they do not.
    """
    see = Preparation(folder, manifest, trust=True)
    for (row, content), pixels in zip(
        pictures.golden.items(), pictures.part(len(pictures.golden)).images, strict=True
    ):
        if not np.array_equal(see(content), pixels):
            raise ContractError(
                f"{pictures.judged.name(row)} does not become the same pixels from its bytes alone; a "
                "recipe's preprocess must not depend on chance, nor on which picture it is."
            )


def golden_pixels(folder: Path, manifest: Manifest, pictures: ExportPictures) -> Prepared:
    """Return the golden pictures as a user of the bundle would see them; else one to try."""
    if not manifest.golden:
        return pictures.part(1)
    see = Preparation(folder, manifest, trust=True)
    images = np.stack([see(folder / each.file) for each in manifest.golden])
    beside = [each.features for each in manifest.golden]
    return Prepared(images, np.array(beside, np.float32) if manifest.features else None)
