"""Workers here and by ssh: what is said to them arrives, and nothing stays behind."""

import json
import os
import subprocess
import sys

import psutil
import pytest
from zygote import until

from hornbeam.cluster.hosts import joined, reachable_address
from hornbeam.cluster.starting.local import LocalStarter
from hornbeam.cluster.starting.ssh import SshStarter, find_python, passed_on, ssh_words
from hornbeam.cluster.starting.starter import LOST, Host

TELL = "import os, sys, json; print(json.dumps([sys.argv[1:], dict(os.environ), os.getcwd()]))"
PYTHON = (sys.executable, "-S", "-E", "-c")

LOCAL = Host("here", "localhost", here=True)
AWAY = Host("away", "away")


class Heard:
    def __init__(self):
        self.lines = []

    def __call__(self, stream, line):
        self.lines.append((stream, line))


def ended(worker, seconds=120):
    return until(lambda: (code := worker.poll()) is not None and (code,), seconds)[0]


def starter(kind, code, deadline=5):
    command = (*PYTHON, code)
    return (
        LocalStarter(deadline, command)
        if kind == "local"
        else SshStarter(deadline, sys.executable, command)
    )


@pytest.mark.parametrize("kind", ["local", "ssh"])
def test_words_arrive_as_they_were_whatever_is_in_them(kind, ssh):
    words = [
        "it's",
        'a "b"',
        "$HOME `x` $(y)",
        "a;b|c&",
        "--groups={\"a\": ['b']}",
        "ü",
        "",
        "*",
        "a\nb",
    ]
    heard = Heard()
    host = LOCAL if kind == "local" else AWAY
    worker = starter(kind, TELL).start(3, host, words, {"HORNBEAM_HOST": "x y'z"}, heard)
    assert ended(worker) == 0
    said, environment, _ = json.loads(heard.lines[0][1])
    assert said == words
    assert environment["HORNBEAM_HOST"] == "x y'z"


@pytest.mark.parametrize("kind", ["local", "ssh"])
@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("import sys; sys.exit(4)", 4), ("import os; os.kill(os.getpid(), 9)", -9),
        ("import os; os.abort()", -6), ("raise SystemExit(143)", 143),
    ],
)  # fmt: skip
def test_the_exit_code_says_how_it_ended(kind, code, expected, ssh):
    host = LOCAL if kind == "local" else AWAY
    assert ended(starter(kind, code).start(0, host, [], {}, Heard())) == expected


@pytest.mark.parametrize("kind", ["local", "ssh"])
def test_a_worker_saves_ends_and_is_killed_as_it_is_told(kind, ssh):
    code = (
        "import signal, time\n"
        "for n in (10, 15): signal.signal(n, lambda n, f: print(n, flush=True))\n"
        "print('ready', flush=True)\n"
        "while True: time.sleep(0.02)"
    )
    heard = Heard()
    worker = starter(kind, code).start(0, LOCAL if kind == "local" else AWAY, [], {}, heard)
    until(lambda: ("stdout", "ready") in heard.lines)
    worker.save()
    until(lambda: ("stdout", "10") in heard.lines)
    worker.terminate()
    until(lambda: ("stdout", "15") in heard.lines)
    assert worker.poll() is None
    worker.kill()
    assert ended(worker) == -9


def test_a_worker_that_does_not_save_in_time_is_killed(ssh):
    code = "import signal, time; signal.signal(15, signal.SIG_IGN); print('x', flush=True); time.sleep(99)"
    heard = Heard()
    worker = starter("local", code, deadline=0.3).start(0, LOCAL, [], {}, heard)
    until(lambda: heard.lines)
    worker.terminate()
    assert ended(worker) == -9


def test_a_cut_connection_ends_the_worker_elsewhere(ssh):
    worker = starter("ssh", "import time; print('x', flush=True); time.sleep(99)").start(
        0, AWAY, [], {}, heard := Heard()
    )
    until(lambda: heard.lines)
    family = psutil.Process(worker.pid).children(recursive=True)
    assert family
    worker._process.stdin.close()  # as when the connection, or the supervisor, is gone
    assert psutil.wait_procs(family, timeout=60)[1] == []
    assert ended(worker) == -15 or worker.poll() == 143


