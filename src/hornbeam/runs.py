"""The run directory: everything about one training; every other command takes one.

config.yaml        the options, complete: `hornbeam train --config` repeats the run
dataset.json       where the pictures are, tasks and classes, counts, fingerprint
dataset.parquet    every picture with its split and labels
classes.txt        the class names, one a line
environment.json   versions, machine, device, command line
recipe.py          the user's own file, where there was one
checkpoints/       step-00001200/…, best → …, last → …; each can stand for the run itself
metrics.csv        one line per validation
tensorboard/       the same as curves
log.jsonl          what happened, with times
model.keras        the best weights, pixels to logits, float32
predictions.parquet   one row per picture of the splits that were judged
calibration.json   what makes probabilities honest, which answers are sure, what is unknown
unknown.npz        where the features of the known classes lie
scores.json        how good the answers are to the split judged last, for programs
explanations.npz   where the network looks, for the report
report.html        what the model is worth
evaluations/       the same of other pictures, by their names
labels/            labels that are probably wrong
watch-NAME.csv     what `hornbeam watch` made of the checkpoints
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import shutil
import time
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hornbeam import backend
from hornbeam.data.dataset import Dataset
from hornbeam.data.remote import is_remote
from hornbeam.data.shards.tfrecord import Shards
from hornbeam.data.tables.examples import ask_for_examples
from hornbeam.data.tasks import Task
from hornbeam.errors import ConfigError, ModelError, RunError, did_you_mean, listing
from hornbeam.recipe import Recipe
from hornbeam.storage import replacing, write_bytes, write_json, write_text

if TYPE_CHECKING:
    import keras

    from hornbeam.models.classifying import Classifier

_RUNS = Path("runs")
_MARK = "config.yaml"
"""The file by which a directory is known to be a run."""

_COMPLETE = "environment.json"
"""The file that is written when all others of the setup are."""

REPORT = "report.html"
"""The page about the model."""

_IN_CHECKPOINTS = (_MARK, "dataset.json", "recipe.py")
"""Files that each checkpoint has too, so that it needs nothing else."""


def _newest_runs() -> str:
    """Return a sentence that names the newest runs here, or nothing where there are none."""
    runs = [path for path in _RUNS.iterdir() if Run.is_run(path)] if _RUNS.is_dir() else []
    newest = sorted(runs, key=lambda path: path.stat().st_mtime, reverse=True)
    return f" Runs here: {listing(map(str, newest), 3)}." if newest else ""


@dataclasses.dataclass(frozen=True)
class Run:
    """A run directory."""

    path: Path

    @classmethod
    def open(cls, path: Path | str) -> Run:
        """Return an existing run.

        Raises:
            ConfigError: `path` is no run directory.
        """
        path = Path(path)
        if (path / _MARK).is_file():
            return cls(path)
        if path.exists():
            raise ConfigError(f"{path} is not a run directory: it has no {_MARK}.{_newest_runs()}")
        parent = path.parent
        near = [str(p) for p in parent.iterdir() if cls.is_run(p)] if parent.is_dir() else []
        hint = did_you_mean(str(path), near) or _newest_runs()
        raise ConfigError(f"The run {path} does not exist.{hint}")

    @staticmethod
    def is_run(path: Path) -> bool:
        """Whether `path` is a run directory."""
        return (path / _MARK).is_file()

    @classmethod
    def create(cls, path: Path | None, name: str, overwrite: bool) -> Run:
        """Make a run directory: `path`, else the first free of `runs/<name>-1`, `-2`, ….

        Raises:
            ConfigError: see `require_free`.
        """
        if path is not None:
            require_free(path, overwrite)
            _make_empty(path)
            return cls(path)
        return cls(reserve(name))

    @property
    def is_set_up(self) -> bool:
        """Whether all was recorded that a training begins with."""
        return (self.path / _COMPLETE).is_file()

    @property
    def has_checkpoints(self) -> bool:
        """Whether there is a checkpoint to go on from."""
        return any(self.checkpoints.glob("step-*"))

    def files_of_checkpoints(self) -> dict[str, bytes]:
        """Return what each checkpoint gets, so that it can stand for the run."""
        files = {name: self.path / name for name in _IN_CHECKPOINTS}
        return {name: path.read_bytes() for name, path in files.items() if path.is_file()}

    def write_config(self, config: dict[str, Any]) -> None:
        """Record the options."""
        import yaml

        write_text(self.path / _MARK, yaml.safe_dump(config, sort_keys=False, allow_unicode=True))

    def environment(self) -> dict[str, Any]:
        """Return versions, machine and device of the training's first session."""
        return self._read_json(_COMPLETE)

    @property
    def checkpoints(self) -> Path:
        """Directory of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def report(self) -> Path:
        """The HTML page."""
        return self.path / REPORT

    def write_setup(
        self, config: dict[str, Any], dataset: Dataset, environment: dict[str, Any],
        skipped: dict[str, str], recipe: Recipe,
    ) -> None:  # fmt: skip
        """Record what is trained, on what, and where."""
        # First, because only what is known as a run may be replaced by --overwrite.
        self.write_config(config)
        dataset.save(self.path / "dataset.parquet")
        summary = {
            "root": dataset.root if is_remote(dataset.root) else str(Path(dataset.root).absolute()),
            "fingerprint": dataset.fingerprint(),
            "examples": len(dataset),
            "features": dataset.features,
            "tasks": [dataclasses.asdict(task) for task in dataset.tasks],
            "counts": {task.name: dataset.counts(task) for task in dataset.tasks},
            "skipped": skipped,
        }
        write_json(self.path / "dataset.json", summary)
        for task in dataset.tasks:
            # One file, or one a task; names with line ends are whole in dataset.json.
            file = "classes.txt" if len(dataset.tasks) == 1 else f"classes-{task.name}.txt"
            write_text(self.path / file, "".join(f"{name}\n" for name in task.classes))
        if recipe.path:
            write_bytes(self.path / "recipe.py", recipe.path.read_bytes())
        write_json(self.path / _COMPLETE, environment)  # the last

    def config(self) -> dict[str, Any]:
        """Return the options of the training.

        Raises:
            RunError: the file is damaged.
        """
        import yaml

        try:
            text = (self.path / _MARK).read_text(encoding="utf-8")
            return _Facts(self.path / _MARK, yaml.safe_load(text))
        except (OSError, TypeError, ValueError, yaml.YAMLError) as error:
            raise RunError(f"{self.path / _MARK} cannot be read ({error}).") from None

    def image_size(self) -> tuple[int, int, int]:
        """Return (height, width, channels) of the pictures that the model takes."""
        height, width, channels = self.config()["image_size"]
        return height, width, channels

    def tasks(self) -> tuple[Task, ...]:
        """Return what the model was trained to tell."""
        return tuple(
            Task(task["name"], tuple(task["classes"]), task.get("multi_label", False))
            for task in self._summary()["tasks"]
        )

    def features(self) -> tuple[str, ...]:
        """Return the numbers that the model takes beside the picture, in its order."""
        return tuple(self._summary().get("features", ()))

    def dataset(self) -> Dataset:
        """Return the pictures of the training and of its held-out splits."""
        root = self._root()
        if isinstance(root, Path) and not root.is_dir():
            raise RunError(
                f"The pictures of {self.path} are no longer at {root}; name their folder after the run."
            )
        table = self.path / "dataset.parquet"
        if not table.is_file():  # this is a checkpoint
            table = self.path.resolve().parent.parent / "dataset.parquet"
        if not table.is_file():
            raise RunError(f"{self.path} has no list of pictures; name their folder after it.")
        dataset = Dataset.load(table, root, self.tasks())
        dataset = dataclasses.replace(dataset, max_pixels=self.config()["max_pixels"])
        if "example" in dataset.table.column_names:
            examples = self.recipe()
            if examples is None or examples.examples is None:
                raise RunError(f"{self.path / 'recipe.py'} has no examples(split) any more.")
            reader = ask_for_examples(examples.examples, self.config().get("data"))
            return dataclasses.replace(dataset, reader=reader)
        if "shard" in dataset.table.column_names:
            return dataclasses.replace(dataset, reader=Shards())
        return dataset

    def recipe(self) -> Recipe | None:
        """Return the user's own functions, where the training had some."""
        path = self.path / "recipe.py"
        return Recipe.load(path) if path.is_file() else None

    def save_model(self, model: keras.Model) -> None:
        """Write `model.keras`, which plain Keras loads: no state of the training, all trainable."""
        import keras

        # The same layers in a model that was not compiled, for it would save its optimiser.
        model = keras.Model(model.input, model.output, name=model.name)
        model.trainable = False  # first, as Keras passes over what a model is already
        model.trainable = True
        with replacing(self.path / "model.keras") as temporary:
            model.save(temporary)

    def load_model(self) -> keras.Model:
        """Load `model.keras`; Keras' backend must be chosen before.

        The recipe runs first, so whoever opens a run trusts who made it. The model's file is looked
        through all the same, and its layers must be Keras' own or the recipe's.

        Raises:
            RunError: the training has not finished, or the file is damaged or refused.
        """
        from hornbeam.models.untrusted.loading import load_model, load_parts

        path = self.path / "model.keras"
        layers = self.path / "model.json"
        if not path.is_file() and not layers.is_file():
            best = self.checkpoints / "best"
            there = f"; its best checkpoint so far is {best}" if best.exists() else ""
            raise RunError(f"{self.path} has no model.keras: its training did not finish{there}.")
        own = self.recipe() is not None  # which registers layers of its own
        try:
            if path.is_file():
                advice = "A recipe may define layers of its own, as classes."
                return load_model(path, patient=own, advice=advice)
            return load_parts(layers, self.path / "model.weights.h5", patient=own)
        except ModelError as error:
            raise RunError(str(error)) from None
        except Exception as error:  # Keras raises many kinds for a damaged file
            raise RunError(f"{path} cannot be loaded ({' '.join(str(error).split())}).") from None

    def classifier(self) -> Classifier:
        """Return the trained network with the names of what it takes and answers; imports Keras.

        Raises:
            RunError: as `load_model`.
        """
        from hornbeam.models.classifying import Classifier

        backend.select_backend("auto")
        return Classifier(self.load_model(), self.tasks(), self.features())

    @contextlib.contextmanager
    def logging_the_end(self) -> Iterator[None]:
        """Note in `log.jsonl` why a training stopped, where it did before its end."""
        try:
            yield
        except BaseException as error:
            if isinstance(error, OSError) and error.filename is None:
                error.filename = str(self.path)  # of a full disk
            reason = " ".join(str(error).split()) or type(error).__name__
            with contextlib.suppress(OSError):  # of the same, which was to be noted
                self.log("stopped", reason=reason)
            raise

    def log(self, event: str, **facts: Any) -> None:
        """Add a line to `log.jsonl`."""
        line = json.dumps({"time": round(time.time(), 3), "event": event, **facts})
        with (self.path / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def _summary(self) -> dict[str, Any]:
        return self._read_json("dataset.json")

    def fingerprint(self) -> str:
        """Return the fingerprint of the pictures that the training began with."""
        return str(self._summary()["fingerprint"])

    def table(self) -> Dataset:
        """Return the list of the pictures that the training began with, where they were then."""
        return Dataset.load(self.path / "dataset.parquet", self._root(), self.tasks())

    def _root(self) -> Path | str:
        """Return where the pictures were when the training began."""
        root = str(self._summary()["root"])
        return root if is_remote(root) else Path(root)

    def _read_json(self, name: str) -> dict[str, Any]:
        path = self.path / name
        try:
            return _Facts(path, json.loads(path.read_text(encoding="utf-8")))
        except (OSError, TypeError, ValueError) as error:
            raise RunError(f"{path} cannot be read ({error}).") from None


class _Facts(dict[str, Any]):
    """What a file of a run says; what it lacks is told by its name."""

    def __init__(self, path: Path, content: Any) -> None:
        super().__init__(content)
        self._path = path

    def __missing__(self, name: str) -> Any:
        raise RunError(f"{self._path} lacks '{name}': it is damaged, or of another version.")


def reserve(name: str) -> Path:
    """Make the first free directory of `runs/<name>-1`, `-2`, …, empty."""
    _RUNS.mkdir(exist_ok=True)
    number = 1
    while True:
        candidate = _RUNS / f"{name}-{number}"
        try:
            candidate.mkdir()
        except FileExistsError:
            number += 1
            continue
        return candidate


def _make_empty(path: Path) -> None:
    """Make a directory, or remove all that is in it: one that is mounted, or a link to one, stays."""
    path.mkdir(parents=True, exist_ok=True)
    # What makes it a run goes last: else --overwrite would refuse what somebody who was killed left.
    for each in sorted(path.iterdir(), key=lambda each: each.name == _MARK):
        if each.is_dir() and not each.is_symlink():
            shutil.rmtree(each)
        else:
            each.unlink()


def name_of(data: str | None) -> str:
    """Return what a run on these pictures is called: their folder, or the manifest."""
    if data is None:
        return "examples"
    path = Path(data if is_remote(data) else os.path.abspath(data))
    name = path.name if path.is_dir() else path.stem
    if any(sign in name for sign in "*?[") and not path.exists():  # a pattern of files
        name = path.parent.name
    # Letters with accents as one sign each: macOS gives two, of which the second is no \w.
    name = re.sub(r"[^\w. -]+", "_", unicodedata.normalize("NFC", name)).strip("_")
    return name or "pictures"


def require_free(path: Path, overwrite: bool) -> None:
    """Check, before any work, that a run can be made at `path`.

    Raises:
        ConfigError: something is there, and `overwrite` is off or it is not a run.
    """
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return
    if not (path / _MARK).is_file():
        raise ConfigError(f"--run {path}: there is something that is no run; choose another place.")
    if not overwrite:
        raise ConfigError(
            f"--run {path}: a run is there already; choose another place, or pass --overwrite to "
            "replace it."
        )
