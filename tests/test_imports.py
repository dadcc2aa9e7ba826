"""The directions of imports, and what is not imported, as the design has them."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "src" / "hornbeam"

# What each part of the package may import of the others. Data flows from top to bottom.
ALLOWED = {
    "errors": set(),
    "storage": {"errors"},
    "console": set(),
    "events": set(),
    "page": set(),
    "drawing": set(),
    "plot": {"errors", "storage"},
    "patterns": {"errors"},
    "durations": set(),
    "limits": set(),
    "handlers": set(),
    "measures": {"errors"},
    "groups": {"errors"},
    "options": {"errors", "durations", "patterns"},
    "config": {"groups", "limits", "measures", "options"},
    "backend": {"errors"},
    "world": {"errors"},
    "devices": {"errors", "world"},
    "recipe": {"errors"},
    "data": {"errors", "limits", "options", "storage", "console", "page", "config", "backend"},
    "models": {"errors", "patterns", "storage", "console", "config", "backend"},
    "training": {"errors", "handlers", "durations", "groups", "measures", "patterns", "storage", "console", "events", "config", "recipe", "backend", "world", "devices", "data", "models"},
    "evaluation": {"errors", "groups", "measures", "storage", "console", "events", "page", "config", "backend", "data", "models"},
    "deployment": {"errors", "handlers", "limits", "page", "drawing", "storage", "recipe", "console", "config", "backend", "data", "models", "evaluation"},
    "runs": {"errors", "storage", "recipe", "backend", "data", "models"},
    "resuming": {"errors", "options", "config", "console", "data", "runs"},
    "telling": {"world", "plot", "console", "config", "backend", "data", "models", "evaluation", "training"},
    "assembly": {"world", "devices", "errors", "console", "config", "backend", "recipe", "data", "models", "training"},
    "together": {"assembly", "world", "devices", "errors", "console", "config", "backend", "recipe", "data", "models"},
    "workflow": {"together", "world", "devices", "handlers", "assembly", "options", "resuming", "durations", "telling", "plot", "storage", "errors", "console", "config", "backend", "recipe", "runs", "data", "models",
                 "training", "evaluation", "deployment", "search", "cluster"},
    "search": {"errors", "handlers", "measures", "options", "storage", "console", "page", "drawing", "config", "backend", "world", "recipe", "runs"},
    "cluster": {"__init__", "errors", "handlers", "options", "storage", "console", "config", "world", "data", "runs"},
    "cli": {"errors", "options", "config", "workflow", "__init__"},
    "__main__": {"cli", "world"},
    "__init__": None,  # the Python API: lazily, anything
}  # fmt: skip


def imports_of(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative imports hide where a name comes from"
            if node.module == "hornbeam":
                yield from (f"hornbeam.{alias.name}" for alias in node.names)
            else:
                yield node.module


def part_of(module):
    if module == "hornbeam" or module.endswith("__version__"):
        return "__init__"
    return module.split(".")[1]


def files():
    return sorted(SOURCE.rglob("*.py"))


@pytest.mark.parametrize("path", files(), ids=lambda p: str(p.relative_to(SOURCE)))
def test_a_file_imports_only_what_its_stage_may_know(path):
    part = path.relative_to(SOURCE).parts[0].removesuffix(".py")
    allowed = ALLOWED[part]
    if allowed is None:
        return
    for module in imports_of(path):
        if module.split(".")[0] == "hornbeam":
            assert part_of(module) in allowed | {part}, f"{part} must not import {module}"


def test_every_part_of_the_package_is_in_the_table():
    parts = {path.relative_to(SOURCE).parts[0].removesuffix(".py") for path in files()}
    assert parts == set(ALLOWED)


@pytest.mark.parametrize(
    "code",
    ["import hornbeam", "from hornbeam.cli import main; main(['--help'])"]
    + [f"from hornbeam import cli; cli.build_parser('{c}').format_help()"
       for c in ("sample", "train", "evaluate", "predict", "export", "inspect", "models")],
)  # fmt: skip
def test_help_imports_nothing_heavy(code):
    heavy = (
        "{'keras', 'numpy', 'cv2', 'tensorflow', 'jax', 'grain', 'pyarrow', 'PIL', 'rich', 'yaml'}"
    )
    check = f"import sys; {code}; bad = {heavy} & set(sys.modules); assert not bad, bad"
    subprocess.run([sys.executable, "-c", check], check=True, capture_output=True, timeout=60)


@pytest.mark.parametrize(
    "module", ["data.loader", "data.inspection.checks", "data.splits", "evaluation.scoring.scores"]
)
def test_pictures_and_statistics_need_no_keras(module):
    code = f"import sys, hornbeam.{module}; assert not {{'keras', 'tensorflow', 'jax'}} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
