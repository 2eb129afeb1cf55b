"""TinyBERT: a small BERT that learns what its teacher's layers make of a text (Jiao et al., arXiv:1909.10351).

Three trainings of one student, each by a `Distiller` of its own; the batches say which text:

1. General: the teacher is pre-trained and not fine-tuned, the text is plain, the losses are those of the layers
   (`layer_losses`). Labels are -1 throughout and what the heads say is not asked.
2. Task, layers: the teacher is fine-tuned, the text is the task's, with `SubstitutedWords` of it; the same losses.
3. Task, prediction: `SoftLabels(1.0)` alone, on the same rows (equation 10; the paper finds a temperature of 1 best).

What differs from the authors' code: each mapped layer has a linear map of its own to the teacher's width, where theirs
is one for all; attention is compared at real pairs alone, hidden states at real tokens.

Cost: the teacher's forward pass and the student's training step; attention scores, O(B N T T) a mapped layer, cannot be
cached (`Batches.outputs_of`), so that the layers' stages run the teacher in every step.
"""

from __future__ import annotations

from tfmodels.distillation.losses import AttentionScores, DistillationLoss, Embeddings, HiddenStates
from tfmodels.errors import UserError


def uniform_layer_map(num_student_layers: int, num_teacher_layers: int) -> dict[int, int]:
    """g(m) = m N / M: the teacher's layer that each of the student's learns from (arXiv:1909.10351, section 4.2).

    Args:
        num_student_layers: M.
        num_teacher_layers: N, a multiple of M.

    Returns:
        student index -> teacher index into `hidden_states`, for the layers from 1 to M. 0, the embeddings, is left to
        `Embeddings`; `AttentionScores` counts layers from 0.

    Raises:
        UserError: M does not divide N, or is not positive.

    Example:
    >>> uniform_layer_map(3, 6)
    {1: 2, 2: 4, 3: 6}
    """
    if num_student_layers < 1 or num_teacher_layers < num_student_layers or num_teacher_layers % num_student_layers:
        valid = (str(size) for size in range(1, num_teacher_layers + 1) if num_teacher_layers % size == 0)
        raise UserError(
            f"{num_student_layers} layers cannot be laid evenly over the teacher's {num_teacher_layers}: choose one of "
            f"{', '.join(valid)}."
        )
    step = num_teacher_layers // num_student_layers
    return {layer: layer * step for layer in range(1, num_student_layers + 1)}


def layer_losses(num_student_layers: int, num_teacher_layers: int) -> list[DistillationLoss]:
    """The losses before the prediction: embeddings, hidden states, attention (equations 7 to 9, weighed as in 11).

    Args:
        num_student_layers: M.
        num_teacher_layers: N, a multiple of M.

    Returns:
        `Embeddings`, `HiddenStates` and `AttentionScores`, each of weight 1; attention needs as many heads in both.

    Raises:
        UserError: M does not divide N.

    Example:
    >>> [loss.name for loss in layer_losses(2, 6)]
    ['embeddings', 'hidden_states', 'attention_scores']
    """
    hidden = uniform_layer_map(num_student_layers, num_teacher_layers)
    return [
        Embeddings(name="embeddings"),
        HiddenStates(hidden, name="hidden_states"),
        AttentionScores({ours - 1: theirs - 1 for ours, theirs in hidden.items()}, name="attention_scores"),
    ]
