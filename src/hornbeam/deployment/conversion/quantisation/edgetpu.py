"""`edgetpu`: the integer file, checked against what the Edge TPU's compiler demands, and compiled.

The compiler is a program of Google's that no package registry has. Where it is on the PATH it is run;
otherwise there is no artifact, but what to compile, what is known about it, and the command.
"""

from __future__ import annotations

import dataclasses
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from hornbeam.deployment.conversion.job import Converted, Job
from hornbeam.deployment.conversion.litert import written
from hornbeam.deployment.conversion.quantisation.choosing import best, in_words, known, required
from hornbeam.deployment.conversion.quantisation.edgetpu_rules import SRAM_BYTES, Report, inspect
from hornbeam.deployment.conversion.quantisation.litert import UNKNOWN_TOLERANCE, begin, tried
from hornbeam.errors import ConfigError, ModelError
from hornbeam.storage import write_json

if TYPE_CHECKING:
    import keras

COMPILER = "edgetpu_compiler"
TO_COMPILE, REPORT, TEXT, LOG = "to-compile.tflite", "edgetpu.json", "edgetpu.txt", "edgetpu.log"
"""Files beside the artifact: what is compiled, what is known of it (for programs and for people), and
what the compiler said."""

SECONDS = 600


def convert(model: keras.Model, job: Job, path: Path) -> Converted:
    """Write the file for the Edge TPU if its compiler is there, else all that compiling needs.

    Raises:
        ConfigError: there are no calibration pictures, or there are numbers beside the picture.
        ModelError: the file cannot be made or compiled.
    """
    if job.features:
        raise ConfigError(
            "The Edge TPU takes integers alone, which have one scale for all numbers beside the "
            "picture, so that small ones would be lost; use litert-int8, which leaves them in float."
        )
    begun = begin(model, job)
    candidates = tried(begun, ())
    kept = required(best(candidates), candidates)
    source = path.with_name(TO_COMPILE)
    made = written(kept.content, "edgetpu", job, source)
    report = inspect(kept.content)
    notes = [in_words(candidates, kept, begun.pictures), *in_sentences(report)]
    score = known(kept).unknown
    if score is not None and score > UNKNOWN_TOLERANCE:
        notes.append(
            f"As integers the unknown score is {score:.2f} of its standard deviation off: do not rely "
            "on it here."
        )
    write_report(report, notes, path.parent)
    if report.problems:
        raise ModelError(" ".join(report.problems))
    if shutil.which(COMPILER) is None:
        return Converted(
            "edgetpu", "", made.inputs, made.outputs, tuple(notes),
            left_to_do=f"{COMPILER} is not on the PATH, so nothing was compiled. {source.name} is ready "
            f"for it (what is known: {TEXT}). On a machine that has it: {command(source.name)}",
        )  # fmt: skip
    said = compile_file(source, path)
    return dataclasses.replace(made, file=path.name, notes=(*notes, *said))


def command(source: str) -> str:
    """Return what compiles a file, in its folder."""
    return f"{COMPILER} -s -o . {source}"


def compile_file(source: Path, path: Path) -> list[str]:
    """Run the compiler; keep what it made and what it said.

    Args:
        source: file of integers.
        path: where what is compiled goes; the compiler's words go beside it.

    Returns:
        What it says of where operators run, in sentences.

    Raises:
        ModelError: it failed, hung, or made nothing.
    """
    program = shutil.which(COMPILER)
    assert program is not None
    with tempfile.TemporaryDirectory(prefix="hornbeam-edgetpu-") as folder:
        try:
            done = subprocess.run(
                [program, "-s", "-o", folder, str(source)], capture_output=True, text=True,
                errors="replace", timeout=SECONDS, check=False, stdin=subprocess.DEVNULL,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise ModelError(f"{COMPILER} did not end within {SECONDS} seconds.") from None
        made = Path(folder, f"{source.stem}_edgetpu.tflite")
        log = Path(folder, f"{source.stem}_edgetpu.log")
        told = done.stdout + done.stderr
        if log.is_file():
            told += "\n" + log.read_text(encoding="utf-8", errors="replace")
        path.with_name(LOG).write_text(told, encoding="utf-8")
        if done.returncode or not made.is_file():
            last = ([line for line in told.splitlines() if line.strip()] or ["it said nothing"])[-1]
            raise ModelError(f"{COMPILER} ended with code {done.returncode}: {last} (see {LOG})")
        shutil.move(made, path)
    found = re.findall(r"^(?:Edge TPU Compiler version|Number of operations that|On-chip memory "
                       r"used|Off-chip memory used)[^\n]*", told, re.MULTILINE)  # fmt: skip
    return [f"{' '.join(line.split())}." for line in dict.fromkeys(found)]


def in_sentences(report: Report) -> list[str]:
    """Return what is known of a file, for people."""
    sentences = list(report.problems)
    mapped = report.operators - len(report.on_cpu)
    sentences.append(
        f"By the published rules {mapped} of {report.operators} operators run on the Edge TPU, of "
        f"runtime {report.runtime} or newer."
    )
    if report.on_cpu:
        kind, name, why = report.on_cpu[0]
        sentences.append(
            f"The first that runs on the CPU is {kind} ('{name}'): {why}; so do all behind it."
        )
    size = f"{report.parameter_bytes / 2**20:.1f} MiB of parameters"
    sentences.append(
        f"Its {size} fit into the {SRAM_BYTES // 2**20} MiB on the chip."
        if report.fits
        else f"Its {size} do not fit into the {SRAM_BYTES // 2**20} MiB on the chip: the rest is "
        "fetched for each picture, which is slow."
    )
    return sentences


def write_report(report: Report, notes: list[str], folder: Path) -> None:
    """Write what is known of a file, for programs and for people."""
    asked = command(TO_COMPILE)
    write_json(
        folder / REPORT,
        {**dataclasses.asdict(report), "fits": report.fits, "command": asked, "notes": notes},
    )
    cpu = [f"  {kind}  {name}: {why}" for kind, name, why in report.on_cpu]
    lines = [*notes, *(["On the CPU:", *cpu] if cpu else []), "", "To compile:", f"  {asked}", ""]
    (folder / TEXT).write_text("\n".join(lines), encoding="utf-8")
