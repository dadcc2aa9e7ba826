"""Data on its way to hosts: only what is missing, and checksums of every file."""

import io
import os
import shutil
import subprocess
import tarfile

import pytest

from hornbeam.cluster import checksums, install
from hornbeam.cluster.install import build_wheel, installed_versions
from hornbeam.cluster.sending import place_of, send
from hornbeam.cluster.starting.starter import Host
from hornbeam.errors import ClusterError, ConfigError

needs_rsync = pytest.mark.skipif(
    shutil.which("rsync") is None and not os.environ.get("HORNBEAM_TESTS_NEED_RSYNC"),
    reason="rsync is not installed",
)
HOSTS = [Host("gpu2", "gpu2"), Host("me@gpu3", "gpu3", "me", 2222)]


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "from" / "my photos"
    for name in ("a b/1.jpg", "it's/2.jpg", "3.jpg"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode() * 1000)
    return folder


@needs_rsync
def test_all_hosts_get_all_and_next_time_only_what_is_missing(data, ssh, tmp_path, capsys):
    to = tmp_path / "there is"
    sent = send(data, HOSTS[:1], to, None)
    assert checksums.of(str(to / data.name)) == checksums.of(str(data))
    assert sent[0].sent > 16_000
    assert "complete, checksums are equal" in capsys.readouterr().out
    (data / "4.jpg").write_bytes(b"new")
    assert send(data, HOSTS[:1], to, None)[0].sent < 1_000
    assert (to / data.name / "4.jpg").read_bytes() == b"new"


@needs_rsync
def test_several_hosts_are_sent_to_by_their_own_ports_and_users(data, ssh, tmp_path, calls):
    send(data, HOSTS, tmp_path / "to", None)
    words = [call for call in calls() if "gpu3" in call]
    assert all("-p 2222 -l me" in " ".join(call) for call in words)


@needs_rsync
def test_a_file_that_was_changed_behind_the_same_size_and_date_is_found(
    data, ssh, tmp_path, capsys
):
    to = tmp_path / "to"
    send(data, HOSTS[:1], to, None)
    there = to / data.name / "3.jpg"
    when = there.stat().st_mtime_ns
    there.write_bytes(b"X" + there.read_bytes()[1:])
    os.utime(there, ns=(when, when))
    with pytest.raises(ClusterError, match=r"^gpu2 does not have all of .*my photos"):
        send(data, HOSTS[:1], to, None)
    assert "1 of 3 files differ, 3.jpg first" in capsys.readouterr().out


@needs_rsync
def test_a_host_that_does_not_answer_costs_the_others_nothing(data, ssh, tmp_path, capsys):
    (ssh / "gpu3").mkdir()
    (ssh / "gpu3" / "down").touch()
    with pytest.raises(ClusterError, match=r"^me@gpu3 does not have all"):
        send(data, HOSTS, tmp_path / "to", None)
    out = capsys.readouterr().out
    assert "No route to host" in out
    assert "complete" in out


@needs_rsync
def test_one_file_is_sent_too(data, ssh, tmp_path):
    send(data / "3.jpg", HOSTS[:1], tmp_path / "to", None)
    assert (tmp_path / "to" / "3.jpg").read_bytes() == (data / "3.jpg").read_bytes()


@needs_rsync
def test_what_is_not_there_is_not_sent(tmp_path, hornbeam_here, ssh):
    with pytest.raises(ConfigError, match="gone does not exist"):
        send(tmp_path / "gone", HOSTS, tmp_path, None)
    done = hornbeam_here("cluster", "send", tmp_path, "--hosts", "localhost")
    assert done.code == 2
    assert "names this machine alone" in done.err


def test_an_address_of_ipv6_stands_in_brackets():
    assert place_of(Host("x", "fe80::1"), "/d/") == "[fe80::1]:/d/"


def test_a_wheel_of_the_same_sources_is_the_same_and_pip_takes_it(tmp_path):
    import sys
    from pathlib import Path

    import hornbeam

    source = Path(hornbeam.__file__).parent
    name, content = build_wheel(source)
    assert build_wheel(source) == (name, content)
    (tmp_path / name).write_bytes(content)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target",
               str(tmp_path / "t"), str(tmp_path / name)]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    done = subprocess.run(
        [sys.executable, "-S", "-c", "import hornbeam; print(hornbeam.__file__)"], check=True,
        capture_output=True, text=True, env={"PYTHONPATH": str(tmp_path / "t")}, cwd=tmp_path,
    )  # fmt: skip
    assert done.stdout.startswith(str(tmp_path / "t"))


FAKE_PYTHON = """#!/bin/sh
case "$*" in
*" venv "*) mkdir -p venv/bin; cp "$0" venv/bin/python; echo made >> ../made; sleep 0.2 ;;
esac
"""


@pytest.mark.skipif(shutil.which("flock") is None, reason="flock is not installed")
def test_of_hosts_with_one_home_only_the_first_installs(tmp_path):
    python = tmp_path / "bin" / "python3"
    python.parent.mkdir()
    python.write_text(FAKE_PYTHON)
    python.chmod(0o755)
    nothing = io.BytesIO()
    tarfile.open(fileobj=nothing, mode="w").close()
    script = install._SCRIPT.format(folder=".hornbeam", digest="1a2b", python="python3")
    environment = {"HOME": str(tmp_path), "PATH": f"{python.parent}:{os.environ['PATH']}"}
    hosts = [
        subprocess.Popen(
            ["sh", "-c", script], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        for _ in range(3)
    ]
    for host in hosts:  # none waits for another to be told
        host.stdin.write(nothing.getvalue())
        host.stdin.close()
    said = [host.stdout.read() for host in hosts]
    assert [host.wait(60) for host in hosts] == [0, 0, 0]
    for host in hosts:
        host.stdout.close()
    assert sorted(said) == [b"installed\n", b"reused\n", b"reused\n"]
    assert (tmp_path / "made").read_text() == "made\n"


def test_hosts_get_the_versions_of_this_machine():
    lines = installed_versions().splitlines()
    assert any(line.startswith("keras==") for line in lines)
    assert not any(line.startswith("hornbeam==") for line in lines)
