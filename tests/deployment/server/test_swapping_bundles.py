"""Another bundle takes over under load, without a lost request; a broken one does not."""

import asyncio
import http.client
import json
import shutil
import signal
import subprocess
import sys
import threading
import time

import pytest
from onnx_bundle import expected, make_bundle, picture
from running import wait_until

GREY = (128, 128, 128)
TOKEN = "a-token-of-a-test"


class Load:
    """Clients that ask without a pause, and keep what they were told."""

    def __init__(self, server, clients=8):
        self._server, self._ended = server, threading.Event()
        self.said, self.failures = [], []
        self._threads = [threading.Thread(target=self._ask) for _ in range(clients)]

    def _ask(self):
        shot = picture(*GREY)
        connection = http.client.HTTPConnection("127.0.0.1", self._server.port, timeout=60)
        headers = {"Content-Type": "image/png", "Authorization": f"Bearer {TOKEN}"}
        while not self._ended.is_set():
            try:
                connection.request("POST", "/predict", shot, headers)
                answer = connection.getresponse()
                content = json.loads(answer.read())
                if answer.status != 200:
                    self.failures.append((answer.status, content))
                    continue
                top = content["answers"][0]["tasks"]["label"]["top"]
                red = next(each["probability"] for each in top if each["class"] == "red")
                self.said.append((content["bundle"], red))
            except Exception as error:
                self.failures.append(repr(error))
                return
        connection.close()

    def wait_for_more(self, count=50):
        """Wait until so many more answers have come."""
        most = len(self.said) + count
        wait_until(lambda: self.failures or len(self.said) >= most)

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._ended.set()
        for thread in self._threads:
            thread.join()


def put(bundle, parent, **arguments):
    """Replace a bundle as one should: made elsewhere, then renamed."""
    made = make_bundle(parent / "made", **arguments)
    bundle.rename(parent / f"before-{time.monotonic_ns()}")
    made.rename(bundle)


def ask(server, method, path):
    return server.ask(method, path, headers={"Authorization": f"Bearer {TOKEN}"})


@pytest.mark.parametrize("how", ["hup", "watch", "post"])
def test_a_new_bundle_takes_over_under_load_and_no_request_is_lost(serving, tmp_path, how):
    words = ("--watch", "--poll", "0.1") if how == "watch" else ()
    server = serving("--no-access-log", *words, HORNBEAM_TOKEN=TOKEN)
    bundle = tmp_path / "bundle"

    def serves():
        return ask(server, "GET", "/readyz")[2]["bundle"]

    with Load(server) as load:
        for shift in (2.0, -2.0):
            first = serves()
            load.wait_for_more()
            put(bundle, tmp_path, shift=shift)
            if how == "hup":
                server.send(signal.SIGHUP)
            elif how == "post":
                status, _, told = ask(server, "POST", "/reload")
                assert status == 200
                assert told["bundle"] != told["before"]
            server.wait_for(r"Reload: colours@\w+ \(onnx\) serves now") if how != "post" else None
            wait_until(lambda first=first: serves() != first)
        load.wait_for_more()
    assert load.failures == []
    by_bundle = {}
    for name, red in load.said:
        by_bundle.setdefault(name, set()).add(red)
    assert len(by_bundle) == 3
    # Who says that it answered is who answered.
    told = sorted(red for reds in by_bundle.values() for red in reds)
    true = sorted(expected(*GREY, shift=shift)[0] for shift in (-2.0, 0.0, 2.0))
    assert told == pytest.approx(true, abs=1e-6)


@pytest.mark.parametrize("fault", ["changed", "cut", "missing", "other answers", "no json"])
def test_a_broken_bundle_is_refused_and_the_one_before_serves_on(serving, tmp_path, fault):
    server = serving("--no-access-log", HORNBEAM_TOKEN=TOKEN)
    bundle, made = tmp_path / "bundle", tmp_path / "made"
    make_bundle(made, shift=1.0, golden=0.2 if fault == "other answers" else True)
    if fault == "changed":
        content = bytearray((made / "model.onnx").read_bytes())
        content[-20] ^= 1
        (made / "model.onnx").write_bytes(content)
    elif fault == "cut":
        (made / "model.onnx").write_bytes((made / "model.onnx").read_bytes()[:100])
    elif fault == "no json":
        (made / "bundle.json").write_text("{")
    before = ask(server, "GET", "/readyz")[2]["bundle"]
    with Load(server, clients=2) as load:
        bundle.rename(tmp_path / "before")
        if fault == "missing":
            shutil.rmtree(made)
        else:
            made.rename(bundle)
        status, _, said = ask(server, "POST", "/reload")
        assert status == 409, said
        assert f"{before} serves on" in said["error"]
        server.send(signal.SIGHUP)
        server.wait_for("Reload: refused")
        load.wait_for_more()
    assert load.failures == []
    assert {name for name, _ in load.said} == {before}
    assert ask(server, "GET", "/readyz")[0] == 200
    text = ask(server, "GET", "/metrics")[2].decode()
    assert 'hornbeam_reloads_total{result="refused"} 2.0' in text
    assert 'hornbeam_reloads_total{result="taken"} 0.0' in text


