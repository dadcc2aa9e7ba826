"""Worlds of real processes that crash, hang, speak and are killed; the supervisor says what it was."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from zygote import until

from hornbeam.cluster import attempt as attempts
from hornbeam.cluster import choosing
from hornbeam.cluster.starting.local import LocalStarter
from hornbeam.cluster.starting.starter import Host
from hornbeam.cluster.supervisor import supervise
from hornbeam.errors import ClusterError, ConfigError

DONE = [["run"], ["say", "done"], ["exit", 0]]


def test_rank_0_is_heard_and_all_are_in_the_logs_of_the_run(stage, capsys):
    supervise(stage.plan({
        "0": [["err", "loading"], ["say", "step 1"], ["run"], ["say", "epoch 1"], ["exit", 0]],
        "1": [["say", "I am rank 1"], ["exit", 0]],
    }))  # fmt: skip
    captured = capsys.readouterr()
    assert captured.out.splitlines() == ["step 1", "epoch 1"]
    assert captured.err.splitlines() == ["loading"]
    assert "I am rank 1" in stage.log(1)
    assert stage.log(0).index("step 1") < stage.log(0).index("epoch 1")
    assert not stage.run.with_name("run.workers").exists()


def test_each_worker_knows_who_it_is_and_where_they_meet(stage):
    supervise(stage.plan({"all": DONE}, hosts=3))
    told = [stage.noted(rank)["environment"] for rank in range(3)]
    assert [each["HORNBEAM_RANK"] for each in told] == ["0", "1", "2"]
    assert {each["HORNBEAM_WORLD_SIZE"] for each in told} == {"3"}
    assert {each["HORNBEAM_COORDINATOR"] for each in told} == {"127.0.0.1:1"}
    assert [each["HORNBEAM_HOST"] for each in told] == ["gpu1", "gpu2", "gpu3"]


def test_a_killed_worker_is_named_and_the_training_goes_on_from_the_checkpoint(stage, capsys):
    supervise(stage.plan(
        {"0": [["run"], ["checkpoint", 40], ["touch", "there"], ["hang"]],
         "1": [["await", "there"], ["kill", 9]]},
        {"all": DONE},
    ))  # fmt: skip
    assert (
        "host gpu2 (rank 1) was killed (SIGKILL; perhaps out of memory). The training goes on from step "
        "40 on 2 hosts, with the same batches of 32 (restart 1 of 3)"
    ) in capsys.readouterr().err
    assert stage.noted(0)["words"][-1] != "--resume"
    assert [stage.noted(rank, 1)["words"][-1] for rank in (0, 1)] == ["--resume", "--resume"]
    assert stage.log().count("---") == 2


def test_who_only_misses_another_is_not_the_cause(stage, capsys):
    supervise(stage.plan(
        {"0": [["run"], ["err", "hornbeam: Another worker was lost."], ["touch", "first"], ["exit", 4]],
         "1": [["await", "first"], ["err", "hornbeam: The disk is full."], ["exit", 1]]},
        {"all": DONE},
    ))  # fmt: skip
    err = capsys.readouterr().err
    assert "host gpu2 (rank 1): The disk is full. The training goes on anew" in err
    assert "Another worker was lost" not in err


def test_nobody_with_a_reason_is_told_as_that(stage, capsys, monkeypatch):
    monkeypatch.setattr(attempts, "_SETTLE", 0.3)
    with pytest.raises(
        ClusterError, match=r"Host gpu2 \(rank 1\) lost another worker, and none says why"
    ):
        supervise(stage.plan({"0": [["hang"]], "1": [["exit", 4]]}, restarts=0))


def test_a_wrong_option_is_told_as_on_one_machine_and_not_tried_again(stage, monkeypatch):
    monkeypatch.setattr(attempts, "_SAME_FAULT", 60.0)  # for rank 0 to find it, too
    scenario = {"all": [["err", "hornbeam: There is no model 'x'."], ["exit", 2]]}
    with pytest.raises(ConfigError, match=r"^There is no model 'x'\.$"):
        supervise(stage.plan(scenario))
    assert stage.attempts() == 1
    assert not list(stage.folder.glob("run*"))


def test_the_same_failure_twice_without_a_checkpoint_between_is_the_last(stage):
    scenario = {
        "0": [["run"], ["hang"]],
        "1": [["await", "hangs-0"], ["err", "hornbeam: cat/1.jpg cannot be read."], ["exit", 1]],
    }
    with pytest.raises(ClusterError) as error:
        supervise(stage.plan(scenario))
    assert str(error.value) == (
        "Host gpu2 (rank 1): cat/1.jpg cannot be read, twice in a row. What the workers printed is in "
        f"{stage.run / 'workers'}. To go on: hornbeam train …"
    )
    assert stage.attempts(1) == 2


def test_a_full_disk_is_not_tried_again(stage):
    said = "hornbeam: The checkpoint x cannot be written (No space left on device)."
    scenario = {"0": [["run"], ["err", said], ["exit", 1]], "1": [["hang"]]}
    with pytest.raises(ClusterError, match=r"rank 0\): The checkpoint x cannot be written"):
        supervise(stage.plan(scenario))
    assert stage.attempts() == 1


def test_progress_between_failures_lets_it_go_on_as_often_as_restarts_say(stage):
    def failing(step):
        return {
            "0": [["run"], ["checkpoint", step], ["touch", f"at-{step}"], ["hang"]],
            "1": [["await", f"at-{step}"], ["kill", 9]],
        }

    with pytest.raises(ClusterError, match="out of memory\\), after 2 restarts"):
        supervise(stage.plan(failing(1), failing(2), failing(3), restarts=2))
    assert stage.attempts() == 3


def test_who_does_not_save_in_time_is_killed_with_all_its_processes(stage):
    plan = stage.plan(
        {"0": [["child"], ["deaf"]], "1": [["await", "hangs-0"], ["kill", 9]]}, restarts=0, deadline=0.2,
    )  # fmt: skip
    with pytest.raises(ClusterError, match="gpu2"):
        supervise(plan)
    assert is_gone(int((stage.folder / "child-0").read_text()))
    assert is_gone(stage.noted(0)["pid"])


def is_gone(pid):
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE  # nobody reaps it here
    except psutil.NoSuchProcess:
        return True


class _Elsewhere(LocalStarter):
    """Hosts that can be cut off: a file of their name stands for it."""

    def __init__(self, folder, *arguments):
        super().__init__(*arguments)
        self._folder = folder

    def unreachable(self, host):
        return "No route to host" if (self._folder / f"down-{host.name}").exists() else None


def elsewhere(stage, plan):
    started = plan.starter_of(plan.hosts[0])
    starter = _Elsewhere(stage.folder, started._deadline, started._command)
    return {"starter_of": lambda host: starter}


def test_with_min_hosts_it_goes_on_with_as_many_as_divide_the_batch(stage, capsys):
    scenario = [
        {"0": [["run"], ["checkpoint", 5], ["touch", "there"], ["hang"]], "1": [["hang"]],
         "2": [["hang"]],
         "3": [["await", "there"], ["await", "hangs-1"], ["await", "hangs-2"], ["touch", "down-gpu4"],
               ["err", "ssh: Timeout, server not responding."], ["exit", 255]]},
        {"all": DONE},
    ]  # fmt: skip
    plan = stage.plan(*scenario, hosts=4)
    supervise(stage.plan(*scenario, hosts=4, min_hosts=2, **elsewhere(stage, plan)))
    err = capsys.readouterr().err
    assert "the connection to host gpu4 (rank 3) was lost: Timeout, server not responding." in err
    assert "goes on from step 5 on 2 of 4 hosts, with the same batches of 32" in err
    assert [stage.attempts(rank) for rank in range(4)] == [2, 2, 1, 1]


def test_without_min_hosts_it_waits_for_the_host_and_then_ends(stage, monkeypatch):
    monkeypatch.setattr(choosing, "_PAUSE", 0.05)
    scenario = {"0": [["hang"]], "1": [["touch", "down-gpu2"], ["exit", 255]]}
    plan = stage.plan(scenario)
    monkeypatch.setattr(choosing.wait_for, "__defaults__", ((), 0.3, lambda: False))
    with pytest.raises(ClusterError) as error:
        supervise(stage.plan(scenario, **elsewhere(stage, plan)))
    assert str(error.value).startswith(
        "The connection to host gpu2 (rank 1) was lost; gpu2 does not answer (No route to host), and 1 "
        "of 2 hosts are left. What the workers printed is in "
    )
    assert str(error.value).endswith("To go on: hornbeam train …")


def test_a_host_that_comes_back_in_time_is_taken_again(stage, monkeypatch):
    monkeypatch.setattr(choosing, "_PAUSE", 0.05)
    scenario = [{"0": [["hang"]], "1": [["touch", "down-gpu2"], ["exit", 255]]}, {"all": DONE}]
    plan = stage.plan(*scenario)
    changes, asked = elsewhere(stage, plan), []
    starter = changes["starter_of"](plan.hosts[0])
    cut_off = starter.unreachable

    def at_the_third_time_of_asking(host):
        why = cut_off(host)
        if why:
            asked.append(host.name)
            if len(asked) == 2:
                (stage.folder / "down-gpu2").unlink()
        return why

    monkeypatch.setattr(starter, "unreachable", at_the_third_time_of_asking)
    supervise(stage.plan(*scenario, **changes))
    assert asked == ["gpu2", "gpu2"]
    assert stage.attempts(1) == 2


def test_a_host_that_fails_again_and_again_is_left_out_where_others_are_enough(stage, capsys):
    def failing(time):
        return {
            "0": [["run"], ["touch", time], ["hang"]],
            "1": [["await", time], ["err", "hornbeam: /scratch is full."], ["exit", 1]],
        }

    supervise(stage.plan(failing("first"), failing("second"), {"all": DONE}, min_hosts=1))
    assert "on 1 of 2 hosts" in capsys.readouterr().err
    assert (stage.attempts(0), stage.attempts(1)) == (3, 2)


def test_who_does_not_end_when_the_run_is_complete_is_ended(stage, capsys, monkeypatch):
    monkeypatch.setattr(attempts.Attempt.__init__, "__kwdefaults__", {"slow_end": 0.2})
    late = [["await", "attempt-0-0"], ["err", "bye"], ["hang"]]
    supervise(stage.plan({"0": [["run"], ["await", "hangs-1"], ["exit", 0]], "1": late}))
    assert "warning" not in capsys.readouterr().err


DRIVER = """
import sys, json, signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # which the background of a script ignores
sys.path[:0] = json.loads(sys.argv[1])
from stage import Stage
import pathlib, pytest
from hornbeam.cluster.supervisor import supervise
from hornbeam.errors import HornbeamError
with pytest.MonkeyPatch.context() as patch:
    stage = Stage(pathlib.Path(sys.argv[2]), patch)
    try:
        supervise(stage.plan(json.loads(sys.argv[3]), deadline=60.0))
    except HornbeamError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
