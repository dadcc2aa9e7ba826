"""Too large, too many, too slow, too late: each is told, and none harms the others."""

import asyncio
import contextlib
import io
import json
import socket
import threading
import time

import numpy as np
import pytest
from onnx_bundle import picture
from PIL import Image
from running import HELD, multipart, wait_until

RED = (210, 40, 30)
HEAD = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\n"

SOON = 20
"""Seconds within which a busy machine does what a quiet one does in two; all limits are 30 by default."""


@contextlib.contextmanager
def connected(server):
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as one:
        yield one


def read_all(one):
    parts = []
    with contextlib.suppress(ConnectionResetError):
        while part := one.recv(65536):
            parts.append(part)
    return b"".join(parts)


def read_answer(one):
    """Return a head and the body of the length that it tells."""
    answer = b""
    while b"\r\n\r\n" not in answer and (part := one.recv(65536)):
        answer += part
    head, _, body = answer.partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
    while len(body) < length:
        body += one.recv(65536)
    return head + b"\r\n\r\n" + body


def status_of(answer):
    return int(answer.split(b" ", 2)[1]) if answer else None


def form_of(count):
    """Return a form of so many pictures, and its Content-Type."""
    return multipart(*((str(n), picture(*RED)) for n in range(count)))


@contextlib.contextmanager
def asking(server, count):
    """Ask about so many pictures beside what happens within; the list has the answer at the end."""
    found = []
    thread = threading.Thread(target=lambda: found.append(server.predict(*form_of(count))))
    thread.start()
    try:
        yield found
    finally:
        server.let_go()
        thread.join()


def processor_seconds(server):
    """Return what the server has worked, which does not depend on what else the machine does."""
    import psutil

    used = psutil.Process(server.process.pid).cpu_times()
    return used.user + used.system


def test_a_body_that_says_it_is_too_long_is_refused_unread(serving):
    server = serving("--max-bytes", 5000)
    with connected(server) as one:
        one.sendall(HEAD + b"Content-Length: 100000000000\r\n\r\n" + b"x" * 1000)
        answer = read_answer(one)
    assert status_of(answer) == 413
    assert b"more than 5000 bytes" in answer
    status, _, said = server.predict(bytes(5001))
    assert status == 413
    assert "5000" in said["error"]
    assert server.predict(picture(*RED))[0] == 200
    assert server.metric("hornbeam_held_bytes") == 0


def test_a_body_without_a_length_is_refused_when_it_has_become_too_long(serving):
    server = serving("--max-bytes", 5000)
    with connected(server) as one:
        one.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        for _ in range(6):
            one.sendall(b"3e8\r\n" + b"x" * 1000 + b"\r\n")
        assert status_of(read_answer(one)) == 413
    short = b"%x\r\n" % len(picture(*RED)) + picture(*RED) + b"\r\n0\r\n\r\n"
    with connected(server) as one:
        one.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + short)
        assert status_of(read_answer(one)) == 200


def test_a_client_that_sends_on_for_megabytes_still_reads_why_it_is_refused(serving):
    server = serving("--max-bytes", 5000)
    for _ in range(5):
        assert server.predict(bytes(20_000_000))[0] == 413
        assert server.predict(bytes(20_000_000), "text/plain")[0] == 415


def test_a_picture_of_too_many_pixels_is_refused_unread(serving):
    server = serving("--max-pixels", 10_000)
    assert server.predict(picture(*RED, size=(100, 100)))[0] == 200
    status, _, said = server.predict(picture(*RED, size=(101, 100)))
    assert status == 422
    assert "100x101 pixels" in said["error"]
    assert server.ask("GET", "/model")[2]["limits"]["pixels"] == 10_000


def test_a_small_file_that_would_fill_the_memory_is_refused_in_no_time(serving):
    server = serving()
    file = io.BytesIO()
    Image.new("1", (60_000, 60_000)).save(file, "PNG")
    before = processor_seconds(server)
    status, _, said = server.predict(file.getvalue())
    assert status == 422
    assert "--max-pixels 50000000" in said["error"]
    assert processor_seconds(server) - before < 5


