"""Start the process that exports, and read what it says."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from hornbeam.deployment.bundle.manifest import FORMATS
from hornbeam.deployment.conversion.ending import in_words, told
from hornbeam.deployment.conversion.job import DOING, Converted, Job
from hornbeam.errors import ConfigError, ModelError


def convert(job: Job) -> dict[str, Converted]:
    """Make the artifacts of a job; return what came of each format.

    Where a library ends the whole process, that format has failed, and another process makes the rest.

    Raises:
        ConfigError: TensorFlow is not installed.
        ModelError: the process failed before the first format.
    """
    if importlib.util.find_spec("tensorflow") is None:
        raise ConfigError(
            "Exporting needs TensorFlow, whatever the model was trained with: "
            "pip install 'hornbeam[cpu]'."
        )
    found: dict[str, Converted] = {}
    while left := tuple(name for name in job.formats if name not in found):
        made, end = _made(dataclasses.replace(job, formats=left))
        if made is None:
            raise ModelError(f"The process that exports {end}")
        found |= made
        if len(made) < len(left):
            name = left[len(made)]
            _remove_half(Path(job.out, FORMATS[name]))
            found[name] = Converted(
                name, FORMATS[name], {}, {}, error=f"the process that makes it {end}"
            )
    return found


def _made(job: Job) -> tuple[dict[str, Converted] | None, str]:
    """Return what one process made, the first formats of the job, and how it ended.

    `None` instead of formats, if it did not come to the first one.
    """
    with tempfile.TemporaryDirectory(prefix="hornbeam-export-") as folder:
        asked, answered = Path(folder, "job.json"), Path(folder, "converted.json")
        job.save(asked)
        code, errors = _run(asked, answered, folder)
        end = in_words(code, errors, told(Path(folder, DOING)) if code < 0 else None)
        if not answered.is_file():
            return None, end
        said = json.loads(answered.read_text(encoding="utf-8"))
    return {name: Converted.from_json(each) for name, each in said.items()}, end


def _run(asked: Path, answered: Path, folder: str) -> tuple[int, str]:
    """Return the exit code of the process, and what it said on stderr.

    It leads a group of its own, which ends with this function, however that is left. Its stdin is the
    end of a pipe that closes when we are killed.
    """
    # -P: else an `onnx.py` in the user's folder would be taken for the library.
    words = [sys.executable, "-P", "-m", "hornbeam.deployment.conversion.child"]
    theirs, ours = os.pipe()
    try:
        with subprocess.Popen(
            [*words, str(asked), str(answered)], env=_environment(folder), stdin=theirs,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace",
            start_new_session=True,
        ) as process:  # fmt: skip
            try:
                _, errors = process.communicate()
            finally:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, signal.SIGKILL)
        return process.returncode, errors
    finally:
        os.close(theirs)
        os.close(ours)


def _remove_half(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)
    path.unlink(missing_ok=True)


def _environment(folder: str) -> dict[str, str]:
    """Return the environment; what the process leaves behind is in a folder that we remove."""
    return {
        **os.environ, "KERAS_BACKEND": "tensorflow", "CUDA_VISIBLE_DEVICES": "-1",
        "TF_CPP_MIN_LOG_LEVEL": "3", "TMPDIR": folder,
    }  # fmt: skip
