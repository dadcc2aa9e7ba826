"""Wrong labels found among real ones: 5 % of the training pictures' labels flipped, by a seed.

Flipped to any other class at random, or to the class that is most like it (by a fit to the labels as
they are). Features of a frozen MobileNetV2, 224 px. Who ranks:

- `cleanlab …`: cleanlab on out-of-fold probabilities (5 folds) of one logistic regression, whose
  strength of L2 was chosen for it on seeds 0 to 2. It runs in an environment of its own.
- `hornbeam`: `find_suspects` as the command calls it, seeds of which nothing was chosen.

The labels as they come have mistakes of their own, which count as false alarms here.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from claims import record
from numpy.typing import NDArray

from hornbeam import assembly
from hornbeam.config import LabelsOptions, TrainOptions
from hornbeam.data.dataset import TRAIN, Dataset
from hornbeam.data.inspection import verifying
from hornbeam.data.loader import Loader

STRENGTH = 0.1
"""Of L2, in units of the features' variance: the best of 0.3, 0.1, 0.03, 0.01 and 0.003 for cleanlab."""

FOLDS, SHARE = 5, 0.05

CLEANLAB = """
import json, sys, warnings
import numpy as np
from cleanlab.filter import find_label_issues
from cleanlab.rank import get_label_quality_scores
warnings.simplefilter("ignore")
given = np.load(sys.argv[1])
labels, probabilities = given["labels"], given["probabilities"]
result = {}
for method in ("self_confidence", "normalized_margin"):
    for adjusted in (False, True):
        scores = get_label_quality_scores(
            labels, probabilities, method=method, adjust_pred_probs=adjusted)
        result[method + (" adjusted" if adjusted else "")] = (1 - scores).tolist()
listed = find_label_issues(labels, probabilities, return_indices_ranked_by="self_confidence")
json.dump({"scores": result, "listed": listed.tolist()}, sys.stdout)
"""


def open_features(pictures: Path, weights: Path) -> tuple[Dataset, NDArray[np.float32]]:
    """Return the training pictures and what the frozen network makes of them."""
    from hornbeam.models.cut import split_at_backbone
    from hornbeam.training.features import compute_features

    options, architecture, recipe = assembly.begin(
        TrainOptions(data=str(pictures), weights=str(weights), image_size=(224, 224, 3))
    )
    dataset, _ = verifying.verify(assembly.open_dataset(options, recipe).only(TRAIN), "error", 2)
    options = assembly.with_size_and_precision(options, architecture)
    model = assembly.build_model(options, architecture, recipe, dataset, "float32")
    parts = split_at_backbone(model)
    assert parts is not None
    loader = Loader(dataset, batch_size=32, image_size=(224, 224, 3))
    return dataset, compute_features(parts[0], loader, threads=2).values[0]


def logistic(features: NDArray[np.float32], labels: NDArray[Any], seed: int) -> NDArray[Any]:
    """Return out-of-fold probabilities of one logistic regression."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    inputs = (features - features.mean(axis=0)) / features.std()
    strength = 1 / (STRENGTH * len(labels) * (1 - 1 / FOLDS))
    model = LogisticRegression(C=strength, max_iter=300, tol=1e-3)
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    return np.asarray(cross_val_predict(model, inputs, labels, cv=folds, method="predict_proba"))


def flip(
    labels: NDArray[Any], similar: NDArray[Any] | None, seed: int
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Return labels of which a share is wrong, and which."""
    rng = np.random.default_rng(1000 + seed)
    count, classes = len(labels), int(labels.max()) + 1
    rows = rng.choice(count, round(SHARE * count), replace=False)
    flipped = labels.copy()
    flipped[rows] = (
        (labels[rows] + rng.integers(1, classes, len(rows))) % classes
        if similar is None
        else similar[labels[rows]]
    )
    return flipped, np.isin(np.arange(count), rows)


def measure(scores: Any, wrong: NDArray[np.bool_]) -> list[float]:
    """Return precision at the number flipped, recall at 5 and 10 % of the list, average precision."""
    ranked = wrong[np.argsort(-np.asarray(scores), kind="stable")]
    found, total = ranked.cumsum(), int(wrong.sum())
    count = len(ranked)
    precision = found / np.arange(1, count + 1)
    at = [found[round(part * count) - 1] / total for part in (0.05, 0.10)]
    return [found[total - 1] / total, *at, float(precision[ranked].mean())]


