"""`hornbeam predict`: what is in pictures."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from hornbeam import backend, console
from hornbeam.config import PredictOptions
from hornbeam.errors import ConfigError

if TYPE_CHECKING:
    from hornbeam.evaluation.predictions import Predictions


def predict(options: PredictOptions) -> Predictions | None:
    """Name what is in pictures, by a run or by a bundle; only a run's answers are returned."""
    from hornbeam.workflow.asking import is_bundle, predict_by_bundle

    if is_bundle(options.run):
        predict_by_bundle(options)
        return None
    if options.format or options.trust:
        name = "--format" if options.format else "--trust"
        raise ConfigError(f"{name} is for a bundle, and {options.run} is none.")
    return predict_by_run(options)


def predict_by_run(options: PredictOptions) -> Predictions:
    """Ask the model of a run, by Keras."""
    from hornbeam import telling
    from hornbeam.data import sources
    from hornbeam.data.inspection import verifying
    from hornbeam.evaluation.answers import answer_lines, write_answers
    from hornbeam.evaluation.trust.safeguards import Safeguards
    from hornbeam.recipe import Recipe
    from hornbeam.runs import Run
    from hornbeam.workflow.asking import require_other_out
    from hornbeam.workflow.judgement import Judge

    require_other_out(options)
    run = Run.open(options.run)
    dataset = sources.open_pictures(
        options.images, image_column=options.image_column, features=run.features(),
        allow_outside=options.allow_outside,
    )  # fmt: skip
    dataset = dataclasses.replace(dataset, max_pixels=options.max_pixels)
    backend.select_backend(options.backend)
    threads = options.threads or backend.cores()
    dataset, skipped = verifying.verify(dataset, options.on_bad or "error", threads)
    telling.tell_skipped(skipped)
    safeguards = Safeguards.load(run.path)
    model, recipe = run.load_model(), run.recipe() or Recipe.none()
    judge = Judge(run, model, recipe, options.batch_size, threads, options.tta)
    predictions = judge.ask(dataset, features=safeguards.needs_features, safeguards=safeguards)
    if options.out:
        write_answers(predictions, options.top, skipped, options.out, safeguards)
        console.say(f"{len(predictions)} answers are in {options.out}.")
    else:
        for line in answer_lines(predictions, options.top, safeguards):
            console.say(line)
    return predictions
