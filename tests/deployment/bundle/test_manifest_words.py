"""`bundle.json` says of probabilities what was done to them, and no more."""

import dataclasses

import pytest
from bundles import MANIFEST

from hornbeam.deployment.bundle.manifest import calibrated_tasks, in_words

FITTED = {"method": "temperature", "scale": [2.0], "offset": [0.0]}
NOT_FITTED = {"method": "none", "scale": [1.0], "offset": [0.0], "note": "too few pictures"}


@pytest.mark.parametrize(
    ("calibration", "tasks", "sentence"),
    [
        ({}, [], "by task, not calibrated;"),
        ({"kind": NOT_FITTED, "marks": NOT_FITTED}, [], "by task, not calibrated;"),
        ({"kind": FITTED, "marks": NOT_FITTED}, ["kind"], "by task, calibrated for kind;"),
        ({"kind": FITTED, "marks": FITTED}, ["kind", "marks"], "by task, calibrated;"),
    ],
)
def test_probabilities_are_called_calibrated_where_they_are(calibration, tasks, sentence):
    manifest = dataclasses.replace(MANIFEST, calibration=calibration)
    assert calibrated_tasks(manifest) == tasks
    assert sentence in in_words(manifest)["answers"]