"""


@pytest.fixture
def driver(stage):
    """Start a supervisor in a process of its own, with two workers that hang."""
    started = []

    def start(scenario):
        here = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
        process = subprocess.Popen(
            [sys.executable, "-c", DRIVER, json.dumps(here), str(stage.folder), json.dumps(scenario)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        started.append(process)
        until(lambda: all((stage.folder / f"hangs-{rank}").exists() for rank in (0, 1)))
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_kill_9_of_the_supervisor_leaves_no_process(stage, driver):
    process = driver({"all": [["child"], ["hang"]]})
    family = psutil.Process(process.pid).children(recursive=True)
    assert len(family) == 6  # two guards, two workers, two processes of theirs
    os.kill(process.pid, signal.SIGKILL)
    assert psutil.wait_procs(family, timeout=60)[1] == []


def test_kill_9_of_a_guard_ends_its_worker(stage, driver):
    process = driver({"all": [["hang"]]})
    guard = psutil.Process(stage.noted(1)["pid"]).parent()
    worker = psutil.Process(stage.noted(1)["pid"])
    guard.kill()
    assert psutil.wait_procs([worker], timeout=60)[1] == []
    until(lambda: stage.attempts(1) == 2)  # and the training goes on
    process.terminate()
    assert process.wait(60) == 143


@pytest.mark.parametrize(("number", "code", "name"), [(15, 143, "SIGTERM"), (2, 130, "Ctrl-C")])
def test_a_signal_lets_all_save_and_ends_as_a_training_does(stage, driver, number, code, name):
    process = driver({"all": [["run"], ["hang"]]})
    process.send_signal(number)
    _, err = process.communicate(timeout=120)
    assert process.returncode == code
    assert err.strip() == f"Stopped by {name} at step 7, which is saved. To go on: hornbeam train …"


def test_a_second_ctrl_c_does_not_wait(stage, driver):
    process = driver({"all": [["deaf"]]})
    process.send_signal(signal.SIGINT)
    until(lambda: all((stage.folder / f"asked-{rank}").exists() for rank in (0, 1)))
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=40)  # and not the 60 seconds that they have to save
    assert process.returncode == 130
    assert "Stopped by Ctrl-C before there was a checkpoint" in err


def test_sigusr1_lets_all_save_and_go_on(stage, driver):
    process = driver({"all": [["run"], ["hang"]]})
    process.send_signal(signal.SIGUSR1)
    until(lambda: all((stage.folder / f"saved-{rank}").exists() for rank in (0, 1)))
    assert process.poll() is None


def test_a_host_that_is_named_with_strange_signs_has_a_log(stage):
    hosts = [Host("u@[::1]:22", "::1", here=True), Host("b", "b", here=True)]
    supervise(dataclasses.replace(stage.plan({"all": DONE}), hosts=hosts))
    assert {path.name for path in (stage.run / "workers").iterdir()} == {"0-__1.log", "1-b.log"}
