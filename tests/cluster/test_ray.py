"""Ray, for real: a cluster of two nodes on this machine, brought up by `hornbeam cluster up`."""

import contextlib
import importlib.util
import json
import os
import re
import socket
import subprocess
import sys
import time

import psutil
import pytest
import yaml
from command_line import run_outside

from hornbeam.cluster import ray_clusters, ray_up
from hornbeam.cluster.starting.ray import RayStarter

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("ray") is None,
        reason="needs Ray: pip install -c constraints.txt ray",
    ),
    pytest.mark.filterwarnings("ignore"),  # of Ray's own
]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    place = tmp_path_factory.mktemp("home")
    before = os.environ["HOME"]
    os.environ["HOME"] = str(place)
    yield place
    os.environ["HOME"] = before


@pytest.fixture(scope="module")
def cluster(home):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    done = run_outside(
        "cluster", "up", "trial", "--hosts", "localhost,localhost", "--port", port,
        "--python", sys.executable,
    )  # fmt: skip
    assert done.code == 0, done.err
    yield ray_up.known()["trial"]
    if "trial" in ray_up.known():
        ray_up.take_down(ray_up.known()["trial"])


def folder(home):
    return home / ".hornbeam" / "clusters"


def held(home, rank):
    return int((folder(home) / f"trial-{rank}.pid").read_text())


def test_all_nodes_live_behind_a_token_that_only_the_user_can_read(cluster, home):
    done = run_outside("cluster", "status")
    assert done.code == 0, done.err
    assert done.out.count("lives") == 2
    assert (folder(home) / "trial.token").stat().st_mode & 0o077 == 0
    assert len((folder(home) / "trial.token").read_text()) == 64
    code = f"import ray; ray.init('{cluster.address}', logging_level='ERROR')"
    without = {k: v for k, v in os.environ.items() if not k.startswith("RAY_AUTH")}
    refused = subprocess.run(
        [sys.executable, "-c", code], env={**without, "HOME": "/nonexistent"}, capture_output=True,
        text=True, timeout=120, check=False,
    )  # fmt: skip
    assert refused.returncode != 0


def test_a_name_is_taken_once(cluster):
    done = run_outside("cluster", "up", "trial", "--hosts", "localhost")
    assert done.code == 2
    assert "There is a cluster 'trial' already" in done.sentence


def test_a_worker_on_each_node_says_its_lines_and_its_exit_code(cluster):
    lines, workers = [], []
    with ray_clusters.connected(cluster.address, cluster.token):
        nodes = ray_clusters.alive_nodes()
        assert len({node.host.name for node in nodes}) == 2
        starter = RayStarter(deadline=5)
        for rank, (node, words) in enumerate(
            zip(nodes, (["--version"], ["nonsense"]), strict=True)
        ):
            assert starter.unreachable(node.host) is None
            told = lambda stream, line, rank=rank: lines.append((rank, stream, line))  # noqa: E731
            workers.append(starter.start(rank, node.host, words, {}, told))
        end = time.monotonic() + 60
        while any(worker.poll() is None for worker in workers):
            assert time.monotonic() < end
            time.sleep(0.1)
    assert [worker.poll() for worker in workers] == [0, 2], lines
    assert any(r == 0 and s == "stdout" and line.startswith("hornbeam ") for r, s, line in lines)
    assert any(r == 1 and s == "stderr" and "no command 'nonsense'" in line for r, s, line in lines)


def ranks(run):
    """Return the processes that train a run, by rank; others may train here, too."""
    found = {}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, KeyError, IndexError):
            words = process.cmdline()
            if words[1:4] == ["-m", "hornbeam", "train"] and f"--run={run}" in words:
                found[int(process.environ()["HORNBEAM_RANK"])] = process
    return found


def wait_for(condition, training, seconds=600):
    end = time.monotonic() + seconds
    while not condition():
        assert training.poll() is None, training.communicate()
        assert time.monotonic() < end
        time.sleep(0.2)


def test_a_training_goes_on_after_a_worker_and_then_after_a_node(cluster, home, tmp_path):
    assert run_outside("sample", "photos", "--per-class", 20, cwd=tmp_path).code == 0
    words = (
        "photos --backend jax --model compact --image-size 32 --batch-size 8 --steps 150 --run run "
        f"--save-every 5steps --validate-every 50steps --min-hosts 1 --ray-address {cluster.address}"
    )
    with (tmp_path / "said").open("w") as said:
        training = subprocess.Popen(
            [sys.executable, "-m", "hornbeam", "train", *words.split()], cwd=tmp_path, stdout=said,
            stderr=said,
        )  # fmt: skip
    try:
        checkpoints = tmp_path / "run" / "checkpoints"
        told = lambda: (tmp_path / "said").read_text()  # noqa: E731
        wait_for(lambda: list(checkpoints.glob("step-*")), training)
        ranks(tmp_path / "run")[1].kill()
        wait_for(lambda: "(restart 1 of 3)" in told(), training)
        wait_for(
            lambda: "Going on after step" in told() and len(ranks(tmp_path / "run")) == 2, training
        )
        newest = max(checkpoints.glob("step-*"))
        wait_for(lambda: max(checkpoints.glob("step-*")) > newest, training)
        node = psutil.Process(held(home, 1))  # for good
        for process in [*node.children(recursive=True), node]:
            with contextlib.suppress(psutil.Error):
                process.kill()
        wait_for(lambda: "on 1 of 2 hosts" in told(), training)
        assert training.wait(900) == 0, told()
        assert re.search(r"rank 1\).*SIGKILL.*\(restart 1 of 3\)", told()), told()
    finally:
        training.terminate()
        training.wait(60)
    rows = (tmp_path / "run" / "metrics.csv").read_text().splitlines()
    assert len(rows) == 1 + 3
    assert run_outside("cluster", "status", "trial").code == 1


def test_a_cluster_that_was_taken_down_leaves_nothing(cluster, home):
    before = [held(home, 0)]
    done = run_outside("cluster", "down", "trial")
    assert done.code == 0, done.err
    gone = not psutil.pid_exists(before[0])
    assert gone or psutil.Process(before[0]).status() == psutil.STATUS_ZOMBIE
    assert not list(folder(home).iterdir())
    assert "There is no cluster 'trial'" in run_outside("cluster", "down", "trial").sentence


def test_the_file_for_ray_up_is_one_that_ray_takes(home, tmp_path):
    file = tmp_path / "cluster.yaml"
    done = run_outside("cluster", "up", "--hosts", "127.0.0.1,127.0.0.2", "--write", file)
    assert done.code == 0, done.err
    content = yaml.safe_load(file.read_text())
    from ray.autoscaler._private.util import prepare_config, validate_config

    validate_config(prepare_config(json.loads(json.dumps(content))))
    assert content["provider"]["worker_ips"] == ["127.0.0.2"]
