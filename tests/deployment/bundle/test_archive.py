"""A bundle as one file: what is written is what comes back, and a stranger's does no harm."""

import os
import random
import stat
import struct
import subprocess
import sys
import zipfile

import pytest

from hornbeam.deployment.bundle import archive as archives
from hornbeam.deployment.bundle.archive import unpacked, write_archive
from hornbeam.errors import BundleError


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HORNBEAM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def bundle(tmp_path):
    folder = tmp_path / "shapes"
    (folder / "golden").mkdir(parents=True)
    (folder / "bundle.json").write_text('{"bundle": 1}' * 1000)
    (folder / "model.tflite").write_bytes(os.urandom(5000))
    (folder / "golden" / "000.png").write_bytes(b"png")
    return folder


def content_of(folder):
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }


def zipped(path, entries):
    with zipfile.ZipFile(path, "w") as file:
        for entry, content in entries:
            file.writestr(entry, content)
    return path


def test_an_archive_comes_back_as_the_folder_was(bundle, cache, tmp_path):
    write_archive(bundle, tmp_path / "b.zip")
    folder = unpacked(tmp_path / "b.zip")
    assert folder.name == "shapes"
    assert content_of(folder) == content_of(bundle)
    assert unpacked(bundle) == bundle
    times = {p: p.stat().st_mtime_ns for p in folder.rglob("*")}
    assert unpacked(tmp_path / "b.zip") == folder  # not unpacked anew
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("*")} == times


def test_archives_of_the_same_files_are_the_same_bytes(bundle, tmp_path):
    write_archive(bundle, tmp_path / "a.zip")
    for path in bundle.rglob("*"):
        os.utime(path, (1, 1))
    write_archive(bundle, tmp_path / "b.zip")
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_weights_are_stored_and_text_is_compressed_and_what_failed_stays_behind(bundle, tmp_path):
    (bundle / "model.onnx.failed").write_bytes(b"x")
    (bundle / "saved_model.failed").mkdir()
    (bundle / "saved_model.failed" / "saved_model.pb").write_bytes(b"x")
    write_archive(bundle, tmp_path / "b.zip")
    with zipfile.ZipFile(tmp_path / "b.zip") as file:
        kinds = {entry.filename: entry.compress_type for entry in file.infolist()}
    assert kinds == {
        "shapes/bundle.json": zipfile.ZIP_DEFLATED, "shapes/model.tflite": zipfile.ZIP_STORED,
        "shapes/golden/000.png": zipfile.ZIP_STORED,
    }  # fmt: skip


def test_a_file_that_needs_zip64_is_written_too(bundle, cache, tmp_path, monkeypatch):
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 4000)  # of 2 GiB
    write_archive(bundle, tmp_path / "b.zip")
    monkeypatch.undo()
    monkeypatch.setenv("HORNBEAM_CACHE", str(cache))
    assert content_of(unpacked(tmp_path / "b.zip")) == content_of(bundle)


def test_a_cache_that_lost_a_file_is_filled_again(bundle, cache, tmp_path):
    write_archive(bundle, tmp_path / "b.zip")
    folder = unpacked(tmp_path / "b.zip")
    (folder / "model.tflite").unlink()
    assert content_of(unpacked(tmp_path / "b.zip")) == content_of(bundle)
    (folder / "golden" / "000.png").write_bytes(b"longer")
    assert content_of(unpacked(tmp_path / "b.zip")) == content_of(bundle)
    assert not list(cache.glob("bundles/.part-*"))


def test_an_archive_without_a_folder_is_a_bundle_too(cache, tmp_path):
    path = zipped(
        tmp_path / "b.zip", [("bundle.json", b"{}"), ("golden/", b""), ("golden/0.png", b"p")]
    )
    assert content_of(unpacked(path)) == {"bundle.json": b"{}", "golden/0.png": b"p"}


