"""Options, help and everything that a user can get wrong: one sentence, the right exit code."""

import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time

import pytest
import yaml

from hornbeam import workflow
from hornbeam.cli import build_parser, main, parse
from hornbeam.config import COMMANDS, TrainOptions
from hornbeam.errors import ConfigError


@pytest.mark.parametrize("command", COMMANDS)
def test_help_explains_every_option_and_shows_its_default(command):
    text = re.sub(r"\s+", " ", build_parser(command).format_help())
    for field in COMMANDS[command].model_fields.values():
        assert re.sub(r"\s+", " ", field.description) in text
        if isinstance(field.default, (int, float, str)) and field.default is not False:
            assert f"(default: {field.default})" in text
        for other in field.json_schema_extra.get("names", []):
            assert other in text


def test_a_section_of_the_help_is_had_alone_and_a_wrong_one_is_told_the_right_ones(capsys):
    assert main(["train", "--help", "learning-rate"]) == 0
    text = capsys.readouterr().out
    assert "--warmup" in text
    assert "--batch-size" not in text
    assert main(["train", "--help", "netwrok"]) == 2
    assert "Did you mean 'network'?" in capsys.readouterr().err


def test_help_answers_within_half_a_second():
    helping = [sys.executable, "-m", "hornbeam", "train", "--help"]
    # Twice what these three take; a machine on which that is more than half a second is slow.
    importing = [sys.executable, "-c", "import numpy, pydantic, yaml"]
    ours, theirs = [], []

    def is_quick():
        return min(ours) < max(0.5, 4 * min(theirs))

    while not ours or (not is_quick() and len(ours) < 15):  # it may be busy with other tests
        for command, times in ((helping, ours), (importing, theirs)):
            start = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            times.append(time.perf_counter() - start)
    assert is_quick(), (ours, theirs)


def test_the_command_line_wins_over_the_file_and_the_file_over_defaults(tmp_path):
    file = tmp_path / "options.yaml"
    file.write_text("data: pictures\nbatch-size: 64\nlearning_rate: 0.5\n")
    options = parse("train", ["--config", str(file), "--lr", "0.25"])
    assert (str(options.data), options.batch_size, options.learning_rate, options.seed) == (
        "pictures",
        64,
        0.25,
        0,
    )


@pytest.mark.parametrize(
    "words",
    [
        ["d", "--batch-size", "8"], ["d", "--batch_size", "8"], ["d", "-b", "8"], ["d", "--batch-size=8"],
        ["--batch_size=8", "d"],
    ],
)  # fmt: skip
def test_an_option_may_be_spelled_in_the_usual_ways(words):
    assert parse("train", words).batch_size == 8


@pytest.mark.parametrize(
    ("text", "size"), [("96", (96, 96, 3)), ("64x96", (64, 96, 3)), ("64,96", (64, 96, 3))]
)
def test_image_sizes_are_one_number_or_height_and_width(text, size):
    assert parse("train", ["d", "--imgsz", text]).image_size == size


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["trian", "d"], "There is no command 'trian'. Did you mean 'train'?"),
        (["train"], "DATA is missing"),
        (["train", "d", "e"], "'e' is one argument too many"),
        (["train", "d", "--batchsize", "3"], "no option --batchsize. Did you mean '--batch-size'?"),
        (["train", "d", "--batch-size", "0"], "--batch-size should be greater than or equal to 1 (got '0')"),
        (["train", "d", "--batch-size", "many"], "--batch-size should be a valid integer (got 'many')"),
        (["train", "d", "--lr", "-1", "--dropout", "2"], "--learning-rate should be greater than 0 (got '-1'); --dropout should be less than 1 (got '2')"),
        (["train", "d", "--augment", "lite"], "--augment should be 'none', 'light', 'standard' or 'strong' (got 'lite'); did you mean 'light'?"),
        (["train", "d", "--image-size", "big"], "--image-size should be a number of pixels, HEIGHTxWIDTH, or HEIGHTxWIDTHxCHANNELS (got 'big')"),
        (["train", "d", "--epochs", "3", "--steps", "9"], "--epochs and --steps exclude each other"),
        (["train", "d", "--config", "gone.yaml"], "gone.yaml cannot be read"),
        (["export", "r", "--out", "o", "--format", "kerras"], "(got 'kerras')"),
        (["predict", "r", "x.jpg", "--out", "a.xlsx"], "--out should end in .csv, .json, .jsonl or .parquet (got 'a.xlsx')"),
        (["evaluate", "gone"], "The run gone does not exist"),
        (["models", "all"], "'all' is one argument too many"),
    ],
)  # fmt: skip
def test_a_wrong_command_line_is_answered_in_one_sentence(
    words, sentence, capsys, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    captured = capsys.readouterr()
    assert sentence in captured.err
    assert captured.err.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("batch_sise: 3", "there is no option 'batch_sise'. Did you mean 'batch_size'?"),
        ("batch_size: [", "line 1, column 14: this is not YAML"),
        ("- 1", "expected lines such as"),
        ("data: d\nbatch_size: none", "--batch-size should be a valid integer"),
    ],
)
def test_a_wrong_configuration_file_is_answered_in_one_sentence(text, words, tmp_path):
    (tmp_path / "o.yaml").write_text(text)
    with pytest.raises(ConfigError) as error:
        parse("train", ["--config", str(tmp_path / "o.yaml")])
    assert words in str(error.value)


