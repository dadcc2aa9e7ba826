"""What guards a run's answers is fitted once, kept, and does not lie: from the command line."""

import json
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest

from hornbeam.evaluation.predictions import Predictions


@pytest.fixture(scope="module")
def trained_on_half(hornbeam, shapes, tmp_path_factory):
    """A run with enough validation pictures to fit on them."""
    run = tmp_path_factory.mktemp("runs") / "half"
    words = ("--epochs", 2, "--batch-size", 8, "--image-size", 32, "--validation-fraction", 0.5)
    done = hornbeam("train", shapes, "--run", run, *words)
    assert done.code == 0, done.err
    fitted = json.loads((run / "calibration.json").read_text())["tasks"]["label"]["scaling"]
    assert fitted["method"] == "temperature"
    assert fitted["temperature"] != 1
    return run


@pytest.fixture
def run(trained_on_half, tmp_path):
    return shutil.copytree(trained_on_half, tmp_path / "run", symlinks=True)


def well(hornbeam_here, *words):
    done = hornbeam_here(*words)
    assert done.code == 0, done.err
    return done


def calibration(run):
    return json.loads((run / "calibration.json").read_text())


def scores(place):
    return json.loads((place / "scores.json").read_text())


def test_a_run_without_safeguards_gets_them_when_it_is_evaluated(hornbeam_here, run):
    before = calibration(run)
    (run / "calibration.json").unlink()
    well(hornbeam_here, "evaluate", run, "--tta", 3)
    after = calibration(run)  # of pictures that were asked about once, whatever --tta
    assert after["tasks"] == before["tasks"]
    assert after["unknown"]["threshold"] == pytest.approx(before["unknown"]["threshold"], abs=1e-5)


def test_answers_to_several_views_are_known_as_such_and_fit_nothing(hornbeam_here, run):
    before = calibration(run)["tasks"]["label"]["scaling"]
    well(hornbeam_here, "evaluate", run, "--tta", 4)
    assert Predictions.views_of(run / "predictions.parquet") == {"validation": 4}
    assert scores(run)["views"] == 4
    well(hornbeam_here, "evaluate", run, "--calibration", "temperature")
    assert Predictions.views_of(run / "predictions.parquet") == {"validation": 1}
    again = calibration(run)["tasks"]["label"]["scaling"]
    np.testing.assert_allclose(again["scale"], before["scale"], rtol=1e-4)


def test_a_scaling_that_is_fitted_anew_scales_what_was_kept(hornbeam_here, run, shapes, tmp_path):
    well(hornbeam_here, "evaluate", run, "--split", "train")
    well(hornbeam_here, "evaluate", run, "--calibration", "none")
    table = pq.read_table(run / "predictions.parquet")
    logits = np.stack(table["label_logits"].to_numpy()).astype(np.float64)
    plain = np.exp(logits - logits.max(axis=1, keepdims=True))
    plain /= plain.sum(axis=1, keepdims=True)
    assert set(table["split"].to_pylist()) == {"train", "validation"}
    np.testing.assert_allclose(np.stack(table["label_probabilities"].to_numpy()), plain, atol=1e-5)


def test_pictures_that_were_trained_on_are_counted_and_told(hornbeam_here, run, shapes):
    done = well(hornbeam_here, "evaluate", run, shapes)
    trained = json.loads((run / "dataset.json").read_text())["counts"]["label"]["train"]
    count = sum(trained.values())
    assert f"was trained on {count} of these 72 pictures" in done.err
    assert scores(run / "evaluations" / shapes.name)["pictures_trained_on"] == count
    done = well(hornbeam_here, "evaluate", run)
    assert "was trained on" not in done.err
    assert scores(run)["pictures_trained_on"] == 0


def test_other_pictures_of_the_same_name_have_a_place_of_their_own(
    hornbeam_here, run, shapes, tmp_path
):
    other = tmp_path / "other" / shapes.name
    for name in ("star", "circle"):
        shutil.copytree(shapes / name, other / name)
    well(hornbeam_here, "evaluate", run, shapes)
    well(hornbeam_here, "evaluate", run, other)
    well(hornbeam_here, "evaluate", run, shapes)  # the same once more
    places = {p.name: scores(p)["data"] for p in (run / "evaluations").iterdir()}
    assert places == {shapes.name: str(shapes), f"{shapes.name}-2": str(other)}


def test_a_place_that_is_taken_is_refused_before_any_work(hornbeam_here, run, shapes, tmp_path):
    done = hornbeam_here("evaluate", run, shapes, "--out", run)
    assert done.code == 2
    assert "holds what its own pictures say" in done.sentence
    (tmp_path / "file").write_text("")
    done = hornbeam_here("evaluate", run, "--out", tmp_path / "file")
    assert done.code == 2
    assert "is a file; name a directory" in done.sentence


def test_a_run_whose_pictures_are_gone_answers_uncalibrated_and_says_so(hornbeam_here, run, shapes):
    (run / "calibration.json").unlink()
    summary = json.loads((run / "dataset.json").read_text())
    (run / "dataset.json").write_text(json.dumps({**summary, "root": str(run / "gone")}))
    done = well(hornbeam_here, "evaluate", run, shapes)
    assert "Nothing calibrates the answers: The pictures of" in done.err
    done = hornbeam_here("evaluate", run, shapes, "--calibration", "auto")
    assert done.code == 1
    assert "no longer at" in done.sentence


def test_a_promise_that_cannot_be_kept_marks_every_answer(hornbeam_here, run, shapes, tmp_path):
    done = well(hornbeam_here, "evaluate", run, "--abstain-precision", 0.999)
    assert "No threshold gives a precision of 0.999" in done.out
    done = well(hornbeam_here, "predict", run, shapes / "star")
    lines = done.out.splitlines()
    assert len(lines) == 12
    assert all("(unsure)" in line for line in lines)
    assert "All answers are marked as unsure" in (run / "report.html").read_text()


def test_a_threshold_stays_when_the_calibration_changes(hornbeam_here, run):
    well(hornbeam_here, "evaluate", run, "--abstain-coverage", 0.5)
    chosen = calibration(run)["tasks"]["label"]["abstain"]
    assert (chosen["wanted"], chosen["level"]) == ("coverage", 0.5)
    well(hornbeam_here, "evaluate", run, "--calibration", "none")
    kept = calibration(run)["tasks"]["label"]["abstain"]
    assert (kept["wanted"], kept["level"]) == ("coverage", 0.5)


def test_a_run_without_validation_pictures_has_nothing_to_fit_on(hornbeam_here, shapes, tmp_path):
    run = tmp_path / "none"
    words = ("--steps", 1, "--image-size", 32, "--no-validation", "--run", run)
    well(hornbeam_here, "train", shapes, *words)
    assert not (run / "calibration.json").exists()
    well(hornbeam_here, "evaluate", run, shapes)
    done = hornbeam_here("evaluate", run, shapes, "--abstain-precision", 0.9)
    assert done.code == 2
    assert "has no validation pictures" in done.sentence
