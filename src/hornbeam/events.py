"""TensorBoard's event files, written without TensorFlow: in order, and flushed when told.

tensorboardX's own `SummaryWriter` queues events and chooses the file's name; here the length of a file
after a flush has a meaning, because a resumed training cuts its files to what they were.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

_PREFIX = "events.out.tfevents."
"""By which TensorBoard knows an event file."""


class EventFile:
    """A new event file; TensorBoard reads the files of a directory in the order of their names.

    Args:
        directory: a run of TensorBoard; made if it is not there.
        mark: the end of the file's name, which says whose it is; see `event_files`.
        purge_from: step from which a reader that has read earlier files forgets what it read.
    """

    _open = False

    def __init__(self, directory: Path, mark: str, purge_from: int | None = None) -> None:
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import SessionLog

        directory.mkdir(parents=True, exist_ok=True)
        # Two files of one second would have one name.
        number = 1 + max((_number(path) for path in event_files(directory, mark)), default=-1)
        self._writer = EventsWriter(str(directory / "events"), f".{number:04}.{mark}")
        self._open = True
        self.path = Path(self._writer._file_name)
        if purge_from is not None:
            self._write(purge_from, session_log=SessionLog(status=SessionLog.START))
        self.flush()

    def scalar(self, tag: str, value: float, step: int, seconds: float | None = None) -> None:
        """Add a point to a curve; `seconds` since 1970 is when, else now."""
        self._summary(step, seconds, tag=tag, simple_value=float(value))

    def picture(self, tag: str, jpeg: bytes, size: tuple[int, int], step: int) -> None:
        """Add an encoded RGB picture of `size` (height, width)."""
        from tensorboardX.proto.summary_pb2 import Summary

        image = Summary.Image(
            height=size[0], width=size[1], colorspace=3, encoded_image_string=jpeg
        )
        self._summary(step, None, tag=tag, image=image)

    def histogram(self, tag: str, values: NDArray[Any], step: int) -> None:
        """Add a histogram of finite numbers, of any shape; 30 bins, as TensorBoard shows no more."""
        from tensorboardX.summary import make_histogram

        self._summary(step, None, tag=tag, histo=make_histogram(values.astype("float64"), 30))

    def graph(self, serialized: bytes) -> None:
        """Add the graph, a serialised `GraphDef`."""
        self._write(0, graph_def=serialized)

    def plugin(self, tag: str, name: str, content: bytes) -> None:
        """Add what a plugin of TensorBoard keeps as metadata of a tag."""
        from tensorboardX.proto.summary_pb2 import SummaryMetadata

        data = SummaryMetadata.PluginData(plugin_name=name, content=content)
        self._summary(0, None, tag=tag, metadata=SummaryMetadata(plugin_data=data))

    def flush(self) -> int:
        """Make all that was added readable; return the file's length in bytes."""
        self._writer.flush()
        return self.path.stat().st_size

    def close(self) -> None:
        """Close the file; a second time changes nothing."""
        if self._open:
            self._open = False
            self._writer.close()

    def __del__(self) -> None:
        # A training that fails closes nothing.
        self.close()

    def _summary(self, step: int, seconds: float | None, **value: Any) -> None:
        from tensorboardX.proto.summary_pb2 import Summary

        self._write(step, seconds, summary=Summary(value=[Summary.Value(**value)]))

    def _write(self, step: int, seconds: float | None = None, **what: Any) -> None:
        from tensorboardX.proto.event_pb2 import Event

        when = time.time() if seconds is None else seconds
        self._writer.write_event(Event(wall_time=when, step=step, **what))


def event_files(directory: Path, mark: str) -> Iterable[Path]:
    """Return the event files of one mark in a directory, in the order in which they were begun."""
    return sorted(directory.glob(f"{_PREFIX}*.{mark}"), key=_number)


def _number(path: Path) -> int:
    number = path.name.split(".")[-2]
    return int(number) if number.isdecimal() else -1
