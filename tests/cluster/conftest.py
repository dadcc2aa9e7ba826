"""Stand-ins: for the worker, so that a world lives and dies in a second; for ssh, so that it runs here;
and hosts as namespaces, for tests that are marked slow."""

import json
import os
import sys

import hosts_bed
import pytest
from stage import Stage

# Runs the command of `ssh … -- HOST COMMAND` here, with a home of its own for each host. A file `down`
# there stands for a host that does not answer; `ssh.log` has all that it was given.
FAKE_SSH = f"""#!{sys.executable}
import json, os, pathlib, sys
words = sys.argv[1:]
place = pathlib.Path(__file__).parent
index = 0
while words[index].startswith("-") and words[index] != "--":
    index += 2 if words[index] in ("-o", "-p", "-l", "-i") else 1
index += words[index] == "--"
host = words[index]
if words[0] == "-G":
    print("hostname 127.0.0.1\\nstricthostkeychecking " + os.environ.get("FAKE_CHECKING", "ask"))
    sys.exit()
with (place / "ssh.log").open("a") as log:
    log.write(json.dumps(words) + "\\n")
home = place / host
if (home / "down").exists():
    print(f"ssh: connect to host {{host}} port 22: No route to host", file=sys.stderr)
    sys.exit(255)
home.mkdir(exist_ok=True)
kept = ("PATH", "PYTHONPATH", "LANG", "STAND_IN", "KERAS_BACKEND")
environment = {{k: v for k, v in os.environ.items() if k in kept}} | {{"HOME": str(home)}}
os.chdir(home)
os.execvpe("sh", ["sh", "-c", " ".join(words[index + 1:])], environment)
"""


@pytest.fixture
def ssh(tmp_path, monkeypatch):
    """A stand-in for ssh on the path; returns the folder with the homes of the hosts."""
    from hornbeam.cluster.starting.ssh import configured

    folder = tmp_path / "ssh"
    folder.mkdir()
    (folder / "ssh").write_text(FAKE_SSH)
    (folder / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    configured.cache_clear()
    yield folder
    configured.cache_clear()


@pytest.fixture
def calls(ssh):
    """Return what ssh was given, call by call."""
    return lambda: [json.loads(line) for line in (ssh / "ssh.log").read_text().splitlines()]


@pytest.fixture
def stage(tmp_path, monkeypatch) -> Stage:
    return Stage(tmp_path, monkeypatch)


@pytest.fixture
def three_hosts():
    """Three hosts of this test alone, of which the first is where the user sits."""
    why = hosts_bed.missing()
    if why:
        pytest.skip(why)
    with hosts_bed.bed(3) as hosts:
        yield hosts
