"""TransE: a knowledge graph's entities as points, its relations as ways between them (Bordes et al., NIPS 2013).

A fact (h, r, t) says that t lies where r leads to from h: the distance d(h + r, t) is to be smaller, by a margin, than
that of a fact whose head or tail has been replaced (equation 1). Entities are held on the unit sphere (algorithm 1),
so that distances cannot grow out of the margin's reach. `KnowledgeEncoder` reads such vectors.

Cost: O(R D) time for R facts an epoch, in NumPy; D numbers for every entity and relation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from tfmodels.errors import UserError

_BATCH = 1024


class TransE:
    """Vectors of a knowledge graph.

    Args:
        facts: int[R, 3]: head, relation and tail, numbers from 0.
        num_entities: The number of entities.
        num_relations: The number of relations.
        dim: D.
        margin: What a fact must be nearer by than a false one.
        learning_rate: Of plain gradient descent.
        seed: Decides all draws.

    Raises:
        UserError: There are no facts, or one holds a number out of range.

    Example:
    >>> graph = TransE([(0, 0, 1), (1, 0, 2)], num_entities=3, num_relations=1, dim=4)
    >>> for loss in graph.epochs(2):
    ...     pass
    >>> graph.entities.shape
    (3, 4)
    """

    def __init__(
        self,
        facts: Sequence,
        num_entities: int,
        num_relations: int,
        dim: int = 100,
        margin: float = 1.0,
        learning_rate: float = 0.2,
        seed: int = 0,
    ):
        self.facts = np.asarray(facts, "int64").reshape(-1, 3)
        bounds = (num_entities, num_relations, num_entities)
        if not len(self.facts) or num_entities < 2:
            raise UserError("a graph needs facts between at least two entities: give some.")
        if (self.facts < 0).any() or (self.facts >= bounds).any():
            raise UserError(
                f"facts must hold entities below {num_entities} and relations below {num_relations}: mend the others."
            )
        self.margin = margin
        self.learning_rate = learning_rate
        self.random = np.random.default_rng(seed)
        bound = 6 / np.sqrt(dim)
        self.entities = _on_sphere(self.random.uniform(-bound, bound, (num_entities, dim)).astype("float32"))
        self.relations = _on_sphere(self.random.uniform(-bound, bound, (num_relations, dim)).astype("float32"))

    def epochs(self, count: int) -> Iterator[float]:
        """Learns from every fact once an epoch, and yields each epoch's mean loss."""
        for _ in range(count):
            total = 0.0
            for batch in np.array_split(self.random.permutation(self.facts), -(-len(self.facts) // _BATCH)):
                total += self.step(batch, self.replaced(batch))
            yield total / len(self.facts)

    def replaced(self, facts):
        """The facts with another head or another tail each, drawn uniformly."""
        rows, others = np.arange(len(facts)), self.random.integers(1, len(self.entities), len(facts))
        false, side = facts.copy(), 2 * self.random.integers(0, 2, len(facts))
        false[rows, side] = (false[rows, side] + others) % len(self.entities)
        return false

    def distances(self, facts):
        """float32[R]: the squared Euclidean distance of each tail from where its relation leads."""
        return np.square(self._gaps(facts)).sum(axis=1)

    def step(self, facts, false) -> float:
        """One step of gradient descent on the sum of [margin + d(fact) - d(false)]+; returns that sum.

        A relation takes the mean of what its facts ask of it.
        """
        losses = self.margin + self.distances(facts) - self.distances(false)
        wrong = losses > 0
        kept = np.concatenate([facts[wrong], false[wrong]])
        steps = 2 * self.learning_rate * self._gaps(kept)
        steps[len(kept) // 2 :] *= -1.0
        heads, relations, tails = kept.T
        np.subtract.at(self.entities, heads, steps)
        np.add.at(self.entities, tails, steps)
        # A relation stands in many facts of a batch: the mean, lest their sum overshoot.
        counts = np.maximum(np.bincount(relations, minlength=len(self.relations)) // 2, 1)
        np.subtract.at(self.relations, relations, steps / counts[relations, None])
        touched = np.unique(np.concatenate([facts, false])[:, [0, 2]])
        self.entities[touched] = _on_sphere(self.entities[touched])
        return float(losses[wrong].sum())

    def _gaps(self, facts):
        heads, relations, tails = facts.T
        return self.entities[heads] + self.relations[relations] - self.entities[tails]


def _on_sphere(vectors):
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