def test_all_problems_are_told_at_once():
    with pytest.raises(ConfigError) as error:
        TrainOptions(data="d", batch_size=0, epochs="x", freeze="all", imgsize=3)
    for words in (
        "--batch-size",
        "--epochs",
        "--freeze",
        "no option 'imgsize'. Did you mean 'image_size'",
    ):
        assert words in str(error.value)


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["--model", "resnet5"], 2, "There is no model 'resnet5'. Did you mean 'resnet50'?"),
        (["--model", "inception_v3", "--image-size", "64"], 2, "64x64 is too small for inception_v3"),
        (["--weights", "gone.h5"], 2, "--weights gone.h5: there is no such file"),
        (["--model", "compact", "--weights", "imagenet"], 2, "There are no ImageNet weights of compact"),
        (["--recipe", "gone.py"], 2, "--recipe gone.py: there is no such file"),
        (["--run", "occupied"], 2, "--run occupied: there is something that is no run"),
        (["--run", "occupied", "--overwrite"], 2, "--run occupied: there is something that is no run"),
        (["--run", "thesis.txt/run"], 1, "thesis.txt"),
    ],
)  # fmt: skip
def test_bad_input_to_train_leaves_nothing_behind(
    hornbeam, shapes, tmp_path, words, code, sentence
):
    (tmp_path / "occupied").mkdir()
    (tmp_path / "occupied" / "thesis.txt").write_text("years of work")
    (tmp_path / "thesis.txt").write_text("more")
    done = hornbeam("train", shapes, *words, cwd=tmp_path)
    assert done.code == code, done.err
    assert sentence in done.sentence
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["occupied", "thesis.txt", "thesis.txt"]


@pytest.mark.parametrize(
    ("files", "code", "sentence"),
    [
        ({}, 2, "does not exist"),
        ({"a/1.jpg": b""}, 1, "one class, 'a'"),
        ({"a/cat/1.jpg": b"", "a/dog/1.jpg": b""}, 1, "needs at least two. If the folders in it are the classes: "),
        ({"a/1.jpg": 1, "a/2.jpg": 2, "b/1.jpg": b"dear diary", "b/2.jpg": 3}, 1,
         "1.jpg: this is not a picture (it begins with the text 'dear diary')"),
    ],
)  # fmt: skip
def test_bad_folders_are_answered_in_one_sentence(
    hornbeam, folders, tmp_path, files, code, sentence
):
    done = hornbeam("train", folders(files), cwd=tmp_path)
    assert done.code == code
    assert sentence in done.sentence
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("def build_model(input_shape, targets)\n    pass", "recipe.py, line 1: SyntaxError"),
        ("import keras\n\nkeras.layers.Dens(3)", "recipe.py, line 3: AttributeError"),
        (
            "def build_modle(a, b): ...",
            "defines none of build_model(input_shape, targets, features)",
        ),
    ],
)
def test_a_broken_recipe_is_named_with_its_line(hornbeam, shapes, tmp_path, text, words):
    (tmp_path / "recipe.py").write_text(text)
    done = hornbeam("train", shapes, "--recipe", "recipe.py", cwd=tmp_path)
    assert done.code == 2
    assert words in done.sentence