def test_many_processes_may_unpack_at_once(bundle, cache, tmp_path):
    (bundle / "model.tflite").write_bytes(os.urandom(5_000_000))
    write_archive(bundle, tmp_path / "b.zip")
    code = (
        "import sys; from pathlib import Path; from hornbeam.deployment.bundle.archive import unpacked\n"
        "print(unpacked(Path(sys.argv[1])))"
    )
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code, tmp_path / "b.zip"], stdout=subprocess.PIPE, text=True
        )
        for _ in range(5)
    ]
    found = {process.communicate(timeout=120)[0].strip() for process in started}
    assert {process.returncode for process in started} == {0}
    assert len(found) == 1
    assert content_of(unpacked(tmp_path / "b.zip")) == content_of(bundle)
    assert not list(cache.glob("bundles/.part-*"))


def link(name):
    entry = zipfile.ZipInfo(name)
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    return entry


def device(name):
    entry = zipfile.ZipInfo(name)
    entry.external_attr = (stat.S_IFIFO | 0o666) << 16
    return entry


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ("../evil.txt", "it leads out of the folder"),
        ("a/../../evil.txt", "it leads out of the folder"),
        ("/etc/evil", "it is absolute"),
        ("a\\..\\evil", "it has a backslash or a colon"),
        ("C:evil", "it has a backslash or a colon"),
        ("a//b", "it has an empty part"),
        ("./a", "it has an empty part"),
        ("name\u202egnp.exe", "it has characters that cannot be printed"),
        ("line\nbreak", "it has characters that cannot be printed"),
        ("con.txt", "Windows takes it for another name"),
        ("dots.", "Windows takes it for another name"),
        ("n" * 300, "longer than 240 bytes"),
        (link("link"), "it is a link"),
        (device("pipe"), "it is no plain file"),
        ("BUNDLE.json", "it is there twice"),
        ("bundle.json/x", "is a file, and no folder"),
    ],
)  # fmt: skip
def test_entries_that_would_do_harm_are_named_and_nothing_is_written(
    entry, reason, cache, tmp_path
):
    path = zipped(tmp_path / "b.zip", [("bundle.json", b"{}"), (entry, b"/etc/passwd")])
    before = sorted(p for p in tmp_path.rglob("*") if p.is_file())
    with pytest.raises(BundleError, match="is refused") as error:
        unpacked(path)
    assert reason in str(error.value)
    assert sorted(p for p in tmp_path.rglob("*") if p.is_file()) == before
    assert "\n" not in str(error.value)
    assert "\u202e" not in str(error.value)


def test_an_entry_that_grows_a_thousand_times_is_refused(cache, tmp_path):
    with zipfile.ZipFile(tmp_path / "b.zip", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("bundle.json", b"{}")
        file.writestr("model.tflite", bytes(20_000_000))
    with pytest.raises(
        BundleError, match=r"'model.tflite' is refused: it grows from \d+ to 20000000"
    ):
        unpacked(tmp_path / "b.zip")
    assert not cache.exists()


def test_many_small_entries_that_grow_are_refused_as_a_whole(cache, tmp_path):
    with zipfile.ZipFile(tmp_path / "b.zip", "w", zipfile.ZIP_DEFLATED) as file:
        for i in range(500):
            file.writestr(f"{i}", bytes(1_000_000))
    with pytest.raises(BundleError, match="bytes say that they unpack to 500000000"):
        unpacked(tmp_path / "b.zip")
    assert not cache.exists()


def test_entries_that_share_the_same_bytes_are_refused(cache, tmp_path):
    """As in Fifield's bomb of 2019: each entry of the directory points to the same data."""
    data = os.urandom(30_000)
    path = zipped(tmp_path / "one.zip", [("kernel0", data)])
    content = path.read_bytes()
    start = content.index(b"PK\x01\x02")
    end = content.index(b"PK\x05\x06")
    record = content[start:end]
    count = 9_000
    records = b"".join(record.replace(b"kernel0", b"%07d" % i) for i in range(count))
    tail = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, count, count, len(records), start, 0)
    (tmp_path / "b.zip").write_bytes(content[:start] + records + tail)
    with pytest.raises(BundleError, match=r"unpack to 270000000|can be read"):
        unpacked(tmp_path / "b.zip")
    assert not list(cache.rglob("00*"))


