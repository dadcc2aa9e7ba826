"""The first process' options, and its files, are those of all."""

import shutil
from pathlib import Path

from hornbeam import together
from hornbeam.config import TrainOptions
from hornbeam.world.world import World


class Told(World):
    """One of two processes; the first one notes what it shares, and the second gets that."""

    def __init__(self, rank, notes):
        super().__init__(rank, 2)
        self._notes = notes

    def share(self, value=None):
        if self.first:
            self._notes.append(value)
            return value
        return self._notes.pop(0)

    share_bytes = share


def test_the_second_process_has_the_options_and_files_of_the_first_and_data_of_its_own(tmp_path):
    files = [tmp_path / "a" / "names.txt", tmp_path / "b" / "names.txt"]
    for file in files:
        file.parent.mkdir()
        file.write_text(f"of {file.parent.name}")
    given = {"weights": "w.h5", "labels_file": files[0], "restore_map": str(files[1]), "epochs": 3}
    notes = []
    first = together.agreed(Told(0, notes), TrainOptions(data="here", **given))
    assert first == TrainOptions(data="here", **given)
    shutil.rmtree(tmp_path / "a")  # the second one is on another machine
    shutil.rmtree(tmp_path / "b")
    second = Told(1, notes)
    found = together.agreed(second, TrainOptions(data="there", epochs=5))
    assert (found.data, found.epochs, found.weights) == ("there", 3, "w.h5")
    assert Path(found.labels_file).read_text() == "of a"
    assert Path(found.restore_map).read_text() == "of b"
    for folder in second.folders:
        shutil.rmtree(folder)
