"""The survey's normalisations, Keras's and ours, beside torch's: outputs, moving averages and gradients."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import torch

from tests.support import check_parity
from tfmodels.layers import LayerNorm

pytestmark = pytest.mark.parity

B, T, D = 5, 7, 12

# Channels stand last in Keras and second in torch. None of the pairs shares a default epsilon.
PAIRS = {
    "batch": (lambda: keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5), lambda: torch.nn.BatchNorm1d(D)),
    "layer": (lambda: LayerNorm(1e-5), lambda: torch.nn.LayerNorm(D)),
    "instance": (
        lambda: keras.layers.GroupNormalization(groups=-1, epsilon=1e-5),
        lambda: torch.nn.InstanceNorm1d(D, affine=True),
    ),
    "group": (lambda: keras.layers.GroupNormalization(groups=3, epsilon=1e-5), lambda: torch.nn.GroupNorm(3, D)),
    "rms": (lambda: keras.layers.RMSNormalization(epsilon=1e-5), lambda: torch.nn.RMSNorm(D, eps=1e-5)),
}


@pytest.mark.parametrize("name", PAIRS)
def test_outputs_and_gradients(name):
    layer, reference = (make() for make in PAIRS[name])
    random = np.random.default_rng(0)
    inputs = random.normal(1.5, 2.0, size=(B, T, D)).astype("float32")
    upstream = random.normal(size=(B, T, D)).astype("float32")
    layer.build(inputs.shape)
    weights = {"weight": layer.trainable_variables[0]}
    if len(layer.trainable_variables) > 1:
        weights["bias"] = layer.trainable_variables[1]
    for key, variable in weights.items():
        value = random.normal(size=D).astype("float32")
        variable.assign(value)
        getattr(reference, key).data = torch.tensor(value)

    ours = tf.Variable(inputs)
    with tf.GradientTape() as tape:
        output = layer(ours, training=True)
        total = tf.reduce_sum(output * upstream)
    gradients = tape.gradient(total, [ours, *(variable.value for variable in weights.values())])

    last = name in ("layer", "rms")
    theirs = torch.tensor(inputs, requires_grad=True)
    expected = reference(theirs if last else theirs.transpose(1, 2))
    expected = expected if last else expected.transpose(1, 2)
    (expected * torch.tensor(upstream)).sum().backward()
    found = [theirs.grad, *(getattr(reference, key).grad for key in weights)]
    names = [f"gradient of {key}" for key in ("inputs", *weights)]
    check_parity(
        f"{name} normalisation",
        {"output": output, **dict(zip(names, gradients))},
        {"output": expected.detach(), **dict(zip(names, found))},
    )


def test_batch_normalisation_keeps_the_same_averages():
    layer, reference = (make() for make in PAIRS["batch"])
    random = np.random.default_rng(0)
    size = B * T
    for _ in range(6):
        inputs = random.normal(1.5, 2.0, size=(B, T, D)).astype("float32")
        layer(inputs, training=True)
        reference(torch.tensor(inputs).transpose(1, 2))
    # torch averages the unbiased variance, Keras the biased one; both begin at 1.
    kept = 0.9**6
    ours = (layer.moving_variance.numpy() - kept) * size / (size - 1) + kept
    check_parity(
        "batch normalisation, averages",
        {"mean": layer.moving_mean.numpy(), "variance": ours},
        {"mean": reference.running_mean, "variance": reference.running_var},
    )
    held_out = random.normal(size=(B, T, D)).astype("float32")
    mean, variance = layer.moving_mean.numpy(), layer.moving_variance.numpy()
    expected = (held_out - mean) / np.sqrt(variance + 1e-5)
    check_parity("batch normalisation, inference", {"output": layer(held_out, training=False)}, {"output": expected})
