"""When the layers of a pre-trained model begin to learn: from the top down, so that new layers on top spoil nothing.

A model's groups are those of `Backbone.layer_groups`: embeddings, every block, and the head with the pooler. What is
frozen and what that costs is told in `training.rates`.
"""

from __future__ import annotations

from itertools import pairwise

from tfmodels.errors import UserError


def gradual_unfreezing(num_groups: int, epochs: float = 1) -> list[float]:
    """The head first, then one group more every so many epochs (ULMFiT, arXiv:1801.06146, section 3.3).

    Args:
        num_groups: The number of groups, K + 2.
        epochs: From one group's beginning to the next one's; a fraction where there are more groups than epochs.

    Returns:
        The epoch, counted from zero, in which every group begins to learn, from the bottom to the top.

    Raises:
        UserError: The epochs are negative.

    Example:
    >>> gradual_unfreezing(4)
    [3, 2, 1, 0]
    """
    return _in_order([epochs * (num_groups - 1 - index) for index in range(num_groups)])


def sequential_unfreezing(num_groups: int, layers: float = 1, embeddings: float | None = None) -> list[float]:
    """The new layers first, then all pre-trained ones, the embeddings last (SiATL, arXiv:1902.10547, section 3.2).

    The paper counts epochs from one, n for the layers and k for the embeddings, and finds both by a grid search.

    Args:
        num_groups: The number of groups, K + 2.
        layers: The epoch, counted from zero, in which the pre-trained layers begin to learn: n - 1.
        embeddings: The epoch in which the embeddings do, k - 1; the default is twice that of the layers.

    Returns:
        The epoch in which every group begins to learn, from the bottom to the top.

    Raises:
        UserError: The embeddings are to begin before the layers.

    Example:
    >>> sequential_unfreezing(4, layers=1, embeddings=4)
    [4, 1, 1, 0]
    """
    embeddings = 2 * layers if embeddings is None else embeddings
    return _in_order([embeddings, *[layers] * (num_groups - 2), 0])


def _in_order(epochs):
    if any(below < above for below, above in pairwise(epochs)):
        raise UserError(f"layers begin to learn from the top down, in epochs that rise, not in {epochs[::-1]}.")
    return epochs


# As a recipe names them: of the number of groups and the recipe's `unfreeze_epochs`.
UNFREEZING = {"gradual": gradual_unfreezing, "sequential": sequential_unfreezing}
# The fewest and the most `unfreeze_epochs` of each.
UNFREEZE_EPOCHS = {"gradual": (1, 1), "sequential": (1, 2)}
