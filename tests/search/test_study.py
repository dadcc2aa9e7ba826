"""Which trial comes next, whoever asks: several processes, after a kill, with any storage."""

import math
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from hornbeam.config import SearchOptions
from hornbeam.errors import ConfigError
from hornbeam.search.claims import Claim
from hornbeam.search.storages import open_storage
from hornbeam.search.study import Plan, Study, remember
from hornbeam.search.trial import _environment
from hornbeam.world.membership import membership

SPACE = "learning_rate: {low: 1e-4, high: 1e-1, log: true}\nbatch_size: [8, 16, 32]\n"


@pytest.fixture
def plan(tmp_path):
    def make(directory=tmp_path / "study", text=SPACE, **options) -> Plan:
        if "grid" not in options:
            options["space"] = tmp_path / "space.yaml"
            options["space"].write_text(text)
        chosen = SearchOptions(data="photos", **options)
        directory.mkdir(parents=True, exist_ok=True)
        return Plan.of(chosen, {"data": "photos"}, directory)

    return make


def train_all(plan, values):
    """Run a whole search without training: `values(number, parameters)` are its validations."""
    study, told = Study(plan), {}
    while task := study.next():
        if task is True:
            time.sleep(0.01)
            continue
        number, parameters, claim = task
        seen = values(number, parameters)
        for index, value in enumerate(seen):
            if study.report(number, index, value):
                study.prune(number)
                break
        else:
            study.finish(number, plan.objective.best(seen))
        told[number] = parameters
        claim.release()
    return told, study


def peak(number, parameters):
    return [0.9 - 0.1 * abs(math.log10(parameters["learning_rate"]) + 2.5)]


def test_parameters_depend_on_the_seed_and_on_the_trials_before_alone(plan, tmp_path):
    whole, _ = train_all(plan(tmp_path / "a", trials=14), peak)
    train_all(plan(tmp_path / "b", trials=5), peak)
    rest, _ = train_all(plan(tmp_path / "b", trials=14), peak)
    assert sorted(rest) == list(range(5, 14))
    assert rest.items() <= whole.items()
    assert len({p["learning_rate"] for p in whole.values()}) == 14
    other, _ = train_all(plan(tmp_path / "c", trials=2, seed=1), peak)
    assert other[0] != whole[0]


def test_the_sampler_finds_what_is_better(plan):
    def mean_distance(sampler):
        sought = plan(plan().directory / sampler, trials=40, sampler=sampler)
        told, _ = train_all(sought, peak)
        return sum(abs(math.log10(told[n]["learning_rate"]) + 2.5) for n in range(15, 40)) / 25

    assert mean_distance("tpe") < 0.5 * mean_distance("random")


@pytest.mark.parametrize("storage", [None, "sqlite:///{}/study.db"])
def test_many_workers_share_a_study_and_begin_no_trial_too_many(plan, tmp_path, storage):
    shared = plan(trials=12, storage=storage and storage.format(tmp_path))
    told, lock = [], threading.Lock()

    def work():
        mine, _ = train_all(shared, peak)
        with lock:
            told.extend(mine)

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert sorted(told) == list(range(12))


def test_a_trial_that_somebody_works_on_is_left_to_them_and_waited_for(plan):
    one, other = Study(plan(trials=2)), Study(plan(trials=2))
    number, parameters, claim = one.next()
    second = other.next()
    assert (number, second[0]) == (0, 1)
    assert other.next() is True  # to wait
    claim.release()
    again = other.next()
    assert again[:2] == (0, parameters)
    assert other.next() is True
    other.finish(0, 0.5)
    other.finish(1, 0.5)
    again[2].release()
    second[2].release()
    assert other.next() is False


def test_a_process_that_is_killed_loses_its_trial_at_once_but_not_while_its_child_lives(tmp_path):
    path = tmp_path / "0000.lock"
    code = f"""
import subprocess, sys, time
from pathlib import Path
from hornbeam.search.claims import Claim
claim = Claim.take(Path({str(path)!r}))
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], stdout=subprocess.DEVNULL, pass_fds=(claim.descriptor,))
print(child.pid, flush=True)
time.sleep(60)
"""
    worker = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    child = int(worker.stdout.readline())
    assert Claim.take(path) is None
    worker.kill()
    worker.communicate()
    assert Claim.take(path) is None
    os.kill(child, signal.SIGKILL)
    for _ in range(1200):
        claim = Claim.take(path)
        if claim:
            claim.release()
            return
        threading.Event().wait(0.05)
    pytest.fail("the claim of a killed process was never free")


def test_where_locks_do_not_reach_other_machines_the_note_inside_does(tmp_path, monkeypatch):
    path = tmp_path / "0000.lock"
    claim = Claim.take(path)
    note = path.read_text()
    claim._file.close()  # as if the machine had gone: the lock is free, the note stands
    path.write_text(note.replace('"host": "', '"host": "another-'))
    assert Claim.take(path) is None
    monkeypatch.setattr("hornbeam.search.claims._STALE", 0.0)
    Claim.take(path).release()


