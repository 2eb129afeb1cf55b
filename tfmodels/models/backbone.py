"""What every backbone shares: dicts in and out, a configuration, and named intermediates on request."""

import keras

from tfmodels.errors import UserError

_INPUTS = {"token_ids": "int32", "segment_ids": "int32", "padding_mask": "bool"}


@keras.saving.register_keras_serializable("tfmodels")
class TokenModel(keras.Model):
    """A functional model on `token_inputs`, beside others or none, which wants a token in every row.

    A family whose answer to no tokens means something says so by `reads_no_tokens`.
    """

    reads_no_tokens = False

    def call(self, inputs, training=None, mask=None, **kwargs):
        """See `keras.Model`.

        Raises:
            UserError: T is known to be 0, and no answer to that means anything.
        """
        if not self.reads_no_tokens and inputs["token_ids"].shape[1] == 0:
            raise UserError("there are no tokens in these rows: give every row at least one, if only of padding.")
        return super().call(inputs, training=training, mask=mask, **kwargs)


class Backbone(TokenModel):
    """A functional Keras model from token ids to vectors, with no head and no loss.

    A family states its configuration class, the layers that it is made of (`make_parts`) and how they are wired
    (`wire`). Wiring runs again, on the same layers, to give the model that also returns its intermediates.

    Args:
        config: The family's configuration.
        dtype: A Keras dtype policy for every layer, such as "mixed_bfloat16"; the default is Keras's.
        name: The model's name.
        shared: Layers of another backbone to use in place of its own, by their names among the parts. What is shared is
            not part of the configuration: a backbone that is saved and loaded alone has its own again.

    Call arguments:
        inputs: A dict of `token_ids` int32[B, T], `segment_ids` int32[B, T] and `padding_mask` bool[B, T], True at
            real tokens. Ids are from 0 to V - 1 and T is at most `max_length`. Ids are not looked at here, nor is T in
            a graph of unknown length: it would cost every step (`Batches.check` and `serving.export_savedmodel` do).
            TensorFlow refuses too large an id on a CPU and takes zeros for it on a GPU, JAX takes NaN; -1 is the last
            row of the table for both.

    Returns:
        A dict of `sequence_output` float[B, T, D] and `pooled_output` float[B, D].

    Raises:
        UserError: T is 0 or above `max_length`, where it is known.
    """

    config_class: type

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        keras.saving.register_keras_serializable("tfmodels")(cls)

    def __init__(self, config, *, dtype=None, name=None, shared=None):
        policy = keras.dtype_policies.get(dtype or keras.config.dtype_policy())
        parts = {**self.make_parts(config, policy), **(shared or {})}
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

    def make_classifier_pooling(self, dropout):
        """The layer between the features and a text classifier's logits, where the family has one of its own.

        Args:
            dropout: The rate of the classifier's head.

        Returns:
            A layer from the backbone's inputs and outputs, in one dict, to float[B, D]; None for `pooled_output`.
        """
        return

    @property
    def max_length(self):
        """The most tokens of a row, or None where positions have no end."""
        return None

    def layer_groups(self) -> list[list[keras.Layer]]:
        """The layers from the bottom to the top, as fine-tuning tells them apart: rates by depth, unfreezing.

        Returns:
            K + 2 lists: the embeddings and what else stands below the blocks, every block, and the pooler, which is
            empty where there is none. A layer that stands at several places is in several groups.
        """
        stacks = [part for part in self.parts.values() if isinstance(part, list)]
        others = {name: part for name, part in self.parts.items() if not isinstance(part, list)}
        pooler = [others.pop("pooler")] if "pooler" in others else []
        return [list(others.values()), *([layer] for stack in stacks for layer in stack), pooler]

    @property
    def hidden_dims(self) -> tuple[int, ...]:
        """The widths of `hidden_states`: D throughout, unless the family says otherwise."""
        return (self.config.hidden_dim,) * (self.config.num_layers + 1)

    @property
    def attention_heads(self) -> tuple[int, ...]:
        """The heads of each of `attention_scores`; empty where the family does not attend."""
        return (self.config.num_heads,) * self.config.num_layers

    @property
    def prediction_activation(self):
        """The name of the activation in the family's head of masked language modelling."""
        return self.config.activation

    @property
    def classifier_has_bias(self):
        """Whether a text classifier of the family adds a bias to its logits."""
        return True

    def with_intermediates(self) -> keras.Model:
        """A model on the same layers and weights whose outputs also hold the named intermediates.

        Returns:
            A model whose outputs add `hidden_states`, a tuple of K + 1 float[B, T, D] (the embeddings, then the output
            of each layer; `hidden_dims` are the widths where they differ), and `attention_scores`, a tuple of K
            float32[B, N, T, T], logits before mask and softmax (as many as `attention_heads`).
        """
        inputs = token_inputs()
        return TokenModel(inputs, self.wire(self.parts, inputs, intermediates=True), name=f"{self.name}_intermediates")

    def with_attention_mask(self) -> keras.Model:
        """A model on the same layers and weights that is told who may see whom, beside padding.

        Returns:
            A model whose inputs add `attention_mask` bool[B, 1 or N, T, T], True where the token of the third axis may
            attend to that of the fourth. Padding is never attended to, whatever the mask says. Every real token must
            see a real one, such as itself: a softmax over nothing is uniform over everything.

        Raises:
            UserError: The family's attention takes no such mask.
        """
        raise UserError(
            f"{type(self).__name__} takes no attention mask: use an encoder of BERT's kind, such as bert_tiny, or "
            "XLNet's two_streams with its permutation_mask."
        )

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

    def call(self, inputs, attention_mask=None, training=None, context=None, attention_inputs=None):
        arguments = _given(attention_mask=attention_mask, context=context, attention_inputs=attention_inputs)
        return self.block(inputs, return_scores=True, training=training, **arguments)

    def compute_output_spec(self, inputs, attention_mask=None, training=None, context=None, attention_inputs=None):
        arguments = _given(attention_mask=attention_mask, context=context, attention_inputs=attention_inputs)
        return self.block.compute_output_spec(inputs, return_scores=True, **arguments)


def _given(**arguments):
    """Without what is None, which not every block's call takes."""
    return {name: value for name, value in arguments.items() if value is not None}


def token_inputs() -> dict:
    """Symbolic inputs of any batch size and length, by name."""
    return {name: keras.Input((None,), dtype=dtype, name=name) for name, dtype in _INPUTS.items()}
