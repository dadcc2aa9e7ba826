"""What leaves the house answers as the run does: calibrated, and with the unknown score."""

import logging

import keras
import numpy as np
import pyarrow as pa
import pytest
import scipy.special

from hornbeam.data.dataset import Dataset
from hornbeam.data.tasks import Task
from hornbeam.deployment.answering import expected_answers, trust_in_words, with_answers
from hornbeam.deployment.bundle.manifest import UNKNOWN
from hornbeam.evaluation.predictions import Predictions
from hornbeam.evaluation.trust.calibration import Scaling
from hornbeam.evaluation.trust.safeguards import Safeguards, fit_safeguards
from hornbeam.evaluation.trust.unknown import Unknown
from hornbeam.models.classifier import adapt_user_model, build_classifier
from hornbeam.models.penultimate import FEATURES, with_features
from hornbeam.models.side_features import SideFeatures
from hornbeam.models.zoo import find_architecture

KINDS = Task("kind", ("a", "b", "c"))
MARKS = Task("colour", ("x", "y"), multi_label=True)
VECTOR = Scaling("vector", (0.5, 1.5, 2.0), (0.1, -0.3, 0.0))
SHARED = Scaling("temperature", (0.7,), (0.4,))


def pictures(count=8):
    return np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)


def classifier(tasks, **options):
    keras.utils.set_random_seed(0)
    return build_classifier(find_architecture("compact"), (32, 32, 3), tasks, **options)


def angle(width, classes=3):
    rng = np.random.default_rng(0)
    directions = rng.normal(size=(classes, width))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    origin = rng.normal(size=width).astype(np.float32)
    return Unknown("angle", "kind", 0.5, 0.05, origin, directions.astype(np.float32))


def written(model, tasks, safeguards, directory):
    answering = with_answers(model, tasks, safeguards)
    for name in ("model.keras", "model.h5"):
        answering.save(directory / name)
    return trust_in_words(safeguards, tasks, tells_unknown=UNKNOWN in answering.output)


def loaded(directory):
    for name in ("model.keras", "model.h5"):
        yield keras.saving.load_model(directory / name, compile=False, safe_mode=True)


def test_artifacts_give_calibrated_probabilities_and_the_angle(tmp_path):
    model = classifier((KINDS, MARKS))
    both = with_features(model, (KINDS, MARKS)).predict_on_batch(pictures())
    unknown = angle(both[FEATURES].shape[1])
    safeguards = Safeguards("vector", {"kind": VECTOR, "colour": SHARED}, unknown=unknown)
    bundle = written(model, (KINDS, MARKS), safeguards, tmp_path)
    away = both[FEATURES] - unknown.origin
    cosines = (away / np.linalg.norm(away, axis=1, keepdims=True)) @ unknown.directions.T
    for artifact in loaded(tmp_path):
        found = artifact.predict_on_batch(pictures())
        expected = scipy.special.softmax(both["kind"] * VECTOR.scale + VECTOR.offset, axis=1)
        np.testing.assert_allclose(found["kind"], expected, atol=1e-5)
        np.testing.assert_allclose(
            found["colour"], scipy.special.expit(0.7 * both["colour"] + 0.4), atol=1e-5
        )
        np.testing.assert_allclose(found["unknown"][:, 0], 1 - cosines.max(axis=1), atol=1e-5)
        assert found["unknown"].shape == (8, 1)
    assert bundle["calibration"]["colour"]["scale"] == (0.7,)
    assert bundle["unknown"]["above"] == 0.5


@pytest.mark.parametrize("multi_label", [False, True])
def test_artifacts_give_the_energy_of_the_raw_logits(multi_label, tmp_path):
    task = Task("kind", ("a", "b", "c"), multi_label)
    model = classifier((task,))
    logits = model.predict_on_batch(pictures())["kind"]
    safeguards = Safeguards("auto", {"kind": SHARED}, unknown=Unknown("energy", "kind", 0.0, 0.05))
    written(model, (task,), safeguards, tmp_path)
    total = (
        np.log1p(np.exp(logits)).sum(axis=1) if multi_label else np.log(np.exp(logits).sum(axis=1))
    )
    for artifact in loaded(tmp_path):
        found = artifact.predict_on_batch(pictures())["unknown"]
        np.testing.assert_allclose(found[:, 0], -total, atol=1e-5)


