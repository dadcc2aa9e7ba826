"""Whatever is typed, or lies in a file, the answer is a value or a sentence: all small parsers, fuzzed.

Those of manifests, shards, bundles and pages of the server have tests of this kind beside theirs.
"""

import contextlib
import json
import warnings

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hornbeam.config import COMMANDS, TrainOptions
from hornbeam.data.pixels import jpeg, png
from hornbeam.durations import Duration
from hornbeam.errors import ConfigError, DataError, RunError
from hornbeam.evaluation.labels.labels_file import read_reviewed, read_suspects
from hornbeam.evaluation.watch import Curve
from hornbeam.groups import groupings_of
from hornbeam.models.restoring.rules import load_rules
from hornbeam.options import read_config_file, read_yaml
from hornbeam.patterns import assign
from hornbeam.runs import Run
from hornbeam.search.claims import Claim
from hornbeam.search.reading import read_space
from hornbeam.search.space import check
from hornbeam.storage import read_rows
from hornbeam.world.membership import membership

WORDS = st.one_of(
    st.text(max_size=20),
    st.lists(
        st.sampled_from(
            ["1", "0", "-1", "1e999", "9" * 20, "9" * 400, "nan", "inf", "0.5", "224", "x", ",", "=", ":",
             ";", " ", "/", "[", "]", "{", "}", "(", ")", "\\", "*", "+", "a", "epochs", "steps", "h",
             "true", "null", "~", "@", "#", "%", "'", '"', "2001-13-45", "²", "٣", "%x", "!!binary"]
        ), max_size=6,
    ).map("".join),
)  # fmt: skip

SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.just(10**400), st.floats(), WORDS, st.binary(max_size=4),
    st.dates(),
)  # fmt: skip

VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.one_of(WORDS, st.integers()), inner, max_size=3)
    ),
    max_leaves=6,
)  # fmt: skip


@contextlib.contextmanager
def answered(kind, word):
    """Let a block end, or fail with a sentence of a kind that has a word in it."""
    said = word
    try:
        yield
    except kind as error:
        said = str(error)
    assert said or not word
    assert word in said


DEEP = "[" * 1200


@pytest.mark.parametrize("command", ["train", "search", "serve", "export", "cluster sbatch"])
@given(data=st.data())
@settings(max_examples=60)
def test_any_value_of_any_option_is_taken_or_refused_in_a_sentence(command, data):
    kind = COMMANDS[command]
    name = data.draw(st.sampled_from(sorted(kind.model_fields)))
    value = data.draw(VALUES)
    needed = {name for name, field in kind.model_fields.items() if field.is_required()}
    given_ = dict.fromkeys(needed, "x") | {name: value}
    with answered(ConfigError, ""):
        kind(**given_)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("examples", "1e999"),
        ("examples", ["e"]),
        ("subset", 10**400),
        ("lr_mult", "a=1e999"),
        ("build_model", f"a={DEEP}"),
        ("groups", DEEP),
    ],
)
def test_numbers_beyond_all_and_brackets_without_end_are_refused_in_a_sentence(name, value):
    with answered(ConfigError, f"--{name.replace('_', '-')}"):
        TrainOptions(data="x", **{name: value})


