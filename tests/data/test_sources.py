"""Folders become datasets; what is wrong with them is said in a sentence."""

import resource

import pytest

from hornbeam.data.dataset import Dataset
from hornbeam.data.inspection.facts import gather
from hornbeam.data.inspection.verifying import verify
from hornbeam.data.sources import UNSPLIT, open_dataset, open_pictures
from hornbeam.data.splits import with_validation
from hornbeam.data.tasks import Task
from hornbeam.errors import ConfigError, DataError, ResourceError


def test_a_folder_of_classes_is_read_in_natural_order(folders):
    root = folders(
        {"class10/a.jpg": 1, "class2/b.png": 2, "class2/deep/er/c.JPG": 3, "class2/notes.txt": b"x"}
    )
    dataset = open_dataset(root)
    assert dataset.tasks[0].classes == ("class2", "class10")
    assert dataset.paths == ["class2/b.png", "class2/deep/er/c.JPG", "class10/a.jpg"]
    assert dataset.labels(dataset.tasks[0]).tolist() == [0, 0, 1]
    assert dataset.splits == (UNSPLIT,)


@pytest.mark.parametrize("name", ["val", "valid", "validation", "Validation"])
def test_folders_of_splits_are_read_under_each_of_their_names(folders, name):
    parts = ("train", name, "test")
    root = folders({f"{part}/{c}/1.jpg": 9 for part in parts for c in ("cat", "dog")})
    assert open_dataset(root).splits == ("train", "validation", "test")


def test_a_class_may_be_called_train(folders):
    root = folders({"train/1.jpg": 1, "test/2.jpg": 2, "bus/3.jpg": 3})
    assert open_dataset(root).tasks[0].classes == ("bus", "test", "train")


def test_hidden_folders_are_no_classes(folders):
    root = folders(
        {
            "cat/1.jpg": 1,
            "dog/2.jpg": 2,
            ".thumbs/3.jpg": 3,
            "cat/.hidden.jpg": 4,
            "__MACOSX/5.jpg": 5,
        }
    )
    assert open_dataset(root).paths == ["cat/1.jpg", "dog/2.jpg"]


def test_brackets_in_the_name_of_what_is_there_make_no_pattern(folders, tmp_path):
    root = folders({"cat/1.jpg": 1, "dog/2.jpg": 2}, tmp_path / "photos [2020]")
    assert open_dataset(root).paths == ["cat/1.jpg", "dog/2.jpg"]
    (root / "list[1].csv").write_text("path,label\ncat/1.jpg,a\ndog/2.jpg,b\n")
    assert open_dataset(root / "list[1].csv").paths == ["cat/1.jpg", "dog/2.jpg"]
    with pytest.raises(ConfigError, match=r"There is no file .*gone\[1\]"):
        open_dataset(root / "gone[1]")


def test_a_link_that_leads_in_a_circle_is_followed_once(folders):
    root = folders({"cat/1.jpg": 1, "dog/2.jpg": 2})
    (root / "cat" / "again").symlink_to(root / "cat")
    assert open_dataset(root).paths == ["cat/1.jpg", "dog/2.jpg"]


