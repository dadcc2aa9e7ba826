"""Known faults planted among real pictures are found, by name; the clean original has none."""

import csv
import io
import json
import multiprocessing
import os
import shutil
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from hornbeam.config import TableOptions
from hornbeam.data.dataset import Dataset
from hornbeam.data.inspection import memory
from hornbeam.data.inspection.checks import find_faults, find_oddities
from hornbeam.data.inspection.facts import gather
from hornbeam.data.inspection.findings import KINDS
from hornbeam.data.inspection.verifying import verify
from hornbeam.data.pixels.images import decode
from hornbeam.data.sources import open_dataset
from hornbeam.data.tasks import Task


@pytest.fixture
def copy(shapes, tmp_path):
    """A copy of the sample, all plain JPEG and years old (what is fresh is not remembered)."""
    root = tmp_path / "copy"
    for file in sorted(shapes.rglob("*.*")):
        plain = (root / file.relative_to(shapes)).with_suffix(".jpg")
        plain.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(decode(file.read_bytes())).save(plain, quality=95)
        os.utime(plain, (1e9, 1e9))
    return root


def pictures_of(root):
    """Return the files of each class, in order."""
    return [sorted(folder.iterdir()) for folder in sorted(root.iterdir()) if folder.is_dir()]


def check(root, **options):
    dataset = open_dataset(root)
    options = {"near": 6, "smallest_class": 2, "threads": 2, **options}
    return find_faults(dataset, gather(dataset, 2, cache=False), folder=root, **options)


def paths_by_kind(findings):
    found = {}
    for finding in findings:
        found.setdefault(finding.kind, set()).update(finding.paths)
    return found


def test_the_clean_sample_has_no_problems_and_plain_pictures_no_notes(shapes, copy):
    assert {finding.severity for finding in check(shapes)} == {"note"}
    assert {finding.kind for finding in check(shapes)} == {"rotated"}
    assert check(copy) == []


def test_real_photographs_have_no_false_problems(clothing):
    findings = check(clothing)
    problems = [finding for finding in findings if finding.severity == "problem"]
    # One photograph is in the data set twice, as shorts and as a skirt; that is no false alarm.
    assert [finding.kind for finding in problems] == ["near-label-conflict"]
    assert sum(len(finding.paths) for finding in findings if finding.severity == "note") <= 10


