"""LiteRT files of integers: `litert-dynamic` and `litert-int8`."""

from __future__ import annotations

import dataclasses
import weakref
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from hornbeam import backend
from hornbeam.deployment.bundle.manifest import IMAGE, UNKNOWN
from hornbeam.deployment.conversion.ending import tell
from hornbeam.deployment.conversion.job import Converted, Job
from hornbeam.deployment.conversion.litert import converted, converter_for, written
from hornbeam.deployment.conversion.quantisation import pictures
from hornbeam.deployment.conversion.quantisation.choosing import (
    COLLAPSED,
    WANTED,
    Answers,
    Candidate,
    best,
    closeness,
    in_words,
    known,
    required,
)
from hornbeam.deployment.conversion.quantisation.cost import multiply_adds
from hornbeam.deployment.conversion.quantisation.flatbuffer import Graph, float_operators
from hornbeam.deployment.conversion.quantisation.layers import (
    Noise,
    added_noise,
    matching,
    only_behind,
    suffering,
)
from hornbeam.deployment.conversion.quantisation.litert_routes import (
    by_calibrator,
    by_converter,
    by_edge_quantizer,
    weights_alone,
    with_clipped_weights,
)
from hornbeam.deployment.conversion.quantisation.opening import must_survive
from hornbeam.deployment.conversion.quantisation.pixels import float_litert
from hornbeam.deployment.conversion.quantisation.ranges import (
    TRIMS,
    Extremes,
    Ranges,
    litert_extremes,
    with_room,
)
from hornbeam.deployment.conversion.quantisation.running import answers
from hornbeam.deployment.conversion.quantisation.side_features import first_operators, note_of
from hornbeam.errors import ConfigError, ModelError

if TYPE_CHECKING:
    import keras


CONVERTER, EDGE_QUANTIZER = "TensorFlow's converter", "ai-edge-quantizer"
CLIPPED = f"{CONVERTER} with the largest weights clipped"

UNKNOWN_TOLERANCE = 0.1
"""Standard deviations that the unknown score may be off, on average."""

FITTED_WIDE = 64
"""Pictures for int16, whose calibrator has slow kernels; ranges matter little there."""


def convert_dynamic(model: keras.Model, job: Job, path: Path) -> Converted:
    """Write a `.tflite` file of int8 weights.

    Either weights become floats again when the file is opened, or activations are quantised as they
    come, which has slow kernels for convolutions (MobileNetV2 at 96 px: 1.6 ms for 0.5).

    Raises:
        ModelError: LiteRT has no operator for something, or none of the ways worked.
    """
    plain = converted(converter_for(model, job), model)
    ways: dict[str, Callable[[], bytes]] = {
        "weights alone": partial(weights_alone, plain, clipped=False, depthwise=True),
        "weights alone, the largest clipped": partial(
            weights_alone, plain, clipped=True, depthwise=True
        ),
        "activations as they come": partial(_dynamic, model, job),
    }
    if any(operator.type == "DEPTHWISE_CONV_2D" for operator in Graph(plain).operators):
        ways["weights alone, depthwise ones in float"] = partial(
            weights_alone, plain, clipped=False, depthwise=False
        )
    if not (job.selection or job.calibration):
        return written(ways["activations as they come"](), "litert-dynamic", job, path)
    threads, outputs = backend.cores(), tuple(job.outputs)
    chosen_by = pictures.enough_of(pictures.selection(job), multiply_adds(model))
    expected = answers(plain, chosen_by, outputs, threads)
    candidates = [
        tried_as(way, make, chosen_by, expected, outputs, threads) for way, make in ways.items()
    ]
    kept = required(best(candidates), candidates)
    made = written(kept.content, "litert-dynamic", job, path)
    notes = (in_words(candidates, kept, len(chosen_by[IMAGE])),)
    return dataclasses.replace(made, notes=notes)


def _dynamic(model: keras.Model, job: Job) -> bytes:
    import tensorflow as tf

    converter = converter_for(model, job)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter._experimental_disable_per_channel_quantization_for_dense_layers = True
    return bytes(converter.convert())


def convert_int8(model: keras.Model, job: Job, path: Path) -> Converted:
    """Write a `.tflite` file that computes with integers, uint8 in and out.

    Options of the job: `int8_activations`, 16 for int16 between the layers (weights stay int8), and
    `float_layers`, a regular expression of layers that stay in float, or `auto`.

    Raises:
        ConfigError: there are no calibration pictures, or `float_layers` matches nothing.
        ModelError: none of the ways to integers worked.
    """
    begun = begin(model, job)
    asked = job.options.get("float_layers")
    if int(job.options.get("int8_activations") or 8) == 16:
        kept, notes = wide(begun, job)
    else:
        kept, notes = narrow(begun, asked)
    made = written(kept.content, "litert-int8", job, path)
    graph = Graph(kept.content)
    first = first_operators(graph)
    floats = sorted({o.type for o in float_operators(graph) if o not in first})
    if job.features:
        notes.append(note_of([o.type for o in first]))
    if floats:
        notes.append(f"Operators of these types are left in float: {', '.join(floats)}.")
    return dataclasses.replace(made, notes=tuple(notes))


