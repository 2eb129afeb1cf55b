"""ELECTRA: a discriminator finds the tokens that a generator replaced (Clark et al., arXiv:2003.10555).

The generator is a small masked language model; samples of it stand at the chosen positions, and the discriminator says
of every token whether it is the original. The three variants of the paper differ in how the generator learns, which is
a part: `MaximumLikelihood` (section 2, what ELECTRA is), `Adversarial` (appendix F), and the second stage of two-stage
training, `Frozen` (section 3.3): train a `Pretrainer` on `MaskedLanguageModel`, start the discriminator from it with
`start_from`, then train this with a frozen generator.

What the two models share (the paper: the embeddings) is decided where they are built: `ElectraBackbone(config,
shared=other.shared_embeddings())`.

Cost: a step of the generator, head at chosen positions only, and one of the discriminator on all tokens.
"""

from __future__ import annotations

import keras
from keras import ops

from tfmodels.layers.base import Layer
from tfmodels.layers.projection import Projection
from tfmodels.objectives import losses
from tfmodels.objectives.objectives import logits_at, prediction_figures
from tfmodels.objectives.pretrainer import Figures, Masked

# Epochs are compared, and judged beside n-gram models, on the same replaced tokens.
_EVALUATION_SEED = 0


class MaximumLikelihood(Layer):
    """The generator is trained as a masked language model."""

    figures = ()
    trains = True

    def prepare(self, generator) -> None:
        """Makes the weights that the learning needs, before training."""
        self.built = True

    def loss(self, logits, hidden, targets, sampled, rewards):
        """The generator's loss and further figures.

        Args:
            logits: float32[B, P, V], the generator's, at the predictions.
            hidden: float[B, P, D], its vectors there.
            targets: `labels` and `weights`.
            sampled: int32[B, P], what stands in the discriminator's input.
            rewards: float32[B, P], the discriminator's loss there.

        Returns:
            float32[] and a dict of figures, see `Objective.measure`.
        """
        return losses.masked_lm_loss(logits, targets["labels"], targets["weights"]), {}


class Frozen(MaximumLikelihood):
    """The generator does not learn, nor drop anything out: the second stage of two-stage training (section 3.3)."""

    trains = False

    def prepare(self, generator):
        generator.trainable = False
        self.built = True

    def loss(self, logits, hidden, targets, sampled, rewards):
        return ops.zeros((), "float32"), {}


class Adversarial(MaximumLikelihood):
    """The generator climbs the discriminator's loss by REINFORCE with a learned baseline (appendix F).

    The reward of a sampled token is the discriminator's loss on it; the baseline is -log sigmoid(w . h_t) of the
    generator's vector h_t. w is trained so that sigmoid(w . h_t) matches what the discriminator gave to the truth,
    exp(-reward), by cross-entropy; it sends no gradient into the generator.
    """

    figures = ("reward", "baseline_loss")

    def prepare(self, generator):
        self.baseline = Projection(1, use_bias=False, dtype="float32", name="baseline")
        self.baseline.build((None, None, generator.backbone.output["sequence_output"].shape[-1]))
        self.built = True

    def loss(self, logits, hidden, targets, sampled, rewards):
        weights = ops.cast(targets["weights"], "float32")
        rewards = ops.stop_gradient(rewards)
        guess = self.baseline(ops.cast(ops.stop_gradient(hidden), "float32"))[..., 0]  # [B, P]
        expected = ops.softplus(-guess)
        log_probabilities = -losses.class_losses(logits, sampled)
        policy = losses.policy_gradient_loss(log_probabilities, rewards, expected, weights)
        fit = losses.weighted_mean(losses.binary_losses(guess, ops.exp(-rewards)), weights)
        count = ops.sum(weights)
        figures = {"reward": (losses.weighted_mean(rewards, weights), count), "baseline_loss": (fit, count)}
        return policy + fit, figures


