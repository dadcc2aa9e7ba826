"""Why a world of workers ended: which of them had a reason of its own, in one sentence."""

from __future__ import annotations

import dataclasses
import signal
from collections.abc import Sequence

from hornbeam.cluster.starting.starter import LOST, SAVED, Host

ANOTHER_WAS_LOST = 4
"""Exit code of a worker that only misses another."""

USAGE = 2
"""Exit code of what no second try mends."""

_CONSEQUENCES = (ANOTHER_WAS_LOST, -signal.SIGABRT)
"""How workers end that miss another: ours say so, and JAX' own threads abort where they are first."""

_SAID = "hornbeam: "


@dataclasses.dataclass(frozen=True)
class Ended:
    """How a worker ended.

    Attributes:
        rank: of the worker.
        host: where it was.
        code: its exit code, negative for a signal, `LOST` for a connection.
        said: its last sentence, or the last line of stderr.
        asked: whether we had told it to end.
    """

    rank: int
    host: Host
    code: int
    said: str = ""
    asked: bool = False

    @property
    def has_own_reason(self) -> bool:
        """Whether it ended for a reason that lies with it."""
        return self.code != 0 and not self.asked and self.code not in _CONSEQUENCES

    @property
    def sentence(self) -> str:
        """What it said itself, if it did."""
        return self.said.removeprefix(_SAID) if self.said.startswith(_SAID) else ""

    @property
    def kind(self) -> object:
        """What is the same of two failures for one reason, whoever notices it first."""
        return self.sentence or (self.host.name, self.rank, self.code)


def is_hopeless(cause: Ended) -> bool:
    """Whether starting again comes to the same: a full disk does not empty itself."""
    return "No space left on device" in cause.said


def find_cause(ended: Sequence[Ended]) -> Ended | None:
    """Return the worker that ended first for its own reason; else the first that failed.

    Args:
        ended: in the order of their ends.
    """
    own = [each for each in ended if each.has_own_reason]
    failed = [each for each in ended if each.code != 0 and not each.asked]
    if not own and not failed:
        return None
    chosen = (own or failed)[0]
    if chosen.code == USAGE:
        # All ranks find the same; as rank 0 has it, it is the sentence of one machine.
        return next((each for each in own if each.rank == 0 and each.code == USAGE), chosen)
    return chosen


def explain(cause: Ended) -> str:
    """Say in one sentence, without its full stop, what ended a worker."""
    where = f"host {cause.host.name} (rank {cause.rank})"
    said = (cause.sentence or cause.said).strip().rstrip(".")
    if cause.code < 0:
        name = _name(-cause.code)
        memory = "; perhaps out of memory" if cause.code == -signal.SIGKILL else ""
        return f"{where} was killed ({name}{memory})"
    if cause.code == LOST:
        why = f": {said.removeprefix('ssh: ')}" if said and not cause.sentence else ""
        return f"the connection to {where} was lost{why}"
    if cause.code in SAVED:
        return f"{where} was told to end there ({_name(cause.code - 128)})"
    if cause.code == ANOTHER_WAS_LOST:
        return f"{where} lost another worker, and none says why: {said or 'no word'}"
    if said:
        return f"{where}: {said}"
    return f"{where} ended with exit code {cause.code}, without a word"


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
