"""What a recurrent model remembers from one training step to the next (arXiv:1901.02860, section 3.2)."""

from keras import ops

from tfmodels.errors import UserError
from tfmodels.layers.base import Layer


class CarriedMemory(Layer):
    """The memory of every row of a batch, as variables without a gradient; checkpoints hold it.

    Its size is fixed, the backbone's `memory_length`: what is not remembered yet, or was padding, is masked.

    Args:
        backbone: A `RecurrentBackbone`.
        batch_size: rows, B.

    Raises:
        UserError: The backbone's memory has no bound.
    """

    def __init__(self, backbone, batch_size, **kwargs):
        super().__init__(**kwargs)
        if backbone.memory_length is None:
            raise UserError("memory that is carried from step to step needs a bound: set the backbone's memory_length.")
        self.backbone = backbone
        self.batch_size = batch_size

    def build(self, input_shape=None):
        shape = (self.batch_size, self.backbone.memory_length)
        settings = {"initializer": "zeros", "trainable": False, "autocast": False}
        # In float32 whatever the model computes in, so that any checkpoint can hold it.
        self.states = [
            self.add_weight(name=f"state_{index}", shape=(*shape, size), dtype="float32", **settings)
            for index, size in enumerate(self.backbone.memory_dims)
        ]
        self.is_real = self.add_weight(name="is_real", shape=shape, dtype="bool", **settings)
        self.built = True

    def read(self, inputs) -> dict:
        """What the model is given beside a batch.

        Args:
            inputs: The batch's inputs, with `is_start` bool[B], True where a row has no past.

        Returns:
            `memory`, a tuple of K float[B, M, D], and `memory_mask` bool[B, M].

        Raises:
            UserError: The batch has another number of rows.
        """
        is_start = inputs["is_start"]
        if is_start.shape[0] not in (None, self.batch_size):
            raise UserError(
                f"the memory is of {self.batch_size} rows and the batch has {is_start.shape[0]}: give both one size."
            )
        dtype = self.backbone.compute_dtype
        return {
            "memory": tuple(ops.cast(state, dtype) for state in self.states),
            "memory_mask": ops.logical_and(self.is_real, ops.logical_not(is_start)[:, None]),
        }

    def keep(self, inputs, memory) -> None:
        """Remembers what the model returned for a batch.

        Args:
            inputs: The batch's inputs.
            memory: K float[B, M, D], for the next batch.
        """
        was = self.read(inputs)["memory_mask"]
        self.is_real.assign(self.backbone.remembered_mask(was, inputs["padding_mask"]))
        for state, value in zip(self.states, memory):
            state.assign(ops.cast(value, "float32"))
