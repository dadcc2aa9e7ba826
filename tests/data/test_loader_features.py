"""Batches carry the numbers beside pictures, and weigh labels that are missing by nothing."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from hornbeam.config import TableOptions
from hornbeam.data import sources
from hornbeam.data.loader import Loader
from hornbeam.data.pixels.mixing import Mixing, neighbours, own_shares
from hornbeam.errors import DataError

COUNT = 11
SIZE = (16, 16)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Pictures of one grey each, whose column `grey` says which; every third lacks its `kind`."""
    root = tmp_path_factory.mktemp("pictures")
    lines = ["path,colour,kind,grey,other"]
    for i in range(COUNT):
        Image.fromarray(np.full((20, 20, 3), 10 * i, np.uint8)).save(root / f"{i:02}.png")
        kind = "" if i % 3 == 0 else ("big", "small")[i % 2]
        lines.append(f"{i:02}.png,{('red', 'blue')[i % 2]},{kind},{10 * i},{-i / 4}")
    (root / "m.csv").write_text("\n".join(lines) + "\n")
    options = TableOptions(label_columns=("colour", "kind"), feature_columns=("grey", "other"))
    return sources.open_dataset(str(root / "m.csv"), options)


def loader_of(dataset, **options):
    return Loader(dataset, batch_size=4, image_size=SIZE, seed=3, **options)


@pytest.mark.parametrize("shuffle", [True, False])
def test_numbers_stand_in_the_slot_of_their_picture(dataset, shuffle):
    loader = loader_of(dataset, shuffle=shuffle)
    for step in range(5):
        batch = loader.batch(step)
        present = loader.rows(step)[0] >= 0
        assert batch.features.dtype == np.float32
        np.testing.assert_array_equal(batch.features[:, 0], batch.images[:, 0, 0, 0])
        np.testing.assert_allclose(batch.features[:, 1], -batch.features[:, 0] / 40)
        assert not batch.features[~present].any()
        assert set(batch.inputs) == {"image", "features"}
        assert batch.inputs["features"] is batch.features


def test_a_dataset_without_numbers_gives_plain_pixels(dataset):
    batch = loader_of(dataset.with_features(())).batch(0)
    assert batch.features is None
    assert batch.inputs is batch.images


def test_processes_and_threads_give_the_same_numbers(dataset):
    loader = loader_of(dataset, shuffle=True, augment="light")
    expected = [loader.batch(step) for step in range(4)]
    for parallel in ({"threads": 2}, {"processes": 2}):
        for mine, theirs in zip(expected, loader.batches(0, 4, **parallel), strict=True):
            np.testing.assert_array_equal(mine.features, theirs.features)
            np.testing.assert_array_equal(mine.weights["kind"], theirs.weights["kind"])


def test_ranks_give_parts_of_one_batch(dataset):
    whole = loader_of(dataset, shuffle=True).batch(1)
    parts = [loader_of(dataset, shuffle=True, rank=r, world_size=2).batch(1) for r in range(2)]
    np.testing.assert_array_equal(whole.features, np.concatenate([p.features for p in parts]))


def test_a_missing_label_has_no_weight(dataset):
    kind = next(task for task in dataset.tasks if task.name == "kind")
    missing = np.arange(COUNT) % 3 == 0
    np.testing.assert_array_equal(dataset.labels(kind) < 0, missing)
    assert kind.classes == ("big", "small")
    assert sum(dataset.counts(kind)[""].values()) == np.count_nonzero(~missing)
    loader = loader_of(dataset)
    for step in range(loader.steps_per_epoch):
        rows, batch = loader.rows(step)[0], loader.batch(step)
        known = (rows >= 0) & ~missing[rows]
        np.testing.assert_array_equal(batch.weights["kind"], known)
        np.testing.assert_array_equal(batch.weights["colour"], rows >= 0)
        assert batch.targets["kind"].min() >= 0