@pytest.mark.parametrize(
    ("files", "error", "words"),
    [
        ({"1.jpg": 1}, DataError, "in no class folder"),
        ({"notes.txt": b"x"}, DataError, "no pictures in"),
        ({"cat/1.jpg": 1}, DataError, "one class, 'cat'"),
        ({"cat/1.jpg": 1, "dog/notes.txt": b"x"}, DataError,
         "no pictures of class 'dog'.*`hornbeam check` tells all"),
        ({"train/cat/1.jpg": 1, "train/dog/1.jpg": 1, "val/cat/1.jpg": 1}, DataError,
         "train has 'dog' and validation has not"),
        ({"train/cat/1.jpg": 1, "train/dog/1.jpg": 1, "val/cat/1.jpg": 1, "val/cow/1.jpg": 1}, DataError,
         "train has 'dog' and validation has not; validation has 'cow' and train has not"),
        ({"train/cat/1.jpg": 1, "val/cat/1.jpg": 1, "valid/cat/1.jpg": 1}, DataError, "two folders of validation"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_folder_is_said_in_a_sentence(folders, files, error, words):
    with pytest.raises(error, match=words):
        open_dataset(folders(files))


def test_a_missing_folder_gets_the_nearest_name(folders):
    root = folders({"cat/1.jpg": 1})
    with pytest.raises(ConfigError, match=r"does not exist\. Did you mean 'pictures'"):
        open_dataset(root.with_name("picturse"))


def test_classes_that_a_model_does_not_know_are_refused(folders):
    root = folders({"cats/1.jpg": 1})
    with pytest.raises(
        DataError, match=r"class 'cats' that the model does not know.*Did you mean 'cat'"
    ):
        open_dataset(root, tasks=(Task("label", ("cat", "dog")),))


def test_pictures_without_labels_come_from_files_and_folders(folders):
    root = folders({"a/2.jpg": 1, "a/10.jpg": 1, "b.png": 2})
    names = [str(root / name) for name in ("b.png", "a/2.jpg", "a/10.jpg")]
    assert open_pictures([root / "b.png", root / "a"]).paths == names
    with pytest.raises(ConfigError, match="does not exist"):
        open_pictures([root / "gone.jpg"])


@pytest.fixture
def with_bad(folders):
    files = {f"{c}/{i}.jpg": 40 for c in ("cat", "dog") for i in range(4)}
    root = folders(files)
    whole = (root / "cat/0.jpg").read_bytes()
    (root / "cat/1.jpg").write_bytes(whole[: len(whole) // 2])
    (root / "dog/2.jpg").write_bytes(b"")
    (root / "dog/3.jpg").write_bytes(b"this is text")
    return root


def test_bad_pictures_are_an_error_that_names_one_and_counts_the_others(with_bad):
    with pytest.raises(
        DataError, match=r"cat/1\.jpg: the picture is truncated.*2 more bad pictures.*--on-bad skip"
    ):
        verify(open_dataset(with_bad), "error", threads=2)


def test_bad_pictures_are_skipped_on_request(with_bad):
    dataset, bad = verify(open_dataset(with_bad), "skip", threads=2)
    assert list(bad) == ["cat/1.jpg", "dog/2.jpg", "dog/3.jpg"]
    assert len(dataset) == 5
    assert all(len(digest) == 32 for digest in dataset.table["digest"].to_pylist())


def test_skipping_may_not_empty_a_class(folders):
    root = folders({"cat/1.jpg": 1, "cat/2.jpg": 1, "dog/1.jpg": b"", "dog/2.jpg": b"x"})
    dataset = with_validation(open_dataset(root), 0.5, seed=0)
    with pytest.raises(DataError, match="no readable train picture is left of class 'dog'"):
        verify(dataset, "skip", threads=1)


def test_the_fingerprint_follows_the_content_and_not_the_place(folders, tmp_path):
    def fingerprint(root):
        return verify(open_dataset(root), "error", threads=1)[0].fingerprint()

    files = {f"{c}/{i}.png": i for c in ("cat", "dog") for i in range(3)}
    here, there = folders(files), folders(files, tmp_path / "elsewhere")
    assert fingerprint(here) == fingerprint(there)
    (there / "dog/2.png").write_bytes((there / "dog/1.png").read_bytes())
    assert fingerprint(here) != fingerprint(there)


def test_a_dataset_survives_its_file(shapes, tmp_path):
    dataset = verify(with_validation(open_dataset(shapes), 0.2, 0), "error", 2)[0]
    dataset.save(tmp_path / "d.parquet")
    loaded = Dataset.load(tmp_path / "d.parquet", shapes, dataset.tasks)
    assert loaded.fingerprint() == dataset.fingerprint()
    (tmp_path / "d.parquet").write_bytes(b"PAR1 nothing")
    with pytest.raises(DataError, match="cannot be read"):
        Dataset.load(tmp_path / "d.parquet", shapes, dataset.tasks)


def test_a_machine_without_free_files_is_no_fault_of_the_pictures(folders):
    root = folders({"cat/1.jpg": 30, "cat/2.jpg": 60, "dog/1.jpg": 90})
    dataset = open_dataset(root)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        with pytest.raises(ResourceError, match=r"1\.jpg: Too many open files.*ulimit"):
            gather(dataset, threads=1, cache=False)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