_MEGABYTES = 30 * 2**20
_FORM = "multipart/form-data; boundary=x"
_FILE = b'--x\r\nContent-Disposition: form-data; name="image"; filename="x"\r\n\r\n'


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/json", b"[" + b"[],"),
        ("application/json", b"[" + b"1,"),
        ("application/json", b'{"images":[' + b'{"image":"a"},'),
        ("application/json", b'{"image":"a","features":{' + b'"a":1,'),
        ("application/json", b'{"image":' + b"1"),
        (_FORM, b"--x\r\n\r\n\r\n"), (_FORM, b"--x\r\n" + b"a: b\r\n"), (_FORM, _FILE + b"\r\n--"),
        (_FORM, b"--x\r\na: " + b"b"), (_FORM, b"\r\n"), (_FORM, _FILE + b"\r\n"),
    ],
)  # fmt: skip
def test_a_body_made_to_take_time_and_memory_takes_neither(serving, kind, body):
    import psutil

    server = serving()
    process = psutil.Process(server.process.pid)
    before = process.memory_info().rss
    # The last piece again and again, up to what a request may have.
    piece = body[-14:] if b"image" in body[-14:] else body[max(body.rfind(b"["), 0) :][-8:]
    whole = body + piece * ((_MEGABYTES - len(body)) // len(piece))
    worked = processor_seconds(server)
    status, _, said = server.predict(whole, kind)
    assert status == 422, said
    assert processor_seconds(server) - worked < 5
    assert process.memory_info().rss - before < 8 * _MEGABYTES
    assert server.predict(picture(*RED))[0] == 200


def test_too_many_pictures_in_one_request_are_422(serving):
    server = serving("--max-pictures", 3)
    files = [(f"{n}", picture(*RED)) for n in range(4)]
    assert server.predict(*multipart(*files[:3]))[0] == 200
    status, _, said = server.predict(*multipart(*files))
    assert status == 422
    assert "More than 3 pictures" in said["error"]
    content = json.dumps({"images": [{"image": "YQ=="}] * 4})
    assert server.predict(content, "application/json")[0] == 422


def test_a_full_queue_is_429_with_a_time_and_not_ready(serving):
    server = serving("--max-queue", 4, "--max-pictures", 4, "--max-batch", 1, seconds=HELD)
    with asking(server, 4) as found:
        wait_until(lambda: server.metric("hornbeam_waiting_pictures") == 4)
        status, _, told = server.ask("GET", "/readyz")
        assert status == 503
        assert told["status"] == "full"
        for _ in range(2):
            status, headers, _ = server.predict(*form_of(4))
            assert (status, headers["retry-after"]) == (429, "1")
    ((status, headers, _),) = found
    assert status == 200
    assert "retry-after" not in headers
    assert server.ask("GET", "/readyz")[0] == 200


def test_more_bytes_than_may_wait_are_429(serving):
    server = serving("--max-bytes", 3_000_000, "--max-memory", 4_000_000, "--read-timeout", 600)
    with connected(server) as slow:
        slow.sendall(HEAD + b"Content-Length: 3000000\r\n\r\n" + bytes(2_900_000))
        wait_until(lambda: server.metric("hornbeam_held_bytes") >= 2_800_000)
        status, headers, said = server.predict(bytes(2_000_000))
        assert status == 429, said
        assert headers["retry-after"] == "1"
    wait_until(lambda: server.metric("hornbeam_held_bytes") == 0)
    assert server.predict(picture(*RED))[0] == 200


def test_an_answer_that_does_not_come_in_time_is_503_and_its_pictures_are_dropped(serving):
    server = serving("--timeout", 0.4, "--max-batch", 1, seconds=0.5)
    started = time.monotonic()
    status, headers, said = server.predict(*form_of(40))
    assert status == 503
    assert time.monotonic() - started < 10  # all answers would take twenty
    assert headers["retry-after"] == "1"
    assert "within 0.4 s" in said["error"]
    wait_until(lambda: server.metric("hornbeam_waiting_pictures") == 0)
    assert server.metric('hornbeam_pictures_total{outcome="dropped"}') == 40
    assert server.metric("hornbeam_batch_pictures_sum") < 20


def test_pictures_of_a_client_that_left_are_dropped(serving):
    server = serving("--max-batch", 1, seconds=HELD)
    with connected(server) as one:
        one.sendall(slow_request(40))
        wait_until(lambda: server.metric("hornbeam_waiting_pictures") == 40)
    wait_until(lambda: server.metric('hornbeam_pictures_total{outcome="dropped"}') == 40)
    server.let_go()
    wait_until(lambda: server.metric("hornbeam_waiting_pictures") == 0)
    assert server.metric("hornbeam_batch_pictures_sum") <= 1  # that of which it was asked before
    assert server.metric('hornbeam_requests_total{path="/predict",status="499"}') == 1
    assert server.predict(picture(*RED))[0] == 200


@pytest.mark.parametrize("sent", [b"", b"POST /predict HT", HEAD + b"X: "])
def test_a_client_that_does_not_finish_its_head_is_cut(serving, sent):
    server = serving("--read-timeout", 0.5)
    started = time.monotonic()
    with connected(server) as one:
        one.sendall(sent)
        assert read_all(one) == b""
        assert 0.3 < time.monotonic() - started < SOON
    with connected(server) as one:  # a byte now and then does not help
        with pytest.raises((ConnectionError, BrokenPipeError)):  # noqa: PT012
            for n in range(400):
                one.sendall(b"GET / HTTP/1.1\r\nX: y"[n : n + 1] or b"y")
                time.sleep(0.05)
        assert n < 200


def test_nor_does_an_answered_request_before_it(serving):
    server = serving("--read-timeout", 3)
    with connected(server) as one:
        one.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert status_of(read_answer(one)) == 200
        time.sleep(3.2)  # idle connections have a time of their own
        one.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert status_of(read_answer(one)) == 200
        one.sendall(b"GET /heal")
        started = time.monotonic()
        assert read_all(one) == b""
        assert time.monotonic() - started < SOON


def test_a_client_that_does_not_finish_its_body_is_told_and_cut(serving):
    server = serving("--read-timeout", 3)
    with connected(server) as one:
        one.sendall(HEAD + b"Content-Length: 1000\r\n\r\nabc")
        started = time.monotonic()
        answer = read_all(one)
        assert time.monotonic() - started < SOON
    assert status_of(answer) == 408
    assert b"within 3 s" in answer
    assert server.metric("hornbeam_held_bytes") == 0


def test_a_head_without_end_is_cut(serving):
    server = serving()
    with connected(server) as one:
        with pytest.raises((ConnectionError, BrokenPipeError)):  # noqa: PT012
            one.sendall(b"GET / HTTP/1.1\r\n")
            for n in range(100_000):
                one.sendall(b"X-%d: %s\r\n" % (n, b"y" * 1000))
        assert n < 12_000  # what systems hold on the way, and 64 KiB
    assert server.predict(picture(*RED))[0] == 200


def slow_request(count=20):
    """The bytes of a request whose pictures are asked about one by one."""
    body, kind = form_of(count)
    head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def test_a_head_without_end_behind_a_slow_request_is_cut_too(serving):
    server = serving("--max-batch", 1, seconds=HELD)
    with connected(server) as one:
        one.sendall(slow_request())
        wait_until(lambda: server.metric("hornbeam_waiting_pictures") == 20)
        sent = 0
        with pytest.raises((ConnectionError, BrokenPipeError)):  # noqa: PT012
            one.sendall(b"GET / HTTP/1.1\r\n")
            for _ in range(1000):
                one.sendall(b"X: " + b"y" * 60_000 + b"\r\n")
                sent += 60_000
        assert sent < 12_000_000  # what systems hold on the way, and 64 KiB
        wait_until(lambda: server.metric('hornbeam_pictures_total{outcome="dropped"}') == 20)
    server.let_go()
    wait_until(lambda: server.metric("hornbeam_waiting_pictures") == 0)
    assert server.metric("hornbeam_batch_pictures_sum") <= 1  # nobody waited for the others


def test_a_head_that_does_not_end_behind_a_slow_request_is_cut_in_time(serving):
    server = serving("--max-batch", 1, "--read-timeout", 3, seconds=HELD)
    with connected(server) as one:
        started = time.monotonic()
        one.sendall(slow_request() + b"GET / HTTP/1.1\r\nX: ")
        assert read_all(one) == b""
        assert 2.5 < time.monotonic() - started < SOON


def test_requests_in_advance_are_answered_and_without_end_are_cut(serving):
    server = serving("--max-batch", 1, seconds=HELD)
    with connected(server) as one:
        one.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" * 300)
        one.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert read_all(one).count(b"HTTP/1.1 200") == 301
    with connected(server) as one:
        started = time.monotonic()
        with contextlib.suppress(ConnectionError):  # it may be cut before all is sent
            one.sendall(slow_request() + b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" * 3000)
        assert read_all(one) == b""
        assert time.monotonic() - started < SOON


def test_empty_lines_do_not_hold_a_connection(serving):
    server = serving("--read-timeout", 3, "--keep-alive", 1)
    with connected(server) as one:
        one.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        read_answer(one)
        with pytest.raises((ConnectionError, BrokenPipeError)):  # noqa: PT012
            for _ in range(400):
                one.sendall(b"\r\n")
                time.sleep(0.05)


@contextlib.contextmanager
def deaf(server, count):
    """So many clients that ask a lot and read nothing."""
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(contextlib.closing(socket.socket())) for _ in range(count)]
        for one in clients:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            one.settimeout(20)
            one.connect(("127.0.0.1", server.port))
        # All are there before the first may have been cut.
        wait_until(lambda: established(server) == count)
        for one in clients:
            with contextlib.suppress(OSError):
                for _ in range(10):
                    one.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 90)
                    time.sleep(0.02)
        yield


