"""How it starts and ends, who may ask, and what is not loaded."""

import asyncio
import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from unittest import mock

import pytest
from onnx_bundle import make_bundle, picture
from running import HELD, multipart, wait_until

from hornbeam.deployment.server.guards import Guard
from hornbeam.deployment.server.sockets import listen, open_socket
from hornbeam.errors import HornbeamError

RED = (210, 40, 30)
SOON = 20
"""Seconds within which a busy machine does what a quiet one does in two."""
TOKEN = "a-token-of-a-test"


@pytest.fixture
def bundle(tmp_path):
    return make_bundle(tmp_path / "bundle")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_0(serving, number):
    server = serving()
    assert server.predict(picture(*RED))[0] == 200
    started = time.monotonic()
    assert server.stop(number) == 0
    assert time.monotonic() - started < SOON  # and not after the 30 s of --stop-timeout
    assert server.lines[-1] == "Stopped; all requests that were accepted are answered."
    assert server.errors == []


def test_requests_that_were_accepted_are_answered_before_it_ends(serving):
    server = serving("--max-batch", 2, "--max-wait", 0, seconds=HELD)
    form = multipart(*((str(n), picture(*RED)) for n in range(20)))
    found, idle = [], http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    idle.request("GET", "/healthz")
    idle.getresponse().read()

    def ask():
        found.append(server.predict(*form))

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    wait_until(lambda: server.metric("hornbeam_waiting_pictures") == 120)
    server.send(signal.SIGTERM)
    wait_until(lambda: is_refused(server.port))
    assert found == []
    assert server.process.poll() is None  # there is something to wait for
    server.let_go()
    for thread in threads:
        thread.join()
    assert server.process.wait(60) == 0
    assert [status for status, _, _ in found] == [200] * 6
    assert all(len(said["answers"]) == 20 for _, _, said in found)
    assert found[0][1]["connection"] == "close"
    idle.close()


def is_refused(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=60).close()
    except ConnectionRefusedError:
        return True
    return False


def test_clients_that_ask_without_a_pause_lose_nothing_that_was_accepted(serving):
    server = serving("--no-access-log")
    answered, lost = [], []

    def ask():
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        with contextlib.closing(connection):
            ask_on(connection)

    def ask_on(connection):
        while True:
            sent = False
            try:
                if connection.sock is None:
                    connection.connect()
                connection.request("POST", "/predict", picture(*RED), {"Content-Type": "image/png"})
                sent = True
                answer = connection.getresponse()
                answer.read()
                answered.append(answer.status)
            except ConnectionRefusedError:
                return
            except http.client.RemoteDisconnected:
                # An idle connection was closed as the request set out: HTTP lets clients repeat it.
                return
            except OSError as error:
                if sent:
                    lost.append(repr(error))
                return

    threads = [threading.Thread(target=ask) for _ in range(12)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(answered) > 200)
    server.send(signal.SIGTERM)
    for thread in threads:
        thread.join()
    assert server.process.wait(60) == 0
    assert set(answered) == {200}
    assert all("ConnectionReset" in error for error in lost), lost
    assert len(lost) <= 12


def test_it_does_not_wait_for_ever_when_it_stops(serving):
    server = serving("--stop-timeout", 1, "--max-batch", 1, "--timeout", 60, seconds=0.5)
    with asking(server) as found:
        started = time.monotonic()
        assert server.stop() == 1
        assert time.monotonic() - started < SOON  # all answers would take thirty
    assert found[0][0] == 503
    assert "1 requests were cut after 1 s" in server.lines[-1]


@contextlib.contextmanager
def asking(server):
    """Ask about 60 pictures beside what happens within; the list has the answer at the end."""
    form = multipart(*((str(n), picture(*RED)) for n in range(60)))
    found = []
    thread = threading.Thread(target=lambda: found.append(server.predict(*form)))
    thread.start()
    try:
        wait_until(lambda: server.metric("hornbeam_waiting_pictures") > 0)
        yield found
    finally:
        thread.join()


