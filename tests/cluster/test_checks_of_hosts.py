"""Hosts that are not ready: all that is wrong is told in one table, and nothing was started."""

import copy
import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from hornbeam.cluster import checks, probe
from hornbeam.cluster.checks import Answer, Wanted
from hornbeam.cluster.starting.starter import Host
from hornbeam.errors import ClusterError, ConfigError

HERE = Host("head", "127.0.0.1", here=True)
AWAY = Host("gpu2", "gpu2")


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "photos"
    (folder / "cat").mkdir(parents=True)
    (folder / "cat" / "1.jpg").write_bytes(b"x" * 10)
    (folder / "cat" / ".hidden").write_bytes(b"x")
    (folder / "train-0.tfrecord").write_bytes(bytes(range(256)) * 1000)
    return folder


@pytest.fixture
def facts(data, tmp_path):
    """What a host says where all is well."""
    ours = probe.look({"paths": [str(data)], "folder": str(tmp_path), "shared": None, "head": None})
    return {**ours, "resolves": ["10.0.0.2"], "free": 2**40}


@pytest.fixture
def problems(facts, data, tmp_path, ssh):
    """Say what is wrong with a host, some of whose facts are others."""

    def of(host=AWAY, hosts=(HERE, AWAY), writes=True, jax=True, between=None, **changed):
        answer = Answer(host, {**copy.deepcopy(facts), **changed})
        answer.between = between or tuple(facts["clock"])
        wanted = Wanted([str(data)], tmp_path, writes=writes, jax=jax)
        return checks._problems(answer, facts, hosts, wanted)

    return of


def test_a_host_like_ours_is_ready(problems):
    assert problems() == []


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"python": [3, 9, 2]}, ["Python 3.9.2 is too old, 3.11 is needed; name another with --python"]),
        ({"python": [3, 99, 0]}, ["Python is 3.99 there and"]),
        ({"hornbeam": None}, ["Hornbeam is not installed in", "--install does it"]),
        ({"hornbeam": "0" * 16}, ["another Hornbeam: ", "with sources 0000000000000000, here", "--install brings ours"]),
        ({"packages": {**probe._versions(probe.PACKAGES), "keras": "3.0.0", "jax": None}}, ["other packages: keras 3.0.0 (here 3.", "jax is missing (here"]),
        ({"free": 2**30}, ["only 1.0 GiB are free where", "2.0 GiB are wanted"]),
        ({"resolves": ["127.0.1.1"], "hostname": "gpu2", "accelerator": False}, ["its own name 'gpu2' means 127.0.1.1 there", "in its /etc/hosts write 'ITS ADDRESS gpu2'"]),
        ({"resolves": [], "accelerator": False}, ["is unknown there"]),
        ({"head": "Connection refused"}, ["it does not reach the head 127.0.0.1: Connection refused; open the port", "--coordinator-port"]),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_mend(problems, changed, words):
    told = "; ".join(problems(**changed))
    for word in words:
        assert word in told


def test_without_jax_no_machine_trains_with_another_and_this_one_is_no_exception(problems, facts):
    facts["packages"] |= {"jax": None, "jaxlib": None}
    (told,) = problems(host=HERE)
    assert "JAX, by which several machines train together, is missing: pip install" in told
    assert problems(host=HERE, jax=False) == []  # shards need none


def test_several_problems_are_told_together(problems):
    assert len(problems(free=0, hornbeam="x", head="timed out")) == 3


def test_a_name_that_means_loopback_is_no_matter_with_an_accelerator_or_on_one_machine(problems):
    assert problems(resolves=["127.0.1.1"], accelerator=True) == []
    assert problems(HERE, hosts=(HERE, HERE), resolves=["127.0.1.1"], accelerator=False) == []


def test_localhost_is_no_name_for_a_head_of_others(problems):
    head = Host("localhost", "localhost", here=True)
    assert "the others cannot find 'localhost'" in problems(head, hosts=(head, AWAY))[0]


@pytest.mark.parametrize(("seconds", "way"), [(7.0, "ahead"), (-60.0, "behind")])
def test_clocks_that_differ_are_told(problems, facts, seconds, way):
    begun, ended = facts["clock"]
    told = problems(clock=[begun + seconds, ended + seconds])
    assert told == [f"its clock is {abs(seconds):.0f} s {way} of ours; let NTP set both"]


def test_a_slow_connection_is_no_difference_of_clocks(problems, facts):
    begun, ended = facts["clock"]
    assert problems(between=(begun - 60, ended + 60)) == []


def test_data_that_is_missing_or_other_is_told(problems, facts, data):
    name = str(data)
    assert problems(paths={name: None})[0].startswith(
        f"{name} is not there; `hornbeam cluster send"
    )
    assert "1 files, 7 bytes; here 2 and 256,010" in problems(paths={name: [1, 7, "x"]})[0]
    count, size, _ = facts["paths"][name]
    assert "as many bytes, but others" in problems(paths={name: [count, size, "x"]})[0]


