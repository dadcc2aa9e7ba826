"""The server does what its own OpenAPI says: schemathesis asks it all that is allowed, and what is not."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

TOKEN = "a-token-of-a-test"


def schemathesis(server, folder, examples, *words):
    """Ask all that the description allows, and what it does not; return what the program says."""
    here = Path(__file__).parent
    done = subprocess.run(
        [
            sys.executable, "-m", "schemathesis.cli", "run", f"http://127.0.0.1:{server.port}/openapi.json",
            "-H", f"Authorization: Bearer {TOKEN}", "--max-examples", str(examples), "--no-color",
            "--seed", "1", *words,
        ],
        env={**os.environ, "PYTHONPATH": str(here), "SCHEMATHESIS_HOOKS": "schemathesis_hooks"},
        cwd=folder, capture_output=True, text=True, timeout=1500, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"Tested: 6", done.stdout), done.stdout
    return int(re.search(r"(\d+) generated", done.stdout)[1])


def told(server, status):
    text = server.ask("GET", "/metrics", headers={"Authorization": f"Bearer {TOKEN}"})[2].decode()
    found = re.search(rf'requests_total{{path="/predict",status="{status}"}} (\S+)', text)
    return float(found[1]) if found else 0


@pytest.mark.parametrize("features", [(), ("age", "weight")])
@pytest.mark.parametrize("examples", [15, pytest.param(250, marks=pytest.mark.slow)])
def test_schemathesis_finds_nothing(serving, tmp_path, features, examples):
    server = serving("--no-access-log", features=features, HORNBEAM_TOKEN=TOKEN)
    # How many lists of numbers go with how many pictures, no schema of a form can say.
    words = ("--exclude-checks", "positive_data_acceptance") if features else ()
    assert schemathesis(server, tmp_path, examples, *words) > examples
    # It did ask about pictures, and about what is none.
    assert told(server, 200) > examples / 8
    assert told(server, 422) > examples / 8
    assert told(server, 401) + told(server, 415) > 0
    assert told(server, 500) == 0


def test_the_description_loads_nothing_from_elsewhere(colours):
    status, _, description = colours.ask("GET", "/openapi.json")
    assert status == 200
    assert set(description["paths"]) == {
        "/predict",
        "/healthz",
        "/readyz",
        "/metrics",
        "/model",
        "/reload",
    }
    answers = description["paths"]["/predict"]["post"]["responses"]
    assert set(answers) == {"200", "408", "413", "415", "422", "429", "500", "503"}
    for answer in answers.values():
        assert set(answer["content"]) == {"application/json"}
    assert "http" not in str(description)


def test_the_description_follows_the_bundle(serving):
    body = serving(features=("age",)).ask("GET", "/openapi.json")[2]
    content = body["paths"]["/predict"]["post"]["requestBody"]["content"]
    assert set(content) == {"multipart/form-data", "application/json"}
    question = content["application/json"]["schema"]["anyOf"][0]
    assert question["required"] == ["image", "features"]
    assert set(question["properties"]["features"]["properties"]) == {"age"}
