"""`hornbeam labels`: from a run or from pictures to a list, and from the list to a manifest."""

import csv
import shlex
import shutil
from html import escape

import numpy as np
import pytest

from hornbeam.data.sample import draw_sample
from hornbeam.evaluation.labels.labels_file import read_suspects


def entered(path, answers):
    """Fill in `new_label` of a list by the paths of its pictures; return the list."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row["new_label"] = answers(row)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.fixture(scope="module")
def listed(hornbeam_here, trained, tmp_path_factory):
    """A run with a list of its 10 most suspicious labels, and what was said."""
    run = tmp_path_factory.mktemp("listed") / "run"
    shutil.copytree(trained, run)
    done = hornbeam_here("labels", run, "--most", 10, "--divisions", 1)
    assert done.code == 0, done.err
    return run, done


def test_a_run_gets_a_list_and_a_page(listed):
    run, done = listed
    suspects = read_suspects(run / "labels" / "labels.csv")
    assert len(suspects) == 10
    assert (run / "labels" / "labels.html").read_text().count("data-row=") == 10
    assert f"10 labels to look at are in {run / 'labels' / 'labels.html'}" in done.out
    assert f"hornbeam labels {run} --apply {run / 'labels' / 'labels.csv'}" in done.out


def test_a_list_that_may_have_been_edited_is_not_replaced(listed, hornbeam_here):
    run, _ = listed
    before = (run / "labels" / "labels.csv").read_bytes()
    done = hornbeam_here("labels", run)
    assert done.code == 2
    assert "may have been edited" in done.sentence
    assert (run / "labels" / "labels.csv").read_bytes() == before


def test_an_edited_list_becomes_a_manifest_that_trains(listed, hornbeam_here, tmp_path, shapes):
    run, _ = listed
    path = tmp_path / "labels.csv"
    shutil.copy(run / "labels" / "labels.csv", path)
    first = read_suspects(path)[0]
    pictures = {p: p.stat().st_mtime_ns for p in shapes.rglob("*") if p.is_file()}
    entered(path, lambda row: row["suggested"] if row["path"] == first.path else "DELETE")
    out = shapes.parent / f"{tmp_path.name}.csv"
    done = hornbeam_here("labels", run, "--apply", path, "--out", out)
    assert done.code == 0, done.err
    assert f"'{first.given}' to '{first.suggested}': 1" in done.out
    assert "1 label changed; 9 pictures left out" in done.out
    assert f"hornbeam train {out}" in done.out
    with out.open(newline="") as file:
        rows = {row["path"].removeprefix("shapes/"): row for row in csv.DictReader(file)}
    assert len(rows) == 72 - 9
    assert rows[first.path]["label"] == first.suggested
    assert rows[first.path]["split"] == first.split
    assert {p: p.stat().st_mtime_ns for p in shapes.rglob("*") if p.is_file()} == pictures
    again = hornbeam_here("labels", run, "--apply", path, "--out", out)
    assert again.code == 2
    assert "is there already" in again.sentence
    trained = hornbeam_here(
        "train", out, "--steps", 1, "--image-size", 32, "--run", tmp_path / "next"
    )
    assert trained.code == 0, trained.err


def test_versions_are_counted_beside_the_pictures(listed, hornbeam_here, tmp_path):
    draw_sample(tmp_path / "pics", per_class=2, size=32, seed=0)
    path = tmp_path / "l.csv"
    path.write_text("path,label,new_label\ncircle/0000.png,circle,DELETE\n")
    name = next((tmp_path / "pics").rglob("*.*")).relative_to(tmp_path / "pics")
    path.write_text(f"path,label,new_label\n{name},{name.parts[0]},DELETE\n")
    first = hornbeam_here("labels", tmp_path / "pics", "--apply", path)
    assert first.code == 0, first.err
    assert (tmp_path / "pics-labels-v2.csv").is_file()
    second = hornbeam_here("labels", tmp_path / "pics-labels-v2.csv", "--apply", path)
    assert second.code == 1  # the picture is not in it any more
    path.write_text("path,label,new_label\n")
    third = hornbeam_here("labels", tmp_path / "pics-labels-v2.csv", "--apply", path)
    assert third.code == 0, third.err
    assert (tmp_path / "pics-labels-v3.csv").is_file()


def test_mistakes_in_a_list_write_nothing(listed, hornbeam_here, tmp_path):
    run, _ = listed
    path = tmp_path / "labels.csv"
    shutil.copy(run / "labels" / "labels.csv", path)
    entered(path, lambda row: "hexagram")
    done = hornbeam_here("labels", run, "--apply", path, "--out", tmp_path / "out.csv")
    assert done.code == 1
    assert "line 2: there is no class 'hexagram'." in done.sentence
    assert "line 11: " in done.sentence
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--model", "resnet50"], "has a network already; leave out --model"),
        (["--features", "before", "--out", "x"], "began without weights"),
        (
            ["--label-columns", "kind", "--allow-outside"],
            "leave out --allow-outside, --label-columns",
        ),
        (["--label-separator", "|", "--apply", "x.csv"], "leave out --label-separator"),
        (["--apply", "x.csv", "--out", "folder"], "should end in .csv"),
        (["--apply", "missing.csv", "--out", "new.csv"], "missing.csv cannot be read"),
    ],
)
def test_options_that_do_not_fit_are_refused(hornbeam_here, trained, words, said):
    done = hornbeam_here("labels", trained, *words)
    assert done.code in (1, 2)
    assert said in done.sentence


def test_pictures_without_a_run_are_looked_at_by_the_network_that_is_named(
    hornbeam_here, shapes, tmp_path
):
    done = hornbeam_here(
        "labels", shapes, "--image-size", 32, "--divisions", 1, "--out", tmp_path / "out"
    )
    assert done.code == 0, done.err
    assert "The network is untrained" in done.err
    assert (tmp_path / "out" / "labels.html").is_file()


def test_the_command_that_is_told_reads_the_pictures_in_the_same_way(
    hornbeam_here, shapes, tmp_path
):
    rows = ["my file|what it is|tags|part|of"]
    for i, path in enumerate(sorted(shapes.rglob("*.*"))):
        part = ("train", "test")[i % 2]
        rows.append(f"{path}|{path.parent.name}|{('a;b', 'a', 'b')[i % 3]}|{part}|{i // 2}")
    (tmp_path / "a b.csv").write_text("\n".join(rows).replace("|", ",") + "\n")
    done = hornbeam_here(
        "labels", tmp_path / "a b.csv", "--image-column", "my file", "--label-columns",
        "what it is,tags", "--label-separator", ";", "--split-column", "part", "--group-column", "of",
        "--allow-outside", "--threads", 1, "--image-size", 32, "--divisions", 1, "--most", 3,
        "--out", tmp_path / "out",
    )  # fmt: skip
    assert done.code == 0, done.err
    (told,) = (line for line in done.out.splitlines() if " --apply " in line)
    words = shlex.split(told[told.index("hornbeam labels") :])[1:]
    assert escape(shlex.join(words)) in (tmp_path / "out" / "labels.html").read_text()
    path = tmp_path / "out" / "labels.csv"
    suspect = read_suspects(path)[0]
    entered(path, lambda row: "DELETE" if row["path"] == suspect.path else "")
    applied = hornbeam_here(*words, "--out", tmp_path / "new.csv")
    assert applied.code == 0, applied.err
    assert "1 picture left out" in applied.out
    assert len((tmp_path / "new.csv").read_text().splitlines()) == len(rows) - 1


def test_flipped_labels_of_photographs_are_found(hornbeam_here, clothing, pretrained, tmp_path):
    """Of 12 wrong labels among 240 photographs at least 9 are in a list of at most 30."""
    weights = pretrained / "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5"
    rng = np.random.default_rng(0)
    kinds = ("dress", "pants", "shoes", "t-shirt")
    rows = [(p, kind) for kind in kinds for p in sorted((clothing / "train" / kind).iterdir())[:60]]
    wrong = set(rng.choice(len(rows), 12, replace=False).tolist())
    with (tmp_path / "m.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label"])
        for i, (path, kind) in enumerate(rows):
            other = kinds[(kinds.index(kind) + 1 + i % 3) % 4]
            writer.writerow([path, other if i in wrong else kind])
    done = hornbeam_here(
        "labels", tmp_path / "m.csv", "--allow-outside", "--weights", weights, "--image-size", 96,
        "--out", tmp_path / "out",
    )  # fmt: skip
    assert done.code == 0, done.err
    suspects = read_suspects(tmp_path / "out" / "labels.csv")
    names = {str(rows[i][0]) for i in wrong}
    assert len(suspects) <= 30
    assert len(names & {suspect.path for suspect in suspects}) >= 9
