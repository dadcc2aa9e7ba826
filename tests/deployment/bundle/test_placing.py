"""What a killed export has left is put right before the next one begins."""

import os

from bundles import MANIFEST

from hornbeam.deployment.bundle.placing import require_place
from hornbeam.storage import new_directory


def made(directory):
    directory.mkdir()
    MANIFEST.save(directory)
    return directory


def test_a_bundle_that_was_to_be_removed_is_not_in_the_way_of_the_next(tmp_path):
    out, earlier = made(tmp_path / "out"), made(tmp_path / ".earlier-out")
    assert require_place(out, overwrite=False, archive=False) == MANIFEST
    with new_directory(out, replace=True) as folder:
        (folder / "anew").touch()
    assert [path.name for path in out.iterdir()] == ["anew"]
    assert not earlier.exists()


def test_a_bundle_that_was_moved_comes_back_where_there_is_no_new_one(tmp_path):
    made(tmp_path / ".earlier-out")
    assert require_place(tmp_path / "out", overwrite=False, archive=False) == MANIFEST
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_what_was_half_made_goes_when_it_is_old_whatever_the_bundle_is_called(tmp_path):
    old, young = (tmp_path / f".part-a**[1]-{name}" for name in ("old", "young"))
    for part in (old, young):
        part.mkdir()
    os.utime(old, (0, 0))
    assert require_place(tmp_path / "a**[1]", overwrite=False, archive=True) is None
    assert not old.exists()
    assert young.exists()
