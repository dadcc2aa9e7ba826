"""`hornbeam predict BUNDLE`: the answers of what was exported, of any number of pictures.

Needs pydantic and rich beside what the bundle needs; pyarrow only for a manifest or a `.parquet` file,
PyYAML only for `--config`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
import signal
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from hornbeam import backend, console
from hornbeam.config import PredictOptions
from hornbeam.data.pixels.images import EXTENSIONS
from hornbeam.data.remote import is_remote
from hornbeam.data.walking import walk_pictures
from hornbeam.deployment.bundle.manifest import MANIFEST
from hornbeam.deployment.predicting.answer_files import (
    answer_file,
    columns_of,
    lines_of,
    row_of,
    unfinished,
)
from hornbeam.deployment.predicting.answers import Answer
from hornbeam.deployment.predicting.predictor import Predictor
from hornbeam.deployment.predicting.preparation import is_one
from hornbeam.errors import ConfigError, DataError, InterruptionError
from hornbeam.handlers import Handler, handling

_OFTEN = 30.0
"""Seconds between lines where no terminal shows progress."""

_ONLY_RUNS = {"tta": "asks about several views of a picture", "backend": "chooses Keras' engine"}


def is_bundle(path: Path | str) -> bool:
    """Whether this is a bundle and no run: a folder with `bundle.json`, or a `.zip`."""
    path = Path(path)
    return path.suffix.lower() == ".zip" or (path / MANIFEST).is_file()


def require_other_out(options: PredictOptions) -> None:
    """Refuse to write answers over what is asked about.

    Raises:
        ConfigError: `--out`, or the file that it grows in, is one of the inputs.
    """
    if options.out is None:
        return
    for path in (options.out, unfinished(options.out)):
        for each in map(str, options.images):
            with contextlib.suppress(OSError, ValueError):  # not there, or no path
                if not is_remote(each) and path.samefile(each):
                    raise ConfigError(
                        f"--out {options.out} would be written over {each}, which is asked about; "
                        "choose another name."
                    )


def predict_by_bundle(options: PredictOptions) -> None:
    """Ask a bundle about pictures; write the answers as they come.

    Raises:
        DataError: no picture could be read; or one, with `--on-bad error`.
        InterruptionError: Ctrl-C or SIGTERM; what was written stays.
    """
    require_other_out(options)
    for name, what in _ONLY_RUNS.items():
        if getattr(options, name) != PredictOptions.model_fields[name].default:
            raise ConfigError(
                f"--{name} {what}, which only a run can do; {options.run} is a bundle."
            )
    with _open(options) as predictor, _heard() as stop:
        pictures, numbers, names = _pictures(options, predictor)
        answers = _Counted(predictor.stream(pictures, numbers), options.on_bad, names, stop)
        try:
            if options.out:
                _write(answers, predictor, options.out, options.top)
            else:
                for answer in answers:
                    for line in lines_of(answer, options.top):
                        print(line)
        except KeyboardInterrupt as interrupt:
            raise _interruption(interrupt, answers.count, options.out) from None
        except (DataError, OSError) as error:
            if not options.out or not answers.count:
                raise
            told: object = error
            if isinstance(error, OSError):
                told = f"{error.filename or options.out}: {error.strerror or error}."
            raise DataError(
                f"{told} The answers to the {answers.count:,} pictures before are in "
                f"{unfinished(options.out)}."
            ) from None
    _tell(answers, options)


def answers_of(bundle: Path | str, images: Iterable[Any], **options: Any) -> list[Answer]:
    """Return a bundle's answers; the options are `config.PredictOptions`'.

    Args:
        bundle: the folder, or the `.zip`.
        images: paths, addresses and folders; also bytes, pictures of Pillow and arrays, which are RGB;
            several, or one.
        **options: those that a bundle knows.
    """
    images = [images] if is_one(images) else list(images)
    in_memory = [image for image in images if not isinstance(image, str | Path)]
    asked = PredictOptions(
        run=Path(bundle), images=tuple(images) if not in_memory else (".",), **options
    )
    with _open(asked) as predictor:
        given, numbers, names = (images, None, None) if in_memory else _pictures(asked, predictor)
        return list(_Counted(predictor.stream(given, numbers), asked.on_bad, names))


def _open(options: PredictOptions) -> Predictor:
    own = options.max_pixels if "max_pixels" in options.model_fields_set else None
    return Predictor(
        options.run, format=options.format, threads=options.threads or backend.cores(),
        batch_size=options.batch_size, trust=options.trust, max_pixels=own,
    )  # fmt: skip


def _pictures(
    options: PredictOptions, predictor: Predictor
) -> tuple[Iterable[Any], Iterable[Any] | None, Iterable[str] | None]:
    """Return where pictures are, found as they are asked for; numbers; what answers call them."""
    first = str(options.images[0])
    features = predictor.manifest.features
    if features or _may_be_manifest(first):
        from hornbeam.data import sources

        dataset = sources.open_pictures(
            options.images, image_column=options.image_column, features=features,
            allow_outside=options.allow_outside,
        )  # fmt: skip
        rows = range(len(dataset))
        numbers = dataset.with_features(features).feature_values() if features else None
        return (dataset.location(row) for row in rows), numbers, dataset.paths
    for each in map(str, options.images):
        if not is_remote(each) and not Path(each).exists():
            raise ConfigError(f"{each} does not exist.")
    return _walked(options.images), None, None


def _may_be_manifest(name: str) -> bool:
    if is_remote(name) or Path(name).is_dir():
        return False
    ending = os.path.splitext(name)[1].lower()
    return ending not in EXTENSIONS and ending in _MANIFESTS


_MANIFESTS = (".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".parquet", ".txt", ".lst", ".list")


def _walked(images: Iterable[Path | str]) -> Iterator[str]:
    found = False
    for each in map(str, images):
        if not is_remote(each) and Path(each).is_dir():
            for path in walk_pictures(each, strict=False):  # a bad name is that picture's error
                found = True
                yield os.path.join(each, path)
        else:
            found = True
            yield each
    if not found:
        raise DataError(f"There are no pictures in {', '.join(map(str, images))}.")


class _Counted:
    """Answers as they come, how many, and how many of them have an error; or the first one raised."""

    def __init__(
        self, answers: Iterator[Answer], on_bad: str | None, names: Iterable[str] | None,
        stop: _Stop | None = None,
    ) -> None:  # fmt: skip
        self._answers, self._names, self._stop = answers, names, stop
        self._strict = on_bad == "error"
        self.count = self.bad = 0
        self.example: str | None = None

    def __iter__(self) -> Iterator[Answer]:
        names: Iterable[str | None] = self._names or itertools.repeat(None)
        named = zip(self._answers, names, strict=False)
        with contextlib.closing(self._answers):  # type: ignore[type-var]  # a generator, which decodes
            for given, name in named:
                answer = dataclasses.replace(given, picture=name) if name else given
                if answer.error:
                    if self._strict:
                        raise DataError(answer.error)
                    self.bad += 1
                    self.example = self.example or answer.error
                self.count += 1
                yield answer
                if self._stop:
                    self._stop.check()


def _write(answers: _Counted, predictor: Predictor, out: Path, top: int) -> None:
    columns = columns_of(predictor.manifest, top)
    began = told = time.monotonic()
    with answer_file(out, columns) as write, console.progress("asking", None) as advance:
        for answer in answers:
            write(row_of(answer, columns, top))
            now = time.monotonic()
            rate = answers.count / (now - began) if now > began else 0
            advance(1, f"{rate:,.0f} pictures/s" if answers.count % 100 == 0 else "")
            if now - told >= _OFTEN and not console.is_terminal():
                console.say(f"{answers.count:,} pictures, {rate:,.0f} a second")
                told = now


def _tell(answers: _Counted, options: PredictOptions) -> None:
    if answers.bad:
        where = f"; {options.out} names them all" if options.out else ""
        told = f"{answers.bad:,} of {answers.count:,} pictures could not be read{where}"
        if answers.bad == answers.count:
            raise DataError(f"{told}: {answers.example}")
        console.warn(f"{told}.")
    if options.out:
        console.say(f"{answers.count - answers.bad:,} answers are in {options.out}.")


class _TerminatedError(KeyboardInterrupt):
    """SIGTERM."""


class _Stop:
    """Whether a signal came; a second one ends the work where it is.

    The first ends it between two answers: an exception in the midst of handing work to the threads that
    decode could leave a lock of theirs held, and the end would wait for them for ever.
    """

    def __init__(self) -> None:
        self._number: int | None = None

    def note(self, number: int, frame: Any) -> None:
        """Handle a signal."""
        again, self._number = self._number is not None, number
        if again:
            self.check()

    def check(self) -> None:
        """Raise what a signal asked for, if one came.

        Raises:
            KeyboardInterrupt: Ctrl-C, or SIGTERM.
        """
        if self._number is not None:
            raise _TerminatedError if self._number == signal.SIGTERM else KeyboardInterrupt


@contextlib.contextmanager
def _heard() -> Iterator[_Stop]:
    """Let Ctrl-C and SIGTERM end the work between two answers."""
    stop = _Stop()
    wanted: dict[int, Handler] = {signal.SIGINT: stop.note, signal.SIGTERM: stop.note}
    with handling(wanted, always=signal.SIGTERM):
        yield stop


def _interruption(interrupt: KeyboardInterrupt, count: int, out: Path | None) -> InterruptionError:
    by_signal = isinstance(interrupt, _TerminatedError)
    what, code = ("SIGTERM", 143) if by_signal else ("Ctrl-C", 130)
    kept = f"; their answers are in {unfinished(out)}" if out else ""
    return InterruptionError(f"{what} after {count:,} pictures{kept}.", code)
