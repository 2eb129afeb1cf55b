"""Where a student starts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tfmodels.errors import UserError
from tfmodels.models import Backbone, Task

# The spread of the student's embedding vectors: larger than the initialiser's 0.02, so that what they say is heard
# beside the random position and segment vectors.
_SPREAD = 0.05


def token_states(teacher: Task, *, first: int, last: int, batch_size: int = 512) -> np.ndarray:
    """What the teacher makes of each token alone: its last hidden state at the token in `first token last`.

    Args:
        teacher: The fine-tuned task.
        first: The id of the token that begins a row ([CLS] in BERT).
        last: The id of the token that ends a row ([SEP] in BERT).
        batch_size: rows.

    Returns:
        float32[V, D].
    """
    size = teacher.backbone.config.vocabulary_size
    rows = np.stack([np.full(size, first), np.arange(size), np.full(size, last)], axis=1).astype("int32")  # [V, 3]
    inputs = {"token_ids": rows, "segment_ids": np.zeros_like(rows), "padding_mask": np.ones(rows.shape, bool)}
    outputs = teacher.backbone.predict(inputs, batch_size=batch_size, verbose=0)
    return outputs["sequence_output"][:, 1].astype("float32")


def embed_like_teacher(
    student: Task,
    teacher: Task,
    *,
    first: int,
    last: int,
    batch_size: int = 512,
    states: np.ndarray | None = None,
) -> None:
    """Sets the student's token vectors to the principal components of what the teacher makes of each token alone.

    The teacher reads `first token last` for every token of the vocabulary; its last hidden state at the token, which
    after fine-tuning tells much of the class, is reduced to the student's embedding size. Words that the training rows
    lack so begin where the teacher sees them. Cost: one pass of the teacher over 3 V tokens.

    Args:
        student: A task whose backbone's `parts` hold `embeddings`; its vocabulary is the teacher's.
        teacher: The fine-tuned task.
        first: The id of the token that begins a row ([CLS] in BERT).
        last: The id of the token that ends a row ([SEP] in BERT).
        batch_size: rows.
        states: What `token_states` returned for this teacher; None asks it.

    Raises:
        UserError: The vocabularies differ, or the student's vectors are wider than the teacher's hidden states.
    """
    embeddings = student.backbone.parts["embeddings"]
    size, width = embeddings.tokens.shape
    vocabulary_size = teacher.backbone.config.vocabulary_size
    if size != vocabulary_size:
        raise UserError(f"the student knows {size} tokens and the teacher {vocabulary_size}: they must share them.")
    hidden_dim = teacher.backbone.config.hidden_dim
    if width > hidden_dim:
        raise UserError(f"vectors of {width} components cannot be made from the teacher's {hidden_dim}.")
    if states is None:
        states = token_states(teacher, first=first, last=last, batch_size=batch_size)
    states = states - states.mean(axis=0)  # [V, D]
    # The eigenvectors of the covariance, largest first: cheaper than the singular vectors of a tall matrix.
    _, directions = np.linalg.eigh(states.T @ states)
    vectors = states @ directions[:, ::-1][:, :width]  # [V, E]
    embeddings.tokens.assign(vectors / vectors.std() * _SPREAD)


def from_layers(teacher: Task | Backbone, layers: Sequence[int], name: str | None = None) -> Task | Backbone:
    """A student that is some of its teacher's layers, with the teacher's weights.

    DistilBERT (arXiv:1910.01108, section 3) takes every second layer and the embeddings; here the pooler and a task's
    head come along too. The widths are the teacher's, so that `CosineHiddenStates` needs no map. DistilBERT's triple
    loss, with a `MaskedLM` on either side and labels at masked tokens, is

        Distiller(student, teacher, [SoftLabels(2.0, weight=5.0), CosineHiddenStates({3: 6})], hard_label_weight=2.0)

    Args:
        teacher: A task or a backbone whose `parts` hold its layers as `blocks`.
        layers: The teacher's layers in the student's order, each from 0.
        name: The student's name; the default is the teacher's.

    Returns:
        A model of the teacher's class. Weights are copied, not shared.

    Raises:
        UserError: The family has no such layers, or the teacher does not have one that is named.

    Example:
    >>> import tfmodels
    >>> from tfmodels.distillation import from_layers
    >>> teacher = tfmodels.create_model("minilm_l6", vocabulary_size=100)
    >>> from_layers(teacher, [0, 2, 4]).config.num_layers
    3
    """
    backbone = getattr(teacher, "backbone", teacher)
    if "blocks" not in backbone.parts:
        raise UserError(f"{type(backbone).__name__} has no layers to choose from: take a Transformer as the teacher.")
    count = len(backbone.parts["blocks"])
    if not len(layers):
        raise UserError(f"a student needs layers: name some of the teacher's, from 0 to {count - 1}.")
    for layer in layers:
        if not 0 <= layer < count:
            raise UserError(f"the teacher has no layer {layer}: its layers go from 0 to {count - 1}.")
    is_task = isinstance(teacher, Task)
    small = type(backbone)(
        backbone.config.replace(num_layers=len(layers)),
        dtype=backbone.dtype_policy,
        name=backbone.name if is_task or name is None else name,
    )
    for part, ours in small.parts.items():
        theirs = backbone.parts[part]
        pairs = zip(ours, (theirs[layer] for layer in layers)) if part == "blocks" else [(ours, theirs)]
        for new, old in pairs:
            new.set_weights(old.get_weights())
    if not is_task:
        return small
    # A task's configuration, whose parts are made anew, on the smaller backbone.
    student = type(teacher).from_config({**teacher.get_config(), "name": name or teacher.name, "backbone": small})
    student.head.set_weights(teacher.head.get_weights())
    return student
