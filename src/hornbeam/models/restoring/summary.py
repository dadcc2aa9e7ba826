"""What was restored and what was not: in a few lines for training, in full for `hornbeam inspect`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from hornbeam import console
from hornbeam.models.restoring.matching import HEAD_SCOPE, Match, Place
from hornbeam.models.restoring.tables import WeightFile, times


def tell(matched: Match | None, path: Path, verb: str = "are") -> None:
    """Say what was restored from a file, or would be, with a table where anything was not."""
    if matched is None:
        console.say(f"{path}: all weights are restored, by the order of the layers.")
        return
    backbone = [p for p in matched.taken if not p.startswith(HEAD_SCOPE)]
    heads = sorted({p.rpartition("/")[0] for p in matched.taken if p.startswith(HEAD_SCOPE)})
    also = "".join(f" and {head}" for head in heads)
    rules = f", by the rules {matched.rules}" if matched.rules else ""
    rows = _rest(matched)
    # Most files of a backbone have no head, or one of other classes: that needs no table.
    plain = len(rows) == 1 and matched.left_here and all(map(_in_head, matched.left_here))
    anew = "; the head is not in the file, and starts anew" if plain else ""
    console.say(f"{path}: {len(backbone)} variables{also} {verb} restored{rules}{anew}.")
    if rows and not plain:
        console.table(["not restored", "number", "such as"], rows, left=3)
    for scope in sorted({p.rpartition("/")[0] for p in matched.conflicts if _in_head(p)}):
        console.say(f"{scope} has another number of classes in the file, and starts anew.")
    if matched.kept:
        count = len(matched.kept)
        console.warn(
            "1 variable before the head keeps its first, random value."
            if count == 1
            else f"{count} variables before the head keep their first, random values."
        )


def _rest(matched: Match) -> list[list[str]]:
    groups = {
        "skipped by rules": matched.skipped,
        "only in the file": matched.left_in_file,
        "not in the file": matched.left_here,
        "excluded": matched.excluded,
        "of another shape": tuple(matched.conflicts),
    }
    return [[what, str(len(names)), names[0]] for what, names in groups.items() if names]


def _in_head(path: str) -> bool:
    return path.startswith(HEAD_SCOPE)


def mapping_rows(matched: Match, file: WeightFile, places: Mapping[str, Place]) -> list[list[str]]:
    """Return a row for each variable on either side: names, what became of it, shapes."""
    by_name = {name: (path, "restored") for path, name in matched.taken.items()}
    by_name |= {name: (path, "another shape") for path, name in matched.conflicts.items()}
    by_name |= dict.fromkeys(matched.skipped, ("", "skipped by rules"))
    rows = []
    for name, stored in file.variables.items():
        path, what = by_name.get(name, ("", "only in the file"))
        ours = times(places[path].shape) if path else ""
        rows.append([name, path, what, times(stored.shape), ours])
    rows += [["", path, "excluded", "", times(places[path].shape)] for path in matched.excluded]
    rows += [
        ["", path, "not in the file", "", times(places[path].shape)] for path in matched.left_here
    ]
    return rows