def test_mixing_mixes_numbers_and_what_labels_there_are(dataset):
    loader = loader_of(dataset, shuffle=True, mixing=Mixing(mixup=1.0, cutmix=1.0))
    plain = loader_of(dataset, shuffle=True)
    for step in range(8):
        batch, apart = loader.batch(step), plain.batch(step)
        own, others = own_shares(batch.mix, SIZE), neighbours(4)
        expected = own[:, None] * apart.features + (1 - own)[:, None] * apart.features[others]
        np.testing.assert_allclose(batch.features, expected, rtol=1e-6)
        known = apart.weights["kind"]
        share = own * known + (1 - own) * known[others]
        np.testing.assert_allclose(batch.weights["kind"], share, atol=1e-6)
        one_hot = np.eye(2)[apart.targets["kind"]] * known[:, None]
        mixed = own[:, None] * one_hot + (1 - own)[:, None] * one_hot[others]
        some = share > 0
        np.testing.assert_allclose(
            batch.targets["kind"][some] * share[some, None], mixed[some], atol=1e-6
        )
        np.testing.assert_allclose(batch.targets["kind"][some].sum(axis=1), 1, atol=1e-5)
        assert not batch.targets["kind"][~some].any()


def test_a_row_without_any_label_is_refused(tmp_path):
    (tmp_path / "m.csv").write_text("path,a,b\n1.png,x,u\n2.png,y,\n3.png,,\n4.png,,v\n")
    with pytest.raises(
        DataError, match="line 4, column 'a': the row has a label in none of 'a' and 'b'"
    ):
        sources.open_dataset(str(tmp_path / "m.csv"), TableOptions(label_columns=("a", "b")))


def test_one_task_needs_all_its_labels(tmp_path):
    (tmp_path / "m.csv").write_text("path,a,b\n1.png,x,u\n2.png,,\n")
    with pytest.raises(DataError, match="line 3, column 'a': the label is empty"):
        sources.open_dataset(str(tmp_path / "m.csv"), TableOptions(label_columns=("a",)))


def test_missing_labels_are_the_same_after_saving_and_writing(dataset, tmp_path):
    from hornbeam.data.dataset import Dataset
    from hornbeam.data.tables import manifest_writer

    dataset.save(tmp_path / "kept.parquet")
    kept = Dataset.load(tmp_path / "kept.parquet", dataset.root, dataset.tasks)
    for task in dataset.tasks:
        np.testing.assert_array_equal(kept.labels(task), dataset.labels(task))
    options = TableOptions(label_columns=("colour", "kind"), allow_outside=True)
    for suffix in (".csv", ".json", ".parquet"):
        manifest_writer.write_manifest(dataset, tmp_path / f"m{suffix}")
        again = sources.open_dataset(str(tmp_path / f"m{suffix}"), options)
        for task in dataset.tasks:
            np.testing.assert_array_equal(again.labels(task), dataset.labels(task))


def test_a_subset_and_a_split_know_of_missing_labels(dataset):
    from hornbeam.data import splits

    divided = splits.with_validation(dataset, 0.4, seed=0)
    for task in dataset.tasks:
        counts = divided.counts(task)
        assert all(all(of_class.values()) for of_class in counts.values())
    fewer = sources.subset(divided, 4, seed=0)
    assert len(fewer.only("train")) == 4
    for task in dataset.tasks:
        assert all(fewer.counts(task)["train"].values())


def test_damage_in_another_file_does_not_shift_numbers(dataset, tmp_path):
    """Rows that are left out take their numbers with them."""
    from hornbeam.data.inspection import verifying

    for path in dataset.paths:
        (tmp_path / path).write_bytes((dataset.root / path).read_bytes())
    (tmp_path / "04.png").write_bytes(b"no picture")
    copy = dataclasses.replace(dataset, root=tmp_path)
    kept, skipped = verifying.verify(copy, "skip", threads=1)
    assert list(skipped) == ["04.png"]
    np.testing.assert_array_equal(
        kept.feature_values()[:, 0], [0, 10, 20, 30, 50, 60, 70, 80, 90, 100]
    )
