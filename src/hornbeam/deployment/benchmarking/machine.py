"""On what it was measured."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

from hornbeam import backend


def describe_machine(threads: int) -> dict[str, Any]:
    """Return name and numbers of this machine: plain values."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return {
        "cpu": _cpu(), "cores": backend.cores(), "threads": threads,
        "memory_gigabytes": round(backend.memory() / 2**30, 1), "system": platform.platform(),
        "python": platform.python_version(), "load_before": load,
    }  # fmt: skip


def _cpu() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith(("model name", "Model")):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
