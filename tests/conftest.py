"""Small real pictures, made once a session, and the real command line, here or as a subprocess."""

import os
import shutil
import signal
import tempfile
from pathlib import Path

# Before Keras is imported anywhere: tests in this process run on one backend, the others in
# subprocesses, because a process has one.
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# What one process has compiled with JAX the next need not: tests start many.
os.environ.setdefault(
    "JAX_COMPILATION_CACHE_DIR", f"{tempfile.gettempdir()}/hornbeam-tests-jax-{os.getpid()}"
)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")

import numpy as np
import pytest
from command_line import Finished, run_here, run_outside, without_noise
from hypothesis import HealthCheck, settings
from PIL import Image
from zygote import Zygote

from hornbeam.data.sample import draw_sample

# How long an example takes says more of the machine than of the code.
settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """Keep what Hornbeam remembers of pictures out of the home of whoever runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HORNBEAM_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def pytest_sessionfinish(session):
    """Remove what JAX has kept for other processes."""
    own = os.environ["JAX_COMPILATION_CACHE_DIR"]
    if "hornbeam-tests-jax-" in own and not hasattr(session.config, "workerinput"):
        shutil.rmtree(own, ignore_errors=True)


@pytest.fixture(scope="session")
def hornbeam(zygote):
    """Run `hornbeam …` in a process of its own; returns exit code and output."""

    def run(*words, cwd=None, backend="tensorflow", **environment) -> Finished:
        if backend not in ("tensorflow", "jax") or environment or "--backend" in words:
            return run_outside(*words, cwd=cwd, backend=backend, **environment)
        done = zygote(backend).run(*words, cwd=cwd)
        return Finished(done.code, done.out, without_noise(done.err))

    return run


@pytest.fixture(scope="session")
def hornbeam_here(hornbeam):
    """The same in this process, which is quicker, and where a warning is an error.

    Other backends get a process of their own.
    """

    def run(*words, backend="tensorflow") -> Finished:
        return run_here(*words) if backend == "tensorflow" else hornbeam(*words, backend=backend)

    return run


@pytest.fixture(scope="session")
def shapes(tmp_path_factory) -> Path:
    """The sample dataset, small: 6 classes of 12 pictures."""
    root = tmp_path_factory.mktemp("shapes") / "shapes"
    draw_sample(root, per_class=12, size=48, seed=0)
    return root


@pytest.fixture(scope="session")
def trained(hornbeam, shapes, tmp_path_factory) -> Path:
    """A run of a few steps on `shapes`."""
    run = tmp_path_factory.mktemp("runs") / "run"
    done = hornbeam(
        "train", shapes, "--run", run, "--epochs", 2, "--batch-size", 8, "--image-size", 32
    )
    assert done.code == 0, done.err
    return run


@pytest.fixture
def folders(tmp_path):
    """Make a tree of one-coloured pictures: `folders({"cat/1.jpg": 30, …})` → its root."""

    def make(files, root=tmp_path / "pictures") -> Path:
        for name, value in files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(value, bytes):
                path.write_bytes(value)
            else:
                Image.fromarray(np.full((24, 32, 3), value, np.uint8)).save(path)
        return root

    return make


@pytest.fixture(scope="session")
def clothing() -> Path:
    path = SHARED / "datasets" / "clothing"
    if not path.is_dir():
        pytest.skip("real pictures are not at hand (shared/datasets/clothing)")
    return path


@pytest.fixture(scope="session")
def pretrained() -> Path:
    path = SHARED / "pretrained"
    if not path.is_dir():
        pytest.skip("pretrained weights are not at hand (shared/pretrained)")
    return path


@pytest.fixture(scope="session")
def browser():
    """A page of Chromium without a window; see tests/browser.py."""
    from browser import Browser, find_chromium

    program = find_chromium()
    if program is None:
        missing = "Chromium is not at hand (apt-get install chromium)"
        assert not os.environ.get("HORNBEAM_TESTS_NEED_CHROMIUM"), missing
        pytest.skip(missing)
    page = Browser(program)
    yield page
    page.close()


@pytest.fixture(scope="session", autouse=True)
def ctrl_c_is_heard():
    """What is started in the background of a script ignores Ctrl-C, and so do its children."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def zygote():
    """Start real processes of `hornbeam` quickly: `zygote("jax").run("train", …)`."""
    started = {}

    def of(backend="tensorflow") -> Zygote:
        if backend not in started:
            started[backend] = Zygote(backend)
        return started[backend]

    yield of
    for each in started.values():
        each.close()