def narrow(begun: Begun, float_layers: str | None = None) -> tuple[Candidate, list[str]]:
    """Return the best file of int8 activations, and what there is to say about it."""
    chosen = () if float_layers in (None, "auto") else named(begun, float_layers)
    candidates = tried(begun, chosen)
    kept = required(best(candidates), candidates)
    notes = [in_words(candidates, kept, begun.pictures)]
    trim = trim_of(kept)
    kept, alone, said = unknown_in_float(begun, kept, trim, chosen)
    notes += said
    if known(kept).agreement < WANTED or float_layers:
        noise = [n for n in begun.noise_of(kept) if n[0] not in (*alone, *chosen)]
        shares = [f"{kind} {share:.0%}" for kind, share in suffering(noise).items()][:4]
        notes.append(
            "Of the error that integers add, these types of operators have: "
            + ", ".join(shares)
            + "."
        )
        if float_layers == "auto" and known(kept).agreement < WANTED:
            kept, said = fewest_in_float(begun, kept, trim, alone, noise)
            notes += said
    if known(kept).agreement < COLLAPSED and float_layers is None:
        notes.append(
            f"Integers change {1 - known(kept).agreement:.1%} of the first answers of this network, "
            "even on training pictures: use --int8-activations 16, or --float-layers auto, or "
            "litert-f16."
        )
    return kept, notes


def unknown_in_float(
    begun: Begun, kept: Candidate, trim: float, also: tuple[str, ...]
) -> tuple[Candidate, tuple[str, ...], list[str]]:
    """Leave in float what computes the unknown score alone, if integers make it too coarse.

    TensorFlow's converter alone can, so the file of another way is made anew by it; it is not kept if
    other answers are worse for that.
    """
    score = known(kept).unknown
    if score is None or score <= UNKNOWN_TOLERANCE:
        return kept, (), []
    graph = Graph(begun.content)
    alone = only_behind(graph, graph.outputs[begun.outputs.index(UNKNOWN)])
    way = CONVERTER if kept.way.startswith(EDGE_QUANTIZER) else kept.way.rpartition(", ")[0]
    made = begun.candidate(
        f"{way} with the unknown score in float, {TRIMS[trim]}",
        lambda: by_converter(
            begun.source(kept.way), begun.ranges(trim), float_nodes=(*alone, *also)
        ),
    )
    now = made.closeness.unknown if made.closeness else None
    if (
        now is None
        or now > score / 2  # what comes before is too coarse, as well
        or known(made).agreement < known(kept).agreement
    ):
        return kept, (), [f"The unknown score is {score:.2f} of its standard deviation off."]
    return made, alone, [
        f"As integers the unknown score is {score:.2f} of its standard deviation off, so that its own "
        f"last {len(alone)} operators stay in float, with which it is {now:.2f} off: {made.way}, "
        f"{made.closeness}."
    ]  # fmt: skip


def fewest_in_float(
    begun: Begun, kept: Candidate, trim: float, alone: tuple[str, ...], noise: Sequence[Noise]
) -> tuple[Candidate, list[str]]:
    """Leave those operators in float that add most error, as few as reach what is wanted."""

    def with_worst(count: int) -> Candidate:
        nodes = (*alone, *(name for name, _, _ in noise[:count]))
        return begun.candidate(
            f"the worst {count} of {len(noise)} operators in float",
            lambda: by_converter(begun.source(kept.way), begun.ranges(trim), float_nodes=nodes),
        )

    low, high, found = 0, 1, kept
    while high < len(noise):
        found = with_worst(high)
        if found.closeness and found.closeness.agreement >= WANTED:
            break
        low, high = high, high * 2
    else:
        return kept, [
            f"Not even {low} of {len(noise)} operators in float reach {WANTED:.0%} equal first answers, "
            "so all stay integers; try --int8-activations 16."
        ]
    while high - low > 1:
        middle = (low + high) // 2
        tested = with_worst(middle)
        if tested.closeness and tested.closeness.agreement >= WANTED:
            high, found = middle, tested
        else:
            low = middle
    return found, [f"With {found.way}: {found.closeness}."]


def wide(begun: Begun, job: Job) -> tuple[Candidate, list[str]]:
    """Return a file of int16 activations and int8 weights, and what there is to say about it."""
    fitted_by = {n: v[:FITTED_WIDE] for n, v in pictures.calibration(job).items()}
    kept = begun.candidate(
        "int16 activations, int8 weights", lambda: by_calibrator(begun.content, fitted_by)
    )
    if kept.closeness is None:
        raise ModelError(f"{kept.way}: {kept.error}")
    notes = [
        f"With {kept.way}, the first answers equal to the float model's on {begun.pictures} training "
        f"pictures and the mean difference of probabilities are {kept.closeness}. LiteRT's kernels for "
        "int16 are much slower than those for int8."
    ]
    score = kept.closeness.unknown
    if score is not None and score > UNKNOWN_TOLERANCE:
        notes.append(
            f"The unknown score is {score:.2f} of its standard deviation off: do not rely on it here."
        )
    return kept, notes


