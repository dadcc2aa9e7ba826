"""The head on features that were computed once, and what `train` does with weights from elsewhere."""

import csv
import json

import keras
import numpy as np
import pyarrow.parquet as pq
import pytest

from hornbeam.config import TrainOptions


def options(**values):
    return TrainOptions(data="d", weights="file.h5", **values).resolved()


@pytest.mark.parametrize(
    ("given", "pictures", "finetune", "precompute", "epochs", "rate"),
    [
        ({}, 300, False, "auto", None, 0.001),
        ({}, 3000, True, "auto", 4, 0.0002),
        ({}, 600, True, "auto", 10, 0.0002),
        ({}, 10**6, True, "auto", 2, 0.0002),
        ({"finetune": False}, 3000, False, "auto", None, 0.001),
        ({"finetune": True, "epochs": 7}, 300, True, "auto", 7, 0.0002),
        ({"freeze": "backbone"}, 3000, False, "auto", None, 0.001),
        ({"freeze": "backbone", "epochs": 5}, 3000, False, "off", 5, 0.001),
        ({"freeze": "backbone", "epochs": 5, "precompute": "on"}, 3000, False, "on", 5, 0.001),
        ({"precompute": "off"}, 3000, False, "off", 10, 0.001),
        ({"epochs": 5}, 3000, True, "auto", 5, 0.0002),
        ({"freeze": "none"}, 3000, False, "auto", 20, 0.0002),
        ({"trainable": ("head/.*",)}, 3000, False, "auto", 20, 0.0002),
        ({"learning_rate": 0.5}, 3000, True, "auto", 4, 0.5),
    ],
)  # fmt: skip
def test_what_is_done_with_weights_depends_on_the_number_of_pictures_and_on_what_is_asked(
    given, pictures, finetune, precompute, epochs, rate
):
    planned = options(**given).planned(pictures)
    found = (planned.finetune, planned.precompute, planned.epochs, planned.learning_rate)
    assert found == (finetune, precompute, epochs, rate)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"finetune": True}, "--finetune needs --weights"),
        ({"finetune": True, "weights": "x.h5", "freeze": "none"}, "leave --freeze none out"),
        ({"precompute": "on"}, "--precompute on is for a frozen backbone"),
        (
            {"precompute_views": 5, "weights": "x.h5", "freeze": "none"},
            "--precompute-views is for a",
        ),
        (
            {"precompute": "on", "weights": "x.h5", "trainable": ("head/.*",)},
            "--freeze backbone or",
        ),
    ],
)
def test_finetuning_and_precomputing_need_a_frozen_start(values, said):
    with pytest.raises(Exception, match=said):
        TrainOptions(data="d", **values)