def test_saving_is_not_disturbed_by_a_pipe_that_nobody_reads(tmp_path):
    code = (
        "import os, signal, sys, time\n"
        "def end(n, f):\n"
        "    for _ in range(2000): os.write(1, b'x' * 100)\n"
        f"    open({str(tmp_path / 'saved')!r}, 'w').close(); sys.exit(143)\n"
        "signal.signal(15, end); print('ready', flush=True); time.sleep(99)"
    )
    guard = subprocess.Popen(
        [sys.executable, "-m", "hornbeam.cluster.guard", "--", *PYTHON, code],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    guard.stdout.readline()
    guard.stdout.close()
    guard.stdin.close()
    assert guard.wait(120) == 143
    assert (tmp_path / "saved").exists()


def test_a_silent_supervisor_counts_as_gone(monkeypatch, tmp_path):
    run = "import hornbeam.cluster.guard as g, sys; g.SILENCE = 0.3; sys.exit(g.main(sys.argv[1:]))"
    guard = subprocess.Popen(
        [sys.executable, "-c", run, "--", *PYTHON, "import time; time.sleep(99)"],
        stdin=subprocess.PIPE,
    )
    with guard:
        assert guard.wait(120) == 143


def test_the_guard_says_what_cannot_be_started():
    done = subprocess.run(
        [sys.executable, "-m", "hornbeam.cluster.guard", "--", "/no/such"], stdin=subprocess.DEVNULL,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 127
    assert done.stderr == "hornbeam: /no/such cannot be started (No such file or directory).\n"


def test_a_guard_imports_nothing_but_the_standard_library():
    code = (
        "import sys, hornbeam.cluster.guard; "
        "print({m.split('.')[0] for m in sys.modules} - set(sys.stdlib_module_names))"
    )
    out = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True,
                         env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})  # fmt: skip
    assert eval(out.stdout) <= {"hornbeam", "__main__"}


def test_ssh_asks_nothing_and_gives_up_what_does_not_answer(ssh):
    words = ssh_words(Host("x", "gpu1", "ubuntu", 2222))
    line = " ".join(words)
    for option in ("BatchMode=yes", "ServerAliveInterval=5", "ServerAliveCountMax=3",
                   "ConnectTimeout=10", "StrictHostKeyChecking=accept-new"):  # fmt: skip
        assert f"-o {option}" in line
    assert line.endswith("-p 2222 -l ubuntu -- gpu1")


def test_what_the_user_has_set_about_keys_of_hosts_holds(ssh, monkeypatch):
    monkeypatch.setenv("FAKE_CHECKING", "yes")
    assert "StrictHostKeyChecking" not in " ".join(ssh_words(AWAY))


def test_secrets_stay_here():
    given = {
        "HORNBEAM_TOKEN": "s", "HORNBEAM_CACHE": "/c", "AWS_SECRET_ACCESS_KEY": "s", "JAX_PLATFORMS": "cpu",
        "KERAS_BACKEND": "jax", "HF_TOKEN": "s", "TF_API_KEY": "s", "PYTHONPATH": "/p", "HOME": "/h",
        "NCCL_SOCKET_IFNAME": "eth0",
    }  # fmt: skip
    assert set(passed_on(given)) == {
        "HORNBEAM_CACHE", "JAX_PLATFORMS", "KERAS_BACKEND", "PYTHONPATH", "NCCL_SOCKET_IFNAME",
    }  # fmt: skip


def test_a_host_that_does_not_answer_is_told_in_the_words_of_ssh(ssh):
    (ssh / "away").mkdir()
    (ssh / "away" / "down").touch()
    heard = Heard()
    worker = starter("ssh", "").start(0, AWAY, [], {}, heard)
    assert ended(worker) == LOST
    assert starter("ssh", "").unreachable(AWAY) == "connect to host away port 22: No route to host"
    assert heard.lines == [("stderr", "ssh: connect to host away port 22: No route to host")]


@pytest.mark.parametrize(
    ("python", "expected"), [("/opt/my python/bin/python", "/opt/my python/bin/python"), ("~/v/bin/py", "/root-of-test/v/bin/py")]
)  # fmt: skip
def test_the_python_that_was_named_is_taken(python, expected):
    done = subprocess.run(
        ["sh", "-c", f'{find_python(python)} echo "$python"'], env={"HOME": "/root-of-test"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == expected


def test_a_name_that_only_ssh_knows_is_told_to_others_as_an_address(ssh):
    assert reachable_address(AWAY) == "127.0.0.1"
    assert joined("fe80::1", 9) == "[fe80::1]:9"
