"""Each variable is trained as by an optimiser of its own; groups, averages and clipping are exact."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import yaml
from safetensors.numpy import load_file

from hornbeam import workflow
from hornbeam.config import OPTIMIZER_ARGUMENTS, TrainOptions
from hornbeam.errors import ConfigError
from hornbeam.training import optimizers
from hornbeam.training.averages import ValidateAverages, averaged
from hornbeam.training.optimizers import PerVariable, build_optimizer, hidden_kernels
from hornbeam.training.saved import load_checkpoint

FACTORS = {"first/kernel": 0.1, "first/bias": 1.0, "second/kernel": 0.5, "second/bias": 0.5}
NOT_DECAYED = ("first/bias", "second/bias")
RATE, DECAY, STEPS = 0.05, 0.1, 3


def network(seed=3):
    keras.utils.set_random_seed(seed)
    layers = [
        keras.layers.Dense(4, activation="tanh", name="first"),
        keras.layers.Dense(3, name="second"),
    ]
    model = keras.Sequential([keras.Input((5,)), *layers])
    for layer in layers:
        layer.bias.assign(np.linspace(-0.5, 0.5, layer.bias.shape[0]))
    return model


def options_for(name, **values):
    fixed = {"schedule": "fixed", "warmup": 0} if name == "ftrl" else {}
    return TrainOptions(data="x", optimizer=name, **fixed, **values).resolved().planned(1000)


def gradients(step, shapes):
    rng = np.random.default_rng(step)
    return [rng.normal(size=shape).astype(np.float32) for shape in shapes]


def apply_steps(optimizer, variables, count=STEPS, pick=None):
    """Apply the same gradients as everyone else; `pick` chooses which of them these variables get."""
    shapes = [(5, 4), (4,), (4, 3), (3,)]
    optimizer.build(variables)
    for step in range(count):
        drawn = [keras.ops.convert_to_tensor(g) for g in gradients(step, shapes)]
        drawn = drawn if pick is None else [drawn[i] for i in pick]
        if keras.config.backend() == "jax":
            values, state = optimizer.stateless_apply(
                [v.value for v in optimizer.variables], drawn, [v.value for v in variables]
            )
            for variable, value in zip(
                [*variables, *optimizer.variables], [*values, *state], strict=True
            ):
                variable.assign(value)
        else:
            optimizer.apply(drawn, variables)
    return [keras.ops.convert_to_numpy(v) for v in variables]


def of_their_own(name, **arguments):
    """Train each variable of the network by Keras' optimiser for it alone."""
    model = network()
    kept = {"ftrl": optimizers.Ftrl, "muon": optimizers.Muon}.get(name)
    base = kept or getattr(keras.optimizers, optimizers._CLASSES[name])
    if kept is optimizers.Ftrl:
        base = type("Ftrl", (PerVariable, base), {})
    result = []
    for index, (path, variable) in enumerate(zip(FACTORS, model.trainable_variables, strict=True)):
        decay = 0.0 if path in NOT_DECAYED else DECAY
        more = {"adam_weight_decay": decay} if name == "muon" else {}
        one = base(learning_rate=RATE * FACTORS[path], weight_decay=decay, **arguments, **more)
        if kept is optimizers.Ftrl:
            one.set_factors([])
        if kept is optimizers.Muon:
            one.set_hidden([variable] if path == "first/kernel" else [])
        result += apply_steps(one, [variable], pick=[index])
    return result


def check_one_optimizer(name):
    rules = tuple((path, factor) for path, factor in FACTORS.items() if factor != 1)
    options = options_for(name, lr_mult=rules, weight_decay=DECAY)
    model = network()
    optimizer = build_optimizer(options, RATE, model)
    found = apply_steps(optimizer, model.trainable_variables)
    arguments = {
        argument: getattr(options, option)
        for option, argument in OPTIMIZER_ARGUMENTS[name].items() if getattr(options, option) is not None
    }  # fmt: skip
    for path, one, expected in zip(FACTORS, found, of_their_own(name, **arguments), strict=True):
        np.testing.assert_allclose(one, expected, rtol=1e-6, atol=4e-7, err_msg=f"{name}: {path}")
    first = [keras.ops.convert_to_numpy(v) for v in network().trainable_variables]
    assert all(np.abs(a - b).max() > 1e-5 for a, b in zip(found, first, strict=True)), name


