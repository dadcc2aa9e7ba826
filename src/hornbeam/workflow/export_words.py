"""What an export tells: the table of its contracts, and the versions of what made it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from hornbeam import console
from hornbeam.deployment.bundle.manifest import Artifact, Manifest
from hornbeam.deployment.contract.checking import Checked

_PACKAGES = (
    "hornbeam", "keras", "tensorflow", "tensorflow-cpu", "ai-edge-litert", "ai-edge-quantizer", "onnx",
    "onnxruntime", "tf2onnx", "openvino", "numpy", "opencv-python-headless", "pillow",
)  # fmt: skip


def versions() -> dict[str, str]:
    """Return the versions of the packages that make a bundle, of those that are installed."""
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def tell_contracts(
    directory: Path, manifest: Manifest, made: Mapping[str, Artifact], checked: Mapping[str, Checked],
    failed: Mapping[str, str], left: Mapping[str, Sequence[str]] | None = None,
    archive: Path | None = None,
) -> None:  # fmt: skip
    """Print a line an artifact: where it is, how large and quick, and how near to the model.

    Args:
        directory: of the bundle, as the user calls it.
        manifest: what is in it now.
        made: the artifacts of this export.
        checked: what the contract found of them.
        failed: why some are not as the model.
        left: what remains for the user to do for others, in sentences.
        archive: the bundle as one file, if that was written.
    """
    if made:
        several = len(manifest.tasks) > 1
        console.table(
            ("format", "file", "task", "MB", "ms", "first answers equal", "largest difference",
             "accuracy, points", "verdict"),
            [
                row
                for name, artifact in made.items()
                for row in _rows(name, artifact, checked[name].contract, several, name in failed)
            ],
            left=3,
        )  # fmt: skip
    for name, artifact in made.items():
        for note in artifact.notes if name not in failed else ():
            console.say(f"{name}: {note}")
        if "not_asked" in checked[name].contract:
            console.warn(f"{name} was not asked: {checked[name].contract['not_asked']}")
    for name, sentence in failed.items():
        kept = f" It is kept as {directory / made[name].file}.failed." if name in made else ""
        console.warn(f"{name}: {sentence}{kept}")
    for name, sentences in (left or {}).items():
        for sentence in sentences:
            console.say(f"{name}: {sentence}")
    if manifest.artifacts:
        there = f" and in {directory.parent / archive.name}" if archive else ""
        console.say(f"{', '.join(manifest.artifacts)}: in {directory}{there}.")
    elif left:
        console.say(f"What {', '.join(left)} needs is in {directory}; nothing can be asked yet.")


def _rows(
    name: str, artifact: Artifact, contract: Mapping[str, Any], several: bool, failed: bool
) -> list[tuple[str, ...]]:
    """Return a row for each task; of several the others have what is the task's own."""
    verdict = "failed" if failed else "not asked" if "not_asked" in contract else "as the model"
    took = contract.get("milliseconds")
    about = (name, artifact.file + (".failed" if failed else ""))
    size = f"{artifact.bytes / 1e6:.1f}"
    tasks = {
        task: each for task, each in contract["outputs"].items() if "first_answer_equal" in each
    }
    if not tasks:
        return [(*about, "", size, "", "", "", "", verdict)]
    rows: list[tuple[str, ...]] = []
    for place, (task, numbers) in enumerate(tasks.items()):
        rows.append((
            *(about if not place else ("", "")), task if several else "", "" if place else size,
            "" if place or took is None else f"{took:.3g}",
            f"{100 * numbers['first_answer_equal']:.1f} %", f"{numbers['largest_difference']:.2g}",
            _change(numbers["accuracy"]), "" if place else verdict,
        ))  # fmt: skip
    return rows


def _change(accuracy: Mapping[str, float] | None) -> str:
    if accuracy is None:
        return "no labels"
    low, high = 100 * accuracy["low"], 100 * accuracy["high"]
    return f"{100 * accuracy['change']:+.1f} ({low:+.1f} to {high:+.1f})"
