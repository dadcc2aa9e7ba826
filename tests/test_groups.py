"""Groups of classes: from a file, from a run's own options, for all tasks or by task."""

import pytest

from hornbeam.config import TrainOptions
from hornbeam.errors import ConfigError
from hornbeam.groups import Grouping, groupings_of

CLASSES = {"label": ("bus", "car", "cat", "dog")}


@pytest.fixture
def groups(tmp_path):
    """Write a file of groups; return what the options make of it."""

    def read(text):
        path = tmp_path / "groups.yaml"
        path.write_text(text, encoding="utf-8")
        return TrainOptions(data="x", groups=path).groups

    return read


def test_a_class_in_no_group_is_one_by_itself(groups):
    given = groups("animal: [cat, dog]\nbig: bus\n")
    assert given == {"animal": ["cat", "dog"], "big": ["bus"]}
    found = groupings_of(given, CLASSES)
    assert found == {"label": Grouping(("big", "car", "animal"), (0, 1, 2, 2))}


def test_a_run_remembers_what_the_file_says(groups):
    options = TrainOptions(data="x", groups=groups("animal: [cat, dog]"))
    again = TrainOptions(**options.model_dump(mode="json"))
    assert again.groups == {"animal": ["cat", "dog"]}


def test_groups_may_be_by_task(groups):
    classes = {"kind": ("1", "2", "yes"), "colour": ("red", "blue")}
    given = groups("kind:\n  few: [1, 2]\ncolour:\n  warm: red\n")
    found = groupings_of(given, classes)
    assert found["kind"] == Grouping(("few", "yes"), (0, 0, 1))
    assert found["colour"] == Grouping(("warm", "blue"), (0, 1))
    assert list(groupings_of(groups("few: [1, 2]"), classes)) == ["kind"]


def test_no_groups_are_none():
    assert groupings_of(None, CLASSES) == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("animal: [cat, dgo]", "--groups: there is no class 'dgo' (group 'animal'). Did you mean 'dog'?"),
        ("a: [cat]\nb: [cat]", "--groups: class 'cat' is in 'a' and in 'b'; choose one."),
        ("car: [cat, dog]", "--groups: 'car' is a group, and a class that is in none; call the group otherwise."),
        ("labl: {a: [cat]}", "--groups: there is no task 'labl' with one label a picture. Did you mean 'label'?"),
    ],
)  # fmt: skip
def test_groups_that_do_not_fit_the_classes_are_an_error(groups, text, said):
    with pytest.raises(ConfigError) as error:
        groupings_of(groups(text), CLASSES)
    assert str(error.value) == said


def test_a_group_may_have_the_name_of_a_class_in_it(groups):
    found = groupings_of(groups("cat: [cat, dog]"), CLASSES)
    assert found["label"].names == ("bus", "car", "cat")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [b", "should be a file of YAML; there is a mistake in line 1"),
        ("- a", "should be a file of lines such as 'animal: [cat, dog]'"),
        ("", "should be a file of lines such as 'animal: [cat, dog]'"),
        ("a: []", "should have a list of classes for each group; 'a' has none"),
        ("a: [[b]]", "should have a list of classes for each group; 'a' has none"),
        ("a: {b: [c]}\nd: [e]", "should have groups in all its lines, or tasks, not both"),
    ],
)
def test_a_file_of_another_form_is_an_error(groups, text, said):
    with pytest.raises(ConfigError) as error:
        groups(text)
    assert f"--groups {said} (got " in str(error.value)


def test_a_file_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match="--groups cannot be read: No such file"):
        TrainOptions(data="x", groups=tmp_path / "none.yaml")