def test_a_size_that_is_a_lie_is_found(cache, tmp_path):
    with zipfile.ZipFile(tmp_path / "b.zip", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("bundle.json", b"{}")
        file.writestr("model.tflite", os.urandom(1000) * 3000)
    content = (tmp_path / "b.zip").read_bytes()
    assert (
        content.count(struct.pack("<L", 3_000_000)) == 2
    )  # beside the entry, and in the directory
    (tmp_path / "b.zip").write_bytes(
        content.replace(struct.pack("<L", 3_000_000), struct.pack("<L", 1000))
    )
    with pytest.raises(BundleError, match=r"can be read|more than the 1000 bytes"):
        unpacked(tmp_path / "b.zip")
    assert not [p for p in cache.rglob("*") if p.is_file()]


def test_too_many_entries_are_refused(cache, tmp_path):
    path = zipped(tmp_path / "b.zip", [(f"{i}", b"") for i in range(10_001)])
    with pytest.raises(BundleError, match="has 10001 entries; a bundle has at most 10000"):
        unpacked(path)


def test_what_does_not_fit_on_the_disk_is_refused_before_it_is_written(
    bundle, cache, tmp_path, monkeypatch
):
    write_archive(bundle, tmp_path / "b.zip")
    usage = archives.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(archives.shutil, "disk_usage", lambda path: usage._replace(free=100))
    with pytest.raises(BundleError, match="has 100 free"):
        unpacked(tmp_path / "b.zip")


@pytest.mark.parametrize("damage", ["truncated", "flipped", "no zip", "encrypted", "lzma"])
def test_damaged_archives_are_a_sentence(damage, bundle, cache, tmp_path):
    path = tmp_path / "b.zip"
    write_archive(bundle, path)
    content = bytearray(path.read_bytes())
    if damage == "truncated":
        content = content[:3000]
    elif damage == "flipped":
        content[content.index((bundle / "model.tflite").read_bytes()) + 100] ^= 1
    elif damage == "no zip":
        content = bytearray(b"TFL3" * 100)
    elif damage == "encrypted":
        content[content.index(b"PK\x01\x02") + 8] |= 1
    if damage == "lzma":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as file:
            file.writestr("bundle.json", b"{}")
    else:
        path.write_bytes(content)
    with pytest.raises(BundleError, match=r"b.zip"):
        unpacked(path)
    assert not [p for p in cache.rglob("*") if p.is_file()]


def test_bytes_changed_anywhere_are_a_sentence_or_change_nothing(bundle, cache, tmp_path):
    path, rng = tmp_path / "b.zip", random.Random(0)
    write_archive(bundle, path)
    whole = path.read_bytes()
    for _ in range(150):
        content = bytearray(whole)
        for _ in range(rng.randint(1, 4)):
            content[rng.randrange(len(content))] = rng.randrange(256)
        path.write_bytes(content)
        try:
            found = unpacked(path)
        except BundleError:
            continue
        assert set(content_of(found).values()) <= set(content_of(bundle).values())


def test_what_is_not_there_or_no_bundle_is_a_sentence(cache, tmp_path):
    with pytest.raises(BundleError, match="does not exist; expected a bundle"):
        unpacked(tmp_path / "nothing.zip")
    with pytest.raises(BundleError, match=r"it has no bundle.json"):
        unpacked(zipped(tmp_path / "b.zip", [("a.txt", b"")]))
    with pytest.raises(BundleError, match=r"it has 2 bundle.json"):
        unpacked(zipped(tmp_path / "c.zip", [("a/bundle.json", b""), ("b/bundle.json", b"")]))
