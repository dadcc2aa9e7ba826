"""What HTTP costs: `hornbeam serve` at saturation against its own Predictor alone, on the same files.

Both decode the same JPEG files, with two threads, and ask the same artifact. The client is another
process on the same cores, so its time is measured too: `of all` compares by the clock with the client's
part in it, `by CPU` compares processor time a picture of the server's process alone with the
Predictor's.

    python benchmarks/serving.py --bundle DIR --pictures FOLDER [--format litert] [--seconds 8]
    python benchmarks/serving.py --bundle DIR --pictures FOLDER --soak 60     # errors and memory
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import selectors
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
from claims import record

THREADS = 2


class Server:
    """`hornbeam serve` in a process of its own."""

    def __init__(self, bundle: str, format: str, *words: str) -> None:
        command = [
            sys.executable, "-m", "hornbeam", "serve", bundle, "--format", format, "--port", "0",
            "--threads", str(THREADS), "--no-access-log", "--max-queue", "2000", *words,
        ]  # fmt: skip
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline().rsplit(":", 1)[1])
        self._facts = psutil.Process(self.process.pid)

    def cpu(self) -> float:
        times = self._facts.cpu_times()
        return float(times.user + times.system)

    def megabytes(self) -> float:
        return float(self._facts.memory_info().rss) / 2**20

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(60)


def load(port: int, files: list[str], clients: int, each: int, seconds: float) -> dict[str, Any]:
    """Ask for some time over so many connections, each as soon as it was answered.

    Returns:
        `pictures`, `errors`, `seconds`, `cpu` of this process, and `latencies` in ms.
    """
    shots = [Path(file).read_bytes() for file in files]
    random.Random(0).shuffle(shots)
    requests = list(_requests(shots, each))
    chosen = selectors.DefaultSelector()
    sent_at: dict[socket.socket, float] = {}
    buffers: dict[socket.socket, bytearray] = {}
    turn = 0

    def send(one: socket.socket) -> None:
        nonlocal turn
        sent_at[one] = time.perf_counter()
        one.setblocking(True)
        one.sendall(requests[turn % len(requests)])
        one.setblocking(False)
        turn += 1

    started, used = time.perf_counter(), _cpu()
    for _ in range(clients):
        one = socket.create_connection(("127.0.0.1", port))
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        buffers[one] = bytearray()
        chosen.register(one, selectors.EVENT_READ)
        send(one)
    latencies: list[float] = []
    errors = 0
    while (now := time.perf_counter()) - started < seconds:
        for key, _ in chosen.select(1):
            one: socket.socket = key.fileobj  # type: ignore[assignment,no-redef]
            buffer = buffers[one]
            buffer += one.recv(262_144)
            head, found, body = buffer.partition(b"\r\n\r\n")
            if not found:
                continue
            length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
            if len(body) < length:
                continue
            if not head.startswith(b"HTTP/1.1 200") or b'"error": "' in body:
                errors += 1
            buffers[one] = bytearray()
            latencies.append(1000 * (time.perf_counter() - sent_at[one]))
            send(one)
    return {
        "pictures": len(latencies) * each, "errors": errors, "seconds": now - started,
        "cpu": _cpu() - used, "latencies": latencies,
    }  # fmt: skip


def _requests(shots: list[bytes], each: int) -> Iterator[bytes]:
    """Yield whole requests: the bytes of a picture, or a form of several."""
    for at in range(0, len(shots) - each + 1, each):
        part = shots[at : at + each]
        if each == 1:
            kind, body = "image/jpeg", part[0]
        else:
            kind = "multipart/form-data; boundary=----benchmark"
            body = b"".join(
                b'------benchmark\r\nContent-Disposition: form-data; name="images"; filename="x"\r\n'
                b"Content-Type: image/jpeg\r\n\r\n" + shot + b"\r\n"
                for shot in part
            )
            body += b"------benchmark--\r\n"
        head = (
            f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        yield head.encode() + body


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def load_elsewhere(
    port: int, pictures: str, clients: int, each: int, seconds: float
) -> dict[str, Any]:
    """Run `load` in another process."""
    command = [
        sys.executable, __file__, "--client", str(port), "--pictures", pictures, "--clients",
        str(clients), "--each", str(each), "--seconds", str(seconds), "--bundle", "-",
    ]  # fmt: skip
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def alone(bundle: str, format: str, files: list[str], seconds: float) -> tuple[float, float]:
    """Return pictures a second, and CPU ms a picture, of the Predictor in a process of its own."""
    command = [
        sys.executable, __file__, "--alone", *files, "--bundle", bundle, "--format", format,
        "--seconds", str(seconds), "--pictures", "-",
    ]  # fmt: skip
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    rate, milliseconds = json.loads(done.stdout.splitlines()[-1])
    return rate, milliseconds


def measure_alone(bundle: str, format: str, files: list[str], seconds: float) -> None:
    from hornbeam.deployment import Predictor

    shots = [Path(file).read_bytes() for file in files]
    predictor = Predictor(bundle, format=format, threads=THREADS, batch_size=32)
    predictor.predict(shots[:64])
    count, started, used = 0, time.perf_counter(), _cpu()
    while (now := time.perf_counter()) - started < seconds:
        assert not any(answer.error for answer in predictor.predict(shots))
        count += len(shots)
    print(json.dumps([count / (now - started), 1000 * (_cpu() - used) / count]))


def photographs(folder: str, most: int = 512) -> list[str]:
    files = sorted(str(path) for path in Path(folder).rglob("*.jp*g"))
    return random.Random(0).sample(files, min(most, len(files)))


def compare(options: argparse.Namespace) -> None:
    files = photographs(options.pictures)
    ways = {"one picture a request": 1, "8 a request": 8, "32 a request": 32}
    rows: dict[str, list[tuple[float, float, float, float, float, float]]] = {w: [] for w in ways}
    own: list[tuple[float, float]] = []
    errors = 0
    side = json.loads(Path(options.bundle, "bundle.json").read_bytes())["image_size"][0]
    for _ in range(options.rounds):
        own.append(alone(options.bundle, options.format, files, options.seconds))
        server = Server(options.bundle, options.format)
        load_elsewhere(server.port, options.pictures, 16, 1, 2)  # warm
        for name, each in ways.items():
            clients = max(4, options.clients // each)
            before = server.cpu()
            got = load_elsewhere(server.port, options.pictures, clients, each, options.seconds)
            used = server.cpu() - before
            latencies = sorted(got["latencies"])
            rate = got["pictures"] / got["seconds"]
            errors += got["errors"]
            rows[name].append((
                rate, rate / own[-1][0], own[-1][1] / (1000 * used / got["pictures"]),
                1000 * got["cpu"] / got["pictures"], statistics.median(latencies),
                latencies[int(0.99 * len(latencies))],
            ))  # fmt: skip
        server.stop()
    print(f"{options.bundle}, {options.format}, {options.rounds} rounds, {errors} errors\n")
    print("| way | pictures/s | of all | by CPU | client CPU ms | p50 ms | p99 ms |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    rates = [rate for rate, _ in own]
    print(f"| Predictor alone | {_spread(rates, 0)} | 1 | 1 | | | |")
    for name, found in rows.items():
        parts = list(zip(*found, strict=True))
        cells = [
            _spread(part, digits) for part, digits in zip(parts, (0, 2, 2, 2, 0, 0), strict=True)
        ]
        print(f"| server, {name} | {' | '.join(cells)} |")
        told = f"{statistics.median(parts[0]):.0f} pictures/s"
        for kind, ratios in (("by the clock", parts[1]), ("by processor time", parts[2])):
            peer = f"the Predictor alone, {kind}"
            claim = f"serving {options.network} at {side} px, {name}"
            record(__file__, claim, peer, ratios, goal=0.9, measured=told)
    print(f"\nThe Predictor alone takes {_spread([c for _, c in own], 2)} CPU ms a picture.")


def _spread(values: Any, digits: int) -> str:
    middle = statistics.median(values)
    return f"{middle:.{digits}f} ({min(values):.{digits}f}, {max(values):.{digits}f})"


def soak(options: argparse.Namespace) -> None:
    """Ask for long, and look at errors and memory."""
    server = Server(options.bundle, options.format)
    command = [
        sys.executable, __file__, "--client", str(server.port), "--pictures", options.pictures,
        "--clients", str(options.clients), "--seconds", str(options.soak), "--bundle", "-",
    ]  # fmt: skip
    client = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    sizes: list[tuple[float, float]] = []
    started = time.monotonic()
    while client.poll() is None and time.monotonic() - started < options.soak:
        time.sleep(1)
        sizes.append((time.monotonic() - started, server.megabytes()))
    got = json.loads(client.communicate()[0])
    latencies = sorted(got["latencies"])
    early = next(size for at, size in sizes if at >= 15)
    print(
        f"{options.soak} s, {options.clients} connections: {got['pictures']} pictures, "
        f"{got['pictures'] / got['seconds']:.0f} a second, {got['errors']} errors; p50 "
        f"{statistics.median(latencies):.0f} ms, p99 {latencies[int(0.99 * len(latencies))]:.0f} ms; "
        f"memory {early:.0f} MiB after 15 s, {sizes[-1][1]:.0f} at the end; exit code {server.stop()}"
    )


def main() -> None:
    """Measure and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", required=True)
    parser.add_argument("--pictures", required=True)
    parser.add_argument("--network", default="MobileNetV2", help="what the table calls it")
    parser.add_argument("--format", default="litert")
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--each", type=int, default=1)
    parser.add_argument("--soak", type=float, default=0)
    parser.add_argument("--client", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--alone", nargs="*", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.client:
        files = photographs(options.pictures)
        print(json.dumps(load(
            options.client, files, options.clients, options.each, options.seconds
        )))  # fmt: skip
    elif options.alone:
        measure_alone(options.bundle, options.format, options.alone, options.seconds)
    elif options.soak:
        soak(options)
    else:
        compare(options)


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    main()
