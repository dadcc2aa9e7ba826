"""A trained model is asked about pictures with labels, and what comes of it is noted and told."""

from __future__ import annotations

import dataclasses
import datetime
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hornbeam import backend, console, telling
from hornbeam.config import TrustOptions
from hornbeam.data.dataset import TEST, TRAIN, VALIDATION, Dataset
from hornbeam.errors import ConfigError, HornbeamError, RunError
from hornbeam.recipe import Recipe
from hornbeam.runs import REPORT, Run
from hornbeam.workflow.reporting import EXPLANATIONS, PREDICTIONS, SCORES, content_of, told_by

if TYPE_CHECKING:
    import keras

    from hornbeam.evaluation.predictions import Predictions
    from hornbeam.evaluation.scoring.scores import Scores
    from hornbeam.evaluation.trust.safeguards import Safeguards


@dataclasses.dataclass(frozen=True)
class Judge:
    """A trained model, and how it is asked.

    Attributes:
        run: whose model it is.
        model: pixels to logits.
        recipe: the run's.
        batch_size: pictures per forward pass.
        threads: pictures decoded at a time.
        views: of each picture, see `predictions.predict`.
    """

    run: Run
    model: keras.Model
    recipe: Recipe
    batch_size: int
    threads: int
    views: int = 1

    def ask(
        self, dataset: Dataset, *, features: bool = False, safeguards: Safeguards | None = None
    ) -> Predictions:
        """Return what the model says of pictures, calibrated by the safeguards if there are some."""
        from hornbeam.evaluation.predictions import predict

        return predict(
            self.model, dataset, self.run.tasks(),
            image_size=self.run.image_size(), batch_size=self.batch_size, threads=self.threads,
            views=self.views, features=features,
            scalings=safeguards.scalings if safeguards else None,
            **pipeline_of(self.run, self.recipe),
        )  # fmt: skip

    def safeguard(self, options: TrustOptions) -> Safeguards:
        """Return what keeps the answers honest: what the run has, or fitted anew if that is asked for.

        A run without any, of an earlier version, gets them here, if its pictures are still there; one
        without validation pictures has none.

        Raises:
            ConfigError: an option asks for what the run has no validation pictures for.
        """
        from hornbeam.evaluation.trust.safeguards import FILE, Safeguards

        if self.views > 1:  # what is fitted is for pictures that are asked about once
            return dataclasses.replace(self, views=1).safeguard(options)
        asked = options.calibration or options.abstain_precision or options.abstain_coverage
        there = (self.run.path / FILE).is_file()
        if there and not asked:
            return Safeguards.load(self.run.path)
        try:
            return self._fitted_anew(options, bool(asked), there)
        except (HornbeamError, OSError) as error:
            if asked:
                raise
            console.warn(f"Nothing calibrates the answers: {error}")
            return Safeguards()

    def _fitted_anew(self, options: TrustOptions, asked: bool, there: bool) -> Safeguards:
        from hornbeam.evaluation.predictions import Predictions
        from hornbeam.evaluation.trust.safeguards import Safeguards

        held_out = self.run.dataset()
        if VALIDATION not in held_out.splits or not self.run.config().get("validation", True):
            if asked:
                raise ConfigError(
                    f"{self.run.path} has no validation pictures, on which --calibration and "
                    "--abstain-… are fitted; train with some."
                )
            return Safeguards()
        earlier = _readable(self.run.path) if there else Safeguards()
        fitted = self.fit(self._validation(held_out, earlier), options, earlier)
        path = self.run.path / PREDICTIONS
        if path.is_file():  # what it has of any split is to be calibrated in the same way
            tasks = self.run.tasks()
            for split in Predictions.views_of(path):
                kept = Predictions.load(path, held_out, tasks, fitted.scalings, split)
                kept.add_to(path)
        return fitted

    def fit(
        self, validation: Predictions, options: TrustOptions, earlier: Safeguards,
        learnt: Dataset | None = None,
    ) -> Safeguards:  # fmt: skip
        """Fit what keeps the answers honest on validation pictures, and keep it in the run.

        Args:
            validation: with features, unless the earlier have a score of what is unknown.
            options: what is wanted; what they leave open stays as it was.
            earlier: the run's so far.
            learnt: the training pictures, if they are not those that the run lists.
        """
        from hornbeam.evaluation.trust.safeguards import fit_safeguards
        from hornbeam.evaluation.trust.unknown import rows_to_know

        training = None
        if earlier.unknown is None and validation.features is not None:
            pictures = learnt or self.run.dataset().only(TRAIN)
            rows = rows_to_know(pictures, self.run.tasks())
            training = self.ask(pictures.take(rows), features=True) if len(rows) else None
        wanted: dict[str, float | None] = {t.wanted: t.level for t in earlier.thresholds.values()}
        if options.abstain_precision or options.abstain_coverage:
            wanted = {"precision": options.abstain_precision, "coverage": options.abstain_coverage}
        before = earlier.calibration if earlier.scalings else "auto"
        config = self.run.config()
        fitted = fit_safeguards(
            validation, calibration=options.calibration or before,
            precision=wanted.get("precision"), coverage=wanted.get("coverage"),
            training=training, unknown=earlier.unknown,
            # What the network was trained on, all of these classes, it knows better than new ones.
            learned=config.get("freeze") != "backbone" or bool(config.get("finetune")),
        )  # fmt: skip
        fitted.save(self.run.path)
        return fitted

    def judge(
        self, dataset: Dataset, safeguards: Safeguards | None = None, *,
        groups: dict[str, Any] | None = None, place: Path | None = None, data: str | None = None,
        learnt: Dataset | None = None,
    ) -> list[Scores]:  # fmt: skip
        """Ask the model about pictures with labels; note and tell what came of it.

        Args:
            dataset: the pictures.
            safeguards: the run's; `None` after a training: they are fitted on these pictures, and
                what an earlier model said of others is of no worth.
            groups: of classes, see `hornbeam.groups`; else those of the training.
            place: directory for the results; else the run's own.
            data: where the pictures are, if they are not the run's.
            learnt: after a training, the pictures of it.
        """
        from hornbeam.evaluation.explanations import explain
        from hornbeam.evaluation.report import write_report
        from hornbeam.evaluation.scores_file import write_scores
        from hornbeam.evaluation.scoring.grouped import groupings_for
        from hornbeam.evaluation.scoring.scores import score_all
        from hornbeam.evaluation.trust.measuring import measure_trust
        from hornbeam.evaluation.trust.safeguards import Safeguards

        run, config, after_training = self.run, self.run.config(), safeguards is None
        place = place or run.path
        place.mkdir(parents=True, exist_ok=True)
        groups = groups or config.get("groups")
        groupings = groupings_for(run.tasks(), groups)
        known = 0 if after_training else _count_learnt(run, dataset)
        if known:
            console.warn(
                f"The model was trained on {known} of these {len(dataset)} pictures; of new ones it is "
                "worse than what follows says."
            )
        start = time.perf_counter()
        predictions = self.ask(
            dataset, features=safeguards is None or safeguards.needs_features, safeguards=safeguards
        )
        seconds = time.perf_counter() - start
        if safeguards is None:
            safeguards = self.fit(predictions, TrustOptions(), Safeguards(), learnt)
            predictions = dataclasses.replace(predictions, scalings=safeguards.scalings)
        own = place.resolve() == run.path.resolve()
        if own:
            run.log(
                "evaluation", splits=list(dataset.splits), pictures=len(dataset), views=self.views,
                seconds=round(seconds, 3), peak_memory=backend.peak_memory(),
            )  # fmt: skip
        keep = own and not after_training
        (predictions.add_to if keep else predictions.save)(place / PREDICTIONS)
        scores = score_all(predictions, config.get("metrics") or (), groupings)
        fitted_here = data is None and VALIDATION in dataset.splits
        trust = measure_trust(predictions, safeguards, fitted_here=fitted_here)
        about = {
            "data": data, "time": _now(), "groups": groups, "pictures_trained_on": known,
        }  # fmt: skip
        write_scores(place / SCORES, predictions, scores, trust, about)
        explanations = explain(
            self.model, predictions, image_size=run.image_size(), batch_size=self.batch_size,
            **pipeline_of(run, self.recipe),
        )  # fmt: skip
        explanations.save(place / EXPLANATIONS)
        content = content_of(
            run, predictions, scores, place=place, explanations=explanations, trust=trust
        )
        write_report(place / REPORT, content)
        telling.tell_scores(scores)
        telling.tell_trust(trust)
        return scores

    def _validation(self, held_out: Dataset, earlier: Safeguards) -> Predictions:
        """Return what the model says of the run's validation pictures: as is known, if that will do."""
        from hornbeam.evaluation.predictions import Predictions

        pictures, path = held_out.only(VALIDATION), self.run.path / PREDICTIONS
        if earlier.unknown is not None:
            try:
                known = Predictions.load(path, held_out, self.run.tasks(), split=VALIDATION)
            except RunError:
                known = None  # of another version, or gone
            if known is not None and known.views == 1 and len(known) == len(pictures):
                return known
        return self.ask(pictures, features=earlier.unknown is None)


