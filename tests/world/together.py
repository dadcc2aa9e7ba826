"""Several real processes of one training, on loopback."""

from hornbeam.cluster import hosts


def free_port():
    return hosts.free_port("127.0.0.1")


def start_together(zygote, *words, size=2, only=None, cwd=None, **environment):
    """Start `hornbeam …` as several processes; `only={1: {"KILL": "step:3"}}` is for one of them.

    `cwd` is a folder for each, or `None`.
    Returns the process numbers, by rank.
    """
    shared = {
        "HORNBEAM_COORDINATOR": f"127.0.0.1:{free_port()}", "HORNBEAM_WORLD_SIZE": str(size),
        "HORNBEAM_COLLECTIVE_TIMEOUT": "20", **environment,
    }  # fmt: skip
    return [
        zygote("jax").start(
            *words, cwd=cwd[rank] if cwd else None, **shared, HORNBEAM_RANK=str(rank), HORNBEAM_HOST=f"host{rank}",
            **(only or {}).get(rank, {}),
        )
        for rank in range(size)
    ]  # fmt: skip


def run_together(zygote, *words, **options):
    """Run it to its end; return how each process ended, by rank."""
    return [zygote("jax").wait(pid) for pid in start_together(zygote, *words, **options)]
