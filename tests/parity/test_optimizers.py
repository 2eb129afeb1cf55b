"""The survey's optimisers and clippings through Keras, beside torch's and optax's, over 30 steps."""

import keras
import numpy as np
import optax
import pytest
import tensorflow as tf
import torch

from tests.support import check_parity
from tfmodels.training import adamw

pytestmark = pytest.mark.parity

STEPS, RATE = 30, 0.03


def problem(seed=0):
    random = np.random.default_rng(seed)
    return random.normal(size=(6, 4)).astype("float32"), random.normal(size=(STEPS, 6, 4)).astype("float32")


def by_keras(optimizer):
    start, gradients = problem()
    variable = keras.Variable(start, name="kernel")
    for gradient in gradients:
        optimizer.apply([tf.constant(gradient)], [variable])
    return variable.numpy()


def by_torch(make):
    start, gradients = problem()
    weight = torch.nn.Parameter(torch.tensor(start))
    optimizer = make([weight])
    for gradient in gradients:
        weight.grad = torch.tensor(gradient)
        optimizer.step()
    return weight.detach().numpy()


def by_optax(transformation):
    value, gradients = problem()
    state = transformation.init(value)
    for gradient in gradients:
        updates, state = transformation.update(gradient, state, value)
        value = optax.apply_updates(value, updates)
    return np.asarray(value)


optimizers, torch_optim = keras.optimizers, torch.optim
PAIRS = {
    "gradient descent": (lambda: optimizers.SGD(RATE), lambda: by_torch(lambda w: torch_optim.SGD(w, RATE))),
    "momentum": (
        lambda: optimizers.SGD(RATE, momentum=0.9),
        lambda: by_torch(lambda w: torch_optim.SGD(w, RATE, momentum=0.9)),
    ),
    "Nesterov": (
        lambda: optimizers.SGD(RATE, momentum=0.9, nesterov=True),
        lambda: by_torch(lambda w: torch_optim.SGD(w, RATE, momentum=0.9, nesterov=True)),
    ),
    "Adagrad": (
        lambda: optimizers.Adagrad(RATE, initial_accumulator_value=0.1, epsilon=1e-10),
        lambda: by_torch(lambda w: torch_optim.Adagrad(w, RATE, initial_accumulator_value=0.1)),
    ),
    "Adadelta": (
        lambda: optimizers.Adadelta(1.0, rho=0.9, epsilon=1e-6),
        lambda: by_torch(lambda w: torch_optim.Adadelta(w, 1.0, rho=0.9, eps=1e-6)),
    ),
    # Keras has epsilon under the root, as optax may have it and torch has not.
    "RMSprop": (
        lambda: optimizers.RMSprop(RATE, rho=0.9, epsilon=1e-8),
        lambda: by_optax(optax.rmsprop(RATE, decay=0.9, eps=1e-8, eps_in_sqrt=True)),
    ),
    "Adam": (lambda: optimizers.Adam(RATE, epsilon=1e-8), lambda: by_torch(lambda w: torch_optim.Adam(w, RATE))),
    "AdaMax": (
        lambda: optimizers.Adamax(RATE, epsilon=1e-8),
        lambda: by_torch(lambda w: torch_optim.Adamax(w, RATE, eps=1e-8)),
    ),
    "AdamW": (
        lambda: optimizers.AdamW(RATE, weight_decay=0.1, epsilon=1e-8),
        lambda: by_torch(lambda w: torch_optim.AdamW(w, RATE, weight_decay=0.1)),
    ),
    "the fused AdamW": (
        lambda: adamw(RATE, weight_decay=0.1, clip_norm=None, epsilon=1e-8),
        lambda: by_torch(lambda w: torch_optim.AdamW(w, RATE, weight_decay=0.1)),
    ),
}


@pytest.mark.parametrize("name", PAIRS)
def test_thirty_steps(name):
    ours, theirs = PAIRS[name]
    check_parity(f"{name}, {STEPS} steps", {"weight": by_keras(ours())}, {"weight": theirs()})


@pytest.mark.parametrize("by, threshold", [("value", 0.3), ("norm", 0.7), ("global_norm", 1.1)])
def test_clipping(by, threshold):
    """By value and by each weight's norm as torch has them, by all weights' norm as torch and TensorFlow do."""
    random = np.random.default_rng(0)
    gradients = [random.normal(size=shape).astype("float32") for shape in ((6, 4), (5,), (3, 2))]
    gradients[2] *= 1e-2  # what is small by itself stays, but for the norm of all
    optimizer = adamw(RATE, clip_norm=threshold, clip_by=by)
    found = optimizer._clip_gradients([tf.constant(gradient) for gradient in gradients])
    weights = [torch.nn.Parameter(torch.zeros(gradient.shape)) for gradient in gradients]
    for weight, gradient in zip(weights, gradients):
        weight.grad = torch.tensor(gradient)
    if by == "value":
        torch.nn.utils.clip_grad_value_(weights, threshold)
    elif by == "norm":
        for weight in weights:
            torch.nn.utils.clip_grad_norm_([weight], threshold)
    else:
        torch.nn.utils.clip_grad_norm_(weights, threshold)
    check_parity(f"clipping by {by}", dict(enumerate(found)), {n: weight.grad for n, weight in enumerate(weights)})