def test_with_drain_it_answers_on_while_it_says_that_it_leaves(serving):
    server = serving("--drain", 10)
    started = time.monotonic()
    server.send(signal.SIGTERM)
    server.wait_for("SIGTERM: stopping")
    status, _, said = server.ask("GET", "/readyz")
    assert status == 503
    assert said["status"] == "stopping"
    assert server.ask("GET", "/healthz")[0] == 200
    assert server.predict(picture(*RED))[0] == 200
    assert server.process.wait(60) == 0
    assert time.monotonic() - started > 9


def test_killed_it_leaves_the_port_free(serving, bundle):
    server = serving(bundle=bundle)
    server.process.kill()
    server.process.wait()
    again = subprocess.Popen(
        [sys.executable, "-m", "hornbeam", "serve", str(bundle), "--port", str(server.port)],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert str(server.port) in again.stdout.readline()
    again.terminate()
    assert again.wait(60) == 0
    again.stdout.close()


def test_a_port_in_use_is_one_sentence(hornbeam, serving, bundle):
    server = serving(bundle=bundle)
    done = hornbeam("serve", bundle, "--port", server.port)
    assert done.code == 1
    assert (
        f"Port {server.port} of 127.0.0.1 cannot be had (Address already in use)" in done.sentence
    )


def test_a_port_that_was_taken_while_it_started_is_one_sentence():
    first = open_socket("127.0.0.1", 0, share=False)
    port = first.getsockname()[1]
    second = open_socket("127.0.0.1", port, share=False)  # both are bound, and none listens
    with first, second:
        listen(first, "127.0.0.1", port, 5)
        with pytest.raises(HornbeamError, match=rf"Port {port} of 127.0.0.1 cannot be had"):
            listen(second, "127.0.0.1", port, 5)


def test_an_empty_token_does_not_open_the_server(bundle):
    done = subprocess.run(
        [sys.executable, "-m", "hornbeam", "serve", str(bundle), "--port", "0"], timeout=60,
        env={**os.environ, "HORNBEAM_TOKEN": ""}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "is empty" in done.stderr


def test_it_serves_where_stdout_is_closed(bundle):
    import psutil

    process = subprocess.Popen(
        f"exec {sys.executable} -m hornbeam serve {bundle} --port 0 >&-", shell=True,
        stderr=subprocess.PIPE,
    )  # fmt: skip

    def own_port():
        assert process.poll() is None, process.stderr.read()
        held = psutil.Process(process.pid).net_connections()
        return next((each.laddr.port for each in held if each.status == "LISTEN"), None)

    port = wait_until(own_port)
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as one:
        one.request("POST", "/predict", picture(*RED), {"Content-Type": "image/png"})
        assert one.getresponse().status == 200
    process.terminate()
    assert process.wait(60) == 0
    assert process.stderr.read() == b""
    process.stderr.close()


def test_a_second_ctrl_c_does_not_wait_and_says_so(serving):
    server = serving("--max-batch", 1, "--timeout", 60, seconds=0.5)
    with asking(server) as found:
        server.send(signal.SIGINT)
        server.wait_for("SIGINT: stopping")
        started = time.monotonic()
        assert server.stop(signal.SIGINT) == 1
        assert time.monotonic() - started < SOON  # all answers would take thirty
    assert found[0][0] == 503
    assert server.lines[-1] == "Stopped; 1 requests were cut at the second signal."


def test_a_bundle_that_is_being_opened_does_not_delay_the_end(bundle):
    code = (
        "import time\n"
        "from hornbeam.deployment.server import swapping\n"
        "from hornbeam.workflow import serving\n"  # opens the first bundle by a name of its own
        "opened = swapping.open_bundle\n"
        "def slow(*given):\n"
        "    print('opening', flush=True)\n"
        "    time.sleep(60)\n"
        "    return opened(*given)\n"
        "swapping.open_bundle = slow\n"
        "from hornbeam import cli\n"
        f"raise SystemExit(cli.main(['serve', {str(bundle)!r}, '--port', '0']))\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert "Serving" in process.stdout.readline()
    process.send_signal(signal.SIGHUP)
    assert process.stdout.readline() == "opening\n"
    started = time.monotonic()
    process.terminate()
    assert process.wait(90) == 0
    assert time.monotonic() - started < SOON
    process.stdout.close()


def test_two_processes_may_share_a_port(serving, bundle):
    one = serving("--reuse-port", bundle=bundle)
    other = subprocess.Popen(
        [sys.executable, "-m", "hornbeam", "serve", str(bundle), "--reuse-port", "--port", str(one.port)],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert "Serving" in other.stdout.readline()
    for _ in range(30):
        assert one.predict(picture(*RED))[0] == 200
    other.terminate()
    out = other.communicate(timeout=60)[0]
    assert 0 < out.count("POST /predict") < 30


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (("--host", "no.such.host.invalid"), 1, "no address of this machine"),
        (("--max-queue", "3"), 2, "--max-pictures 64 cannot be more than --max-queue 3"),
        (("--max-memory", "2000"), 2, "cannot be less than --max-bytes"),
        (("--token", "short"), 2, "8 to 1024 characters"),
        (("--token", "with a space"), 2, "8 to 1024 characters"),
        (("--format", "litert"), 1, "onnx"),
    ],
)
def test_what_cannot_be_served_is_one_sentence(hornbeam, bundle, words, code, sentence):
    done = hornbeam("serve", bundle, "--port", "0", *words)
    assert done.code == code
    assert sentence in done.sentence
    assert "short" not in done.sentence
    assert "with a space" not in done.sentence


def test_a_folder_that_is_no_bundle_is_one_sentence(hornbeam, tmp_path):
    done = hornbeam("serve", tmp_path, "--port", "0")
    assert done.code == 1
    assert "bundle.json" in done.sentence


@pytest.mark.parametrize("how", ["option", "environment"])
def test_with_a_token_only_who_has_it_may_ask(serving, how):
    server = serving("--token", TOKEN) if how == "option" else serving(HORNBEAM_TOKEN=TOKEN)
    shot = picture(*RED)
    for given in (None, "", "Bearer", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", f"Basic {TOKEN}", TOKEN,
                  "Bearer \xff\xfe"):  # fmt: skip
        headers = {} if given is None else {"Authorization": given.encode("latin-1")}
        for method, path in (("POST", "/predict"), ("GET", "/model"), ("GET", "/metrics"),
                             ("POST", "/reload"), ("GET", "/openapi.json"), ("GET", "/x")):  # fmt: skip
            status, answered, said = server.ask(
                method, path, shot if path == "/predict" else None,
                {"Content-Type": "image/png", **headers},
            )  # fmt: skip
            assert status == 401, (path, given)
            assert answered["www-authenticate"].startswith("Bearer")
            assert "token" in said["error"]
    for open_to_all in ("/", "/healthz", "/readyz"):
        assert server.ask("GET", open_to_all)[0] == 200
    right = {"Authorization": f"bearer {TOKEN}"}
    assert server.predict(shot, **right)[0] == 200
    assert server.ask("GET", "/openapi.json", headers=right)[0] == 200
    assert not any(TOKEN in line for line in server.lines)


def test_an_open_address_without_a_token_is_warned_of(serving, bundle):
    server = serving("--host", "0.0.0.0", bundle=bundle)
    wait_until(lambda: any("$HORNBEAM_TOKEN" in line for line in server.errors))
    guarded = serving("--host", "0.0.0.0", bundle=bundle, HORNBEAM_TOKEN=TOKEN)
    assert guarded.stop() == 0  # all that it wrote has been read
    assert guarded.errors == []


def test_pages_of_other_addresses_may_ask_only_where_it_was_allowed(serving, bundle):
    server = serving("--allow-origin", "https://shop.example", bundle=bundle)
    asking = {"Origin": "https://shop.example", "Content-Type": "image/png"}
    _, headers, _ = server.ask("POST", "/predict", picture(*RED), asking)
    assert headers["access-control-allow-origin"] == "https://shop.example"
    _, headers, _ = server.ask("OPTIONS", "/predict", headers={
        "Origin": "https://shop.example", "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type",
    })  # fmt: skip
    assert headers["access-control-allow-origin"] == "https://shop.example"
    _, headers, _ = server.ask(
        "POST", "/predict", picture(*RED), {**asking, "Origin": "https://x.example"}
    )
    assert "access-control-allow-origin" not in headers


@pytest.mark.parametrize(
    ("allowed", "origin", "readable_by"),
    [
        (("https://shop.example",), "https://shop.example", "https://shop.example"),
        (("https://shop.example",), "https://x.example", None),
        (("*",), "https://x.example", "*"),
        (("*",), None, None),
        ((), "https://shop.example", None),
    ],
)
def test_pages_that_may_ask_can_read_why_they_are_refused(allowed, origin, readable_by):
    sent = []

    async def send(message):
        sent.append(message)

    guard = Guard(
        None, token=TOKEN, metrics=mock.Mock(), known=frozenset(), log=None, origins=allowed,
        crowded=lambda: False,
    )  # fmt: skip
    headers = [(b"origin", origin.encode())] if origin else []
    scope = {"type": "http", "method": "GET", "path": "/model", "headers": headers}
    asyncio.run(guard(scope, None, send))
    assert sent[0]["status"] == 401
    assert dict(sent[0]["headers"]).get(b"access-control-allow-origin") == (
        readable_by and readable_by.encode()
    )


def test_a_process_that_serves_has_neither_keras_nor_tensorflow_nor_pyarrow(bundle):
    code = (
        "import sys, threading, os, signal, time, urllib.request\n"
        "import psutil\n"
        "from hornbeam import cli\n"
        "def ask():\n"
        "    port = None\n"
        "    while port is None and threading.main_thread().is_alive():\n"
        "        time.sleep(0.1)\n"
        "        held = psutil.Process().net_connections()\n"
        "        port = next((each.laddr.port for each in held if each.status == 'LISTEN'), None)\n"
        "    request = urllib.request.Request(f'http://127.0.0.1:{port}/predict',\n"
        "        data=shot, headers={'Content-Type': 'image/png'})\n"
        "    told.append(urllib.request.urlopen(request, timeout=60).status)\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        f"told, shot = [], {picture(*RED)!r}\n"
        "threading.Thread(target=ask).start()\n"
        f"code = cli.main(['serve', {str(bundle)!r}, '--port', '0'])\n"
        "heavy = {'keras', 'tensorflow', 'jax', 'torch', 'pyarrow', 'grain', 'scipy', 'pandas'}\n"
        "assert (code, told) == (0, [200]), (code, told)\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_zip_is_served_too(serving, bundle, tmp_path):
    from hornbeam.deployment.bundle.archive import write_archive

    archive = tmp_path / "colours.zip"
    write_archive(bundle, archive)
    server = serving(bundle=archive)
    assert (
        server.predict(picture(*RED))[2]["answers"][0]["tasks"]["label"]["top"][0]["class"] == "red"
    )


def test_nothing_is_told_of_the_machine(serving):
    server = serving()
    texts = [
        json.dumps(server.ask(method, path)[2] if path != "/" else "")
        + str(server.ask(method, path)[1])
        for method, path in (
            ("GET", "/model"),
            ("GET", "/readyz"),
            ("POST", "/predict"),
            ("GET", "/x"),
        )
    ]
    for text in texts:
        assert not re.search(r"/tmp|/work|/home|uvicorn|python", text, re.IGNORECASE), text
    with contextlib.suppress(OSError):
        assert server.ask("GET", "/openapi.json")[0] == 200
