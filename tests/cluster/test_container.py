"""The container file says what pyproject.toml and the repository have."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docker" / "Dockerfile").read_text()


def test_its_extras_and_its_python_are_those_of_the_project():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = re.search(r"^ARG EXTRAS=(.*)$", TEXT, re.MULTILINE)[1].split(",")
    assert set(extras) <= set(project["optional-dependencies"])
    python = re.search(r"^FROM python:([\d.]+)", TEXT, re.MULTILINE)[1]
    assert f">={python}" == project["requires-python"]


def test_what_it_copies_is_there():
    copied = re.search(r"^COPY (.*) /tmp", TEXT, re.MULTILINE)[1].split()
    assert copied[0] == "constraints.txt"
    assert (ROOT / copied[0]).is_file()


def test_signals_reach_the_training_itself():
    # The shell form would put sh in between, which passes no SIGTERM on.
    assert 'ENTRYPOINT ["hornbeam"]' in TEXT
