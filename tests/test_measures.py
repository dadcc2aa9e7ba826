"""The grammar of --metrics: what each name stands for, and what is said of a wrong one."""

import pytest

from hornbeam.config import TrainOptions
from hornbeam.errors import ConfigError
from hornbeam.measures import COUNTED, RANKED, Measure, parse_measure


@pytest.mark.parametrize(
    ("name", "measure"),
    [
        ("top_5", ("top", 5.0, None)),
        ("macro_f1", ("f1", 0.0, None)),
        ("precision:cat", ("precision", 0.0, "cat")),
        ("auc", ("auc", 0.0, None)),
        ("average_precision:a:b=c", ("average_precision", 0.0, "a:b=c")),
        ("sensitivity_at_specificity=0.9", ("sensitivity_at_specificity", 0.9, None)),
        ("sensitivity_at_specificity=.95:x=1", ("sensitivity_at_specificity", 0.95, "x=1")),
        ("group_accuracy", ("group_accuracy", 0.0, None)),
    ],
)
def test_a_name_says_what_of_which_class(name, measure):
    assert parse_measure(name) == Measure(name, *measure)


def test_each_kind_has_a_name():
    for kind in COUNTED:
        assert parse_measure(f"macro_{kind}").kind == parse_measure(f"{kind}:x").kind == kind
    for kind in RANKED:
        share = "=0.5" if kind == "sensitivity_at_specificity" else ""
        assert parse_measure(kind + share).kind == kind


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("makro_f1", "--metrics has no 'makro_f1'; did you mean 'macro_f1'? (got 'makro_f1')."),
        ("accuracy", "--metrics has no 'accuracy'; did you mean 'group_accuracy'? (got 'accuracy')."),
        ("f1", "--metrics should be f1:CLASS (or macro_f1, for all classes), not 'f1' (got 'f1')."),
        ("macro_f1:cat", "--metrics should be macro_f1, not 'macro_f1:cat' (got 'macro_f1:cat')."),
        ("auc:", "--metrics should be auc[:CLASS], not 'auc:' (got 'auc:')."),
        ("auc=1", "--metrics should be auc[:CLASS], not 'auc=1' (got 'auc=1')."),
        ("top_1", "--metrics should be top_2 or more; the first answer alone is the accuracy (got 'top_1')."),
        ("top_k", "--metrics has no 'top_k'; did you mean 'top_5'? (got 'top_k')."),
        ("auc,auc", "--metrics has 'auc' twice (got 'auc,auc')."),
        ("sensitivity_at_specificity",
         "--metrics should be sensitivity_at_specificity=X[:CLASS], not 'sensitivity_at_specificity' "
         "(got 'sensitivity_at_specificity')."),
        ("sensitivity_at_specificity=90",
         "--metrics should be sensitivity_at_specificity=X with X between 0 and 1, not '90' "
         "(got 'sensitivity_at_specificity=90')."),
    ],
)  # fmt: skip
def test_a_wrong_name_is_one_sentence(given, said):
    with pytest.raises(ConfigError) as error:
        TrainOptions(data="x", metrics=given)
    assert str(error.value) == said


def test_names_with_commas_come_as_a_list():
    options = TrainOptions(data="x", metrics=["recall:a, b", " auc"])
    assert options.metrics == ("recall:a, b", "auc")
    again = TrainOptions(**options.model_dump(mode="json"))
    assert again.metrics == options.metrics
