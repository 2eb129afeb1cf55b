"""Floating-point operations of a training step, counted as TensorFlow executes it."""

from __future__ import annotations

import math
from collections.abc import Callable

import tensorflow as tf
from tensorflow.python.framework import op_callbacks


def count_operations(step: Callable[[], object]) -> int:
    """The multiplications and additions of all matrix products that a function executes eagerly, gradients included.

    Everything else, such as softmax and normalisation, is a few operations a number and is left out.

    Args:
        step: What to execute, once.

    Returns:
        The number of operations: 2 m k n for each product of [m, k] and [k, n].
    """
    total = 0

    def add(op_type, inputs, attributes, outputs, op_name=None, graph=None):
        nonlocal total
        values = {} if attributes is None else dict(zip(attributes[::2], attributes[1::2]))
        name = tf.compat.as_str(op_type)
        if name == "Einsum":
            terms = tf.compat.as_str(values["equation"]).partition("->")[0].split(",")
            sizes = {label: size for term, array in zip(terms, inputs) for label, size in zip(term, array.shape)}
            total += 2 * math.prod(sizes.values())
        elif "MatMul" in name:
            transposed = values.get("transpose_a", values.get("adj_x", False))
            total += 2 * math.prod(outputs[0].shape) * inputs[0].shape[-2 if transposed else -1]

    op_callbacks.add_op_callback(add)
    try:
        step()
    finally:
        op_callbacks.remove_op_callback(add)
    return total


def training_operations(model, inputs, targets) -> int:
    """The operations of one training step of a model with a loss of its own, but for the optimizer's."""

    def step():
        with tf.GradientTape() as tape:
            loss = model.compute_loss(inputs, targets, model(inputs, training=True), training=True)
        tape.gradient(loss, model.trainable_variables)

    return count_operations(step)
