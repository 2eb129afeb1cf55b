"""`Pretrainer`: objectives and their figures, against NumPy, and that it learns."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.models.tiny import tiny
from tests.objectives.rows import CLS, SEP, SPECIAL_IDS, rows_of
from tests.objectives.test_corruption import bert, corrupted
from tests.objectives.topics import TOPICS, VOCABULARY_SIZE, WORDS, topic_backbone, topic_batches, topic_rows
from tests.support import check_gradients_reach, gradients_of, to_numpy
from tests.support.oracles import gelu, layer_norm, named_weights, part, softmax
from tests.support.tensors import assert_close
from tfmodels.models import PermutationLM
from tfmodels.objectives import (
    CorruptedBatches,
    Frame,
    InfoWord,
    MaskedLanguageModel,
    MaskedText,
    NextSentence,
    PartialPrediction,
    PermutationPretrainer,
    PermutedText,
    Pretrainer,
    SegmentPair,
    SentenceOrder,
    SpanBoundary,
    SpanMasking,
    SpanReplacement,
    SwappedSegments,
)
from tfmodels.objectives.objectives import SpanBoundaryHead
from tfmodels.training import Batches, FitConfig, fit

V, D = 60, 14


def backbone_of(dtype=None, **overrides):
    return tiny(dtype=dtype, vocabulary_size=V, max_sequence_length=64, **overrides)


def span_batch(lengths=(30, 22, 3, 0, 41)):
    """Spans masked in rows of all sizes, with the targets of every objective."""
    batch = rows_of(list(lengths))
    inputs, targets = corrupted(MaskedText(SpanMasking(0.3, 12), bert(SpanReplacement)), batch)
    rows = len(lengths)
    targets["next_sentence"] = np.arange(rows) % 2
    targets["sentence_order"] = np.array([1, 0, -1, -1, 1])[:rows]
    targets["ngram_ids"] = batch["token_ids"][:, :5]
    targets["ngram_mask"] = np.ones((rows, 5), bool)
    return inputs, targets


def every_objective():
    return [
        MaskedLanguageModel(),
        SpanBoundary(max_span_length=6, position_dim=5, weight=0.5),
        NextSentence(weight=0.25),
        SentenceOrder(weight=2.0),
        InfoWord(weight=0.1),
    ]


def spread_out(model, deviation=0.3):
    """Weights large enough that every part of a network matters."""
    random = np.random.default_rng(0)
    model.set_weights([random.normal(size=weight.shape) * deviation for weight in model.get_weights()])


def tensors(arrays):
    """What `fit` hands to a model."""
    return {name: keras.ops.convert_to_tensor(value) for name, value in arrays.items()}


def loss_of(pretrainer, inputs, targets, training=False):
    """The loss of a batch of arrays."""
    inputs, targets = tensors(inputs), tensors(targets)
    return pretrainer.compute_loss(inputs, targets, pretrainer(inputs, training=training), training=training)


def test_the_head_at_positions_is_the_full_head_gathered():
    objective, (inputs, targets) = MaskedLanguageModel(), span_batch()
    backbone = backbone_of(embedding_dim=9)
    pretrainer = Pretrainer(backbone, [objective])
    spread_out(objective.task)
    full = to_numpy(objective.task(inputs))["logits"]
    figures = to_numpy(objective.measure(pretrainer(inputs), inputs, tensors(targets), backbone, False))
    losses, hits = [], []
    for row in range(len(full)):
        for position, label, weight in zip(*(targets[name][row] for name in ("positions", "labels", "weights"))):
            if weight:
                losses.append(-np.log(softmax(full[row, position].astype("float64"))[label]))
                hits.append(full[row, position].argmax() == label)
    assert len(losses) == targets["weights"].sum() > 15
    assert figures["loss"][0] == pytest.approx(np.mean(losses), rel=1e-5) and figures["loss"][1] == len(losses)
    assert figures["accuracy"][0] == pytest.approx(np.mean(hits))
    # The task that is exported has the weights that learn.
    assert {id(v) for v in objective.task.trainable_variables} == {id(v) for v in pretrainer.trainable_variables}


def test_the_gradient_at_positions_is_that_of_the_full_head():
    objective, (inputs, targets) = MaskedLanguageModel(), span_batch()
    pretrainer = Pretrainer(backbone_of(), [objective])
    spread_out(objective.task)
    weights, labels = np.zeros(inputs["token_ids"].shape), np.zeros(inputs["token_ids"].shape, int)
    for row, (places, truth, counts) in enumerate(zip(*(targets[k] for k in ("positions", "labels", "weights")))):
        weights[row, places[counts > 0]] = 1
        labels[row, places[counts > 0]] = truth[counts > 0]

    def full():
        logits = keras.ops.log_softmax(objective.task(inputs)["logits"], axis=-1)  # [B, T, V]
        picked = keras.ops.take_along_axis(logits, labels[..., None], axis=-1)[..., 0]
        return -keras.ops.sum(picked * weights.astype("float32")) / weights.sum()

    variables = [v for v in pretrainer.trainable_variables if "pooler" not in v.path]
    expected = gradients_of(full, variables)
    actual = gradients_of(lambda: loss_of(pretrainer, inputs, targets), variables)
    assert actual[0] == pytest.approx(expected[0], rel=1e-5)
    for variable, ours, theirs in zip(variables, actual[1], expected[1]):
        assert_close(ours, theirs, 1e-5, variable.path)


@pytest.mark.parametrize("embedding_dim", [None, 9])
def test_span_boundaries_are_those_of_the_paper(embedding_dim):
    objective, (inputs, targets) = SpanBoundary(max_span_length=3, position_dim=5), span_batch()
    backbone = backbone_of(embedding_dim=embedding_dim)
    pretrainer = Pretrainer(backbone, [objective])
    spread_out(pretrainer)
    hidden = to_numpy(pretrainer(inputs))["sequence_output"].astype("float64")
    head = part(named_weights(objective.head), "span_boundary_head")
    (table,) = (v.astype("float64") for v in backbone.get_weights() if v.shape == (V, embedding_dim or D))
    epsilon = backbone.config.layer_norm_epsilon
    losses = []
    for row in range(len(hidden)):
        for index in np.flatnonzero(targets["weights"][row]):
            left, right, offset = (targets[name][row, index] for name in ("left", "right", "offset"))
            assert targets["positions"][row, index] == left + 1 + offset
            if right < 0 or offset >= 3:
                continue
            # h0 = [x_{s-1}; x_{e+1}; p_{i-s+1}] with places from 1 in the paper.
            x = np.concatenate([hidden[row, left], hidden[row, right], head["places"][offset]])
            for name in ("first", "second"):
                x = gelu(x @ head[f"{name}/kernel"] + head[f"{name}/bias"])
                x = layer_norm(x, head[f"{name}_norm/gamma"], head[f"{name}_norm/beta"], epsilon)
            probabilities = softmax(table @ x + head["bias"])
            losses.append(-np.log(probabilities[targets["labels"][row, index]]))
    figures = to_numpy(objective.measure(pretrainer(inputs), inputs, tensors(targets), backbone, False))
    assert 10 < len(losses) < targets["weights"].sum(), "long spans are among them"
    assert figures["loss"][1] == len(losses)
    assert figures["loss"][0] == pytest.approx(np.mean(losses), rel=1e-5)


def test_pairs_are_judged_from_the_pooled_vector_and_rows_without_a_pair_do_not_count():
    objective, (inputs, targets) = SentenceOrder(), span_batch()
    backbone = backbone_of()
    pretrainer = Pretrainer(backbone, [objective])
    spread_out(pretrainer)
    pooled = to_numpy(pretrainer(inputs))["pooled_output"].astype("float64")
    weights = part(named_weights(objective.logits), "logits")
    probabilities = softmax(pooled @ weights["kernel"] + weights["bias"])
    figures = to_numpy(objective.measure(pretrainer(inputs), inputs, tensors(targets), backbone, False))
    expected = -np.log([probabilities[0, 1], probabilities[1, 0], probabilities[4, 1]])
    assert figures["loss"][0] == pytest.approx(expected.mean(), rel=1e-5) and figures["loss"][1] == 3
    assert figures["accuracy"][0] == pytest.approx((expected < np.log(2)).mean())


def test_information_compares_every_sentence_with_every_ngram():
    objective, (inputs, targets) = InfoWord(), span_batch()
    backbone = backbone_of()
    pretrainer = Pretrainer(backbone, [objective])
    ngram = {
        "token_ids": targets["ngram_ids"],
        "segment_ids": np.zeros_like(targets["ngram_ids"]),
        "padding_mask": targets["ngram_mask"],
    }
    queries, keys = (to_numpy(backbone(x))["sequence_output"][:, 0].astype("float64") for x in (inputs, ngram))
    expected = np.mean([-np.log(softmax(keys @ query)[row]) for row, query in enumerate(queries)])
    figures = objective.measure(pretrainer(inputs), inputs, tensors(targets), backbone, False)
    assert float(figures["loss"][0]) == pytest.approx(expected, rel=1e-4)


def test_the_loss_is_the_weighted_sum_and_reaches_every_weight():
    pretrainer, (inputs, targets) = Pretrainer(backbone_of(), every_objective()), span_batch()
    spread_out(pretrainer)
    outputs = pretrainer(inputs)
    parts = [
        float(o.measure(outputs, inputs, tensors(targets), pretrainer.backbone, False)["loss"][0])
        for o in pretrainer.objectives
    ]
    assert min(parts) > 0
    expected = np.dot(parts, [1, 0.5, 0.25, 2.0, 0.1])
    assert float(loss_of(pretrainer, inputs, targets)) == pytest.approx(expected, rel=1e-5)
    check_gradients_reach(lambda: loss_of(pretrainer, inputs, targets), pretrainer.trainable_variables)


def test_a_batch_without_predictions_is_no_loss():
    inputs, targets = span_batch([2, 0])
    targets["sentence_order"][:] = -1
    pretrainer = Pretrainer(backbone_of(), [MaskedLanguageModel(), SpanBoundary(6, 5), SentenceOrder()])
    assert float(loss_of(pretrainer, inputs, targets)) == 0


def test_figures_are_means_over_predictions_not_over_batches():
    pretrainer = Pretrainer(backbone_of(), [MaskedLanguageModel()])
    spread_out(pretrainer)
    parts = []
    for lengths in ([60, 60, 60], [4]):
        inputs, targets = span_batch(lengths)
        loss_of(pretrainer, inputs, targets)
        figures = pretrainer.objectives[0].measure(pretrainer(inputs), inputs, targets, pretrainer.backbone, False)
        parts.append([float(value) for value in figures["loss"]])
    expected = sum(mean * count for mean, count in parts) / sum(count for _, count in parts)
    result = pretrainer.compute_metrics(None, None, None)
    assert float(result["masked_language_model_loss"]) == pytest.approx(expected, rel=1e-5)


def test_low_precision_computes_the_heads_in_it():
    pretrainer = Pretrainer(backbone_of(dtype="mixed_bfloat16"), every_objective())
    full = Pretrainer(backbone_of(), every_objective())
    pretrainer.set_weights(full.get_weights())
    inputs, targets = span_batch()
    losses = [float(loss_of(model, inputs, targets)) for model in (pretrainer, full)]
    assert losses[0] == pytest.approx(losses[1], rel=0.05)
    check_gradients_reach(lambda: loss_of(pretrainer, inputs, targets), pretrainer.trainable_variables)


def test_two_objectives_of_one_name_are_refused():
    with pytest.raises(ValueError, match="must have names of their own"):
        Pretrainer(backbone_of(), [MaskedLanguageModel(), MaskedLanguageModel()])
    Pretrainer(backbone_of(), [SentenceOrder(), SentenceOrder(name="other_order")])


def test_the_boundary_head_is_restored_from_its_configuration():
    head = SpanBoundaryHead(backbone_of().parts["embeddings"], D, 6, 5)
    config = head.get_config()
    assert config["max_span_length"] == 6 and config["position_dim"] == 5


def unigram(batches):
    """The cross-entropy of the held-out tokens under their training counts, in nats."""
    counts = np.bincount(topic_rows(512)[0].flat_values.numpy(), minlength=VOCABULARY_SIZE) + 1
    counts[list(SPECIAL_IDS)] = 0
    with np.errstate(divide="ignore"):
        nats = -np.log(counts / counts.sum())
    labels = [batch[1]["labels"].numpy()[batch[1]["weights"].numpy() > 0] for batch in batches.in_order()]
    return nats[np.concatenate(labels)].mean()


@pytest.mark.learns
def test_masked_language_model_beats_the_unigram_baseline_and_sentence_order_is_learnt(tmp_path):
    train_rows, held_rows = 512, 128
    # Something that the pooled vector can tell: whether the topic is one of the first half.
    labels = [
        (topic_rows(rows, seed)[1] < TOPICS // 2).astype("int32") for rows, seed in ((train_rows, 0), (held_rows, 1))
    ]
    train = topic_batches(train_rows, targets={"sentence_order": labels[0]})
    held_out = topic_batches(held_rows, seed=1, targets={"sentence_order": labels[1]})
    pretrainer = Pretrainer(topic_backbone(), [MaskedLanguageModel(), SentenceOrder(weight=0.5)])
    config = FitConfig(epochs=12, learning_rate=1e-2, monitor="val_loss")
    history = fit(pretrainer, train, held_out, config, tmp_path, verbose=0)
    loss, baseline = min(history["val_masked_language_model_loss"]), unigram(held_out)
    # The words of a topic are told by nothing: log 3 is the least there is.
    assert baseline == pytest.approx(np.log(TOPICS * WORDS), abs=0.1)
    assert loss < 0.6 * baseline and loss > 0.9 * np.log(WORDS), (loss, baseline)
    majority = max(labels[1].mean(), 1 - labels[1].mean())
    assert history["val_sentence_order_accuracy"][-1] > 0.95 > majority


@pytest.mark.learns
def test_the_order_of_sentences_is_learnt_from_the_rows_that_tell_it(tmp_path):
    # The k-th sentence of every document begins with the k-th of six words; the other words say nothing.
    first, others = len(SPECIAL_IDS), len(SPECIAL_IDS) + 6

    def batches(count, seed):
        random = np.random.default_rng(seed)
        documents = [
            [[first + k, *(others + random.integers(12, size=2)).tolist()] for k in range(6)] for _ in range(count)
        ]
        rows = list(SegmentPair(Frame(32, CLS, SEP), SwappedSegments()).examples(documents, random))
        token_ids, segment_ids = (
            tf.ragged.constant([getattr(row, name) for row in rows]) for name in ("token_ids", "segment_ids")
        )
        labels = np.array([row.label for row in rows], "int32")
        return Batches(token_ids, {"sentence_order": labels}, 32, segment_ids=segment_ids, seed=seed)

    keras.utils.set_random_seed(0)
    backbone = topic_backbone(vocabulary_size=others + 12, num_layers=2, max_sequence_length=32)
    held_out, config = batches(100, 1), FitConfig(epochs=7, learning_rate=5e-3, monitor="val_loss")
    history = fit(Pretrainer(backbone, [SentenceOrder()]), batches(400, 0), held_out, config, tmp_path, verbose=0)
    share = held_out.targets["sentence_order"].mean()
    assert history["val_sentence_order_accuracy"][-1] > 0.95 > max(share, 1 - share)


@pytest.mark.learns
def test_a_killed_run_goes_on_as_if_it_had_not_been(tmp_path):
    def run(directory, epochs):
        keras.utils.set_random_seed(0)
        pretrainer = Pretrainer(topic_backbone(dropout=0.1), [MaskedLanguageModel(), SpanBoundary(6, 5)])
        config = FitConfig(epochs=2, learning_rate=1e-2, monitor="val_loss")
        stop = keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: _stop_at(epoch, epochs))
        batches = topic_batches(64), topic_batches(32, seed=1)
        return pretrainer, fit(pretrainer, *batches, config, directory, callbacks=[stop], verbose=0)

    whole, history = run(tmp_path / "whole", 2)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "killed", 1)
    again, resumed = run(tmp_path / "killed", 2)
    assert resumed == history
    for ours, theirs in zip(again.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def _stop_at(epoch, epochs):
    if epoch >= epochs:
        raise KeyboardInterrupt


@pytest.mark.learns
def test_permutations_are_predicted_by_the_query_stream_alone(tmp_path):
    """XLNet: what a query may not see does not change its prediction, and the language is learnt."""
    task = PermutationLM(tiny("xlnet_base", vocabulary_size=VOCABULARY_SIZE, num_layers=2, hidden_dim=24, dropout=0.0))
    pretrainer, corruption = PermutationPretrainer(task), PermutedText(PartialPrediction(3, max_predictions=5))
    token_ids = topic_rows(8)[0].to_tensor().numpy()
    batch = {
        "token_ids": token_ids,
        "segment_ids": np.zeros_like(token_ids),
        "padding_mask": token_ids > 0,
        "special_mask": np.isin(token_ids, SPECIAL_IDS),
    }
    inputs, targets = corrupted(corruption, batch)
    logits = to_numpy(pretrainer(tensors(inputs)))["logits"]
    for row in range(3):
        for index in np.flatnonzero(targets["weights"][row]):
            seen = inputs["permutation_mask"][row, targets["positions"][row, index]]
            other = {name: value.copy() for name, value in inputs.items()}
            other["token_ids"][row, ~seen] = 4 + (other["token_ids"][row, ~seen] + 1) % 18
            changed = to_numpy(pretrainer(tensors(other)))["logits"]
            assert_close(changed[row, index], logits[row, index], 1e-5)
    batches = [
        CorruptedBatches(batches.batches, corruption, special_ids=SPECIAL_IDS)
        for batches in (topic_batches(256), topic_batches(128, seed=1))
    ]
    config = FitConfig(epochs=6, learning_rate=1e-2, monitor="val_loss")
    history = fit(pretrainer, *batches, config, tmp_path, verbose=0)
    baseline = unigram(batches[1])
    assert history["val_loss"][-1] < 0.6 * baseline, (history["val_loss"], baseline)
