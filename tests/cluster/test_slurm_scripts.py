"""What `hornbeam cluster sbatch` writes, run by bash with Slurm's programs played by others."""

import os
import shlex
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command_line import run_here

from hornbeam import cli
from hornbeam.cluster import slurm
from hornbeam.errors import ConfigError
from hornbeam.world.membership import membership


def options(*words):
    return cli.parse("cluster sbatch", ["photos", *words])


def script(*words, run="runs/photos-1"):
    return slurm.training_script(options(*words), Path(run))


def directives(text):
    lines = [line for line in text.splitlines() if line.startswith("#SBATCH ")]
    return shlex.split(" ".join(line.removeprefix("#SBATCH ") for line in lines))


def command(text):
    """Return the words of the command that srun starts."""
    step = text[text.index("srun ") : text.index("&\nstep=")].replace("\\\n", " ")
    words = shlex.split(step)
    return words[words.index("-m") + 1 :]


def program(place, name, text):
    path = place / name
    path.write_text(f"#!/bin/bash\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


@pytest.fixture
def played(tmp_path, monkeypatch):
    """Programs of Slurm that note how they were called."""
    place = tmp_path / "bin"
    place.mkdir()
    program(place, "scontrol", f"""
        if [ "$1" = show ]; then echo node7; echo node8
        else echo "$@" >> {tmp_path}/requeued; fi""")  # fmt: skip
    program(
        place, "srun", f'echo "$HORNBEAM_COORDINATOR" > {tmp_path}/coordinator; exit ${{CODE:-0}}'
    )
    program(place, "sbatch", f'echo "$@" > {tmp_path}/submitted; echo "4711;cluster"')
    monkeypatch.setenv("PATH", f"{place}:{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(text, place, **environment):
    given = {"SLURM_JOB_ID": "100000", "SLURM_JOB_NODELIST": "node[7-8]", **environment}
    (place / "script").write_text(text)
    done = subprocess.run(
        ["bash", place / "script"], env={**os.environ, **given}, capture_output=True, text=True,
        timeout=120, check=False,
    )  # fmt: skip
    requeued = (place / "requeued").read_text() if (place / "requeued").exists() else ""
    return done.returncode, done.stderr, requeued.strip()


def test_slurm_is_asked_for_what_the_options_say():
    words = "--nodes 4 --partition gpu --account lab --time-limit 12:00:00 --gpus-per-node 8"
    asked = directives(script(*words.split(), "--slurm-options", "--qos=long --constraint=a100"))
    for expected in ("--nodes=4", "--ntasks-per-node=1", "--partition=gpu", "--account=lab",
                     "--time=12:00:00", "--gpus-per-node=8", "--exclusive", "--requeue",
                     "--open-mode=append", "--signal=TERM@120", "--qos=long",
                     "--constraint=a100", "--job-name=photos-1"):  # fmt: skip
        assert expected in asked


def test_cores_in_place_of_whole_nodes_are_asked_for_twice_as_slurm_wants_it():
    text = script("--cpus-per-node", "16")
    assert "--exclusive" not in directives(text)
    assert "--cpus-per-task=16" in directives(text)
    assert "srun --ntasks-per-node=1 --cpus-per-task=16" in text  # srun no longer inherits it


def test_the_nodes_run_the_ordinary_command_with_resume():
    words = command(script("--nodes", "2", "--batch-size", "8", "--seed", "3", run="runs/it is"))
    assert words[:2] == ["hornbeam", "train"]
    trained = cli.parse("train", words[2:])
    expected = ["photos", "--batch-size", "8", "--seed", "3", "--run", "runs/it is", "--resume"]
    assert trained == cli.parse("train", expected)


def test_a_training_on_the_first_try_is_the_end(played):
    assert run(script(), played) == (0, "", "")


def test_the_first_node_is_the_coordinator_at_a_port_of_the_job(played):
    run(script("--nodes", "2"), played)
    first = (played / "coordinator").read_text().strip()
    assert first == f"node7:{61440 + 100000 % 4096}"
    given = {"SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "1", "SLURM_STEP_NODELIST": "node[7-8]",
             "SLURM_JOB_ID": "100000"}  # fmt: skip
    assert membership(given).coordinator == first, "as without the script"
    run(script("--nodes", "2"), played, SLURM_JOB_ID="100001")
    assert (played / "coordinator").read_text().strip() != first


def test_a_job_that_saved_at_the_end_of_its_time_queues_again_however_often(played):
    code, said, requeued = run(script(), played, CODE="143", SLURM_RESTART_COUNT="99")
    assert (code, requeued) == (0, "requeue 100000")
    assert "120 seconds before" in said


@pytest.mark.parametrize("code", ["4", "137"])
def test_a_job_that_lost_a_worker_queues_again_a_few_times(played, code):
    assert run(script(), played, CODE=code)[2] == "requeue 100000"
    (played / "requeued").unlink()
    ended = run(script("--restarts", "2"), played, CODE=code, SLURM_RESTART_COUNT="2")
    assert ended[0] == int(code)
    assert "started 2 times again" in ended[1]
    assert not ended[2]


@pytest.mark.parametrize("code", ["1", "2"])
def test_a_job_that_fails_by_itself_does_not_queue_again(played, code):
    assert run(script(), played, CODE=code) == (int(code), "", "")


@pytest.mark.parametrize("code", [1, 2])
def test_a_job_in_which_one_worker_fails_and_the_others_miss_it_does_not_queue_again(played, code):
    # As srun: one worker each for the codes 4, `code` and 4, of which the highest is told.
    worker = "import sys; from hornbeam.world.world import end; sys.exit(end(int(sys.argv[1])))"
    program(played / "bin", "srun", f"""
        highest=0
        for code in 4 {code} 4; do
            {sys.executable} -c '{worker}' $code; ended=$?
            [ $ended -gt $highest ] && highest=$ended
        done
        exit $highest""")  # fmt: skip
    assert run(script("--nodes", "3"), played) == (code, "", "")


def test_a_job_that_is_cancelled_waits_for_its_workers_and_does_not_queue_again(played):
    program(played / "bin", "srun", "trap 'sleep 0.3; touch saved; exit 143' TERM; touch begun\n"
            "while :; do sleep 0.05; done")  # fmt: skip
    (played / "script").write_text(script())
    environment = {**os.environ, "SLURM_JOB_ID": "5", "SLURM_JOB_NODELIST": "n"}
    job = subprocess.Popen(["bash", "script"], env=environment, start_new_session=True)
    end = time.monotonic() + 120
    while not Path("begun").exists():
        assert time.monotonic() < end
        time.sleep(0.02)
    os.killpg(job.pid, signal.SIGTERM)  # as scancel does
    assert job.wait(120) == 143
    assert Path("saved").exists()
    assert not Path("requeued").exists()


def test_setup_comes_before_all_else(played):
    program(played / "bin", "srun", "echo $FLAVOUR > flavour")
    run(script("--setup", "export FLAVOUR=cuda"), played)
    assert Path("flavour").read_text().strip() == "cuda"


def test_the_script_is_submitted_where_there_is_an_sbatch_and_the_job_is_told(played):
    done = run_here("cluster", "sbatch", "photos", "--epochs", "2")
    assert done.code == 0, done.err
    assert (played / "submitted").read_text().split()[-1] == "runs/photos-1.sbatch"
    assert "job 4711" in done.out
    assert "runs/photos-1" in done.out
    again = run_here("cluster", "sbatch", "photos", "--no-submit")
    assert "runs/photos-2.sbatch" in again.out  # the first job has the first name already


def test_what_slurm_refuses_is_told_in_a_sentence(played):
    program(played / "bin", "sbatch", "echo 'sbatch: error: invalid partition' >&2; exit 1")
    done = run_here("cluster", "sbatch", "photos")
    assert done.code == 1
    assert "invalid partition" in done.sentence


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ("--time-limit soon", "--time-limit soon should be"),
        ("--overwrite --run r", "--overwrite would begin anew"),
        ("--nodes 0", "--nodes"),
        ("--slurm-options qos=long", "should be like --qos=long"),
    ],
)
def test_wrong_options_are_refused(words, part):
    with pytest.raises(ConfigError, match=part):
        options(*words.split())


def test_a_search_is_an_array_of_jobs_with_one_study():
    words = [
        "photos",
        "--grid",
        "width=1,2,3",
        "--array",
        "3",
        "--trials",
        "3",
        "--time-limit",
        "60",
    ]
    text = slurm.search_script(cli.parse("cluster sbatch-search", words), Path("runs/s"))
    assert "--array=0-2" in directives(text)
    assert "HORNBEAM_COORDINATOR" not in text
    searched = cli.parse("search", command(text)[2:])
    assert str(searched.run) == "runs/s"
    assert searched.trials == 3
    assert any(word.endswith("runs/s.%A_%a.log") for word in directives(text))
