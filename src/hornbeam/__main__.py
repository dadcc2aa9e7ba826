"""`python -m hornbeam`, and the `hornbeam` command."""

from __future__ import annotations

import sys
import traceback


def main() -> None:
    """Run the command line and leave with its exit code."""
    from hornbeam.cli import main as run
    from hornbeam.world.world import end, here

    try:
        code = run()
    except Exception:
        if here().size == 1:
            raise
        # Else JAX would wait at its exit for the others, who wait for us, and abort in the end: the
        # supervisor would take us for one that only misses another.
        traceback.print_exc()
        code = 1
    sys.exit(end(code))


if __name__ == "__main__":
    main()
