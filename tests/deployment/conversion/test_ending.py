"""What is said of a process that ended: what it was doing, and no remark of a library."""

import signal

import pytest

from hornbeam.deployment.conversion import ending

REMARKS = """WARNING: All log messages before absl::InitializeLog() is called are written to STDERR
I0000 00:00:1795936494.158938   17278 port.cc:153] oneDNN custom operations are on.

INFO: Created TensorFlow Lite XNNPACK delegate for CPU.
"""


@pytest.mark.parametrize(
    ("code", "errors", "doing", "says"),
    [
        (-6, REMARKS, "trying a way", "was ended by SIGABRT while trying a way"),
        (-6, REMARKS, None, "was ended by SIGABRT: it said nothing"),
        (-6, "Check failed: a < b\n" + REMARKS, "trying a way",
         "was ended by SIGABRT while trying a way: Check failed: a < b"),
        (-9, "", "writing a", "was ended by SIGKILL while writing a"),
        (1, "Traceback\nhornbeam.errors.ModelError: No.\n", None, "ended with code 1: No."),
        (1, "", None, "ended with code 1: it said nothing"),
    ],
)  # fmt: skip
def test_the_last_line_that_says_something_stands_behind_what_was_done(code, errors, doing, says):
    assert ending.in_words(code, errors, doing) == says


@pytest.mark.skipif(not hasattr(signal, "SIGRTMIN"), reason="this system has no such signals")
def test_a_signal_without_a_name_has_its_number():
    number = signal.SIGRTMIN + 1
    assert ending.in_words(-number, "", "a") == f"was ended by signal {number} while a"


def test_what_is_told_last_is_read_and_nobody_need_ask(tmp_path, monkeypatch):
    monkeypatch.setattr(ending, "_told_in", [])
    ending.tell("unheard")
    path = tmp_path / "doing.json"
    assert ending.told(path) is None
    ending.tell_in(path)
    ending.tell("first")
    ending.tell("then")
    assert ending.told(path) == "then"
