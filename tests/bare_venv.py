"""Virtual environments with exactly the packages that are named, made offline by links."""

import subprocess
import sys
from importlib import metadata
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[1] / "src"


def make_bare_venv(directory, *names):
    """Make one of these distributions, and Hornbeam's source; return its Python.

    Nothing comes along: what they require must be named too.
    """
    subprocess.run(
        [sys.executable, "-m", "venv", "--without-pip", directory], check=True, timeout=60
    )
    (packages,) = (directory / "lib").glob("python*/site-packages")
    (packages / "hornbeam.pth").write_text(f"{SOURCE}\n")
    for name in names:
        for file in metadata.distribution(name).files:
            if ".." in file.parts or "__pycache__" in file.parts:
                continue
            link = packages / file
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(Path(file.locate()).resolve())
    return directory / "bin" / "python"
