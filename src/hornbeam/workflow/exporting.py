"""`hornbeam export`: the trained model in files of other formats, each proved to answer as it did."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from hornbeam import backend, console
from hornbeam.config import TOLERANCES, ExportOptions
from hornbeam.deployment.bundle.archive import sha256_of, write_archive
from hornbeam.deployment.bundle.golden import numbers, write_golden
from hornbeam.deployment.bundle.locking import alone
from hornbeam.deployment.bundle.manifest import (
    MANIFEST,
    Artifact,
    Golden,
    Manifest,
)
from hornbeam.deployment.bundle.placing import (
    archive_of,
    bring_along,
    bring_the_rest,
    failed_names,
    is_bundle,
    keep_failed,
    require_new,
    require_place,
    require_same,
    set_aside,
    with_answers_of,
)
from hornbeam.deployment.bundle.verifying import files_of
from hornbeam.deployment.contract.agreement import HeldOut
from hornbeam.deployment.contract.asking import size_of
from hornbeam.deployment.contract.checking import Checked, check, check_uncompiled
from hornbeam.deployment.contract.checking import in_words as agreement_in_words
from hornbeam.deployment.conversion.job import Converted
from hornbeam.deployment.conversion.parent import convert
from hornbeam.errors import ContractError, listing
from hornbeam.evaluation.scoring.units import Units
from hornbeam.recipe import Recipe
from hornbeam.runs import Run
from hornbeam.storage import new_directory, write_bytes
from hornbeam.workflow.export_model import ask_the_model, conversion_job
from hornbeam.workflow.export_pictures import (
    ExportPictures,
    golden_pixels,
    look_at_pictures,
    require_same_pixels,
)
from hornbeam.workflow.export_words import tell_contracts
from hornbeam.workflow.termination import terminable


class _Found(NamedTuple):
    """What came of the formats, by format.

    Attributes:
        made: the artifacts, with what the contract found; those that failed, too.
        checked: the same in full.
        failed: why some are not as the model.
        left: what remains for the user to do before there is a file, in sentences.
    """

    made: dict[str, Artifact]
    checked: dict[str, Checked]
    failed: dict[str, str]
    left: dict[str, tuple[str, ...]]

    @property
    def passed(self) -> dict[str, Artifact]:
        """The artifacts that answer as the model did."""
        return {name: each for name, each in self.made.items() if name not in self.failed}


def export(options: ExportOptions) -> Path:
    """Write the trained model for use elsewhere, and prove that it answers as before."""
    run = Run.open(options.run)
    directory = options.place.resolve()

    def wait() -> None:
        console.say(f"Another export writes {options.place}; waiting for its end …")

    for sentence in options.ignored():
        console.warn(sentence)
    with terminable(), alone(directory, wait):
        _export(run, directory, options)
    return options.place


def _export(run: Run, directory: Path, options: ExportOptions) -> None:
    earlier = require_place(directory, options.overwrite, options.zip)
    recipe = run.recipe() or Recipe.none()
    backend.select_backend(options.backend)
    if earlier:
        require_new(earlier, options.format, options.place)
    with tempfile.TemporaryDirectory(prefix="hornbeam-export-") as name:
        work = Path(name)
        pictures = look_at_pictures(run, recipe, options, work)
        expected, manifest = ask_the_model(run, pictures, work / "model.keras")
        if earlier:
            require_same(earlier, manifest.fingerprints, options.place)
        job = conversion_job(run, recipe, pictures.judged, manifest, options, work)
        with new_directory(directory, replace=True) as folder:
            manifest = _begin(folder, manifest, earlier, directory, pictures, expected, options)
            require_same_pixels(folder, manifest, pictures)
            formats = ", ".join(options.format)
            console.say(f"Converting to {formats}, in a process of TensorFlow's own …")
            converted = convert(dataclasses.replace(job, out=str(folder)))
            held_out = HeldOut(
                expected, {t.name: pictures.judged.labels(t) for t in manifest.tasks},
                Units.of(pictures.judged).codes,
            )  # fmt: skip
            found = _check_all(folder, converted, manifest, held_out, pictures, options)
            if not found.passed and not found.left and (directory / MANIFEST).is_file():
                keep_failed(folder, directory)  # an earlier bundle is better than none
                there = earlier or manifest
                tell_contracts(options.place, there, found.made, found.checked, found.failed)
                raise _error(found.failed, there, options)
            manifest = _with_artifacts(manifest, found)
            if earlier:
                succeeded = [failed_names(each) for each in found.passed.values()]
                bring_the_rest(directory, folder, set().union(*succeeded))
            manifest.save(folder)
    archive = _archived(directory, manifest, options)
    tell_contracts(
        options.place, manifest, found.made, found.checked, found.failed, found.left, archive
    )
    if found.failed:
        raise _error(found.failed, manifest, options)


def _archived(directory: Path, manifest: Manifest, options: ExportOptions) -> Path | None:
    """Write the bundle as one file, if there is something to ask in it; return where that is."""
    path = archive_of(directory)
    if options.zip and manifest.artifacts:
        left_out = write_archive(directory, path)
        if left_out:
            console.warn(f"{path.name} lacks {listing(left_out)}: not all systems take such names.")
        return path
    if is_bundle(path):
        console.warn(f"{path} is of an earlier export, and not what is in {options.place} now.")
    return None


def _error(failed: Mapping[str, str], manifest: Manifest, options: ExportOptions) -> ContractError:
    there = f"; {', '.join(manifest.artifacts)}: in {options.place}" if manifest.artifacts else ""
    return ContractError(f"{listing(failed)}: no artifact that answers as the model did{there}.")


def _begin(
    folder: Path, manifest: Manifest, earlier: Manifest | None, directory: Path,
    pictures: ExportPictures, expected: Mapping[str, Any], options: ExportOptions,
) -> Manifest:  # fmt: skip
    """Put into a new folder what goes with all artifacts: the recipe, golden pictures, earlier ones."""
    if manifest.preprocess:
        write_bytes(folder / manifest.preprocess, (options.run / "recipe.py").read_bytes())
    if earlier:
        artifacts, golden = bring_along(earlier, directory, folder)
        return dataclasses.replace(
            manifest, artifacts=artifacts, golden=golden, created=earlier.created,
            failed=earlier.failed, left_to_do=earlier.left_to_do,
        )  # fmt: skip
    if not options.golden:
        return manifest
    contents = list(pictures.golden.values())
    console.say(
        f"{len(contents)} held-out pictures go with the bundle, as their files are (--golden 0: none)."
    )
    rows = list(pictures.golden)
    features = pictures.prepared.features
    said = {name: values[rows] for name, values in expected.items()}
    golden = write_golden(folder, contents, None if features is None else features[rows], said)
    return dataclasses.replace(manifest, golden=golden)


def _check_all(
    folder: Path, converted: Mapping[str, Converted], manifest: Manifest, held_out: HeldOut,
    pictures: ExportPictures, options: ExportOptions,
) -> _Found:  # fmt: skip
    """Return the artifacts, what the contract found, and why some failed; those are set aside."""
    made: dict[str, Artifact] = {}
    checked: dict[str, Checked] = {}
    failed: dict[str, str] = {}
    left: dict[str, tuple[str, ...]] = {}
    golden = golden_pixels(folder, manifest, pictures)
    for name, each in converted.items():
        if each.error:
            failed[name] = f"it cannot be made: {each.error}"
            continue
        if each.left_to_do:
            left[name] = (each.left_to_do, *each.notes)
            if each.inputs:
                found = check_uncompiled(
                    folder, each, manifest, held_out, pictures.prepared, golden,
                    options.threads or backend.cores(),
                )  # fmt: skip
                if found.sentence:
                    failed[name] = found.sentence
                    del left[name]
                else:
                    left[name] += (agreement_in_words(found),)
            continue
        artifact = _artifact_of(each, folder)
        found = check(
            folder, artifact, manifest, held_out, pictures.prepared, golden,
            options.threads or backend.cores(),
        )  # fmt: skip
        made[name] = dataclasses.replace(artifact, contract=found.contract)
        checked[name] = found
        if found.sentence:
            failed[name] = found.sentence
            set_aside(folder, artifact)
    return _Found(made, checked, failed, left)


def _artifact_of(made: Converted, folder: Path) -> Artifact:
    artifact = Artifact(
        made.format, made.file, 0, "", made.inputs, made.outputs, notes=made.notes,
        golden_tolerance=TOLERANCES[made.format].elsewhere,
    )  # fmt: skip
    files = files_of(folder, artifact)
    return dataclasses.replace(artifact, bytes=size_of(files), sha256=sha256_of(files))


def _with_artifacts(manifest: Manifest, found: _Found) -> Manifest:
    """Return the manifest with the artifacts that passed, and their answers to the golden pictures.

    What an earlier export had said of these formats holds no more.
    """
    answers = {}
    for name in found.passed:
        said = found.checked[name].golden
        if said is not None:
            answers[name] = [
                {output: numbers(values[i]) for output, values in said.items()}
                for i in range(len(manifest.golden))
            ]
    golden: tuple[Golden, ...] = with_answers_of(manifest.golden, answers)
    again = {*found.passed, *found.failed, *found.left}
    failed = {name: each for name, each in manifest.failed.items() if name not in again}
    left = {name: each for name, each in manifest.left_to_do.items() if name not in again}
    return dataclasses.replace(
        manifest, artifacts={**manifest.artifacts, **found.passed}, golden=golden,
        failed=failed | {n: found.checked[n].contract for n in found.failed if n in found.checked},
        left_to_do=left | found.left,
    )  # fmt: skip
