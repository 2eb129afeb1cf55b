"""What a pre-trained model reached on held-out rows, beside n-gram models of the training rows."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tfmodels.objectives import Adversarial, ElectraPretrainer, NgramBaselines, next_tokens_of, predictions_of
from tfmodels.objectives.objectives import logits_at


def judge(chosen, model, history, monitor: str, token_ids: tf.RaggedTensor, validation, tokenizer) -> dict:
    """The encoder's loss on held-out predictions beside what simple models reach there, in nats a prediction.

    Args:
        chosen: The recipe.
        model: What was trained.
        history: What `fit` returned.
        monitor: The figure that told `fit` which epoch to keep.
        token_ids: Ragged int[rows, None], the training rows.
        validation: The held-out batches: `CorruptedBatches`, or `TextStreams` where the next token is predicted.
        tokenizer: The rows'.
    """
    special = set(tokenizer.special_token_ids()) - {tokenizer.unk_token_id}
    if chosen.corruption is None:
        special -= {tokenizer.sep_token_id}  # where a text ends is to be predicted as well
    baselines = NgramBaselines(token_ids.flat_values, token_ids.row_splits, tokenizer.vocabulary_size(), special)
    watched = np.array(history[monitor])
    # Of epochs that are equally good `fit` keeps the last.
    best = np.flatnonzero(watched == (watched.min() if monitor.endswith("loss") else watched.max()))[-1]
    figures = {name.removeprefix("val_"): values[best] for name, values in history.items() if name.startswith("val_")}
    if chosen.corruption is None:
        labels, before, is_seen = next_tokens_of(validation.in_order())
    else:
        originals = validation.batches
        step = originals.step if chosen.streams else None
        labels, before, is_seen = predictions_of(
            validation.in_order(), originals.in_order(), step, getattr(model, "attention_mask", None)
        )
    losses = dict(baselines.losses(labels, before))
    # What the model has to go by where the token before is hidden from it.
    losses["visible bigram"] = baselines.losses(labels, np.where(is_seen, before, -1))["bigram"]
    judgement = {"loss": figures[chosen.figure], "baselines": losses, "figures": figures, "judged": ["loss"]}
    if isinstance(model, ElectraPretrainer):
        # The discriminator is the encoder. A generator that plays against it need not guess well.
        judgement["judged"] = ["detection"] if isinstance(model.learning, Adversarial) else ["loss", "detection"]
        judgement["detection"] = baselines.detection_losses(*_verdicts_asked(model, validation))
    return judgement


def _verdicts_asked(model: ElectraPretrainer, validation):
    """What the discriminator is asked on held-out rows: tokens, which are real, and which are replaced."""

    @tf.function
    def asked(inputs, targets):
        logits = logits_at(model.generator, model(inputs, training=False), targets["positions"])
        replaced = model.replace(logits, inputs, targets, training=False)
        return replaced["token_ids"], inputs["padding_mask"], replaced["is_replaced"]

    longest = int(validation.batches.lengths.max())
    parts = [[np.asarray(x) for x in asked(*batch)] for batch in validation.in_order()]
    padded = [[np.pad(x, ((0, 0), (0, longest + 8 - x.shape[1]))) for x in part] for part in parts]
    return [np.concatenate(arrays) for arrays in zip(*padded)]