@given(content=st.one_of(st.binary(max_size=80), WORDS.map(lambda t: t.encode("utf-8", "replace"))))
@example(content=DEEP.encode())
@example(content=b"epochs: 2001-13-45")
@example(content=b"? [a]\n: 1")
@example(content=b"epochs: " + b"9" * 5000)
@settings(max_examples=40)
def test_any_bytes_of_a_file_of_options_are_options_or_a_sentence(content, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "fuzz.yaml"
    path.write_bytes(content)
    with answered(ConfigError, str(path)):
        read_config_file(path, TrainOptions)
    with answered(ConfigError, "wh"):
        read_yaml(path, "where", "what")
    with answered(ConfigError, "--groups"):
        TrainOptions(data="x", groups=path)


@given(content=VALUES)
@settings(max_examples=50)
def test_groups_of_any_form_are_groups_or_a_sentence(content):
    with answered(ConfigError, "--groups"):
        groups = TrainOptions(data="x", groups=json.loads(json.dumps(content, default=str))).groups
        groupings_of(groups, {"label": ("a", "b", "1"), "x": ("a",)})


SPACE_KEYS = ("low", "high", "step", "log", "when", "choices")


@given(
    st.dictionaries(
        st.sampled_from(["learning_rate", "epochs", "batch_size", "optimizer", "dropout", "seed", "x"]),
        st.one_of(VALUES, st.dictionaries(st.sampled_from(SPACE_KEYS), st.one_of(
            SCALARS, st.dictionaries(st.sampled_from(["optimizer", "epochs"]), VALUES, max_size=1),
            st.lists(SCALARS, max_size=3),
        ), min_size=1)), max_size=4,
    )
)  # fmt: skip
@example({"learning_rate": {"low": 0.1, "high": float("inf")}})
@example({"epochs": {"low": 1, "high": float("inf")}})
@example({"epochs": {"low": 1, "high": 10**400}})
@example({"learning_rate": {"low": 1, "high": 10**400}})
@example({"epochs": {"low": float("nan"), "high": 2}})
@example({"epochs": [1, 2], "batch_size": {"choices": [1], "when": {"epochs": [[1]]}}})
@settings(max_examples=60)
def test_a_space_of_any_form_is_one_or_a_sentence(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "space.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    with answered(ConfigError, ""):
        check(read_space(path, None), {"data": "x"}, "--space")


LINES = st.lists(
    st.lists(
        st.sampled_from(
            ["a", "b/(\\d+)", "(x)?", "=", "?=", " = ", " ?= ", "same", "skip", "\\1", "{1+1}", "{task}",
             "{2-1}", "\\9", "@network ", "@layout torch", "#", "a{99999999999999999999}", "(", "[", " "]
        ), max_size=5,
    ).map("".join), max_size=5,
).map("\n".join)  # fmt: skip


@given(LINES)
@example("a{99999999999999999999} = same")
@example("(x)?a = b/{1+1}")
@example("(.*) = b/{1+1}")
@example("(" * 5000 + ")" * 5000 + " = same")
def test_rules_of_any_form_are_rules_or_a_sentence(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "fuzz.rules"
    path.write_text(text, encoding="utf-8")
    with answered(ConfigError, "--restore-map"):
        load_rules(str(path)).apply(["a", "b/1", "xa"], "label")


@given(WORDS)
@example("a{99999999999999999999}")
@example("(" * 5000 + ")" * 5000)
def test_a_pattern_of_any_form_matches_or_is_a_sentence(pattern):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Python warns of [[, which is the user's own
        with answered(ConfigError, "--freeze"):
            assign([(pattern, 1.0)], ["backbone/a/kernel", "head/label/bias"], "--freeze")


@given(st.one_of(WORDS, st.floats(), st.integers()))
def test_a_duration_is_read_as_it_is_written_or_refused(value):
    try:
        duration = Duration.parse(value)
    except ValueError:
        return
    assert Duration.parse(str(duration)).unit == duration.unit
    assert Duration.parse(str(duration)).amount == pytest.approx(duration.amount, rel=1e-9)
    assert duration.in_steps(10, 8) is None or duration.in_steps(10, 8) >= 1


VARIABLES = (
    "HORNBEAM_WORLD_SIZE", "HORNBEAM_RANK", "HORNBEAM_COORDINATOR", "HORNBEAM_HOST", "SLURM_STEP_NUM_TASKS",
    "SLURM_PROCID", "SLURM_STEP_NODELIST", "SLURM_JOB_ID", "PMI_SIZE", "PMI_RANK",
)  # fmt: skip
SLURM = {"SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "1", "SLURM_JOB_ID": "7"}


@given(
    st.dictionaries(st.sampled_from(VARIABLES), st.one_of(st.sampled_from(["0", "1", "2"]), WORDS))
)
@example(SLURM | {"SLURM_STEP_NODELIST": "[1-2]"})
@example(SLURM | {"SLURM_STEP_NODELIST": ","})
@example(SLURM | {"SLURM_STEP_NODELIST": "gpu1", "SLURM_JOB_ID": "x"})
def test_an_environment_of_any_form_makes_a_member_or_a_sentence(environment):
    with answered(ConfigError, "$"):
        found = membership(environment)
        assert found is None or (0 <= found.rank < found.size and ":" in found.coordinator)


@pytest.mark.parametrize("name", ["config.yaml", "dataset.json"])
@given(content=st.one_of(st.binary(max_size=50), VALUES.map(
    lambda value: json.dumps(value, default=str).encode("utf-8", "replace")
)))  # fmt: skip
@settings(max_examples=40)
def test_any_bytes_of_what_a_run_says_of_itself_are_facts_or_a_sentence(
    tmp_path_factory, name, content
):
    place = tmp_path_factory.getbasetemp() / f"run-{name}"
    place.mkdir(exist_ok=True)
    (place / name).write_bytes(content)
    ask = Run(place).config if name == "config.yaml" else Run(place).fingerprint
    with answered(RunError, name):
        facts = ask()
        assert facts is not None


def test_what_a_file_of_a_run_lacks_is_named(tmp_path):
    (tmp_path / "config.yaml").write_text("data: photos\n")
    assert Run(tmp_path).config()["data"] == "photos"
    with pytest.raises(RunError, match=r"config\.yaml lacks 'image_size': it is damaged"):
        Run(tmp_path).image_size()


@given(st.one_of(st.binary(max_size=40), WORDS.map(lambda text: text.encode("utf-8", "replace"))))
@example(b"\xff")
def test_any_bytes_of_a_table_of_ours_are_rows_or_a_sentence(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "metrics.csv"
    path.write_bytes(content)
    with answered(DataError, str(path)):
        read_rows(path)


@pytest.mark.parametrize("content", [b"\xff", b"step,time\n1\n", b"time\n1\n", b"step,time\nx,1\n"])
def test_a_damaged_table_of_a_watch_is_named_with_its_mend(tmp_path, content):
    (tmp_path / "watch-validation.csv").write_bytes(content)
    with pytest.raises(RunError, match=r"watch-validation\.csv is damaged; mend it, or remove it"):
        Curve(tmp_path, "validation")


@given(
    st.one_of(
        st.binary(max_size=40),
        VALUES.map(lambda v: json.dumps(v, default=str).encode("utf-8", "replace")),
    )
)
@example(b'{"host": "elsewhere"}')
@example(b"[]")
def test_any_bytes_of_a_note_let_a_trial_be_taken(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "claim"
    path.write_bytes(content)
    claim = Claim.take(path)
    assert claim is not None
    claim.release()


LABELS = (
    b"path,split,task,label,suggested,probability_label,probability_suggested,score,new_label\n"
)


@given(st.one_of(st.binary(max_size=200), st.text(max_size=100).map(str.encode)), st.booleans())
@example(b'"', True)
@example(b"a\0b", True)
@example(b"x" * 200_000, True)
def test_any_bytes_of_a_reviewed_list_are_rows_or_a_sentence(tmp_path_factory, content, headed):
    path = tmp_path_factory.getbasetemp() / "fuzz.csv"
    path.write_bytes((LABELS if headed else b"") + content)
    for read in (read_reviewed, read_suspects):
        with answered(DataError, str(path)):
            rows = read(path)
            assert all(isinstance(row.path, str) for row in rows)


@given(content=st.binary(max_size=60), cut=st.integers(0, 80), photo=st.booleans())
def test_any_bytes_behind_the_mark_of_a_picture_are_a_size_or_none(jpeg_bytes, content, cut, photo):
    base = jpeg_bytes if photo else png.SIGNATURE + b"\0\0\0\rIHDR"
    data = base[:cut] + content
    for header in (jpeg.read_header(data), png.read_header(data)):
        assert header is None or (header.height > 0 and header.width > 0)


@pytest.fixture(scope="module")
def jpeg_bytes():
    import io

    from PIL import Image

    image = Image.new("RGB", (16, 8))
    exif = image.getexif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", exif=exif)
    assert jpeg.read_header(buffer.getvalue()).upright == (16, 8)
    return buffer.getvalue()