@pytest.mark.parametrize("name", OPTIMIZER_ARGUMENTS)
def test_each_variable_is_trained_as_by_an_optimizer_of_its_own(name):
    check_one_optimizer(name)


@pytest.mark.slow
def test_each_variable_is_trained_as_by_an_optimizer_of_its_own_on_jax():
    in_jax("for name in OPTIMIZER_ARGUMENTS: check_one_optimizer(name)")


def in_jax(code):
    code = (
        "import sys; sys.path.insert(0, 'tests/training')\n"
        "import keras; assert keras.config.backend() == 'jax'\n"
        f"from test_optimizers import *\n{code}\n"
    )
    environment = {**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=300, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.parametrize("name", [n for n in OPTIMIZER_ARGUMENTS if n not in ("muon", "ftrl")])
def test_without_special_wishes_its_steps_are_those_of_keras(name):
    wishes = {"weight_decay": 0.1, "clip_norm": 1.0, "no_decay": ("head/nothing",)}
    one, other = network(), network()
    other.set_weights(one.get_weights())
    ours = build_optimizer(options_for(name, **wishes), RATE, one)
    kind = getattr(keras.optimizers, optimizers._CLASSES[name])
    assert isinstance(ours, kind)
    config = {k: v for k, v in ours.get_config().items() if k != "name"}
    theirs = kind.from_config(config)
    rng = np.random.default_rng(0)
    for _ in range(3):
        drawn = [rng.normal(size=v.shape).astype(np.float32) for v in one.trainable_variables]
        for optimizer, model in ((ours, one), (theirs, other)):
            gradients = [keras.ops.convert_to_tensor(g) for g in drawn]
            optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
    for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-8)


def test_every_hyper_parameter_reaches_the_optimizer():
    defaults = TrainOptions(data="x")
    for name, arguments in OPTIMIZER_ARGUMENTS.items():
        values = {option: True if option == "nesterov" else -0.4 if option.startswith("ftrl_learning")
                  else 0.321 for option in arguments}  # fmt: skip
        assert all(getattr(defaults, option) != value for option, value in values.items())
        config = build_optimizer(options_for(name, **values), RATE, network()).get_config()
        for option, argument in arguments.items():
            assert config[argument] == values[option], (name, option)


def test_a_hyper_parameter_of_another_optimizer_is_refused_by_name():
    with pytest.raises(
        ConfigError, match=r"--momentum is for --optimizer momentum or muon, not for adam"
    ):
        TrainOptions(data="x", momentum=0.8)
    with pytest.raises(
        ConfigError, match=r"--epsilon is for --optimizer adam or adamw or .*, not for sgd"
    ):
        TrainOptions(data="x", optimizer="sgd", epsilon=1e-3)
    with pytest.raises(ConfigError, match="--clip-norm and --clip-value exclude each other"):
        TrainOptions(data="x", clip_norm=1, clip_value=1)
    with pytest.raises(ConfigError, match="--lr-mult takes factors from 0"):
        TrainOptions(data="x", lr_mult="head/.*=-1")


def test_the_options_of_a_run_can_be_given_again_with_another_optimizer():
    written = TrainOptions(data="x").model_dump(mode="json") | {"optimizer": "sgd"}
    assert TrainOptions(**written).optimizer == "sgd"


@pytest.mark.parametrize("clip", ["clip_norm", "clip_value"])
def test_gradients_are_clipped_all_together_or_each(clip):
    model = network()
    before = model.get_weights()
    optimizer = build_optimizer(options_for("sgd", **{clip: 0.5}), 1.0, model)
    after = apply_steps(optimizer, model.trainable_variables, count=1)
    drawn = gradients(0, [(5, 4), (4,), (4, 3), (3,)])
    norm = np.sqrt(sum((g.astype(np.float64) ** 2).sum() for g in drawn))
    for old, new, g in zip(before, after, drawn, strict=True):
        expected = g * 0.5 / norm if clip == "clip_norm" else np.clip(g, -0.5, 0.5)
        np.testing.assert_allclose(old - new, expected, atol=1e-6)


