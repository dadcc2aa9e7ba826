"""`hornbeam compare` end to end, on real trainings."""

import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.special import log_softmax

from hornbeam.config import CompareOptions
from hornbeam.errors import HornbeamError
from hornbeam.evaluation.comparison.matching import match
from hornbeam.evaluation.trust.calibration import Scaling
from hornbeam.evaluation.trust.safeguards import Safeguards
from hornbeam.runs import Run
from hornbeam.workflow.comparing import compare, names_of

HELD_OUT = 13
"""Validation pictures of `shapes` by the hash of their names, of 72."""


@pytest.fixture(scope="module")
def longer(hornbeam, shapes, tmp_path_factory):
    """A run on the same pictures that learned more than `trained`."""
    return train(hornbeam, shapes, tmp_path_factory.mktemp("longer") / "longer", "--epochs", 12)


def train(hornbeam, pictures, run, *options, **others):
    words = ("--batch-size", 8, "--image-size", 32, *options)
    done = hornbeam("train", pictures, "--run", run, *words, **others)
    assert done.code == 0, done.err
    return run


def copied(run, path, **columns):
    """Copy a run's records, with other columns in the list of its pictures."""
    shutil.copytree(run, path, symlinks=True)
    table = pq.read_table(path / "dataset.parquet")
    for name, values in columns.items():
        if name in table.column_names:
            table = table.set_column(table.column_names.index(name), name, values(table))
        else:
            table = table.append_column(name, values(table))
    pq.write_table(table, path / "dataset.parquet")
    return path


def test_a_run_beside_itself_shows_no_difference(hornbeam_here, trained):
    done = hornbeam_here("compare", trained, trained)
    assert done.code == 0, done.err
    last = done.out.splitlines()[-1]
    assert last.startswith(
        f"No difference shown: run (2) answers all {HELD_OUT} pictures as run does"
    )
    assert "0 answers changed from wrong to right, 0 from right to wrong" in done.out
    assert "The validation pictures also chose each run's best epoch" in done.out


def test_two_runs_are_compared_by_what_they_have_on_file(hornbeam_here, trained, longer, tmp_path, monkeypatch):  # fmt: skip
    monkeypatch.setattr(Run, "load_model", None)  # no model is needed
    files = [tmp_path / name for name in ("c.html", "c.csv", "c.json")]
    done = hornbeam_here(
        "compare", trained, longer, "--html", files[0], "--out", files[1], "--json", files[2]
    )
    assert done.code == 0, done.err
    told = json.loads(files[2].read_text())
    assert told["pictures"] == {"number": HELD_OUT, "splits": ["validation"], "data": None}
    (comparison,) = told["comparisons"]
    for run, of in ((trained, "first"), (longer, "second")):
        stored = pq.read_table(run / "predictions.parquet")
        accuracy = np.mean(stored["label_correct"].to_pylist())
        assert comparison["accuracy"][of] == pytest.approx(accuracy)
    assert comparison["accuracy"]["second"] > comparison["accuracy"]["first"]
    assert comparison["conclusion"] in done.out
    assert len(files[1].read_text().splitlines()) == HELD_OUT + 1
    assert "data:image/jpeg" in files[0].read_text()


def test_asking_the_models_gives_what_is_on_file(trained, longer):
    (kept,) = compare(CompareOptions(runs=(trained, longer)))
    (asked,) = compare(CompareOptions(runs=(trained, longer), ask=True))
    assert asked.changes.tolist() == kept.changes.tolist()
    for name, difference in kept.measures.items():
        assert asked.measures[name].first == pytest.approx(difference.first, abs=1e-4)


def test_checkpoints_stand_for_runs_and_are_asked(hornbeam_here, longer):
    early = min((longer / "checkpoints").glob("step-*"))
    done = hornbeam_here("compare", longer, early, longer / "checkpoints" / "best")
    assert done.code == 0, done.err
    assert f"longer/{early.name}, longer/best beside longer, on {HELD_OUT}" in done.out
    assert (
        f"No difference shown: longer/best answers all {HELD_OUT} pictures as longer does"
        in done.out
    )


