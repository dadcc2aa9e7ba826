"""--metrics and --groups from the command line to the files of the run."""

import csv
import json

import pytest
import yaml

METRICS = "top_2,macro_f1,auc,average_precision,recall:star,sensitivity_at_specificity=0.8"


@pytest.fixture(scope="module")
def groups(tmp_path_factory):
    path = tmp_path_factory.mktemp("groups") / "groups.yaml"
    path.write_text("edged: [cross, square, star, triangle]\n")
    return path


@pytest.fixture(scope="module")
def run(hornbeam_here, shapes, groups, tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "run"
    done = hornbeam_here(
        "train", shapes, "--run", run, "--epochs", 3, "--batch-size", 8, "--image-size", 32,
        "--metrics", METRICS, "--groups", groups, "--monitor", "val_macro_f1",
    )  # fmt: skip
    assert done.code == 0, done.err
    groups.unlink()  # from here on the run has all that is needed
    return run


def rows_of(run):
    with (run / "metrics.csv").open(newline="") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def scores_of(run):
    return json.loads((run / "scores.json").read_text())["tasks"]["label"]


def flat(scores, place=""):
    """Return what is told by where it stands; compiled anew, a network's last bits may be others."""
    if isinstance(scores, dict | list):
        pairs = scores.items() if isinstance(scores, dict) else enumerate(scores)
        return {k: v for name, part in pairs for k, v in flat(part, f"{place}/{name}").items()}
    return {place: pytest.approx(scores, abs=1e-6) if isinstance(scores, float) else scores}


def test_metrics_of_the_best_weights_are_what_the_evaluation_finds(run):
    best = max(rows_of(run), key=lambda row: row["val_macro_f1"])
    scores = scores_of(run)
    for name in ("accuracy", "macro_f1", "top_2"):
        assert scores["metrics"][name]["value"] == pytest.approx(best[f"val_{name}"], abs=1e-5)
    assert scores["classes"]["star"]["recall"]["value"] == pytest.approx(
        best["val_recall:star"], abs=1e-5
    )
    assert scores["groups"]["metrics"]["accuracy"]["value"] == pytest.approx(
        best["val_group_accuracy"], abs=1e-5
    )
    for name in ("auc", "average_precision", "sensitivity_at_specificity=0.8"):
        # In bins, of few pictures: see tests/training/test_metrics.py.
        assert scores["metrics"][name]["value"] == pytest.approx(best[f"val_{name}"], abs=0.01)


def test_training_has_them_too(run):
    for row in rows_of(run):
        for name in (*METRICS.split(","), "group_accuracy"):
            assert 0 <= row[name] <= 1


def test_evaluate_remembers_the_groups_or_takes_others(run, hornbeam_here, tmp_path):
    assert yaml.safe_load((run / "config.yaml").read_text())["groups"] == {
        "edged": ["cross", "square", "star", "triangle"]
    }
    before = scores_of(run)
    done = hornbeam_here("evaluate", run)
    assert done.code == 0, done.err
    assert flat(scores_of(run)) == flat(before)
    assert "group_accuracy" in done.out
    assert "macro_f1" in done.out
    assert set(before["groups"]["classes"]) == {"circle", "crescent", "edged"}
    others = tmp_path / "others.yaml"
    others.write_text("round: [circle, crescent]\n")
    done = hornbeam_here("evaluate", run, "--groups", others)
    assert done.code == 0, done.err
    assert "round" in scores_of(run)["groups"]["classes"]
    assert "Groups of classes" in (run / "report.html").read_text()


@pytest.mark.slow
def test_several_tasks_have_groups_of_their_own(hornbeam_here, shapes, tmp_path):
    lines = ["path,kind,side"]
    for number, picture in enumerate(sorted(shapes.rglob("*.jpg"))):
        # Some lack a label.
        side = ("left", "right", "")[number % 3]
        lines.append(f"{picture},{picture.parent.name},{side}")
    (tmp_path / "m.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "g.yaml").write_text("kind:\n  round: [circle, crescent]\n")
    done = hornbeam_here(
        "train", tmp_path / "m.csv", "--label-columns", "kind,side", "--allow-outside",
        "--run", tmp_path / "run", "--epochs", 1, "--batch-size", 16, "--image-size", 32,
        "--metrics", "macro_recall,top_2,f1:left,auc", "--groups", tmp_path / "g.yaml",
    )  # fmt: skip
    assert done.code == 0, done.err
    (row,) = rows_of(tmp_path / "run")
    found = {name.removeprefix("val_") for name in row if name.startswith("val_")}
    assert {"kind_macro_recall", "kind_top_2", "kind_auc", "kind_group_accuracy"} <= found
    assert {"side_macro_recall", "side_f1:left", "side_auc"} <= found
    assert not {"side_top_2", "side_group_accuracy", "kind_f1:left"} & found
    tasks = json.loads((tmp_path / "run" / "scores.json").read_text())["tasks"]
    for task in ("kind", "side"):
        value = tasks[task]["metrics"]["macro_recall"]["value"]
        assert value == pytest.approx(row[f"val_{task}_macro_recall"], abs=1e-5)
    assert "groups" in tasks["kind"]
    assert "groups" not in tasks["side"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--metrics", "macro_f2"], "--metrics has no 'macro_f2'; did you mean 'macro_f1'?"),
        (["--metrics", "f1:stars"], "--metrics f1:stars: there is no class 'stars'. Did you mean 'star'?"),
        (["--metrics", "top_6"], "--metrics top_6: with 6 classes it would always be 1."),
        (["--metrics", "group_accuracy"], "--metrics group_accuracy needs --groups FILE."),
        (["--groups", "{tmp}/none.yaml"], "--groups cannot be read: No such file or directory"),
        (["--groups", "{tmp}/g.yaml"], "--groups: there is no class 'circel' (group 'a'). Did you mean 'circle'?"),
    ],
)  # fmt: skip
def test_a_wrong_name_leaves_nothing_behind(hornbeam_here, shapes, tmp_path, words, said):
    (tmp_path / "g.yaml").write_text("a: [circel]\n")
    words = [word.replace("{tmp}", str(tmp_path)) for word in words]
    done = hornbeam_here(
        "train", shapes, "--run", tmp_path / "run", "--image-size", 32, "--epochs", 1, *words
    )
    assert done.code == 2
    assert said in done.sentence
    assert not (tmp_path / "run").exists()


def test_groups_of_other_classes_are_refused_by_evaluate(run, hornbeam_here, tmp_path):
    (tmp_path / "g.yaml").write_text("a: [circel]\n")
    done = hornbeam_here("evaluate", run, "--groups", tmp_path / "g.yaml")
    assert done.code == 2
    assert "there is no class 'circel' (group 'a'). Did you mean 'circle'?" in done.sentence


@pytest.mark.slow
def test_on_jax_they_are_the_same_kind_of_numbers(hornbeam, shapes, tmp_path):
    done = hornbeam(
        "train", shapes, "--run", tmp_path / "run", "--epochs", 1, "--batch-size", 16,
        "--image-size", 32, "--metrics", METRICS, backend="jax", JAX_PLATFORMS="cpu",
    )  # fmt: skip
    assert done.code == 0, done.err
    (row,) = rows_of(tmp_path / "run")
    scores = scores_of(tmp_path / "run")
    assert scores["metrics"]["macro_f1"]["value"] == pytest.approx(row["val_macro_f1"], abs=1e-5)
    assert scores["metrics"]["auc"]["value"] == pytest.approx(row["val_auc"], abs=0.01)


STOPPING = """
import os, signal, keras

class Stop(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        if batch == 4 and "STOP" in os.environ:
            os.kill(os.getpid(), signal.SIGTERM)

def callbacks():
    return [Stop()]
"""


@pytest.mark.slow
def test_a_training_that_is_stopped_within_an_epoch_counts_on(hornbeam, shapes, tmp_path):
    (tmp_path / "stopping.py").write_text(STOPPING)

    def train(run, *words, **environment):
        return hornbeam(
            "train", shapes, "--run", tmp_path / run, "--epochs", 1, "--batch-size", 8,
            "--image-size", 32, "--metrics", METRICS, "--recipe", tmp_path / "stopping.py",
            *words, **environment,
        )  # fmt: skip

    assert train("whole").code == 0
    stopped = train("stopped", STOP="1")
    assert stopped.code == 143, stopped.err
    resumed = hornbeam("train", "--run", tmp_path / "stopped", "--resume")
    assert resumed.code == 0, resumed.err
    whole, found = ([{k: v for k, v in row.items() if k not in ("seconds", "pictures_per_second")}
                     for row in rows_of(tmp_path / run)] for run in ("whole", "stopped"))  # fmt: skip
    assert found == whole