def data(count):
    rng = np.random.default_rng(7)
    return rng.normal(size=(count, 5)).astype(np.float32), rng.integers(0, 3, count)


def fit(model, optimizer, batch_size, epochs=2, **arguments):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=optimizer, loss=loss)
    pictures, labels = data(48)
    model.fit(
        pictures,
        labels,
        batch_size=batch_size,
        epochs=epochs,
        shuffle=False,
        verbose=0,
        **arguments,
    )
    return model


def check_accumulation(name):
    """Groups of 4 batches of 6, against batches of 24, with a schedule, decay, clipping and averages."""
    ends = []
    for batch_size, group in ((24, 1), (6, 4)):
        options = options_for(name, accumulate=group, weight_decay=0.05, clip_norm=0.3, ema=0.8,
                              lr_mult=(("first/.*", 0.5),))  # fmt: skip
        rate = (
            RATE
            if name == "ftrl"
            else keras.optimizers.schedules.PolynomialDecay(RATE, 4 * group, 0.001)
        )
        model = network()
        optimizer = build_optimizer(options, rate, model)
        after = []
        raw = keras.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs, after=after, model=model: after.append(
                model.get_weights()
            )
        )
        fit(model, optimizer, batch_size, callbacks=[raw])
        ends.append([*after[-1], *model.get_weights()])
    for large, grouped in zip(*ends, strict=True):
        np.testing.assert_allclose(grouped, large, rtol=2e-4, atol=2e-5, err_msg=name)
    assert not np.allclose(ends[0][0], ends[0][4]), "raw weights and averages should differ"


@pytest.mark.parametrize("name", ["adam", "momentum", "nadam", "muon"])
def test_groups_of_batches_equal_one_large_batch(name):
    check_accumulation(name)


def test_groups_of_batches_equal_one_large_batch_on_jax():
    in_jax(
        "for name in ('adam', 'momentum', 'nadam', 'muon', 'ftrl'): check_accumulation(name)\n"
        "check_accumulation_with_frozen_norm()"
    )


def check_accumulation_with_frozen_norm(**compiled):
    """A frozen norm answers alike in small batches and large ones; one that learns would not."""
    ends = []
    for batch_size, group in ((24, 1), (6, 4)):
        keras.utils.set_random_seed(1)
        norm = keras.layers.BatchNormalization(name="norm")
        model = keras.Sequential(
            [keras.Input((5,)), keras.layers.Dense(4), norm, keras.layers.Dense(3)]
        )
        norm.moving_mean.assign(np.full(4, 0.3))
        norm.trainable = False
        optimizer = build_optimizer(options_for("adam", accumulate=group, ema=0.5), RATE, model)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(optimizer=optimizer, loss=loss, **compiled)
        pictures, labels = data(48)
        model.fit(pictures, labels, batch_size=batch_size, epochs=2, shuffle=False, verbose=0)
        ends.append(model.get_weights())
    for large, grouped in zip(*ends, strict=True):
        np.testing.assert_allclose(grouped, large, rtol=2e-4, atol=2e-5)
    assert any(np.array_equal(w, np.full(4, 0.3, np.float32)) for w in ends[1])


@pytest.mark.parametrize("xla", [False, True])
def test_groups_of_batches_equal_one_large_batch_with_a_frozen_norm_and_compiled(xla):
    check_accumulation_with_frozen_norm(jit_compile=xla)


def test_averages_become_the_weights_after_training_and_not_after_an_error():
    model = network()
    optimizer = build_optimizer(options_for("sgd", ema=0.9), RATE, model)
    learning = apply_steps(optimizer, model.trainable_variables)

    def left_with(error):
        # As Keras' `fit` on JAX, in whose place of the end an error may be.
        try:
            if error:
                raise error
        finally:
            optimizer.finalize_variable_values(model.trainable_variables)

    with pytest.raises(OSError, match="a child was killed"):
        left_with(OSError("a child was killed"))
    for found, expected in zip(model.get_weights(), learning, strict=True):
        np.testing.assert_array_equal(found, expected)
    left_with(None)
    assert not np.array_equal(model.get_weights()[0], learning[0])


