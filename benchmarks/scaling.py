"""What synchronous data parallelism may be expected to do on more machines than we have: a simulation.

Gradients are all-reduced in buckets as the backward pass makes them, and what is not done when it
ends is waited for; the slowest of N workers sets the pace of each step.

    python -m benchmarks.scaling          prints the tables of docs/cluster.md

What it does not know: switches that are shared or congested, accelerators of one host that reduce
among themselves first (which is faster), the cost of larger batches in epochs to an accuracy, and
faults. It is a bound to plan with, not a promise.
"""

from __future__ import annotations

import argparse
import dataclasses
import math

import numpy as np

PARAMETERS = 25_610_152
"""Of ResNet50 with 1,000 classes: 25,557,032 that are trained, and the moving statistics."""

TRAINED = 25_557_032

BYTES = {"float32": 4, "bfloat16": 2}


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is assumed.

    Attributes:
        speed: pictures a second of one accelerator alone, training ResNet50 at 224 px. NVIDIA publishes
            2,711 of an A100 80 GB in mixed precision, and 20,267 of eight behind NVLink, 93 % of 8 times
            that (DeepLearningExamples, PaddlePaddle/Classification/RN50v1.5).
        batch: pictures of one accelerator in a step.
        gigabits: a second, each way, of the network of one accelerator.
        efficiency: share of that which an all-reduce of large messages gets; assumed.
        latency: seconds of one hop; assumed, of RDMA and NCCL. TCP has several times that.
        bucket: bytes that are reduced together, as PyTorch's DDP does; XLA has thresholds of its own.
        backward: share of a step in which gradients become ready: twice the arithmetic of the forward
            pass.
        jitter: standard deviation of a worker's step, as a share of it; assumed.
        steps: that are simulated.
        seed: of the jitter.
    """

    speed: float = 2700.0
    batch: int = 128
    gigabits: float = 100.0
    efficiency: float = 0.8
    latency: float = 10e-6
    bucket: float = 25e6
    backward: float = 2 / 3
    jitter: float = 0.02
    steps: int = 400
    seed: int = 0


def reduced_bytes(workers: int, size: int) -> float:
    """Return the bytes that each worker sends in a step: 2 (N-1)/N of the gradients, by a ring.

    Args:
        workers: N.
        size: bytes of a number.
    """
    return 2 * (workers - 1) / workers * TRAINED * size


def reduce_seconds(plan: Plan, workers: int, content: float) -> float:
    """Return the time to all-reduce `content` bytes, by a ring or by two trees, whichever is quicker.

    A ring sends 2 (N-1)/N of the bytes in 2 (N-1) hops; two binary trees that share the work send all
    of them up and down in 2 log2(N) (Sanders, Speck and Träff 2009; NCCL has both).
    """
    if workers == 1:
        return 0.0
    bandwidth = plan.gigabits * 1e9 / 8 * plan.efficiency
    ring = 2 * (workers - 1) * (content / workers / bandwidth + plan.latency)
    trees = 2 * content / bandwidth + 2 * math.ceil(math.log2(workers)) * plan.latency
    return min(ring, trees)


def step_seconds(plan: Plan, workers: int, size: int, compute: float) -> float:
    """Return the time of one step of workers that are equally fast.

    Buckets become ready evenly over the backward pass, and are reduced one after the other; what is not
    done when it ends is waited for.
    """
    gradients = TRAINED * size
    count = math.ceil(gradients / plan.bucket)
    one = reduce_seconds(plan, workers, gradients / count)
    begin, length = compute * (1 - plan.backward), compute * plan.backward
    free = 0.0
    for index in range(count):
        ready = begin + length * (index + 1) / count
        free = max(free, ready) + one
    return max(compute, free)


def efficiency(plan: Plan, workers: int, size: int) -> float:
    """Return pictures a second of N workers as a share of N times those of one."""
    compute = plan.batch / plan.speed
    rng = np.random.default_rng(plan.seed)
    # Time is never negative, and now and then long: a gamma distribution of mean 1.
    shape = 1 / plan.jitter**2 if plan.jitter else math.inf
    total = 0.0
    for _ in range(plan.steps):
        slowest = 1.0
        if plan.jitter:
            slowest = float(rng.gamma(shape, 1 / shape, workers).max())
        total += step_seconds(plan, workers, size, compute * slowest)
    return compute / (total / plan.steps)


def input_megabytes(plan: Plan, accelerators: int, kilobytes: float) -> float:
    """Return the megabytes a second that a host of so many accelerators reads.

    Args:
        plan: with the speed of one.
        accelerators: of the host.
        kilobytes: of a picture as it is stored.
    """
    return plan.speed * accelerators * kilobytes / 1e3


def checkpoint_megabytes(slots: int) -> float:
    """Return the size of a checkpoint: weights in float32, and so many slots of the optimiser."""
    return (PARAMETERS + slots * TRAINED) * 4 / 1e6


def tables() -> str:
    """Return the tables of docs/cluster.md."""
    plan = Plan()
    counts = (8, 64, 512)
    lines = [
        "| accelerators | sent by each in a step, float32 | bfloat16 |", "|---:|---:|---:|",
        *(
            f"| {n} | {reduced_bytes(n, 4) / 1e6:.0f} MB | {reduced_bytes(n, 2) / 1e6:.0f} MB |"
            for n in counts
        ),
        "",
        "| accelerators | gradients | 100 Gbit/s | 400 Gbit/s |", "|---:|---|---:|---:|",
    ]  # fmt: skip
    for n in counts:
        for name, size in BYTES.items():
            cells = []
            for gigabits in (100.0, 400.0):
                share = efficiency(dataclasses.replace(plan, gigabits=gigabits), n, size)
                cells.append(f"{100 * share:.0f} %, {share * n * plan.speed:,.0f} pictures/s")
            lines.append(f"| {n} | {name} | {' | '.join(cells)} |")
    # Decoded by two threads: 781 and 1425 pictures/s (benchmarks/README.md, Loading).
    lines += [
        "",
        "| pictures as stored | read by a host of 8 | cores that decode |", "|---|---:|---:|",
        *(
            f"| {what} | {input_megabytes(plan, 8, kilobytes):,.0f} MB/s | "
            f"{8 * plan.speed / per_core:.0f} |"
            for what, kilobytes, per_core in (
                ("JPEG of 500x375, 110 KB", 110, 781 / 2),
                ("`prepare --shorter-side 256`, 25 KB", 25, 1425 / 2),
            )
        ),
        "",
        "| optimiser | checkpoint | each 10 min, at 1 GB/s |", "|---|---:|---:|",
        *(
            f"| {what} | {checkpoint_megabytes(slots):.0f} MB | "
            f"{checkpoint_megabytes(slots) / 1e3 / 600 * 100:.2f} % of the time |"
            for what, slots in (("momentum", 1), ("adam", 2))
        ),
    ]  # fmt: skip
    return "\n".join(lines)


def main() -> None:
    """Print the tables."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    print(tables())


if __name__ == "__main__":
    main()
