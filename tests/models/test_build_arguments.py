"""`--build-model width=32`: arguments of a recipe's `build_model`."""

from types import SimpleNamespace

import keras
import pytest

from hornbeam.config import TrainOptions
from hornbeam.errors import ConfigError
from hornbeam.models.classifier import adapt_user_model

TASKS = [SimpleNamespace(name="label", classes=("a", "b"))]


def build_model(input_shape, targets, width=8, *, depth=1, kind="plain"):
    layers = [keras.layers.Flatten()] + [keras.layers.Dense(width) for _ in range(depth)]
    return keras.Sequential([keras.Input(input_shape), *layers, keras.layers.Dense(2)], name=kind)


def test_they_reach_the_function_with_their_types():
    options = TrainOptions(data="x", recipe="r.py", build_model="width=16,depth=2,kind=small")
    assert dict(options.build_model) == {"width": 16, "depth": 2, "kind": "small"}
    model = adapt_user_model(build_model, (4, 4), TASKS, arguments=dict(options.build_model))
    assert [layer.units for layer in model.layers if isinstance(layer, keras.layers.Dense)] == [
        16,
        16,
        2,
    ]
    assert model.name == "small"
    again = TrainOptions(**options.model_dump(mode="json", exclude_unset=True))
    assert again.build_model == options.build_model


@pytest.mark.parametrize(
    ("text", "value"),
    [("a=1", 1), ("a=1e-3", 0.001), ("a=0.5", 0.5), ("a=true", True), ("a=x y", "x y"), ("a=", None)],
)  # fmt: skip
def test_values_are_those_of_yaml(text, value):
    ((_, found),) = TrainOptions(data="x", recipe="r.py", build_model=text).build_model
    assert found == value
    assert type(found) is type(value)


def test_unknown_ones_are_refused_with_those_that_there_are():
    with pytest.raises(ConfigError, match=r"takes width, depth, kind\. Did you mean 'width'\?"):
        adapt_user_model(build_model, (4, 4), TASKS, arguments={"widht": 3})
    with pytest.raises(ConfigError, match="takes no arguments of yours"):
        adapt_user_model(lambda shape, targets: None, (4, 4), TASKS, arguments={"width": 3})
    with pytest.raises(ConfigError, match="--build-model input_shape"):
        adapt_user_model(build_model, (4, 4), TASKS, arguments={"input_shape": 3})


def test_a_function_that_takes_any_gets_them():
    def build(input_shape, targets, **others):
        return build_model(
            input_shape, targets, **{k: v for k, v in others.items() if k == "width"}
        )

    def renamed(shape, tasks, **others):
        return build(shape, tasks, **others)

    for function in (build, renamed):
        model = adapt_user_model(function, (4, 4), TASKS, arguments={"width": 5})
        assert [n.units for n in model.layers if isinstance(n, keras.layers.Dense)] == [5, 2]


@pytest.mark.parametrize("text", ["width", "=3", "2a=3"])
def test_other_forms_are_refused(text):
    with pytest.raises(ConfigError, match="should be NAME=VALUE"):
        TrainOptions(data="x", recipe="r.py", build_model=text)


def test_they_need_a_recipe():
    with pytest.raises(ConfigError, match="--recipe FILE"):
        TrainOptions(data="x", build_model="width=3")


@pytest.mark.parametrize("closing", [None, "softmax"])
def test_a_recipe_may_return_a_sequential_model(closing):
    def build(input_shape, targets):
        last = keras.layers.Dense(2, activation=closing)
        return keras.Sequential([keras.Input(input_shape), keras.layers.Flatten(), last])

    model = adapt_user_model(build, (4, 4), TASKS)
    assert model.output["label"].shape == (None, 2)
    assert all(
        layer.activation.__name__ == "linear"
        for layer in model.layers
        if hasattr(layer, "activation")
    )
