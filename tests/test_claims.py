"""What the benchmarks found is one table, and the README quotes only that."""

import json
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BENCHMARKS = ROOT / "benchmarks"


@pytest.fixture(scope="module")
def claims():
    return runpy.run_path(str(BENCHMARKS / "claims.py"))


def line(**other):
    return {
        "script": "step", "claim": "a step", "peer": "keras", "ratio": 1.5, "low": 1.4, "high": 1.6,
        "rounds": 3, "goal": None, "measured": "2 ms", "machine": "A", "date": "2026-01-01", **other,
    }  # fmt: skip


def test_the_table_and_the_quotation_are_those_of_the_lines(claims):
    lines = claims["read"](BENCHMARKS / "results.jsonl")
    assert (BENCHMARKS / "RESULTS.md").read_text() == claims["table"](lines)
    readme = (ROOT / "README.md").read_text()
    assert claims["quoting"](readme, lines) == readme
    assert readme.count(claims["BEGIN"]) == readme.count(claims["END"]) == 1


def test_all_that_is_quoted_was_measured(claims):
    lines = claims["read"](BENCHMARKS / "results.jsonl")
    known = {(each["script"], each["claim"], each["peer"]) for each in lines}
    assert set(claims["QUOTED"]) <= known


def test_of_several_machines_the_readme_quotes_the_least_ratio(claims):
    script, claim, peer = claims["QUOTED"][0]
    lines = [line(script=script, claim=claim, peer=peer, machine=m, ratio=r)
             for m, r in (("A", 3.0), ("B", 2.25), ("C", 5.0))]  # fmt: skip
    rows = claims["quotation"](lines).splitlines()[3:-1]
    assert rows == [f"| {claim} | {peer} | 2.25 | 1.4 to 1.6 (3) |"]


def test_a_claim_is_noted_where_it_is_asked_for_and_nowhere_else(tmp_path):
    code = "from claims import record; record('x/loading.py', 'c', 'p', [2, 1.23456, 3], goal=2)"
    file = tmp_path / "found.jsonl"
    for environment in ({}, {"HORNBEAM_RECORD": str(file)}):
        subprocess.run([sys.executable, "-c", code], cwd=BENCHMARKS, env=environment, check=True)
    (text,) = file.read_text().splitlines()
    noted = json.loads(text)
    chosen = {key: noted[key] for key in ("script", "ratio", "low", "high", "rounds", "goal")}
    expected = {"script": "loading", "ratio": 2, "low": 1.23, "high": 3, "rounds": 3, "goal": 2}
    assert chosen == expected
    assert re.match(r"\d+ cores, ", noted["machine"])


def test_of_two_lines_about_the_same_the_later_counts(claims, tmp_path):
    lines = [line(), line(script="other"), line(ratio=2.5), line(machine="B", ratio=3.5)]
    (tmp_path / "found.jsonl").write_text("".join(json.dumps(each) + "\n" for each in lines))
    kept = claims["read"](tmp_path / "found.jsonl")
    assert [(each["script"], each["ratio"]) for each in kept] == [
        ("step", 2.5), ("step", 3.5), ("other", 1.5),
    ]  # fmt: skip


def test_a_missed_goal_and_a_busy_machine_are_told(claims):
    page = claims["table"]([line(goal=1.4), line(goal=1.6, load=9), line(rounds=1), line(low=None)])
    rows = [row.split(" | ") for row in page.splitlines() if row.startswith("| step")]
    assert [row[6] for row in rows] == ["1.4", "1.6, **missed**", "", ""]
    assert [row[8] for row in rows[:2]] == ["2026-01-01 |", "2026-01-01, load 9 |"]
    assert [row[5] for row in rows] == [
        "1.4 to 1.6 (3)",
        "1.4 to 1.6 (3)",
        "one round",
        "not noted",
    ]


def test_each_script_that_bench_runs_notes_its_claims():
    no_measurement = {"claims", "scaling"}  # the table; a simulation
    run = set(re.findall(r"benchmarks/(\w+)\.py", (ROOT / "Makefile").read_text()))
    run -= no_measurement
    assert run == {path.stem for path in BENCHMARKS.glob("*.py")} - no_measurement
    for name in run:
        assert "record(" in (BENCHMARKS / f"{name}.py").read_text(), name


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_the_bench_for_accelerators_comes_to_its_end_on_a_processor(backend, shapes, tmp_path):
    found = tmp_path / "found.jsonl"
    words = ["--pictures", shapes, "--networks", "mobilenet_v2", "--side", 32, "--batch-size", 8,
             "--steps", 6, "--rounds", 1, "--backend", backend]  # fmt: skip
    done = subprocess.run(
        [sys.executable, BENCHMARKS / "accelerator.py", *map(str, words)], capture_output=True,
        text=True, env={**os.environ, "HORNBEAM_RECORD": str(found)}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert re.search(r"\| training \| \d+ \(\d+, \d+\) \|$", done.stdout, re.MULTILINE)
    (noted,) = map(json.loads, found.read_text().splitlines())
    assert 0 < noted["ratio"] < 2
