"""A watch evaluates each whole checkpoint once, whatever happens to the training beside it."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from hornbeam.data.tasks import Task
from hornbeam.errors import RunError
from hornbeam.evaluation.scoring.shares import Estimated, Share
from hornbeam.evaluation.watch import Curve, checkpoints_of, ending, line_of, wait_for, watch
from hornbeam.storage import new_directory

TASK = Task("label", ("a", "b"))


def scores_of(right, tasks=(TASK,)):
    """Make what a watch looks at of `Scores`."""
    return [
        SimpleNamespace(
            task=task, accuracy=Share(right, 40),
            cross_entropy=Estimated(1 / (right + 1), (0.01, 1.5)),
        )
        for task in tasks
    ]  # fmt: skip


def judge(path):
    """Read a checkpoint of these tests, which holds a number."""
    try:
        return scores_of(int((path / "weights").read_text()))
    except (OSError, ValueError) as error:
        raise RunError(f"{path.name} cannot be loaded ({type(error).__name__}).") from None


def save(run, step, right=None):
    path = run / "checkpoints" / f"step-{step:08}"
    with new_directory(path) as temporary:
        (temporary / "weights").write_text(str(step if right is None else right))
    return path


def log(run, event, **facts):
    with (run / "log.jsonl").open("a") as file:
        file.write(json.dumps({"event": event, **facts}) + "\n")


@pytest.fixture
def run(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    log(tmp_path, "start")
    return tmp_path


def table(run, name="validation"):
    with (run / f"watch-{name}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def steps(run):
    return [int(row["step"]) for row in table(run)]


def drawn(run, tag="accuracy/validation"):
    found = EventAccumulator(str(run / "tensorboard" / "watch-validation")).Reload()
    return [(event.step, pytest.approx(event.value, rel=1e-6)) for event in found.Scalars(tag)]


def follow(run, between=(), judge=judge, timeout=100, **options):
    """Watch; each time that the watch waits, the next thing of `between` happens."""
    happening = iter(between)

    def sleep(seconds):
        next(happening, lambda: None)()

    curve = Curve(run, "validation")
    try:
        watch(run, judge, curve, poll=1, timeout=timeout, sleep=sleep, **options)
    finally:
        curve.close()


def test_each_checkpoint_is_evaluated_as_it_appears_and_the_end_ends_it(run, capsys):
    save(run, 10)
    follow(run, [lambda: save(run, 20), lambda: None, lambda: (save(run, 30), log(run, "end"))])
    assert steps(run) == [10, 20, 30]
    row = table(run)[1]
    low, high = Share(20, 40).interval
    assert float(row["accuracy"]) == 0.5
    assert (float(row["accuracy_low"]), float(row["accuracy_high"])) == pytest.approx((low, high), abs=1e-6)  # fmt: skip
    assert float(row["cross_entropy"]) == pytest.approx(1 / 21, abs=1e-6)
    assert int(row["pictures"]) == 40
    assert drawn(run) == [(10, 0.25), (20, 0.5), (30, 0.75)]
    assert [step for step, _ in drawn(run, "cross_entropy/validation")] == [10, 20, 30]
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert lines[1].startswith("step 20  accuracy 50.0% (")


def test_what_is_half_written_is_not_looked_at(run):
    parts = run / "checkpoints" / ".part-step-00000020-abc"
    parts.mkdir()
    (parts / "weights").write_text("20")
    (run / "checkpoints" / ".replaced-step-00000005").mkdir()
    (run / "checkpoints" / "step-00000007.tmp").mkdir()
    (run / "checkpoints" / "last").symlink_to("step-00000010")
    save(run, 10)
    log(run, "end")
    follow(run)
    assert steps(run) == [10]
    assert list(checkpoints_of(run / "checkpoints")) == [10]


def test_a_checkpoint_that_a_synchroniser_copies_bit_by_bit_is_read_when_it_is_whole(run, capsys):
    path = run / "checkpoints" / "step-00000010"
    path.mkdir()
    log(run, "end")
    follow(
        run,
        [lambda: (path / "weights").write_text("x"), lambda: (path / "weights").write_text("xx"),
         lambda: (path / "weights").write_text("10")],
    )  # fmt: skip
    assert steps(run) == [10]
    assert not capsys.readouterr().err


@pytest.mark.parametrize(
    "text",
    ["step,accuracy\n10,0.5,7\n", "step,accuracy\n10\n", "accuracy\n0.5\n", "step\nten\n"],
)
def test_a_damaged_curve_is_told_in_a_sentence(run, text):
    (run / "watch-validation.csv").write_text(text)
    with pytest.raises(RunError, match=r"watch-validation\.csv is damaged; mend it"):
        Curve(run, "validation")


def test_a_damaged_checkpoint_is_told_of_once_and_ends_in_a_failure(run, capsys):
    save(run, 10, right="damaged")
    save(run, 20)
    with pytest.raises(RunError, match=r"could not be read: step 10\.$"):
        follow(run, [lambda: None, lambda: None, lambda: log(run, "end")])
    assert steps(run) == [20], "the others were evaluated"
    assert capsys.readouterr().err == "warning: step 10: step-00000010 cannot be loaded (ValueError).\n"  # fmt: skip


def test_a_checkpoint_that_is_removed_while_it_is_read_is_told_of(run, capsys):
    save(run, 10)
    save(run, 20)

    def removing(path):
        if path.name == "step-00000010":
            shutil.rmtree(path)
        return judge(path)

    log(run, "end")
    follow(run, judge=removing)
    assert steps(run) == [20]
    assert capsys.readouterr().err == (
        "warning: step 10: the checkpoint was removed before it was read.\n"
    )


def test_nothing_is_evaluated_twice_after_a_restart(run):
    asked = []

    def counting(path):
        asked.append(path.name)
        return judge(path)

    save(run, 10)
    follow(run, judge=counting, once=True)
    save(run, 20)
    follow(run, judge=counting, once=True)
    assert asked == ["step-00000010", "step-00000020"]
    assert steps(run) == [10, 20]
    assert drawn(run) == [(10, 0.25), (20, 0.5)], "without doubles"


def test_a_training_that_stops_and_is_resumed_is_followed_on(run, capsys):
    save(run, 10)
    log(run, "stopped", reason="Stopped by SIGTERM at step 10, which is saved.")
    follow(
        run,
        [lambda: None, lambda: (log(run, "start"), log(run, "resume", step=10)),
         lambda: (save(run, 20), log(run, "end"))],
    )  # fmt: skip
    assert steps(run) == [10, 20]
    said = capsys.readouterr().out
    assert said.count("has stopped and may be resumed: Stopped by SIGTERM at step 10") == 1


def test_a_training_that_was_ended_and_went_on_has_not_ended(run):
    log(run, "end")
    assert ending(run / "log.jsonl") == ("end", "")
    log(run, "start")
    assert ending(run / "log.jsonl") == ("", "")
    with (run / "log.jsonl").open("a") as file:
        file.write('{"event": "end", "ti')  # is being written
    assert ending(run / "log.jsonl") == ("", "")


def test_a_training_without_a_sign_is_given_up(run):
    save(run, 10)
    waited = []
    with pytest.raises(RunError, match=r"nothing new in .* for 5 s: the training has died"):
        follow(run, [lambda: waited.append(1)] * 100, timeout=5)
    assert len(waited) == 5
    waited.clear()
    signs = [lambda: log(run, "checkpoint")] * 4
    with pytest.raises(RunError, match="nothing new"):
        follow(run, [*signs, *[lambda: waited.append(1)] * 100], timeout=5)
    assert len(waited) == 5, "each sign counts anew"


def test_a_training_that_is_not_resumed_is_given_up_with_its_reason(run):
    log(run, "stopped", reason="The disk is full.")
    with pytest.raises(RunError, match=r"not resumed for 5 s \(--timeout\): The disk is full\."):
        follow(run, timeout=5)


def test_once_ends_without_waiting_for_the_end(run):
    save(run, 10)
    follow(run, once=True)
    assert steps(run) == [10]


def test_a_run_that_is_begun_anew_is_not_mixed_with_the_one_before(run):
    save(run, 10)
    with pytest.raises(RunError, match="begun anew"):
        follow(run, [lambda: (run / "watch-validation.csv").unlink()])


def test_a_run_that_never_begins_is_given_up(tmp_path, capsys):
    with pytest.raises(RunError, match=r"no training in .*nowhere"):
        wait_for(tmp_path / "nowhere", lambda: False, poll=0.01, timeout=0.05)
    assert capsys.readouterr().out.startswith("Waiting for ")


def test_tasks_have_columns_and_curves_of_their_own(run):
    tasks = (Task("colour", ("red", "blue")), Task("kind", ("a", "b")))
    curve = Curve(run, "test")
    curve.add(5, scores_of(10, tasks))
    curve.close()
    (row,) = table(run, "test")
    assert float(row["kind_accuracy"]) == 0.25
    assert int(row["colour_pictures"]) == 40
    again = Curve(run, "test")
    again.close()
    found = EventAccumulator(str(run / "tensorboard" / "watch-test")).Reload()
    assert [e.value for e in found.Scalars("colour_accuracy/test")] == [0.25]
    assert "colour: accuracy 25.0%" in line_of(5, scores_of(10, tasks))


def command(*words, **options):
    environment = {**os.environ, "KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"}
    return subprocess.Popen(
        [sys.executable, "-m", "hornbeam", *map(str, words)], env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options,
    )  # fmt: skip


@pytest.mark.slow
def test_a_real_watch_follows_a_real_training_that_is_killed_and_resumed(shapes, tmp_path):
    run = tmp_path / "run"
    watching = command("watch", run, "--poll", 0.1, "--timeout", "600s")
    training = command("train", shapes, "--run", run, "--epochs", 200, "--batch-size", 8, "--image-size", 32, "--keep", 100, "--validate-every", "5steps")  # fmt: skip
    try:
        until(lambda: len(checkpoints_of(run / "checkpoints")) >= 3, training)
        training.send_signal(signal.SIGKILL)
        training.communicate(timeout=60)
        # It goes on for some steps, however far it has come; an epoch has seven.
        epochs = max(checkpoints_of(run / "checkpoints")) // 7 + 2
        training = command("train", "--run", run, "--resume", "--epochs", epochs)
        _, errors = training.communicate(timeout=300)
        assert training.returncode == 0, errors
        out, errors = watching.communicate(timeout=300)
        assert watching.returncode == 0, errors
    finally:
        for process in (training, watching):
            process.kill()
            process.communicate()
    saved = list(checkpoints_of(run / "checkpoints"))
    assert steps(run) == saved
    assert len(saved) > 3
    assert out.count("\nstep ") == len(saved), "each once"
    with (run / "metrics.csv").open(newline="") as file:
        expected = {int(row["step"]): float(row["val_accuracy"]) for row in csv.DictReader(file)}
    curve = EventAccumulator(str(run / "tensorboard")).Reload().Scalars("accuracy/validation")
    assert [event.step for event in curve] == list(expected), "the training's own, without doubles"
    for row in table(run):
        assert float(row["accuracy"]) == pytest.approx(expected[int(row["step"])], abs=1e-6)


def until(condition, process):
    end = time.monotonic() + 300
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_run_without_validation_is_judged_from_outside(hornbeam_here, shapes, tmp_path):
    run = tmp_path / "run"
    done = hornbeam_here("train", shapes, "--run", run, "--epochs", 1, "--batch-size", 8, "--image-size", 32, "--no-validation")  # fmt: skip
    assert done.code == 0, done.err
    done = hornbeam_here("watch", run, "--once", "--split", "train")
    assert done.code == 0, done.err
    (row,) = table(run, "train")
    assert int(row["pictures"]) > 40
    done = hornbeam_here("watch", run, shapes, "--once")
    assert done.code == 0, done.err
    assert int(table(run, "shapes")[0]["pictures"]) == 72


def test_wrong_uses_are_sentences(hornbeam_here, tmp_path):
    assert "does not exist" in hornbeam_here("watch", tmp_path / "none", "--once").sentence
    assert "no option --pol" in hornbeam_here("watch", "--pol", "3").sentence
    assert "--timeout should be a" in hornbeam_here("watch", "x", "--timeout", "3steps").sentence
