"""Rules on variables' paths: which decides, and what a user is told who names nothing."""

import pytest

from hornbeam.errors import ConfigError
from hornbeam.patterns import assign

PATHS = [
    "backbone/block_1_expand/kernel",
    "backbone/block_13_expand/kernel",
    "backbone/block_13_project_BN/gamma",
    "head/label/kernel",
    "head/label/bias",
]


def test_the_first_match_decides_about_whole_paths_or_all_after_the_first_part():
    rules = [("block_1_.*", 0.0), (".*/bias", 2.0), ("backbone/.*", 0.1)]
    assert assign(rules, PATHS, "--lr-mult") == [0.0, 0.1, 0.1, None, 2.0]


@pytest.mark.parametrize(
    ("pattern", "hint"),
    [
        ("haed/.*", "Did you mean 'head/.*'?"),
        ("blok_13.*", "Did you mean 'block_13"),
        ("head/labl/.*", "Did you mean 'head/label/.*'?"),
        ("block_13", "such as 'backbone/block_13_expand/kernel': 'block_13.*' would."),
    ],
)
def test_a_pattern_that_matches_nothing_is_an_error_with_what_was_meant(pattern, hint):
    with pytest.raises(ConfigError) as error:
        assign([(pattern, True)], PATHS, "--trainable")
    assert f"--trainable: '{pattern}' matches none of the 5 variables." in str(error.value)
    assert hint in str(error.value)


def test_a_pattern_that_comes_too_late_is_an_error():
    with pytest.raises(ConfigError, match="was decided by patterns before it"):
        assign([(".*", 1.0), ("head/.*", 0.1)], PATHS, "--lr-mult")


def test_a_pattern_that_begins_with_flags_and_matches_nothing_is_told_as_any_other():
    with pytest.raises(
        ConfigError, match=r"'\(\?i\)BLOCK_13' matches none of the 5 variables\. It must"
    ):
        assign([("(?i)BLOCK_13", True)], PATHS, "--trainable")
