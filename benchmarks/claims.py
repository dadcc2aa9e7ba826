"""What the scripts beside this one found, as one table: `RESULTS.md`, made from `results.jsonl`.

A script calls `record` for each of its claims, which adds a line to the file that $HORNBEAM_RECORD
names, and does nothing without it. `make bench` sets it, and then runs this file, which writes the
table, and the lines of it that the README quotes between its marks.

A ratio says how many times as quick (or small, or right) ours is as the peer: above 1 is better. Where
the claim is a limit, the peer is the limit. Of two lines about the same claim on the same machine the
later one counts.
"""

from __future__ import annotations

import datetime
import json
import math
import os
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
FILE, TABLE, README = HERE / "results.jsonl", HERE / "RESULTS.md", HERE.parent / "README.md"
BEGIN, END = "<!-- quoted from benchmarks/RESULTS.md -->", "<!-- end of the quotation -->"

QUOTED = (
    ("answering", "one picture, MobileNetV2 at 224 px", "keras.predict"),
    ("answering", "one picture, MobileNetV2 at 224 px", "predict_on_batch"),
    ("answering", "12 megapixels, one file at a time", "Pillow + LiteRT"),
    ("quantised", "int8 in LiteRT, resnet50", "float32 in LiteRT"),
    ("quantised", "int8 in LiteRT, mobilenet_v2", "float32 in LiteRT"),
    ("loading", "loading photographs as they are", "tf.data"),
    ("feeding", "a training step, compact at 96 px", "keras PyDataset"),
    ("judging", "scores of 50,000 pictures and 1,000 classes", "scikit-learn"),
    ("startup", "`hornbeam --help`", "`import keras`"),
)
"""Script, claim and peer of what the README quotes."""


_ABOUT = """\
# What was measured, in one table

Made from `results.jsonl` by `make bench`; not to be edited. [README.md](README.md) beside it says how
each script measures, and why a goal was missed.

*Ratio*: how many times as quick (or small, or right) ours is as the peer, the median of the rounds;
above 1 is better. Where the peer is a limit, it is the limit divided by what ours took. *Goal*: the
ratio that was aimed at. The peers run beside ours, by turns, on the machine of that line; *load* is told
where more processes than cores wanted to run.

""".splitlines()


def record(
    script: str, claim: str, peer: str, ratios: Sequence[float], *, goal: float | None = None,
    measured: str = "", device: str = "",
) -> None:  # fmt: skip
    """Note what was found of one claim, if $HORNBEAM_RECORD says where.

    Args:
        script: `__file__` of the script.
        claim: what ours does, as short as a cell of a table.
        peer: with whom it is compared, or the limit.
        ratios: of each round: how many times as quick, small or right as the peer.
        goal: the ratio that was aimed at.
        measured: ours in its own unit, such as `2.05 ms`.
        device: where not the processor computed.
    """
    file = os.environ.get("HORNBEAM_RECORD")
    if not file:
        return
    line = {
        "script": Path(script).stem, "claim": claim, "peer": peer,
        "ratio": _short(statistics.median(ratios)), "low": _short(min(ratios)),
        "high": _short(max(ratios)), "rounds": len(ratios), "goal": goal, "measured": measured,
        "machine": ", ".join(filter(None, [device, machine()])),
        "date": datetime.date.today().isoformat(), "load": _load(),
    }  # fmt: skip
    with Path(file).open("a", encoding="utf-8") as out:
        out.write(json.dumps(line, ensure_ascii=False) + "\n")


