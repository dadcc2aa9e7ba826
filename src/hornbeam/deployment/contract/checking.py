"""One artifact is looked at, asked, compared and timed: the contract of an export."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from hornbeam.config import TOLERANCES
from hornbeam.deployment.bundle.manifest import Artifact, Manifest
from hornbeam.deployment.contract.agreement import Answers, HeldOut, compare
from hornbeam.deployment.contract.asking import answers_of, milliseconds, not_finite
from hornbeam.deployment.contract.pictures import Prepared
from hornbeam.deployment.contract.structure import COMPILED, faults
from hornbeam.deployment.contract.verdict import advice, failures, suffering
from hornbeam.deployment.conversion.job import Converted
from hornbeam.deployment.runtimes.runtime import Runtime, open_runtime
from hornbeam.errors import BundleError


@dataclasses.dataclass(frozen=True)
class Checked:
    """What the contract found.

    Attributes:
        contract: for `bundle.json`: `passed`, `failures` (sentences), `pictures`, `outputs` (see
            `agreement.compare`), `milliseconds` of one picture on `threads`, and the `tolerance`. Where
            there is no such device, `passed` is `None` and `not_asked` says what the numbers are of.
        golden: what the artifact says of the golden pictures; `None` where it was not asked.
        sentence: what is wrong, by how much, and what to do; `None` where all is well.
    """

    contract: dict[str, Any]
    golden: Answers | None = None
    sentence: str | None = None


def check(
    directory: Path, artifact: Artifact, manifest: Manifest, held_out: HeldOut, pictures: Prepared,
    golden: Prepared, threads: int,
) -> Checked:  # fmt: skip
    """Return whether an artifact answers as the trained model did.

    Args:
        directory: that its files are in.
        artifact: what the converter said of it.
        manifest: of the bundle to be.
        held_out: what the model said of the pictures, and their labels.
        pictures: the same.
        golden: the golden pictures.
        threads: that the runtime may use.
    """
    wrong = faults(directory, artifact, manifest)
    contract: dict[str, Any] = {
        "passed": False, "failures": wrong, "pictures": len(pictures.images),
        "tolerance": TOLERANCES[artifact.format]._asdict(), "threads": threads, "outputs": {},
    }  # fmt: skip
    if wrong:
        return Checked(contract, sentence=f"{'; '.join(wrong)}.")
    try:
        runtime, not_asked = _opened(directory, artifact, threads)
    except BundleError as error:
        contract["failures"] = [str(error)]
        return Checked(contract, sentence=str(error))
    try:
        found = answers_of(runtime, pictures.images, pictures.features)
        said = answers_of(runtime, golden.images, golden.features)
        took = milliseconds(runtime, pictures.images, pictures.features)
    except Exception as error:  # each library has its own kinds
        words = " ".join(str(error).split())[:300]
        contract["failures"] = [f"it cannot be asked ({type(error).__name__}: {words})"]
        return Checked(contract, sentence=f"{contract['failures'][0]}.")
    finally:
        runtime.close()
    if not_asked:
        contract["not_asked"] = not_asked
    else:
        contract["milliseconds"] = round(took, 4)
    bad, count = not_finite(found), len(pictures.images)
    if not bad:  # golden pictures are decoded from their files, which is not quite the same
        bad, count = not_finite(said), len(golden.images)
    if bad:
        contract["failures"] = [f"answers to {bad} of {count} are no finite numbers"]
        return Checked(contract, sentence=f"{contract['failures'][0]}. {advice(artifact.format)}")
    compared = compare(held_out, found, manifest)
    beyond = failures(compared, TOLERANCES[artifact.format])
    contract |= {"outputs": compared, "failures": beyond, "passed": not beyond}
    if not beyond:
        if not_asked:
            contract["passed"] = None
        return Checked(contract, None if not_asked else said)
    parts = [f"{'; '.join(beyond)}.", suffering(compared), *artifact.notes, advice(artifact.format)]
    return Checked(contract, said, " ".join(filter(None, parts)))


def check_uncompiled(
    directory: Path, made: Converted, manifest: Manifest, held_out: HeldOut, pictures: Prepared,
    golden: Prepared, threads: int,
) -> Checked:  # fmt: skip
    """Return the same about the file that is still to be compiled for the Edge TPU: asked on the CPU."""
    from hornbeam.deployment.conversion.quantisation.edgetpu import TO_COMPILE

    artifact = Artifact("edgetpu", TO_COMPILE, 0, "", made.inputs, made.outputs, notes=made.notes)
    return check(directory, artifact, manifest, held_out, pictures, golden, threads)


def in_words(checked: Checked) -> str:
    """Return how near the answers of what was asked are to the model's, as a sentence."""
    tasks = {n: each for n, each in checked.contract["outputs"].items() if "accuracy" in each}
    told = [
        f"{100 * each['first_answer_equal']:.1f} % of the first answers are the model's, and no "
        f"probability differs by more than {each['largest_difference']:.2g}"
        + (f" ({name})" if len(tasks) > 1 else "")
        for name, each in tasks.items()
    ]
    return f"Of {checked.contract['pictures']} held-out pictures, {'; '.join(told)}."


def _opened(directory: Path, artifact: Artifact, threads: int) -> tuple[Runtime, str | None]:
    """Open an artifact that was made here.

    One for the Edge TPU is not compiled yet, or needs a device: where there is none, the integers that
    are compiled are asked on the CPU.

    Returns:
        It, and why it is no artifact on its device, as a sentence; `None` where it is.
    """
    if artifact.format != "edgetpu":
        return open_runtime(directory, artifact, threads, trust=True), None
    from hornbeam.deployment.conversion.quantisation.edgetpu import TO_COMPILE

    file = artifact.file
    if COMPILED in (directory / file).read_bytes():
        try:
            return open_runtime(directory, artifact, threads, trust=True), None
        except BundleError:
            file = TO_COMPILE
    integers = dataclasses.replace(artifact, format="litert-int8", file=file)
    return open_runtime(directory, integers, threads, trust=True), (
        "there is no Edge TPU here, or not its runtime library; what was compared are the answers of "
        f"{file}, the same integers, on the CPU."
    )
