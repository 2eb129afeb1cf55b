"""Tasks: a backbone and a head. Each is written once and takes any backbone of the library."""

import keras
from keras import ops

from tfmodels.errors import UserError
from tfmodels.layers.base import Layer
from tfmodels.layers.normalization import LayerNorm
from tfmodels.layers.projection import Projection
from tfmodels.models.backbone import token_inputs


class Task(keras.Model):
    """A functional Keras model: backbone, then head.

    Subclasses make the head in `make_head(backbone, **settings)`: a layer that takes one dict of the backbone's inputs
    and outputs and returns a dict of named outputs. Their other constructor arguments are kept in `settings`.

    Args:
        backbone: Any backbone of the library.
        settings: The head's settings, plain values or layers.
        name: The model's name.
    """

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        keras.saving.register_keras_serializable("tfmodels")(cls)

    def __init__(self, backbone, settings, name=None):
        head = self.make_head(backbone, **settings)
        tokens = token_inputs()
        inputs = {**tokens, **self.further_inputs(**settings)}
        super().__init__(inputs=inputs, outputs=head({**inputs, **backbone(tokens)}), name=name)
        self.backbone = backbone
        self.head = head
        self.settings = settings

    @classmethod
    def make_head(cls, backbone, **settings) -> keras.Layer:
        """The head's layer."""
        raise NotImplementedError

    @classmethod
    def further_inputs(cls, **settings) -> dict:
        """What the head sees beside the backbone's inputs and outputs: `keras.Input`s by name, none by default."""
        return {}

    def layer_groups(self) -> list:
        """The backbone's groups of layers, see `Backbone.layer_groups`; the head is of the last one."""
        *groups, top = self.backbone.layer_groups()
        return [*groups, [*top, self.head]]

    def predictions(self, outputs) -> dict:
        """The outputs that an export serves, in float32, by name."""
        return {name: ops.cast(value, "float32") for name, value in outputs.items()}

    def with_intermediates(self) -> keras.Model:
        """A model on the same layers and weights whose outputs add the backbone's named intermediates."""
        return self._on(self.backbone.with_intermediates(), f"{self.name}_intermediates")

    def with_attention_mask(self) -> keras.Model:
        """A model on the same layers and weights whose inputs add the mask of `Backbone.with_attention_mask`."""
        return self._on(self.backbone.with_attention_mask(), f"{self.name}_masked")

    def _on(self, model, name):
        """The head on a model that takes or returns more than the backbone; it does not see what is added."""
        inputs, features = model.input, model(model.input)
        further = {key: value for key, value in self.input.items() if key not in self.backbone.input}
        added = {key: value for key, value in features.items() if key not in self.backbone.output}
        known = {key: inputs[key] for key in self.backbone.input} | {key: features[key] for key in self.backbone.output}
        return keras.Model({**inputs, **further}, {**self.head({**further, **known}), **added}, name=name)

    def get_config(self):
        """The backbone and the head's settings."""
        settings = {
            name: keras.saving.serialize_keras_object(value) if isinstance(value, keras.Layer) else value
            for name, value in self.settings.items()
        }
        backbone = keras.saving.serialize_keras_object(self.backbone)
        return {"name": self.name, "backbone": backbone, **settings}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        """A task from `get_config`'s dictionary."""
        config = {
            name: keras.saving.deserialize_keras_object(value, custom_objects)
            if isinstance(value, dict) and "class_name" in value
            else value
            for name, value in config.items()
        }
        return cls(**config)