def established(server):
    import psutil

    held = psutil.Process(server.process.pid).net_connections()
    return sum(each.status in ("ESTABLISHED", "CLOSE_WAIT") for each in held)


def test_a_client_that_does_not_read_its_answers_is_cut(serving):
    server = serving("--write-timeout", 1, "--no-access-log")
    with deaf(server, 2):
        wait_until(lambda: not established(server), SOON)
    assert server.predict(picture(*RED))[0] == 200


def test_who_reads_slowly_gets_the_whole_answer(serving):
    server = serving("--no-access-log")
    with connected(server) as one:
        one.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 300)
        got = []
        one.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        while part := one.recv(65536):
            got.append(part)
            time.sleep(0.01)
        assert b"".join(got).count(b"HTTP/1.1 200") == 301


def test_clients_that_do_not_read_do_not_delay_the_end(serving):
    server = serving("--no-access-log")
    with deaf(server, 5):
        assert established(server) == 5
        started = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - started < SOON
    assert server.errors == []


def test_more_connections_than_allowed_are_503_and_whether_it_lives_is_told(serving):
    server = serving("--max-connections", 5, "--read-timeout", 600)
    with contextlib.ExitStack() as stack:
        for _ in range(5):
            stack.enter_context(connected(server))
        wait_until(lambda: established(server) == 5)
        status, headers, said = server.predict(picture(*RED))
        assert status == 503
        assert headers["connection"] == "close"
        assert "too many connections" in said["error"]
        assert server.ask("GET", "/healthz")[0] == 200
        assert server.ask("GET", "/readyz")[2]["status"] == "full"
    wait_until(lambda: server.predict(picture(*RED))[0] == 200)


