"""`hornbeam report`: the page again, from what the run keeps, without its model."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

from hornbeam.evaluation.explanations import Explanations


@pytest.fixture
def run(trained, tmp_path):
    """A copy of a run that may be damaged."""
    shutil.copytree(trained, tmp_path / "run", symlinks=True)
    return tmp_path / "run"


def text_of(path):
    return path.read_text(encoding="utf-8")


def test_it_is_the_page_that_the_training_wrote(hornbeam_here, run):
    before = text_of(run / "report.html")
    (run / "report.html").unlink()
    done = hornbeam_here("report", run)
    assert done.code == 0, done.err
    assert f"The report is {run / 'report.html'}." in done.out
    after = text_of(run / "report.html")
    for section in ("summary", "classes-0", "confusion-0", "looks", "curves", "options"):
        assert section_of(after, section) == section_of(before, section), section


def section_of(page, name):
    start = page.index(f'<section id="{name}">')
    return page[start : page.index("</section>", start)]


def test_the_training_has_noted_where_the_model_looks(trained):
    found = Explanations.load(trained / "explanations.npz")
    assert found.reason == ""
    assert 4 <= len(found) <= 20
    assert found.heat.max() == 1
    assert len(np.unique(found.pictures)) > 50
    assert section_of(text_of(trained / "report.html"), "looks").count("<img") > len(found)


def test_no_keras_is_needed(run):
    code = (
        "import sys; from hornbeam import cli; assert cli.main(['report', sys.argv[1]]) == 0;"
        "assert not {'keras', 'tensorflow', 'jax'} & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(run)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_open_hands_the_page_to_the_browser(hornbeam, run, tmp_path):
    program = tmp_path / "browser"
    program.write_text(f'#!/bin/sh\necho "$1" > "{tmp_path}/opened"\n')
    program.chmod(0o755)
    done = hornbeam(
        "report", run, "--open", "--out", tmp_path / "a b.html", BROWSER=f"{program} %s"
    )
    assert done.code == 0, done.err
    assert (tmp_path / "opened").read_text().strip() == (tmp_path / "a b.html").as_uri()
    assert (tmp_path / "a b.html").is_file()


def test_a_run_without_pictures_or_explanations_has_a_report(hornbeam_here, run):
    summary = json.loads(text_of(run / "dataset.json"))
    summary["root"] = str(run / "gone")
    (run / "dataset.json").write_text(json.dumps(summary))
    (run / "explanations.npz").write_bytes(b"damaged")
    for name in ("scores.json", "environment.json", "log.jsonl", "metrics.csv"):
        (run / name).unlink()
    done = hornbeam_here("report", run)
    assert done.code == 0, done.err
    page = text_of(run / "report.html")
    assert "the picture is gone" in page
    assert "validation pictures were named right" in page
    assert '<section id="looks">' not in page


def test_a_run_that_nobody_has_judged_has_a_report(hornbeam_here, run):
    (run / "predictions.parquet").unlink()
    done = hornbeam_here("report", run)
    assert done.code == 0, done.err
    page = text_of(run / "report.html")
    assert "No pictures have judged the model yet" in page
    assert '<section id="confusion-0">' not in page
    assert section_of(page, "curves").count("<svg") >= 2


def test_suspected_labels_are_shown(hornbeam_here, run):
    from hornbeam.evaluation.labels.labels_file import Suspect, write_suspects

    table = hornbeam_here("report", run)
    assert table.code == 0
    assert "hornbeam labels RUN" in section_of(text_of(run / "report.html"), "suspects")
    paths = json.loads(text_of(run / "dataset.json"))
    task = paths["tasks"][0]
    from pyarrow import parquet

    row = next(
        row
        for row in parquet.read_table(run / "dataset.parquet").to_pylist()
        if row["split"] == "train"
    )
    (run / "labels").mkdir()
    write_suspects(
        run / "labels" / "labels.csv",
        [Suspect(row["path"], "train", task["name"], row[task["name"]], task["classes"][0], 0.02, 0.9, 0.97)],
    )  # fmt: skip
    assert hornbeam_here("report", run).code == 0
    suspects = section_of(text_of(run / "report.html"), "suspects")
    assert suspects.count("<img") == 1  # of the training pictures, which judge nothing
    assert row["path"] in suspects
    assert 'href="#suspects"' in section_of(text_of(run / "report.html"), "summary")


def test_groups_of_the_last_evaluation_stay(hornbeam_here, run):
    [task] = json.loads(text_of(run / "dataset.json"))["tasks"]
    scores = json.loads(text_of(run / "scores.json"))
    assert hornbeam_here("report", run).code == 0
    assert '<section id="groups-0">' not in text_of(run / "report.html")
    scores["groups"] = {"those two": task["classes"][:2]}
    (run / "scores.json").write_text(json.dumps(scores))
    assert hornbeam_here("report", run).code == 0
    assert "those two" in section_of(text_of(run / "report.html"), "groups-0")


def test_the_pictures_of_the_training_are_counted(hornbeam_here, run):
    from pyarrow import parquet

    splits = parquet.read_table(run / "dataset.parquet")["split"].to_pylist()
    assert hornbeam_here("report", run).code == 0
    page = text_of(run / "report.html")
    assert f"trained on {splits.count('train')} pictures" in section_of(page, "summary")


def test_a_list_of_suspects_that_is_damaged_is_said_to_be(hornbeam_here, run):
    (run / "labels").mkdir()
    (run / "labels" / "labels.csv").write_text("path\n1.jpg\n")
    assert hornbeam_here("report", run).code == 0
    page = text_of(run / "report.html")
    assert "labels.csv" in section_of(page, "suspects")
    assert "Nobody has looked" not in page


def test_the_page_of_other_pictures_names_them(hornbeam, run, folders):
    names = json.loads(text_of(run / "dataset.json"))["tasks"][0]["classes"]
    files = {f"{name}/{i}.png": 40 * i for name in names for i in range(3)}
    others = folders(files, run.parent / "others")
    done = hornbeam("evaluate", run, others)
    assert done.code == 0, done.err
    page = text_of(run / "evaluations" / "others" / "report.html")
    assert f"Judged on the pictures of <code>{others}</code>." in page
    assert "hornbeam labels" not in page
    assert '<section id="suspects">' not in page


def test_a_place_that_is_none_is_refused(hornbeam_here, run, tmp_path):
    done = hornbeam_here("report", run, "--out", tmp_path / "no" / "r.html")
    assert done.code == 2
    assert "name an HTML file" in done.sentence
    done = hornbeam_here("report", tmp_path / "none")
    assert done.code == 2
    assert "does not exist" in done.sentence
