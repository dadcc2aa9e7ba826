"""The hosts that other tests use are hosts: they reach each other, can be cut off, fail, and go away."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import hosts_bed
import pytest
from slurm_on_hosts import start_requeued
from zygote import until

pytestmark = pytest.mark.slow
RANKS = "echo $OMPI_COMM_WORLD_RANK of $OMPI_COMM_WORLD_SIZE on $(hostname)"


def ssh(hosts, target, script, **options):
    return hosts.run(0, ["ssh", "-o", "ConnectTimeout=3", target, script], **options)


def test_each_host_reaches_each_other_by_ssh_and_knows_its_key(three_hosts):
    for number in range(3):
        for other in three_hosts:
            for target in (other.name, other.address):
                done = three_hosts.run(number, ["ssh", target, "hostname; pwd"])
                assert done.stdout.split() == [other.name, str(other.home)], done.stderr


def test_files_travel_by_rsync_and_scp(three_hosts):
    (three_hosts[0].path("/home/trainer/a")).write_text("hello")
    assert three_hosts.run(0, ["rsync", "-a", "a", "elm:b"]).returncode == 0
    assert three_hosts.run(1, ["scp", "b", "ash:c"]).returncode == 0
    assert three_hosts[2].path("/home/trainer/c").read_text() == "hello"


def test_hosts_share_one_folder_and_nothing_else(three_hosts):
    three_hosts.run(0, ["touch", "/tmp/own", "/home/shared/all", "/home/small/own"])
    assert ssh(three_hosts, "elm", "ls /tmp /home/small /home/shared").stdout.split() == [
        "/home/shared:", "all", "/home/small:", "/tmp:",
    ]  # fmt: skip
    assert (three_hosts.shared / "all").exists()
    assert len(ssh(three_hosts, "elm", "ps -e -o comm=").stdout.split()) < 8
    homes = ssh(three_hosts, "elm", "ls -A /home /root").stdout
    assert "trainer" in homes
    assert ".ssh" not in homes


def test_a_host_has_the_package_of_this_repository_and_cannot_change_it(three_hosts):
    show = f"{sys.executable} -c 'import hornbeam; print(hornbeam.__file__)'"
    where = Path(ssh(three_hosts, "elm", show).stdout.strip())
    assert where == hosts_bed.REPOSITORY / "src/hornbeam/__init__.py"
    for place in (where.parent, Path(sys.prefix), Path("/usr")):
        done = three_hosts.run(1, ["touch", place / "x"], root=True)
        assert "Read-only file system" in done.stderr


def test_a_host_can_have_another_version(three_hosts):
    three_hosts.pretend_version(1, "9.9.9")
    show = [sys.executable, "-c", "import hornbeam; print(hornbeam.__version__)"]
    found = [three_hosts.run(number, show).stdout.strip() for number in range(3)]
    assert found[1] == "9.9.9"
    assert "9.9.9" not in (found[0], found[2])


def test_there_is_no_way_out_of_the_bed(three_hosts):
    reach = "import socket; socket.create_connection(('192.0.2.1', 80), 2)"
    done = three_hosts.run(0, [sys.executable, "-c", reach])
    assert os.strerror(errno.ENETUNREACH) in done.stderr


def test_debians_hosts_file_is_to_be_had():
    if hosts_bed.missing():
        pytest.skip(hosts_bed.missing())
    with hosts_bed.bed(2, loopback_names={1}) as hosts:
        ask = ["getent", "ahostsv4", "elm"]
        assert hosts.run(0, ask).stdout.startswith("10.47.0.12")
        assert hosts.run(1, ask).stdout.startswith("127.0.1.1")


def test_a_host_that_is_cut_off_is_silent_until_it_is_mended(three_hosts):
    three_hosts.cut(1)
    done = ssh(three_hosts, "elm", "true")
    assert done.returncode == 255
    assert "timed out" in done.stderr
    assert ssh(three_hosts, "ash", "true").returncode == 0
    three_hosts.mend(1)
    assert ssh(three_hosts, "elm", "true").returncode == 0


def test_a_killed_host_says_no_goodbye(three_hosts):
    waiting = three_hosts.driver(["ssh", "elm", "echo there; sleep 1000"])
    until(lambda: "there" in waiting.out)
    inside = three_hosts.pids(1, "sleep 1000")
    three_hosts.kill(1)
    assert inside
    assert not any(Path(f"/proc/{pid}").exists() for pid in inside)
    time.sleep(1)
    assert waiting.poll() is None  # its end of the connection has heard nothing
    waiting.kill()
    assert ssh(three_hosts, "elm", "true").returncode == 255


def test_one_process_can_be_killed_and_its_code_is_seen(three_hosts):
    started = three_hosts.driver(["sleep", "1000"])
    other = three_hosts.start(1, ["sleep", "1000"])
    until(lambda: three_hosts.pids(0, "^sleep") and three_hosts.pids(1, "^sleep"))
    assert three_hosts.pids(0, "^sleep 1000") == [started.pid]
    started.kill()
    assert started.wait() == -signal.SIGKILL
    assert other.poll() is None
    assert three_hosts.run(0, ["sh", "-c", "exit 7"]).returncode == 7


def test_a_disk_can_be_full(three_hosts):
    three_hosts.fill_disk(1)
    done = three_hosts.run(1, ["cp", "/etc/passwd", "/home/small/y"])
    assert "No space left on device" in done.stderr
    assert three_hosts.run(0, ["cp", "/etc/passwd", "/home/small/y"]).returncode == 0
    three_hosts.free_disk(1)
    assert three_hosts.run(1, ["cp", "/etc/passwd", "/home/small/y"]).returncode == 0


def test_nothing_is_left_behind_when_the_test_is_killed(tmp_path):
    if hosts_bed.missing():
        pytest.skip(hosts_bed.missing())
    script = (
        "import hosts_bed, time\n"
        "with hosts_bed.bed(2) as hosts:\n"
        "    hosts.start(0, ['sleep', '1234'])\n"
        "    print(hosts[0].init, hosts[1].init, flush=True)\n"
        "    time.sleep(1000)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(Path(hosts_bed.__file__).parent), "TMPDIR": str(tmp_path)},
    ) as test:  # fmt: skip
        inits = [int(word) for word in test.stdout.readline().split()]
        assert all(Path(f"/proc/{pid}").exists() for pid in inits)
        test.kill()
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in inits), 10)
    (left,) = tmp_path.iterdir()
    subprocess.run(
        [sys.executable, "-c", "import hosts_bed\nwith hosts_bed.bed(1): pass"], check=True,
        env={**os.environ, "PYTHONPATH": str(Path(hosts_bed.__file__).parent), "TMPDIR": str(tmp_path)},
    )  # fmt: skip
    assert not left.exists()
    assert not list(tmp_path.iterdir())


def test_mpirun_starts_a_rank_on_each_host(three_hosts):
    words = ["mpirun", "--host", "oak,elm,ash", "--bind-to", "none", "sh", "-c", RANKS]
    done = three_hosts.run(0, words)
    assert sorted(done.stdout.splitlines()) == ["0 of 3 on oak", "1 of 3 on elm", "2 of 3 on ash"]


def test_slurm_runs_on_each_host_and_requeues_what_a_lost_one_ran(three_hosts):
    three_hosts.slurm()
    done = three_hosts.run(0, ["srun", "-N3", "hostname"])
    assert sorted(done.stdout.split()) == ["ash", "elm", "oak"], done.stderr
    script = "#!/bin/sh\necho try $SLURM_RESTART_COUNT on $(hostname)\nsleep 60\n"
    (three_hosts.shared / "job.sh").write_text(script)
    words = ["--exclude=oak", "--requeue", "--open-mode=append", "--output=/home/shared/log"]
    done = three_hosts.run(0, ["sbatch", "--parsable", *words, "/home/shared/job.sh"])
    log = three_hosts.shared / "log"
    until(lambda: log.exists() and "try" in log.read_text())
    first = log.read_text().split()[-1]
    three_hosts.kill({"elm": 1, "ash": 2}[first])
    start_requeued(three_hosts, done.stdout.strip())
    until(lambda: "try 1" in log.read_text())
    assert log.read_text().split()[-1] == {"elm": "ash", "ash": "elm"}[first]