def test_a_head_elsewhere_must_share_the_folder_of_the_run(problems):
    told = problems(AWAY, hosts=(AWAY, HERE), shared=False)
    assert "it is the head, and would write the run to a" in told[0]
    assert problems(AWAY, hosts=(AWAY, HERE), shared=True) == []


def test_a_fingerprint_changes_with_names_sizes_and_the_ends_of_shards(data):
    before = probe.fingerprint(str(data))
    assert before[:2] == [2, 256_010]
    (data / "cat" / ".hidden").unlink()
    assert probe.fingerprint(str(data)) == before
    shard = data / "train-0.tfrecord"
    content = shard.read_bytes()
    shard.write_bytes(content[:-1] + b"!")
    assert probe.fingerprint(str(data))[2] != before[2]
    shard.write_bytes(content)
    (data / "cat" / "1.jpg").rename(data / "cat" / "2.jpg")
    assert probe.fingerprint(str(data))[2] != before[2]
    assert probe.fingerprint(str(data / "train-*"))[:2] == [1, 256_000]
    assert probe.fingerprint(str(data / "gone")) is None


def test_the_probe_runs_by_itself_in_a_bare_python(data, tmp_path):
    question = {
        "paths": [str(data)],
        "folder": str(tmp_path / "a" / "b"),
        "shared": None,
        "head": None,
    }
    done = subprocess.run(
        [sys.executable, "-S", "-E", "-", json.dumps(question)], input=Path(probe.__file__).read_bytes(),
        capture_output=True, check=True, cwd=tmp_path,
    )  # fmt: skip
    facts = json.loads(done.stdout)
    assert facts["paths"][str(data)] == probe.fingerprint(str(data))
    assert facts["hornbeam"] is None
    assert facts["free"] > 0


@pytest.fixture
def named(monkeypatch):
    """Let no name mean loopback, as it does on machines where tests run."""
    monkeypatch.setattr(checks, "_network", lambda facts, hosts, host: (
        [f"head: {facts['head']}"] if facts["head"] else []
    ))  # fmt: skip


def test_hosts_are_asked_by_ssh_and_told_in_one_table(ssh, data, tmp_path, capsys, named):
    (ssh / "gpu3").mkdir()
    (ssh / "gpu3" / "down").touch()
    hosts = [HERE, AWAY, Host("gpu3", "gpu3")]
    wanted = Wanted([str(data)], tmp_path, writes=True)
    with pytest.raises(
        ClusterError, match=r"^1 of 3 hosts are not ready, see the table; nothing was started"
    ):
        checks.check(hosts, wanted)
    table = capsys.readouterr().out
    rows = {line.split()[0]: line.rstrip() for line in table.splitlines()[2:]}
    assert rows["head"].endswith("ready")
    assert rows["gpu2"].endswith("2 files   ready")
    assert "cannot be reached: connect to host gpu3 port 22: No route to host" in rows["gpu3"]
    assert not list(tmp_path.glob(".hornbeam-*"))


def test_ready_hosts_are_one_line(ssh, data, tmp_path, capsys, named):
    checks.check([HERE, AWAY], Wanted([str(data)], tmp_path, writes=True))
    assert capsys.readouterr().out == "2 hosts are ready: head, gpu2.\n"


def test_a_head_elsewhere_is_asked_for_a_port_and_for_the_folder(ssh, data, tmp_path, named):
    answers = checks.ask([AWAY, HERE], Wanted([str(data)], tmp_path, writes=True))
    assert [answer.problems for answer in answers] == [[], []]
    assert answers[0].facts["shared"]


def test_a_port_that_is_taken_is_told(ssh, tmp_path, named):
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        answers = checks.ask([HERE], Wanted([], tmp_path, port=port))
    assert answers[0].problems == [f"its port {port} cannot be had: Address already in use"]


def test_a_python_that_is_not_there_is_told(ssh, tmp_path, named):
    answers = checks.ask([HERE, AWAY], Wanted([], tmp_path, python="/no/such/python"))
    assert "its Python does not answer" in answers[1].problems[0]
    assert "/no/such/python" in answers[1].problems[0]


def test_data_that_nobody_has_is_told_before_anybody_is_asked(tmp_path):
    with pytest.raises(ConfigError, match="gone does not exist"):
        checks.check([HERE], Wanted([str(tmp_path / "gone")], tmp_path))


def test_the_command_checks(hornbeam_here, ssh, data):
    done = hornbeam_here("cluster", "check", data, "--hosts", "localhost,localhost")
    assert done.code == 0, done.err
    assert "1 host is ready: localhost." in done.out
    assert "2 files" in done.out