def test_far_more_connections_than_allowed_are_cut(serving):
    server = serving("--max-connections", 5, "--read-timeout", 600)
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(connected(server)) for _ in range(100)]
        wait_until(lambda: sum(map(is_cut, clients)) > 60)
        assert 5 < established(server) < 40
    wait_until(lambda: is_ready(server))


def is_cut(one):
    """Whether the other end of a connection has been closed."""
    one.setblocking(False)
    try:
        return one.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


def is_ready(server):
    with contextlib.suppress(ConnectionError):  # of those that are gone it may not have heard yet
        return server.ask("GET", "/readyz")[0] == 200


def test_what_is_no_http_is_400_and_harms_nobody(serving):
    server = serving()
    with connected(server) as one:
        one.sendall(b"\x16\x03\x01 what is this\r\n\r\n")
        answer = read_all(one)
    assert status_of(answer) == 400
    assert "not HTTP" in json.loads(answer.partition(b"\r\n\r\n")[2])["error"]
    assert server.predict(picture(*RED))[0] == 200


def test_two_hundred_clients_at_once_are_all_answered_and_rightly(serving):
    import aiohttp

    server = serving("--max-queue", 2000, seconds=0.02)
    colours = np.random.default_rng(0).permutation(
        np.repeat(np.eye(3, dtype=int) * 200, 400, axis=0)
    )

    async def client(session, mine):
        for colour in mine:
            async with session.post(
                f"http://127.0.0.1:{server.port}/predict", data=picture(*map(int, colour)),
                headers={"Content-Type": "image/png"},
            ) as answer:  # fmt: skip
                assert answer.status == 200
                said = await answer.json()
                named = said["answers"][0]["tasks"]["label"]["top"][0]["class"]
                assert named == ("red", "green", "blue")[int(np.argmax(colour))]

    async def all_of_them():
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector) as session:
            await asyncio.gather(*(client(session, part) for part in np.split(colours, 200)))

    asyncio.run(all_of_them())
    assert server.metric('hornbeam_pictures_total{outcome="answered"}') == 1200
    assert server.metric("hornbeam_batch_pictures_count") < 900  # they were asked together
