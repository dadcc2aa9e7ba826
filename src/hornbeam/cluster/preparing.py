"""Lets each host write its part of the shards, and brings them all here."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from hornbeam import console
from hornbeam.cluster.attempt import Attempt
from hornbeam.cluster.causes import explain, find_cause
from hornbeam.cluster.logs import Logs
from hornbeam.cluster.requests import Requests
from hornbeam.cluster.sending import place_of, rsync_words
from hornbeam.cluster.starting.starter import Host, Starter
from hornbeam.errors import ClusterError, InterruptionError

SAVING = 10.0
"""Seconds to end in: a shard that is not whole is begun again."""


def write_parts(
    hosts: Sequence[Host], starter_of: Callable[[Host], Starter],
    words: Sequence[Sequence[str]], out: Path,
) -> None:  # fmt: skip
    """Run `hornbeam prepare … --part I/N` on each host.

    Raises:
        ClusterError: a part failed; the sentence names host and cause.
        InterruptionError: a signal ended it.
    """
    requests, logs = Requests(), Logs(out, inside=False)
    with requests.heard():
        attempt = Attempt(starter_of, logs, requests, SAVING, slow_end=None)
        ended = attempt.run(hosts, words, {})
    if requests.stop is not None:
        raise InterruptionError(
            f"Stopped; the same command goes on with {out}.", 128 + requests.stop
        )
    cause = find_cause(ended)
    if cause is not None:
        said = explain(cause)
        raise ClusterError(
            f"{said[0].upper()}{said[1:]}. What was printed is in {logs.folder}; the same command goes "
            "on with the shards that are missing."
        )
    logs.forget()


def gather(hosts: Sequence[Host], out: Path) -> None:
    """Copy the shards that other hosts have written into the same folder here.

    Raises:
        ClusterError: they cannot be copied.
    """
    for host in hosts:
        console.say(f"Fetching the shards of {host.name} …")
        done = subprocess.run(
            [*rsync_words(host), "--protect-args", "--include=*.tfrecord", "--include=index/",
             "--include=index/*.parquet", "--exclude=*", place_of(host, f"{out}/"), f"{out}/"],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
            start_new_session=True,
        )  # fmt: skip
        if done.returncode:
            why = (done.stderr.splitlines() or [f"rsync ended with {done.returncode}"])[0]
            raise ClusterError(
                f"The shards of {host.name} cannot be fetched ({why}); the same command goes on."
            )
