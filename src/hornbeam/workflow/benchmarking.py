"""`hornbeam benchmark`: the artifacts of bundles side by side, on this machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hornbeam import backend, console
from hornbeam.config import BenchmarkOptions
from hornbeam.deployment.benchmarking import rows
from hornbeam.deployment.benchmarking.accuracy import (
    Accuracy,
    Labelled,
    contract_accuracy,
    measured_accuracy,
    read_labelled,
)
from hornbeam.deployment.benchmarking.benchmark_page import write_page
from hornbeam.deployment.benchmarking.machine import describe_machine
from hornbeam.deployment.benchmarking.measuring import ROUNDS, Candidate, Measured, measure, steps
from hornbeam.deployment.benchmarking.pareto import Rated, rate
from hornbeam.deployment.bundle.archive import unpacked
from hornbeam.deployment.bundle.manifest import Manifest
from hornbeam.errors import BundleError, ConfigError, listing
from hornbeam.storage import write_json, write_rows

_FILES = 32
"""Pictures that are asked about as files."""


def benchmark(options: BenchmarkOptions) -> list[Rated]:
    """Measure all artifacts of bundles, and say which are beaten by others."""
    threads = options.threads or backend.cores()
    bundles = {path: unpacked(path) for path in options.bundles}
    manifests = {path: Manifest.load(directory) for path, directory in bundles.items()}
    candidates = _candidates(options, manifests)
    labelled = None
    if options.data is not None:
        tasks = {manifest.tasks for manifest in manifests.values()}
        if len(tasks) > 1:
            raise ConfigError("--data: the bundles know other classes; ask one at a time.")
        for path, manifest in manifests.items():
            if manifest.features:
                raise ConfigError(
                    f"--data: {path} takes {', '.join(manifest.features)} beside each picture, which "
                    "a folder does not tell; leave it out, and the accuracy of the contract is told."
                )
        labelled = read_labelled(options.data, tasks.pop(), options.limit)
    machine = describe_machine(threads)
    console.say(
        f"{machine['cpu']}, {machine['cores']} cores, {threads} thread(s); each of {len(candidates)} "
        f"artifacts is asked for {options.seconds:g} s, by turns."
    )
    if (machine["load_before"] or 0) > machine["cores"] / 2:
        console.warn(
            f"This machine is busy (load {machine['load_before']:.1f} on {machine['cores']} cores); "
            "what runs in several threads suffers most."
        )
    with console.progress("measuring", steps(len(candidates))) as told:
        measured = measure(
            candidates, threads=threads, trust=options.trust, seconds=options.seconds,
            batch_sizes=sorted({1, *options.batch_size}),
            pictures={path: _files(bundles[path], manifests[path], labelled) for path in bundles},
            labelled=labelled.paths if labelled else (), told=told,
        )  # fmt: skip
    accuracies = [_accuracy(each, manifests, labelled) for each in measured]
    rated = rate(measured, accuracies)
    failed = [each for each in measured if each.error is not None]
    sentences = _tell(rated, failed, accuracies)
    if options.out:
        _write(options.out, rated, failed, machine, sentences)
        console.say(f"All of it is in {options.out}.")
    if not rated:
        raise BundleError("None of the artifacts can run here.")
    return rated


def _candidates(
    options: BenchmarkOptions, manifests: Mapping[Path, Manifest]
) -> list[Candidate]:  # fmt: skip
    """Return the artifacts that are asked for, of all bundles.

    Raises:
        ConfigError: no bundle has a format that was named.
    """
    there = {name for manifest in manifests.values() for name in manifest.artifacts}
    missing = [name for name in options.format if name not in there]
    if missing or not there:
        raise ConfigError(
            f"--format: no bundle has {listing(missing)}; they have {listing(there)}."
        )
    names = _names(manifests)
    return [
        Candidate(path, names[path], artifact.format, artifact.bytes)
        for path, manifest in manifests.items()
        for artifact in manifest.artifacts.values()
        if not options.format or artifact.format in options.format
    ]


def _names(manifests: Mapping[Path, Manifest]) -> dict[Path, str]:
    """Return what bundles are called: their names, else those of their folders, else their paths."""
    kinds = (
        {path: manifest.name for path, manifest in manifests.items()},
        {path: path.name for path in manifests},
    )
    for names in kinds:
        if len(set(names.values())) == len(names):
            return names
    return {path: str(path) for path in manifests}


def _files(directory: Path, manifest: Manifest, labelled: Labelled | None) -> list[str]:
    """Return pictures to ask about as files: labelled ones, else the golden ones."""
    if labelled is not None:
        step = max(1, len(labelled.paths) // _FILES)
        return list(labelled.paths[::step][:_FILES])
    return [str(directory / golden.file) for golden in manifest.golden][:_FILES]


def _accuracy(
    measured: Measured, manifests: Mapping[Path, Manifest], labelled: Labelled | None
) -> Accuracy | None:
    manifest = manifests[measured.candidate.bundle]
    if labelled is None:
        candidate = measured.candidate
        return contract_accuracy(manifest, manifest.artifacts[candidate.format], candidate.name)
    if measured.answers is None:
        return None
    return measured_accuracy(labelled, manifest.tasks[0], measured.answers)


def _tell(
    rated: Sequence[Rated], failed: Sequence[Measured], accuracies: Sequence[Accuracy | None]
) -> list[str]:
    """Print the tables; return what was said below them."""
    names = len({each.measured.candidate.name for each in rated}) > 1
    if rated:
        console.table(rows.PARETO, rows.pareto_rows(rated, names), left=2)
        console.say("")
        console.table(rows.detail_columns(rated), rows.detail_rows(rated, names))
        console.say("")
    sources = sorted({accuracy.source for accuracy in accuracies if accuracy})
    sentences = [
        f"Times are medians of {ROUNDS} rounds by turns, with 95 % intervals; pictures/s are of the "
        "largest batch, prepared; 'files' begins with the bytes of files.",
        f"Accuracy is of {' and '.join(sources)}." if sources else
        "The bundles tell no accuracy; --data measures it.",
        "What is beaten is slower or larger, beyond noise, than another that names no fewer right.",
        *rows.ties(rated, names),
    ]  # fmt: skip
    for sentence in sentences:
        console.say(sentence)
    for each in failed:
        console.warn(f"{each.candidate.name} {each.candidate.format} cannot run here: {each.error}")
    return sentences


def _write(
    path: Path, rated: Sequence[Rated], failed: Sequence[Measured], machine: Mapping[str, Any],
    sentences: Sequence[str],
) -> None:  # fmt: skip
    if path.suffix == ".html":
        write_page(path, rated, failed, machine, sentences)
    elif path.suffix == ".json":
        errors = [
            {"name": f.candidate.name, "format": f.candidate.format, "error": f.error}
            for f in failed
        ]
        write_json(path, {
            "machine": dict(machine), "artifacts": [rows.plain(each) for each in rated],
            "failed": errors, "remarks": list(sentences),
        })  # fmt: skip
    else:
        lines = [rows.flat(each) for each in rated]
        columns = list(dict.fromkeys(name for line in lines for name in line))
        write_rows(path, lines, columns)
