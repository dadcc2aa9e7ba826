"""What is searched is read whole and checked before anything is trained."""

from pathlib import Path

import optuna
import pytest

from hornbeam.config import SearchOptions
from hornbeam.errors import ConfigError
from hornbeam.search.reading import arguments_of, grid_space, read_space
from hornbeam.search.space import check, merged

RECIPE = """
import keras
def build_model(input_shape, targets, features, width=8, *, depth: int = 2, kind="plain"):
    ...
"""


@pytest.fixture
def recipe(tmp_path) -> Path:
    path = tmp_path / "recipe.py"
    path.write_text(RECIPE)
    return path


@pytest.fixture
def read(tmp_path):
    def read(text, recipe=None):
        path = tmp_path / "space.yaml"
        path.write_text(text)
        return read_space(path, recipe)

    return read


def suggested(space, **fixed):
    study = optuna.create_study()
    study.enqueue_trial(fixed)
    return space.suggest(study.ask())


def test_ranges_choices_and_constants_are_read_with_the_types_of_the_options(read, recipe):
    space = read(
        """
        learning-rate: {low: 1e-4, high: 1e-1, log: true}
        dropout: {low: 0, high: 0.5}
        accumulate: {low: 1, high: 4}
        batch_size: [16, 32]
        image_size: ["32x48", 64]
        build_model.width: {low: 8, high: 64, step: 8}
        kind: [plain, 1e-3]
        epochs: 5
        """,
        recipe,
    )
    found = {p.name: p for p in space.parameters}
    assert list(found) == ["learning_rate", "dropout", "accumulate", "batch_size", "image_size",
                           "build_model.width", "build_model.kind"]  # fmt: skip
    assert (found["learning_rate"].low, found["learning_rate"].high) == (1e-4, 0.1)
    assert not found["dropout"].whole
    assert found["accumulate"].whole
    assert found["build_model.width"].whole
    assert found["build_model.kind"].choices == ("plain", 0.001)
    assert space.constants == {"epochs": 5}
    values = suggested(space, **{"dropout": 0.25, "accumulate": 3, "build_model.width": 24})
    assert values["accumulate"] == 3
    assert isinstance(values["accumulate"], int)
    options = merged({"data": "photos", "build_model": {"depth": 3, "width": 99}}, values)
    assert options["build_model"] == {"depth": 3, "width": 24, "kind": values["build_model.kind"]}
    assert options["dropout"] == 0.25
    check(space, {"data": "photos", "recipe": str(recipe)}, "--space")