def metrics(run):
    with (run / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def retrain(hornbeam_here, trained, shapes, tmp_path_factory):
    """Train on `shapes` from the weights of the run `trained`."""

    def run(*words, backend="tensorflow"):
        path = tmp_path_factory.mktemp("retrained") / "run"
        done = hornbeam_here(
            "train", shapes, "--run", path, "--weights", trained / "model.keras", "--model", "compact",
            "--image-size", 32, "--batch-size", 8, *words, backend=backend,
        )  # fmt: skip
        return done, path

    return run


def answers(run):
    return np.stack(pq.read_table(run / "predictions.parquet")["label_logits"].to_numpy())


@pytest.mark.parametrize("backend", ["tensorflow", pytest.param("jax", marks=pytest.mark.slow)])
def test_few_pictures_train_the_head_alone_and_the_model_answers_as_its_features_did(
    retrain, backend, trained
):
    done, run = retrain(backend=backend)
    assert done.code == 0, done.err
    assert "they are few to move the backbone by" in done.out
    (row,) = metrics(run)
    assert (row["epoch"], row["step"]) == ("0", "0")
    table = pq.read_table(run / "predictions.parquet")
    # The model, asked about pictures, is as good as the head was on features.
    assert np.mean(table["label_correct"].to_pylist()) == pytest.approx(
        float(row["val_accuracy"]), abs=1e-5
    )
    before = keras.saving.load_model(trained / "model.keras", compile=False)
    after = keras.saving.load_model(run / "model.keras", compile=False)
    for a, b in zip(
        before.get_layer("backbone").get_weights(), after.get_layer("backbone").get_weights(),
        strict=True,
    ):  # fmt: skip
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(before.layers[-1].get_weights()[0], after.layers[-1].get_weights()[0])


def test_what_the_backbone_gave_is_found_by_the_next_training(retrain):
    retrain("--resize-mode", "pad")
    done, _run = retrain("--resize-mode", "pad", "--seed", 1, "--class-weights", "balanced")
    assert done.code == 0, done.err
    assert "what it gave was kept" in done.out


@pytest.mark.parametrize("backend", ["tensorflow", pytest.param("jax", marks=pytest.mark.slow)])
def test_finetuning_starts_from_the_head_and_is_kept_only_if_it_gains(retrain, backend, trained):
    done, run = retrain("--finetune", "--epochs", 2, backend=backend)
    assert done.code == 0, done.err
    rows = metrics(run)
    assert [row["epoch"] for row in rows] == ["0", "1", "2"]
    best = json.loads((run / "checkpoints" / "best" / "state.json").read_text())
    accuracies = [float(row["val_accuracy"]) for row in rows]
    assert accuracies[best["epoch"]] == max(accuracies)
    before = keras.saving.load_model(trained / "model.keras", compile=False).get_layer("backbone")
    last = keras.saving.load_model(run / "model.keras", compile=False)
    last.load_weights(run / "checkpoints" / "last" / "model.weights.h5")
    after = last.get_layer("backbone")
    moved = [
        layer.name for layer in after.layers
        if any((a != b).any() for a, b in zip(
            layer.get_weights(), before.get_layer(layer.name).get_weights(), strict=True))
    ]  # fmt: skip
    assert moved
    assert all(name.startswith("stage4") and name.endswith("conv") for name in moved)


def test_a_rate_that_ruins_the_backbone_leaves_the_solved_head(retrain):
    done, run = retrain(
        "--finetune", "--epochs", 1, "--lr", 30, "--schedule", "fixed", "--warmup", 0
    )
    assert done.code == 0, done.err
    best = json.loads((run / "checkpoints" / "best" / "state.json").read_text())
    assert best["epoch"] == 0


def test_a_loss_of_ones_own_trains_the_head_in_steps(retrain):
    done, run = retrain("--loss", "focal")
    assert done.code == 0, done.err
    assert "The head was trained on that for 10 epochs" in done.out
    assert float(metrics(run)[0]["accuracy"]) > 0.3


def test_epochs_of_a_head_on_what_was_computed_once_are_not_followed_by_others(retrain):
    done, run = retrain("--freeze", "backbone", "--precompute", "on", "--epochs", 2)
    assert done.code == 0, done.err
    assert "The head was trained on that for 2 epochs" in done.out
    assert [row["epoch"] for row in metrics(run)] == ["0"]


def test_mixed_pictures_follow_a_head_that_was_solved_on_whole_ones(retrain):
    done, run = retrain("--finetune", "--epochs", 1, "--augment", "strong")
    assert done.code == 0, done.err
    assert "solved by L-BFGS" in done.out
    assert len(metrics(run)) == 2


def test_the_run_can_be_repeated_from_its_configuration(retrain, hornbeam_here, tmp_path):
    _, run = retrain()
    again = tmp_path / "again"
    done = hornbeam_here("train", "--config", run / "config.yaml", "--run", again)
    assert done.code == 0, done.err
    np.testing.assert_array_equal(answers(run), answers(again))


def test_finetuning_trains_what_is_named_after_the_head(retrain, trained):
    done, run = retrain("--finetune", "--epochs", 1, "--trainable", "stage4_block1_b_conv/.*")
    assert done.code == 0, done.err
    before = keras.saving.load_model(trained / "model.keras", compile=False).get_layer("backbone")
    last = keras.saving.load_model(run / "model.keras", compile=False)
    last.load_weights(run / "checkpoints" / "last" / "model.weights.h5")
    changed = [
        layer.name for layer in last.get_layer("backbone").layers
        if any((a != b).any() for a, b in zip(
            layer.get_weights(), before.get_layer(layer.name).get_weights(), strict=True))
    ]  # fmt: skip
    assert changed == ["stage4_block1_b_conv"]
