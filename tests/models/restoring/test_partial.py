"""`--restore-partial` and `--restore-exclude`: what is not restored keeps its first values."""

import keras
import numpy as np
import pytest

from hornbeam.errors import ModelError
from hornbeam.models.restoring.restore import restore
from hornbeam.models.restoring.summary import tell


def network(width):
    return keras.Sequential([
        keras.Input((4,)), keras.layers.Dense(6, name="same"), keras.layers.Dense(width, name="wide"),
        keras.layers.Dense(2, name="last"),
    ])  # fmt: skip


def test_variables_of_the_same_name_and_shape_are_restored_and_no_others(tmp_path):
    first, second = network(3), network(5)
    first.save(tmp_path / "first.keras")
    before = second.get_layer("wide").get_weights()
    matched = restore(second, tmp_path / "first.keras", partial=True)
    np.testing.assert_array_equal(second.get_layer("same").kernel, first.get_layer("same").kernel)
    for old, new in zip(before, second.get_layer("wide").get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert {path.split("/")[-2] for path in matched.conflicts} == {"wide", "last"}
    with pytest.raises(ModelError, match="does not fit the network"):
        restore(second, tmp_path / "first.keras")


@pytest.mark.parametrize(("layer", "told"), [("last", 0), ("wide", 2)])
def test_of_a_model_without_a_backbone_only_the_last_layers_may_stay_random_unsaid(
    tmp_path, capsys, layer, told
):
    network(3).save(tmp_path / "first.keras")
    matched = restore(network(3), tmp_path / "first.keras", exclude=(f".*{layer}/.*",))
    assert len(matched.excluded) == 2
    tell(matched, tmp_path / "first.keras")
    said = " ".join(capsys.readouterr().err.split())
    assert ("before the head keep their first, random values" in said) == bool(told)
    assert len(matched.kept) == told


def test_one_variable_that_stays_random_is_told_as_one(tmp_path, capsys):
    network(3).save(tmp_path / "first.keras")
    matched = restore(network(3), tmp_path / "first.keras", exclude=(".*wide/kernel",))
    tell(matched, tmp_path / "first.keras")
    said = " ".join(capsys.readouterr().err.split())
    assert said.endswith("1 variable before the head keeps its first, random value.")
