"""`hornbeam benchmark` on a real bundle of the tiny run."""

import csv
import io
import json
import shutil

import pytest
from small_bundles import CLASSES, coloured, encoded

from hornbeam.deployment import Predictor
from hornbeam.deployment.benchmarking.processes import Process
from hornbeam.deployment.bundle.manifest import Manifest
from hornbeam.errors import BundleError


@pytest.fixture(scope="module")
def bundle(hornbeam, trained, tmp_path_factory):
    out = tmp_path_factory.mktemp("bundles") / "shapes"
    done = hornbeam("export", trained, "--format", "litert,onnx,savedmodel", "--out", out)
    assert done.code == 0, done.err
    return out


@pytest.fixture(scope="module")
def asked(hornbeam, bundle, shapes, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "b.json"
    done = hornbeam(
        "benchmark", bundle, "--data", shapes, "--limit", 24, "--seconds", 0.5, "--batch-size", "1,4",
        "--threads", 1, "--out", out,
    )  # fmt: skip
    assert done.code == 0, done.err
    return done, json.loads(out.read_text())


def test_each_artifact_has_its_numbers_with_their_spread(asked, bundle):
    done, told = asked
    artifacts = {each["format"]: each for each in told["artifacts"]}
    assert set(artifacts) == {"litert", "onnx"}
    manifest = Manifest.load(bundle)
    for name, each in artifacts.items():
        one = each["milliseconds"]["one"]
        assert 0 < one["low"] <= one["median"] <= one["high"]
        assert len(one["rounds"]) == 12
        assert one["calls"] >= 12
        assert set(each["milliseconds"]["model"]) == {"1", "4"}
        assert set(each["milliseconds"]["files"]) == {"1", "4"}
        # Decoding comes on top of the model; of the quietest rounds, as the machine may be busy.
        assert min(each["milliseconds"]["files"]["1"]["rounds"]) > min(one["rounds"])
        assert each["bytes"] == manifest.artifacts[name].bytes
        assert 20 < each["peak_megabytes"] < 2000
        assert each["milliseconds"]["load"] > 0
        assert name in done.out
    assert told["machine"]["threads"] == 1
    assert told["machine"]["cpu"]
    assert told["artifacts"][0]["milliseconds"]["one"]["median"] == min(
        each["milliseconds"]["one"]["median"] for each in told["artifacts"]
    )


def test_the_accuracy_is_that_of_the_predictor_on_the_same_pictures(asked, bundle, shapes):
    from hornbeam.deployment.benchmarking.accuracy import read_labelled
    from hornbeam.deployment.predicting.predictor import Predictor

    labelled = read_labelled(str(shapes), Manifest.load(bundle).tasks, 24)
    with Predictor(bundle, format="onnx") as predictor:
        right = [
            answer.best()[0][0] == predictor.tasks[0].classes[label]
            for answer, label in zip(
                predictor.predict(labelled.paths), labelled.labels, strict=True
            )
        ]
    told = {each["format"]: each["accuracy"] for each in asked[1]["artifacts"]}
    assert told["onnx"]["value"] == sum(right) / 24
    assert told["onnx"]["low"] < told["onnx"]["value"] < told["onnx"]["high"]
    assert told["onnx"]["of"].startswith("24 pictures of")


def test_what_cannot_run_is_listed_with_its_reason(asked):
    done, told = asked
    failed = {each["format"]: each["error"] for each in told["failed"]}
    assert set(failed) == {"savedmodel"}
    assert "--trust" in failed["savedmodel"]
    assert "savedmodel cannot run here" in done.err


def test_without_pictures_the_accuracy_is_that_of_the_contract(hornbeam, bundle, tmp_path):
    done = hornbeam(
        "benchmark", bundle, "--format", "litert", "--seconds", 0.2, "--batch-size", 2,
        "--out", tmp_path / "b.csv",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert "of the contract of" in done.out
    with (tmp_path / "b.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["format"] for row in rows] == ["litert"]
    told = next(iter(Manifest.load(bundle).artifacts["litert"].contract.values()))
    assert told
    assert float(rows[0]["accuracy_low"]) < float(rows[0]["accuracy"])
    assert float(rows[0]["one_ms_low"]) <= float(rows[0]["one_ms"])


def test_an_artifact_that_answers_otherwise_is_not_measured(hornbeam, bundle, tmp_path):
    copy = tmp_path / "shapes"
    shutil.copytree(bundle, copy)
    file = copy / Manifest.load(copy).artifacts["onnx"].file
    file.write_bytes(file.read_bytes()[:-100])
    done = hornbeam("benchmark", copy, "--format", "onnx,litert", "--seconds", 0.2, "-b", 1)
    assert done.code == 0, done.err
    assert "onnx cannot run here" in done.err
    assert "litert" in done.out


def test_the_page_shows_all_and_complains_of_nothing(hornbeam, bundle, shapes, tmp_path, browser):
    page = tmp_path / "b.html"
    done = hornbeam(
        "benchmark", bundle, "--format", "litert,onnx", "--data", shapes, "--seconds", 0.3,
        "--batch-size", 4, "--out", page,
    )  # fmt: skip
    assert done.code == 0, done.err
    browser.complaints.clear()
    browser.open(page)
    assert browser.run("document.querySelectorAll('svg').length") == 3
    assert browser.run("document.querySelectorAll('svg circle').length") == 6
    text = browser.run("document.body.innerText")
    assert all(word in text for word in ("litert", "onnx", "beaten by", "95 %", "cores"))
    assert not browser.complaints


def test_wrong_words_are_a_sentence(hornbeam, bundle, tmp_path):
    for words, said in (
        ((bundle, "--format", "openvino"), "no bundle has 'openvino'; they have"),
        ((tmp_path,), "is not a bundle"),
        ((bundle, "--batch-size", "0"), "--batch-size"),
        ((bundle, "--limit", "3"), "--limit needs --data"),
        ((bundle, "--out", "x.txt"), "should end in .csv, .json or .html"),
        ((bundle, "--data", tmp_path / "gone"), "expected a folder"),
    ):
        done = hornbeam("benchmark", *words)
        assert done.code != 0
        assert said in done.sentence


def test_a_process_that_dies_is_told():
    with Process(1) as process:
        process._process.kill()
        with pytest.raises(BundleError, match="ended with code -9"):
            process.ask("memory")


def test_a_process_that_dies_in_the_midst_of_a_word_is_told_too():
    with Process(1) as process:
        process._process.kill()
        process._process.wait()
        process._process.stdin.close()
        process._process.stdout.close()
        process._process.stdin, process._process.stdout = io.StringIO(), io.StringIO('{"found": [')
        with pytest.raises(BundleError, match="ended with code -9"):
            process.ask("answers", pictures=[])


def test_pictures_that_cannot_be_read_are_wrong_and_not_timed(hornbeam_here, trees, tmp_path):
    data = tmp_path / "data"
    for number, pixels in enumerate(coloured(12)):
        path = data / CLASSES[number % 3] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(pixels))
    (data / CLASSES[0] / "0.png").write_bytes(b"no picture")
    out = tmp_path / "b.json"
    done = hornbeam_here(
        "benchmark",
        trees,
        "--format",
        "litert",
        "--data",
        data,
        "--seconds",
        0.2,
        "-b",
        1,
        "--out",
        out,
    )
    assert done.code == 0, done.err
    (told,) = json.loads(out.read_text())["artifacts"]
    assert set(told["milliseconds"]["files"]) == {"1"}
    with Predictor(trees) as predictor:
        right = sum(
            answer.error is None and answer.best()[0][0] == CLASSES[number % 3]
            for number in range(12)
            for answer in predictor.predict([data / CLASSES[number % 3] / f"{number}.png"])
        )
    assert told["accuracy"]["value"] == pytest.approx(right / 12)


def test_pictures_without_the_numbers_beside_them_are_refused_at_once(
    hornbeam_here, sized_trees, tmp_path
):
    done = hornbeam_here("benchmark", sized_trees, "--data", tmp_path)
    assert done.code == 2
    assert "takes height, age beside each picture" in done.sentence
