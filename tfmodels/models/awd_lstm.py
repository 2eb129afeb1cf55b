"""AWD-LSTM: a language model of regularised LSTMs (Merity et al., arXiv:1708.02182), which ULMFiT fine-tunes.

Embeddings of D numbers, K LSTMs of which the last one has D units again, so that the softmax can share the embedding's
table (`TiedLM`). The regularisation is dropout throughout (`layers.recurrent`): of the recurrent weights, of whole
words, and of what every LSTM reads, by masks that all steps of a row share. ULMFiT (Howard and Ruder,
arXiv:1801.06146) is this model, fine-tuned as a language model on the task's texts and then as a classifier with
concatenated pooling; `FitConfig(layer_decay=1 / 2.6, unfreezing="gradual", schedule="slanted_triangular")` is how.

What differs: one bias an LSTM, where the authors' code, cuDNN's, has two that are only ever added; no activation
regularisation (section 4.6) and no averaged SGD (section 3.2). The backbone reads one stretch of text; `with_memory` is
the same model with the LSTMs' states in and out. `pooled_output` is the last real token's vector; segment ids are not
used.

Cost: time O(B T (D F + F^2)) a layer, in T steps that wait for each other; memory O(B T F).
"""

from __future__ import annotations

import dataclasses

import keras
from keras import ops

from tfmodels.layers import ConcatPooling, LastTokenPooling, Projection, WeightDropLSTM, WordDropout, WordVectors
from tfmodels.layers.base import Layer
from tfmodels.models.config import Config, Preset
from tfmodels.models.transformer_xl import RecurrentBackbone, RecurrentLM, TiedHead


@dataclasses.dataclass(frozen=True)
class AwdLSTMConfig(Config):
    """The sizes and rates of an AWD-LSTM.

    Attributes:
        vocabulary_size: V.
        num_layers: K.
        hidden_dim: D, of the embeddings and of the last LSTM.
        intermediate_dim: F, of the other LSTMs.
        word_dropout: fraction of the vocabulary left out.
        input_dropout: fraction dropped of what the first LSTM reads.
        layer_dropout: fraction dropped between LSTMs.
        output_dropout: fraction dropped of the last LSTM's output.
        weight_dropout: fraction of the recurrent weights dropped.
        classifier_dim: The size of the hidden layer of a text classifier's head.
    """

    vocabulary_size: int = 10_000
    num_layers: int = 3
    hidden_dim: int = 400
    intermediate_dim: int = 1150
    word_dropout: float = 0.1
    input_dropout: float = 0.4
    layer_dropout: float = 0.3
    output_dropout: float = 0.4
    weight_dropout: float = 0.5
    classifier_dim: int = 50

    @property
    def units(self) -> tuple[int, ...]:
        """The units of every LSTM."""
        return (self.intermediate_dim,) * (self.num_layers - 1) + (self.hidden_dim,)


class AwdLSTMBackbone(RecurrentBackbone):
    """The AWD-LSTM; see `Backbone` for inputs and outputs.

    Its memory is of one place: `with_memory` takes K float[B, M, 2 F], h and c side by side of the layer's F units, M
    being 0 or 1.

    Example:
    >>> import tfmodels
    >>> backbone = tfmodels.create_model("awd_lstm_penn_treebank", vocabulary_size=100, intermediate_dim=32)
    >>> [size // 2 for size in backbone.memory_dims]
    [32, 32, 400]
    """

    config_class = AwdLSTMConfig

    @classmethod
    def make_parts(cls, config, dtype):
        def drop(rate, name):
            return keras.layers.SpatialDropout1D(rate, dtype=dtype, name=name)

        return {
            "embeddings": WordVectors(config.vocabulary_size, config.hidden_dim, dtype=dtype, name="embeddings"),
            "word_drop": WordDropout(config.vocabulary_size, config.word_dropout, dtype=dtype, name="word_drop"),
            "input_drop": drop(config.input_dropout, "input_drop"),
            **({"layer_drop": drop(config.layer_dropout, "layer_drop")} if config.num_layers > 1 else {}),
            "output_drop": drop(config.output_dropout, "output_drop"),
            "layers": [
                WeightDropLSTM(units, config.weight_dropout, dtype=dtype, name=f"layer_{index}")
                for index, units in enumerate(config.units)
            ],
            "last": LastTokenPooling(dtype=dtype, name="last"),
        }

    @classmethod
    def wire(cls, parts, inputs, intermediates=False):
        token_ids, is_real, memory = inputs["token_ids"], inputs["padding_mask"], inputs.get("memory")
        x = parts["word_drop"](parts["embeddings"](token_ids, inputs["segment_ids"]), token_ids)
        hidden_states, remembered = [x], []
        drops = [parts["input_drop"]] + [parts.get("layer_drop")] * (len(parts["layers"]) - 1)
        for index, (drop, lstm) in enumerate(zip(drops, parts["layers"])):
            before = None if memory is None else _state(memory[index], inputs.get("memory_mask"))
            states = lstm(drop(x), is_real, state=before)
            remembered.append(ops.stop_gradient(states[:, -1:]))
            x = states[..., : lstm.units]
            hidden_states.append(x)
        x = hidden_states[-1] = parts["output_drop"](x)
        outputs = {
            "sequence_output": x,
            "pooled_output": parts["last"]({"sequence_output": x, "padding_mask": is_real}),
        }
        if memory is not None:
            outputs["memory"] = tuple(remembered)
        if intermediates:
            outputs |= {"hidden_states": tuple(hidden_states), "attention_scores": ()}
        return outputs

    @property
    def hidden_dims(self):
        return (self.config.hidden_dim, *self.config.units)

    @property
    def attention_heads(self):
        return ()

    @property
    def memory_length(self):
        return 1

    @property
    def memory_dims(self):
        return tuple(2 * units for units in self.config.units)

    def remembered_mask(self, memory_mask, padding_mask):
        """There is a state after the first real token."""
        both = ops.concatenate([memory_mask, padding_mask], axis=1)
        return ops.any(both, axis=1, keepdims=True)

    def make_classifier_pooling(self, dropout):
        return UlmfitPooling(self.config.classifier_dim, dropout, dtype=self.dtype_policy, name="pooling")


