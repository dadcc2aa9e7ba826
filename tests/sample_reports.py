"""Reports for tests: of hostile names, of many classes."""

import numpy as np
from PIL import Image

from hornbeam.data.dataset import Dataset
from hornbeam.data.sources import open_dataset
from hornbeam.data.tasks import Task
from hornbeam.evaluation.explanations import Explanations
from hornbeam.evaluation.labels.labels_file import Suspect
from hornbeam.evaluation.predictions import Predictions
from hornbeam.evaluation.report import ReportContent
from hornbeam.evaluation.scoring.scores import score
from hornbeam.evaluation.trust.measuring import measure_trust
from hornbeam.evaluation.trust.safeguards import Safeguards

HOSTILE = (
    "<script>alert(1)<",  # a folder's name cannot have a slash
    "\"onerror='alert(2)' &amp;",
    "right\u202eto left\u2066",
    "two\nlines\r\tand <!--",
    "x" * 200 + "<img src=x onerror=alert(3)>",
)
"""Names that are dangerous, misleading or ugly; all of them can be folders."""

NAMELESS = "no\udcffutf8 <b>"
"""What Python makes of a file whose name is no UTF-8."""


def hostile_content(root, per_class=4):
    """Return the content of a report whose classes, files and options are all called something bad."""
    rng = np.random.default_rng(0)
    for name in HOSTILE:
        (root / name).mkdir(parents=True)
        for index in range(per_class):
            pixels = rng.integers(0, 256, (20, 30, 3), np.uint8)
            Image.fromarray(pixels).save(root / name / f"<b onclick='alert(4)'>{index}\u202e.png")
    dataset = open_dataset(root)
    dataset = dataset.with_column("split", ["validation"] * len(dataset))
    task = dataset.tasks[0]
    labels = dataset.labels(task)
    logits = rng.normal(0, 1, (len(dataset), len(HOSTILE))).astype(np.float32)
    logits[np.arange(len(dataset)), (labels + 1) % len(HOSTILE)] += 5  # all wrong
    predictions = Predictions(dataset, (task,), {task.name: logits})
    path = dataset.paths[0]
    return ReportContent(
        "run <1></title>", predictions, [score(predictions, task)],
        config={"model": "<i>net</i>", "seed": 0, "note": "</pre><script>alert(5)</script>"},
        command=("/bin/hornbeam", "train", "<u>x</u>; rm"),
        environment={"device": "<s>cpu", "cores": 2, "versions": {"<s>": "1"}, "python": "3"},
        curves=[
            {"step": "5", "loss": "nan", "accuracy": "0.1", "val_loss": "2", "val_accuracy": "0.2"},
            {"step": "10", "loss": "1", "accuracy": "0.5", "val_loss": "1.5", "val_accuracy": "0.4"},
        ],
        events=[{"time": 1.0, "event": "start"}, {"time": 61.0, "event": "end"}],
        counts={task.name: {"train": dict.fromkeys(HOSTILE, 9), "<b>": dict.fromkeys(HOSTILE, 1)}},
        skipped={"<b>.jpg": "<b>"},
        trust=measure_trust(predictions, Safeguards(), fitted_here=False),
        suspects=[Suspect(path, "<b>", task.name, HOSTILE[0], HOSTILE[1], 0.01, 0.9, 0.95)],
        explanations=Explanations(
            (path, NAMELESS), (task.name,) * 2, HOSTILE[:2],
            ("is <b>", "was <b>"), np.eye(4, dtype=np.float16)[None].repeat(2, 0),
            np.full((2, 32, 32, 3), 90, np.uint8),
        ),
        pictures=dataset,
    )  # fmt: skip


def many_classes(pictures, classes, wrong=0.3, root="nowhere"):
    """Return predictions of which some are wrong: of near classes mostly, as real ones are."""
    rng = np.random.default_rng(0)
    task = Task("label", tuple(f"class {i:04d} of {classes}" for i in range(classes)))
    labels = rng.integers(0, classes, pictures).astype(np.int32)
    answers = labels.copy()
    astray = rng.random(pictures) < wrong
    answers[astray] = (labels[astray] + rng.geometric(0.2, astray.sum())) % classes
    logits = rng.standard_normal((pictures, classes), np.float32)
    logits[np.arange(pictures), answers] += rng.uniform(2, 12, pictures).astype(np.float32)
    paths = [f"validation/class{label:04d}/picture-{i:06d}.jpg" for i, label in enumerate(labels)]
    dataset = Dataset.from_columns(root, paths, ["validation"] * pictures, {task: labels})
    return Predictions(dataset, (task,), {task.name: logits}), task
