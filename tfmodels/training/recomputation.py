"""Activations that are computed again in the backward pass instead of being kept (Chen et al., arXiv:1604.06174).

    with recomputation(model):
        model.fit(...)

Of every Transformer block only the input is kept; its inside is computed a second time when its gradient is due. The
layers, their weights and their names are what they were; a block that stands at several places (ALBERT) is computed
again at each of them. Of reversible layers not even the inputs are kept: see `training.reversible`.

`keras.RematScope` (3.12 on TensorFlow) takes no keyword arguments in a graph and no None outside of one, and what it
computes again draws new random numbers: the gradient would be that of another dropout than the forward pass had. Here
the state of a block, its seeds among it, is the second time what it was before the first.

Cost: one more forward pass of the blocks, a quarter to a third of a step; memory for the activations of one block and
the inputs of all.
"""

from __future__ import annotations

import contextlib
import functools

import keras
import tensorflow as tf

from tfmodels.layers import ReversibleStack, StarBlock, TransformerBlock
from tfmodels.training.reversible import run_reversibly


@contextlib.contextmanager
def recomputation(model: keras.Model, active: bool = True):
    """While it lasts, a model's Transformer blocks keep their inputs alone for the backward pass.

    Keras keeps the function of a step that it has traced: enter before `fit`, which traces a new one.

    Args:
        model: Any model of the library, a `Distiller` or a pre-trainer too.
        active: False leaves the model as it is.
    """
    layers = list(model._flatten_layers()) if active else []
    stacks = {id(layer): layer for layer in layers if isinstance(layer, ReversibleStack)}.values()
    blocks = {id(layer): layer for layer in layers if isinstance(layer, TransformerBlock | StarBlock)}.values()
    for block in blocks:
        block.call = functools.partial(_call, block, block.call)
    for stack in stacks:
        stack.run = functools.partial(run_reversibly, stack, stack.run)
    if active:
        model.train_function = None
    try:
        yield
    finally:
        for block in blocks:
            del block.call
        for stack in stacks:
            del stack.run
        if active:
            model.train_function = None


def _call(block, call, *args, **kwargs):
    """A block's call, of which the backward pass keeps the arguments."""
    leaves = tf.nest.flatten((args, kwargs), expand_composites=True)
    if not block.trainable_variables or any(isinstance(leaf, keras.KerasTensor) for leaf in leaves):
        return call(*args, **kwargs)
    places = [place for place, leaf in enumerate(leaves) if _has_gradient(leaf)]
    weights, state = block.trainable_variables, block.non_trainable_variables
    # As they are, not as a policy computes with them: the block casts them itself.
    given = [leaves[place] for place in places] + [tf.convert_to_tensor(weight._value) for weight in weights]
    before = [tf.identity(variable._value) for variable in state]

    def compute(function, given):
        """The outputs and the state afterwards."""
        inside = list(leaves)
        for place, value in zip(places, given):
            inside[place] = value
        some, others = tf.nest.pack_sequence_as((args, kwargs), inside)
        mapping = [*zip(weights, given[len(places) :]), *zip(state, before)]
        with keras.StatelessScope(mapping) as scope:
            outputs = function(*some, **others)
        return outputs, [scope.get_current_value(variable) for variable in state]

    structure = []

    @tf.custom_gradient
    def run(*given):
        outputs, after = compute(call, given)
        structure.append(outputs)
        flat = tf.nest.flatten(outputs)

        def gradient(*upstream):
            upstream = upstream[: len(flat)]
            # The second time must not begin before the gradient is there: what it makes would wait for it in memory.
            with tf.control_dependencies(upstream), tf.GradientTape() as tape:
                again = [tf.identity(value) for value in given]
                tape.watch(again)
                # Through Keras, which tells the parts that this is training.
                with _as_it_was(block, call):
                    outputs = tf.nest.flatten(compute(block, again)[0])
            return tape.gradient(outputs, again, list(upstream))

        return [*flat, *after], gradient

    results = run(*given)
    outputs = tf.nest.pack_sequence_as(structure[-1], results[: len(results) - len(state)])
    for variable, value in zip(state, results[len(results) - len(state) :]):
        variable.assign(value)
    return outputs


@contextlib.contextmanager
def _as_it_was(block, call):
    patched, block.call = block.call, call
    try:
        yield
    finally:
        block.call = patched


def _has_gradient(leaf):
    return tf.is_tensor(leaf) and leaf.dtype.is_floating
