"""Pictures for all tests of the Predictor."""

import pytest
from small_bundles import coloured, encoded


@pytest.fixture
def pictures(tmp_path):
    """Write 23 pictures, one of which is broken; return their paths and the place of that."""
    paths = []
    for number, pixels in enumerate(coloured(23, side=48)):
        kind = ("jpg", "JPEG") if number % 2 else ("png", "PNG")
        paths.append(tmp_path / "pictures" / f"{number:02}.{kind[0]}")
        paths[-1].parent.mkdir(exist_ok=True)
        paths[-1].write_bytes(encoded(pixels, kind[1]))
    paths[7].write_bytes(paths[7].read_bytes()[:300])
    return paths
