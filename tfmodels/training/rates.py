"""Learning rates of their own for the layers of a model: by depth, and from a step on.

Discriminative fine-tuning (ULMFiT, Howard and Ruder, arXiv:1801.06146, section 3.2) gives layer l the rate eta^l, with
eta^{l-1} = eta^l / 2.6; ELECTRA (arXiv:2003.10555, appendix B) and others do the same with 0.8 to 0.95. Unfreezing
(`training.unfreezing`) is the same rule with a rate of zero until a layer's first step. So both are one table in the
optimiser, which goes through its configuration; who is frozen follows from the optimiser's step, which checkpoints
hold, and nothing is retraced when a layer begins to learn.

A frozen weight is neither moved nor decayed, and its gradient does not count in the global norm that clips the others.
The moments are kept all the time: a layer that begins to learn begins with what its gradients have been, where moments
of zero, at a step whose bias correction is over, would make its first steps several times too long.

Rates are for the TensorFlow backend; the optimisers run on JAX without them.

Cost: a comparison a weight. Gradients of frozen layers are computed nevertheless: a step costs the same time and memory
whoever is frozen, where a model of which the head alone is traced (`trainable = False` before `fit`) would save the
backward pass.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import keras
import tensorflow as tf

from tfmodels.errors import UserError


@dataclasses.dataclass(frozen=True)
class LayerRates:
    """What every weight's learning rate is multiplied by.

    Attributes:
        groups: The group of every trainable weight, in the model's order.
        factors: The factor of every group.
        starts: The step, counted from zero, in which every group begins to learn; the default is the first.

    Raises:
        UserError: A factor is not positive.

    Example:
    >>> import tfmodels
    >>> from tfmodels.models import TextClassifier
    >>> model = TextClassifier(tfmodels.create_model("bert_tiny", vocabulary_size=100), num_classes=2)
    >>> rates = LayerRates.of(model, decay=0.5, starts=[30, 20, 10, 0])
    >>> rates.factors
    (0.125, 0.25, 0.5, 1.0)
    >>> len(rates.groups) == len(model.trainable_variables)
    True
    """

    groups: tuple[int, ...]
    factors: tuple[float, ...]
    starts: tuple[int, ...] = ()

    def __post_init__(self):
        # JSON has lists.
        for name in ("groups", "factors", "starts"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if not self.starts:
            object.__setattr__(self, "starts", (0,) * len(self.factors))
        if len(self.starts) != len(self.factors) or not all(factor > 0 for factor in self.factors):
            raise UserError(
                f"factors={self.factors} must be positive, with as many starts as there are: {self.starts}."
            )

    @classmethod
    def of(cls, model, decay: float = 1.0, starts: Sequence[int] = ()) -> LayerRates:
        """The rates of a model by depth: the uppermost group's factor is 1, each lower one's `decay` times the next.

        Args:
            model: Whatever has `layer_groups()`: a task, or a model that trains one. A weight of several groups is of
                the highest, and so is one of none.
            decay: A fraction, such as 1 / 2.6 in ULMFiT.
            starts: steps, of every group from the bottom to the top.

        Raises:
            UserError: The model does not tell its groups, or the decay is no fraction.
        """
        check_decay(decay)
        groups = layer_groups(model)
        top = len(groups) - 1
        found = {
            id(variable): index
            for index, layers in enumerate(groups)
            for layer in layers
            for variable in layer.trainable_variables
        }
        return cls(
            tuple(found.get(id(variable), top) for variable in model.trainable_variables),
            tuple(decay ** (top - index) for index in range(top + 1)),
            tuple(starts),
        )

    def factor(self, index: int, step):
        """The factor of weight `index` in a step: a number, or float32[] where it changes."""
        group = self.groups[index]
        factor = self.factors[group]
        return tf.where(step >= self.starts[group], factor, 0.0) if self.starts[group] else factor


def check_decay(decay: float) -> None:
    """Refuses what is no fraction of a rate."""
    if not 0 < decay <= 1:
        raise UserError(f"layer_decay={decay} must be above 0 and at most 1: a lower layer's part of the rate.")


def layer_groups(model) -> list:
    """A model's layers from the bottom to the top; see `Backbone.layer_groups`.

    Raises:
        UserError: The model does not tell.
    """
    if not hasattr(model, "layer_groups"):
        raise UserError(
            f"{type(model).__name__} has no layers by depth: train a task on a backbone without layer_decay and "
            "unfreezing, or give the model a layer_groups()."
        )
    return model.layer_groups()


class WithRates:
    """Gives a Keras optimiser `LayerRates`, which its `update_step` asks for by `rate_of`.

    Args:
        rates: A `LayerRates`, or its fields in a dict; None for one rate.

    Raises:
        UserError: The rates are of another model.
    """

    def __init__(self, *args, rates: LayerRates | dict | None = None, **kwargs):
        super().__init__(*args, **kwargs)
        self.rates = LayerRates(**rates) if isinstance(rates, dict) else rates

    def build(self, variables):
        """Makes the slots."""
        if self.rates is not None and len(self.rates.groups) != len(variables):
            raise UserError(
                f"the rates are of a model with {len(self.rates.groups)} weights, but this one has {len(variables)}: "
                "make them by LayerRates.of(model)."
            )
        super().build(variables)

    def rate_of(self, variable, learning_rate):
        """A weight's learning rate in this step."""
        if self.rates is None:
            return learning_rate
        return learning_rate * self.rates.factor(self._get_variable_index(variable), self.iterations)

    def get_config(self):
        """The constructor's arguments."""
        return {**super().get_config(), "rates": None if self.rates is None else dataclasses.asdict(self.rates)}

    def _backend_apply_gradients(self, grads, trainable_variables):
        # `_clip_gradients` is not told whose gradients it has. Numbers: variables would become the optimiser's own.
        self._clipped_indices = [self._get_variable_index(variable) for variable in trainable_variables]
        super()._backend_apply_gradients(grads, trainable_variables)

    def _clip_gradients(self, grads):
        if not self.global_clipnorm or keras.backend.backend() != "tensorflow":
            return super()._clip_gradients(grads)
        norm = None if self.rates is None else self._norm_of_learning(grads)
        # TensorFlow's leaves a sparse gradient sparse, where Keras's makes it dense.
        return tf.clip_by_global_norm(grads, self.global_clipnorm, use_norm=norm)[0]

    def _norm_of_learning(self, grads):
        """The global norm without the gradients of frozen weights."""
        squares = []
        for index, gradient in zip(self._clipped_indices, grads):
            values = gradient.values if isinstance(gradient, tf.IndexedSlices) else gradient
            square = tf.reduce_sum(tf.square(tf.cast(values, tf.float32)))
            squares.append(tf.where(self.rates.factor(index, self.iterations) > 0, square, 0.0))
        return tf.sqrt(tf.add_n(squares))