def test_other_pictures_are_asked_about_and_what_was_trained_on_is_left_out(
    hornbeam_here, trained, longer, shapes
):
    done = hornbeam_here("compare", trained, longer, shapes)
    assert done.code == 0, done.err
    assert f"run trained on {72 - HELD_OUT} of the pictures, which are left out" in done.err
    assert f"on {HELD_OUT} " in done.out


def test_what_one_run_trained_on_is_left_out_and_said(hornbeam_here, trained, tmp_path):
    # The other run held out the first half of the pictures of the first, and trained on the rest.
    def splits(table):
        before = table["split"].to_pylist()
        seen = iter(range(HELD_OUT))
        return pa.array([
            "train" if split == "validation" and next(seen) >= HELD_OUT // 2 else split
            for split in before
        ])  # fmt: skip

    other = copied(trained, tmp_path / "other", split=splits)
    done = hornbeam_here("compare", trained, other)
    assert done.code == 0, done.err
    assert f"Of {HELD_OUT} held-out pictures of run, 6 are compared: other trained on 7" in done.err
    assert "on 6 validation pictures" in done.out


def test_runs_that_held_out_nothing_in_common_are_refused(hornbeam_here, trained, tmp_path):
    turned = {"train": "validation", "validation": "train"}
    other = copied(
        trained, tmp_path / "other",
        split=lambda table: pa.array([turned[s] for s in table["split"].to_pylist()]),
    )  # fmt: skip
    done = hornbeam_here("compare", trained, other)
    assert done.code == 1
    assert "No held-out picture of run is held out from all the runs" in done.sentence
    assert f"other trained on {HELD_OUT}" in done.sentence
    assert "Name pictures that none was trained on" in done.sentence


def test_a_checkpoint_that_is_alone_may_have_trained_on_anything(
    hornbeam_here, trained, shapes, tmp_path
):
    alone = tmp_path / "alone"
    shutil.copytree((trained / "checkpoints" / "best").resolve(), alone)
    done = hornbeam_here("compare", trained, alone, shapes)
    assert done.code == 0, done.err
    assert "alone does not list its pictures, so it may have trained on these" in done.err
    done = hornbeam_here("compare", trained, alone)
    assert done.code == 1
    assert "has no list of pictures" in done.sentence


def test_each_task_is_compared_by_itself(hornbeam_here, shapes, tmp_path):
    rows = ["path,shape,corners,group"]
    for i, path in enumerate(sorted(shapes.rglob("*.*"))):
        rows.append(f"{path},{path.parent.name},{'|'.join('ab'[: i % 3])},{path.stem}")
    (tmp_path / "all.csv").write_text("\n".join(rows) + "\n")
    run = tmp_path / "run"
    columns = ("--label-columns", "shape,corners", "--label-separator", "|", "--allow-outside")
    train(
        hornbeam_here, tmp_path / "all.csv", run, "--epochs", 2, *columns, "--group-column", "group"
    )
    early = min((run / "checkpoints").glob("step-*"))
    done = hornbeam_here("compare", run, early, "--json", tmp_path / "c.json")
    assert done.code == 0, done.err
    told = json.loads((tmp_path / "c.json").read_text())["comparisons"]
    assert [c["task"] for c in told] == ["shape", "corners"]
    assert all(c["groups"] <= c["pictures"] for c in told)
    for c in told:
        assert c["conclusion"] in done.out
    done = hornbeam_here(
        "compare", run, early, tmp_path / "all.csv", *columns, "--group-column", "group"
    )
    assert done.code == 0, done.err
    assert done.out.splitlines()[-1] == told[1]["conclusion"]


def test_groups_of_the_pictures_count_as_one(trained, longer, tmp_path):
    groups = {"group": lambda table: pa.array([f"g{i // 4}" for i in range(len(table))])}
    first, second = (copied(run, tmp_path / run.name, **groups) for run in (trained, longer))
    (plain,), (grouped,) = (
        compare(CompareOptions(runs=r)) for r in ((trained, longer), (first, second))
    )
    assert grouped.grouped
    assert grouped.paired.units < HELD_OUT
    assert grouped.accuracy.value == plain.accuracy.value


