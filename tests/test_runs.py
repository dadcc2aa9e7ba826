"""Where a run is made, and what becomes of what was there."""

from hornbeam.runs import Run


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
