"""Scripts of `hornbeam cluster sbatch` in a real Slurm of three nodes on this machine."""

import csv
import stat
import sys
import time
from pathlib import Path

import psutil
import pytest
from command_line import run_outside
from slurm_bed import slurm, why_not

from hornbeam import cli
from hornbeam.cluster.slurm import search_script, training_script

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(why_not()), reason=why_not()),
]

# Plays Python on a node: notes where it was started, saves when it is told to stop, and ends as the
# file `end` says, if there is one.
WORKER = """\
#!/bin/bash
echo "$SLURM_PROCID of $SLURM_STEP_NUM_TASKS $SLURMD_NODENAME $HORNBEAM_COORDINATOR $SLURM_RESTART_COUNT"
trap 'echo "saved by $SLURM_PROCID"; sleep 1; exit 143' TERM
[ -f end ] && exit $(cat end)
touch begun-$SLURM_PROCID
while [ ! -f end ]; do sleep 0.1; done
exit $(cat end)
"""


@pytest.fixture(scope="module")
def bed(tmp_path_factory):
    with slurm(tmp_path_factory.mktemp("slurm"), count=3) as bed:
        yield bed


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    worker = tmp_path / "worker"
    worker.write_text(WORKER)
    worker.chmod(worker.stat().st_mode | stat.S_IXUSR)
    return tmp_path


def submit(bed, place, *words):
    words = ["photos", "--python", str(place / "worker"), "--cpus-per-node", "1", *words]
    text = training_script(cli.parse("cluster sbatch", words), Path("run"))
    (place / "job.sbatch").write_text(text)
    return bed.run("sbatch", "--parsable", place / "job.sbatch")


def wait_until(bed, condition, job):
    end = time.monotonic() + 90
    while not condition():
        assert time.monotonic() < end, (bed.run("scontrol", "show", "job", job), bed.logs())
        time.sleep(0.1)


def log(place, job):
    path = place / f"run.{job}.log"
    return path.read_text() if path.exists() else ""


def test_each_node_gets_one_worker_and_all_know_the_first(bed, place):
    (place / "end").write_text("0")
    job = submit(bed, place, "--nodes", "3")
    assert bed.wait_for(job, "COMPLETED", "FAILED") == "COMPLETED"
    said = log(place, job).splitlines()
    # This Slurm has no plugin for cores, and srun says so.
    lines = sorted(line.split() for line in said if not line.startswith("srun:"))
    coordinator = f"127.0.0.1:{61440 + int(job) % 4096}"
    assert lines == [[str(i), "of", "3", f"127.0.0.{i + 1}", coordinator] for i in range(3)]


def test_a_cancelled_job_saves_on_all_nodes_and_stays_cancelled(bed, place):
    job = submit(bed, place, "--nodes", "2")
    wait_until(bed, lambda: all((place / f"begun-{i}").exists() for i in (0, 1)), job)
    bed.run("scancel", job)
    bed.wait_for(job, "CANCELLED")
    wait_until(bed, lambda: "was stopped" in log(place, job), job)
    said = log(place, job)
    assert "saved by 0" in said
    assert "saved by 1" in said
    assert "queues again" not in said
    assert bed.state(job) == "CANCELLED"


def test_a_job_whose_time_ends_saves_queues_again_and_goes_on(bed, place):
    # Slurm looks at times every 30 s or so, and 120 s before the end of 2 minutes is at once.
    job = submit(bed, place, "--nodes", "2", "--time-limit", "2")
    wait_until(bed, lambda: "it queues again" in log(place, job), job)
    (place / "end").write_text("0")
    bed.run("scontrol", "update", f"jobid={job}", "StartTime=now", check=False)
    assert bed.wait_for(job, "COMPLETED", "FAILED", seconds=240) == "COMPLETED"
    said = log(place, job)
    assert said.count("saved by") == 2
    assert bed.fact(job, "Restarts") == "1"


def test_a_job_that_lost_a_worker_is_started_again_as_often_as_it_may(bed, place):
    (place / "end").write_text("4")
    job = submit(bed, place, "--nodes", "2", "--restarts", "1")
    wait_until(bed, lambda: "it queues again" in log(place, job), job)
    wait_until(bed, lambda: bed.state(job) == "PENDING" or "again before" in log(place, job), job)
    bed.run("scontrol", "update", f"jobid={job}", "StartTime=now", check=False)
    assert bed.wait_for(job, "FAILED", seconds=240) == "FAILED"
    assert bed.fact(job, "ExitCode") == "4:0"
    assert bed.fact(job, "Restarts") == "1"


def test_an_array_searches_with_one_study(bed, place):
    (place / "end").write_text("0")
    words = f"photos --grid width=1,2,3 --array 3 --python {place}/worker --cpus-per-node 1".split()
    text = search_script(cli.parse("cluster sbatch-search", words), Path("study"))
    (place / "job.sbatch").write_text(text)
    job = bed.run("sbatch", "--parsable", place / "job.sbatch")
    for index in range(3):
        assert bed.wait_for(f"{job}_{index}", "COMPLETED", "FAILED") == "COMPLETED"
        assert (place / f"study.{job}_{index}.log").read_text().count("0 of 1 ") == 1


def workers_of(job, place):
    """Return the processes of a job that train in a folder, by rank."""
    found = {}
    for process in psutil.process_iter():
        try:
            environment = process.environ()
            if environment.get("SLURM_JOB_ID") == job and process.cmdline()[1:4:2] == [
                "-m",
                "train",
            ]:
                found[int(environment["SLURM_PROCID"])] = process
        except (psutil.Error, KeyError, ValueError):
            continue
    return found


def test_a_training_on_two_nodes_loses_a_worker_queues_again_and_goes_on(bed, place):
    assert run_outside("sample", "photos", "--per-class", 20, cwd=place).code == 0
    words = (
        "photos --backend jax --model compact --image-size 32 --batch-size 8 --steps 60 "
        f"--save-every 5steps --validate-every 30steps --nodes 2 --python {sys.executable} --cpus-per-node 1"
    )
    text = training_script(cli.parse("cluster sbatch", words.split()), Path("run"))
    (place / "job.sbatch").write_text(text)
    job = bed.run("sbatch", "--parsable", place / "job.sbatch")
    checkpoints = place / "run" / "checkpoints"
    wait_until(bed, lambda: list(checkpoints.glob("step-*")), job)
    workers_of(job, place)[1].kill()
    wait_until(bed, lambda: "it queues again" in log(place, job), job)
    wait_until(bed, lambda: bed.state(job) == "PENDING", job)
    bed.run("scontrol", "update", f"jobid={job}", "StartTime=now", check=False)
    assert bed.wait_for(job, "COMPLETED", "FAILED", seconds=300) == "COMPLETED", log(place, job)
    assert bed.fact(job, "Restarts") == "1"
    with (place / "run" / "metrics.csv").open() as file:
        assert [row["step"] for row in csv.DictReader(file)] == ["30", "60"]
    assert (place / "run" / "report.html").is_file()
