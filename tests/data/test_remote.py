"""Pictures at remote addresses, from real servers on loopback: HTTP, and S3 by moto."""

import contextlib
import http.server
import socket
import threading
import time
from functools import partial
from typing import ClassVar

import pytest

from hornbeam.config import TableOptions
from hornbeam.data import remote
from hornbeam.data.sources import open_dataset, open_pictures
from hornbeam.errors import DataError

pytest.importorskip("aiohttp")


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves a folder; fails as often as it is told to."""

    requests: ClassVar[list] = []
    failures = 0

    def do_GET(self):
        type(self).requests.append(self.path)
        if type(self).failures:
            type(self).failures -= 1
            self.send_error(503)
            return
        super().do_GET()

    def log_message(self, *words):
        pass


@contextlib.contextmanager
def serving(root):
    handler = type("Handler", (Handler,), {"requests": [], "failures": 0})
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(handler, directory=str(root))
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", handler
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HORNBEAM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(remote, "_FIRST_PAUSE", 0.01)


@pytest.fixture
def pictures(folders):
    return folders({"cat/1.jpg": 10, "cat/2.jpg": 20, "dog/1.png": 30, "dog/.hidden.jpg": 1})


def test_a_manifest_over_http_names_pictures_beside_it(pictures):
    (pictures / "m.csv").write_text("path,label\ncat/1.jpg,cat\ndog/1.png,dog\n")
    with serving(pictures) as (address, handler):
        dataset = open_dataset(f"{address}/m.csv", TableOptions())
        assert dataset.paths == ["cat/1.jpg", "dog/1.png"]
        for row, path in enumerate(dataset.paths):
            assert dataset.read(row) == (pictures / path).read_bytes()
            assert dataset.read(row) == (pictures / path).read_bytes()
        assert [p for p in handler.requests if p.endswith("g")] == ["/cat/1.jpg", "/dog/1.png"]


def test_a_manifest_may_name_addresses_when_that_is_allowed(pictures, tmp_path):
    with serving(pictures) as (address, _):
        manifest = tmp_path / "m.csv"
        manifest.write_text(f"path,label\n{address}/cat/1.jpg,cat\n{address}/dog/1.png,dog\n")
        with pytest.raises(DataError, match=r"line 2.*--allow-outside"):
            open_dataset(str(manifest), TableOptions())
        dataset = open_dataset(str(manifest), TableOptions(allow_outside=True))
        assert dataset.read(1) == (pictures / "dog/1.png").read_bytes()
        assert (
            open_pictures([f"{address}/cat/2.jpg"]).read(0) == (pictures / "cat/2.jpg").read_bytes()
        )


def test_what_fails_for_a_moment_is_tried_again(pictures):
    with serving(pictures) as (address, handler):
        handler.failures = 3
        assert remote.read_bytes(f"{address}/cat/1.jpg") == (pictures / "cat/1.jpg").read_bytes()
        assert len(handler.requests) == 4


def test_what_keeps_failing_is_given_up_and_nothing_is_kept(pictures, tmp_path):
    with serving(pictures) as (address, handler):
        handler.failures = 100
        with pytest.raises(DataError, match=r"cat/1.jpg: it could not be fetched \(503"):
            remote.read_bytes(f"{address}/cat/1.jpg")
        assert len(handler.requests) == 4
        assert not [p for p in (tmp_path / "cache").rglob("*") if p.is_file()]
        handler.failures = 0
        assert remote.read_bytes(f"{address}/cat/1.jpg")


def test_what_is_not_there_is_not_asked_for_again(pictures):
    with serving(pictures) as (address, handler):
        with pytest.raises(DataError, match=r"gone.jpg: there is no such file"):
            remote.read_bytes(f"{address}/gone.jpg")
        assert len(handler.requests) == 1


def test_a_server_that_hangs_is_given_up(monkeypatch):
    monkeypatch.setenv("HORNBEAM_TIMEOUT", "0.3")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/1.jpg"
        start = time.monotonic()
        with pytest.raises(DataError, match=r"did not answer within 0.3 s, 4 times"):
            remote.read_bytes(address)
        assert 1 < time.monotonic() - start < 30


def test_nobody_at_an_address_is_a_sentence():
    with socket.socket() as taken:  # bound and not listening, so that nobody else gets the port
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(DataError, match=r"m.csv: it could not be fetched"):
            open_dataset(f"http://127.0.0.1:{port}/m.csv", TableOptions())


def test_an_unknown_kind_of_address_is_a_sentence():
    with pytest.raises(DataError, match=r"foo://bar/m.csv: "):
        open_dataset("foo://bar/m.csv", TableOptions())


@pytest.fixture
def bucket(monkeypatch, pictures):
    """A real S3 server with the pictures in `s3://photos/set/`."""
    boto3 = pytest.importorskip("boto3")
    server_module = pytest.importorskip("moto.server")
    for name, value in {
        "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    client = boto3.client("s3")
    client.create_bucket(Bucket="photos")
    for path in sorted(pictures.rglob("*.*g")):
        client.upload_file(str(path), "photos", f"set/{path.relative_to(pictures)}")
    remote._open_file_system.cache_clear()
    import fsspec

    fsspec.get_filesystem_class("s3").clear_instance_cache()
    yield client
    client.close()
    server.stop()
    remote._open_file_system.cache_clear()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_folder_on_s3_is_a_dataset(bucket, pictures):
    dataset = open_dataset("s3://photos/set", TableOptions())
    assert dataset.tasks[0].classes == ("cat", "dog")
    assert dataset.paths == ["cat/1.jpg", "cat/2.jpg", "dog/1.png"]
    assert [dataset.read(row) for row in range(3)] == [
        (pictures / path).read_bytes() for path in dataset.paths
    ]
    bucket.delete_object(Bucket="photos", Key="set/cat/1.jpg")
    assert dataset.read(0)  # from the cache


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_manifest_on_s3_and_what_is_missing_there(bucket, pictures):
    bucket.put_object(Bucket="photos", Key="set/m.jsonl", Body=b'{"path": "cat/1.jpg", "label": "a"}\n'
                      b'{"path": "gone.jpg", "label": "b"}')  # fmt: skip
    dataset = open_dataset("s3://photos/set/m.jsonl", TableOptions())
    assert dataset.read(0) == (pictures / "cat/1.jpg").read_bytes()
    with pytest.raises(DataError, match=r"s3://photos/set/gone.jpg: there is no such file"):
        dataset.read(1)
    with pytest.raises(DataError, match=r"s3://nowhere/m.csv: there is no such file"):
        open_dataset("s3://nowhere/m.csv", TableOptions())


def test_prepared_shards_are_read_from_an_address_as_from_a_folder(pictures, tmp_path):
    from hornbeam.config import PrepareOptions
    from hornbeam.data.shards.prepare import prepare

    options = PrepareOptions(data=str(pictures), out=tmp_path / "shards", workers=1)
    prepare(open_dataset(str(pictures), options), options)
    here = open_dataset(str(tmp_path / "shards"), TableOptions())
    with serving(tmp_path) as (address, handler):
        there = open_dataset(f"{address}/shards", TableOptions())
        assert there.table.equals(here.table)
        assert [there.read(row) for row in range(3)] == [here.read(row) for row in range(3)]
        assert sum(path.endswith(".tfrecord") for path in handler.requests) == 1
