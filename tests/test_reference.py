"""The page about commands and options is what the code says, and readable."""

import importlib.util
import re
from pathlib import Path

import pytest

import hornbeam
from hornbeam.cli import build_parser
from hornbeam.config import COMMANDS
from hornbeam.errors import HornbeamError

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted(Path(hornbeam.__file__).parent.rglob("*.py"))


@pytest.fixture(scope="module")
def maker():
    spec = importlib.util.spec_from_file_location("make_reference", ROOT / "docs/make_reference.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def page():
    return (ROOT / "docs/reference.md").read_text(encoding="utf-8")


def test_the_page_is_what_the_code_says(maker, page):
    assert page == maker.page(COMMANDS), "docs/reference.md is stale; make it anew: make docs"


def test_every_name_of_every_option_stands_on_the_page(page):
    for command in COMMANDS:
        for action in build_parser(command)._actions:
            for name in action.option_strings:
                shown = re.sub("^--(no-)?", "", name)
                forms = (f"`{name}", f"`--[no-]{shown}", f"`--{shown}`")
                assert name in ("-h", "--help") or any(form in page for form in forms), name


def test_an_option_of_one_command_stands_there_and_of_several_once(page):
    rows = [line.split(" | ")[0] for line in page.splitlines() if line.startswith("| `--")]
    train = page.split("## hornbeam train\n")[1].split("\n## ")[0]
    assert "| `--leave-out-test` |" in train
    assert "| `--learning-rate" not in train
    assert [row for row in rows if row.startswith("| `--learning-rate X")] == [
        "| `--learning-rate X`, `--lr`"
    ]
    assert sum(row.startswith("| `--backend ") for row in rows) == 1


def test_every_link_on_the_page_leads_somewhere(page):
    headings = {
        line.lstrip("# ").lower().replace(" ", "-") for line in page.splitlines() if line[:1] == "#"
    }
    assert set(re.findall(r"\(#([^)]+)\)", page)) <= headings


def test_a_default_of_numbers_is_shown_as_it_is_typed():
    for command, default in (("benchmark", "1,8,32"), ("augment-preview", "160x160x3")):
        text = " ".join(build_parser(command).format_help().split())
        assert f"(default: {default})" in text


def test_all_exit_codes_of_errors_are_told(maker):
    def kinds(kind):
        yield kind
        for child in kind.__subclasses__():
            yield from kinds(child)

    codes = {kind.exit_code for kind in kinds(HornbeamError) if "exit_code" in vars(kind)}
    assert codes | {0, 130, 143} == set(maker.EXIT_CODES)


def test_all_variables_that_the_program_reads_are_told(maker):
    asked = r"""environ(?:ment)?(?:\.get|\.setdefault)?[(\[]["'](\w+)|(?:"|')(HORNBEAM_[A-Z_]+)"""
    asked += r"""|startswith\(["']([A-Z]+_)["']"""
    texts = [source.read_text(encoding="utf-8") for source in SOURCES]
    found = {name for text in texts for names in re.findall(asked, text) for name in names if name}
    assert {name for name in found if name.isupper()} <= set(maker.VARIABLES)
    for name in maker.VARIABLES:
        assert any(name.removeprefix("HORNBEAM_") in text for text in texts), name


def test_links_between_the_pages_lead_somewhere():
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]:
        text = path.read_text(encoding="utf-8")
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
            assert (path.parent / link).exists(), f"{path.name}: {link}"
