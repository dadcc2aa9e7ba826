"""A plan of stand-ins for the supervisor, and what they noted."""

import json
import sys
from pathlib import Path

from hornbeam.cluster.starting.local import LocalStarter
from hornbeam.cluster.starting.starter import Host
from hornbeam.cluster.supervisor import Plan

STAND_IN = Path(__file__).with_name("stand_in.py")


class Stage:
    """A plan of stand-ins, and what they noted."""

    def __init__(self, folder: Path, monkeypatch) -> None:
        self.folder = folder
        self.run = folder / "run"
        self._monkeypatch = monkeypatch

    def plan(self, *attempts, hosts=2, **changes) -> Plan:
        scenario = self.folder / "scenario.json"
        scenario.write_text(json.dumps(attempts))
        self._monkeypatch.setenv("STAND_IN", str(scenario))
        starter = LocalStarter(
            changes.get("deadline", 5.0), (sys.executable, "-S", "-E", str(STAND_IN))
        )
        values = {
            "hosts": [Host(f"gpu{n + 1}", "localhost", here=True) for n in range(hosts)],
            "words": ["train", f"--run={self.run}"],
            "words_on": ["train", f"--run={self.run}", "--resume"],
            "run": self.run, "advice": "To go on: hornbeam train …", "batch_size": 32,
            "min_hosts": None, "restarts": 3, "deadline": 5.0,
            "coordinator": lambda: "127.0.0.1:1", "starter_of": lambda host: starter,
        }  # fmt: skip
        return Plan(**{**values, **changes})

    def noted(self, rank: int, attempt: int = 0) -> dict:
        return json.loads((self.folder / f"attempt-{rank}-{attempt}").read_text())

    def attempts(self, rank: int = 0) -> int:
        return len(list(self.folder.glob(f"attempt-{rank}-*")))

    def log(self, rank: int = 0) -> str:
        return (self.run / "workers" / f"{rank}-localhost.log").read_text()