def plant_broken(root, classes):
    names = [file.relative_to(root).as_posix() for file in classes[0][:4]]
    whole = classes[0][0].read_bytes()
    classes[0][0].write_bytes(whole[: len(whole) // 2])
    classes[0][1].write_bytes(b"")
    classes[0][2].write_bytes(b"this is text")
    classes[0][3].write_bytes(np.random.default_rng(0).bytes(500))
    return {"truncated": {names[0]}, "empty": {names[1]}, "unreadable": set(names[2:])}


def plant_extension(root, classes):
    file = classes[1][0]
    Image.open(file).save(root / "planted.png")
    (root / "planted.png").replace(file)
    return {"wrong-extension": {file.relative_to(root).as_posix()}}


def plant_copies(root, classes):
    one, same, recompressed, other = classes[0][0], classes[0][1], classes[0][2], classes[1][0]
    shutil.copy(one, same)
    Image.open(classes[0][4]).resize((40, 40), Image.Resampling.LANCZOS).save(
        recompressed, quality=60
    )
    shutil.copy(classes[2][0], other)
    Image.open(classes[2][1]).save(classes[3][1], quality=50)
    name = {f: f.relative_to(root).as_posix() for files in classes for f in files}
    return {
        "exact-duplicate": {name[one], name[same]},
        "near-duplicate": {name[recompressed], name[classes[0][4]]},
        "label-conflict": {name[other], name[classes[2][0]]},
        "near-label-conflict": {name[classes[2][1]], name[classes[3][1]]},
    }


def plant_oddities(root, classes):
    def put(file, change):
        pixels = decode(file.read_bytes())
        Image.fromarray(change(pixels)).save(file, quality=95)
        return {file.relative_to(root).as_posix()}

    files = classes[4]
    return {
        "dark": put(files[0], lambda p: (p * 0.1).astype(np.uint8)),
        "bright": put(files[1], lambda p: (225 + p * 0.1).astype(np.uint8)),
        "blurry": put(files[2], lambda p: cv2.GaussianBlur(cv2.resize(p, (256, 256)), (0, 0), 12)),
        "low-information": put(files[3], lambda p: np.full_like(p, 120)),
        "small": put(files[4], lambda p: cv2.resize(p, (20, 20))),
        "odd-size": put(files[5], lambda p: p.repeat(20, axis=0).repeat(20, axis=1)),
        "odd-aspect": put(files[6], lambda p: cv2.resize(p, (160, 30))),
    }


def plant_modes(root, classes):
    files = classes[5]
    names = [file.relative_to(root).as_posix() for file in files]
    picture = Image.open(files[0])
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(files[0], exif=exif)
    Image.open(files[1]).convert("CMYK").save(files[1])
    for file, save in (
        (files[2], save_animated),
        (files[3], save_transparent),
        (files[4], save_deep),
    ):
        save(Image.open(file).copy(), file)
        file.unlink()
    stems = [name.removesuffix(".jpg") for name in names]
    return {
        "rotated": {names[0]}, "cmyk": {names[1]}, "animated": {f"{stems[2]}.gif"},
        "transparent": {f"{stems[3]}.png"}, "deep": {f"{stems[4]}.png"},
    }  # fmt: skip


def save_animated(picture, file):
    frames = [picture.transpose(Image.Transpose.ROTATE_90)]
    picture.save(file.with_suffix(".gif"), save_all=True, append_images=frames)


def save_transparent(picture, file):
    picture.putalpha(Image.linear_gradient("L").resize(picture.size))
    picture.save(file.with_suffix(".png"))


def save_deep(picture, file):
    grey = np.asarray(picture.convert("L")).astype(np.uint16) * 257
    cv2.imwrite(str(file.with_suffix(".png")), grey)


def plant_strays(root, classes):
    folder = classes[0][0].parent
    whole = classes[0][0].read_bytes()
    hidden = [
        ".ipynb_checkpoints/a.jpg",
        "@eaDir/b.jpg",
        f"{folder.name}/._c.jpg",
        "__MACOSX/d/e.jpg",
    ]
    ignored = {
        f"{folder.name}/phone.heic": b"\0\0\0\x18ftypheic" + bytes(20),
        f"{folder.name}/no-extension": whole,
    }
    for name in hidden:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(whole)
    for name, content in ignored.items():
        (root / name).write_bytes(content)
    (folder / "notes.txt").write_text("notes")
    (root / "README").write_text("a file beside the classes is nobody's business")
    return {
        "hidden": set(hidden), "ignored-picture": set(ignored),
        "ignored-file": {f"{folder.name}/notes.txt"},
    }  # fmt: skip


@pytest.mark.parametrize(
    "plant",
    [plant_broken, plant_extension, plant_copies, plant_oddities, plant_modes, plant_strays],
)
def test_planted_faults_are_found_by_name_and_nothing_else_is(copy, plant):
    expected = plant(copy, pictures_of(copy))
    assert paths_by_kind(check(copy)) == expected


def test_a_picture_in_two_splits_is_a_leak_and_the_one_that_judges_stays(copy, tmp_path):
    root = tmp_path / "split"
    classes = pictures_of(copy)
    for number, split in enumerate(("train", "validation", "test")):
        for files in classes[:2]:
            (root / split / files[0].parent.name).mkdir(parents=True)
            for file in files[number * 4 : number * 4 + 4]:
                shutil.copy(file, root / split / file.parent.name)
    a, b = classes[0][0].parent.name, classes[1][0].parent.name
    shutil.copy(classes[0][4], root / "train" / a / "copy.jpg")
    Image.open(classes[1][8]).save(root / "train" / b / "like.jpg", quality=40)
    findings = check(root)
    assert {f.kind: set(f.paths) for f in findings} == {
        "leak": {f"validation/{a}/{classes[0][4].name}", f"train/{a}/copy.jpg"},
        "near-leak": {f"test/{b}/{classes[1][8].name}", f"train/{b}/like.jpg"},
    }
    fixes = sorted(fix[:3] for finding in findings for fix in finding.fixes())
    assert fixes == [
        (f"train/{a}/copy.jpg", "leak", "delete"),
        (f"train/{b}/like.jpg", "near-leak", "delete"),
    ]


def test_classes_that_are_tiny_single_or_missing_are_told(folders):
    rng = np.random.default_rng(0)
    files = {f"{c}/{i}.png": 0 for c, n in (("many", 40), ("few", 2), ("one", 1)) for i in range(n)}
    root = folders(files)
    for name in files:  # unlike each other, so that they are no copies
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(root / name)
    found = {
        f.kind: f.sentence for f in check(root, smallest_class=10) if KINDS[f.kind].action == ""
    }
    assert found == {
        "single-picture-class": "Class 'one' has 1 picture.",
        "tiny-class": "Class 'few' has 2 pictures, fewer than 10.",
        "imbalance": "Class 'many' has 40 pictures and 'one' 1: 40 times as many.",
    }


def test_the_background_needs_no_pictures(copy):
    dataset = open_dataset(str(copy), TableOptions(background_class=True))
    facts = gather(dataset, 2, cache=False)
    assert find_faults(dataset, facts, near=6, smallest_class=2, threads=2) == []


def test_classes_that_differ_between_splits_are_a_finding_and_stop_nothing(
    hornbeam, copy, tmp_path
):
    root = tmp_path / "split"
    for split, count in (("train", 3), ("val", 2)):
        for files in pictures_of(copy)[:count]:
            shutil.copytree(files[0].parent, root / split / files[0].parent.name)
    done = hornbeam("check", root, "--json", tmp_path / "found.json")
    kinds = {f["kind"] for f in json.loads((tmp_path / "found.json").read_text())["findings"]}
    assert done.code == 3
    assert "class-mismatch" in kinds


def test_pixels_of_a_users_own_reader_are_checked_and_not_remembered(tmp_path, monkeypatch):
    monkeypatch.setenv("HORNBEAM_CACHE", str(tmp_path / "cache"))

    class Reader:
        def read(self, dataset, row):
            return np.random.default_rng(row).integers(0, 256, (40, 50, 3), dtype=np.uint8)

    labels = {Task("label", ("a", "b")): [0, 1, 0, 1]}
    dataset = Dataset.from_columns(tmp_path, list("wxyz"), [""] * 4, labels)
    dataset = Dataset(dataset.root, dataset.table, dataset.tasks, Reader())
    for _ in range(2):
        found = gather(dataset, 2)
        assert found.read == 4
    assert found.rows["width"].tolist() == [50] * 4
    assert not (tmp_path / "cache").exists()
    assert not list(find_oddities(dataset, found))


@pytest.fixture
def decodings(monkeypatch):
    """Count the pictures that are decoded."""
    counted = []
    decode_row = Dataset.decode

    def decode(self, row, *arguments, **options):
        counted.append(self.paths[row])
        return decode_row(self, row, *arguments, **options)

    monkeypatch.setattr(Dataset, "decode", decode)
    return counted


def test_a_second_look_decodes_only_what_changed(copy, decodings):
    dataset = open_dataset(copy)
    first = verify(dataset, "error", 2)[0]
    assert len(decodings) == len(dataset)
    decodings.clear()
    assert verify(dataset, "error", 2)[0].table.equals(first.table)
    assert decodings == []
    changed = copy / dataset.paths[3]
    Image.open(changed).save(changed, quality=50)
    os.utime(changed, (1e9 + 1, 1e9 + 1))
    verify(dataset, "error", 2)
    assert decodings == [dataset.paths[3]]
    decodings.clear()
    verify(dataset, "error", 2, cache=False)
    assert len(decodings) == len(dataset)


def test_what_was_found_is_the_same_when_it_is_remembered(copy):
    plant_broken(copy, pictures_of(copy))
    for file in copy.rglob("*.*"):
        os.utime(file, (1e9, 1e9))
    dataset = open_dataset(copy)
    first, second = gather(dataset, 2), gather(dataset, 1)
    assert (first.read, second.read) == (len(dataset), 0)
    assert (first.rows == second.rows).all()
    assert first.faults == second.faults
    part = gather(dataset.take([5, 2]), 1)
    assert (part.rows == first.rows[[5, 2]]).all()
    assert gather(dataset, 1).read == 0, "a part of the pictures made the others forgotten"


def test_pictures_below_a_name_that_is_no_utf_8_are_remembered_too(copy, tmp_path):
    moved = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    copy.rename(moved)
    dataset = open_dataset(moved)
    assert gather(dataset, 1).read == len(dataset)
    assert gather(dataset, 1).read == 0


def test_a_file_that_was_just_written_is_not_remembered(copy):
    dataset = open_dataset(copy)
    soon = time.time() + 600  # however long this machine takes
    os.utime(copy / dataset.paths[0], (soon, soon))
    gather(dataset, 1)
    assert gather(dataset, 1).read == 1


@pytest.mark.parametrize("damage", [b"", b"PAR1 nothing", None])
def test_a_damaged_or_older_memory_is_made_again(copy, damage, monkeypatch):
    dataset = open_dataset(copy)
    gather(dataset, 1)
    file = max(memory.cache_directory().glob("facts/*"), key=lambda f: f.stat().st_mtime_ns)
    if damage is None:
        monkeypatch.setattr(memory, "_VERSION", -1)
    else:
        file.write_bytes(damage)
    assert gather(dataset, 1).read == len(dataset)
    assert gather(dataset, 1).read == 0


def _gather(root):
    return gather(open_dataset(root), 1).read


def test_processes_at_once_do_each_other_no_harm(copy):
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        assert all(count <= 72 for count in pool.map(_gather, [copy] * 6))
    assert _gather(copy) == 0


def test_the_command_ends_with_0_for_clean_pictures_and_writes_its_files(hornbeam, copy, tmp_path):
    page, found = tmp_path / "c.html", tmp_path / "c.json"
    done = hornbeam("check", copy, "--html", page, "--json", found)
    assert (done.code, done.err) == (0, "")
    assert "72 pictures, nothing to mend" in done.out
    assert json.loads(found.read_text())["findings"] == []
    assert "nothing to mend" in page.read_text()


def test_the_command_ends_with_3_for_problems_and_says_which(hornbeam, copy, tmp_path):
    names = plant_broken(copy, pictures_of(copy))
    done = hornbeam("check", copy, "--json", tmp_path / "c.json", "--fix-list", tmp_path / "c.csv")
    assert (done.code, done.err) == (3, "")
    assert "truncated or damaged" in done.out
    assert "4 problems" in done.out
    report = json.loads((tmp_path / "c.json").read_text())
    assert {f["kind"]: set(f["paths"]) for f in report["findings"] if f["paths"]} == names
    assert report["problems"] == 3
    rows = read_fixes(tmp_path / "c.csv")
    assert [row["path"] for row in rows] == sorted(set().union(*names.values()))
    assert {row["action"] for row in rows} == {"delete"}


def read_fixes(path):
    return list(csv.DictReader(io.StringIO(path.read_bytes().decode("utf-8-sig"), newline="")))


def test_the_list_of_fixes_runs_nothing_in_a_spreadsheet(hornbeam, folders, tmp_path):
    hostile = ["=cmd|' /C calc'!A0", "+1", "-1", "@SUM(1)", "\t=1", "plain", 'quote",=1']
    root = folders({f"{name}/{i}.jpg": b"" if i else 5 for name in hostile for i in range(2)})
    shutil.copy(root / "plain/0.jpg", root / "=cmd|' /C calc'!A0" / "0.png")
    hornbeam("check", root, "--fix-list", tmp_path / "c.csv")
    text = (tmp_path / "c.csv").read_bytes().decode("utf-8-sig")
    cells = [cell for row in csv.reader(io.StringIO(text, newline="")) for cell in row]
    assert not [cell for cell in cells if cell[:1] in "=+-@\t\r" and cell]
    paths = [row["path"] for row in read_fixes(tmp_path / "c.csv")]
    assert all((root / path).exists() for path in paths)
    assert len(paths) >= len(hostile)


def test_a_manifest_is_checked_without_the_files_beside_it(hornbeam, copy, tmp_path):
    lines = [f"{f.relative_to(copy)},{f.parent.name}" for f in sorted(copy.rglob("*.jpg"))]
    (copy / "list.csv").write_text("\n".join(["path,label", *lines, "gone.jpg,star", ""]))
    (copy / "star" / "notes.txt").write_text("not in the list")
    done = hornbeam("check", copy / "list.csv", "--json", tmp_path / "c.json")
    assert done.code == 3
    found = json.loads((tmp_path / "c.json").read_text())["findings"]
    assert [(f["kind"], f["paths"], f["action"]) for f in found] == [
        ("missing", ["gone.jpg"], "review")
    ]


def test_names_cannot_write_to_the_terminal(hornbeam, folders):
    root = folders({"cat/1.png": 3, "dog/2.png": 9, "cat/\x1b[2J\nall is well.jpg": b""})
    done = hornbeam("check", root)
    assert done.code == 3
    assert "\x1b" not in done.out
    assert "\nall is well" not in done.out


def test_a_wrong_extension_is_mended_by_a_new_name_that_is_free(copy):
    file = pictures_of(copy)[0][0]
    name = file.relative_to(copy).as_posix().removesuffix(".jpg")
    shutil.copy(pictures_of(copy)[1][1], copy / f"{name}.png")  # it is JPEG: wrong as well
    Image.open(file).save(copy / "x.png")
    (copy / "x.png").replace(file)
    (finding,) = [f for f in check(copy) if f.kind == "wrong-extension"]
    assert dict(zip(finding.paths, finding.details, strict=True)) == {
        f"{name}.jpg": f"{name}-1.png",
        f"{name}.png": f"{name}-1.jpg",
    }
