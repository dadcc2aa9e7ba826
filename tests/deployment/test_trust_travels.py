"""Calibration, thresholds and the unknown score reach exports and predict, from the command line."""

import dataclasses
import json
import shutil

import keras
import numpy as np
import pytest

from hornbeam.data.loader import Loader
from hornbeam.evaluation.predictions import probabilities_of
from hornbeam.evaluation.scoring.shares import Share
from hornbeam.evaluation.trust.abstention import Threshold
from hornbeam.evaluation.trust.calibration import Scaling
from hornbeam.evaluation.trust.safeguards import Safeguards
from hornbeam.models.penultimate import FEATURES, with_features
from hornbeam.runs import Run
from hornbeam.storage import read_rows


@pytest.fixture(scope="module")
def calibrated(trained, tmp_path_factory):
    """The run, with a temperature of 0.25 and a threshold that some pictures miss."""
    path = tmp_path_factory.mktemp("calibrated") / "run"
    shutil.copytree(trained, path, symlinks=True)
    fitted = Safeguards.load(path)
    assert fitted.unknown.kind == "angle"
    task = Run.open(path).tasks()[0].name
    threshold = Threshold("precision", 0.9, 0.9, Share(1, 2), Share(1, 1), "half of them")
    dataclasses.replace(
        fitted, scalings={task: Scaling("temperature", (4.0,))}, thresholds={task: threshold},
        unknown=dataclasses.replace(fitted.unknown, threshold=0.2),
    ).save(path)  # fmt: skip
    return Run.open(path)


def expected(run):
    """What the run says of its validation pictures, computed from model and file."""
    pictures = run.dataset().only("validation")
    batch = Loader(pictures, batch_size=len(pictures), image_size=run.image_size()).batch(0)
    model = with_features(run.load_model(), run.tasks())
    given = {k: np.asarray(v) for k, v in model.predict_on_batch(batch.images).items()}
    probabilities = probabilities_of(4 * given["label"], run.tasks()[0])
    unknown = Safeguards.load(run.path).unknown
    scores = unknown.score_of(run.tasks()[0], given["label"], given[FEATURES])
    return pictures, batch.images, probabilities, scores


@pytest.mark.parametrize("backend", ["tensorflow", pytest.param("jax", marks=pytest.mark.slow)])
def test_exports_have_them_inside(hornbeam, calibrated, backend, tmp_path):
    done = hornbeam(
        "export", calibrated.path, "--format", "keras,h5", "--out", tmp_path, backend=backend
    )
    assert done.code == 0, done.err
    _, images, probabilities, scores = expected(calibrated)
    for name in ("model.keras", "model.h5"):
        artifact = keras.saving.load_model(tmp_path / name, compile=False, safe_mode=True)
        found = artifact.predict_on_batch(images)
        np.testing.assert_allclose(found["label"], probabilities, atol=1e-4)
        np.testing.assert_allclose(np.asarray(found["unknown"])[:, 0], scores, atol=1e-4)
    bundle = json.loads((tmp_path / "bundle.json").read_text())
    assert bundle["calibration"]["label"]["temperature"] == 0.25
    assert bundle["abstain"]["label"] == {"below": 0.9, "meaning": "half of them"}
    assert bundle["unknown"]["above"] == 0.2


@pytest.mark.parametrize("backend", ["tensorflow", pytest.param("jax", marks=pytest.mark.slow)])
def test_predict_marks_doubt(hornbeam, calibrated, shapes, backend, tmp_path):
    out = tmp_path / "answers.csv"
    done = hornbeam("predict", calibrated.path, shapes, "--out", out, backend=backend)
    assert done.code == 0, done.err
    rows = {row["path"]: row for row in read_rows(out)}
    pictures, _, probabilities, scores = expected(calibrated)
    found = [next(row for path, row in rows.items() if path.endswith(p)) for p in pictures.paths]
    best = np.array([float(row["label_1_probability"]) for row in found])
    np.testing.assert_allclose(best, probabilities.max(axis=1), atol=1e-3)
    np.testing.assert_allclose([float(r["unknown_score"]) for r in found], scores, atol=1e-3)
    sure = np.array([row["label_sure"] == "true" for row in found])
    clear = np.abs(best - 0.9) > 1e-3
    np.testing.assert_array_equal(sure[clear], (best >= 0.9)[clear])
    unknown = np.array([row["unknown"] == "true" for row in found])
    clear = np.abs(scores - 0.2) > 1e-3
    np.testing.assert_array_equal(unknown[clear], (scores > 0.2)[clear])
    assert 0 < unknown.sum() < len(unknown) or 0 < sure.sum() < len(sure)
