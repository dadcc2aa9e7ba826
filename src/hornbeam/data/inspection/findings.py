"""What `check` can find: each kind with its weight and what to do; and the files it writes."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from hornbeam.data.remote import is_remote
from hornbeam.page import printable
from hornbeam.storage import write_bytes, write_json

Severity = Literal["problem", "note"]
Action = Literal["delete", "rename", "move", "review", ""]


class Kind(NamedTuple):
    """What is common to all findings of a kind.

    Attributes:
        severity: a problem makes `check` end with 3; a note does not.
        title: for tables and pages.
        advice: what to do, as a sentence.
        action: what the list of fixes suggests for each picture; for groups that are deleted, for
            all but the first.
        grouped: whether each finding is a group of pictures, and not all pictures of a kind.
    """

    severity: Severity
    title: str
    advice: str
    action: Action = "review"
    grouped: bool = False


KINDS = {
    "missing": Kind(
        "problem", "gone, or not to be opened", "Get them again, or take them out of the table."
    ),
    "unreadable": Kind("problem", "unreadable", "Delete them, or get them again.", "delete"),
    "truncated": Kind("problem", "truncated or damaged", "Get them again, or delete them.", "delete"),
    "empty": Kind("problem", "empty files", "Delete them, or get them again.", "delete"),
    "too-large": Kind("problem", "too many pixels", "Shrink them, or raise --max-pixels."),
    "label-conflict": Kind(
        "problem", "same picture, other label", "Decide which label is right, and delete the others.",
        "review", True,
    ),
    "near-label-conflict": Kind(
        "problem", "nearly the same picture, other label",
        "Decide which label is right, and delete or move the others.", "review", True,
    ),
    "leak": Kind(
        "problem", "same picture in several splits",
        "Delete all but one; what the model was trained on cannot judge it.", "delete", True,
    ),
    "near-leak": Kind(
        "problem", "nearly the same picture in several splits",
        "Keep them in one split: delete the others, or split again with `hornbeam split`.",
        "delete", True,
    ),
    "exact-duplicate": Kind("problem", "exact duplicates", "Delete all but one.", "delete", True),
    "wrong-extension": Kind(
        "problem", "wrong extension", "Rename them; other tools go by the name.", "rename"
    ),
    "ignored-picture": Kind(
        "problem", "pictures left out for their extension",
        "Convert them to JPEG or PNG, or rename them.",
    ),
    "class-mismatch": Kind(
        "problem", "classes differ between splits",
        "Add pictures of the missing class, or mend the name of its folder.", "",
    ),
    "empty-class": Kind(
        "problem", "classes without pictures", "Add pictures, or remove the folder.", ""
    ),
    "single-picture-class": Kind(
        "problem", "classes of one picture", "Add pictures: one cannot both train and judge.", ""
    ),
    "tiny-class": Kind("note", "tiny classes", "Add pictures, or join classes.", ""),
    "imbalance": Kind("note", "imbalance", "Look at the recall of the rare classes.", ""),
    "near-duplicate": Kind(
        "note", "near duplicates", "Keep them in one split (`hornbeam split` does).", "review", True
    ),
    "stray": Kind("note", "pictures in no class folder", "Move them into one, or away.", "move"),
    "hidden": Kind(
        "note", "hidden or system files",
        "Hornbeam leaves them out; delete them, as other tools take them for classes or pictures.",
        "delete",
    ),
    "ignored-file": Kind(
        "note", "files that are no pictures", "Hornbeam leaves them out; move them away.", "move"
    ),
    "small": Kind("note", "very small", "Look whether they are icons or previews."),
    "odd-size": Kind("note", "odd size", "Look whether they belong to the others."),
    "odd-aspect": Kind(
        "note", "very long or tall", "Networks see the middle only, unless --resize-mode is pad."
    ),
    "dark": Kind("note", "very dark", "Look whether anything can be seen."),
    "bright": Kind("note", "very bright", "Look whether anything can be seen."),
    "blurry": Kind("note", "blurry", "Look whether anything can be seen."),
    "low-information": Kind("note", "hardly any content", "Look whether anything can be seen."),
    "rotated": Kind("note", "turned by EXIF", "Nothing: Hornbeam turns them upright.", ""),
    "animated": Kind("note", "animated", "Nothing, if the first frame is meant.", ""),
    "transparent": Kind("note", "transparent", "Nothing, if white is meant to lie behind.", ""),
    "cmyk": Kind("note", "CMYK", "Nothing: Hornbeam converts them; colours may differ a little.", ""),
    "deep": Kind("note", "16 bits a channel", "Nothing: Hornbeam uses the high byte.", ""),
}  # fmt: skip
"""All kinds, problems first, in the order in which they are told."""


_LONGEST = 48
"""Characters of an example in a table; of a longer path the end is shown."""


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing that is wrong, or worth knowing.

    Attributes:
        kind: of `KINDS`.
        sentence: what it is.
        paths: of the pictures, files or folders, relative to the dataset's root.
        details: for each path what is particular to it: the fault, a size, a new name; or none.
        action: what to do, where it is not the kind's.
    """

    kind: str
    sentence: str
    paths: tuple[str, ...] = ()
    details: tuple[str, ...] = ()
    action: Action | None = None

    @property
    def severity(self) -> Severity:
        """Whether it is a `problem` or a `note`."""
        return KINDS[self.kind].severity

    @property
    def suggested(self) -> Action:
        """What to do with its pictures."""
        return KINDS[self.kind].action if self.action is None else self.action

    def fixes(self) -> Iterator[tuple[str, str, str, str]]:
        """Yield (path, kind, action, detail) of what can be done; the first of copies is kept."""
        if not self.suggested:
            return
        details = self.details or ("",) * len(self.paths)
        keeps_first = KINDS[self.kind].grouped and self.suggested == "delete"
        for place, (path, detail) in enumerate(zip(self.paths, details, strict=True)):
            if keeps_first and (not place or path == self.paths[0]):
                continue
            if keeps_first:
                detail = f"keep {_path_cell(self.paths[0])}"
            elif self.suggested == "rename":
                detail = _path_cell(detail)
            elif KINDS[self.kind].grouped:
                others = [p for p in self.paths if p != path]
                detail = f"with {', '.join(map(_path_cell, others[:5]))}" if others else detail
            yield path, self.kind, self.suggested, detail