def test_a_parameter_may_hold_for_some_choices_only(read):
    space = read(
        """
        optimizer: [adam, momentum]
        momentum: {low: 0.8, high: 0.99, when: {optimizer: momentum}}
        """
    )
    check(space, {"data": "photos"}, "--space")
    assert set(suggested(space, optimizer="adam")) == {"optimizer"}
    assert set(suggested(space, optimizer="momentum")) == {"optimizer", "momentum"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("learning_rat: [1, 2]", "train has no such option. Did you mean 'learning_rate'?"),
        ("dropout: {low: 0, hihg: 1}", "there is no 'hihg' here, but low, high, step, log, when. Did you mean 'high'?"),
        ("dropout: {low: 0.5, high: 0.1}", "low should be below high"),
        ("dropout: {low: 0.5}", "expected low and high"),
        ("dropout: {low: a, high: 0.1}", "low should be a number (got 'a')"),
        ("accumulate: {low: 1.5, high: 3}", "expected whole numbers"),
        ("learning_rate: {low: 0, high: 1, log: true}", "with log, low should be above 0"),
        ("learning_rate: {low: 0.1, high: 1, log: true, step: 0.1}", "exclude each other"),
        ("optimizer: {low: 0, high: 1}", "has no range; give a list of choices"),
        ("batch_size: []", "a list, as in [16, 32]"),
        ("batch_size: [16, 16]", "twice"),
        ("image_size: [[32, 48]]", "one word or number, as on the command line"),
        ("seed: [0, 1]", "decides which pictures judge"),
        ("validation_fraction: [0.1, 0.2]", "trials must be judged by the same"),
        ("run: [a, b]", "says where a training goes"),
        ("monitor: [val_loss]", "what trials are compared by"),
        ("width: [1, 2]", "train has no such option"),
        ("build_model.width: [1, 2]", "for a recipe with build_model"),
        ("epochs: 5", "only constants"),
        ("momentum: {low: 0.8, high: 0.9, when: {optimiser: momentum}}\noptimizer: [adam]", "should stand above it"),
        ("a: [", "line 1, column 5: this is not YAML"),
        ("just words", "expected lines such as"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_the_file_is_a_sentence(read, text, told):
    with pytest.raises(ConfigError) as error:
        read(text)
    assert told in str(error.value)


def test_all_that_is_wrong_is_told_at_once(read):
    with pytest.raises(ConfigError) as error:
        read("learning_rat: [1, 2]\ndropot: [0]\nbatch_size: []")
    for told in ("'learning_rate'", "'dropout'", "[16, 32]"):
        assert told in str(error.value)


def test_arguments_of_a_recipe_are_known_without_running_it(read, recipe):
    assert arguments_of(recipe) == ("width", "depth", "kind")
    recipe.write_text(RECIPE + "raise SystemExit('must not run')")
    with pytest.raises(ConfigError, match=r"takes width, depth, kind. Did you mean 'width'\?"):
        read("build_model.widht: [8, 16]", recipe)
    assert read("build_model: {width: [8, 16]}", recipe).parameters[0].name == "build_model.width"
    recipe.write_text("from elsewhere import build_model")
    assert arguments_of(recipe) is None
    assert read("build_model.anything: [8, 16]", recipe).parameters


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("dropout: {low: 0.5, high: 1.5}", "dropout: --dropout should be less than 1 (got 1.5)"),
        ("batch_size: [0, 16]", "batch_size: --batch-size should be greater than or equal to 1"),
        ("optimizer: [adam, adm]", "did you mean 'adam'"),
        ("epochs: [2, many]", "epochs: --epochs should be a valid integer"),
        # Each is well alone:
        ("optimizer: [momentum, adam]\nmomentum: {low: 0.8, high: 0.9}", "'when: {option: choice}'"),
        ("epochs: [1, 2]\nsteps: [10]", "exclude each other"),
    ],
)  # fmt: skip
def test_every_end_and_choice_is_checked_as_train_checks_it(read, text, told):
    with pytest.raises(ConfigError) as error:
        check(read(text), {"data": "photos"}, "--space space.yaml")
    assert told in str(error.value)
    assert str(error.value).startswith("--space space.yaml: ")


def test_a_grid_is_choices_of_options_or_arguments(recipe):
    options = SearchOptions(data="x", recipe=recipe, grid="width=8,16 learning-rate=1e-3,0.01")
    space = grid_space(options.grid, options.recipe)
    assert [(p.name, p.choices) for p in space.parameters] == [
        ("build_model.width", (8, 16)),
        ("learning_rate", (0.001, 0.01)),
    ]
    with pytest.raises(ConfigError, match="Did you mean 'dropout'"):
        grid_space((("dropot", (1, 2)),), None)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, "either --space FILE or --grid"),
        ({"space": "s.yaml", "grid": "dropout=0,0.1"}, "either --space FILE or --grid"),
        ({"space": "s.yaml", "until_worse": True}, "--until-worse is for --grid"),
        ({"grid": "dropout=0,0.1", "warm_start": True, "workers": 2}, "one worker"),
        ({"grid": "dropout=0,0.1 batch_size=1,2", "until_worse": True}, "of one name"),
        ({"grid": "dropout"}, "should be NAME=VALUE,VALUE"),
        ({"space": "s.yaml", "validation": False}, "compares by the validation pictures"),
    ],
)
def test_options_that_do_not_go_together_are_refused(options, told):
    with pytest.raises(ConfigError) as error:
        SearchOptions(data="photos", **options)
    assert told in str(error.value)
