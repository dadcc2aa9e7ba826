"""The trained model of an export: its answers, what is said of it, and what converts it."""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hornbeam.config import ExportOptions
from hornbeam.data.dataset import Dataset
from hornbeam.deployment.answering import expected_answers, trust_in_words, with_answers
from hornbeam.deployment.bundle.manifest import (
    UNKNOWN,
    Manifest,
    calibrated_tasks,
    in_words,
)
from hornbeam.deployment.conversion.job import Job
from hornbeam.evaluation.trust.safeguards import Safeguards
from hornbeam.recipe import Recipe
from hornbeam.runs import Run, name_of
from hornbeam.workflow.export_pictures import ExportPictures, calibration_files
from hornbeam.workflow.export_words import versions


def ask_the_model(
    run: Run, pictures: ExportPictures, path: Path
) -> tuple[Mapping[str, Any], Manifest]:
    """Return the trained model's answers and what a bundle says of it; save it with answers.

    The model is in no variable afterwards: the process that converts needs the memory.
    """
    import keras

    model = run.load_model()
    tasks, safeguards, config = run.tasks(), Safeguards.load(run.path), run.config()
    expected = expected_answers(model, tasks, safeguards, pictures.prepared.inputs)
    with_answers(model, tasks, safeguards).save(path)
    recipe = run.recipe()
    told = trust_in_words(safeguards, tasks, tells_unknown=UNKNOWN in expected)
    about: dict[str, Any] = {
        "image_size": run.image_size(), "features": run.features(), "tasks": tasks,
        "resize_mode": config.get("resize_mode", "crop"), "max_pixels": int(config["max_pixels"]),
        "preprocess": "recipe.py" if recipe and recipe.preprocess else None,
        "groups": config.get("groups") or {},
        "calibration": {}, "abstain": {}, "unknown": None, **told,
    }  # fmt: skip
    manifest = Manifest(
        name=name_of(config.get("data")),
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        versions=versions(),
        fingerprints={
            "model": _digest_of(model.weights), "answers": _digest_of_words(about, run),
            "pictures": run.fingerprint(),
        },
        **about,
    )  # fmt: skip
    del model
    keras.utils.clear_session(free_memory=True)
    return expected, manifest


def _digest_of(weights: Sequence[Any]) -> str:
    digest = hashlib.sha256()
    for variable in weights:
        values = np.ascontiguousarray(variable)
        digest.update(f"{values.dtype}{values.shape}".encode())
        digest.update(values.tobytes())
    return digest.hexdigest()


def _digest_of_words(about: Mapping[str, Any], run: Run) -> str:
    """Return the digest of what turns pictures into what the network takes, and logits into answers."""
    plain = {**about, "tasks": [dataclasses.asdict(task) for task in about["tasks"]]}
    digest = hashlib.sha256(json.dumps(plain, sort_keys=True).encode())
    if about["preprocess"]:
        digest.update((run.path / "recipe.py").read_bytes())
    return digest.hexdigest()


def conversion_job(
    run: Run, recipe: Recipe, judged: Dataset, manifest: Manifest, options: ExportOptions, work: Path
) -> Job:  # fmt: skip
    """Return what the process that converts is told."""
    calibration, selection = calibration_files(run, recipe, judged, options, work)
    path = run.path / "recipe.py"
    outputs = [task.name for task in manifest.tasks] + [UNKNOWN] * (manifest.unknown is not None)
    return Job(
        model=str(work / "model.keras"), recipe=str(path) if path.is_file() else None,
        formats=options.format, out="", outputs=tuple(outputs), features=len(manifest.features),
        calibration=calibration, selection=selection, options=options.for_conversion(),
        description={
            "name": manifest.name, "version": manifest.versions["hornbeam"],
            "tasks": {task.name: task.classes for task in manifest.tasks},
            "calibrated": calibrated_tasks(manifest),
            "how_to_ask": in_words(manifest)["how_to_ask"],
        },
    )  # fmt: skip
