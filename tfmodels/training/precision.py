"""Which numbers to compute in.

Variables stay in float32 whatever is chosen, and so do softmax, norms, heads, losses and exports (Micikevicius et al.,
arXiv:1710.03740). float16 wants a scaled loss, which `fit` sees to; bfloat16 has float32's range and wants none.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping

import keras
import tensorflow as tf

from tfmodels.errors import UserError
from tfmodels.training.optimizers import adamw

_POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}
# What lies closer to float32 than this is not worth fewer digits.
_WORTHWHILE = 0.95


def policy_for(precision: str) -> keras.dtype_policies.DTypePolicy:
    """The Keras policy that keeps variables in float32 and computes in `precision`.

    Raises:
        UserError: The precision is not float32, bfloat16 or float16.
    """
    if precision not in _POLICIES:
        raise UserError(f"precision {precision!r} is unknown: choose one of {', '.join(_POLICIES)}.")
    return keras.dtype_policies.get(_POLICIES[precision])


@dataclasses.dataclass(frozen=True)
class Probe:
    """What a short probe of the machine has found.

    Attributes:
        precision: The one to train in.
        seconds: A training step's, by precision; empty where there was nothing to try.
    """

    precision: str
    seconds: Mapping[str, float] = dataclasses.field(default_factory=dict)

    def __str__(self) -> str:
        tried = ", ".join(f"{name} {1000 * seconds:.0f} ms" for name, seconds in self.seconds.items())
        return f"computing in {self.precision}" + (f" (a step: {tried})" if tried else "")


def choose_precision(
    precision: str, make_model: Callable[[str], keras.Model], batches, *, loss=None, candidates=None, steps: int = 3
) -> Probe:
    """Finds what trains fastest on this machine where the precision is "auto"; any other is taken as it is.

    Each candidate trains a model of its own for a few steps on the first batch, in turns, and the fewest seconds count.
    Fewer digits are taken only where a step is at least 5 % shorter than in float32.

    Args:
        precision: "auto", or a precision.
        make_model: `make_model(precision)`, a model as it will be trained; it is thrown away.
        batches: What `fit` takes as its training batches.
        loss: As `fit` takes it.
        candidates: Precisions to try; the default follows from the device, see `candidates_here`.
        steps: How often each is timed.

    Returns:
        The `Probe`; say to the user what it says.

    Raises:
        UserError: A precision is unknown.
    """
    if precision != "auto":
        policy_for(precision)
        return Probe(precision)
    candidates = tuple(candidates or candidates_here())
    if len(candidates) == 1:
        return Probe(candidates[0])
    inputs, targets = next(iter(batches.dataset(0, 1)))
    models = {}
    for name in candidates:
        model = make_model(name)
        optimizer = adamw(1e-5)
        if name == "float16":
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
        model.compile(optimizer, loss=loss, jit_compile=False)
        model.train_on_batch(inputs, targets)  # makes the graph
        models[name] = model
    seconds = dict.fromkeys(candidates, float("inf"))
    for _ in range(steps):
        for name, model in models.items():
            started = time.perf_counter()
            model.train_on_batch(inputs, targets)  # returns figures: the step has ended
            seconds[name] = min(seconds[name], time.perf_counter() - started)
    fastest = min(seconds, key=seconds.get)
    if seconds[fastest] > _WORTHWHILE * seconds[candidates[0]]:
        fastest = candidates[0]
    return Probe(fastest, seconds)


def candidates_here() -> tuple[str, ...]:
    """The precisions that may pay on this machine, float32 first.

    A TPU computes in bfloat16 whatever it is told. GPUs have fast bfloat16 from compute capability 8 on, and float16
    before. CPUs may have bfloat16 or only imitate it, which is slow; float16 is slow on all of them.
    """
    if tf.config.list_logical_devices("TPU"):
        return ("bfloat16",)
    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        return "float32", "bfloat16"
    capability = tf.config.experimental.get_device_details(gpus[0]).get("compute_capability", (0, 0))
    return "float32", "bfloat16" if capability >= (8, 0) else "float16"