def check_averages(**options):
    """Against NumPy, over the raw weights of each step as training went."""
    model = network()
    optimizer = build_optimizer(options_for("momentum", ema=0.7, **options), 0.2, model)
    seen = []
    note = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: seen.append(model.get_weights())
    )
    losses = []

    class Note(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            with averaged(self.model):
                losses.append((logs["val_loss"], self.model.get_weights()))

    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=optimizer, loss=loss)
    pictures, labels = data(24)
    model.fit(pictures, labels, batch_size=24, epochs=12, shuffle=False, verbose=0,
              validation_data=(pictures, labels), callbacks=[ValidateAverages(), note, Note()])  # fmt: skip
    average = [np.zeros_like(w, np.float64) for w in seen[0]]
    judge = network()
    judge.compile(loss=loss)
    for step, weights in enumerate(seen):
        decay = min(0.7, step / (9 + step))
        average = [decay * a + (1 - decay) * w for a, w in zip(average, weights, strict=True)]
        for found, expected in zip(losses[step][1], average, strict=True):
            np.testing.assert_allclose(found, expected, atol=1e-6)
        judge.set_weights(average)
        assert losses[step][0] == pytest.approx(
            judge.evaluate(pictures, labels, verbose=0), abs=1e-5
        )
    for found, expected in zip(model.get_weights(), average, strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-6)  # what fit leaves
    plain = network()
    fit_plain = build_optimizer(options_for("momentum", **options), 0.2, plain)
    plain.compile(optimizer=fit_plain, loss=loss)
    plain.fit(pictures, labels, batch_size=24, epochs=12, shuffle=False, verbose=0)
    for found, expected in zip(seen[-1], plain.get_weights(), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-5)  # training went on from the raw ones


def test_averages_are_what_is_validated_and_left_while_training_goes_on_from_the_raw_weights():
    check_averages()


def test_averages_are_right_on_jax():
    in_jax("check_averages()")


@pytest.mark.parametrize("backend", ["tensorflow", pytest.param("jax", marks=pytest.mark.slow)])
def test_float16_with_a_scaled_loss_has_factors_averages_and_groups(backend):
    code = "check_float16()"
    if backend == "jax":
        in_jax(code)
    else:
        check_float16()


def check_float16():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = network()
        before = model.get_weights()
        options = options_for(
            "adam", accumulate=2, ema=0.9, lr_mult=(("first/.*", 0.0001),), clip_norm=1.0
        )
        optimizer = build_optimizer(options, 0.05, model)
        raw = []
        note = keras.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs: raw.append(model.get_weights())
        )
        fit(model, optimizer, 6, callbacks=[note])
        assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
        moved = [np.abs(a - b).max() for a, b in zip(model.get_weights(), before, strict=True)]
        assert 0 < moved[0] < 1e-4
        assert moved[2] > 1e-2
        assert not np.array_equal(raw[-1][2], model.get_weights()[2])  # fit leaves the averages
    finally:
        keras.config.set_dtype_policy("float32")


def small_convnet():
    keras.utils.set_random_seed(0)
    layers = keras.layers
    inputs = keras.Input((16, 16, 3))
    x = layers.Conv2D(8, 3, strides=2, name="stem")(inputs)
    x = layers.DepthwiseConv2D(3, name="depthwise")(x)
    x = layers.Conv2D(8, 3, groups=2, name="grouped")(x)
    x = layers.SeparableConv2D(6, 3, padding="same", name="separable")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    x = layers.Dense(7, name="hidden")(x)
    return keras.Model(inputs, layers.Dense(3, name="head")(x))


def test_muon_orthogonalises_hidden_matrices_and_nothing_else():
    model = small_convnet()
    names = [v.path.split("/", 1)[-1] for v in hidden_kernels(model)]
    assert [v.path for v in hidden_kernels(model)] == [
        model.get_layer("stem").kernel.path, model.get_layer("separable").pointwise_kernel.path,
        model.get_layer("hidden").kernel.path,
    ], names  # fmt: skip


