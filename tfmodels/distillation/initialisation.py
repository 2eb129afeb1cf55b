"""Where a student starts."""

from __future__ import annotations

import numpy as np

from tfmodels.models import Task

# The spread of the student's embedding vectors: larger than the initialiser's 0.02, so that what they say is heard
# beside the random position and segment vectors.
_SPREAD = 0.05


def embed_like_teacher(student: Task, teacher: Task, *, first: int, last: int, batch_size: int = 512) -> None:
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

    Raises:
        ValueError: The vocabularies differ, or the student's vectors are wider than the teacher's hidden states.
    """
    embeddings = student.backbone.parts["embeddings"]
    size, width = embeddings.tokens.shape
    vocabulary_size = teacher.backbone.config.vocabulary_size
    if size != vocabulary_size:
        raise ValueError(f"the student knows {size} tokens and the teacher {vocabulary_size}: they must share them.")
    hidden_dim = teacher.backbone.config.hidden_dim
    if width > hidden_dim:
        raise ValueError(f"vectors of {width} components cannot be made from the teacher's {hidden_dim}.")
    rows = np.stack([np.full(size, first), np.arange(size), np.full(size, last)], axis=1).astype("int32")  # [V, 3]
    inputs = {"token_ids": rows, "segment_ids": np.zeros_like(rows), "padding_mask": np.ones(rows.shape, bool)}
    outputs = teacher.backbone.predict(inputs, batch_size=batch_size, verbose=0)
    states = outputs["sequence_output"][:, 1].astype("float32")  # [V, D]
    states -= states.mean(axis=0)
    # The eigenvectors of the covariance, largest first: cheaper than the singular vectors of a tall matrix.
    _, directions = np.linalg.eigh(states.T @ states)
    vectors = states @ directions[:, ::-1][:, :width]  # [V, E]
    embeddings.tokens.assign(vectors / vectors.std() * _SPREAD)