def summary(findings: Sequence[Finding]) -> list[tuple[str, int, str]]:
    """Return (kind, how many, an example) for each kind that was found.

    Groups are counted where a kind has groups, pictures or files elsewhere.
    """
    rows = []
    for name, kind in KINDS.items():
        found = [finding for finding in findings if finding.kind == name]
        if not found:
            continue
        count = len(found) if kind.grouped else sum(max(1, len(f.paths)) for f in found)
        first = found[0]
        example = printable(first.paths[0] if first.paths else first.sentence)
        if first.paths and len(example) > _LONGEST:
            example = "…" + example[-_LONGEST:]
        rows.append((name, count, example))
    return rows


def conclusion(
    pictures: int, findings: Sequence[Finding], page: Path | None, fixes: Path | None
) -> str:
    """Say in a line what came of a check, and what to do."""
    kinds = {finding.kind for finding in findings}
    first = next((kind for name, kind in KINDS.items() if name in kinds), None)
    if first is None:
        return f"{pictures} pictures, nothing to mend."
    if first.severity == "note":
        return f"{pictures} pictures, no problems; notes are for you to judge."
    counts = sum(count for name, count, _ in summary(findings) if KINDS[name].severity == "problem")
    what = "1 problem" if counts == 1 else f"{counts} problems"
    where = " and ".join(str(path) for path in (page, fixes) if path)
    further = (
        f"All are in {where}." if where else "--html F shows all, --fix-list F lists what to do."
    )
    return f"{pictures} pictures, {what}. First: {first.title}. {first.advice} {further}"


def write_report(path: Path, root: Path | str, pictures: int, findings: Sequence[Finding]) -> None:
    """Write all findings as JSON: `{data, pictures, problems, notes, findings: [{kind, …}]}`."""
    weights = [finding.severity for finding in findings]
    content: dict[str, Any] = {
        "data": _encodable(str(root)),
        "pictures": pictures,
        "problems": weights.count("problem"),
        "notes": weights.count("note"),
        "findings": [
            {
                "kind": f.kind,
                "severity": f.severity,
                "sentence": _encodable(f.sentence),
                "paths": [_encodable(path) for path in f.paths],
                "details": [_encodable(detail) for detail in f.details],
                "action": f.suggested,
                "advice": KINDS[f.kind].advice,
            }
            for f in findings
        ],
    }
    write_json(path, content)


def write_fixes(path: Path, findings: Sequence[Finding]) -> None:
    """Write what to do about each picture as CSV: columns path, problem, action, detail; sorted.

    Spreadsheets run cells that begin with `=`, `+`, `-` or `@` as formulas, and read UTF-8 only after
    a byte order mark: paths are written as `./path` where they might be run, and the mark is there.
    """
    rows = sorted({row for finding in findings for row in finding.fixes()})
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(["path", "problem", "action", "detail"])
    for name, kind, action, detail in rows:
        writer.writerow([_path_cell(name), kind, action, _encodable(detail)])
    write_bytes(path, text.getvalue().encode("utf-8-sig"))


def _path_cell(path: str) -> str:
    """Return a path that is no formula and still the same path."""
    harmless = path[:1].isalnum() or path[:1] in "/._" or is_remote(path)
    return _encodable(path if harmless else f"./{path}")


def _encodable(text: str) -> str:
    """Return text that UTF-8 can hold: bytes of a name that are none appear as escapes."""
    return text.encode("utf-8", "backslashreplace").decode()