def test_muon_steps_are_nearly_orthogonal_for_a_flattened_convolution():
    model = small_convnet()
    optimizer = build_optimizer(options_for("muon", weight_decay=0.0), 1.0, model)
    kernel = model.get_layer("stem").kernel
    before = keras.ops.convert_to_numpy(kernel)
    variables = model.trainable_variables
    rng = np.random.default_rng(0)
    drawn = [
        keras.ops.convert_to_tensor(rng.normal(size=v.shape).astype("float32")) for v in variables
    ]
    optimizer.apply(drawn, variables)
    step = (before - keras.ops.convert_to_numpy(kernel)).reshape(-1, 8) / (0.2 * np.sqrt(27))
    singular = np.linalg.svd(step, compute_uv=False)
    assert singular.min() > 0.6
    assert singular.max() < 1.3
    gradient = np.asarray(drawn[0]).reshape(-1, 8)
    u, _, vt = np.linalg.svd(gradient, full_matrices=False)
    cosine = (step * (u @ vt)).sum() / np.linalg.norm(step) / np.sqrt(8)
    assert cosine > 0.97


def test_muon_says_when_there_is_nothing_for_it(capsys):
    model = network()
    model.get_layer("first").trainable = False
    build_optimizer(options_for("muon"), RATE, model)
    assert "Nothing that is trained is for muon" in capsys.readouterr().out


def test_ftrl_starts_from_the_weights_and_goes_the_way_of_adagrad():
    found, expected = [], []
    for name, result in (("ftrl", found), ("adagrad", expected)):
        model = network()
        more = {"epsilon": 1e-12} if name == "adagrad" else {}
        optimizer = build_optimizer(options_for(name, **more), 0.05, model)
        result += apply_steps(optimizer, model.trainable_variables, count=5)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_ftrl_without_a_constant_rate_is_refused():
    with pytest.raises(ConfigError, match="--optimizer ftrl needs --schedule fixed --warmup 0"):
        TrainOptions(data="x", optimizer="ftrl")


@pytest.mark.parametrize("name", OPTIMIZER_ARGUMENTS)
def test_each_optimizer_lowers_the_loss_under_fit(name):
    model = network()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    rate = {"adadelta": 3.0, "sgd": 0.3, "muon": 0.02, "lion": 0.01}.get(name, 0.05)
    model.compile(optimizer=build_optimizer(options_for(name), rate, model), loss=loss)
    pictures, labels = data(24)
    before = model.evaluate(pictures, labels, verbose=0)
    model.fit(pictures, labels, batch_size=24, epochs=15, verbose=0)
    assert model.evaluate(pictures, labels, verbose=0) < before - 0.1


def test_a_run_keeps_the_averages_no_optimizer_and_a_model_all_of_which_can_be_trained(
    shapes, tmp_path, capsys
):
    options = TrainOptions(
        data=str(shapes), run=tmp_path / "run", image_size="32", batch_size=8, steps=3, subset=16,
        optimizer="muon", learning_rate=0.01, lr_mult="backbone/.*_norm/.*=0.5,backbone/stage1.*=0", layer_decay=0.9,
        ema=0.9, accumulate=2, weight_decay=0.01, clip_norm=1.0,
    )  # fmt: skip
    run = workflow.train(options)
    told = capsys.readouterr().out
    assert "4 batches, in groups of 2 whose gradients are averaged: 2 updates, each of 16" in told
    assert "factor on the rate" in told
    kept = keras.models.load_model(run.path / "model.keras")
    assert not kept.compiled
    assert len(kept.trainable_variables) == 32
    assert load_checkpoint(kept, run.checkpoints, "last")["step"] == 4
    averages = [variable.numpy() for variable in kept.trainable_variables]
    raw = load_file(run.checkpoints / "last" / "training.safetensors")
    found = [any(np.array_equal(a, b) for b in raw.values()) for a in averages]
    assert all(found)  # among the optimiser's variables
    learning = [raw[name] for name in raw if name.startswith("model/")]
    assert any(not any(np.array_equal(a, b) for b in learning) for a in averages)
    load_checkpoint(kept, run.checkpoints, "best")
    for found, expected in zip(run.load_model().get_weights(), kept.get_weights(), strict=True):
        np.testing.assert_array_equal(found, expected)
    assert yaml.safe_load((run.path / "config.yaml").read_text())["accumulate"] == 2
