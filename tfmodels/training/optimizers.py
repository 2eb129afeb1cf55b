"""Optimisers as they are used for Transformers."""

import keras


def adamw(learning_rate, *, weight_decay=0.01, clip_norm=1.0, epsilon=1e-6):
    """AdamW that spares biases and normalisations from weight decay (BERT, arXiv:1810.04805, appendix A.2).

    Args:
        learning_rate: A number or a schedule.
        weight_decay: The decoupled decay (arXiv:1711.05101).
        clip_norm: The largest global norm of the gradient; None leaves it alone.
        epsilon: Added to the root of the second moment.

    Returns:
        A `keras.optimizers.AdamW`.
    """
    optimizer = keras.optimizers.AdamW(
        learning_rate, weight_decay=weight_decay, global_clipnorm=clip_norm, epsilon=epsilon
    )
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer
