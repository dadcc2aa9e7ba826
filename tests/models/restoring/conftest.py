"""Variables with known values, given by name, as a reference network asks for them."""

import os
import subprocess
import sys

import numpy as np
import pytest


class Variables:
    """Makes up the values of variables when they are first asked for, and remembers them."""

    def __init__(self, seed=0):
        self.values = {}
        self.generator = np.random.default_rng(seed)

    def __call__(self, name, shape):
        if name not in self.values:
            shape = tuple(map(int, shape))
            draw = self.generator.normal
            if "var" in name.rsplit("/", 1)[-1].rsplit(".", 1)[-1]:
                values = self.generator.uniform(0.5, 1.5, shape)
            elif len(shape) < 2:
                values = draw(1.0 if "gamma" in name else 0.0, 0.2, shape)
            else:
                values = draw(0, (2 / (np.prod(shape) / max(shape[0], shape[-1]))) ** 0.5, shape)
            self.values[name] = values.astype(np.float32)
        return self.values[name]


@pytest.fixture
def variables():
    return Variables()


@pytest.fixture
def in_a_process():
    """Run a few lines in a process of its own."""

    def run(code, backend="tensorflow"):
        environment = {**os.environ, "KERAS_BACKEND": backend}
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True,
            timeout=300, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run