def machine() -> str:
    """Return the processor and the versions that matter."""
    import platform
    from importlib import metadata

    name, flags = platform.processor() or platform.machine(), ""
    try:
        for text in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            key, _, value = text.partition(":")
            name = value.strip() if key.strip() == "model name" else name
            flags = value if key.strip() == "flags" else flags
    except OSError:
        pass
    wide = next((w for w in ("avx512_bf16", "avx512f", "avx2") if w in flags.split()), "")
    versions = [f"Python {platform.python_version()}"]
    for package, called in (("keras", "Keras"), ("tensorflow_cpu", "TensorFlow"), ("jax", "JAX")):
        try:
            versions.append(f"{called} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            continue
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{cores} cores, {name}{f' ({wide})' if wide else ''}; {', '.join(versions)}"


def read(file: Path) -> list[dict[str, Any]]:
    """Return the lines that count, those of a script together."""
    kept: dict[tuple[str, ...], dict[str, Any]] = {}
    for text in file.read_text(encoding="utf-8").splitlines():
        line = json.loads(text)
        kept[tuple(line[key] for key in ("script", "claim", "peer", "machine"))] = line
    scripts = list(dict.fromkeys(line["script"] for line in kept.values()))
    return sorted(kept.values(), key=lambda line: scripts.index(line["script"]))


def table(lines: Sequence[Mapping[str, Any]]) -> str:
    """Return the page with the table, in Markdown."""
    machines = list(dict.fromkeys(line["machine"] for line in lines))
    letters = {name: chr(ord("A") + number) for number, name in enumerate(machines)}
    rows = [
        f"| {line['script']} | {line['claim']} | {line['measured']} | {line['peer']} | {_ratio(line)} "
        f"| {_spread(line)} | {_verdict(line)} | {letters[line['machine']]} | {_when(line)} |"
        for line in lines
    ]
    head = ("script", "claim", "ours", "peer", "ratio", "smallest to largest (rounds)", "goal",
            "machine", "date")  # fmt: skip
    return "\n".join([
        *_ABOUT, f"| {' | '.join(head)} |", "|---|---|---:|---|---:|---:|---|---|---|", *rows, "",
        *(f"- Machine {letters[name]}: {name}." for name in machines), "",
    ])  # fmt: skip


def quotation(lines: Sequence[Mapping[str, Any]]) -> str:
    """Return the lines of the table that the README quotes; of several machines, that of the least."""
    found: dict[tuple[str, ...], Mapping[str, Any]] = {}
    for line in sorted(lines, key=lambda line: -line["ratio"]):
        found[line["script"], line["claim"], line["peer"]] = line
    chosen = [found[key] for key in QUOTED if key in found]
    rows = [f"| {c['claim']} | {c['peer']} | {_ratio(c)} | {_spread(c)} |" for c in chosen]
    head = [
        "| ours | peer | times as quick | smallest to largest (rounds) |",
        "|---|---|---:|---:|",
    ]
    return "\n".join([BEGIN, *head, *rows, END])


def quoting(text: str, lines: Sequence[Mapping[str, Any]]) -> str:
    """Return the README's text with the quotation between its marks."""
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    return before + quotation(lines) + after


def spread(values: Sequence[float], form: str) -> str:
    """Return median, smallest and largest, written in a form such as `.2f`."""
    return f"{statistics.median(values):{form}} ({min(values):{form}}, {max(values):{form}})"


def _load() -> int | None:
    """Return how many processes wanted to run in the last minute, where that is more than one a core."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    return round(load) if load > 1.5 * (os.cpu_count() or 1) else None


def _when(line: Mapping[str, Any]) -> str:
    return f"{line['date']}, load {line['load']}" if line.get("load") else str(line["date"])


def _short(value: float) -> float:
    """Return a number with three digits that count."""
    if not value or not math.isfinite(value):
        return value
    return round(value, max(0, 2 - math.floor(math.log10(abs(value)))))


def _ratio(line: Mapping[str, Any]) -> str:
    return f"{line['ratio']:g}"


def _spread(line: Mapping[str, Any]) -> str:
    if line["rounds"] == 1:
        return "one round"
    if line["low"] is None:  # of lines that were taken from the log
        return "not noted"
    return f"{line['low']:g} to {line['high']:g} ({line['rounds']})"


def _verdict(line: Mapping[str, Any]) -> str:
    if line["goal"] is None:
        return ""
    return f"{line['goal']:g}" + ("" if line["ratio"] >= line["goal"] else ", **missed**")


def main() -> None:
    lines = read(FILE)
    TABLE.write_text(table(lines), encoding="utf-8")
    README.write_text(quoting(README.read_text(encoding="utf-8"), lines), encoding="utf-8")
    missed = sum("missed" in _verdict(line) for line in lines)
    print(f"{len(lines)} claims, {missed} goals missed: {TABLE}", file=sys.stderr)


if __name__ == "__main__":
    main()
