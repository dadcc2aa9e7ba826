"""The commands about models themselves: listed, looked into."""

from __future__ import annotations

from hornbeam import backend, console
from hornbeam.config import (
    InspectOptions,
    ModelsOptions,
    TrainOptions,
)
from hornbeam.models.zoo import ZOO, find_architecture
from hornbeam.runs import Run


def inspect(options: InspectOptions) -> None:
    """List the variables of a run or of a file of weights, and say how they would be restored."""
    if options.file is None:
        from hornbeam.models.restoring.inspection import tell_rules

        tell_rules()
        return
    architecture = find_architecture(options.model) if options.model else None
    backend.select_backend(options.backend)
    from hornbeam.models.restoring import inspection, readers

    if Run.is_run(options.file):
        run = Run.open(options.file)
        if architecture is None:
            from hornbeam.models import freezing

            model = run.load_model()  # in which nothing is frozen, whatever was in training
            kept = {k: v for k, v in run.config().items() if k in TrainOptions.model_fields}
            freezing.choose_trained(model, TrainOptions(**kept))
            inspection.tell_model(model, options.match)
            return
        options = options.model_copy(update={"file": run.path / "model.keras"})
    assert options.file is not None
    file = readers.read_weight_file(options.file, "inspect")
    if architecture is None:
        inspection.tell_file(file, options.match)
        return
    inspection.tell_mapping(file, architecture, options.restore_map, options.match)


def list_models(_: ModelsOptions) -> None:
    """List the networks of the zoo."""
    rows = [
        [a.name, f"{a.parameters:,}", str(a.size), "imagenet" if a.has_imagenet_weights else "–"]
        for a in ZOO.values()
    ]
    console.table(["model", "parameters", "size", "weights"], rows)
    console.say("Parameters are without the head; size is --image-size's default, in pixels.")
