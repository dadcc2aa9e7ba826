"""Where a run is made, and what becomes of what was there."""

import unicodedata
from pathlib import Path

import pytest

from hornbeam.runs import Run, name_of


def test_a_run_behind_a_link_is_replaced_and_the_link_stays(tmp_path):
    """As a directory that is mounted, it cannot be removed itself."""
    (tmp_path / "disk").mkdir()
    link = tmp_path / "run"
    link.symlink_to("disk")
    Run.create(link, "pictures", overwrite=False).write_config({})
    (link / "checkpoints" / "step-1").mkdir(parents=True)
    (link / "checkpoints" / "last").symlink_to("step-1")
    (link / "kept").symlink_to(tmp_path)
    Run.create(link, "pictures", overwrite=True)
    assert link.is_symlink()
    assert list(link.iterdir()) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["disk", "run"]


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ("Mes photos d'été", "Mes photos d_été"),
        (unicodedata.normalize("NFD", "été"), "été"),  # as macOS writes it
        ("birds & bees (2024)", "birds _ bees _2024"),
        ("photos 2024.05", "photos 2024.05"),
        ("photos [old]", "photos _old"),
    ],
)
def test_a_run_is_called_as_the_folder_of_its_pictures_is(tmp_path, monkeypatch, data, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / data).mkdir(parents=True)
    assert name_of(data) == name
    assert name_of(f"{data}/cat/..") == name


def test_a_run_on_a_pattern_is_called_as_its_folder_and_one_on_a_file_as_the_file(tmp_path):
    assert name_of(str(tmp_path / "shards" / "train-*")) == "shards"
    assert name_of(str(tmp_path / "ma liste;.csv")) == "ma liste"
    assert name_of("s3://bucket/photos") == "photos"
    assert name_of("s3://bucket/l'été/train-*") == "l_été"
    assert name_of("'") == "pictures"
    assert Path(name_of(str(tmp_path / "a.b.csv"))).name == "a.b"