@pytest.mark.parametrize(
    "proxy",
    [pytest.param({}, marks=pytest.mark.slow), {"https_proxy": "http://127.0.0.1:9"}],
    ids=["direct", "proxy"],
)
def test_imagenet_weights_out_of_reach_are_said_so_within_seconds(
    hornbeam, shapes, tmp_path, proxy
):
    from hornbeam.models.restoring.imagenet import _is_reachable

    if not proxy and _is_reachable("storage.googleapis.com"):
        pytest.skip("this machine reaches the server of the weights")
    start = time.perf_counter()
    done = hornbeam("train", shapes, "--weights", "imagenet", "--model", "mobilenet_v2_035",
                    cwd=tmp_path, KERAS_HOME=str(tmp_path / "keras"), **proxy)  # fmt: skip
    assert done.code == 1
    assert "ImageNet weights are not on this machine" in done.sentence
    assert "--weights FILE" in done.sentence
    assert time.perf_counter() - start < 100  # TensorFlow alone takes ten to load on a busy machine


def test_imagenet_weights_in_keras_cache_need_no_network(hornbeam, shapes, pretrained, tmp_path):
    models = tmp_path / "keras" / "models"
    models.mkdir(parents=True)
    shutil.copy(
        pretrained / "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5", models
    )
    done = hornbeam("train", shapes, "--weights", "imagenet", "--steps", 1, "--run", tmp_path / "run",
                    "--image-size", 224, "-b", 2, "--subset", 6, KERAS_HOME=str(tmp_path / "keras"))  # fmt: skip
    assert done.code == 0, done.err
    assert "mobilenet_v2 at 224x224" in done.out


def test_without_a_backend_the_extras_are_named(monkeypatch, capsys, folders):
    from hornbeam import backend

    monkeypatch.delenv("KERAS_BACKEND")
    monkeypatch.setattr(backend.importlib.util, "find_spec", lambda name: None)
    root = folders({"a/1.jpg": 1, "b/1.jpg": 1})
    assert main(["train", str(root)]) == 2
    assert "hornbeam[cpu]" in capsys.readouterr().err


def test_a_backend_that_is_not_installed_is_said_so(monkeypatch, capsys, folders):
    from hornbeam import backend

    monkeypatch.setattr(backend.importlib.util, "find_spec", lambda name: None)
    root = folders({"a/1.jpg": 1, "b/1.jpg": 1})
    assert main(["train", str(root), "--backend", "torch"]) == 2
    assert "The backend 'torch' is not installed; pip install" in capsys.readouterr().err


def test_a_full_disk_leaves_the_earlier_file(tmp_path):
    code = f"""
import resource, signal
from pathlib import Path
from hornbeam.storage import write_bytes
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
path = Path({str(tmp_path)!r}) / "f"
write_bytes(path, b"old")
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    write_bytes(path, b"new" * 1000)
except OSError as error:
    print(error.strerror)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "File too large"
    assert [p.name for p in tmp_path.iterdir()] == ["f"]
    assert (tmp_path / "f").read_bytes() == b"old"


def test_a_limit_on_file_sizes_while_training_is_one_sentence(shapes, tmp_path):
    def limit():
        import signal

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))

    done = subprocess.run(
        [sys.executable, "-m", "hornbeam", "train", str(shapes), "--run", str(tmp_path / "run"),
         "--image-size", "32", "--steps", "1"],
        capture_output=True, text=True, check=False, preexec_fn=limit, timeout=200,
        env={**os.environ, "KERAS_BACKEND": "tensorflow"},
    )  # fmt: skip
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert re.search(
        r"hornbeam: The checkpoint .* cannot be written .*File too large",
        done.stderr.splitlines()[-1],
    )
    assert not list((tmp_path / "run" / "checkpoints").glob("step-*"))


def test_sigterm_ends_any_command_in_order(hornbeam_here, monkeypatch):
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(
        workflow, "list_models", lambda options: os.kill(os.getpid(), signal.SIGTERM), raising=False
    )
    done = hornbeam_here("models")
    assert done.code == 143
    assert done.sentence == "hornbeam: stopped by SIGTERM."
    assert signal.getsignal(signal.SIGTERM) == before


def test_sigterm_is_heard_while_rubbish_is_collected(hornbeam_here, monkeypatch):
    class Deaf:
        def __del__(self):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.01)

    def collect(options):
        Deaf()
        time.sleep(20)

    monkeypatch.setattr(workflow, "list_models", collect, raising=False)
    done = hornbeam_here("models")
    assert done.code == 143
    assert done.sentence == "hornbeam: stopped by SIGTERM."


def test_the_schema_of_the_options_is_json_schema():
    schema = TrainOptions.model_json_schema()
    assert schema["properties"]["batch_size"]["minimum"] == 1
    assert yaml.safe_dump(schema)
