"""Who is beaten by whom, of figures that are known."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from hornbeam.data.tasks import Task
from hornbeam.deployment.benchmarking.accuracy import (
    Accuracy,
    better,
    contract_accuracy,
    measured_accuracy,
    read_labelled,
)
from hornbeam.deployment.benchmarking.measuring import Candidate, Measured
from hornbeam.deployment.benchmarking.pareto import rate
from hornbeam.deployment.benchmarking.rows import (
    detail_columns,
    detail_rows,
    flat,
    pareto_rows,
    plain,
    ties,
)
from hornbeam.deployment.benchmarking.spread import Timed
from hornbeam.deployment.bundle.manifest import Artifact, Manifest
from hornbeam.errors import ConfigError, DataError
from hornbeam.evaluation.scoring.shares import Share
from hornbeam.workflow.benchmarking import _names

TASKS = (Task("label", ("cat", "dog")),)
NOISE = np.random.default_rng(0).lognormal(0, 0.02, 12)


def measured(format, milliseconds, size, noise=NOISE):
    times = Timed(tuple((float(milliseconds * each),) * 3 for each in noise))
    candidate = Candidate(Path("b"), "b", format, size)
    started = {"import": 1.0, "load": 2.0, "first": 3.0}
    return Measured(candidate, None, started, {1: times, 8: times}, {}, 100.0)


def of(right, source="x"):
    right = np.asarray(right, bool)
    return Accuracy(Share(int(right.sum()), len(right)), source, source, right)


GOOD, BAD = of([True] * 90 + [False] * 10), of([True] * 60 + [False] * 40)


def beaten(*pairs):
    rated = rate([m for m, _ in pairs], [a for _, a in pairs])
    return {
        each.measured.candidate.format: {o.candidate.format for o in each.beaten_by}
        for each in rated
    }


def test_what_is_slower_larger_and_no_better_is_beaten():
    found = beaten((measured("quick", 1, 10), GOOD), (measured("slow", 3, 20), GOOD))
    assert found == {"quick": set(), "slow": {"quick"}}


def test_what_is_best_in_one_of_the_three_is_beaten_by_none():
    found = beaten(
        (measured("quick", 1, 30), BAD),
        (measured("small", 3, 10), BAD),
        (measured("good", 4, 40), GOOD),
    )
    assert found == {"quick": set(), "small": set(), "good": set()}


def test_a_difference_within_noise_beats_nobody():
    other = np.random.default_rng(5).lognormal(0, 0.02, 12)
    first, second = measured("a", 1.0, 10), measured("b", 1.0, 10, other)
    assert beaten((first, GOOD), (second, GOOD)) == {"a": set(), "b": set()}
    rated = rate([first, second], [GOOD, GOOD])
    assert [len(each.as_quick) for each in rated] == [1, 1]
    assert "equally quick" in ties(rated, False)[0]
    one_more = GOOD.right.copy()
    one_more[95] = True
    assert better(of(one_more), GOOD) == 0
    assert better(GOOD, of(one_more)) == -1
    assert better(GOOD, BAD) == 1
    assert better(BAD, GOOD) == -1


def test_accuracies_of_other_pictures_are_not_compared():
    assert better(of([True] * 50, "y"), GOOD) is None
    found = beaten((measured("a", 1, 10), GOOD), (measured("b", 3, 20), of([False] * 50, "y")))
    assert found == {"a": set(), "b": set()}


def contract(low, high, model="m", pictures="p"):
    share = Share(80 if low > -0.1 else 70, 100)
    return Accuracy(share, "c", pictures, None, ((low + high) / 2, low, high), model)


def test_of_contracts_only_changes_whose_intervals_do_not_touch_count():
    assert better(contract(-0.01, 0.01), contract(-0.005, 0.02)) == 0
    assert better(contract(-0.01, 0.01), contract(-0.2, -0.1)) == 1
    assert better(contract(-0.2, -0.1), contract(-0.01, 0.01)) == -1


def test_changes_from_other_models_or_on_other_pictures_are_not_compared():
    good, bad = (-0.01, 0.01), (-0.2, -0.1)
    for other in ({"model": "n"}, {"pictures": "q"}):
        assert better(contract(*good), contract(*bad, **other)) is None
        assert better(contract(*bad, **other), contract(*good)) is None


TOLD = {"pictures": 100, "artifact": 0.9, "change": 0.0, "low": -0.01, "high": 0.01}


def of_bundle(name="photos", told=TOLD, **fingerprints):
    contract = {"outputs": {"label": {"accuracy": told}}}
    artifact = Artifact("onnx", "m.onnx", 1, "", {}, {}, contract=contract)
    manifest = Manifest(
        name=name, created="", image_size=(8, 8, 3), resize_mode="crop", max_pixels=1,
        preprocess=None, features=(), tasks=TASKS, calibration={}, abstain={}, unknown=None,
        groups={}, versions={}, fingerprints=fingerprints, artifacts={"onnx": artifact}, golden=(),
    )  # fmt: skip
    return contract_accuracy(manifest, artifact, name)


def test_contracts_are_of_the_pictures_and_the_model_that_the_bundles_say():
    one = of_bundle(pictures="p", model="m")
    assert better(one, of_bundle("others", pictures="p", model="m")) == 0
    assert better(one, of_bundle(pictures="q", model="m")) is None
    assert better(one, of_bundle(pictures="p", model="n")) is None
    assert better(of_bundle("a"), of_bundle("b")) is None
    assert better(of_bundle("a"), of_bundle("a")) == 0


@pytest.mark.parametrize(
    "change",
    [
        {"pictures": 0}, {"pictures": -5}, {"pictures": "many"}, {"artifact": None}, {"artifact": "x"},
        {"artifact": 7}, {"artifact": -1}, {"pictures": 10**400}, {"low": []}, {"high": {}},
    ],
)  # fmt: skip
def test_a_contract_that_says_what_cannot_be_tells_no_accuracy(change):
    assert of_bundle().share == Share(90, 100)
    assert of_bundle(told={**TOLD, **change}) is None
    (name,) = change
    assert of_bundle(told={key: value for key, value in TOLD.items() if key != name}) is None


def test_bundles_of_one_name_are_told_apart_by_folder_or_path():
    class Named:
        def __init__(self, name):
            self.name = name

    x, y, z = Path("x/photos"), Path("y/photos"), Path("y/other")
    assert _names({x: Named("a"), y: Named("b")}) == {x: "a", y: "b"}
    assert _names({x: Named("a"), z: Named("a")}) == {x: "photos", z: "other"}
    assert _names({x: Named("a"), y: Named("a")}) == {x: "x/photos", y: "y/photos"}


def test_without_any_accuracy_latency_and_size_decide():
    assert beaten((measured("a", 1, 10), None), (measured("b", 3, 20), None))["b"] == {"a"}


def test_what_failed_is_left_out():
    broken = Measured(Candidate(Path("b"), "b", "onnx", 5), "it is not installed")
    assert beaten((broken, None), (measured("a", 1, 10), GOOD)) == {"a": set()}


def test_tables_and_files_tell_the_same_numbers():
    rated = rate([measured("a", 2, 3_000_000), measured("b", 30, 4_000_000)], [GOOD, BAD])
    table = pareto_rows(rated, False)
    assert table[0][0] == "a"
    assert table[0][1] == "beaten by none"
    assert table[1][1] == "beaten by a"
    assert table[0][5:7] == ["3.00", "90.0%"]
    median = rated[0].measured.one.median
    assert float(table[0][2]) == pytest.approx(median, abs=0.01)
    assert float(table[0][4].replace(",", "")) == pytest.approx(8000 / median, rel=0.01)
    assert plain(rated[0])["milliseconds"]["one"]["median"] == pytest.approx(median, abs=1e-4)
    assert flat(rated[0])["one_ms"] == pytest.approx(median, abs=1e-4)
    assert flat(rated[0])["model_8_per_second"] == pytest.approx(8000 / median, rel=1e-4)
    assert len(detail_rows(rated, True)[0]) == 1 + 2 + 2 + 3


def test_a_bundle_without_pictures_has_dashes_where_others_have_their_speed_from_files_on():
    bare, other = measured("bare", 1, 10), measured("other", 3, 20)
    rated = rate([bare, dataclasses.replace(other, files=other.model)], [GOOD, GOOD])
    columns, (first, second) = detail_columns(rated), detail_rows(rated, False)
    assert (first[0], second[0]) == ("bare", "other")
    assert len(columns) == len(first) == len(second)
    place = columns.index("files, 8 at once")
    assert (first[place], second[place]) == ("–", second[columns.index("8 at once")])
    assert first[-1] == second[-1] == "100"


def test_labelled_pictures_are_found_by_class_and_spread_over_all(folders):
    root = folders({f"{c}/{i}.jpg": 30 for c in ("cat", "dog") for i in range(10)})
    found = read_labelled(str(root), TASKS, None)
    assert len(found.paths) == 20
    assert found.labels.tolist() == [0] * 10 + [1] * 10
    assert read_labelled(str(root), TASKS, 4).labels.tolist() == [0, 0, 1, 1]


def test_the_test_folder_is_taken_where_there_is_one(folders):
    root = folders({"train/cat/1.jpg": 1, "test/dog/2.jpg": 2, "validation/cat/3.jpg": 3})
    found = read_labelled(str(root), TASKS, None)
    assert found.paths == (str(root / "test" / "dog" / "2.jpg"),)
    assert found.labels.tolist() == [1]


def test_folders_that_are_no_classes_are_named(folders, tmp_path):
    root = folders({"cat/1.jpg": 1, "horse/2.jpg": 2})
    with pytest.raises(DataError, match="the folder 'horse' is no class of the bundle"):
        read_labelled(str(root), TASKS, None)
    with pytest.raises(ConfigError, match="expected a folder"):
        read_labelled(str(tmp_path / "gone"), TASKS, None)
    with pytest.raises(ConfigError, match="one label a picture"):
        read_labelled(str(root), (Task("label", ("cat", "dog"), True),), None)


def test_hidden_folders_and_files_hold_no_labelled_pictures(folders):
    root = folders(
        {"cat/1.jpg": 1, "dog/2.jpg": 2, "cat/.thumbs/3.jpg": 3, "__MACOSX/cat/4.jpg": 4,
         "cat/__MACOSX/5.jpg": 5, "dog/a/6.jpg": 6, ".git/7.jpg": 7}
    )  # fmt: skip
    found = read_labelled(str(root), TASKS, None)
    assert [Path(path).relative_to(root).as_posix() for path in found.paths] == [
        "cat/1.jpg", "dog/2.jpg", "dog/a/6.jpg",
    ]  # fmt: skip


def test_a_class_named_like_a_split_is_a_class(folders):
    root = folders({"test/1.jpg": 1, "cat/2.jpg": 2})
    found = read_labelled(str(root), (Task("label", ("cat", "test")),), None)
    assert found.labels.tolist() == [0, 1]


def test_several_folders_that_are_no_classes_are_named_in_the_plural(folders, tmp_path):
    root = folders({"horse/1.jpg": 1, "sheep/2.jpg": 2})
    with pytest.raises(DataError, match="the folders 'horse' and 'sheep' are no classes of"):
        read_labelled(str(root), TASKS, None)
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match="there is no folder named like a class of the bundle"):
        read_labelled(str(tmp_path / "none"), TASKS, None)


def test_pictures_that_cannot_be_read_count_as_wrong_and_are_told(folders):
    labelled = read_labelled(
        str(folders({"cat/1.jpg": 1, "cat/2.jpg": b"no", "dog/3.jpg": 3})), TASKS, None
    )
    found = measured_accuracy(labelled, TASKS[0], [{"label": 0}, None, {"label": 1}])
    assert (found.share.value, found.right.tolist()) == (2 / 3, [True, False, True])
    assert found.source.startswith("3 pictures of ")
    assert found.source.endswith(", of which 1 cannot be read and counts as wrong")
