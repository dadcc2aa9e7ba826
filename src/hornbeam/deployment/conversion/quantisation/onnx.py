"""`onnx-int8`: an `.onnx` file of integers, for ONNX Runtime on CPUs."""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from hornbeam import backend
from hornbeam.deployment.bundle.manifest import IMAGE
from hornbeam.deployment.conversion.ending import tell
from hornbeam.deployment.conversion.job import Converted, Job
from hornbeam.deployment.conversion.onnx import write_onnx
from hornbeam.deployment.conversion.quantisation import pictures
from hornbeam.deployment.conversion.quantisation.choosing import (
    COLLAPSED,
    Candidate,
    best,
    closeness,
    in_words,
    known,
    required,
)
from hornbeam.deployment.conversion.quantisation.cost import multiply_adds
from hornbeam.deployment.conversion.quantisation.onnx_routes import (
    by_onnxruntime,
    onnx_answers,
    onnx_extremes,
    onnx_first_nodes,
    prepared,
)
from hornbeam.deployment.conversion.quantisation.ranges import TRIMS
from hornbeam.deployment.conversion.quantisation.side_features import note_of

if TYPE_CHECKING:
    import keras


def convert_int8(model: keras.Model, job: Job, path: Path) -> Converted:
    """Write an `.onnx` file of QDQ form, whose activations are uint8 and weights int8.

    Raises:
        ConfigError: there are no calibration pictures.
        ModelError: none of the ways to integers worked.
    """
    threads, bits = backend.cores(), int(job.options.get("int8_activations") or 8)
    fitted_by, chosen_by = pictures.calibration(job), pictures.selection(job)
    with tempfile.TemporaryDirectory() as folder:
        plain, ready = Path(folder, "float.onnx"), Path(folder, "prepared.onnx")
        made = write_onnx(model, job, plain, "onnx-int8")
        outputs = {name: tensor.name for name, tensor in made.outputs.items()}
        prepared(plain, ready)
        in_float = onnx_first_nodes(ready) if job.features else ()
        extremes = onnx_extremes(ready, fitted_by, threads)
        chosen_by = pictures.enough_of(chosen_by, multiply_adds(model))
        expected = onnx_answers(ready, chosen_by, outputs, threads)
        candidates, files, trims = [], {}, {}

        def attempt(trim: float, weights: int = 8) -> None:
            out, way = Path(folder, f"{trim}-{weights}.onnx"), f"ONNX Runtime's QDQ, {TRIMS[trim]}"
            if weights < 8:
                way += f", weights of {weights} bits"
            files[way], trims[way] = out, trim
            tell(f"trying this way to integers: {way}")
            try:
                by_onnxruntime(
                    ready, out, extremes.ranges(trim), activations=bits, weights=weights,
                    float_nodes=[name for name, _ in in_float],
                )  # fmt: skip
                found = onnx_answers(out, chosen_by, outputs, threads)
            except Exception as error:
                sentence = " ".join(f"{type(error).__name__}: {error}".split())[:200]
                candidates.append(Candidate(way, b"", None, sentence))
            else:
                candidates.append(Candidate(way, b"", closeness(expected, found)))

        for trim in TRIMS:
            attempt(trim)
        kept = required(best(candidates), candidates)
        if bits == 8:
            attempt(trims[kept.way], weights=7)
            kept = required(best(candidates), candidates)
        shutil.copyfile(files[kept.way], path)
    notes = [in_words(candidates, kept, len(chosen_by[IMAGE]))]
    if job.features:
        notes.append(note_of([kind for _, kind in in_float]))
    if bits == 16:
        notes.append(
            "Activations are uint16, for which ONNX Runtime has no kernels: it computes in float."
        )
    elif known(kept).agreement < COLLAPSED:
        notes.append(
            f"Integers change {1 - known(kept).agreement:.1%} of the first answers of this network, "
            "even on training pictures: use --int8-activations 16, or onnx."
        )
    return dataclasses.replace(made, file=path.name, notes=tuple(notes))
