"""What a Transformer needs to read entities beside tokens (ERNIE of Tsinghua: Zhang et al., arXiv:1905.07129)."""

import keras
from keras import ops

from tfmodels.layers.attention import MultiHeadAttention
from tfmodels.layers.base import Layer, truncated_normal
from tfmodels.layers.normalization import LayerNorm
from tfmodels.layers.projection import Projection
from tfmodels.ops import padding


class EntityEmbedding(Layer):
    """The vectors of a knowledge graph's entities, which training leaves as they are (section 3.4).

    Entities are numbered from 1; 0 is no entity.

    Args:
        num_entities: The number of entities.
        entity_dim: E.

    Call arguments:
        entities: int[B, T].

    Returns:
        float[B, T, E], zeros where there is no entity.
    """

    def __init__(self, num_entities, entity_dim, **kwargs):
        super().__init__(**kwargs)
        self.num_entities = num_entities
        self.entity_dim = entity_dim

    def build(self, entities_shape=None):
        shape = (self.num_entities, self.entity_dim)
        self.vectors = self.add_weight(name="vectors", shape=shape, initializer=truncated_normal(), trainable=False)
        self.built = True

    def call(self, entities):
        found = ops.take(self.vectors, ops.maximum(entities - 1, 0), axis=0)  # [B, T, E]
        return found * ops.cast(entities > 0, found.dtype)[..., None]

    def compute_output_shape(self, entities_shape):
        return (*entities_shape, self.entity_dim)


class Aggregator(Layer):
    """A layer of BERT in which a token and the entity that it names tell each other what they know (section 3.3).

    With tokens w and entities e, both after attention to their like, residual and normalisation (equation 4):
    h_j = gelu(W_t' w_j + W_e' e_k + b') where token j names entity k, and without the entity's term elsewhere; then
    w_j = norm(w_j + W_t h_j + b_t) and e_k = norm(e_k + W_e h_j + b_e) (equations 5 and 6). Where the paper applies
    the activation again, the released code has the residual and the normalisation, so that the tokens' side is a layer
    of BERT and takes its weights: so here.

    Args:
        block: A `TransformerBlock` of a `FeedForward` network, normalised after its parts: the tokens' side.
        entity_dim: E.
        num_heads: Heads of the attention between entities.
        attention_dropout: fraction of that attention's weights dropped in training.

    Call arguments:
        tokens: float[B, T, D].
        entities: float[B, T, E], at the first token that names each.
        is_entity: bool[B, T], where there is one.
        attention_mask: bool, broadcastable to [B, N, T, S], who of the tokens may attend to whom.

    Returns:
        A pair of float[B, T, D] and float[B, T, E]; what stands in the second one where there is no entity means
        nothing.
    """

    def __init__(self, block, entity_dim, num_heads, attention_dropout=0.0, **kwargs):
        super().__init__(**kwargs)
        self.block = block
        self.entity_dim = entity_dim
        self.num_heads = num_heads
        self.attention_dropout = attention_dropout
        dtype, epsilon = self.dtype_policy, block.layer_norm_epsilon
        self.entity_attention = MultiHeadAttention(
            num_heads, entity_dim, dropout=attention_dropout, dtype=dtype, name="entity_attention"
        )
        self.entity_attention_norm = LayerNorm(epsilon, dtype=dtype, name="entity_attention_norm")
        self.from_entity = Projection(
            block.feed_forward.intermediate_dim, use_bias=False, dtype=dtype, name="from_entity"
        )
        self.to_entity = Projection(entity_dim, dtype=dtype, name="to_entity")
        self.entity_norm = LayerNorm(epsilon, dtype=dtype, name="entity_norm")
        self.entity_drop = keras.layers.Dropout(block.dropout, dtype=dtype, name="entity_drop")

    def build(self, tokens_shape, entities_shape=None, is_entity_shape=None):
        if not self.block.built:
            self.block.build(tokens_shape)
        shape = (*tokens_shape[:-1], self.entity_dim)
        for part in (self.entity_attention, self.entity_attention_norm, self.from_entity, self.entity_norm):
            part.build(shape)
        self.to_entity.build((*tokens_shape[:-1], self.block.feed_forward.intermediate_dim))
        self.built = True

    def call(self, tokens, entities, is_entity, attention_mask=None, training=None):
        block, network = self.block, self.block.feed_forward
        tokens, _ = block.attended(tokens, attention_mask, training=training)
        heard = self.entity_attention(entities, attention_mask=padding(is_entity), training=training)
        entities = self.entity_attention_norm(entities + self.entity_drop(heard, training=training))
        told = self.from_entity(entities) * ops.cast(is_entity, entities.dtype)[..., None]  # [B, T, F]
        hidden = network.hidden(tokens, added=told, training=training)  # [B T, F]
        output = block.feed_forward_drop(network.from_hidden(hidden, tokens, training=training), training=training)
        back = ops.reshape(self.to_entity(hidden), ops.shape(entities))  # [B, T, E]
        return (
            block.feed_forward_norm(tokens + output),
            self.entity_norm(entities + self.entity_drop(back, training=training)),
        )

    def compute_output_spec(self, tokens, entities, is_entity, attention_mask=None, training=None):
        return tuple(keras.KerasTensor(tensor.shape, dtype=self.compute_dtype) for tensor in (tokens, entities))
