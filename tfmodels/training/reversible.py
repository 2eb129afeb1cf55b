"""The backward pass of reversible layers, which computes their inputs back from their outputs (arXiv:1707.04585).

    with recomputation(model):
        model.fit(...)

Of a whole `ReversibleStack` its two outputs alone are kept (arXiv:1707.04585, algorithm 1). Block by block from the
top, the backward pass computes a part again, takes the gradient through it, and subtracts it from what came out, which
gives what went in. Dropout draws the second time what it drew the first time: a part's state, its seeds among it, is
what it was. What a layer names in `kept` is not computed again: buckets of a hash, which the last bit of an activation
can change, are int32[B, N, R, T] a layer.

Cost: one more forward pass of the blocks; memory for the inside of one part and for two streams, in whatever depth.
"""

from __future__ import annotations

import contextlib

import keras
import tensorflow as tf

from tfmodels.layers import ReversibleStack


def run_reversibly(stack: ReversibleStack, plain, first, second, attention_mask=None, training=None):
    """`ReversibleStack.run` without its activations.

    Args:
        stack: The stack.
        plain: Its own `run`.
        first: float32[B, T, D].
        second: float32[B, T, D].
        attention_mask: What the blocks' attention takes.
        training: Whether this is training.

    Returns:
        The streams after the last block alone, in a list of one pair.
    """
    weights, state = stack.trainable_variables, stack.non_trainable_variables
    if not weights or any(isinstance(value, keras.KerasTensor) for value in (first, second)):
        return plain(first, second, attention_mask, training)
    # As they are, not as a policy computes with them: the layers cast them themselves.
    values = [tf.convert_to_tensor(weight._value) for weight in weights]
    places = {id(weight): place for place, weight in enumerate(weights)}
    before = [tf.identity(variable._value) for variable in state]

    @tf.custom_gradient
    def run(first, second, *values):
        passed = []
        with keras.StatelessScope([*zip(weights, values), *zip(state, before)]) as scope:
            for block in stack.blocks:
                attention = _Part(block, "attended", scope, attention_mask=attention_mask, training=training)
                first = first + attention.run(second)
                feed_forward = _Part(block, "fed_forward", scope, training=training)
                second = second + feed_forward.run(first)
                passed.append((attention, feed_forward))
        after = [scope.get_current_value(variable) for variable in state]

        def gradient(first_gradient, second_gradient, *_):
            sums = [None] * len(weights)

            def back(part, given, upstream):
                output, gradient, of_weights = part.again(given, upstream, weights, values)
                for weight, addend in of_weights:
                    place = places[id(weight)]
                    sums[place] = addend if sums[place] is None else sums[place] + addend
                return output, gradient

            y1, y2 = first, second
            for attention, feed_forward in reversed(passed):
                output, gradient = back(feed_forward, y1, second_gradient)
                y2, first_gradient = y2 - output, first_gradient + gradient
                # The sums before the next part begins, so that what this one has made is free.
                with tf.control_dependencies([first_gradient]):
                    y2 = tf.identity(y2)
                output, gradient = back(attention, y2, first_gradient)
                y1, second_gradient = y1 - output, second_gradient + gradient
                with tf.control_dependencies([second_gradient]):
                    y1 = tf.identity(y1)
            found = [tf.zeros_like(value) if s is None else s for s, value in zip(sums, values)]
            return [first_gradient, second_gradient, *found]

        return [first, second, *after], gradient

    first, second, *after = run(first, second, *values)
    for variable, value in zip(state, after):
        variable.assign(value)
    return [(first, second)]


class _Part:
    """One half of a block at one place: what it needs to be computed a second time."""

    def __init__(self, block, name, scope, **arguments):
        self._block, self._name, self._arguments = block, name, arguments
        # The first half alone draws rotations and the like, but both may drop out.
        self._state = [(variable, scope.get_current_value(variable)) for variable in block.non_trainable_variables]
        self._state = [(variable, variable._value if value is None else value) for variable, value in self._state]
        self._kept = {}

    def run(self, x):
        """The first time: what is to be kept is noted."""

        def note(key, method):
            def noting(*arguments, **settings):
                self._kept[key] = method(*arguments, **settings)
                return self._kept[key]

            return noting

        with _replaced(self._block, note):
            return self._compute(x)

    def again(self, x, upstream, weights, values):
        """The second time: the output, its gradient by x, and pairs of a weight and its gradient."""
        with tf.control_dependencies([upstream]), tf.GradientTape() as tape:
            x = tf.identity(x)
            mine = {id(weight) for weight in self._block.trainable_variables}
            pairs = [(weight, tf.identity(value)) for weight, value in zip(weights, values) if id(weight) in mine]
            tape.watch([x, *(value for _, value in pairs)])
            with (
                keras.StatelessScope([*pairs, *self._state]),
                _replaced(self._block, lambda key, _: lambda *arguments, **settings: self._kept[key]),
            ):
                output = self._compute(x)
        gradient, *found = tape.gradient(output, [x, *(value for _, value in pairs)], upstream)
        found = [(weight, g) for (weight, _), g in zip(pairs, found) if g is not None]
        # What the weights' gradients are made of must be free before another part begins.
        with tf.control_dependencies([g for _, g in found]):
            return tf.identity(output), tf.identity(gradient), found

    def _compute(self, x):
        return getattr(self._block, self._name)(x, **self._arguments)


@contextlib.contextmanager
def _replaced(block, replace):
    """While it lasts, the methods that layers of a block name in `kept` are `replace(key, method)`."""
    owners = [(layer, name) for layer in block._flatten_layers() for name in getattr(layer, "kept", ())]
    for layer, name in owners:
        setattr(layer, name, replace((id(layer), name), getattr(layer, name)))
    try:
        yield
    finally:
        for layer, name in owners:
            delattr(layer, name)
