"""Pictures of one group are one witness; a picture without a group stands alone."""

import json

import numpy as np
import pytest

from hornbeam.config import TableOptions
from hornbeam.data.sources import open_dataset
from hornbeam.evaluation.scoring.units import Units


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_pictures_of_empty_cells_stand_alone(tmp_path, suffix):
    rows = [(f"{i}.jpg", "xy"[i % 2], group) for i, group in enumerate(["a", "", "a", "", "b", ""])]
    if suffix == ".csv":
        lines = ["path,label,group", *map(",".join, rows)]
    else:
        lines = [json.dumps({"path": p, "label": x, "group": g or None}) for p, x, g in rows]
    path = tmp_path / f"m{suffix}"
    path.write_text("\n".join(lines) + "\n")
    units = Units.of(open_dataset(str(path), TableOptions()))
    assert units.count == 5
    assert units.codes[0] == units.codes[2]
    assert len(np.unique(units.codes[[0, 1, 3, 4, 5]])) == 5
