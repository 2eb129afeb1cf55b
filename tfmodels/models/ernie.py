"""ERNIE 1.0 and 2.0 of Baidu: BERT that knows its task (Sun et al., arXiv:1904.09223 and arXiv:1907.12412).

ERNIE 1.0 is BERT's encoder, trained to restore words, phrases and entities. ERNIE 2.0 is trained on several tasks in
turn, and adds to every token's embedding a vector of the task at hand (arXiv:1907.12412, section 3.2). A model reads
for one task at a time, so that the task is a setting of the model, `task_id`, and not an input; in fine-tuning any will
do. The released English models of ERNIE 2.0 come without the tasks' vectors; give `num_tasks` for a model with them.

Cost: BERT's.
"""

from __future__ import annotations

import dataclasses

from tfmodels.errors import UserError
from tfmodels.layers.base import Layer, truncated_normal
from tfmodels.models.bert import BertBackbone, BertConfig
from tfmodels.models.config import Preset


@dataclasses.dataclass(frozen=True)
class ErnieConfig(BertConfig):
    """The sizes and rates of an ERNIE encoder; see `BertConfig`.

    Attributes:
        num_tasks: The number of tasks that have a vector; 0 for none, as in ERNIE 1.0.
        task_id: The task whose vector is added.
    """

    num_tasks: int = 0
    task_id: int = 0

    def __post_init__(self):
        super().__post_init__()
        if not 0 <= self.task_id < max(self.num_tasks, 1):
            raise UserError(f"task_id={self.task_id} is none of {self.num_tasks} tasks: choose one below num_tasks.")
        if self.num_tasks and self.positions != "absolute":
            raise UserError(f"tasks have vectors beside absolute positions only, not beside {self.positions!r}.")


class ErnieBackbone(BertBackbone):
    """The ERNIE encoder with its pooler; see `Backbone` for inputs and outputs.

    Example:
    >>> import tfmodels
    >>> backbone = tfmodels.create_model("ernie2_base", num_layers=1, vocabulary_size=100, num_tasks=3, task_id=2)
    >>> tuple(backbone.parts["embeddings"].positions.tasks.shape)
    (3, 768)
    """

    config_class = ErnieConfig

    @classmethod
    def make_positions(cls, config, dtype):
        positions = super().make_positions(config, dtype)
        if not config.num_tasks:
            return positions
        return WithTask(positions, config.num_tasks, config.task_id, dtype=dtype, name="with_task")


class WithTask(Layer):
    """Position vectors plus the vector of one task (ERNIE 2.0, figure 3).

    Args:
        positions: A layer that returns position vectors.
        num_tasks: The number of tasks.
        task_id: The task at hand.

    Call arguments:
        embeddings: float[B, T, D].
        padding_mask: bool[B, T], for `positions`.

    Returns:
        float, of the shape that `positions` returns.
    """

    def __init__(self, positions, num_tasks, task_id=0, **kwargs):
        super().__init__(**kwargs)
        self.positions = positions
        self.num_tasks = num_tasks
        self.task_id = task_id

    def build(self, input_shape):
        if not self.positions.built:
            self.positions.build(input_shape)
        self.tasks = self.add_weight(
            name="tasks", shape=(self.num_tasks, input_shape[-1]), initializer=truncated_normal()
        )
        self.built = True

    @property
    def embeddings(self):
        """The table of the positions."""
        return self.positions.embeddings

    def call(self, embeddings, padding_mask=None):
        return self.positions(embeddings, padding_mask) + self.tasks[self.task_id]

    def compute_output_shape(self, input_shape):
        return self.positions.compute_output_shape(input_shape)


def _ernie(layers, heads, hidden, **changes):
    return ErnieConfig(
        num_layers=layers,
        num_heads=heads,
        hidden_dim=hidden,
        intermediate_dim=4 * hidden,
        layer_norm_epsilon=1e-5,
        **changes,
    )


_TWO = "arXiv:1907.12412, section 4.1.2, and the released ernie-2.0-{base,large}-en"

BACKBONE = ErnieBackbone
PRESETS = {
    "ernie_base": Preset(
        _ernie(12, 12, 768, vocabulary_size=18_000, max_sequence_length=513, activation="relu"),
        99_866_112,
        "arXiv:1904.09223, section 4.1, and the released ernie-1.0-base-zh",
    ),
    "ernie2_base": Preset(_ernie(12, 12, 768, num_segments=4), 109_483_776, _TWO),
    "ernie2_large": Preset(_ernie(24, 16, 1024, num_segments=4), 335_143_936, _TWO),
}
