"""`hornbeam train --hosts …` from the command line to the run, with stand-ins for the workers."""

import functools
import json
import sys

import pytest
from stage import STAND_IN

from hornbeam.cli import main
from hornbeam.cluster import attempt
from hornbeam.cluster.starting.local import LocalStarter
from hornbeam.workflow import hosts_training

DONE = [["run"], ["say", "trained"], ["exit", 0]]


@pytest.fixture
def train(tmp_path, monkeypatch, shapes, capsys):
    """Run `hornbeam train SHAPES --hosts localhost,localhost …` in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    command = (sys.executable, "-S", "-E", str(STAND_IN))
    monkeypatch.setattr(
        hosts_training, "LocalStarter", functools.partial(LocalStarter, command=command)
    )
    monkeypatch.setattr(attempt, "_SAME_FAULT", 60.0)  # for rank 0 to find a wrong option, too

    def run(attempts, *words):
        (tmp_path / "scenario").mkdir(exist_ok=True)
        scenario = tmp_path / "scenario" / "plan.json"
        scenario.write_text(json.dumps(attempts))
        monkeypatch.setenv("STAND_IN", str(scenario))
        code = main(["train", str(shapes), "--hosts", "localhost,localhost", *map(str, words)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def noted(tmp_path, rank=0, attempt=0):
    return json.loads((tmp_path / "scenario" / f"attempt-{rank}-{attempt}").read_text())


def test_a_training_on_two_processes_has_a_run_with_the_logs_of_both(train, tmp_path, shapes):
    code, out, err = train([{"all": DONE}], "--epochs", 3)
    assert (code, err) == (0, "")
    assert out.splitlines() == ["1 host is ready: localhost.", "trained"]
    run = tmp_path / "runs" / "shapes-1"
    assert {path.name for path in (run / "workers").iterdir()} == {
        "0-localhost.log",
        "1-localhost.log",
    }
    told = noted(tmp_path, 1)
    assert told["words"] == ["train", "--epochs=3", f"--run={run}", str(shapes)]
    assert told["environment"]["HORNBEAM_COORDINATOR"].startswith("127.0.0.1:")


def test_where_nothing_comes_of_it_nothing_is_left(train, tmp_path):
    failing = [{"all": [["err", "hornbeam: There is no model 'x'."], ["exit", 2]]}]
    assert train(failing)[0::2] == (2, "hornbeam: There is no model 'x'.\n")
    assert list((tmp_path / "runs").iterdir()) == []


def test_it_goes_on_by_itself_and_says_how_to_go_on_by_hand(train, tmp_path, shapes):
    failing = {"0": [["run"], ["touch", "up"], ["hang"]], "1": [["await", "up"], ["kill", 9]]}
    code, _, err = train([failing], "--min-hosts", 2, "-b", 64)
    assert code == 1
    run = tmp_path / "runs" / "shapes-1"
    assert noted(tmp_path, 1, 1)["words"][:4] == [
        "train",
        "--batch-size=64",
        f"--run={run}",
        "--resume",
    ]
    warning, sentence = err.splitlines()
    assert "goes on anew on 2 hosts, with the same batches of 64 (restart 1 of 3)" in warning
    assert sentence == (
        "hornbeam: Host localhost (rank 1) was killed (SIGKILL; perhaps out of memory), twice in a row. What "
        f"the workers printed is in {run / 'workers'}. To go on: hornbeam train "
        f"--hosts=localhost,localhost --min-hosts=2 --run={run} --resume"
    )


def test_an_earlier_run_is_refused_replaced_or_gone_on_with(train, tmp_path):
    run = tmp_path / "r"
    assert train([{"all": DONE}], "--run", run)[0] == 0
    code, _, err = train([{"all": DONE}], "--run", run)
    assert code == 2
    assert "a run is there already" in err
    assert train([{"all": DONE}], "--run", run, "--overwrite")[0] == 0
    assert "--overwrite" in noted(tmp_path, 0, 1)["words"]
    assert train([{"all": DONE}], "--run", run, "--resume")[0] == 0
    assert (run / "workers" / "0-localhost.log").read_text().count("---") == 3


def test_batches_of_an_earlier_run_must_be_divisible(train, tmp_path):
    run = tmp_path / "r"
    run.mkdir()
    (run / "config.yaml").write_text("batch_size: 9\ndata: null\n")
    code, _, err = train([{"all": DONE}], "--run", run, "--resume")
    assert code == 2
    assert "are of 9 pictures, which 2 hosts cannot divide" in err


def test_a_worker_supervises_nobody(train, tmp_path, monkeypatch):
    monkeypatch.setenv("HORNBEAM_RANK", "0")
    monkeypatch.setenv("HORNBEAM_WORLD_SIZE", "2")
    monkeypatch.setattr(hosts_training, "train_on_hosts", None)
    code, _, err = train([{"all": DONE}])
    assert code == 2
    assert "$HORNBEAM_COORDINATOR is not set" in err, "it wants to meet the others"


def content(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.startswith(".")
    }  # fmt: skip


def test_shards_that_two_processes_prepare_are_those_of_one(tmp_path, hornbeam_here, shapes):
    words = ("--examples-per-shard", 8, "--shorter-side", 40)
    assert hornbeam_here("prepare", shapes, tmp_path / "one", *words).code == 0
    done = hornbeam_here(
        "prepare", shapes, tmp_path / "two", *words, "--hosts", "localhost,localhost"
    )
    assert done.code == 0, done.err
    one, two = content(tmp_path / "one"), content(tmp_path / "two")
    assert len(one) > 20
    assert one == two
    assert [path.name for path in tmp_path.iterdir()].count("two.workers") == 0