def cleanlab(python: Path, labels: Any, probabilities: Any) -> dict[str, Any]:
    """Ask cleanlab, in its own environment."""
    with tempfile.TemporaryDirectory() as temporary:
        file = Path(temporary) / "probabilities.npz"
        np.savez(file, labels=labels, probabilities=probabilities)
        done = subprocess.run(
            [python, "-c", CLEANLAB, file], capture_output=True, text=True, check=True
        )
    return dict(json.loads(done.stdout))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--peer-python", type=Path, required=True)
    parser.add_argument("--first-seed", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--rate", action="store_true", help="time random features instead")
    arguments = parser.parse_args()
    if arguments.rate:
        time_random_features()
        return
    from hornbeam.evaluation.labels.suspects import find_suspects

    dataset, features = open_features(arguments.pictures, arguments.weights)
    task = dataset.tasks[0]
    labels = dataset.labels(task).astype(np.int64)
    defaults = {
        name: LabelsOptions.model_fields[name].default
        for name in ("folds", "divisions", "threshold")
    }
    means = logistic(features, labels, 0)
    table = np.stack([means[labels == c].mean(axis=0) for c in range(len(task.classes))])
    np.fill_diagonal(table, 0)
    similar = table.argmax(axis=1)
    before = find_suspects(features, dataset, seed=0, **defaults)[0]
    print(f"{len(labels)} pictures; as they come {before.wrong:.0f} labels are told to be wrong\n")
    for kind, to in (("at random", None), ("to the most similar class", similar)):
        rows: dict[str, list[list[float]]] = {}
        lists: dict[str, list[tuple[float, ...]]] = {}
        expected = []
        for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds):
            flipped, wrong = flip(labels, to, seed)
            asked = cleanlab(arguments.peer_python, flipped, logistic(features, flipped, seed))
            for name, scores in asked["scores"].items():
                rows.setdefault(f"cleanlab {name}", []).append(measure(scores, wrong))
            changed = dataset.with_column(task.name, _arrow(flipped))
            found = find_suspects(features, changed, seed=seed, **defaults)[0]
            rows.setdefault("hornbeam", []).append(measure(found.scores, wrong))
            expected.append(found.wrong)
            for name, chosen in (
                ("cleanlab's list", asked["listed"]),
                ("hornbeam's list", found.rows),
            ):
                hits = int(wrong[chosen].sum())
                listed = (len(chosen), hits / max(1, len(chosen)), hits / int(wrong.sum()))
                lists.setdefault(name, []).append(listed)
        print(
            f"### {wrong.sum()} labels flipped {kind}, {arguments.seeds} seeds: mean (least, most)\n"
        )
        heads = "ranked by | precision at the number flipped | found in 5 % | in 10 % | average"
        print(f"| {heads} precision |")
        print("|---|---:|---:|---:|---:|")
        for name, values in rows.items():
            print(
                f"| {name} | "
                + " | ".join(_spread(column) for column in zip(*values, strict=True))
                + " |"
            )
        for name, values in rows.items():
            if name != "hornbeam":
                pairs = zip(rows["hornbeam"], values, strict=True)
                ratios = [ours[-1] / theirs[-1] for ours, theirs in pairs]
                told = f"{np.mean([each[-1] for each in rows['hornbeam']]):.3f}"
                claim = f"average precision, labels flipped {kind}"
                record(__file__, claim, name, ratios, measured=told)
        print("\n| list | length | precision | recall |\n|---|---:|---:|---:|")
        for name, listed_ in lists.items():
            length, *shares = zip(*listed_, strict=True)
            print(f"| {name} | {np.mean(length):.0f} | {' | '.join(map(_spread, shares))} |")
        told = f"{np.mean(expected):.0f} ({min(expected):.0f} to {max(expected):.0f})"
        print(f"\nLabels told to be wrong: {told}\n", flush=True)


def time_random_features() -> None:
    """Say how long 50,000 pictures of 100 classes take."""
    import pyarrow as pa

    from hornbeam.data.tasks import Task
    from hornbeam.evaluation.labels.suspects import find_suspects

    rng = np.random.default_rng(0)
    count, classes = 50_000, 100
    labels = rng.integers(classes, size=count)
    features = rng.random((classes, 1280), np.float32)[labels]
    features += 2 * rng.random((count, 1280), np.float32)
    task = Task("label", tuple(f"{c}" for c in range(classes)))
    dataset = Dataset.from_columns(
        Path(), [f"{i}" for i in range(count)], [""] * count, {task: pa.array(labels, pa.int32())}
    )
    start = time.perf_counter()
    find_suspects(features, dataset, folds=5, divisions=3, threshold=0.2)
    print(
        f"{count} pictures, {classes} classes, 1280 features: {time.perf_counter() - start:.0f} s"
    )


def _arrow(labels: NDArray[Any]) -> Any:
    import pyarrow as pa

    return pa.array(labels, pa.int32())


def _spread(values: Any) -> str:
    return f"{np.mean(values):.3f} ({min(values):.3f}, {max(values):.3f})"


if __name__ == "__main__":
    main()
