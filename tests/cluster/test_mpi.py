"""`mpirun … hornbeam train`, as docs/cluster.md has it, with the MPI of Debian (openmpi-bin)."""

import csv
import os
import shutil
import subprocess
import sys

import pytest
from command_line import run_outside

from hornbeam.cluster.hosts import free_port

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not shutil.which("mpirun"), reason="needs mpirun: openmpi-bin of Debian"),
]


def test_two_processes_of_mpirun_train_one_run_and_the_same_command_goes_on(tmp_path):
    assert run_outside("sample", "photos", "--per-class", 20, cwd=tmp_path).code == 0
    port = free_port("127.0.0.1")
    words = "photos --backend jax --model compact --image-size 32 --batch-size 8 --run run --resume"
    rooted = ["--allow-run-as-root"] if os.getuid() == 0 else []

    def train(steps):
        command = [
            "mpirun", *rooted, "--oversubscribe", "--bind-to", "none", "-n", "2",
            "-x", f"HORNBEAM_COORDINATOR=127.0.0.1:{port}",
            sys.executable, "-m", "hornbeam", "train", *words.split(), "--steps", steps,
            "--validate-every", "4steps",
        ]  # fmt: skip
        return subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
        )

    done = train("4")
    assert done.returncode == 0, done.stderr
    assert "divided among 2 devices of 2 processes" in done.stdout
    done = train("8")
    assert done.returncode == 0, done.stderr
    with (tmp_path / "run" / "metrics.csv").open() as file:
        assert [row["step"] for row in csv.DictReader(file)] == ["4", "8"]