def named(begun: Begun, pattern: str) -> tuple[str, ...]:
    """Return operators of the layers that a user wants in float."""
    found = matching(Graph(begun.content), pattern)
    if not found:
        raise ConfigError(
            f"--float-layers '{pattern}' matches no layer; `hornbeam inspect RUN` lists them."
        )
    return found


def trim_of(kept: Candidate) -> float:
    """Return which ranges a candidate was made with."""
    return next(trim for trim, which in TRIMS.items() if kept.way.endswith(which))


@dataclasses.dataclass(frozen=True)
class Begun:
    """What all ways to integers begin with.

    Attributes:
        content: float file, with float pixels.
        extremes: of its tensors, on the calibration pictures.
        chosen_by: pictures to compare ways on.
        expected: what the float file answers to them.
        outputs: names of its outputs.
        threads: that LiteRT may use.
        without_floats: what was tried, all of integers: two formats begin with it.
    """

    content: bytes
    extremes: Extremes
    chosen_by: pictures.Inputs
    expected: Answers
    outputs: tuple[str, ...]
    threads: int
    without_floats: list[Candidate] = dataclasses.field(default_factory=list)

    @property
    def pictures(self) -> int:
        """How many ways are compared on."""
        return len(self.chosen_by[IMAGE])

    def ranges(self, trim: float) -> Ranges:
        """Return ranges; that of pixels is a byte's, so that uint8 in is the picture itself."""
        found = self.extremes.ranges(trim) | {IMAGE: (0.0, 255.0)}
        return with_room(found, Graph(self.content))

    def source(self, way: str) -> bytes:
        """Return the float file that a way begins with."""
        return with_clipped_weights(self.content) if way.startswith(CLIPPED) else self.content

    def noise_of(self, kept: Candidate) -> list[Noise]:
        """Return how much error each operator of a candidate adds."""
        tell(f"comparing the layers of this way to integers: {kept.way}")
        return added_noise(self.content, kept.content, self.chosen_by, self.threads)

    def candidate(self, way: str, make: Callable[[], bytes]) -> Candidate:
        """Try a way, and compare its answers."""
        return tried_as(way, make, self.chosen_by, self.expected, self.outputs, self.threads)


def tried_as(
    way: str, make: Callable[[], bytes], inputs: pictures.Inputs, expected: Answers,
    outputs: Sequence[str], threads: int,
) -> Candidate:  # fmt: skip
    """Return a candidate: what a way makes, and how near its answers are to those expected.

    A file that ends the process which opens it is a way that failed, and costs no other.
    """
    try:
        tell(f"making this way to integers: {way}")
        content = make()
        tell(f"LiteRT answered by this way to integers: {way}")
        must_survive(content, threads)
        found = answers(content, inputs, tuple(outputs), threads)
    except Exception as error:
        sentence = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        return Candidate(way, b"", None, sentence)
    return Candidate(way, content, closeness(expected, found))


_BEGUN: weakref.WeakKeyDictionary[keras.Model, Begun] = weakref.WeakKeyDictionary()


def begin(model: keras.Model, job: Job) -> Begun:
    """Return what all ways begin with, computed once for all formats of a model."""
    if model not in _BEGUN:
        threads, outputs = backend.cores(), tuple(job.outputs)
        content = float_litert(model, job)
        chosen_by = pictures.enough_of(pictures.selection(job), multiply_adds(model))
        _BEGUN[model] = Begun(
            content, litert_extremes(content, pictures.calibration(job), threads), chosen_by,
            answers(content, chosen_by, outputs, threads), outputs, threads,
        )  # fmt: skip
    return _BEGUN[model]


def tried(begun: Begun, float_nodes: Sequence[str]) -> list[Candidate]:
    """Return candidates of the converter with several ranges, and of the other with the best."""
    nodes = tuple(float_nodes)
    if not nodes and begun.without_floats:
        return begun.without_floats
    found: list[Candidate] = begun.without_floats if not nodes else []
    by_way: dict[str, Ranges] = {}
    for trim, which in TRIMS.items():
        ranges = begun.ranges(trim)
        way = f"{CONVERTER}, {which}"
        by_way[way] = ranges
        found.append(
            begun.candidate(way, partial(by_converter, begun.content, ranges, float_nodes=nodes))
        )
    first = best(found)
    which = first.way.split(", ")[-1] if first else TRIMS[0.0]
    ranges = by_way[first.way] if first else begun.ranges(0.0)
    for way, make in (
        (CLIPPED, lambda: by_converter(begun.source(CLIPPED), ranges, float_nodes=nodes)),
        (EDGE_QUANTIZER, lambda: by_edge_quantizer(begun.content, ranges)),
    ):
        if not nodes or way == CLIPPED:
            found.append(begun.candidate(f"{way}, {which}", make))
    return found
