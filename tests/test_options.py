"""Every option has a test, and each of its names reaches it."""

import re
from pathlib import Path

import pytest

import hornbeam
from hornbeam.cli import build_parser
from hornbeam.config import COMMANDS, OPTIMIZER_ARGUMENTS, TrainOptions
from hornbeam.errors import ConfigError

TESTS = "\n".join(path.read_text() for path in Path(__file__).parent.rglob("*.py"))
WORDS = set(re.findall(r"(?<![\w-])--?[a-zA-Z][\w-]*", TESTS))
NAMES = set(re.findall(r"(?<![\w.])(\w+)\s*=[^=]", TESTS)) | set(
    re.findall(r"[\"'](\w+)[\"']", TESTS)
)
BY_TABLE = {option for options in OPTIMIZER_ARGUMENTS.values() for option in options}
"""Options whose tests go through that table."""


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_in_a_test(command):
    missing = []
    for name, field in COMMANDS[command].model_fields.items():
        known = field.json_schema_extra
        flag = name.replace("_", "-")
        words = [f"--{flag}", f"--no-{flag}", *known["names"], *known.get("seconds", ())]
        if not known.get("positional") and name not in BY_TABLE | NAMES and not WORDS & set(words):
            missing.append(name)
    assert not missing


@pytest.mark.parametrize("command", COMMANDS)
def test_each_further_name_of_an_option_is_that_option(command):
    parser = build_parser(command)
    for name, field in COMMANDS[command].model_fields.items():
        known = field.json_schema_extra
        for word in [*known["names"], *known.get("seconds", ())]:
            switch = field.annotation in (bool, bool | None)
            values = vars(parser.parse_intermixed_args([word] if switch else [word, "7"]))
            assert list(values) == [name], word
            assert values[name] in (True, "7", "7s", ["7"])


@pytest.mark.parametrize("text", ["1.55e1", "1e999", "nan", "e"])
def test_a_number_that_is_not_whole_is_no_number_of_pictures(text):
    assert TrainOptions(data="x", examples="1e6").examples == 1_000_000
    with pytest.raises(ConfigError, match=rf"--examples .*\(got '{text}'\)"):
        TrainOptions(data="x", examples=text)


def test_test_pictures_can_be_left_out_unopened(folders):
    files = {f"train/{kind}/{i}.jpg": 30 * i for kind in "ab" for i in range(4)}
    root = folders(files | {"test/a/1.jpg": b"no picture", "test/b/1.jpg": b"no picture"})
    whole = hornbeam.open_dataset(root)
    left = hornbeam.open_dataset(root, leave_out_test=True)
    assert (whole.splits, len(whole)) == (("train", "validation", "test"), 10)
    assert (left.splits, len(left)) == (("train", "validation"), 8)
    kept = set(left.paths)
    assert kept == {path for path in whole.paths if not path.startswith("test/")}