def test_labels_that_differ_are_told(hornbeam_here, trained, tmp_path):
    def labels(table):
        names = table["label"].to_pylist()
        row = table["split"].to_pylist().index("validation")
        names[row] = next(name for name in names if name != names[row])
        return pa.array(names)

    done = hornbeam_here("compare", trained, copied(trained, tmp_path / "other", label=labels))
    assert done.code == 0, done.err
    assert "1 of the pictures have another label in other than in run" in done.err


def test_other_classes_are_left_out(hornbeam_here, trained, shapes, tmp_path):
    fewer = tmp_path / "fewer"
    for folder in sorted(shapes.iterdir())[1:4]:
        shutil.copytree(folder, fewer / folder.name)
    other = train(hornbeam_here, fewer, tmp_path / "other", "--epochs", 1)
    done = hornbeam_here("compare", trained, other)
    assert done.code == 0, done.err
    assert "other does not know" in done.err
    assert "models are compared on the 3 classes" in done.err


def answering(run, path, sign):
    """Copy a run, with answers on file that are all right, or all wrong."""
    copied(run, path)
    table = pq.read_table(path / "predictions.parquet")
    logits = np.array(table["label_logits"].to_pylist(), np.float32)
    classes = (path / "classes.txt").read_text().split()
    labels = [classes.index(name) for name in table["label"].to_pylist()]
    logits[np.arange(HELD_OUT), labels] = 50 * sign
    column = pa.FixedSizeListArray.from_arrays(pa.array(logits.ravel()), logits.shape[1])
    index = table.column_names.index("label_logits")
    pq.write_table(table.set_column(index, "label_logits", column), path / "predictions.parquet")
    return path


def test_a_run_that_is_worse_ends_in_3_if_that_is_asked_for(hornbeam_here, trained, tmp_path):
    right, wrong = (
        answering(trained, tmp_path / name, s) for name, s in (("right", 1), ("wrong", -1))
    )
    done = hornbeam_here("compare", right, wrong)
    assert done.code == 0
    assert "wrong is worse than right: 0.0% are right instead of 100.0%" in done.out
    done = hornbeam_here("compare", right, wrong, "--fail-if-worse", 5)
    assert done.code == 3
    assert "wrong is worse than right by 100.0 points" in done.sentence
    assert hornbeam_here("compare", right, wrong, "--fail-if-worse", 99).code == 0
    assert hornbeam_here("compare", wrong, right, "--fail-if-worse", 0).code == 0


@pytest.mark.slow
def test_a_run_of_jax_is_compared_with_one_of_tensorflow(hornbeam, hornbeam_here, trained, shapes, tmp_path):  # fmt: skip
    other = train(hornbeam, shapes, tmp_path / "jax", "--epochs", 1, backend="jax")
    assert Run.open(other).environment()["backend"] == "jax"
    done = hornbeam_here("compare", trained, other, "--ask")
    assert done.code == 0, done.err
    kept = hornbeam_here("compare", trained, other)
    assert done.out.splitlines()[-1] == kept.out.splitlines()[-1]


def test_wrong_arguments_are_one_sentence(hornbeam_here, trained, shapes, tmp_path):
    for words, told in (
        ((trained,), "Two runs or more are compared"),
        ((trained, shapes), "is not a run directory"),
        ((trained, trained.with_name("rum")), "Did you mean"),
        ((trained, trained, "--out", "x.txt"), "--out should end in .csv"),
        ((trained, trained, "--split", "test"), "No test picture of run"),
        ((trained, trained, tmp_path / "none"), "does not exist"),
        ((), "RUN is missing"),
    ):
        done = hornbeam_here("compare", *words)
        assert done.code in (1, 2)
        assert told in done.sentence


def test_names_are_as_short_as_tell_the_runs_apart(tmp_path):
    paths = ["a/run", "b/run", "c/other", "a/run/checkpoints/best", "a/run"]
    assert names_of([Run(tmp_path / path) for path in paths]) == [
        "a/run", "b/run", "c/other", "run/best", "a/run (2)"
    ]  # fmt: skip
    assert names_of([Run(tmp_path / "a"), Run(tmp_path / "b")]) == ["a", "b"]


def test_answers_of_several_views_are_not_mixed_with_plain_ones(hornbeam_here, trained, tmp_path):
    viewed = copied(trained, tmp_path / "viewed")
    assert hornbeam_here("evaluate", viewed, "--tta", 4).code == 0
    (found,) = compare(CompareOptions(runs=(trained, viewed)))
    assert (found.accuracy.value, found.measures["cross_entropy"].value) == (0, pytest.approx(0, abs=1e-5))  # fmt: skip