def test_another_threshold_is_another_bundle(serving, tmp_path):
    server = serving(HORNBEAM_TOKEN=TOKEN, below=0.3)
    right = {"Authorization": f"Bearer {TOKEN}"}
    _, _, before = server.predict(picture(*GREY), **right)
    put(tmp_path / "bundle", tmp_path, below=0.9)
    assert ask(server, "POST", "/reload")[0] == 200
    _, _, after = server.predict(picture(*GREY), **right)
    assert before["bundle"] != after["bundle"]
    assert [a["answers"][0]["tasks"]["label"]["sure"] for a in (before, after)] == [True, False]


def test_what_is_being_written_is_not_taken_up_before_it_is_whole(tmp_path):
    bundle, made = make_bundle(tmp_path / "bundle"), make_bundle(tmp_path / "made", shift=1.0)
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from hornbeam.workflow import serving\n"
        "bundle, made = map(Path, sys.argv[1:])\n"
        "whole, look = (made / 'bundle.json').read_bytes(), serving.signature\n"
        "ends = list(range(len(whole) - 500, len(whole) + 1, 100))\n"
        "def signature(path):\n"  # from each look to the next the copy has gone on
        "    if ends:\n"
        "        (bundle / 'model.onnx').write_bytes((made / 'model.onnx').read_bytes())\n"
        "        (bundle / 'bundle.json').write_bytes(whole[:ends.pop(0)])\n"
        "    return look(path)\n"
        "serving.signature = signature\n"
        "from hornbeam import cli\n"
        "words = ['--port', '0', '--watch', '--poll', '0.05']\n"
        "raise SystemExit(cli.main(['serve', str(bundle), *words]))\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, bundle, made], stdout=subprocess.PIPE, text=True
    )
    lines = [process.stdout.readline() for _ in range(2)]
    process.terminate()
    assert process.wait(60) == 0
    process.stdout.close()
    assert "Serving" in lines[0]
    assert "Reload:" in lines[1]
    assert "serves now" in lines[1]


def test_a_copy_that_begins_with_the_manifest_is_taken_up_when_it_is_whole(serving, tmp_path):
    server = serving("--watch", "--poll", "0.1", "--no-access-log")
    made = make_bundle(tmp_path / "made", shift=1.0)
    shutil.copy(made / "bundle.json", tmp_path / "bundle" / "bundle.json")
    server.wait_for("Reload: refused")
    shutil.copy(made / "model.onnx", tmp_path / "bundle" / "model.onnx")
    server.wait_for("Reload: .* serves now")


def test_a_bundle_that_was_replaced_while_the_first_was_opened_is_taken_up(tmp_path):
    from hornbeam.config import ServeOptions
    from hornbeam.deployment.server.swapping import Shelf, open_bundle
    from hornbeam.workflow.serving import _watch

    bundle = make_bundle(tmp_path / "bundle")
    options = ServeOptions(bundle=bundle, poll=0.02)
    served = open_bundle(options, 1)
    put(bundle, tmp_path, shift=1.0)  # before the first look

    async def run():
        reloaded = asyncio.Event()
        shelf = Shelf(options, 1, served)

        async def reload():
            await shelf.reload()
            reloaded.set()

        watching = asyncio.create_task(_watch(options, shelf, reload))
        await asyncio.wait_for(reloaded.wait(), 60)
        assert shelf.served.identity != served.identity
        watching.cancel()

    asyncio.run(run())


def test_a_bundle_that_is_asked_for_during_the_start_is_taken_up_after_it(tmp_path):
    bundle = make_bundle(tmp_path / "bundle")
    code = (
        "import os, signal\n"
        "from hornbeam.workflow import serving\n"
        "opened = serving.open_bundle\n"
        "def slow(*given):\n"
        "    found = opened(*given)\n"
        "    os.kill(os.getpid(), signal.SIGHUP)\n"
        "    return found\n"
        "serving.open_bundle = slow\n"
        "from hornbeam import cli\n"
        f"raise SystemExit(cli.main(['serve', {str(bundle)!r}, '--port', '0']))\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    lines = [process.stdout.readline() for _ in range(2)]
    process.terminate()
    assert process.wait(60) == 0
    process.stdout.close()
    assert "Serving" in lines[0]
    assert "Reload:" in lines[1]
    assert "serves now" in lines[1]


def test_many_reloads_neither_grow_the_memory_nor_leave_threads(serving, tmp_path):
    import psutil

    server = serving("--no-access-log", HORNBEAM_TOKEN=TOKEN)
    process = psutil.Process(server.process.pid)
    sizes, threads = [], []
    for n in range(60):
        if n % 10 == 0:
            put(tmp_path / "bundle", tmp_path, shift=float(n))
        assert ask(server, "POST", "/reload")[0] == 200
        sizes.append(process.memory_info().rss / 2**20)
        threads.append(process.num_threads())
    assert sizes[-1] - sizes[20] < 8, sizes
    # The thread that opened a bundle may be about to end when they are counted.
    assert min(threads[-10:]) <= max(threads[:20])


def test_without_a_token_nobody_may_reload(serving):
    server = serving()
    status, _, said = server.ask("POST", "/reload")
    assert status == 403
    assert "token" in said["error"]
