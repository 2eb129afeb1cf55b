"""LAMB beside optax's, on TensorFlow and on JAX."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import keras
import numpy as np
import optax
import pytest
import tensorflow as tf

from tests.support import check_parity
from tfmodels.training import Lamb, WarmupLinearDecay

pytestmark = pytest.mark.parity

STEPS, RATE = 100, 1e-2
SHAPES = {"kernel": (7, 5), "bias": (5,), "gamma": (5,), "beta": (5,), "tokens": (11, 5), "heads": (2, 3, 4)}
SPARED = ("bias", "gamma", "beta")

# Our step as JAX compiles it: state in, state out.
ON_JAX = """
import sys
import jax
import keras
import numpy as np
from tfmodels.training import Lamb
assert keras.backend.backend() == "jax"
data = np.load(sys.argv[1])
variables = [keras.Variable(data[name], dtype="float32", name=name.split("/")[1]) for name in data if "start/" in name]
optimizer = Lamb(1e-2, weight_decay=0.1, global_clipnorm=1.0)
optimizer.build(variables)
step = jax.jit(optimizer.stateless_apply)
values, state = [v.value for v in variables], [v.value for v in optimizer.variables]
for gradients in zip(*(data[f"gradient/{v.name}"] for v in variables)):
    values, state = step(state, [g.astype("float32") for g in gradients], values)
for variable, value in zip(optimizer.variables, state):
    variable.assign(value)
found = {v.name: value for v, value in zip(variables, values)}
found |= {f"ratio/{name}": ratio.value for name, ratio in optimizer.trust_ratios.items()}
np.savez(sys.argv[2], **found)
"""


def problem():
    random = np.random.default_rng(0)
    start = {name: random.normal(size=shape) for name, shape in SHAPES.items()} | {"zero": np.zeros((3, 2))}
    return start, [{name: random.normal(size=value.shape) for name, value in start.items()} for _ in range(STEPS)]


def ours(optimizer, start, gradients, dtype):
    variables = [keras.Variable(value, dtype=dtype, name=name) for name, value in start.items()]
    for gradient in gradients:
        optimizer.apply([tf.constant(gradient[v.name], dtype) for v in variables], variables)
    return {v.name: v.numpy() for v in variables}


def theirs(transformation, start, gradients):
    # In float64: optax's 1 - b^t has three digits in float32 where b is 0.999.
    with jax.experimental.enable_x64():
        values = {name: jax.numpy.asarray(value) for name, value in start.items()}
        state = transformation.init(values)
        for gradient in gradients:
            updates, state = transformation.update(
                {name: jax.numpy.asarray(value) for name, value in gradient.items()}, state, values
            )
            values = optax.apply_updates(values, updates)
        return {name: np.asarray(value) for name, value in values.items()}


def sparing(rate, decay, clip):
    """Optax's own parts, of which two pass over what is spared."""
    mask = {name: name not in SPARED for name in [*SHAPES, "zero"]}
    return optax.chain(
        optax.clip_by_global_norm(clip),
        optax.scale_by_adam(eps=1e-6),
        optax.add_decayed_weights(decay, mask),
        optax.masked(optax.scale_by_trust_ratio(), mask),
        optax.scale_by_learning_rate(rate),
    )


CASES = {
    "the paper's": (lambda: Lamb(RATE, weight_decay=0.1, exclude=()), optax.lamb(RATE, weight_decay=0.1)),
    "no decay": (lambda: Lamb(RATE, weight_decay=None, exclude=()), optax.lamb(RATE)),
    "other moments": (
        lambda: Lamb(RATE, 0.8, 0.95, 1e-3, 0.01, exclude=()),
        optax.lamb(RATE, 0.8, 0.95, 1e-3, weight_decay=0.01),
    ),
    "sparing, clipped": (lambda: Lamb(RATE, weight_decay=0.1, global_clipnorm=1.0), sparing(RATE, 0.1, 1.0)),
    "a schedule": (
        lambda: Lamb(WarmupLinearDecay(RATE, STEPS, 10), weight_decay=0.1, exclude=()),
        optax.lamb(
            lambda step: RATE * jax.numpy.minimum((step + 1) / 10, (STEPS - step) / (STEPS - 10)), weight_decay=0.1
        ),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_hundred_steps_are_optaxs(case):
    (make, transformation), (start, gradients) = CASES[case], problem()
    expected = theirs(transformation, start, gradients)
    assert np.abs(expected["kernel"] - start["kernel"]).max() > 0.1
    for dtype in ("float64", "float32"):
        check_parity(f"Lamb, {case}, {dtype}", ours(make(), start, gradients, dtype), expected, tolerance=1e-6)


def test_jax_takes_the_steps_of_tensorflow(tmp_path):
    start, gradients = problem()
    data = {f"start/{name}": value for name, value in start.items()}
    data |= {f"gradient/{name}": np.stack([gradient[name] for gradient in gradients]) for name in start}
    np.savez(tmp_path / "in.npz", **data)
    environment = {**os.environ, "KERAS_BACKEND": "jax", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    result = subprocess.run(
        [sys.executable, "-c", ON_JAX, tmp_path / "in.npz", tmp_path / "out.npz"],
        cwd=Path(__file__).parents[2],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    found = dict(np.load(tmp_path / "out.npz"))
    ratios = {name: found.pop(name) for name in list(found) if name.startswith("ratio/")}
    check_parity(
        "Lamb on JAX", found, theirs(sparing(float(np.float32(RATE)), 0.1, 1.0), start, gradients), tolerance=1e-6
    )
    optimizer = Lamb(RATE, weight_decay=0.1, global_clipnorm=1.0)
    ours(optimizer, start, gradients, "float32")
    told = {f"ratio/{name}": ratio.numpy() for name, ratio in optimizer.trust_ratios.items()}
    check_parity("Lamb's ratios on JAX", ratios, told)