def _state(memory, mask):
    """The state before the first token, float[B, 2 F]: zeros where nothing is remembered, be it masked or not there."""
    if mask is not None:
        memory = memory * ops.cast(mask, memory.dtype)[..., None]
    return ops.sum(memory, axis=1)


class UlmfitPooling(Layer):
    """ULMFiT's head up to the last dropout: `norm(relu(dropout(norm(pooled)) W + b))` (arXiv:1801.06146, section 3.3).

    `pooled` is that of `ConcatPooling`, and both norms are batch normalisations.

    Args:
        units: The size of the result, 50 in the paper.
        dropout: fraction of the pooled vector dropped in training.

    Call arguments:
        features: A backbone's outputs and inputs in one dict.

    Returns:
        float[B, units].
    """

    def __init__(self, units=50, dropout=0.0, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.dropout = dropout
        self.pooling = ConcatPooling(dtype=self.dtype_policy, name="pooling")
        # The authors' settings: by Keras's the averages need a thousand steps, and fine-tuning is over before.
        norm = {"momentum": 0.9, "epsilon": 1e-5, "dtype": self.dtype_policy}
        self.pooled_norm = keras.layers.BatchNormalization(**norm, name="pooled_norm")
        self.drop = keras.layers.Dropout(dropout, dtype=self.dtype_policy, name="drop")
        self.dense = Projection(units, "relu", dtype=self.dtype_policy, name="dense")
        self.norm = keras.layers.BatchNormalization(**norm, name="norm")

    def build(self, features_shape):
        size = 3 * features_shape["sequence_output"][-1]
        self.pooled_norm.build((None, size))
        self.dense.build((None, size))
        self.norm.build((None, self.units))
        self.built = True

    def call(self, features, training=None):
        pooled = self.pooled_norm(self.pooling(features), training=training)
        return self.norm(self.dense(self.drop(pooled, training=training)), training=training)


class TiedLM(RecurrentLM):
    """The next token's logits at every position, by the embedding's table transposed (arXiv:1708.02182, section 4.5).

    Args:
        backbone: An `AwdLSTMBackbone`.
        name: The model's name.

    Returns:
        {"logits": float32[B, T, V]}.
    """

    def __init__(self, backbone, name=None):
        super().__init__(backbone, {}, name)

    @classmethod
    def make_head(cls, backbone):
        config = backbone.config
        return TiedHead(backbone.parts["embeddings"], config.vocabulary_size, dtype=backbone.dtype_policy, name="head")


BACKBONE = AwdLSTMBackbone
# Beside the vocabulary's rows, 400 numbers each, the LSTMs have 20,200,800: 10,800 fewer than the authors' code, which
# has two biases. With the softmax's bias the paper's tables give 24M and 33M.
PRESETS = {
    "awd_lstm_penn_treebank": Preset(AwdLSTMConfig(), 24_200_800, "arXiv:1708.02182, table 1"),
    "awd_lstm_wikitext2": Preset(
        AwdLSTMConfig(vocabulary_size=33_278, input_dropout=0.65), 33_512_000, "arXiv:1708.02182, table 2"
    ),
    "ulmfit": Preset(
        AwdLSTMConfig(vocabulary_size=238_462, word_dropout=0.05, output_dropout=0.4),
        115_585_600,
        "arXiv:1801.06146, section 4.1, and the released fwd_wt103",
    ),
}