class _Head(Layer):
    """Dropout and a linear map, on float32 logits whatever the backbone's precision."""

    def __init__(self, units, dropout=0.0, pooling=None, use_bias=True, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.dropout = dropout
        self.pooling = pooling
        self.use_bias = use_bias
        self.drop = keras.layers.Dropout(dropout, dtype=self.dtype_policy, name="drop")
        self.logits = Projection(units, use_bias=use_bias, dtype="float32", name="logits")

    def build(self, features_shape):
        self.logits.build(features_shape[self._source][-1:])
        self.built = True

    def _project(self, x, training):
        return self.logits(ops.cast(self.drop(x, training=training), "float32"))


class _PooledHead(_Head):
    _source = "pooled_output"

    def build(self, features_shape):
        self.logits.build((None, self.pooled_dim(features_shape)))
        self.built = True

    def pooled_dim(self, features_shape):
        """The size of the vector that is classified: a pooling says by `units` where it is not D."""
        return getattr(self.pooling, "units", features_shape[self._source][-1])

    def call(self, features, training=None):
        pooled = features["pooled_output"] if self.pooling is None else self.pooling(features)
        return {"logits": self._project(pooled, training)}


class _TableHead(_PooledHead):
    """The pooled text and the columns side by side, through a hidden layer, so that each changes what others say."""

    def __init__(self, units, columns, hidden_dim, dropout, pooling, **kwargs):
        # Casting to half precision is left to the parts: `Columns` reads numbers as they are.
        super().__init__(units, dropout, pooling, autocast=False, **kwargs)
        self.columns = columns
        self.hidden_dim = hidden_dim
        self.join = Projection(hidden_dim, "gelu", dtype=self.dtype_policy, name="join")

    def build(self, features_shape):
        self.columns.build(None)
        self.join.build((None, self.pooled_dim(features_shape) + self.columns.width))
        self.logits.build((None, self.hidden_dim))
        self.built = True

    def call(self, features, training=None):
        pooled = features["pooled_output"] if self.pooling is None else self.pooling(features)
        row = self.columns({name: features[name] for name in self.columns.inputs()})
        joined = ops.concatenate([pooled, ops.cast(row, pooled.dtype)], axis=-1)  # [B, D + N + C E]
        return {"logits": self._project(self.join(joined), training)}


class _TokenHead(_Head):
    _source = "sequence_output"

    def call(self, features, training=None):
        return {"logits": self._project(features["sequence_output"], training)}


class _SpanHead(_TokenHead):
    def call(self, features, training=None):
        logits = super().call(features, training)["logits"]  # [B, T, 2]
        return {"start_logits": logits[..., 0], "end_logits": logits[..., 1]}


class TextClassifier(Task):
    """One class for a text or a pair of texts.

    Args:
        backbone: Any backbone of the library.
        num_classes: C.
        dropout: fraction of the pooled vector dropped in training.
        pooling: A layer from the backbone's features to float[B, D]; None for what the backbone's family classifies by,
            `pooled_output` unless it has a layer of its own (`Backbone.make_classifier_pooling`).
        name: The model's name.

    Returns:
        {"logits": float32[B, C]}; `predictions` adds "probabilities".

    Example:
    >>> import tfmodels
    >>> from tfmodels.models import TextClassifier
    >>> backbone = tfmodels.create_model("bert_tiny", num_layers=1, vocabulary_size=100)
    >>> TextClassifier(backbone, num_classes=3).output["logits"].shape
    (None, 3)
    """

    def __init__(self, backbone, num_classes, dropout=0.1, pooling=None, name=None):
        pooling = backbone.make_classifier_pooling(dropout) if pooling is None else pooling
        super().__init__(backbone, {"num_classes": num_classes, "dropout": dropout, "pooling": pooling}, name)

    @classmethod
    def make_head(cls, backbone, num_classes, dropout, pooling):
        use_bias = backbone.classifier_has_bias
        return _PooledHead(num_classes, dropout, pooling, use_bias, dtype=backbone.dtype_policy, name="head")

    def predictions(self, outputs):
        logits = ops.cast(outputs["logits"], "float32")
        return {"logits": logits, "probabilities": ops.softmax(logits, axis=-1)}


class TableClassifier(TextClassifier):
    """One class for a text and the columns of its row in a table: a price, a category, what others said.

    As a teacher it reads privileged features, columns that are known in training only (arXiv:1907.05171): see
    `tfmodels.distillation.Distiller`.

    Args:
        backbone: Any backbone of the library.
        num_classes: C.
        columns: A `layers.Columns`: which columns there are.
        hidden_dim: F, units that see text and columns together.
        dropout: fraction of them dropped in training.
        pooling: As for `TextClassifier`.
        name: The model's name.

    Call arguments:
        inputs: The backbone's, "numbers" float32[B, N] and "categories" int32[B, C], as the columns have them.

    Returns:
        {"logits": float32[B, C]}; `predictions` adds "probabilities".

    Example:
    >>> import tfmodels
    >>> from tfmodels.layers import Columns
    >>> from tfmodels.models import TableClassifier
    >>> backbone = tfmodels.create_model("bert_tiny", num_layers=1, vocabulary_size=100)
    >>> model = TableClassifier(backbone, num_classes=3, columns=Columns(means=[1.5], deviations=[0.5], sizes=[4]))
    >>> sorted(model.input)
    ['categories', 'numbers', 'padding_mask', 'segment_ids', 'token_ids']
    """

    def __init__(self, backbone, num_classes, columns, hidden_dim=64, dropout=0.1, pooling=None, name=None):
        pooling = backbone.make_classifier_pooling(dropout) if pooling is None else pooling
        settings = {"num_classes": num_classes, "columns": columns, "hidden_dim": hidden_dim, "dropout": dropout}
        super(TextClassifier, self).__init__(backbone, {**settings, "pooling": pooling}, name)

    @classmethod
    def make_head(cls, backbone, num_classes, columns, hidden_dim, dropout, pooling):
        return _TableHead(num_classes, columns, hidden_dim, dropout, pooling, dtype=backbone.dtype_policy, name="head")

    @classmethod
    def further_inputs(cls, columns, **settings):
        return columns.inputs()


class TokenClassifier(Task):
    """One class for every token.

    Args:
        backbone: Any backbone of the library.
        num_classes: C.
        dropout: fraction of each token's vector dropped in training.
        name: The model's name.

    Returns:
        {"logits": float32[B, T, C]}.
    """

    def __init__(self, backbone, num_classes, dropout=0.1, name=None):
        super().__init__(backbone, {"num_classes": num_classes, "dropout": dropout}, name)

    @classmethod
    def make_head(cls, backbone, num_classes, dropout):
        return _TokenHead(num_classes, dropout, dtype=backbone.dtype_policy, name="head")


class SpanClassifier(Task):
    """The first and the last token of an answer (SQuAD's form; arXiv:1810.04805, section 4.2).

    Args:
        backbone: Any backbone of the library.
        name: The model's name.

    Returns:
        {"start_logits": float32[B, T], "end_logits": float32[B, T]}.
    """

    def __init__(self, backbone, name=None):
        super().__init__(backbone, {}, name)

    @classmethod
    def make_head(cls, backbone):
        return _SpanHead(2, dtype=backbone.dtype_policy, name="head")


class _MaskedLMHead(Layer):
    """BERT's prediction head: a dense layer, a normalisation, and the embedding table transposed."""

    def __init__(self, embeddings, activation, layer_norm_epsilon, **kwargs):
        super().__init__(**kwargs)
        self.embeddings = embeddings
        self.activation = activation
        self.layer_norm_epsilon = layer_norm_epsilon
        width = embeddings.embedding_dim
        self.transform = Projection(width, activation, dtype=self.dtype_policy, name="transform")
        self.norm = LayerNorm(layer_norm_epsilon, dtype=self.dtype_policy, name="norm")

    def build(self, features_shape):
        shape = features_shape["sequence_output"]
        self.transform.build(shape)
        self.norm.build((*shape[:-1], self.transform.units))
        self.bias = self.add_weight(name="bias", shape=(self.embeddings.vocabulary_size,), initializer="zeros")
        self.built = True

    def call(self, features):
        x = self.norm(self.transform(features["sequence_output"]))
        table = ops.cast(self.embeddings.tokens, x.dtype)  # [V, E]
        return {"logits": ops.cast(ops.matmul(x, ops.transpose(table)), "float32") + ops.cast(self.bias, "float32")}


class MaskedLM(Task):
    """A distribution over the vocabulary at every position (arXiv:1810.04805, section 3.1).

    Args:
        backbone: A backbone whose `parts` hold `embeddings`, a `TextEmbedding`; the output layer shares its table.
        name: The model's name.

    Returns:
        {"logits": float32[B, T, V]}.
    """

    head_class = _MaskedLMHead

    def __init__(self, backbone, name=None):
        super().__init__(backbone, {}, name)

    @classmethod
    def make_head(cls, backbone):
        config = backbone.config
        return cls.head_class(
            backbone.parts["embeddings"],
            backbone.prediction_activation,
            config.layer_norm_epsilon,
            dtype=backbone.dtype_policy,
            name="head",
        )


class CausalLM(MaskedLM):
    """A distribution over the token that follows, at every position.

    Args:
        backbone: A backbone of BERT's kind whose attention is causal; the output layer is that of `MaskedLM`.
        name: The model's name.

    Returns:
        {"logits": float32[B, T, V]}: at t for the token at t + 1.

    Raises:
        UserError: The backbone sees the tokens that it is to tell.

    Example:
    >>> import tfmodels
    >>> from tfmodels.models import FullAttention
    >>> sizes = {"num_layers": 1, "vocabulary_size": 100}
    >>> backbone = tfmodels.create_model("bert_tiny", attention=FullAttention(causal=True), **sizes)
    >>> CausalLM(backbone).output["logits"].shape
    (None, None, 100)
    """

    def __init__(self, backbone, name=None):
        if not getattr(backbone.config, "is_causal", False):
            raise UserError(
                f"{backbone.name} sees the tokens that a language model is to tell: give it causal attention, such as "
                "attention=FullAttention(causal=True)."
            )
        super().__init__(backbone, name)


class _PairedHead(_MaskedLMHead):
    """The head of masked language modelling, and a class for the pair of texts."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.pair = _PooledHead(2, dtype=self.dtype_policy, name="pair")

    def build(self, features_shape):
        self.pair.build(features_shape)
        super().build(features_shape)

    def call(self, features):
        return {**super().call(features), "pair_logits": self.pair(features)["logits"]}


class PairedMaskedLM(MaskedLM):
    """Masked language modelling, and whether the second text follows the first: the two pre-training tasks of BERT.

    The pair's class is BERT's next sentence (arXiv:1810.04805, section 3.1) or ALBERT's sentence order
    (arXiv:1909.11942, section 3.1); 0 stands for a pair as it was written, as in transformers.

    Args:
        backbone: A backbone whose `parts` hold `embeddings`, a `TextEmbedding`; the output layer shares its table.
        name: The model's name.

    Returns:
        {"logits": float32[B, T, V], "pair_logits": float32[B, 2]}.
    """

    head_class = _PairedHead


class PairClassifier(Task):
    """Whether the second text follows the first: the pair's half of `PairedMaskedLM`, alone.

    The class 0 stands for a pair as it was written, as in transformers' heads of next sentence prediction.

    Args:
        backbone: Any backbone of the library with a pooler.
        name: The model's name.

    Returns:
        {"logits": float32[B, 2]}; `predictions` adds "probabilities".
    """

    def __init__(self, backbone, name=None):
        super().__init__(backbone, {}, name)

    @classmethod
    def make_head(cls, backbone):
        return _PooledHead(2, dtype=backbone.dtype_policy, name="head")

    predictions = TextClassifier.predictions


class _EmbedderHead(Layer):
    def __init__(self, pooling, normalize, **kwargs):
        super().__init__(**kwargs)
        self.pooling = pooling
        self.normalize = normalize

    def build(self, features_shape):
        self.built = True

    def call(self, features):
        pooled = ops.cast(features["pooled_output"] if self.pooling is None else self.pooling(features), "float32")
        return {"embedding": ops.normalize(pooled, axis=-1) if self.normalize else pooled}


class TextEmbedder(Task):
    """One vector for a text, to compare texts by (Sentence-BERT, arXiv:1908.10084).

    Args:
        backbone: Any backbone of the library.
        pooling: A layer from the backbone's features to float[B, D]; None for the backbone's own `pooled_output`.
        normalize: Whether vectors have length one, so that their inner product is their cosine.
        name: The model's name.

    Returns:
        {"embedding": float32[B, D]}.
    """

    def __init__(self, backbone, pooling=None, normalize=True, name=None):
        super().__init__(backbone, {"pooling": pooling, "normalize": normalize}, name)

    @classmethod
    def make_head(cls, backbone, pooling, normalize):
        return _EmbedderHead(pooling, normalize, dtype=backbone.dtype_policy, name="head")


class _DetectorHead(Layer):
    def __init__(self, units, activation, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.activation = activation
        self.transform = Projection(units, activation, dtype=self.dtype_policy, name="transform")
        self.logits = Projection(1, dtype="float32", name="logits")

    def build(self, features_shape):
        self.transform.build(features_shape["sequence_output"])
        self.logits.build((self.units,))
        self.built = True

    def call(self, features):
        x = ops.cast(self.transform(features["sequence_output"]), "float32")
        return {"logits": self.logits(x)[..., 0]}


class ReplacedTokenDetector(Task):
    """Whether a generator put another token in the place of the original (ELECTRA, arXiv:2003.10555, section 2).

    Args:
        backbone: Any backbone of the library whose configuration has an `activation`.
        name: The model's name.

    Returns:
        {"logits": float32[B, T]}, above 0 where a token looks replaced; `predictions` adds "probabilities".
    """

    def __init__(self, backbone, name=None):
        super().__init__(backbone, {}, name)

    @classmethod
    def make_head(cls, backbone):
        config = backbone.config
        return _DetectorHead(config.hidden_dim, config.activation, dtype=backbone.dtype_policy, name="head")

    def predictions(self, outputs):
        logits = ops.cast(outputs["logits"], "float32")
        return {"logits": logits, "probabilities": ops.sigmoid(logits)}