class ElectraPretrainer(Figures):
    """Trains a generator and a discriminator together, with `training.fit`.

    The batch is that of `MaskedText` with `MaskReplacement`.

    Args:
        generator: A `MaskedLM`, usually of a quarter to a half of the discriminator's width.
        discriminator: A `ReplacedTokenDetector`, or another task whose "logits" are float[B, T], high where a token
            looks replaced.
        learning: How the generator learns.
        discriminator_weight: lambda, the factor of the discriminator's loss; 50 in the paper. Keep it at 1 with
            `Adversarial`, whose two losses fight over one number.
        seed: Decides the samples of training; those of evaluation are the same every time.
        attention_mask: Who sees whom in both, see `pretrainer.Masked`; None for all but padding.

    Call arguments:
        inputs: As the generator takes them.

    Returns:
        The outputs of the generator's backbone.

    Raises:
        ValueError: The models' vocabularies differ.
    """

    def __init__(self, generator, discriminator, learning=None, discriminator_weight=50.0, seed=0, attention_mask=None):
        super().__init__(name="electra_pretrainer")
        sizes = [model.backbone.config.vocabulary_size for model in (generator, discriminator)]
        if sizes[0] != sizes[1]:
            raise ValueError(
                f"the generator knows {sizes[0]} tokens and the discriminator {sizes[1]}: they must agree."
            )
        self.generator = generator
        self.discriminator = discriminator
        self.attention_mask = attention_mask
        self._generate = Masked(generator.backbone, attention_mask)
        self._discriminate = Masked(discriminator, attention_mask)
        self.learning = learning or MaximumLikelihood(name="learning")
        self.learning.prepare(generator)
        self.discriminator_weight = discriminator_weight
        self.samples = keras.random.SeedGenerator(seed)
        self.declare(["loss", "generator_loss", "generator_accuracy", "discriminator_loss", "discriminator_accuracy"])
        # The accuracy of a discriminator that calls every token original is 1 - replaced.
        self.declare(["replaced", *self.learning.figures])

    @property
    def backbone(self):
        """The discriminator's, which is the encoder."""
        return self.discriminator.backbone

    def call(self, inputs, training=None):
        return self._generate(inputs, training=training and self.learning.trains)

    def replace(self, logits, inputs, targets, training=True):
        """The discriminator's input, and where it differs from the original.

        Args:
            logits: float32[B, P, V], the generator's.
            inputs: The generator's inputs.
            targets: `positions`, `labels` and `weights`.
            training: Whether other samples are drawn every time.

        Returns:
            A dict of `sampled` int32[B, P], `token_ids` int32[B, T] and `is_replaced` bool[B, T]. A sample that is the
            original token counts as original.
        """
        sampled = losses.gumbel_sample(logits, self.samples if training else _EVALUATION_SEED)
        places = targets["positions"], targets["weights"]
        original = losses.put_at_positions(inputs["token_ids"], *places, targets["labels"])
        token_ids = losses.put_at_positions(inputs["token_ids"], *places, sampled)
        return {"sampled": sampled, "token_ids": token_ids, "is_replaced": ops.not_equal(token_ids, original)}

    def loss_counts(self, x, y):
        predictions, real = (ops.sum(ops.cast(weights, "float32")) for weights in (y["weights"], x["padding_mask"]))
        return {"generator": predictions, "discriminator": real}

    def loss_terms(self, x, y, y_pred, sample_weight=None, training=True):
        logits = logits_at(self.generator, y_pred, y["positions"])  # [B, P, V]
        replaced = self.replace(logits, x, y, training)
        verdicts = self._discriminate({**x, "token_ids": replaced["token_ids"]}, training=training)["logits"]
        real = ops.cast(x["padding_mask"], "float32")
        by_token = losses.binary_losses(verdicts, replaced["is_replaced"])  # [B, T]
        found = losses.weighted_mean(by_token, real)

        rewards = losses.gather_positions(by_token[..., None], y["positions"])[..., 0]  # [B, P]
        hidden = losses.gather_positions(y_pred["sequence_output"], y["positions"])
        learnt, figures = self.learning.loss(logits, hidden, y, replaced["sampled"], rewards)

        hits = ops.cast(ops.equal(verdicts > 0, replaced["is_replaced"]), "float32")
        count = ops.sum(real)
        said = prediction_figures(logits, y)
        self.record(said, "generator_")
        self.record({"loss": (found, count), "accuracy": (losses.weighted_mean(hits, real), count)}, "discriminator_")
        share = losses.weighted_mean(ops.cast(replaced["is_replaced"], "float32"), real)
        self.record({"replaced": (share, count), **figures})
        return {"generator": learnt, "discriminator": self.discriminator_weight * found}


def start_from(generator, discriminator) -> None:
    """Gives the discriminator's backbone the generator's weights, between the two stages (section 3.3).

    Raises:
        ValueError: The backbones differ in size: two-stage training wants them alike.
    """
    ours, theirs = discriminator.backbone.get_weights(), generator.backbone.get_weights()
    if [weight.shape for weight in ours] != [weight.shape for weight in theirs]:
        raise ValueError("the backbones of generator and discriminator must be of one size to start from the other.")
    discriminator.backbone.set_weights(theirs)
