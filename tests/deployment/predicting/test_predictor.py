"""Pictures of any kind in, answers in order out; what is wrong is a sentence."""

import contextlib
import dataclasses
import gc
import io
import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from PIL import Image, features
from small_bundles import ABOVE, BELOW, CLASSES, SIDE, asked, changed, coloured, encoded

from hornbeam.data.dataset import Dataset
from hornbeam.data.loader import Loader
from hornbeam.data.pixels import jpeg
from hornbeam.deployment import Predictor
from hornbeam.deployment.bundle.archive import write_archive
from hornbeam.deployment.bundle.manifest import Manifest
from hornbeam.deployment.runtimes.runtime import Runtime
from hornbeam.errors import BundleError, DataError

KINDS = ("litert", "onnx", "openvino")


def labels(answers):
    return np.stack([answer.probabilities["label"] for answer in answers])


@pytest.mark.parametrize("format", KINDS)
def test_answers_are_the_models_in_the_order_of_the_pictures(made_trees, pictures, format):
    bundle, model = made_trees
    with Predictor(bundle, format=format, threads=2, batch_size=4) as predictor:
        answers = predictor.predict(pictures)
        prepared = [predictor.prepare(p) for p in pictures if p != pictures[7]]
    assert [answer.picture for answer in answers] == list(map(str, pictures))
    expected = asked(model, np.stack(prepared))
    good = [answer for answer in answers if answer.error is None]
    np.testing.assert_allclose(labels(good), expected["label"], atol=1e-5)
    scores = [answer.unknown_score for answer in good]
    np.testing.assert_allclose(scores, expected["unknown"][:, 0], atol=1e-5)
    for answer, score in zip(good, scores, strict=True):
        assert answer.sure == {"label": answer.probabilities["label"].max() >= BELOW}
        assert answer.unknown == (score > ABOVE)
        name, probability = answer.best()[0]
        assert name == CLASSES[int(answer.probabilities["label"].argmax())]
        assert probability == answer.probabilities["label"].max()
    assert len({answer.unknown for answer in good}) == 2
    bad = answers[7]
    assert str(pictures[7]) in bad.error
    assert not bad.probabilities
    assert bad.unknown is None


def test_one_picture_is_answered_as_in_a_batch(trees, pictures):
    with Predictor(trees) as predictor:
        together = predictor.predict(pictures)
        for picture, answer in zip(pictures, together, strict=True):
            (alone,) = predictor.predict([picture])
            assert alone.error == answer.error
            if not alone.error:
                np.testing.assert_allclose(labels([alone]), labels([answer]), atol=1e-5)


def test_batches_of_one_are_as_many_answers_as_pictures(trees, pictures):
    with Predictor(trees, batch_size=1, threads=2) as predictor:
        answers = predictor.predict(pictures)
        assert predictor.predict([]) == []
    assert [answer.picture for answer in answers] == list(map(str, pictures))
    assert [bool(answer.error) for answer in answers] == [path == pictures[7] for path in pictures]


def test_a_path_its_bytes_and_its_pixels_are_one_picture(trees, pictures):
    path = pictures[0]
    pixels = np.asarray(Image.open(path))
    with Predictor(trees) as predictor:
        answers = predictor.predict([path, str(path), path.read_bytes(), pixels])
    assert [answer.picture for answer in answers] == [str(path), str(path), None, None]
    for answer in answers[1:]:
        np.testing.assert_allclose(labels([answer]), labels(answers[:1]), atol=1e-6)


