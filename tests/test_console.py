"""What is said to a person is said as it is: names of files and metrics are no markup."""

import pytest

from hornbeam import console

NAME = "[/a] :cat: [red]b"


@pytest.mark.parametrize(("speak", "stream"), [(console.say, "out"), (console.warn, "err")])
def test_a_line_is_printed_as_it_is(speak, stream, capsys):
    speak(NAME)
    assert getattr(capsys.readouterr(), stream).removeprefix("warning: ") == f"{NAME}\n"


def test_cells_of_a_table_are_printed_as_they_are(capsys):
    console.table([NAME, "pictures"], [[NAME, "3"]])
    assert capsys.readouterr().out.count(NAME) == 2


def test_what_stands_beside_a_bar_is_shown_as_it_is(monkeypatch, capsys):
    monkeypatch.setattr(console, "is_terminal", lambda: True)
    for name, value in {"FORCE_COLOR": "1", "COLUMNS": "120", "TERM": "xterm"}.items():
        monkeypatch.setenv(name, value)
    with console.progress(NAME, 2) as advance:
        advance(1, NAME)
    assert "[/a]" in capsys.readouterr().out
