"""ERNIE 1.0 and 2.0 of Baidu: BERT that knows its task (Sun et al., arXiv:1904.09223 and arXiv:1907.12412).

ERNIE 1.0 is BERT's encoder, trained to restore words, phrases and entities. ERNIE 2.0 is trained on several tasks in
turn, and adds to every token's embedding a vector of the task at hand (arXiv:1907.12412, section 3.2). In use a model
reads for one task, which is its setting `task_id`; in fine-tuning any will do. In pre-training every batch names its
task: `with_task_ids`. The released English models of ERNIE 2.0 come without the tasks' vectors; give `num_tasks` for a
model with them.

Cost: BERT's.
"""

from __future__ import annotations

import dataclasses

import keras
from keras import ops

from tfmodels.errors import UserError
from tfmodels.layers.base import Layer, truncated_normal
from tfmodels.models.backbone import TokenModel, token_inputs
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


class ErnieBackbone(BertBackbone):
    """The ERNIE encoder with its pooler; see `Backbone` for inputs and outputs.

    Example:
    >>> import tfmodels
    >>> backbone = tfmodels.create_model("ernie2_base", num_layers=1, vocabulary_size=100, num_tasks=3, task_id=2)
    >>> tuple(backbone.parts["tasks"].tasks.shape)
    (3, 768)
    """

    config_class = ErnieConfig

    @classmethod
    def make_parts(cls, config, dtype):
        parts = super().make_parts(config, dtype)
        if config.num_tasks:
            size = config.embedding_dim or config.hidden_dim
            parts["tasks"] = TaskEmbedding(config.num_tasks, size, config.task_id, dtype=dtype, name="task_embedding")
        return parts

    @classmethod
    def wire(cls, parts, inputs, intermediates=False):
        def embed(*arguments):
            added = parts["tasks"](inputs["token_ids"], inputs.get("task_ids")) if "tasks" in parts else None
            return parts["embeddings"](*arguments, added=added)

        return super().wire({**parts, "embeddings": embed}, inputs, intermediates)

    def with_task_ids(self) -> keras.Model:
        """A model on the same layers and weights that is told the task of every row.

        Returns:
            A model whose inputs add `task_ids` int32[B].

        Raises:
            UserError: The encoder has no vectors of tasks.
        """
        if not self.config.num_tasks:
            raise UserError("this ERNIE has no vectors of tasks: give it num_tasks.")
        inputs = {**token_inputs(), "task_ids": keras.Input((), dtype="int32", name="task_ids")}
        return TokenModel(inputs, self.wire(self.parts, inputs), name=f"{self.name}_with_task_ids")


class TaskEmbedding(Layer):
    """A vector for each task (ERNIE 2.0, figure 3).

    Args:
        num_tasks: The number of tasks.
        embedding_dim: E.
        task_id: The task at hand where none is named.

    Call arguments:
        token_ids: int[B, T], whose vectors it is added to.
        task_ids: int[B], the task of every row, or None.

    Returns:
        float[B, 1, E]; float[1, 1, E] where no task is named.
    """

    def __init__(self, num_tasks, embedding_dim, task_id=0, **kwargs):
        super().__init__(**kwargs)
        self.num_tasks = num_tasks
        self.embedding_dim = embedding_dim
        self.task_id = task_id

    def build(self, token_ids_shape, task_ids_shape=None):
        shape = (self.num_tasks, self.embedding_dim)
        self.tasks = self.add_weight(name="tasks", shape=shape, initializer=truncated_normal())
        self.built = True

    def call(self, token_ids, task_ids=None):
        if task_ids is None:
            return self.tasks[self.task_id][None, None]  # [1, 1, E]
        return ops.take(self.tasks, task_ids, axis=0)[:, None]  # [B, 1, E]


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
