"""Reversible residual layers: what went in can be computed back from what came out (arXiv:1707.04585).

As Reformer uses them (arXiv:2001.04451, section 3): there are two streams, and a block changes each by the other,

    y1 = x1 + attention(x2)        y2 = x2 + feed_forward(y1)

so that x2 = y2 - feed_forward(y1) and x1 = y1 - attention(x2) (equations 8 and 9). A backward pass need not keep what
blocks compute: `training.recomputation` does without, which `fit` enters by `recompute=True`; on JAX, and without it,
activations are kept as everywhere and the gradients are the same. Keras has no operation that derives a function,
which such a backward pass is made of: it is TensorFlow's.

The streams are float32 whatever the layers compute in: of sums that were rounded to bfloat16 nothing comes back.

Cost: time of the attention and of the feed-forward network; memory O(B T D) for both streams, in whatever depth.
"""

import functools

import keras
from keras import ops

from tfmodels.layers.base import Layer
from tfmodels.layers.normalization import LayerNorm


class ReversibleBlock(Layer):
    """Attention and feed-forward, normalised first, each of which changes one stream by the other.

    Args:
        attention: A layer with the call signature of `MultiHeadAttention`.
        feed_forward: A layer from float[B, T, D] to float[B, T, D].
        dropout: fraction of each part's output dropped in training.
        layer_norm_epsilon: Added to the variance.

    Call arguments:
        first: float32[B, T, D], x1.
        second: float32[B, T, D], x2.
        attention_mask: What the attention takes.

    Returns:
        y1 and y2, two float32[B, T, D].
    """

    def __init__(self, attention, feed_forward, dropout=0.0, layer_norm_epsilon=1e-12, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.attention = attention
        self.feed_forward = feed_forward
        self.dropout = dropout
        self.layer_norm_epsilon = layer_norm_epsilon
        self.attention_norm = LayerNorm(layer_norm_epsilon, dtype=self.dtype_policy, name="attention_norm")
        self.feed_forward_norm = LayerNorm(layer_norm_epsilon, dtype=self.dtype_policy, name="feed_forward_norm")
        self.attention_drop = keras.layers.Dropout(dropout, dtype=self.dtype_policy, name="attention_drop")
        self.feed_forward_drop = keras.layers.Dropout(dropout, dtype=self.dtype_policy, name="feed_forward_drop")

    def build(self, first_shape, second_shape=None):
        for part in (self.attention, self.feed_forward, self.attention_norm, self.feed_forward_norm):
            if not part.built:
                part.build(first_shape)
        self.built = True

    def attended(self, x, attention_mask=None, training=None):
        """What is added to the first stream, float32[B, T, D] of the second one."""
        x = self.attention(self.attention_norm(x), attention_mask=attention_mask, training=training)
        return ops.cast(self.attention_drop(x, training=training), "float32")

    def fed_forward(self, x, training=None):
        """What is added to the second stream, float32[B, T, D] of the first one."""
        x = self.feed_forward(self.feed_forward_norm(x), training=training)
        return ops.cast(self.feed_forward_drop(x, training=training), "float32")

    def call(self, first, second, attention_mask=None, training=None):
        first = first + self.attended(second, attention_mask, training)
        return first, second + self.fed_forward(first, training)

    def compute_output_spec(self, first, second, attention_mask=None, training=None):
        return keras.KerasTensor(first.shape, dtype="float32"), keras.KerasTensor(first.shape, dtype="float32")


class ReversibleStack(Layer):
    """Reversible blocks on two streams, both of which begin as the inputs.

    Args:
        blocks: `ReversibleBlock`s; one instance may stand at several places.

    Call arguments:
        inputs: float[B, T, D].
        attention_mask: What the blocks' attention takes.
        return_states: Also return the second stream after each block but the last.

    Returns:
        float[B, T, 2 D], the streams side by side; with `return_states` a pair of it and a tuple of float[B, T, D].
    """

    def __init__(self, blocks, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.blocks = list(blocks)

    def get_config(self):
        return {**super().get_config(), "blocks": [keras.saving.serialize_keras_object(block) for block in self.blocks]}

    @classmethod
    def from_config(cls, config):
        blocks = [keras.saving.deserialize_keras_object(block) for block in config["blocks"]]
        return super().from_config({**config, "blocks": blocks})

    def build(self, inputs_shape):
        for block in self.blocks:
            if not block.built:
                block.build(inputs_shape)
        self.built = True

    def run(self, first, second, attention_mask=None, training=None):
        """The streams after each block: K pairs of float32[B, T, D]."""
        states = []
        for block in self.blocks:
            first, second = block(first, second, attention_mask=attention_mask, training=training)
            states.append((first, second))
        return states

    def call(self, inputs, attention_mask=None, training=None, return_states=False):
        inputs = ops.cast(inputs, "float32")
        # All states are only there where none is computed again: not by what `run` may have been replaced with.
        run = functools.partial(ReversibleStack.run, self) if return_states else self.run
        states = run(inputs, inputs, attention_mask, training)
        outputs = ops.cast(ops.concatenate(states[-1], axis=-1), self.compute_dtype)
        if not return_states:
            return outputs
        return outputs, tuple(ops.cast(second, self.compute_dtype) for _, second in states[:-1])

    def compute_output_spec(self, inputs, attention_mask=None, training=None, return_states=False):
        outputs = keras.KerasTensor((*inputs.shape[:-1], 2 * inputs.shape[-1]), dtype=self.compute_dtype)
        state = keras.KerasTensor(inputs.shape, dtype=self.compute_dtype)
        return (outputs, (state,) * (len(self.blocks) - 1)) if return_states else outputs