def test_large_logits_have_a_finite_energy():
    model = classifier((KINDS,))
    model.get_layer("kind").set_weights(
        [w * 1e4 + 1e3 for w in model.get_layer("kind").get_weights()]
    )
    safeguards = Safeguards(unknown=Unknown("energy", "kind", 0.0, 0.05))
    found = with_answers(model, (KINDS,), safeguards).predict_on_batch(pictures())["unknown"]
    expected = expected_answers(model, (KINDS,), safeguards, pictures())["unknown"]
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_side_features_are_taken_too(tmp_path):
    model = classifier((KINDS,), features=SideFeatures(("age",), (40.0,), (10.0,)))
    inputs = {"image": pictures(), "features": np.linspace(20, 60, 8, dtype=np.float32)[:, None]}
    width = with_features(model, (KINDS,)).output[FEATURES].shape[1]
    safeguards = Safeguards("auto", {"kind": SHARED}, unknown=angle(width))
    written(model, (KINDS,), safeguards, tmp_path)
    expected = expected_answers(model, (KINDS,), safeguards, inputs)
    for artifact in loaded(tmp_path):
        found = artifact.predict_on_batch(inputs)
        assert set(found) == set(expected) == {"kind", "unknown"}
        for name in expected:
            np.testing.assert_allclose(found[name], expected[name], atol=1e-5)


def test_without_safeguards_there_are_probabilities_and_no_more(tmp_path):
    model = classifier((KINDS,))
    bundle = written(model, (KINDS,), Safeguards(), tmp_path)
    assert bundle == {}
    expected = scipy.special.softmax(model.predict_on_batch(pictures())["kind"], axis=1)
    for artifact in loaded(tmp_path):
        found = artifact.predict_on_batch(pictures())
        assert set(found) == {"kind"}
        np.testing.assert_allclose(found["kind"], expected, atol=1e-5)


def test_a_task_called_unknown_keeps_its_name(tmp_path):
    task = Task("unknown", ("a", "b", "c"))
    model = classifier((task,))
    safeguards = Safeguards(unknown=Unknown("energy", "unknown", 0.0, 0.05))
    bundle = written(model, (task,), safeguards, tmp_path)
    assert bundle["unknown"] is None
    for artifact in loaded(tmp_path):
        assert artifact.predict_on_batch(pictures())["unknown"].shape == (8, 3)


def test_a_head_without_features_leaves_the_angle_out(tmp_path):
    def build_model(input_shape, targets):
        inputs = keras.Input(input_shape)
        x = keras.layers.Conv2D(3, 3)(keras.layers.Rescaling(1 / 255)(inputs))
        return keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x))

    model = adapt_user_model(build_model, (32, 32, 3), (KINDS,))
    bundle = written(model, (KINDS,), Safeguards(unknown=angle(4)), tmp_path)
    assert bundle["unknown"] is None


def test_what_was_fitted_on_a_models_answers_is_exported_with_its_thresholds(tmp_path):
    model = classifier((KINDS,))
    images = pictures(60)
    given = with_features(model, (KINDS,)).predict_on_batch(images)
    labels = np.random.default_rng(0).integers(0, 3, 60).astype(np.int32)
    dataset = Dataset.from_columns("/", [str(i) for i in range(60)], ["validation"] * 60,
                                   {KINDS: pa.array(labels)})  # fmt: skip
    told = Predictions(dataset, (KINDS,), {"kind": given["kind"]}, given[FEATURES])
    safeguards = fit_safeguards(told, coverage=0.5)
    safeguards.save(tmp_path)
    safeguards = Safeguards.load(tmp_path)
    bundle = written(model, (KINDS,), safeguards, tmp_path)
    assert bundle["abstain"]["kind"]["below"] == safeguards.thresholds["kind"].probability
    calibrated = Predictions(dataset, (KINDS,), {"kind": given["kind"]}, given[FEATURES],
                             safeguards.scalings)  # fmt: skip
    for artifact in loaded(tmp_path):
        found = artifact.predict_on_batch(images)
        np.testing.assert_allclose(found["kind"], calibrated.probabilities(KINDS), atol=1e-5)
        np.testing.assert_allclose(
            found["unknown"][:, 0], safeguards.unknown_scores(told), atol=1e-5, rtol=1e-5
        )


def test_tensorflow_does_not_advise_against_asking_one_network_after_another(caplog):
    for _ in range(2):
        expected_answers(classifier((KINDS,)), (KINDS,), Safeguards(), pictures(2))
    caplog.clear()
    with caplog.at_level(logging.WARNING, "tensorflow"):
        for function in ("TensorFlowTrainer.make_predict_function.<locals>.one_step", "mine"):
            logging.getLogger("tensorflow").warning(
                f"5 out of the last 5 calls to <function {function} at 0x1> triggered tf.function retracing."
            )
    (told,) = caplog.messages
    assert "<function mine at" in told
