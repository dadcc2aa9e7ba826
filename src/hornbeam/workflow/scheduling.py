"""The commands that hand a training to somebody else's scheduler."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from hornbeam import console
from hornbeam.cluster import kubernetes, ray_job, slurm
from hornbeam.config import ManifestOptions, SbatchOptions, SbatchSearchOptions
from hornbeam.data.remote import is_remote
from hornbeam.errors import ConfigError
from hornbeam.runs import name_of
from hornbeam.storage import write_text


def submit_to_slurm(options: SbatchOptions) -> None:
    """Write the script of a job that trains, and submit it."""
    run = options.run or _free(Path("runs") / name_of(options.data))
    _hand_over(options, slurm.training_script(options, run), run)


def submit_search_to_slurm(options: SbatchSearchOptions) -> None:
    """Write the script of an array of jobs that search, and submit it."""
    study = options.run or Path("runs") / f"{name_of(options.data)}-search"
    _hand_over(options, slurm.search_script(options, study), study)


def write_manifest(options: ManifestOptions) -> None:
    """Write or print a manifest of Kubernetes that trains."""
    import yaml

    mount = Path(options.mount)
    run = options.run or mount / "runs" / f"{name_of(options.data)}-1"
    _check_mounted(options, mount)
    name = options.name or _label(run.name)
    kinds = {"job": kubernetes.job, "jobset": kubernetes.job_set, "rayjob": ray_job.ray_job}
    objects = kinds[options.kind](options, name, run)
    text = yaml.safe_dump_all(objects, sort_keys=False, explicit_start=True, width=100)
    if options.out is None:
        print(text, end="")
        return
    options.out.parent.mkdir(parents=True, exist_ok=True)
    write_text(options.out, text)
    console.say(f"The manifest is {options.out}; start it with: kubectl create -f {options.out}")


def _check_mounted(options: ManifestOptions, mount: Path) -> None:
    """Refuse pictures and files that the containers would not see.

    Raises:
        ConfigError: with the first of them.
    """
    weights = None if options.weights in ("none", "imagenet") else options.weights
    places = (options.data, options.validation_data, options.recipe, options.labels_file, weights)
    for place in map(str, filter(None, places)):
        if not is_remote(place) and not Path(place).is_relative_to(mount):
            raise ConfigError(
                f"{place} is not below --mount {mount}, where the containers see the claim; give the "
                "path that it has there."
            )


def _label(name: str) -> str:
    """Return a name as Kubernetes allows it."""
    plain = re.sub("[^a-z0-9]+", "-", name.lower()).strip("-")[:40].rstrip("-")
    return plain if plain[:1].isalpha() else f"run-{plain}".rstrip("-")


def _hand_over(options: SbatchOptions | SbatchSearchOptions, script: str, place: Path) -> None:
    path = options.out or _beside(place)
    for directory in (path.parent, place.parent):  # Slurm makes none, not for its log either
        directory.mkdir(parents=True, exist_ok=True)
    write_text(path, script)
    submits = shutil.which("sbatch") is not None if options.submit is None else options.submit
    if not submits:
        console.say(f"The script is {path}; submit it with: sbatch {path}")
        return
    job = slurm.submit(path)
    console.say(f"Slurm has it as job {job}: {path}; the run will be {place}.")
    console.say(f"squeue -j {job} shows where it is, scancel {job} stops it after saving.")


def _free(stem: Path) -> Path:
    """Return the first of `stem-1`, `stem-2`, … that neither a run nor a job has."""
    number = 1
    while (run := stem.with_name(f"{stem.name}-{number}")).exists() or _beside(run).exists():
        number += 1
    return run


def _beside(place: Path) -> Path:
    return place.with_name(f"{place.name}.sbatch")
