"""The losses of pre-training, in nats, as functions on tensors of any backend.

Every loss is a mean over what its weights count; a batch with nothing to count gives 0.
"""

import keras
from keras import ops


def gather_positions(sequence, positions):
    """The vectors at some positions, so that a head is computed there only.

    Args:
        sequence: float[B, T, D].
        positions: int[B, P].

    Returns:
        float[B, P, D].
    """
    batch, length, width = ops.shape(sequence)
    rows = ops.cast(positions, "int32") + ops.arange(batch, dtype="int32")[:, None] * length  # [B, P]
    return ops.take(ops.reshape(sequence, (batch * length, width)), rows, axis=0)


def weighted_mean(values, weights):
    """sum(values weights) / sum(weights), or 0 where no weight is positive. Both are float32 of one shape."""
    weights = ops.cast(weights, "float32")
    return ops.sum(values * weights) / ops.maximum(ops.sum(weights), 1e-6)


def class_losses(logits, labels):
    """The cross-entropy of each label, in nats.

    Args:
        logits: float[..., C].
        labels: int[...].

    Returns:
        float32[...].
    """
    return keras.losses.sparse_categorical_crossentropy(labels, ops.cast(logits, "float32"), from_logits=True)


def masked_lm_loss(logits, labels, weights):
    """The mean cross-entropy of the original tokens (arXiv:1810.04805, section 3.1).

    Args:
        logits: float[B, P, V], at the predicted positions.
        labels: int[B, P].
        weights: float[B, P], 0 at fillings.

    Returns:
        float32[], nats a prediction.
    """
    return weighted_mean(class_losses(logits, labels), weights)


def binary_losses(logits, labels):
    """log(1 + exp(x)) - y x, the cross-entropy of a yes with probability sigmoid(x).

    Args:
        logits: float[...].
        labels: bool or float[...]; the probability of yes where it is a fraction.

    Returns:
        float32[...], nats.
    """
    logits = ops.cast(logits, "float32")
    return ops.softplus(logits) - ops.cast(labels, "float32") * logits


def replaced_token_loss(logits, is_replaced, weights):
    """ELECTRA's discriminator loss (arXiv:2003.10555, section 2), as a mean over tokens.

    Args:
        logits: float[B, T], high where the token looks replaced: D of the paper is sigmoid(-logit).
        is_replaced: bool[B, T].
        weights: float[B, T], 0 at padding.

    Returns:
        float32[], nats a token.
    """
    return weighted_mean(binary_losses(logits, is_replaced), weights)


def policy_gradient_loss(log_probabilities, rewards, baselines, weights):
    """What has REINFORCE's gradient: -log p(sample) (reward - baseline), no gradient through the bracket.

    ELECTRA (arXiv:2003.10555), appendix F: the generator climbs the discriminator's loss.

    Args:
        log_probabilities: float[B, P], of the sampled tokens under the generator.
        rewards: float[B, P], the discriminator's loss at the sampled token.
        baselines: float[B, P], the reward that was to be expected.
        weights: float[B, P].

    Returns:
        float32[].
    """
    advantage = ops.stop_gradient(ops.cast(rewards - baselines, "float32"))
    return weighted_mean(-log_probabilities * advantage, weights)


def info_nce(queries, keys):
    """The mean of -log softmax_k(q_i . k_k) at k = i: each query's own key against those of the batch.

    InfoWord (arXiv:1910.08350), J_DIM with the sign of a loss; the negatives are the other rows' n-grams.

    Args:
        queries: float[B, D], a sentence without its n-gram.
        keys: float[B, D], the n-grams.

    Returns:
        float32[], nats; log B minus it bounds the mutual information from below.
    """
    scores = ops.matmul(ops.cast(queries, "float32"), ops.transpose(ops.cast(keys, "float32")))  # [B, B]
    return ops.mean(class_losses(scores, ops.arange(ops.shape(scores)[0], dtype="int32")))


def gumbel_sample(logits, seed):
    """One sample of each distribution, as the highest logit after Gumbel noise; without a gradient.

    Args:
        logits: float[..., V].
        seed: A `keras.random.SeedGenerator`, or a number for the same noise every time.

    Returns:
        int32[...].
    """
    logits = ops.stop_gradient(ops.cast(logits, "float32"))
    # Uniform numbers of float32 may be exactly 0: the smallest normal one stands for it.
    uniform = ops.maximum(keras.random.uniform(ops.shape(logits), seed=seed), 1.2e-38)
    # -log(uniform) is at least 6e-8: a uniform number is below 1.
    noise = -ops.log(-ops.log(uniform))
    return ops.stop_gradient(ops.cast(ops.argmax(logits + noise, axis=-1), "int32"))


def put_at_positions(values, positions, weights, replacements):
    """A copy of int[B, T] in which the predictions' positions hold other numbers.

    Args:
        values: int[B, T].
        positions: int[B, P], unique where the weight is positive.
        weights: float[B, P]; fillings, of weight 0, change nothing.
        replacements: int[B, P].

    Returns:
        int32[B, T].
    """
    batch, length = ops.shape(values)
    # Fillings fall into one more column.
    columns = ops.where(weights > 0, ops.cast(positions, "int32"), length)  # [B, P]
    flat = columns + ops.arange(batch, dtype="int32")[:, None] * (length + 1)
    wide = ops.pad(ops.cast(values, "int32"), ((0, 0), (0, 1)))  # [B, T + 1]
    updated = ops.scatter_update(
        ops.reshape(wide, (-1,)),
        ops.reshape(flat, (-1, 1)),
        ops.reshape(ops.cast(replacements, "int32"), (-1,)),
    )
    return ops.reshape(updated, (batch, length + 1))[:, :length]