def test_answers_are_trusted_after_several_views_of_other_pictures(
    hornbeam_here, trained, shapes, tmp_path, monkeypatch
):
    viewed = copied(trained, tmp_path / "viewed")
    assert hornbeam_here("evaluate", viewed, shapes, "--tta", 2).code == 0
    monkeypatch.setattr(Run, "load_model", None)  # no model is needed
    (found,) = compare(CompareOptions(runs=(trained, viewed)))
    assert found.pictures == HELD_OUT


def test_answers_of_a_run_that_is_not_calibrated_are_compared_with_uncalibrated_ones(
    hornbeam_here, trained, tmp_path
):
    run, plain = (copied(trained, tmp_path / name) for name in ("run", "plain"))
    Safeguards("temperature", {"label": Scaling("temperature", (3.0,))}).save(run)
    (plain / "calibration.json").unlink()
    best = run / "checkpoints" / "best"
    done = hornbeam_here("compare", run, plain, best, "--html", tmp_path / "c.html")
    assert done.code == 0, done.err
    told = "plain, run/best have no calibration.json, so all answers are compared uncalibrated."
    assert told in done.out
    assert told in (tmp_path / "c.html").read_text()
    for found in compare(CompareOptions(runs=(run, plain, best))):
        entropy = found.measures["cross_entropy"]
        assert entropy.first == pytest.approx(cross_entropy(run, 1), rel=1e-5)
        assert entropy.second == pytest.approx(entropy.first, rel=1e-3)
    # Calibrated ones are compared as they are calibrated, and nothing is said.
    assert "uncalibrated" not in hornbeam_here("compare", run, trained).out
    (found,) = compare(CompareOptions(runs=(run, trained)))
    sharp = found.measures["cross_entropy"].first
    assert sharp == pytest.approx(cross_entropy(run, 3), rel=1e-5)
    assert sharp != pytest.approx(cross_entropy(run, 1), rel=1e-2)


def cross_entropy(run, scale):
    """Return the mean of what is on file, by scipy, of logits times `scale`."""
    stored = pq.read_table(run / "predictions.parquet")
    classes = (run / "classes.txt").read_text().split()
    truth = [classes.index(name) for name in stored["label"].to_pylist()]
    logits = np.array(stored["label_logits"].to_pylist()) * scale
    return -log_softmax(logits, axis=1)[np.arange(len(truth)), truth].mean()


def without_pictures(run, path, root, **columns):
    """Copy a run whose pictures were at `root`, and are gone."""
    moved = copied(run, path, **columns)
    summary = json.loads((moved / "dataset.json").read_text())
    (moved / "dataset.json").write_text(json.dumps({**summary, "root": str(root)}))
    return moved


def test_equal_names_in_folders_that_are_gone_are_different_pictures(trained, tmp_path):
    def digests(table):
        return pa.array([f"{'f' * 28}{i:04}" for i in range(len(table))])

    assert Run(trained).table().root == Run(trained).dataset().root
    first = without_pictures(trained, tmp_path / "first", tmp_path / "v1")
    second = without_pictures(trained, tmp_path / "second", tmp_path / "v2", digest=digests)
    with pytest.raises(
        HornbeamError, match=f"answer on file to {HELD_OUT} of the pictures, which are no"
    ):
        compare(CompareOptions(runs=(first, second)))
    replaced = without_pictures(trained, tmp_path / "third", tmp_path / "v1", digest=digests)
    datasets = [Run(run).table() for run in (first, second, replaced)]
    for other in datasets[1:]:
        found = match(datasets[0], [other])
        assert (found.theirs[0].max(), found.trained[0].any()) == (-1, False)


def test_pictures_that_are_gone_are_no_hindrance(hornbeam_here, trained, tmp_path):
    moved = without_pictures(trained, tmp_path / "moved", tmp_path / "gone")
    done = hornbeam_here("compare", moved, moved, "--html", tmp_path / "c.html")
    assert done.code == 0, done.err
    with pytest.raises(HornbeamError):
        compare(CompareOptions(runs=(moved, moved), ask=True))
