"""A user's own reader: what `examples(split)` gives becomes rows, or a sentence that names the item."""

import numpy as np
import pytest

from hornbeam.config import TableOptions
from hornbeam.data.sources import open_dataset
from hornbeam.errors import DataError

PIXELS = np.zeros((8, 8, 3), np.uint8)


def opened(items):
    return open_dataset(None, TableOptions(), examples={"train": items}.get)


def test_a_label_is_a_name_a_number_or_bytes_and_several_make_lists():
    dataset = opened([(PIXELS, 2), (PIXELS, b"10"), (PIXELS, np.int64(2))])
    assert dataset.tasks[0].classes == ("2", "10")
    assert dataset.labels(dataset.tasks[0]).tolist() == [0, 1, 0]
    several = opened([(PIXELS, ["b", "a"]), (PIXELS, "b"), (PIXELS, ())])
    assert several.label_names(several.tasks[0]).to_pylist() == [["b", "a"], ["b"], []]


@pytest.mark.parametrize("kind", [set, frozenset])
def test_labels_in_a_set_have_one_order_in_every_process(kind):
    names = [f"name{i}" for i in range(40)]
    dataset = opened([(PIXELS, kind(names)), (PIXELS, kind())])
    assert dataset.label_names(dataset.tasks[0]).to_pylist() == [sorted(names), []]


@pytest.mark.parametrize(
    ("items", "words"),
    [
        ([{"image": PIXELS}, {"image": PIXELS, "label": "a"}], r"examples\('train'\)\[1\] has labels \['label'\]; others have \[\]"),
        ([(PIXELS, "a"), {"image": PIXELS}], r"examples\('train'\)\[1\] has labels \[\]; others have \['label'\]"),
        ([{"image": PIXELS}], r"have no labels; expected \(image, label\)"),
        ([(PIXELS, "a"), (PIXELS, b"caf\xe9")], r"examples\('train'\)\[1\]: the label b'caf\\xe9' is not UTF-8"),
        ([(PIXELS, 0.5)], "the label is 0.5; expected a name"),
        ([(PIXELS[..., :2], "a")], "the picture has 2 channels"),
        ([(PIXELS.astype(float), "a")], "an array of float64"),
        ([PIXELS], r"examples\('train'\)\[0\]: expected \(image, label\)"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_an_item_is_said_with_its_place(items, words):
    with pytest.raises(DataError, match=words):
        opened(items)
