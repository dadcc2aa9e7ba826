"""Brings this Hornbeam to hosts, into a virtual environment of its own."""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import io
import shlex
import sys
import tarfile
import zipfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import hornbeam
from hornbeam import console
from hornbeam.cluster.starting.ssh import reason_of, run_there
from hornbeam.cluster.starting.starter import Host
from hornbeam.errors import ClusterError

_FOLDER = ".hornbeam"
"""Below the home of a host."""

_SCRIPT = """
set -e
mkdir -p "$HOME/{folder}/wheels" && cd "$HOME/{folder}"
exec 9> .lock
if command -v flock > /dev/null; then flock 9 || :; fi
if [ "$(cat venv/.digest 2>/dev/null)" = {digest} ]; then cat >/dev/null; echo reused; exit 0; fi
rm -rf wheels && mkdir wheels && tar -xf - -C wheels
python=$(command -v {python} || command -v python3) || {{ echo "there is no python3" >&2; exit 1; }}
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    {{ echo "$("$python" --version) is too old, 3.11 is needed" >&2; exit 1; }}
rm -rf venv && "$python" -m venv venv ||
    {{ echo "no virtual environment can be made (Debian: apt install python3-venv)" >&2; exit 1; }}
jax=jax
[ -e /dev/nvidiactl ] && jax='jax[cuda12]'
[ -e /dev/accel0 ] && jax='jax[tpu]'
venv/bin/python -m pip install --quiet --disable-pip-version-check -c wheels/constraints.txt \\
    wheels/*.whl "$jax" >&2
echo {digest} > venv/.digest
echo installed
"""
"""pip finds packages where the host's own configuration says; what it printed last says what failed. Of
hosts with one home, as on many clusters, the first installs, and the others find it done."""


def install(hosts: Sequence[Host]) -> None:
    """Install this Hornbeam on hosts, side by side; those that have it already are left alone.

    Raises:
        ClusterError: it failed somewhere; all hosts where it did are named.
    """
    if not hosts:
        return
    content, digest = _archive()
    script = _SCRIPT.format(
        folder=_FOLDER, digest=digest,
        python=shlex.quote(f"python{sys.version_info[0]}.{sys.version_info[1]}"),
    )  # fmt: skip
    console.say(
        f"Installing Hornbeam {hornbeam.__version__} on {', '.join(h.name for h in hosts)} …"
    )
    with ThreadPoolExecutor(16) as pool:
        finished = list(pool.map(lambda host: run_there(host, script, content), hosts))
    failures = []
    for host, done in zip(hosts, finished, strict=True):
        if done.returncode:
            failures.append(f"{host.name}: {reason_of(done.stderr)}")
        elif b"reused" in done.stdout:
            console.say(f"{host.name} has it already, in ~/{_FOLDER}/venv.")
        else:
            console.say(f"{host.name} has it now, in ~/{_FOLDER}/venv.")
    if failures:
        raise ClusterError(f"--install failed on {'; on '.join(failures)}. Nothing was started.")


def build_wheel(source: Path) -> tuple[str, bytes]:
    """Return name and content of a wheel of a package's folder.

    A wheel of pure Python is an archive of the files and of what the installed distribution says of
    itself, so no tool is needed, whether this is a checkout or not.
    """
    known = importlib.metadata.distribution("hornbeam")
    version = hornbeam.__version__
    info = f"hornbeam-{version}.dist-info"
    files = {
        f"hornbeam/{path.relative_to(source).as_posix()}": path.read_bytes()
        for path in sorted(source.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }
    files[f"{info}/METADATA"] = (known.read_text("METADATA") or "").encode()
    files[f"{info}/entry_points.txt"] = (known.read_text("entry_points.txt") or "").encode()
    files[f"{info}/WHEEL"] = (
        b"Wheel-Version: 1.0\nGenerator: hornbeam\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    )
    record = "".join(f"{name},sha256={_sha256(body)},{len(body)}\n" for name, body in files.items())
    files[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n".encode()
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as wheel:
        for name, body in files.items():
            # A fixed date, so that the same sources are the same wheel.
            wheel.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), body, zipfile.ZIP_DEFLATED)
    return f"hornbeam-{version}-py3-none-any.whl", archive.getvalue()


def installed_versions() -> str:
    """Return what is installed here as constraints for pip: the versions that hosts should have, too."""
    found = {
        f"{known.metadata['Name']}=={known.version}"
        for known in importlib.metadata.distributions()
        if known.metadata["Name"] and known.metadata["Name"].lower() != "hornbeam"
        and "+" not in known.version
    }  # fmt: skip
    return "".join(f"{line}\n" for line in sorted(found, key=str.lower))


def _archive() -> tuple[bytes, str]:
    """Return wheel and constraints as a tar archive, and a digest of both."""
    assert hornbeam.__file__ is not None
    name, wheel = build_wheel(Path(hornbeam.__file__).parent)
    files = {name: wheel, "constraints.txt": installed_versions().encode()}
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for file, body in files.items():
            entry = tarfile.TarInfo(file)
            entry.size = len(body)
            tar.addfile(entry, io.BytesIO(body))
    digest = hashlib.blake2b(b"".join(files.values()), digest_size=16).hexdigest()
    return archive.getvalue(), digest


def _sha256(body: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(body).digest()).rstrip(b"=").decode()
