"""`bundle.json` of a stranger is read whole, or refused with one sentence."""

import copy
import dataclasses
import json

import pytest
from bundles import ARTIFACT, MANIFEST
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hornbeam.deployment.bundle.manifest import Artifact, Golden, Manifest, Tensor
from hornbeam.errors import BundleError


def plain(manifest, directory):
    manifest.save(directory)
    return json.loads((directory / "bundle.json").read_text())


def load(content, directory):
    (directory / "bundle.json").write_text(json.dumps(content))
    return Manifest.load(directory)


def test_what_was_written_is_read(tmp_path):
    MANIFEST.save(tmp_path)
    assert Manifest.load(tmp_path) == MANIFEST


@pytest.mark.parametrize(
    ("kind", "example"),
    [(Manifest, MANIFEST), (Artifact, ARTIFACT), (Tensor, ARTIFACT.outputs["unknown"]),
     (Golden, MANIFEST.golden[0])],
)  # fmt: skip
def test_the_example_has_all_fields_so_that_none_is_forgotten_by_the_reader(kind, example):
    for field in dataclasses.fields(kind):
        value = getattr(example, field.name)
        assert value not in (None, {}, (), ""), field.name
        if field.default is not dataclasses.MISSING:
            assert value != field.default, field.name


def test_what_a_later_version_adds_is_passed_over(tmp_path):
    content = plain(MANIFEST, tmp_path)
    content["licence"] = "MIT"
    content["artifacts"]["litert-int8"]["speed"] = 3
    assert load(content, tmp_path) == MANIFEST


def test_no_answer_is_sure_where_the_threshold_is_null(tmp_path):
    content = plain(MANIFEST, tmp_path)
    content["abstain"]["kind"]["below"] = None
    assert load(content, tmp_path).abstain["kind"]["below"] is None


def put(place, value):
    def change(content):
        *way, last = place
        for key in way:
            content = content[key]
        content[last] = value

    return change


def drop(*place):
    def change(content):
        *way, last = place
        for key in way:
            content = content[key]
        del content[last]

    return change


INT8 = ("artifacts", "litert-int8")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (put(["bundle"], 2), "layout 2"),
        (drop("bundle"), "bundle is missing"),
        (drop("image_size"), "image_size is missing; expected a list"),
        (put(["image_size"], [32, 32, 2]), "expected [height, width, 1, 3 or 4]"),
        (put(["image_size"], [32, 10**9, 3]), "image_size[1] is 1000000000; expected a whole number"),
        (put(["image_size", 0], True), "image_size[0] is True"),
        (put(["resize_mode"], "stretch"), "resize_mode is 'stretch'"),
        (put(["tasks"], []), "tasks should be one or more"),
        (put(["tasks", 0, "classes", 1], "a"), "tasks[0].classes should be one or more different"),
        (put(["tasks", 0, "classes", 1], "\ud800"), "tasks[0].classes[1] is '\\ud800'"),
        (put(["tasks", 0, "multi_label"], 0), "tasks[0].multi_label is 0; expected true or false"),
        (put([*INT8, "file"], "../model.tflite"), "it leads out of the folder"),
        (put([*INT8, "file"], "/etc/passwd"), "it is absolute"),
        (put([*INT8, "file"], "a\\b"), "backslash"),
        (put([*INT8, "file"], "C:model"), "colon"),
        (put(["preprocess"], "../../recipe.py"), "preprocess is '../../recipe.py', which is refused"),
        (put(["golden", 0, "file"], "golden/../../x.png"), "golden[0].file"),
        (put([*INT8, "sha256"], "abc"), "a SHA-256"),
        (put([*INT8, "bytes"], -1), "artifacts.litert-int8.bytes is -1"),
        (put([*INT8, "golden_tolerance"], float("nan")), "NaN is no number"),
        (put([*INT8, "inputs", "image", "dtype"], "object"), "dtype is 'object'"),
        (put([*INT8, "outputs", "kind", "scale"], 0), "scale is 0; expected a finite number"),
        (put([*INT8, "outputs", "kind", "zero_point"], None), "one of scale and zero_point"),
        (put([*INT8, "inputs"], {}), "other inputs or outputs"),
        (put(["artifacts", "onnx"], {}), "artifacts.onnx.format is missing"),
        (put(["abstain", "colour"], {"below": 0.5}), "abstain names 'colour', which is no task"),
        (put(["abstain", "kind"], {}), "abstain.kind.below is missing"),
        (put(["abstain", "kind", "below"], 7), "expected a finite number from 0 to 1.001"),
        (put(["unknown", "above"], "high"), "unknown.above is 'high'"),
        (put(["golden", 0, "expected", "kind"], [1.0]), "golden[0] has answers of other tasks"),
        (put(["golden", 0, "features"], []), "golden[0] has 0 features"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_named(change, sentence, tmp_path):
    content = copy.deepcopy(plain(MANIFEST, tmp_path))
    change(content)
    with pytest.raises(BundleError) as error:
        load(content, tmp_path)
    assert sentence in str(error.value)
    assert str(error.value).startswith(f"{tmp_path / 'bundle.json'} cannot be used: ")


def test_a_place_without_one_is_no_bundle(tmp_path):
    with pytest.raises(BundleError, match=r"is not a bundle: it has no bundle.json\.$"):
        Manifest.load(tmp_path)
    (tmp_path / "config.yaml").touch()
    with pytest.raises(BundleError, match=r"It is a run: hornbeam export .* makes a bundle of it"):
        Manifest.load(tmp_path)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"bundle": 1' + b"0" * 9999]
)
def test_what_is_no_json_is_a_sentence(content, tmp_path):
    (tmp_path / "bundle.json").write_bytes(content)
    with pytest.raises(BundleError, match="cannot be used"):
        Manifest.load(tmp_path)


def test_a_number_that_is_too_large_is_named_wherever_it_stands(tmp_path):
    text = json.dumps(plain(MANIFEST, tmp_path))
    assert '"passed": true' in text  # of a contract, which is taken as it is
    (tmp_path / "bundle.json").write_text(text.replace('"passed": true', '"passed": -1e999'))
    with pytest.raises(BundleError, match="-1e999 is too large a number"):
        Manifest.load(tmp_path)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=5,
)  # fmt: skip


def places(content, way=()):
    yield way
    items = content.items() if isinstance(content, dict) else enumerate(content)
    for key, each in items if isinstance(content, (dict, list)) else ():
        yield (*way, key)
        if isinstance(each, (dict, list)):
            yield from places(each, (*way, key))


@settings(
    max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(data=st.data())
def test_whatever_stands_at_any_place_the_answer_is_a_manifest_or_a_sentence(data, tmp_path):
    content = plain(MANIFEST, tmp_path)
    way = data.draw(st.sampled_from(sorted(set(places(content)), key=str)))
    value = data.draw(JSON)
    if way:
        put(way, value)(content)
    else:
        content = value
    try:
        load(content, tmp_path)
    except BundleError as error:
        assert "cannot be used" in str(error)  # noqa: PT017 - both outcomes are right
        str(error).encode()


@settings(
    max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(content=st.binary(max_size=200))
def test_any_bytes_are_a_sentence(content, tmp_path):
    (tmp_path / "bundle.json").write_bytes(content)
    with pytest.raises(BundleError, match="cannot be used"):
        Manifest.load(tmp_path)
