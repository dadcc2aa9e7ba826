"""Every schedule is its closed form, on the host and on the devices, and survives being saved."""

import json
import math
import os
import subprocess
import sys

import keras
import numpy as np
import pytest

from hornbeam.config import ScheduleOptions, TrainOptions
from hornbeam.data import splits
from hornbeam.data.sample import draw_sample
from hornbeam.data.sources import open_dataset
from hornbeam.errors import ConfigError
from hornbeam.training.rates import Rates, warmup_steps
from hornbeam.training.schedules import Schedule, build_schedule
from hornbeam.workflow import show_schedule

TOTAL = 100
STEPS = range(TOTAL + 5)


def schedule_of(*, epochs=10, **options):
    given = TrainOptions(data="d", epochs=epochs, **options).resolved().planned(1000)
    return build_schedule(given, TOTAL, TOTAL // epochs)


def fall(step, begin):
    return min(max(step - begin, 0) / (TOTAL - begin), 1.0)


def rise(step, steps):
    return 0.01 + 0.99 * min(step / steps, 1) if steps else 1.0


def one_cycle(step, peak=0.5, top=29):
    def between(low, high, share):
        return high + (low - high) / 2 * (1 + math.cos(math.pi * share))

    if step < top:
        return between(peak / 25, peak, step / top)
    return between(peak, peak / 25e4, min((step - top) / (TOTAL - 1 - top), 1.0))


CASES = {
    "fixed": ({"schedule": "fixed", "warmup": 0}, lambda s: 0.5),
    "fixed, warmed up": ({"schedule": "fixed", "warmup": 20}, lambda s: 0.5 * rise(s, 20)),
    "cosine": ({}, lambda s: 0.5 * rise(s, 10) * (1 + math.cos(math.pi * fall(s, 10))) / 2),
    "cosine to an end": (
        {"warmup": 0, "end_learning_rate": 0.1},
        lambda s: 0.1 + 0.4 * (1 + math.cos(math.pi * fall(s, 0))) / 2,
    ),
    "polynomial": (
        {"schedule": "polynomial", "polynomial_power": 2.0, "end_learning_rate": 0.05, "warmup": 0.2},
        lambda s: rise(s, 20) * (0.05 + 0.45 * (1 - fall(s, 20)) ** 2),
    ),
    "exponential": (
        # Epochs of 10 steps: at 30, 60, 90 after the warm-up.
        {"schedule": "exponential", "epochs_per_decay": 3, "learning_rate_decay_factor": 0.5, "warmup": 5},
        lambda s: 0.5 * rise(s, 5) * 0.5 ** (max(s - 5, 0) // 30),
    ),
    "one-cycle": ({"schedule": "one-cycle"}, one_cycle),
    "phases": (
        {"learning_rate": None, "learning_rate_phases": "0.1:30,0.01:40,0.001:10"},
        lambda s: 0.1 if s < 30 else 0.01 if s < 70 else 0.001,
    ),
    "phases, warmed up": (
        {"learning_rate": None, "learning_rate_phases": "0.1:30,0.01:1", "warmup": 10},
        lambda s: rise(s, 10) * (0.1 if s < 30 else 0.01),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_schedule_is_its_closed_form(name):
    options, closed = CASES[name]
    schedule = schedule_of(**{"learning_rate": 0.5, **options})
    expected = [closed(step) for step in STEPS]
    np.testing.assert_allclose(schedule.rates(STEPS), expected, rtol=1e-12, atol=1e-15)
    found = [float(schedule(keras.ops.convert_to_tensor(step))) for step in STEPS]
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=1e-7)


def test_the_default_is_the_cosine_of_keras_with_its_warm_up():
    ours = schedule_of(learning_rate=0.4)
    theirs = keras.optimizers.schedules.CosineDecay(0.004, 90, warmup_target=0.4, warmup_steps=10)
    expected = [float(theirs(step)) for step in STEPS]
    np.testing.assert_allclose(ours.rates(STEPS), expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", CASES)
def test_a_saved_schedule_is_the_same(name):
    schedule = schedule_of(**{"learning_rate": 0.5, **CASES[name][0]})
    optimizer = keras.optimizers.SGD(schedule)
    config = json.loads(json.dumps(keras.optimizers.serialize(optimizer)))
    again = keras.optimizers.deserialize(config)
    assert again._learning_rate.rates == schedule.rates
    assert isinstance(again._learning_rate, Schedule)


def test_jax_computes_the_same_rates_compiled(tmp_path):
    rates = [
        schedule_of(**{"learning_rate": 0.5, **options}).rates for options, _ in CASES.values()
    ]
    (tmp_path / "rates.json").write_text(json.dumps([vars(r) for r in rates]))
    code = f"""
import json, jax, numpy as np
from hornbeam.training.schedules import Schedule
schedules = [Schedule.from_config(c) for c in json.load(open({str(tmp_path / "rates.json")!r}))]
found = [[float(jax.jit(s)(step)) for step in range({TOTAL + 5})] for s in schedules]
np.save({str(tmp_path / "found.npy")!r}, found)
"""
    environment = {**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=300, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    expected = [r(STEPS) for r in rates]
    np.testing.assert_allclose(np.load(tmp_path / "found.npy"), expected, rtol=2e-5, atol=1e-7)


def test_an_optimiser_steps_at_the_rate_of_its_step():
    schedule = schedule_of(learning_rate=0.5, schedule="one-cycle")
    variable = keras.Variable(np.float32(0))
    optimizer = keras.optimizers.SGD(schedule)
    optimizer.build([variable])
    for _ in range(40):
        optimizer.apply([keras.ops.convert_to_tensor(np.float32(-1))])
    assert float(variable) == pytest.approx(schedule.rates(range(40)).sum(), rel=1e-5)


@pytest.mark.parametrize(
    ("warmup", "total", "steps"),
    [(0.1, 100, 10), (0.1, 4, 1), (0, 100, 0), (1, 100, 1), (25, 100, 25), (100, 100, 100)],
)
def test_a_warm_up_is_a_share_or_steps(warmup, total, steps):
    assert warmup_steps(warmup, total) == steps


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"schedule": "phases"}, "--schedule phases needs --learning-rate-phases"),
        ({"learning_rate_phases": "0.1:5", "learning_rate": 0.1}, "--learning-rate is not for --schedule phases"),
        ({"learning_rate_phases": "0.1:5", "schedule": "fixed"}, "--learning-rate-phases is not for --schedule fixed"),
        ({"learning_rate_phases": "0.1"}, "--learning-rate-phases should be RATE:STEPS,…"),
        ({"learning_rate_phases": "-1:5"}, "--learning-rate-phases should be greater than 0"),
        ({"schedule": "cosine", "polynomial_power": 2}, "--polynomial-power is not for --schedule cosine"),
        ({"schedule": "one-cycle", "end_learning_rate": 0.01}, "--end-learning-rate is not for --schedule one-cycle"),
        ({"learning_rate_decay_factor": 0.5}, "(but for exponential)"),
        ({"learning_rate": 0.1, "end_learning_rate": 0.2}, "--end-learning-rate 0.2 is above the learning rate, 0.1"),
        ({"warmup": 101}, "--warmup 101 is longer than the training of 100 steps"),
    ],
)  # fmt: skip
def test_what_does_not_fit_together_is_told(options, sentence):
    with pytest.raises(ConfigError) as error:
        schedule_of(**options)
    assert sentence in str(error.value)


def test_resolved_options_may_be_given_again():
    for options, _ in CASES.values():
        once = TrainOptions(data="d", **{"learning_rate": 0.5, **options}).resolved().planned(1000)
        values = once.model_dump(mode="json")
        values.pop("epochs"), values.pop("steps")
        assert TrainOptions(**values).resolved().planned(1000).model_dump(
            mode="json", exclude={"epochs"}
        ) == (once.model_dump(mode="json", exclude={"epochs"}))


def test_a_table_of_rates_needs_no_pictures_if_it_knows_the_steps(capsys):
    from hornbeam import workflow

    workflow.show_schedule(ScheduleOptions(steps=1000, learning_rate=0.5))
    lines = capsys.readouterr().out.splitlines()
    cells = [line.split() for line in lines]
    assert ["0", "0.005"] in cells
    assert ["100", "0.5"] in cells
    assert "1000 steps" in lines[-1]
    with pytest.raises(ConfigError, match="counts epochs"):
        workflow.show_schedule(ScheduleOptions(steps=1000, schedule="exponential"))


def test_the_steps_of_a_folder_are_counted(shapes, capsys):
    from hornbeam import workflow

    rates = workflow.show_schedule(ScheduleOptions(data=str(shapes), epochs=3, batch_size=8))
    dataset = splits.with_validation(open_dataset(str(shapes), ScheduleOptions(data="d")), 0.2, 0)
    assert rates.total_steps == 3 * math.ceil(len(dataset.only("train")) / 8)
    assert f"{rates.total_steps} steps" in capsys.readouterr().out


def test_a_plot_is_a_picture_of_the_rates(tmp_path):
    from PIL import Image

    from hornbeam import workflow

    file = tmp_path / "rates.png"
    workflow.show_schedule(ScheduleOptions(steps=1000, learning_rate=0.5, plot=file))
    with Image.open(file) as picture:
        assert min(picture.size) > 300
        assert len(picture.convert("RGB").getcolors(1 << 20)) > 10
    with pytest.raises(ConfigError, match=r"\.png, \.svg or \.pdf"):
        workflow.show_schedule(ScheduleOptions(steps=10, plot=tmp_path / "rates.txt"))


def test_a_plot_without_matplotlib_is_a_sentence(tmp_path, monkeypatch):
    from hornbeam import workflow

    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ConfigError, match=r"pip install 'hornbeam\[plot\]'"):
        workflow.show_schedule(ScheduleOptions(steps=10, plot=tmp_path / "rates.png"))


def test_rates_take_arrays_and_numbers():
    rates = Rates("cosine", 0.4, 100, 10)
    assert rates(55).shape == ()
    assert rates(np.arange(6).reshape(2, 3)).shape == (2, 3)


def test_the_schedule_with_weights_is_that_of_finetuning_where_pictures_are_many(tmp_path, capsys):
    draw_sample(tmp_path / "photos", per_class=110, size=16, seed=0)
    options = ScheduleOptions(data=tmp_path / "photos", weights="any.h5", batch_size=64)
    rates = show_schedule(options)
    assert rates(np.arange(rates.total_steps)).max() == pytest.approx(0.0002)
    pictures = 6 * 110 * 0.8
    assert rates.total_steps == pytest.approx(10 * pictures / 64, abs=10)
    with pytest.raises(ConfigError, match="the head of the frozen backbone is solved"):
        show_schedule(options.model_copy(update={"finetune": False}))
