"""What libraries print when they open or ask a network, kept from those who did not ask for it."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sys
import threading
from collections.abc import Iterator

_ONE_AT_A_TIME = threading.RLock()
_depth = 0

_ADVICE = re.compile(r"make_predict_function.* triggered tf\.function retracing")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Send what this process writes to stdout and stderr nowhere.

    C++ writes past Python, to the descriptors themselves, so other threads are silent meanwhile too.
    """
    global _depth
    with _ONE_AT_A_TIME, contextlib.ExitStack() as stack:
        if not _depth:
            for number, stream in ((1, sys.__stdout__), (2, sys.__stderr__)):
                with contextlib.suppress(OSError, ValueError):  # closed
                    if stream is not None:
                        stream.flush()
                    kept = os.dup(number)
                    stack.callback(os.close, kept)
                    stack.callback(os.dup2, kept, number)
                    nowhere = os.open(os.devnull, os.O_WRONLY)
                    os.dup2(nowhere, number)
                    os.close(nowhere)
        _depth += 1
        try:
            yield
        finally:
            _depth -= 1


def expect_many_networks() -> None:
    """Keep TensorFlow from advising, in this process, against asking one network of Keras after another.

    It takes their functions for one that is traced again and again, and says so in 500 characters.
    """
    logging.getLogger("tensorflow").addFilter(_is_other_advice)  # once, however often


def _is_other_advice(record: logging.LogRecord) -> bool:
    return not _ADVICE.search(record.getMessage())
