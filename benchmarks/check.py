"""`hornbeam check` and cleanvision on the same pictures: what they find of planted faults, and how fast.

Into a copy of the pictures faults are planted, each in other pictures; then both look at the copy, and
at the clean original, where whatever they name is listed as an alarm (a few are real faults). Each
picture that a tool names for a kind counts as found if that fault was planted there; copies count
if the tool puts copy and original into one group. Truncated pictures are looked at apart, as the peer
stops at the first. Times are medians of interleaved runs, each in a process of its own, ours without
anything remembered.

    python benchmarks/check.py --pictures PHOTOS --peer-python VENV/bin/python
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from claims import record

from hornbeam.data.pixels.images import EXTENSIONS

QUALITY = cv2.IMWRITE_JPEG_QUALITY
Change = Callable[[Any, np.random.Generator], Any]

_PEER = """
import json, sys, warnings
warnings.filterwarnings("ignore")
from cleanvision import Imagelab
import contextlib, io
with contextlib.redirect_stdout(io.StringIO()):
    lab = Imagelab(data_path=sys.argv[1])
    lab.find_issues(n_jobs=int(sys.argv[3]))
frame = lab.issues
found = {c[3:-6]: sorted(map(str, frame.index[frame[c]])) for c in frame if c.endswith("_issue")}
groups = {k: v.get("sets", []) for k, v in lab.info.items() if k.endswith("_duplicates")}
seen = sorted(map(str, frame.index))
json.dump({"found": found, "groups": groups, "seen": seen}, open(sys.argv[2], "w"))
"""

_NAMES = {  # ours: cleanvision's
    "truncated": "-", "wrong-extension": "-", "dark": "dark", "bright": "light", "blurry": "blurry",
    "low-information": "low_information", "odd-size": "odd_size", "odd-aspect": "odd_aspect_ratio",
}  # fmt: skip


def changes() -> dict[str, Change]:
    """Return what is done to a picture for each kind of fault; BGR in, BGR or bytes out."""

    def crop(share: float) -> Change:
        def cut(bgr: Any, rng: np.random.Generator) -> Any:
            height, width = bgr.shape[:2]
            top, bottom = (rng.uniform(0, share, 2) * height).astype(int)
            left, right = (rng.uniform(0, share, 2) * width).astype(int)
            return bgr[top : height - bottom, left : width - right]

        return cut

    def scaled(bgr: Any, rng: np.random.Generator) -> Any:
        factor = rng.uniform(0.4, 0.9)
        return cv2.resize(bgr, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)

    return {
        "truncated": lambda bgr, _: encoded(bgr, ".jpg", 95)[: int(bgr.size * 0.01) + 2000],
        "wrong-extension": lambda bgr, _: encoded(bgr, ".png", 95),
        "dark": lambda bgr, _: (bgr * 0.12).astype(np.uint8),
        "bright": lambda bgr, _: (228 + bgr * 0.1).astype(np.uint8),
        "blurry": lambda bgr, _: cv2.GaussianBlur(bgr, (0, 0), max(bgr.shape) / 50),
        "low-information": lambda bgr, rng: np.full_like(bgr, rng.integers(70, 180)),
        "odd-size": lambda bgr, _: cv2.resize(
            bgr, None, fx=0.15, fy=0.15, interpolation=cv2.INTER_AREA
        ),
        "odd-aspect": lambda bgr, _: bgr[: max(24, bgr.shape[1] // 6)],
        "exact copy": lambda *_: None,
        "recompressed copy": lambda bgr, rng: encoded(bgr, ".jpg", int(rng.integers(30, 90))),
        "rescaled copy": scaled,
        "brighter or darker copy": lambda bgr, rng: np.clip(
            bgr * rng.choice([0.9, 1.1]), 0, 255
        ).astype(np.uint8),
        "copy cropped by up to 2 %": crop(0.02),
        "copy cropped by up to 5 %": crop(0.05),
    }


def encoded(bgr: Any, suffix: str, quality: int) -> bytes:
    return bytes(cv2.imencode(suffix, bgr, [QUALITY, quality])[1].tobytes())


def plant(root: Path, each: int, seed: int) -> dict[str, dict[str, str]]:
    """Plant faults into a folder; return `{kind: {path: original, or nothing}}`."""
    rng = np.random.default_rng(seed)
    files = sorted(f for f in root.rglob("*") if f.suffix.lower() in EXTENSIONS)
    order = rng.permutation(len(files))
    planted: dict[str, dict[str, str]] = {}
    for number, (kind, change) in enumerate(changes().items()):
        planted[kind] = {}
        for index in order[number * each : (number + 1) * each]:
            file = files[index]
            result = change(cv2.imread(str(file)), rng)
            target = file
            if "copy" in kind:
                target = file.with_name(f"copy-{file.stem}.jpg")
            if result is None:
                shutil.copy(file, target)
            else:
                data = result if isinstance(result, bytes) else encoded(result, ".jpg", 90)
                target.write_bytes(data)
            name = target.relative_to(root).as_posix()
            planted[kind][name] = file.relative_to(root).as_posix() if "copy" in kind else ""
    return planted


def run_ours(root: Path, threads: int) -> tuple[float, dict[str, set[str]], list[set[str]]]:
    """Return seconds, names by kind and groups of `hornbeam check`."""
    with tempfile.TemporaryDirectory() as place:
        out = Path(place) / "found.json"
        command = [sys.executable, "-m", "hornbeam", "check", str(root), "--json", str(out)]
        start = time.perf_counter()
        subprocess.run(
            [*command, "--threads", str(threads)], capture_output=True, check=False,
            env={**os.environ, "HORNBEAM_CACHE": place},
        )  # fmt: skip
        seconds = time.perf_counter() - start
        findings = json.loads(out.read_text())["findings"]
    found: dict[str, set[str]] = {}
    groups = []
    for finding in findings:
        found.setdefault(finding["kind"], set()).update(finding["paths"])
        if finding["kind"].endswith(("duplicate", "leak", "conflict")):
            groups.append(set(finding["paths"]))
    return seconds, found, groups


def run_peer(
    root: Path, threads: int, python: str
) -> tuple[float, dict[str, set[str]], list[set[str]]]:
    """Return seconds, names by kind and groups of cleanvision; unreadable files make it fail."""
    with tempfile.TemporaryDirectory() as place:
        out = Path(place) / "found.json"
        start = time.perf_counter()
        command = [python, "-c", _PEER, str(root), str(out), str(threads)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        seconds = time.perf_counter() - start
        if not out.exists():
            raise RuntimeError(done.stderr.strip().splitlines()[-1])
        report = json.loads(out.read_text())
    inside = {name: os.path.relpath(name, root) for name in report["seen"]}
    found = {kind: {inside[n] for n in names} for kind, names in report["found"].items()}
    groups = [
        {inside[name] for name in group} for sets in report["groups"].values() for group in sets
    ]
    return seconds, found, groups


def hits(
    kind: str,
    of_kind: dict[str, str],
    found: dict[str, set[str]],
    groups: list[set[str]],
    name: str,
) -> int:
    """Return how many of the planted faults of a kind were found."""
    if "copy" in kind:
        return sum(
            any(copy in group and original in group for group in groups)
            for copy, original in of_kind.items()
        )
    return len(set(of_kind) & found.get(name, set()))


def main() -> None:
    """Measure and print tables in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=Path, required=True, help="folder of photographs")
    parser.add_argument("--peer-python", default="", help="a Python that has cleanvision")
    parser.add_argument("--each", type=int, default=200, help="faults of each kind")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    tools: dict[str, Callable[[Path], Any]] = {"ours": lambda r: run_ours(r, arguments.threads)}
    if arguments.peer_python:
        tools["cleanvision"] = lambda r: run_peer(r, arguments.threads, arguments.peer_python)
    results: dict[tuple[str, str], Any] = {}
    times: dict[tuple[str, str], list[float]] = {}
    with tempfile.TemporaryDirectory() as place:
        root = Path(place) / "planted"
        shutil.copytree(arguments.pictures, root)
        planted = plant(root, arguments.each, seed=0)
        # The peer stops at a truncated picture, so those go to a place of their own.
        broken = Path(place) / "broken"
        for name in planted["truncated"]:
            (broken / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).replace(broken / name)
        for tool, run in tools.items():
            try:
                results[tool, "broken"] = run(broken)[1:]
            except RuntimeError as error:
                print(f"{tool} stops at a truncated picture: {error}\n", flush=True)
        for _ in range(arguments.rounds):
            for which, folder in (("planted", root), ("clean", arguments.pictures)):
                for tool, run in tools.items():
                    seconds, *rest = run(folder)
                    times.setdefault((tool, which), []).append(seconds)
                    results[tool, which] = rest
    print(f"{arguments.each} of each, {arguments.rounds} rounds, {arguments.threads} threads\n")
    print("| fault | " + " | ".join(f"{tool}: found" for tool in tools) + " |")
    print("|---|" + "---:|" * len(tools))
    for kind, of_kind in planted.items():
        cells = []
        for tool in tools:
            name = kind if tool == "ours" else _NAMES.get(kind, "-")
            which = "broken" if kind == "truncated" else "planted"
            if (tool, which) not in results:
                cells.append("stops")
                continue
            found, groups = results[tool, which]
            cells.append(str(hits(kind, of_kind, found, groups, name)))
        print(f"| {kind} | {' | '.join(cells)} |")
        if len(tools) == 2 and all(cell.isdecimal() for cell in cells):
            mine, theirs = map(int, cells)
            told = f"{mine} of {len(of_kind)}"
            record(
                __file__, f"found: {kind}", "cleanvision", [mine / max(1, theirs)], measured=told
            )
    print("\n| named in the clean original | " + " | ".join(tools) + " |")
    print("|---|" + "---:|" * len(tools))
    for kind, peer_name in _NAMES.items():
        cells = [
            str(len(results[t, "clean"][0].get(kind if t == "ours" else peer_name, ())))
            for t in tools
        ]
        print(f"| {kind} | {' | '.join(cells)} |")
    print(f"| groups of copies | {' | '.join(str(len(results[t, 'clean'][1])) for t in tools)} |")
    print("\n| seconds | " + " | ".join(tools) + " |")
    print("|---|" + "---:|" * len(tools))
    for which in ("planted", "clean"):
        cells = [f"{statistics.median(times[t, which]):.1f}" for t in tools]
        print(f"| {which} | {' | '.join(cells)} |")
        if len(tools) == 2:
            pairs = zip(*(times[t, which] for t in tools), strict=True)
            ratios = [theirs / mine for mine, theirs in pairs]
            told = f"{cells[0]} s"
            record(__file__, f"check, {which} pictures", "cleanvision", ratios, measured=told)


if __name__ == "__main__":
    main()
