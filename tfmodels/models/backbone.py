"""What every backbone shares: dicts in and out, a configuration, and named intermediates on request."""

import keras

_INPUTS = {"token_ids": "int32", "segment_ids": "int32", "padding_mask": "bool"}


class Backbone(keras.Model):
    """A functional Keras model from token ids to vectors, with no head and no loss.

    A family states its configuration class, the layers that it is made of (`make_parts`) and how they are wired
    (`wire`). Wiring runs again, on the same layers, to give the model that also returns its intermediates.

    Args:
        config: The family's configuration.
        dtype: A Keras dtype policy for every layer, such as "mixed_bfloat16"; the default is Keras's.
        name: The model's name.

    Call arguments:
        inputs: A dict of `token_ids` int32[B, T], `segment_ids` int32[B, T] and `padding_mask` bool[B, T], True at
            real tokens.

    Returns:
        A dict of `sequence_output` float[B, T, D] and `pooled_output` float[B, D].
    """

    config_class: type

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        keras.saving.register_keras_serializable("tfmodels")(cls)

    def __init__(self, config, *, dtype=None, name=None):
        policy = keras.dtype_policies.get(dtype or keras.config.dtype_policy())
        parts = self.make_parts(config, policy)
        inputs = token_inputs()
        super().__init__(inputs=inputs, outputs=self.wire(parts, inputs), name=name)
        self.config = config
        self.parts = parts
        self.dtype_policy = policy

    @classmethod
    def make_parts(cls, config, dtype) -> dict:
        """The layers, by name; lists of layers are allowed."""
        raise NotImplementedError

    @classmethod
    def wire(cls, parts, inputs, intermediates=False) -> dict:
        """Applies the parts to the inputs.

        Args:
            parts: What `make_parts` returned.
            inputs: The dict of inputs.
            intermediates: Also return `hidden_states` and `attention_scores`.

        Returns:
            The dict of outputs.
        """
        raise NotImplementedError

    def with_intermediates(self) -> keras.Model:
        """A model on the same layers and weights whose outputs also hold the named intermediates.

        Returns:
            A model whose outputs add `hidden_states`, a tuple of K + 1 float[B, T, D] (the embeddings, then the output
            of each layer), and `attention_scores`, a tuple of K float32[B, N, T, T], logits before mask and softmax.
        """
        inputs = token_inputs()
        return keras.Model(inputs, self.wire(self.parts, inputs, intermediates=True), name=f"{self.name}_intermediates")

    def get_config(self):
        """The configuration, from which `from_config` builds an equal backbone."""
        return {
            "name": self.name,
            "config": self.config.to_dict(),
            "dtype": keras.dtype_policies.serialize(self.dtype_policy),
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        """A backbone from `get_config`'s dictionary."""
        dtype = keras.dtype_policies.deserialize(config["dtype"])
        return cls(cls.config_class.from_dict(config["config"]), dtype=dtype, name=config["name"])


class WithScores(keras.layers.Layer):
    """A block's call that returns its attention scores too, as an operation of its own.

    Keras takes the number of an operation's outputs from its first call (3.15 refuses a model that says otherwise), and
    a block's first call in a backbone returns no scores.

    Args:
        block: A layer with the call signature of `TransformerBlock`.
    """

    def __init__(self, block):
        super().__init__(dtype=block.dtype_policy, name=f"{block.name}_with_scores")
        self.block = block

    def call(self, inputs, attention_mask=None, training=None):
        return self.block(inputs, attention_mask=attention_mask, return_scores=True, training=training)

    def compute_output_spec(self, inputs, attention_mask=None, training=None):
        return self.block.compute_output_spec(inputs, attention_mask=attention_mask, return_scores=True)


def token_inputs() -> dict:
    """Symbolic inputs of any batch size and length, by name."""
    return {name: keras.Input((None,), dtype=dtype, name=name) for name, dtype in _INPUTS.items()}
