"""The engine is chosen before Keras, and the process is prepared for it."""

import subprocess
import sys

import pytest

from hornbeam import backend
from hornbeam.errors import ConfigError


def answers(code, **environment):
    import os

    full = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "KERAS_"))}
    done = subprocess.run(
        [sys.executable, "-c", f"from hornbeam import backend\nimport os\n{code}"],
        env=full | environment, capture_output=True, text=True, check=True, timeout=100,
    )  # fmt: skip
    return done.stdout.split()


def test_without_an_accelerator_tensorflow_comes_first(monkeypatch):
    monkeypatch.delenv("KERAS_BACKEND")
    monkeypatch.setattr(backend, "_has_accelerator", lambda: False)
    assert backend._automatic() == "tensorflow"


def test_with_an_accelerator_jax_comes_first(monkeypatch):
    monkeypatch.delenv("KERAS_BACKEND")
    monkeypatch.setattr(backend, "_has_accelerator", lambda: True)
    assert backend._automatic() == "jax"


def test_jax_is_taken_where_tensorflow_is_missing(monkeypatch):
    monkeypatch.delenv("KERAS_BACKEND")
    there = backend.importlib.util.find_spec
    monkeypatch.setattr(
        backend.importlib.util, "find_spec", lambda n: None if n == "tensorflow" else there(n)
    )
    assert backend._automatic() == "jax"


def test_the_environment_decides_where_the_option_does_not():
    code = "print(backend.select_backend('auto'), os.environ['KERAS_BACKEND'])"
    assert answers(code, KERAS_BACKEND="jax") == ["jax", "jax"]
    assert answers("print(backend.select_backend('jax'))", KERAS_BACKEND="tensorflow") == ["jax"]


def test_an_unknown_backend_in_the_environment_is_named(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "theano")
    with pytest.raises(ConfigError, match=r"\$KERAS_BACKEND is 'theano'; expected one of"):
        backend.select_backend("auto")


def test_a_running_keras_cannot_change_its_backend():
    code = "import keras\ntry: backend.select_backend('jax')\nexcept Exception as e: print(e)"
    assert "Keras runs on 'tensorflow' already" in " ".join(
        answers(code, KERAS_BACKEND="tensorflow")
    )


@pytest.mark.skipif(sys.platform != "linux", reason="mallopt is glibc's")
def test_memory_settings_of_the_user_are_left_alone():
    assert answers("print(backend.keep_freed_memory())") == ["True"]
    assert answers("print(backend.keep_freed_memory())", MALLOC_ARENA_MAX="4") == ["False"]


@pytest.mark.skipif(sys.platform != "linux", reason="counts page faults by getrusage")
def test_freed_memory_is_kept_and_not_faulted_in_again():
    code = """
import resource
import numpy as np
backend.keep_freed_memory()
def faults(): return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
np.ones(50 << 20, np.uint8)
before = faults()
for _ in range(5): np.ones(50 << 20, np.uint8)
print(faults() - before)
"""
    assert int(answers(code)[0]) < 5 * (50 << 20) / 4096 / 10


def test_tensorflow_begins_without_a_word():
    import os

    # As a user has it: nothing says how much TensorFlow may tell.
    bare = {
        k: v for k, v in os.environ.items() if k not in ("TF_CPP_MIN_LOG_LEVEL", "KERAS_BACKEND")
    }
    code = (
        "from hornbeam import backend; backend.select_backend('tensorflow'); import tensorflow as tf; "
        "print(tf.constant(2) + 3, tf.__spec__.name); import os; os.write(2, b'heard')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=bare,
        capture_output=True,
        text=True,
        timeout=200,
        check=True,
    )
    assert (done.stderr, done.stdout.split()[-1]) == ("heard", "tensorflow")


def test_what_a_silent_import_wrote_is_shown_if_it_fails(tmp_path):
    (tmp_path / "broken.py").write_text("import os\nos.write(2, b'no such library')\n1 / 0\n")
    code = (
        "import sys; from hornbeam.backend import _Silently; sys.meta_path.insert(0, _Silently('broken'))"
        f"; sys.path.insert(0, {str(tmp_path)!r}); import broken"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100)
    assert done.stderr.startswith("no such library")
    assert "ZeroDivisionError" in done.stderr


def test_who_asks_for_jax_is_told_how_to_get_jax(monkeypatch):
    """Without an accelerator too: on several processes the backend is JAX, on two CPUs as well."""
    monkeypatch.setattr(backend.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(
        ConfigError, match=r"'jax' is not installed; pip install .* or jax for a CPU"
    ):
        backend.select_backend("jax")
    with pytest.raises(ConfigError, match=r"not installed; pip install 'hornbeam\[cpu\]'"):
        backend.select_backend("tensorflow")
