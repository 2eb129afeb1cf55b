"""One layer of a Transformer: attention and feed-forward, each with a residual connection and a normalisation."""

import keras

from tfmodels.layers.base import Layer
from tfmodels.layers.normalization import LayerNorm


class TransformerBlock(Layer):
    """A Transformer layer made of the parts it is handed.

    With `norm_first=False`: x = norm(x + dropout(part(x))), as in the first Transformer and BERT. With
    `norm_first=True`: x = x + dropout(part(norm(x))), as in GPT-2 (pre-norm).

    Args:
        attention: A layer with the call signature of `MultiHeadAttention`.
        feed_forward: A layer from float[B, T, D] to float[B, T, D].
        dropout: fraction of each part's output dropped in training.
        norm_first: Where the normalisation stands.
        layer_norm_epsilon: Added to the variance.

    Call arguments:
        inputs: float[B, T, D].
        attention_mask: bool, broadcastable to [B, N, T, S], True = may attend.
        return_scores: Also return the attention logits.
        context: float[B, S, D], what the keys and values are made from, normalised as the inputs are; the default is
            the inputs.
        attention_inputs: A dict of what else the attention's call takes, or None.

    Returns:
        float[B, T, D]; with `return_scores` a pair of it and float32[B, N, T, S].
    """

    def __init__(self, attention, feed_forward, dropout=0.0, norm_first=False, layer_norm_epsilon=1e-12, **kwargs):
        super().__init__(**kwargs)
        self.attention = attention
        self.feed_forward = feed_forward
        self.dropout = dropout
        self.norm_first = norm_first
        self.layer_norm_epsilon = layer_norm_epsilon
        self.attention_norm = LayerNorm(layer_norm_epsilon, dtype=self.dtype_policy, name="attention_norm")
        self.feed_forward_norm = LayerNorm(layer_norm_epsilon, dtype=self.dtype_policy, name="feed_forward_norm")
        self.attention_drop = keras.layers.Dropout(dropout, dtype=self.dtype_policy, name="attention_drop")
        self.feed_forward_drop = keras.layers.Dropout(dropout, dtype=self.dtype_policy, name="feed_forward_drop")

    def build(self, input_shape):
        for part in (self.attention, self.feed_forward, self.attention_norm, self.feed_forward_norm):
            if not part.built:
                part.build(input_shape)
        self.built = True

    def call(
        self,
        inputs,
        attention_mask=None,
        return_scores=False,
        training=None,
        context=None,
        attention_inputs=None,
    ):
        x, scores = self.attended(inputs, attention_mask, return_scores, training, context, attention_inputs)
        residual = x
        if self.norm_first:
            x = self.feed_forward_norm(x)
        x = residual + self.feed_forward_drop(self.feed_forward(x), training=training)
        if not self.norm_first:
            x = self.feed_forward_norm(x)
        return (x, scores) if return_scores else x

    def attended(
        self,
        inputs,
        attention_mask=None,
        return_scores=False,
        training=None,
        context=None,
        attention_inputs=None,
    ):
        """The first half of the call: what its feed-forward network is given.

        Returns:
            A pair of float[B, T, D] and, with `return_scores`, float32[B, N, T, S], else None.
        """
        x = self.attention_norm(inputs) if self.norm_first else inputs
        attended = dict(attention_inputs or {})
        if context is not None:
            attended["value"] = self.attention_norm(context) if self.norm_first else context
        x = self.attention(x, attention_mask=attention_mask, return_scores=return_scores, training=training, **attended)
        x, scores = x if return_scores else (x, None)
        x = inputs + self.attention_drop(x, training=training)
        return x if self.norm_first else self.attention_norm(x), scores

    def compute_output_spec(
        self,
        inputs,
        attention_mask=None,
        return_scores=False,
        training=None,
        context=None,
        attention_inputs=None,
    ):
        output = keras.KerasTensor(inputs.shape, dtype=self.compute_dtype)
        if not return_scores:
            return output
        attended = dict(attention_inputs or {})
        if context is not None:
            attended["value"] = context
        _, scores = self.attention.compute_output_spec(
            inputs, attention_mask=attention_mask, return_scores=True, **attended
        )
        return output, scores
