"""UniLM's four attention masks, and attention within documents that share a row.

UniLM (Dong et al., arXiv:1905.03197), section 2.3: one encoder learns left-to-right, right-to-left, bidirectional and
sequence-to-sequence language models, which differ in nothing but the mask. Every mask here is bool[B, 1, T, T], True =
may attend, made of those in `tfmodels.ops.masks`, and leaves padding out.

`unilm` and `by_document` make a mask of what a batch holds: `Pretrainer(..., attention_mask=unilm)` trains under it.

Cost: O(B T^2) booleans, made in the model and once for all of its layers.
"""

from keras import ops

from tfmodels.ops import masks


def left_to_right(padding_mask):
    """Every token sees itself and those before it.

    Args:
        padding_mask: bool[B, T].

    Returns:
        bool[B, 1, T, T].

    Example:
    >>> import numpy as np
    >>> left_to_right(np.array([[True, True]]))[0, 0].numpy().tolist()
    [[True, False], [True, True]]
    """
    return masks.causal(ops.shape(padding_mask)[1]) & masks.padding(padding_mask)


def right_to_left(padding_mask):
    """Every token sees itself and those behind it: `left_to_right` mirrored."""
    causal = masks.causal(ops.shape(padding_mask)[1])
    return ops.transpose(causal, (0, 1, 3, 2)) & masks.padding(padding_mask)


def bidirectional(padding_mask):
    """Every token sees all."""
    real = masks.padding(padding_mask)
    return ops.broadcast_to(real, (ops.shape(real)[0], 1, ops.shape(real)[3], ops.shape(real)[3]))


def sequence_to_sequence(padding_mask, source_length):
    """The source sees itself; the target sees the source, itself and what came before.

    Args:
        padding_mask: bool[B, T].
        source_length: int[B], tokens of the source, [CLS] and its [SEP] included.

    Returns:
        bool[B, 1, T, T].
    """
    source_length = ops.cast(source_length, "int32")
    return masks.prefix(ops.shape(padding_mask)[1], source_length) & masks.padding(padding_mask)


def within_documents(document_ids, padding_mask):
    """Documents packed into one row do not see each other.

    Args:
        document_ids: int[B, T], the number of each token's document.
        padding_mask: bool[B, T].

    Returns:
        bool[B, 1, T, T].
    """
    return masks.segment(document_ids) & masks.padding(padding_mask)


# UniLM's language models, by number, and their shares of a batch (section 2.4).
BIDIRECTIONAL, SEQUENCE_TO_SEQUENCE, LEFT_TO_RIGHT, RIGHT_TO_LEFT = range(4)
UNILM_SHARES = (1 / 3, 1 / 3, 1 / 6, 1 / 6)

# The ids of the first and of the second segment in each of them: "different segment embeddings for different LM
# objectives" (section 2.1). The numbers are those of the authors' code; BERT's own mean what they mean there.
UNILM_SEGMENTS = ((0, 1), (4, 5), (2, 2), (3, 3))


def unilm(inputs):
    """For every row that one of the four masks which its segment ids name.

    Args:
        inputs: A batch's `segment_ids` int[B, T], of one of the pairs in `UNILM_SEGMENTS` in every row, and
            `padding_mask` bool[B, T].

    Returns:
        bool[B, 1, T, T].
    """
    real, segment_ids = (ops.convert_to_tensor(inputs[name]) for name in ("padding_mask", "segment_ids"))
    source, _ = UNILM_SEGMENTS[SEQUENCE_TO_SEQUENCE]
    ends = ops.arange(1, ops.shape(real)[1] + 1)
    source_length = ops.max(ops.where(ops.equal(segment_ids, source) & real, ends, 0), axis=1)  # [B]
    rows = ops.max(segment_ids, axis=1)[:, None, None, None]  # [B, 1, 1, 1]; padding has no id above its row's
    masks_of = {
        BIDIRECTIONAL: bidirectional(real),
        SEQUENCE_TO_SEQUENCE: sequence_to_sequence(real, source_length),
        LEFT_TO_RIGHT: left_to_right(real),
        RIGHT_TO_LEFT: right_to_left(real),
    }
    chosen = ops.zeros_like(masks_of[BIDIRECTIONAL])
    for kind, mask in masks_of.items():
        first, second = UNILM_SEGMENTS[kind]
        chosen = chosen | (mask & (ops.equal(rows, first) | ops.equal(rows, second)))
    return chosen


def by_document(inputs):
    """`within_documents` of a batch.

    Args:
        inputs: A batch's `document_ids` int[B, T] and `padding_mask` bool[B, T].

    Returns:
        bool[B, 1, T, T].
    """
    return within_documents(inputs["document_ids"], inputs["padding_mask"])