def test_a_picture_may_come_from_an_address(trees, pictures):
    with ThreadingHTTPServer(("127.0.0.1", 0), _Silent.of(pictures[0].parent)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        address = f"http://127.0.0.1:{server.server_port}"
        try:
            with Predictor(trees) as predictor:
                local, remote, gone = predictor.predict(
                    [pictures[0], f"{address}/{pictures[0].name}", f"{address}/none.png"]
                )
        finally:
            server.shutdown()
            thread.join()
    np.testing.assert_array_equal(labels([remote]), labels([local]))
    assert remote.picture == f"{address}/{pictures[0].name}"
    assert "none.png: there is no such file" in gone.error


class _Silent(SimpleHTTPRequestHandler):
    """Serves a folder and writes no log."""

    @classmethod
    def of(cls, directory):
        return partial(cls, directory=str(directory))

    def log_message(self, *_):
        """Say nothing."""


@pytest.mark.parametrize(
    ("picture", "reason"),
    [
        ("nowhere.jpg", "nowhere.jpg: the file cannot be read (No such file or directory)"),
        ("a\0b.jpg", "is no path"),
        (b"", "the file is empty"),
        (b"GIF, but no GIF", "this is not a picture"),
        (np.zeros((4, 4), np.float32), "expected uint8"),
        (np.zeros((4, 4, 2), np.uint8), "expected uint8"),
        (np.zeros((0, 4, 3), np.uint8), "expected uint8"),
        (encoded(np.zeros((4000, 4000, 3), np.uint8)), "more than --max-pixels 10000000 allows"),
    ],
    ids=str,
)  # fmt: skip
def test_what_cannot_be_read_is_a_sentence_in_its_place(trees, picture, reason):
    good = coloured(1)[0]
    with Predictor(trees) as predictor:
        before, bad, after = predictor.predict([good, picture, good])
    assert reason in bad.error
    assert "\n" not in bad.error
    np.testing.assert_array_equal(labels([before]), labels([after]))


def test_all_pictures_may_be_bad_and_there_may_be_none(trees):
    with Predictor(trees) as predictor:
        assert [bool(a.error) for a in predictor.predict([b"x"] * 40)] == [True] * 40
        assert predictor.predict([]) == []


def test_a_single_path_in_place_of_a_list_is_refused(trees, pictures):
    with Predictor(trees) as predictor, pytest.raises(BundleError, match="list of pictures"):
        predictor.predict(str(pictures[0]))


def test_an_endless_generator_is_read_two_batches_ahead(trees):
    read, good = 0, coloured(1)[0]

    def endless():
        nonlocal read
        while True:
            read += 1
            yield good

    with Predictor(trees, batch_size=4, threads=2) as predictor:
        stream = predictor.stream(endless())
        most = 0
        for number in range(40):
            next(stream)
            most = max(most, read - 4 * (number // 4 + 1))
        stream.close()
    assert most == 2 * 4


def test_an_error_of_the_generator_reaches_the_caller(trees):
    def broken():
        yield coloured(1)[0]
        raise ZeroDivisionError

    with Predictor(trees) as predictor, pytest.raises(ZeroDivisionError):
        predictor.predict(broken())


def test_many_threads_may_ask_at_once(trees, pictures):
    with Predictor(trees, batch_size=4) as predictor:
        alone = [answer.probabilities.get("label") for answer in predictor.predict(pictures)]
        with ThreadPoolExecutor(4) as pool:
            for answers in pool.map(predictor.predict, [pictures] * 12):
                for answer, expected in zip(answers, alone, strict=True):
                    if expected is not None:
                        np.testing.assert_allclose(
                            answer.probabilities["label"], expected, atol=1e-5
                        )


def test_a_closed_one_says_so(trees):
    predictor = Predictor(trees)
    predictor.close()
    predictor.close()
    with pytest.raises(BundleError, match="is closed"):
        predictor.predict([coloured(1)[0]])


@pytest.mark.parametrize("format", KINDS)
def test_numbers_beside_pictures_go_with_their_own(made_sized_trees, pictures, format):
    bundle, model = made_sized_trees
    numbers = np.random.default_rng(0).normal(0, 1, (23, 2)).astype(np.float32)
    with Predictor(bundle, format=format, batch_size=4) as predictor:
        predictor.warm_up()
        answers = predictor.predict(pictures, numbers)
        good = [n for n, answer in enumerate(answers) if answer.error is None]
        prepared = np.stack([predictor.prepare(pictures[n]) for n in good])
    assert len(good) == 22
    expected = asked(model, prepared, numbers[good])
    np.testing.assert_allclose(labels([answers[n] for n in good]), expected["label"], atol=1e-5)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ([1.0], "there are 1 features; expected 2: height, age"),
        ([1.0, float("nan")], "'age' is missing"),
        (["tall", 2], "are no numbers"),
    ],
)
def test_wrong_numbers_are_an_error_of_their_picture(sized_trees, row, reason):
    good = coloured(1)[0]
    with Predictor(sized_trees) as predictor:
        first, second = predictor.predict([good, good], [row, [1.0, 2.0]])
    assert reason in first.error
    assert second.error is None


def test_numbers_are_demanded_refused_and_counted(trees, sized_trees):
    good = coloured(1)[0]
    with Predictor(sized_trees) as predictor:
        with pytest.raises(BundleError, match="takes height, age beside each picture"):
            predictor.predict([good])
        with pytest.raises(DataError, match="not as many rows"):
            predictor.predict([good, good], [[1.0, 2.0]])
    with Predictor(trees) as predictor, pytest.raises(BundleError, match="give no features"):
        predictor.predict([good], [[1.0, 2.0]])


def test_an_archive_answers_as_its_folder(trees, tmp_path):
    write_archive(trees, tmp_path / "trees.zip")
    good = coloured(3)
    with Predictor(tmp_path / "trees.zip") as zipped, Predictor(trees) as folder:
        np.testing.assert_array_equal(labels(zipped.predict(good)), labels(folder.predict(good)))


def test_the_quickest_exact_artifact_that_can_run_here_is_asked(trees, tmp_path, monkeypatch):
    assert Predictor(trees).format == "litert"
    monkeypatch.setitem(__import__("sys").modules, "hornbeam.deployment.runtimes.litert", None)
    assert Predictor(trees).format == "openvino"
    with pytest.raises(BundleError, match=r"needs LiteRT \(pip install ai-edge-litert\)"):
        Predictor(trees, format="litert")


def test_integers_are_never_asked_unless_named_or_alone(trees, tmp_path):
    manifest = Manifest.load(trees)
    exact = dataclasses.replace(manifest.artifacts["litert"])
    coarse = dataclasses.replace(exact, format="litert-int8")
    both = changed(trees, tmp_path / "both", artifacts={"litert-int8": coarse, "litert": exact})
    assert Predictor(both).format == "litert"
    alone = changed(trees, tmp_path / "alone", artifacts={"litert-int8": coarse})
    assert Predictor(alone).format == "litert-int8"
    code = changed(
        trees, tmp_path / "code", artifacts={"savedmodel": manifest.artifacts["savedmodel"]}
    )
    with pytest.raises(BundleError, match="only savedmodel; name one"):
        Predictor(code)


def test_a_format_that_is_not_there_is_named_with_those_that_are(trees):
    with pytest.raises(BundleError, match=r"has no onxn; it has .*onnx.* Did you mean 'onnx'\?"):
        Predictor(trees, format="onxn")


def test_a_bundle_that_answers_otherwise_is_refused_by_picture_class_and_difference(
    trees, tmp_path
):
    manifest = Manifest.load(trees)
    wrong = json.loads((trees / "bundle.json").read_text())
    was = wrong["golden"][1]["answers"]["litert"]["label"]
    place = 2
    was[place] += 0.25
    bundle = changed(trees, tmp_path / "wrong")
    (bundle / "bundle.json").write_text(json.dumps(wrong))
    with pytest.raises(BundleError) as error:
        Predictor(bundle, format="litert")
    assert "golden/1.png" in str(error.value)
    assert f"'{CLASSES[place]}'" in str(error.value)
    assert "a difference of 0.25 where 0.0001 is allowed" in str(error.value)
    assert Predictor(bundle, format="onnx").format == "onnx"  # its own answers are right
    assert Predictor(bundle, format="litert", check=False).manifest.name == manifest.name


@pytest.mark.parametrize("format", KINDS)
def test_a_damaged_artifact_or_golden_picture_is_refused(trees, tmp_path, format):
    bundle = changed(trees, tmp_path / "bundle")
    path = bundle / "golden" / "0.png"
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(BundleError, match=r"0\.png is not the picture"):
        Predictor(bundle, format=format)
    path.unlink()
    with pytest.raises(BundleError, match=r"0\.png is missing"):
        Predictor(bundle, format=format)
    artifact = bundle / Manifest.load(bundle).artifacts[format].file
    content = bytearray(artifact.read_bytes())
    content[len(content) // 2] ^= 1
    artifact.write_bytes(content)
    with pytest.raises(BundleError, match="SHA-256 differs"):
        Predictor(bundle, format=format)


PREPROCESS = """
import numpy as np

def preprocess(image, training, rng):
    assert not training
    return image[:, ::-1] // 2
"""


def test_preprocess_runs_only_if_it_is_trusted(made_trees, tmp_path):
    trees, model = made_trees
    bundle = changed(trees, tmp_path / "bundle", preprocess="recipe.py", golden=())
    (bundle / "recipe.py").write_text(PREPROCESS)
    with pytest.raises(BundleError, match=r"preprocess\(\) of .*recipe\.py, which is code"):
        Predictor(bundle)
    image = coloured(5)
    with Predictor(bundle, trust=True) as predictor:
        found = labels(predictor.predict(image))
    expected = asked(model, image[:, :, ::-1] // 2)["label"]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    (bundle / "recipe.py").write_text("def preprocess(image, training, rng): return 1")
    with Predictor(bundle, trust=True) as predictor:
        assert "returned a int" in predictor.predict(image[:1])[0].error
    (bundle / "recipe.py").write_text("def preprocess(image, training, rng): return 1 / 0")
    with Predictor(bundle, trust=True) as predictor:
        assert "ZeroDivisionError" in predictor.predict(image[:1])[0].error


def photographs(directory):
    """Pictures of many formats, sizes and oddities, as files."""
    rng = np.random.default_rng(0)

    def smooth(height, width, channels):
        coarse = rng.integers(0, 256, (6, 5, channels), np.uint8)
        mode = {1: "L", 3: "RGB", 4: "RGBA"}[channels]
        picture = Image.fromarray(coarse[..., 0] if channels == 1 else coarse, mode)
        return picture.resize((width, height), Image.Resampling.BICUBIC)

    sizes = ((20, 31), (32, 32), (33, 64), (50, 47), (120, 130), (301, 222), (700, 410), (5, 900))
    for number, (height, width) in enumerate(sizes):
        for kind, channels, options in (
            ("jpeg", 3, {"quality": 90}), ("jpeg", 1, {}), ("png", 3, {}), ("png", 4, {}),
            ("png", 1, {}), ("webp", 3, {"quality": 90}), ("bmp", 3, {}), ("gif", 1, {}),
        ):  # fmt: skip
            name = directory / f"{number}-{channels}.{kind}"
            smooth(height, width, channels).save(name, **options)
            yield name
    for orientation in range(2, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        name = directory / f"turned-{orientation}.jpg"
        smooth(210, 330, 3).save(name, exif=exif)
        yield name
    wide = directory / "16bit.png"
    Image.fromarray(rng.integers(0, 2**16, (40, 50)).astype(np.uint16)).save(wide)
    yield wide
    smooth(90, 70, 3).convert("CMYK").save(directory / "cmyk.jpg")
    yield directory / "cmyk.jpg"
    smooth(90, 70, 3).convert("P").save(directory / "palette.png")
    yield directory / "palette.png"
    file = io.BytesIO()
    smooth(600, 500, 3).save(file, "JPEG")
    (directory / "liar.jpg").write_bytes(file.getvalue())
    yield directory / "liar.jpg"


@pytest.mark.parametrize("mode", ["crop", "squash", "pad"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_picture_is_prepared_bit_for_bit_as_the_loader_does(
    trees, tmp_path, monkeypatch, mode, channels
):
    paths = [str(path) for path in photographs(tmp_path)]
    read = jpeg.read_header

    def lying(data):
        header = read(data)
        if header is not None and (header.height, header.width) == (600, 500):
            return header._replace(height=300, width=700)
        return header

    monkeypatch.setattr(jpeg, "read_header", lying)
    bundle = changed(
        trees, tmp_path / "bundle", resize_mode=mode, image_size=(SIDE, 40, channels), golden=()
    )
    with Predictor(bundle, check=False) as predictor:
        found = np.stack([predictor.prepare(path) for path in paths])
    dataset = Dataset.from_columns(
        tmp_path, [os.path.basename(p) for p in paths], [""] * len(paths)
    )
    loader = Loader(
        dataset, batch_size=len(paths), image_size=(SIDE, 40, channels), resize_mode=mode
    )
    np.testing.assert_array_equal(found, loader.batch(0).inputs)
    assert len(paths) > 70


def test_memory_is_given_back_when_it_is_closed(trees):
    predictor = Predictor(trees)
    runtime = predictor._runtime
    predictor.close()
    gc.collect()
    assert not vars(runtime)


def test_a_row_of_an_array_is_never_taken_for_a_picture(trees):
    good = coloured(2)
    with Predictor(trees) as predictor:
        for one in (good[0], good[0, ..., 0], bytearray(b"x"), memoryview(b"x"),
                    Image.fromarray(good[0])):  # fmt: skip
            with pytest.raises(BundleError, match=r"also of one: \[picture\]"):
                predictor.predict(one)
        with pytest.raises(BundleError, match="A int was given"):
            predictor.predict(3)
        np.testing.assert_array_equal(
            labels(predictor.predict(good)), labels(predictor.predict(list(good)))
        )


def test_a_picture_of_pillow_is_its_pixels_upright(trees, tmp_path):
    pixels = coloured(1, side=48)[0]
    pixels[:20] = 0
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "turned.png"
    Image.fromarray(pixels).save(path, exif=exif)
    palette = Image.fromarray(pixels).convert("P")
    with Predictor(trees) as predictor, Image.open(path) as opened:
        found = predictor.predict([opened, path, palette, np.asarray(palette.convert("RGB"))])
    assert [answer.error for answer in found] == [None] * 4
    np.testing.assert_allclose(labels(found[:1]), labels(found[1:2]), atol=1e-6)
    np.testing.assert_allclose(labels(found[2:3]), labels(found[3:]), atol=1e-6)


def test_a_thing_that_is_no_picture_is_named_by_its_type(trees):
    with Predictor(trees) as predictor:
        found = predictor.predict([None, {"a": 1}, 3.5])
    assert [answer.error.split(" was given")[0] for answer in found] == [
        "a NoneType", "a dict", "a float",
    ]  # fmt: skip


def test_an_answer_that_is_not_there_is_a_sentence(trees):
    with Predictor(trees) as predictor:
        good, bad = predictor.predict([coloured(1)[0], b"x"])
    with pytest.raises(BundleError, match=r"no task 'lable'.*Did you mean 'label'\?"):
        good.best("lable")
    with pytest.raises(BundleError, match="no answer to this picture: this is not a picture"):
        bad.best()


@pytest.mark.parametrize("format", KINDS)
def test_prepared_pictures_of_another_kind_are_refused(trees, sized_trees, format):
    good = coloured(2)
    with Predictor(trees, format=format) as predictor:
        for image in (good / np.float32(255), good[0], good[:, :20], good[..., :1], good[..., 0]):
            with pytest.raises(BundleError, match=r"expected uint8 \[batch, 32, 32, 3\]"):
                predictor.ask(image)
        assert predictor.ask(good[:0]) == []
    with Predictor(sized_trees, format=format) as predictor:
        for numbers in (np.zeros((1, 2)), np.zeros((2, 3)), np.array([["a", "b"]] * 2)):
            with pytest.raises(BundleError, match=r"expected numbers \[2, 2\]: height, age"):
                predictor.ask(good, numbers)
        assert len(predictor.ask(good, np.zeros((2, 2)))) == 2
        assert predictor.ask(good[:0], np.zeros((0, 2), np.float32)) == []


def test_golden_pictures_are_read_whatever_the_user_allows(trees):
    with Predictor(trees, max_pixels=100) as predictor:
        assert "more than --max-pixels 100" in predictor.predict([encoded(coloured(1)[0])])[0].error
        assert predictor.manifest.max_pixels == 100


def test_a_runtime_is_closed_where_the_golden_check_fails(trees, tmp_path, monkeypatch):
    closed = []
    monkeypatch.setattr(Runtime, "close", lambda self: closed.append(self))
    bundle = changed(trees, tmp_path / "bundle")
    (bundle / "golden" / "0.png").unlink()
    with pytest.raises(BundleError, match="is missing"):
        Predictor(bundle)
    assert len(closed) == 1


def test_whatever_a_decoder_raises_is_the_error_of_its_picture(trees, monkeypatch):
    def strange(data, *_):
        raise KeyError("colour")

    good = coloured(1)[0]
    with Predictor(trees) as predictor:
        monkeypatch.setattr("hornbeam.deployment.predicting.preparation.measure", strange)
        for count in (1, 5):
            found = predictor.predict([*[encoded(good)] * count, good])
            assert all("cannot be read (KeyError: 'colour')" in a.error for a in found[:-1])
            assert found[-1].error is None


AVIF_NEEDED = pytest.mark.skipif(not features.check("avif"), reason="this Pillow reads no AVIF")


@pytest.mark.filterwarnings("ignore")  # Pillow warns of some damage
@pytest.mark.parametrize(
    "kind", ["JPEG", "PNG", "GIF", "TIFF", "BMP", "WEBP", "PPM", "JPEG2000",
             pytest.param("AVIF", marks=AVIF_NEEDED)],
)  # fmt: skip
def test_a_damaged_file_is_an_error_and_nothing_else(trees, kind):
    rng = np.random.default_rng(1)
    file = io.BytesIO()
    Image.fromarray(coloured(1, side=48)[0]).save(file, kind)
    damaged = []
    for _ in range(150):
        content = np.frombuffer(file.getvalue(), np.uint8).copy()
        for _ in range(rng.integers(1, 7)):
            end = min(len(content), rng.choice([60, 200, len(content)]))
            content[rng.integers(end)] = rng.integers(256)
        damaged.append(content[: len(content) if rng.random() > 0.2 else rng.integers(1, 300)])
    with Predictor(trees) as predictor:
        for content in damaged:
            with contextlib.suppress(DataError):
                predictor.prepare(content.tobytes())
        predictor.predict([content.tobytes() for content in damaged])


def test_answers_to_what_came_before_an_error_of_the_generator_are_given(trees):
    def broken(count):
        yield from coloured(count)
        raise ZeroDivisionError

    with Predictor(trees, batch_size=4) as predictor:
        for count in (1, 3, 4, 23):
            stream = predictor.stream(broken(count))
            for _ in range(count):
                assert next(stream).error is None
            with pytest.raises(ZeroDivisionError):
                next(stream)


def test_where_the_model_answers_with_no_number_there_is_no_answer(trees, pictures, monkeypatch):
    with Predictor(trees, batch_size=4) as predictor:
        kind = type(predictor._runtime)
        run = kind.run

        def poisoned(*inputs):
            outputs = {name: values.copy() for name, values in run(*inputs).items()}
            outputs["label"][1] = np.nan
            return outputs

        monkeypatch.setattr(kind, "run", poisoned)
        answers = predictor.predict(pictures[:3])
    assert [answer.error for answer in answers] == [None, "the model's answer is no number", None]
    assert [answer.picture for answer in answers] == list(map(str, pictures[:3]))
