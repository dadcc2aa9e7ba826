"""Every example of docs/recipes.md is a recipe that works."""

import re
from pathlib import Path

import keras
import numpy as np
import pytest

from hornbeam.config import TableOptions, TrainOptions
from hornbeam.data import sources
from hornbeam.data.loader import Loader
from hornbeam.data.tasks import Task
from hornbeam.errors import ConfigError
from hornbeam.models.classifier import adapt_user_model
from hornbeam.models.side_features import SideFeatures
from hornbeam.recipe import FUNCTIONS, Recipe

GUIDE = (Path(__file__).parents[1] / "docs" / "recipes.md").read_text()
EXAMPLES = re.findall(r"^```python\n(.*?)^```", GUIDE, re.DOTALL | re.MULTILINE)
TASKS = (Task("colour", ("red", "blue")), Task("kind", ("a", "b", "c")))
COLUMNS = SideFeatures.of(("age", "weight"), np.arange(20, dtype=np.float32).reshape(10, 2))
PIXELS = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), np.uint8)


@pytest.fixture(params=range(len(EXAMPLES)), ids=lambda i: re.findall(r"^def (\w+)", EXAMPLES[i], re.MULTILINE)[0])  # fmt: skip
def recipe(request, tmp_path):
    path = tmp_path / "my.py"
    path.write_text(EXAMPLES[request.param])
    return Recipe.load(path)


def test_an_example_does_what_it_is_for(recipe, shapes):
    checked = 0
    for name in FUNCTIONS:
        if getattr(recipe, name):
            CHECKS[name](recipe, shapes)
            checked += 1
    assert checked


def test_a_mistake_is_told_by_the_line_of_the_recipe_that_led_to_it(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "recipes_helper.py").write_text("\n\n\nx = = 3\n")
    recipe = tmp_path / "my.py"
    for text, line, said in (
        ("import re\nimport recipes_helper\n", 2, "SyntaxError: invalid syntax (recipes_helper.py, line 4)"),
        ("import re\n\nx = = 3\n", 3, "SyntaxError: invalid syntax (my.py, line 3)"),
        ("import re\nexec('x = = 3')\n", 2, "SyntaxError: invalid syntax (<string>, line 1)"),
    ):  # fmt: skip
        recipe.write_text(text)
        with pytest.raises(ConfigError) as error:
            Recipe.load(recipe)
        assert str(error.value) == f"{recipe}, line {line}: {said}."


def test_the_guide_tells_of_every_function():
    shown = {name for name in FUNCTIONS if any(f"def {name}(" in text for text in EXAMPLES)}
    assert shown == set(FUNCTIONS)
    for call in FUNCTIONS.values():
        assert f"| `{call}` |" in GUIDE


def check_model(recipe, _):
    text = recipe.path.read_text()
    tasks = TASKS if "t in targets" in text else TASKS[:1]
    columns = COLUMNS if "features" in text else None
    model = adapt_user_model(recipe.build_model, (64, 64), tasks, columns)
    inputs = {"image": PIXELS, "features": np.ones((3, 2), np.float32)} if columns else PIXELS
    logits = model.predict_on_batch(inputs)
    for task in tasks:
        assert logits[task.name].shape == (3, len(task.classes))
        assert np.ptp(logits[task.name], axis=0).all(), "pictures do not matter"


def check_preprocess(recipe, shapes):
    picture = PIXELS[0]
    cut = recipe.preprocess(picture, False, np.random.default_rng(0))
    np.testing.assert_array_equal(cut, picture[:60])
    assert load(shapes, preprocess=recipe.preprocess).batch(0).images.shape == (4, 32, 32, 3)


def check_augment(recipe, shapes):
    plain, varied = load(shapes), load(shapes, augment=recipe.augment)
    np.testing.assert_array_equal(varied.batch(0).images, varied.batch(0).images)
    assert (plain.batch(0).images != varied.batch(0).images).any()


def check_loss(recipe, _):
    from hornbeam.training.objective import losses_of, metrics_of

    counts = {task.name: dict.fromkeys(task.classes, 5) for task in TASKS}
    losses = losses_of(TASKS, TrainOptions(data="x"), counts, 10, own=recipe.loss(), where="my.py")
    logits = np.array([[2.0, -1.0]], np.float32)
    shares = np.exp(logits) / np.exp(logits).sum()
    expected = ((np.array([[0, 1]]) - shares) ** 2).sum()
    found = losses["colour"](np.array([1]), keras.ops.convert_to_tensor(logits))
    assert float(found) == pytest.approx(expected, rel=1e-5)
    reported = metrics_of(TASKS[1:], losses, own=recipe.metrics(), where="my.py")
    assert "top_2" in {metric.name for metric in reported["kind"]}


def check_metrics(recipe, _):
    (metric,) = recipe.metrics()
    metric.update_state(np.array([2, 0]), np.float32([[0.1, 0.5, 0.4], [0.1, 0.5, 0.4]]))
    assert float(metric.result()) == 0.5


def check_callbacks(recipe, _):
    from hornbeam.training.following.own_callbacks import OwnCallbacks

    own = OwnCallbacks(recipe.make("callbacks"), recipe.where)
    for accuracy, best in ((0.5, 0.5), (0.25, 0.5), (0.75, 0.75)):
        logs = {"val_accuracy": accuracy}
        own.on_epoch_end(0, logs)
        assert logs["val_best"] == best
    resumed = OwnCallbacks(recipe.make("callbacks"), recipe.where)
    resumed.set_state(own.get_state())
    resumed.on_epoch_end(0, logs := {"val_accuracy": 0.6})
    assert logs["val_best"] == 0.75


def check_examples(recipe, _):
    options = TableOptions(feature_columns=("brightness",))
    dataset = sources.open_dataset(None, options, examples=recipe.examples)
    assert len(dataset.only("train")) == 64
    assert dataset.tasks == (Task("label", ("across", "down")),)
    batch = Loader(dataset, batch_size=4, image_size=(40, 40)).batch(0)
    np.testing.assert_allclose(batch.features[:, 0], batch.images.mean(axis=(1, 2, 3)), rtol=1e-6)


def load(root, **options):
    dataset = sources.open_dataset(root)
    return Loader(dataset, batch_size=4, image_size=(32, 32), **options)


CHECKS = {
    "build_model": check_model, "preprocess": check_preprocess, "augment": check_augment,
    "loss": check_loss, "metrics": check_metrics, "callbacks": check_callbacks,
    "examples": check_examples,
}  # fmt: skip
