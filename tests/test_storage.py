"""What is written is there whole, or not at all."""

import os
import signal
import subprocess
import sys
import threading
import time

import pyarrow as pa
import pytest

from hornbeam.storage import (
    new_directory,
    point_link,
    replacing,
    write_bytes,
    write_json,
    write_table,
    write_text,
)


def test_a_file_is_replaced_whole_and_readable_by_others(tmp_path):
    path = tmp_path / "f.txt"
    write_text(path, "one")
    write_text(path, "zwölf")
    assert path.read_text(encoding="utf-8") == "zwölf"
    os.umask(mask := os.umask(0))
    assert path.stat().st_mode & 0o777 == 0o666 & ~mask
    assert [p.name for p in tmp_path.iterdir()] == ["f.txt"]


def test_an_error_while_writing_leaves_the_earlier_file(tmp_path):
    path = tmp_path / "f.txt"
    write_bytes(path, b"old")
    with pytest.raises(ZeroDivisionError), replacing(path) as temporary:  # noqa: PT012
        temporary.write_bytes(b"half")
        raise ZeroDivisionError
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["f.txt"]


def test_a_directory_appears_whole_or_not_at_all(tmp_path):
    with new_directory(tmp_path / "a" / "d") as temporary:
        (temporary / "x").write_text("1")
        assert not (tmp_path / "a" / "d").exists()
    assert (tmp_path / "a" / "d" / "x").read_text() == "1"
    with pytest.raises(ZeroDivisionError), new_directory(tmp_path / "a" / "e"):
        raise ZeroDivisionError
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["d"]
    with pytest.raises(FileExistsError), new_directory(tmp_path / "a" / "d"):
        pass


def test_a_link_moves_in_one_step(tmp_path):
    for target in ("one", "two"):
        (tmp_path / target).mkdir()
        point_link(tmp_path / "best", target)
    assert (tmp_path / "best").resolve().name == "two"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["best", "one", "two"]


def test_a_writer_killed_at_any_moment_leaves_a_whole_file(tmp_path):
    path = tmp_path / "f"
    write_bytes(path, b"0" * 300_000)
    code = (
        "import itertools; from pathlib import Path; from hornbeam.storage import write_bytes\n"
        f"for i in itertools.count(): write_bytes(Path({str(path)!r}), str(i % 10).encode() * 300_000)"
    )
    for delay in (0, 0.01, 0.03, 0.1):
        first = path.stat().st_ino
        process = subprocess.Popen([sys.executable, "-c", code])
        end = time.monotonic() + 60
        while path.stat().st_ino == first:  # until it writes
            assert time.monotonic() < end
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.wait()
        content = path.read_bytes()
        assert len(content) == 300_000
        assert len(set(content)) == 1


def test_what_json_does_not_know_is_written_for_python_alone(tmp_path):
    path = tmp_path / "f.json"
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"a": float("inf")})
    assert not path.exists()
    write_json(path, {"a": float("inf")}, infinite=True)
    assert "Infinity" in path.read_text()


def test_threads_that_write_at_once_leave_the_mask_of_the_process(tmp_path, monkeypatch):
    mask, umask = os.umask(0o027), os.umask

    def slow(new):
        before = umask(new)
        time.sleep(0.005)  # so that the others get their turn
        return before

    monkeypatch.setattr(os, "umask", slow)
    try:
        threads = [
            threading.Thread(target=write_text, args=(tmp_path / str(i), "")) for i in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert umask(0o027) == 0o027
        assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o640}
    finally:
        umask(mask)


def test_what_a_killed_writer_had_moved_away_is_in_nobodys_way(tmp_path):
    for name in ("d", ".earlier-d"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "old").write_text("old")
    with new_directory(tmp_path / "d", replace=True) as temporary:
        (temporary / "new").write_text("new")
    assert [p.name for p in tmp_path.iterdir()] == ["d"]
    assert [p.name for p in (tmp_path / "d").iterdir()] == ["new"]


def test_a_table_is_what_its_name_ends_in_however_it_is_spelt(tmp_path):
    for name in ("t.csv", "t.CSV"):
        write_table(tmp_path / name, pa.table({"a": [1]}))
        assert (tmp_path / name).read_text().replace('"', "") == "a\n1\n"
