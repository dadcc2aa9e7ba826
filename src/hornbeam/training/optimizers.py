"""The optimiser that the options ask for: one of Keras', with what it lacks for single variables.

A subclass multiplies the rate of each variable, in the step and in the decoupled weight decay, so that
each is trained exactly as by an optimiser of its own, and the whole rate by a variable, which patience
and clocks change. (On PyTorch it is Keras' class itself.) Muon and FTRL are mended for networks of
convolutions.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import keras
from keras import ops

from hornbeam import console
from hornbeam.config import OPTIMIZER_ARGUMENTS, TrainOptions
from hornbeam.errors import ConfigError
from hornbeam.models.freezing import decays, rate_factors
from hornbeam.models.scopes import HEAD, layers_by_path, variables_by_path

_CLASSES = {
    "adam": "Adam", "adamw": "AdamW", "sgd": "SGD", "momentum": "SGD", "rmsprop": "RMSprop",
    "adadelta": "Adadelta", "adagrad": "Adagrad", "ftrl": "Ftrl", "lion": "Lion", "lamb": "Lamb",
    "muon": "Muon", "nadam": "Nadam", "adamax": "Adamax", "adafactor": "Adafactor",
}  # fmt: skip
"""Names of options and of classes in `keras.optimizers`."""

# What stands before one of Keras' classes is no optimiser by itself.
if TYPE_CHECKING:
    from keras.optimizers import Optimizer as _Mixin
else:
    _Mixin = object


def build_optimizer(
    options: TrainOptions, learning_rate: Any, model: keras.Model
) -> keras.optimizers.Optimizer:
    """Return the optimiser that the options ask for.

    Args:
        options: resolved.
        learning_rate: a number, or a schedule of Keras from batches to rates. With accumulation all
            batches of a group have the rate of its first, which is the rate of a large batch.
        model: that is to be trained, with its trainable flags set.

    Raises:
        ConfigError: the backend is PyTorch, which cannot do what is asked for.
    """
    by_path = variables_by_path(model)
    factors = rate_factors(model, options)
    arguments: dict[str, Any] = {
        argument: value
        for name, argument in OPTIMIZER_ARGUMENTS[options.optimizer].items()
        if (value := getattr(options, name)) is not None
    }
    arguments |= {
        "learning_rate": learning_rate,
        "weight_decay": options.weight_decay or (0.0 if options.optimizer == "adamw" else None),
        "global_clipnorm": options.clip_norm,
        "clipvalue": options.clip_value,
        "gradient_accumulation_steps": options.accumulate if options.accumulate > 1 else None,
    }
    if options.ema is not None:
        arguments |= {"use_ema": True, "ema_momentum": options.ema}
    if options.optimizer == "muon":
        arguments["adam_weight_decay"] = arguments["weight_decay"]
    kept = {"ftrl": Ftrl, "muon": Muon}.get(options.optimizer)
    base = kept or getattr(keras.optimizers, _CLASSES[options.optimizer])
    scaled = options.schedule == "plateau" or options.on_nan == "rollback" or options.time
    special = any(factor != 1 for factor in factors.values()) or options.ema is not None or scaled
    if keras.config.backend() == "torch":
        if special or kept or options.accumulate > 1:
            raise ConfigError(
                "On PyTorch there are no factors on the rate (nor plateau, rollback and --time), no "
                "ema, no accumulation, and neither muon nor ftrl; choose --backend tensorflow or jax."
            )
    else:
        # Always, so that a training can go on with a factor on its rate that it began without.
        base = type(base.__name__, (PerVariable, base), {})
    optimizer: Any = base(**arguments)
    if isinstance(optimizer, PerVariable):
        optimizer.set_factors([(by_path[path], factor) for path, factor in factors.items()])
    if isinstance(optimizer, Muon):
        hidden = [variable for variable in hidden_kernels(model) if variable.trainable]
        optimizer.set_hidden(hidden)
        if not hidden:
            console.say("Nothing that is trained is for muon; all variables take steps of AdamW.")
    if options.weight_decay:
        kept_whole = [by_path[path] for path in factors if not decays(path, options)]
        optimizer.exclude_from_weight_decay(var_list=kept_whole)
    if isinstance(optimizer, Ftrl):
        # Now, as TensorFlow would build it inside of the step's graph, and start anew each step.
        optimizer.build(model.trainable_variables)
    return optimizer


def bare(optimizer: Any) -> Any:
    """Return an optimiser without the wrapper that scales the loss in float16."""
    return getattr(optimizer, "inner_optimizer", optimizer)


def scale_rate(optimizer: Any, factor: float) -> None:
    """Let a built `PerVariable` optimiser multiply its rate by a factor, not by an earlier one."""
    bare(optimizer).rate_scale.assign(factor)


def rate_at(optimizer: Any, step: int) -> float:
    """Return the learning rate of a step, from 0, by a built `PerVariable` optimiser's factor of now."""
    optimizer = bare(optimizer)
    schedule, group = optimizer._learning_rate, optimizer.gradient_accumulation_steps or 1
    if not isinstance(schedule, keras.optimizers.schedules.LearningRateSchedule):
        return float(ops.convert_to_numpy(optimizer.learning_rate))
    rate = ops.convert_to_numpy(schedule(step // group * group))
    return float(rate) * float(ops.convert_to_numpy(optimizer.rate_scale))


class Opaque:
    """What Keras is not to track, wrap or save with an optimiser that has it as an attribute."""

    def __init__(self, value: Any) -> None:
        self.value = value


class PerVariable(_Mixin):  # type: ignore[misc]
    """Before a class of Keras' optimisers: a factor on the rate of each variable, and exact groups.

    Accumulation: the rate is that of the first batch of the group, so that the training equals that
    of batches that are as large as the group. Keras takes the rate of the last.

    The whole rate has a factor too, one of the optimiser's variables: it may change during a training
    and is saved with it.

    Averages: they are of the weights after each update, with the decay `min(d, t / (9 + t))` at
    update t = 0, 1, …, so that the first weights are soon forgotten. (This is the rule of
    TensorFlow's ExponentialMovingAverage, begun after the first update.) Keras has no warm-up and,
    with accumulation, averages once a batch.
    """

    def set_factors(self, factors: list[tuple[Any, float]]) -> None:
        """Give the factors by variable; others have 1."""
        self._factors = Opaque({self._var_key(v): factor for v, factor in factors if factor != 1})

    def build(self, variables: Any) -> None:
        """Make the state of the class, and the factor on the whole rate."""
        if self.built:
            return
        super().build(variables)
        self.rate_scale = self.add_variable(shape=(), initializer="ones", name="rate_scale")

    def factor_of(self, variable: Any) -> float:
        """Return the factor on the rate of a variable."""
        return float(self._factors.value.get(self._var_key(variable), 1.0))

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Take a step at the variable's own rate."""
        factor = self.factor_of(variable)
        rate = learning_rate if factor == 1 else learning_rate * factor
        super().update_step(gradient, variable, rate)

    def _apply_weight_decay(self, variables: Any) -> None:
        if not self.weight_decay:
            return
        for variable in variables:
            if self._use_weight_decay(variable):
                share = self.learning_rate * self.factor_of(variable) * self.weight_decay
                self.assign_sub(variable, variable * ops.cast(share, variable.dtype))

    def _get_current_learning_rate(self) -> Any:
        schedule, group = self._learning_rate, self.gradient_accumulation_steps
        if group and isinstance(schedule, keras.optimizers.schedules.LearningRateSchedule):
            rate = schedule(self._iterations // group * group)
        else:
            rate = super()._get_current_learning_rate()
        scale = getattr(self, "rate_scale", None)
        return rate if scale is None else rate * scale

    def finalize_variable_values(self, var_list: Any) -> None:
        """Put the averages into the model after training, but not after an error, as Keras does on JAX.

        A signal may have caused the error; then all is saved from which the training goes on.
        """
        if sys.exc_info()[0] is None:
            super().finalize_variable_values(var_list)

    def _update_model_variables_moving_average(self, trainable_variables: Any) -> None:
        if not self.use_ema:
            return
        group = self.gradient_accumulation_steps or 1
        updates = ops.cast(self._iterations // group, "float32")
        weight = 1 - ops.minimum(self.ema_momentum, updates / (9 + updates))
        if group > 1:
            # Between updates nothing changes; before the first, the average is the weights.
            ends = ops.equal((self._iterations + 1) % group, 0)
            weight = ops.where(ops.logical_or(ends, ops.equal(updates, 0)), weight, 0.0)
        for variable, average in zip(
            trainable_variables, self._model_variables_moving_average, strict=True
        ):
            change = ops.subtract(variable, average) * ops.cast(weight, variable.dtype)
            self.assign_add(average, change)


class Muon(keras.optimizers.Muon):  # type: ignore[misc]
    """Muon for networks of convolutions.

    Orthogonalised are the kernels of hidden dense layers and, flattened to matrices of `[height *
    width * inputs, outputs]`, of hidden convolutions, as in the authors' own implementation (Jordan
    et al. 2024). All else takes steps of AdamW: the head, biases, norms, embeddings, and depthwise
    and grouped convolutions, which are no matrices between channels. Keras' class gives AdamW to
    every kernel of a convolution and Muon to the head.
    """

    def set_hidden(self, variables: list[keras.Variable]) -> None:
        """Say which variables are orthogonalised; before the optimiser is built."""
        self._hidden = Opaque({self._var_key(variable) for variable in variables})

    def _should_use_adamw(self, variable: Any) -> bool:
        return self._var_key(variable) not in self._hidden.value

    def _muon_update_step(self, gradient: Any, variable: Any, lr: Any, m: Any) -> None:
        self.assign(m, ops.add(gradient, m * self.momentum))
        step = ops.add(gradient, m * self.momentum) if self.nesterov else ops.convert_to_tensor(m)
        matrix = ops.reshape(step, (-1, variable.shape[-1]))
        update = self.lr_adjust(self.zeropower_via_newtonschulz5(matrix, self.ns_steps))
        update = ops.reshape(update, variable.shape)
        self.assign_sub(variable, update * ops.cast(lr, variable.dtype))


class Ftrl(keras.optimizers.Ftrl):  # type: ignore[misc]
    """FTRL that starts from the weights that there are.

    Keras', as TensorFlow's, replaces all weights by nearly 0 in its first step, because it takes its
    sum of gradients to be that of zero weights: from 0 a deep network does not learn. Without L1 and L2
    this one takes the steps of Adagrad (McMahan et al. 2013, section 3.1). The rate must be constant.
    """

    def build(self, variables: Any) -> None:
        """Make the state, with the sum of gradients that the weights stand for."""
        if self.built:
            return
        super().build(variables)
        power = self.initial_accumulator_value**-self.learning_rate_power
        rate = float(ops.convert_to_numpy(self.learning_rate))
        for variable, linear in zip(variables, self._linears, strict=True):
            strength = power / (rate * self.factor_of(variable))
            strength += 2 * self.l2_regularization_strength
            shrunk = ops.sign(variable) * self.l1_regularization_strength
            linear.assign(-strength * variable.value - shrunk)


def hidden_kernels(model: keras.Model) -> list[keras.Variable]:
    """Return the kernels that are matrices between channels of hidden layers.

    Args:
        model: the last layer with weights is its head, where it has no backbone.
    """
    layers = [(path, layer) for path, layer in layers_by_path(model)]
    heads = [layer for path, layer in layers if path.startswith(f"{HEAD}/")]
    heads = heads or [layer for _, layer in layers[-1:]]
    dense = (keras.layers.Dense, keras.layers.SeparableConv1D, keras.layers.SeparableConv2D)
    convolutions = (keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D)
    found = []
    for _, layer in layers:
        grouped = getattr(layer, "groups", 1) != 1
        if layer in heads or grouped or not isinstance(layer, dense + convolutions):
            continue
        found += [v for v in layer.weights if v.name in ("kernel", "pointwise_kernel")]
    return found
