"""MT-DNN's head for pairs: a stochastic answer network, which reads the premise in several steps.

MT-DNN (Liu et al., arXiv:1901.11504), section 3, "pairwise text classification output", after SAN (Liu et al.,
arXiv:1804.07888). M^p and M^h are the encoder's states of premise and hypothesis:

    s_0 = sum_j alpha_j M^h_j,  alpha = softmax(w_1 M^h)
    x_k = sum_j beta_j M^p_j,   beta = softmax(s_k W_2 M^p)
    P_k = softmax(W_3 [s_k; x_k; |s_k - x_k|; s_k x_k])
    s_{k+1} = GRU(s_k, x_k)

and the answer is the mean of P_0 to P_{K-1}. In training some steps of a row are left out of its mean, so that no step
relies on another: stochastic prediction dropout.

The papers count x one step later than their code, which gives the first step nothing to read; the counting here is the
code's. The code divides the sum of the steps that are kept by K (1 - rate), which is no distribution; here the mean is
of those that are kept, as SAN's paper has it.

Cost: O(K B (T D + D^2)) time, O(B T D) memory beside the encoder's states.
"""

import math

import keras
from keras import ops

from tfmodels.errors import UserError
from tfmodels.layers.base import Layer
from tfmodels.layers.projection import Projection
from tfmodels.objectives.objectives import Objective, class_figures

_FORBIDDEN = -1e30


class AnswerNetwork(Layer):
    """The class of a pair from the states of its two texts, in K steps.

    Args:
        num_classes: C.
        num_steps: K.
        dropout: fraction of the state, and of what the answers are made of, dropped in training.
        prediction_dropout: fraction of the steps that a row's answer leaves out in training; one step always stays.

    Call arguments:
        states: float[B, T, D].
        premise_mask: bool[B, T], True at the premise.
        hypothesis_mask: bool[B, T], True at the hypothesis.

    Returns:
        float32[B, C], logarithms of the probabilities, in nats.

    Raises:
        UserError: There are no steps, or no step would stay.
    """

    def __init__(self, num_classes, num_steps=5, dropout=0.1, prediction_dropout=0.1, **kwargs):
        super().__init__(**kwargs)
        if num_steps < 1 or not 0 <= prediction_dropout < 1:
            raise UserError(
                f"num_steps={num_steps}, prediction_dropout={prediction_dropout}: give at least 1 step and a fraction "
                "below 1."
            )
        self.num_classes = num_classes
        self.num_steps = num_steps
        self.dropout = dropout
        self.prediction_dropout = prediction_dropout
        self.drop = keras.layers.Dropout(dropout, dtype=self.dtype_policy, name="drop")
        self.kept_steps = keras.random.SeedGenerator()
        self.summary = Projection(1, use_bias=False, dtype=self.dtype_policy, name="summary")
        self.answer = Projection(num_classes, dtype=self.dtype_policy, name="answer")

    def build(self, states_shape, premise_mask_shape=None, hypothesis_mask_shape=None):
        width = states_shape[-1]
        self.query = Projection(width, use_bias=False, dtype=self.dtype_policy, name="query")
        self.cell = keras.layers.GRUCell(width, dtype=self.dtype_policy, name="cell")
        for part in (self.summary, self.query, self.cell):
            part.build((None, width))
        self.answer.build((None, 4 * width))
        self.built = True

    def call(self, states, premise_mask, hypothesis_mask, training=None):
        state = _weighted_sum(self.summary(states)[..., 0], hypothesis_mask, states)  # [B, D]
        read = self._read(state, states, premise_mask)
        steps = [self._answer(state, read, training)]
        for _ in range(self.num_steps - 1):
            state, _ = self.cell(read, self.drop(state, training=training))
            read = self._read(state, states, premise_mask)
            steps.append(self._answer(state, read, training))
        steps = ops.stack(steps, axis=1)  # [B, K, C]
        if not training or not self.prediction_dropout:
            return ops.logsumexp(steps, axis=1) - math.log(self.num_steps)
        is_kept = self._kept(ops.shape(states)[0])
        kept = ops.sum(ops.cast(is_kept, "float32"), axis=1, keepdims=True)  # [B, 1]
        return ops.logsumexp(ops.where(is_kept[..., None], steps, _FORBIDDEN), axis=1) - ops.log(kept)

    def _read(self, state, states, mask):
        """x_k, float[B, D]: what a state reads in the premise."""
        return _weighted_sum(ops.einsum("bd,btd->bt", self.query(state), states), mask, states)

    def _answer(self, state, read, training):
        """The logarithm of P_k, float32[B, C]."""
        compared = ops.concatenate([state, read, ops.abs(state - read), state * read], axis=-1)  # [B, 4 D]
        logits = self.answer(self.drop(compared, training=training))
        return ops.log_softmax(ops.cast(logits, "float32"), axis=-1)

    def _kept(self, rows):
        """bool[B, K]: the steps whose answers count."""
        shape = (rows, self.num_steps)
        is_kept = keras.random.uniform(shape, seed=self.kept_steps) >= self.prediction_dropout
        # Uniform numbers rank at random: the first is the step that always stays.
        always = ops.argmax(keras.random.uniform(shape, seed=self.kept_steps), axis=1)
        return ops.logical_or(is_kept, ops.equal(ops.arange(self.num_steps)[None], ops.cast(always, "int32")[:, None]))


class PairClassification(Objective):
    """A class of a pair by a stochastic answer network; see this module's head.

    The premise is segment 0, the hypothesis segment 1, their special tokens included; a single text is both. It reads
    its target, int[B], where -1 is unknown.

    Args:
        target: The target's name, which also names the objective.
        num_classes: C.
        num_steps: K.
        dropout: fraction dropped within the head in training.
        prediction_dropout: fraction of the steps that a row's answer leaves out in training.
        weight: The loss's factor in the sum.
    """

    def __init__(self, target, num_classes, num_steps=5, dropout=0.1, prediction_dropout=0.1, weight=1.0, **kwargs):
        super().__init__(weight, **{"name": target, **kwargs})
        self.target = target
        self.num_classes = num_classes
        self.num_steps = num_steps
        self.dropout = dropout
        self.prediction_dropout = prediction_dropout

    def prepare(self, backbone):
        self.network = AnswerNetwork(
            self.num_classes, self.num_steps, self.dropout, self.prediction_dropout, dtype="float32", name="network"
        )
        self.network.build(backbone.output["sequence_output"].shape)

    def answers(self, outputs, inputs, training=False):
        """float32[B, C]: the logarithms of the probabilities."""
        is_real, segments = inputs["padding_mask"], inputs["segment_ids"]
        premise, hypothesis = (ops.logical_and(is_real, ops.equal(segments, number)) for number in (0, 1))
        hypothesis = ops.where(ops.any(hypothesis, axis=1, keepdims=True), hypothesis, premise)
        return self.network(ops.cast(outputs["sequence_output"], "float32"), premise, hypothesis, training=training)

    def counted(self, inputs, targets):
        return ops.cast(targets[self.target] >= 0, "float32")

    def measure(self, outputs, inputs, targets, backbone, training):
        answers = self.answers(outputs, inputs, training)
        return class_figures(answers, ops.maximum(targets[self.target], 0), self.counted(inputs, targets))


def _weighted_sum(scores, mask, states):
    """float[B, D]: the states' mean, weighted by the softmax of float[B, T] scores where a mask allows."""
    weights = ops.softmax(ops.where(mask, scores, ops.cast(_FORBIDDEN, scores.dtype)), axis=-1)
    return ops.einsum("bt,btd->bd", weights, states)