def pipeline_of(run: Run, recipe: Recipe) -> dict[str, Any]:
    """Return how the run's model is used to seeing pictures."""
    resize_mode = run.config().get("resize_mode", "crop")
    return {"resize_mode": resize_mode, "preprocess": recipe.preprocess}


def choose_split(dataset: Dataset, split: str) -> Dataset:
    """Return the pictures of one split; `auto` prefers test, then validation, then all."""
    if split != "auto":
        return dataset.only(split)
    for preferred in (TEST, VALIDATION):
        if preferred in dataset.splits:
            return dataset.only(preferred)
    return dataset


def judged_there(place: Path) -> str | None:
    """Return which pictures the results in a directory are of; `None` where there are none."""
    data = told_by(place / SCORES).get("data")
    return None if data is None else str(data)


def _count_learnt(run: Run, dataset: Dataset) -> int:
    """Return how many pictures the run was trained on, by their content where that is known."""
    try:
        trained = run.table()
    except HornbeamError:  # a checkpoint alone
        return 0
    trained = trained.take(trained.where(TRAIN))
    if "digest" not in dataset.table.column_names or "digest" not in trained.table.column_names:
        return len(dataset.where(TRAIN)) if str(dataset.root) == str(trained.root) else 0
    known = set(trained.table["digest"].to_pylist())
    return sum(digest in known for digest in dataset.table["digest"].to_pylist())


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _readable(directory: Path) -> Safeguards:
    """Return the run's safeguards; none where their file is damaged, as new ones are fitted."""
    from hornbeam.evaluation.trust.safeguards import Safeguards

    try:
        return Safeguards.load(directory)
    except RunError:
        return Safeguards()
