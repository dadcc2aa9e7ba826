"""The commands about pictures: what is wrong with them, how they are divided and stored."""

from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np

from hornbeam import backend, console, telling
from hornbeam.config import (
    AugmentPreviewOptions,
    CheckOptions,
    PrepareOptions,
    SampleOptions,
    SplitOptions,
)
from hornbeam.data import sample, sources, splits
from hornbeam.data.dataset import TRAIN, Dataset
from hornbeam.data.inspection import checks, verifying
from hornbeam.data.pixels.augment import Augmentation
from hornbeam.errors import ConfigError


def draw_sample(options: SampleOptions) -> None:
    """Draw a small dataset to try things on."""
    try:
        count = sample.draw_sample(options.directory, options.per_class, options.size, options.seed)
    except FileExistsError:
        raise ConfigError(f"{options.directory} exists already and is not empty.") from None
    console.say(
        f"{count} pictures of {len(sample.SHAPES)} classes are in {options.directory}; "
        f"now: hornbeam train {shlex.quote(str(options.directory))}"
    )


def check(options: CheckOptions) -> int:
    """Say what is wrong with pictures and labels; return the exit code, 3 if there are problems."""
    from hornbeam.data.inspection import check_page, facts, findings

    told: list[tuple[str, str]] = []
    dataset = sources.open_dataset(
        options.data, options, tell=lambda kind, sentence: told.append((kind, sentence))
    )
    threads = options.threads or backend.cores()
    seen = facts.gather(dataset, threads, cache=options.cache)
    found = checks.find_faults(
        dataset, seen, near=options.near, smallest_class=options.smallest_class, threads=threads,
        folder=Path(options.data) if Path(options.data).is_dir() else None, told=told,
    )  # fmt: skip
    rows = findings.summary(found)
    for severity in ("problem", "note"):
        chosen = [row for row in rows if findings.KINDS[row[0]].severity == severity]
        if chosen:
            console.table(
                [f"{severity}s", "example", "number"],
                [
                    [findings.KINDS[kind].title, example, str(count)]
                    for kind, count, example in chosen
                ],
                left=2,
            )
    if options.json_file:
        findings.write_report(options.json_file, dataset.root, len(dataset), found)
    if options.fix_list:
        findings.write_fixes(options.fix_list, found)
    if options.html:
        check_page.write_check_page(options.html, dataset, seen, found)
    console.say(findings.conclusion(len(dataset), found, options.html, options.fix_list))
    return 3 if any(finding.severity == "problem" for finding in found) else 0


def split(options: SplitOptions) -> Dataset:
    """Divide pictures into train, validation and test, and write a manifest."""
    from hornbeam.data.inspection.duplicates import near_duplicate_groups
    from hornbeam.data.inspection.facts import gather
    from hornbeam.data.tables import manifest_writer

    dataset = sources.open_dataset(options.data, options)
    threads = options.threads or backend.cores()
    together = []
    if options.near >= 0:
        facts = gather(dataset, threads)
        dataset, skipped = verifying.sift(dataset, facts, options.on_bad)
        telling.tell_skipped(skipped)
        seen = facts.rows[facts.good()]
        copies = np.unique(seen["digest"], return_inverse=True)[1]
        near = near_duplicate_groups(seen["hash"], seen["thumbnail"], options.near, threads)
        together = [copies, near]
    previous = options.previous or (options.out if options.out.is_file() else None)
    given = splits.sides_of(dataset)
    if (given >= 0).all() and not options.keep:
        given = np.full(len(dataset), -1)
        if previous is None:
            console.say(f"The split of {options.data} itself is given up; --keep would keep it.")
    if previous is not None:
        earlier = manifest_writer.earlier_sides(dataset, previous)
        given = np.where(earlier >= 0, earlier, given)
        console.say(f"{np.count_nonzero(earlier >= 0)} pictures stay where {previous} has them.")
    sides = splits.divide(
        dataset, options.ratios, options.seed, together=together,
        fixed=given if (given >= 0).any() else None, exact=options.exact,
    )  # fmt: skip
    dataset = splits.with_sides(dataset, sides)
    needed = manifest_writer.write_manifest(dataset, options.out)
    telling.tell_split(dataset)
    command = " ".join(["hornbeam train", shlex.quote(str(options.out)), *needed])
    console.say(f"{len(dataset)} pictures are in {options.out}; now: {command}")
    return dataset


def prepare(options: PrepareOptions) -> None:
    """Write pictures into TFRecord shards."""
    from hornbeam.data.shards import prepare as preparing

    if options.hosts:
        from hornbeam.workflow import clusters

        clusters.prepare_parts(options)  # all shards are here then, and the index is made of them
    dataset = sources.open_dataset(options.data, options)
    done = preparing.prepare(dataset, options)
    telling.tell_skipped({path: f"{path}: {reason}" for path, reason in done.skipped.items()})
    if done.missing:
        console.say(
            f"Part {options.part} of {options.out} is written; {done.missing} of {done.shards} shards "
            "are missing still, and the last part makes the index."
        )
        return
    how = "are" if done.written else "were already"
    console.say(
        f"{done.examples} pictures {how} in {done.shards} shards in {options.out}; "
        f"now: hornbeam train {shlex.quote(str(options.out))}"
    )


def preview_augmentation(options: AugmentPreviewOptions) -> None:
    """Write a page that shows what augmentation makes of some pictures."""
    from hornbeam.data.augment_page import write_augment_page

    dataset = sources.open_dataset(options.data, options)
    if TRAIN in dataset.splits:
        dataset = dataset.only(TRAIN)
    write_augment_page(
        options.html, dataset, Augmentation.from_options(options), options.augment,
        pictures=options.pictures, variations=options.variations, image_size=options.image_size,
        resize_mode=options.resize_mode, seed=options.seed,
    )  # fmt: skip
    console.say(f"{options.html} shows {options.variations} variations of each picture.")