def test_what_was_reported_before_a_kill_is_not_reported_twice(plan):
    study = Study(plan(trials=1))
    number, _, claim = study.next()
    study.report(number, 0, 0.3)
    claim.release()
    study = Study(plan(trials=1))
    number, _, claim = study.next()
    study.report(number, 0, 0.99)  # warns, which is an error here, if Optuna is told again
    study.report(number, 1, 0.4)
    claim.release()
    assert study.trials()[0].intermediate_values == {0: 0.3, 1: 0.4}


def test_the_trials_of_a_search_that_is_one_of_several_processes_are_alone(monkeypatch):
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "4")  # srun -n 4 hornbeam search …
    monkeypatch.setenv("SLURM_PROCID", "2")
    with pytest.raises(ConfigError, match="one of 4 processes"):
        membership(os.environ)
    assert membership(_environment(0)) is None


@pytest.mark.parametrize("pruner", ["median", "hyperband"])
def test_pruners_give_up_what_is_behind(plan, pruner):
    bad = {4, 5, 6, 7, 8, 9, 10, 11}

    def values(number, parameters):
        return [0.1 * (i + 1) * (0.3 if number in bad else 1) for i in range(9)]

    _, study = train_all(plan(trials=12, pruner=pruner), values)
    pruned = {t.number for t in study.trials() if t.state.name == "PRUNED"}
    assert len(pruned & bad) >= 3
    if pruner == "median":
        assert pruned == bad
        assert {len(study.trials()[n].intermediate_values) for n in bad} == {2}


def test_a_grid_is_tried_in_its_order(plan):
    told, _ = train_all(plan(grid="batch_size=8,16 dropout=0,0.1,0.2"), lambda n, p: [0.5])
    assert [tuple(p.values()) for p in told.values()] == [
        (8, 0), (8, 0.1), (8, 0.2), (16, 0), (16, 0.1), (16, 0.2)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("monitor", "values", "tried"),
    [("auto", [0.5, 0.6, 0.6, 0.55, 0.9], 4), ("val_loss", [2.0, 1.0, 1.5, 0.1, 0.0], 3)],
)
def test_until_worse_stops_after_the_first_value_that_is_worse(plan, monitor, values, tried):
    sought = plan(grid="dropout=0,0.1,0.2,0.3,0.4", until_worse=True, monitor=monitor)
    told, _ = train_all(sought, lambda n, p: [values[n]])
    assert sorted(told) == list(range(tried))
    assert train_all(sought, lambda n, p: [values[n]])[0] == {}


def test_a_trial_killed_before_its_parameters_were_chosen_gets_them(plan):
    expected = train_all(plan(Path(plan().directory.parent / "whole"), trials=1), peak)[0]
    study = Study(plan(trials=1))
    study._study.ask()  # and killed
    number, parameters, claim = Study(plan(trials=1)).next()
    claim.release()
    assert (number, parameters) == (0, expected[0])


def test_trials_of_another_directory_in_a_shared_database_are_not_taken_up(plan, tmp_path):
    url = f"sqlite:///{tmp_path}/shared.db"
    here = Study(plan(tmp_path / "one" / "study", trials=2, storage=url))
    there = Study(plan(tmp_path / "two" / "study", trials=2, storage=url))
    number, _, claim = here.next()
    claim.release()
    for study, expected in ((there, 1), (here, number)):
        taken, _, claim = study.next()
        claim.release()
        assert taken == expected


def test_a_study_goes_on_only_with_what_it_is_about(plan, tmp_path):
    remember(plan(trials=2))
    remember(plan(trials=9, workers=3, pruner="none"))
    with pytest.raises(ConfigError, match=r"began otherwise \(the space\); .* --overwrite"):
        remember(plan(text=SPACE + "dropout: [0, 0.1]"))
    with pytest.raises(ConfigError, match="the monitor"):
        remember(plan(monitor="val_loss"))
    given = {"data": "photos", "epochs": 3}
    with pytest.raises(ConfigError, match="epochs: None then, 3 now"):
        remember(Plan.of(plan().options, given, tmp_path / "study"))


def test_a_line_of_the_journal_that_a_crash_cut_short_does_no_harm(plan):
    _, study = train_all(plan(trials=2), peak)
    journal = study.plan.directory / "journal.log"
    whole = journal.read_bytes()
    journal.write_bytes(whole + whole.splitlines()[-1][:20])
    rest, study = train_all(plan(trials=4), peak)
    assert sorted(rest) == [2, 3]
    assert [t.state.name for t in Study(plan(trials=4)).trials()] == ["COMPLETE"] * 4


def test_a_relative_journal_can_be_locked_by_two(plan, tmp_path, monkeypatch):
    # Optuna's lock is a symbolic link to the journal, and waits for ever where it leads nowhere.
    monkeypatch.chdir(tmp_path)
    (tmp_path / "deep").mkdir()
    storage = open_storage("deep/journal.log", tmp_path)
    lock = storage._backend._lock
    assert Path(lock._lock_target_file).is_absolute()


def test_a_missing_driver_and_a_missing_server_are_sentences(tmp_path):
    with pytest.raises(ConfigError) as error:
        open_storage("postgresql://me:secret@localhost:1/x", tmp_path)
    assert "secret" not in str(error.value)
    assert "psycopg[binary]" in str(error.value) or "cannot be used" in str(error.value)
    with pytest.raises(ConfigError, match="the database cannot be used"):
        open_storage(f"sqlite:///{tmp_path}/none/such/study.db", tmp_path)
