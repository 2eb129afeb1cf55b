"""Training under masks: UniLM's four language models, and documents that share a row."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from tests.models.tiny import tiny
from tests.objectives.rows import CLS, MASK, SEP, SPECIAL_IDS, VOCABULARY_SIZE, rows_of
from tests.objectives.test_choosing import SIGNIFICANCE
from tests.objectives.test_corruption import arrays, assert_same, bert, corrupted
from tests.objectives.test_pretrainer import loss_of, spread_out, tensors
from tests.objectives.topics import TOPICS, WORDS, topic_backbone
from tests.objectives.topics import VOCABULARY_SIZE as TOPIC_WORDS
from tests.support import check_gradients_reach, gradients_of, to_numpy
from tests.support.tensors import assert_close
from tfmodels.models import MaskedLM, PermutationLM, ReplacedTokenDetector
from tfmodels.objectives import (
    UNILM_SEGMENTS,
    BertReplacement,
    CorruptedBatches,
    Draw,
    ElectraPretrainer,
    Frame,
    FullSentences,
    LanguageModels,
    MaskedLanguageModel,
    MaskedText,
    MaskReplacement,
    NextSentence,
    NextSentencesOrHalves,
    PartialPrediction,
    PermutationPretrainer,
    PermutedText,
    Pretrainer,
    SegmentPair,
    SpanMasking,
    TokenMasking,
    by_document,
    unilm,
)
from tfmodels.objectives.choosing import tokens
from tfmodels.training import Batches, FitConfig, fit

NO_DROPOUT = {"dropout": 0.0, "attention_dropout": 0.0}


# --- UniLM


def unilm_corruption(rate=0.15, most=12, vocabulary_size=VOCABULARY_SIZE, **settings):
    chooser = SpanMasking(rate, most, length_probabilities=[0.8, 0.1, 0.1], units=tokens)
    return LanguageModels(MaskedText(chooser, bert()), **settings)


def pairs_of(rows, length=20):
    """Rows of two segments, a sixth of them of two texts."""
    batch = rows_of([length - row % 5 for row in range(rows)], length=length)
    return {**batch, "pair": (np.arange(rows) % 6 == 5).astype("int32")}


def kinds_of(inputs):
    """The number of every row's language model, by the segments of its tokens."""
    kinds = []
    for segments, real in zip(inputs["segment_ids"], inputs["padding_mask"]):
        found = set(segments[real].tolist())
        kinds.append(next(kind for kind, pair in enumerate(UNILM_SEGMENTS) if found <= set(pair)))
    return np.array(kinds)


def test_rows_are_shared_out_as_in_the_paper():
    rows = 3000
    batch = pairs_of(rows)
    inputs, targets = corrupted(unilm_corruption(), batch)
    assert set(inputs) == {"token_ids", "segment_ids", "padding_mask"}
    kinds = kinds_of(inputs)
    # Two texts, a sixth of the rows, are read in both directions only; of one text, as many are, and all others.
    assert (kinds[batch["pair"] == 1] == 0).all()
    counts = np.bincount(kinds[batch["pair"] == 0], minlength=4)
    assert stats.chisquare(counts, np.array([1 / 6, 1 / 3, 1 / 6, 1 / 6]) * rows).pvalue > SIGNIFICANCE, counts
    assert targets["next_sentence"].tolist() == np.where(kinds == 0, batch["pair"], -1).tolist()
    for row in range(12):
        first, second = UNILM_SEGMENTS[kinds[row]]
        real = batch["padding_mask"][row]
        expected = np.where(batch["segment_ids"][row] == 1, second, first)
        np.testing.assert_array_equal(inputs["segment_ids"][row][real], expected[real])


def test_masks_are_tokens_bigrams_and_trigrams():
    batch = {**rows_of([402] * 500), "pair": np.zeros(500, "int32")}
    # So few that spans hardly ever touch.
    chooser = unilm_corruption(0.02, 8).corruption.choose
    groups = chooser({name: tf.constant(value) for name, value in batch.items()}, Draw(0, 0, np.arange(500))).numpy()
    assert ((groups > 0).sum(axis=1) == 8).all()
    sizes = np.concatenate([np.bincount(row[row > 0])[1:] for row in groups])
    # How many of each size are to be expected of a budget, which cuts the last one.
    expected = [np.zeros(4)]
    for budget in range(1, 9):
        drawn = ((share, min(size, budget)) for size, share in ((1, 0.8), (2, 0.1), (3, 0.1)))
        expected.append(sum(share * (np.eye(4)[size] + expected[budget - size]) for share, size in drawn))
    counts = np.bincount(sizes, minlength=4)
    # Spans of some rows touch, and are counted as one.
    expected = expected[8][1:] / expected[8].sum() * len(sizes)
    assert stats.chisquare([*counts[1:3], counts[3:].sum()], expected).pvalue > SIGNIFICANCE, (counts, expected)


def test_a_rows_language_model_depends_on_its_number_and_the_epoch_alone():
    batch = pairs_of(40)
    first, again, later = (kinds_of(corrupted(unilm_corruption(), batch, epoch=epoch)[0]) for epoch in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert (first != later).any()
    part = {name: value[:7] for name, value in batch.items()}
    np.testing.assert_array_equal(kinds_of(corrupted(unilm_corruption(), part, epoch=3)[0]), first[:7])


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"shares": (0.5, 0.5, 0.5, 0.5)}, "UniLM has four masks"),
        ({"shares": (0.5, 0.5)}, "UniLM has four masks"),
        ({"apart": 0.5}, "rows of two texts are bidirectional"),
    ],
)
def test_impossible_shares_are_refused(settings, told):
    with pytest.raises(ValueError, match=told):
        unilm_corruption(**settings)


def test_a_text_of_one_sentence_gives_halves_so_that_the_rate_holds():
    documents = [[list(range(4 + row % 3, 14))] for row in range(3000)]
    labels = []
    for row in SegmentPair(Frame(32, CLS, SEP), NextSentencesOrHalves(1 / 6)).examples(
        documents, np.random.default_rng(0)
    ):
        labels.append(row.label)
    # What another document displaces comes again, as a smaller row.
    assert len(labels) > 3000 and stats.binomtest(sum(labels), len(labels), 1 / 6).pvalue > SIGNIFICANCE


def unilm_pretrainer(**overrides):
    sizes = {"vocabulary_size": VOCABULARY_SIZE, "max_sequence_length": 64, "num_segments": 6, **NO_DROPOUT}
    return Pretrainer(tiny(**{**sizes, **overrides}), [MaskedLanguageModel(), NextSentence()], unilm)


def test_each_language_model_hears_of_what_its_mask_shows_alone():
    pretrainer = unilm_pretrainer()
    spread_out(pretrainer)
    inputs, _ = corrupted(unilm_corruption(), pairs_of(30, length=12))
    kinds, mask = kinds_of(inputs), to_numpy(unilm(inputs))[:, 0]
    assert set(kinds) == {0, 1, 2, 3}
    plain = to_numpy(pretrainer(tensors(inputs)))["sequence_output"]
    for place in range(12):
        changed = {**inputs, "token_ids": inputs["token_ids"].copy()}
        changed["token_ids"][:, place] = 4 + (changed["token_ids"][:, place] + 1) % 50
        after = to_numpy(pretrainer(tensors(changed)))["sequence_output"]
        difference = np.abs(after - plain).max(axis=-1)  # [B, T]
        # What a token sees sees something in turn: with these masks that is nothing which it does not see itself.
        hears = mask[:, :, place] & inputs["padding_mask"] & inputs["padding_mask"][:, place, None]
        assert difference[~hears & inputs["padding_mask"]].max(initial=0) < 1e-6
        assert difference[hears].min(initial=1) > 1e-6


def test_unilm_reaches_every_weight_and_graphs_compute_the_same():
    pretrainer = unilm_pretrainer()
    inputs, targets = corrupted(unilm_corruption(), pairs_of(30))
    check_gradients_reach(lambda: loss_of(pretrainer, inputs, targets), pretrainer.trainable_variables)
    eager = to_numpy(pretrainer(tensors(inputs)))
    compiled = tf.function(lambda batch: pretrainer(batch))(tensors(inputs))
    for name, value in eager.items():
        assert_close(to_numpy(compiled)[name], value, 1e-5, name)


def pairs_of_topics(rows, seed):
    """Rows of two segments of a topic, a sixth of them of two topics, as corrupted batches."""
    random = np.random.default_rng(seed)
    texts, segments, apart = [], [], np.arange(rows) % 6 == 5
    for row in range(rows):
        first, other = random.choice(TOPICS, 2, replace=False)
        text = [CLS]
        for topic in (first, other if apart[row] else first):
            words = len(SPECIAL_IDS) + WORDS * topic + random.integers(WORDS, size=random.integers(4, 7))
            text += [*words.tolist(), SEP]
        ends = text.index(SEP) + 1
        texts.append(text)
        segments.append([0] * ends + [1] * (len(text) - ends))
    batches = Batches(
        tf.ragged.constant(texts, dtype=tf.int32),
        {"row": np.arange(rows), "pair": apart.astype("int32")},
        32,
        segment_ids=tf.ragged.constant(segments, dtype=tf.int32),
        bucket_lengths=[15],
        seed=seed,
    )
    chooser = SpanMasking(0.2, 3, length_probabilities=[0.8, 0.1, 0.1], units=tokens)
    replacement = BertReplacement(MASK, TOPIC_WORDS, SPECIAL_IDS)
    corruption = LanguageModels(MaskedText(chooser, replacement))
    return CorruptedBatches(batches, corruption, special_ids=SPECIAL_IDS, seed=seed)


@pytest.mark.learns
def test_unilm_learns_what_each_mask_shows_and_judges_alike_every_time(tmp_path):
    train, held_out = pairs_of_topics(768, 0), pairs_of_topics(960, 1)
    pretrainer = Pretrainer(topic_backbone(num_segments=6), [MaskedLanguageModel(), NextSentence(weight=0.1)], unilm)
    config = FitConfig(epochs=10, learning_rate=1e-2, monitor="val_loss")
    history = fit(pretrainer, train, held_out, config, tmp_path, verbose=0)
    # All words are equally frequent; the words of a topic are told by nothing.
    baseline = np.log(TOPICS * WORDS)
    assert np.log(WORDS) < min(history["val_masked_language_model_loss"]) < 0.6 * baseline, history
    found = {"kind": [], "position": [], "nats": []}
    for inputs, targets in held_out.in_order():
        logits = pretrainer.objectives[0].task.head(pretrainer(inputs, training=False))["logits"]
        nats = -tf.gather(tf.nn.log_softmax(logits), targets["positions"], batch_dims=1)  # [B, P, V]
        counts = targets["weights"].numpy() > 0
        found["nats"].append(tf.gather(nats, targets["labels"], batch_dims=2).numpy()[counts])
        found["position"].append(targets["positions"].numpy()[counts])
        kinds = kinds_of({name: value.numpy() for name, value in inputs.items()})
        found["kind"].append(np.broadcast_to(kinds[:, None], counts.shape)[counts])
    kind, position, nats = (np.concatenate(values) for values in found.values())
    for number in range(4):
        assert nats[kind == number].mean() < 0.75 * baseline, number
    # The first word of a text is told by those behind it alone.
    first = {number: nats[(kind == number) & (position == 1)].mean() for number in range(4)}
    assert first[2] > 0.85 * baseline and max(first[0], first[1], first[3]) < 0.65 * baseline, first
    assert_same(arrays(held_out.in_order()), arrays(held_out.in_order()))


# --- documents that share a row

FRAME = Frame(24, CLS, SEP)
DOCUMENTS = [
    [[10, 11, 12], [13, 14]],
    [[20, 21, 22, 23]],
    [[30, 31], [32, 33, 34]],
    [[40] * 3, [41, 42, 43, 44, 45]],
    [[50, 51, 52]],
]


def packed_batch():
    """The documents in rows of 24 tokens."""
    rows = list(FullSentences(FRAME).examples(DOCUMENTS))
    assert max(max(row.document_ids) for row in rows) >= 2, "three documents share a row"
    length = max(len(row.token_ids) for row in rows)

    def column(values, dtype="int32"):
        return np.stack([np.pad(np.array(value, dtype), (0, length - len(value))) for value in values])

    return {
        "token_ids": column([row.token_ids for row in rows]),
        "segment_ids": column([row.segment_ids for row in rows]),
        "padding_mask": column([[True] * len(row.token_ids) for row in rows], "bool"),
        "document_ids": column([row.document_ids for row in rows]),
        "special_mask": column([row.special_mask for row in rows], "bool"),
    }


def places_of(batch):
    """(row, slice) of every document."""
    for row, (documents, real) in enumerate(zip(batch["document_ids"], batch["padding_mask"])):
        for document in range(documents.max() + 1):
            places = np.flatnonzero((documents == document) & real)
            yield row, slice(places[0], places[-1] + 1)


def alone(batch, row, places):
    """The inputs of one document of a row, as a row of its own."""
    names = ("token_ids", "segment_ids", "padding_mask", "document_ids")
    return {name: batch[name][row : row + 1, places] for name in names}


def pretrainer_of(name, **overrides):
    backbone = tiny(name, vocabulary_size=VOCABULARY_SIZE, max_sequence_length=24, **NO_DROPOUT, **overrides)
    pretrainer = Pretrainer(backbone, [MaskedLanguageModel()], by_document)
    spread_out(pretrainer)
    return pretrainer


# Positions that are distances are the same in a row of its own.
RELATIVE = {"NEZHA": ("nezha_base", {}), "BERT, relative keys": ("bert_tiny", {"positions": "relative_key"})}


@pytest.mark.parametrize(("name", "overrides"), RELATIVE.values(), ids=RELATIVE)
def test_a_document_in_a_shared_row_is_the_document_alone(name, overrides):
    pretrainer, batch = pretrainer_of(name, **overrides), packed_batch()
    variables = [v for v in pretrainer.backbone.trainable_variables if "pooler" not in v.path]
    factors = np.random.default_rng(0).normal(size=(*batch["token_ids"].shape, 14)).astype("float32")

    def packed():
        real = tf.constant(factors * batch["padding_mask"][..., None])
        return tf.reduce_sum(pretrainer(tensors(batch))["sequence_output"] * real)

    def one_by_one():
        return sum(
            tf.reduce_sum(
                pretrainer(tensors(alone(batch, row, places)))["sequence_output"] * factors[row : row + 1, places]
            )
            for row, places in places_of(batch)
        )

    outputs = to_numpy(pretrainer(tensors(batch)))["sequence_output"]
    assert len(list(places_of(batch))) >= len(DOCUMENTS)
    for row, places in places_of(batch):
        single = to_numpy(pretrainer(tensors(alone(batch, row, places))))["sequence_output"][0]
        assert_close(outputs[row, places], single, 1e-5, f"row {row}, {places}")
    # Without the mask it is not.
    unmasked = to_numpy(pretrainer.backbone({name: batch[name] for name in pretrainer.backbone.input}))
    assert np.abs(unmasked["sequence_output"] - outputs)[batch["padding_mask"]].max() > 1e-2
    ours, theirs = gradients_of(packed, variables), gradients_of(one_by_one, variables)
    assert ours[0] == pytest.approx(theirs[0], rel=1e-4)
    for variable, actual, expected in zip(variables, ours[1], theirs[1]):
        assert_close(actual, expected, 1e-5, variable.path)


@pytest.mark.parametrize("name", ["bert_tiny", "albert_base", "ernie_base", "electra_small"])
def test_with_absolute_positions_it_is_the_document_amid_padding(name):
    pretrainer, batch = pretrainer_of(name), packed_batch()
    outputs = to_numpy(pretrainer(tensors(batch)))["sequence_output"]
    for row, places in places_of(batch):
        single = {key: value[row : row + 1].copy() for key, value in batch.items()}
        keep = np.zeros(single["padding_mask"].shape, bool)
        keep[:, places] = True
        single["padding_mask"] &= keep
        backbone = pretrainer.backbone
        amid = to_numpy(backbone({key: single[key] for key in backbone.input}))["sequence_output"]
        assert_close(outputs[row, places], amid[0, places], 1e-5, f"row {row}, {places}")


@pytest.mark.parametrize("name", ["roberta_base", "nezha_base", "bert_tiny"])
def test_other_documents_words_change_nothing(name):
    pretrainer, batch = pretrainer_of(name), packed_batch()
    outputs = to_numpy(pretrainer(tensors(batch)))["sequence_output"]
    for row, places in places_of(batch):
        other = {**batch, "token_ids": 4 + (batch["token_ids"] + 5) % 50}
        other["token_ids"][row, places] = batch["token_ids"][row, places]
        after = to_numpy(pretrainer(tensors(other)))["sequence_output"]
        assert_close(after[row, places], outputs[row, places], 1e-6, f"row {row}, {places}")


def test_a_generator_and_a_discriminator_stay_within_documents_too(monkeypatch):
    def backbone(width):
        sizes = {"vocabulary_size": VOCABULARY_SIZE, "max_sequence_length": 24, "hidden_dim": width}
        return tiny(**sizes, **NO_DROPOUT)

    pretrainer = ElectraPretrainer(
        MaskedLM(backbone(10)), ReplacedTokenDetector(backbone(14)), attention_mask=by_document
    )
    spread_out(pretrainer.generator)
    spread_out(pretrainer.discriminator)
    inputs, targets = corrupted(MaskedText(TokenMasking(0.3, 8), MaskReplacement(MASK)), packed_batch())
    assert "document_ids" in inputs
    monkeypatch.setattr("tfmodels.objectives.losses.gumbel_sample", lambda logits, seed: tensors(targets)["labels"])
    # Tokens of other documents change the loss of a document neither in the one nor in the other model.
    seen = {}

    def spy(method):
        def call(batch, training=None):
            seen[method] = tensor = wrapped[method](batch, training=training)
            return tensor

        return call

    wrapped = {name: getattr(pretrainer, name) for name in ("_generate", "_discriminate")}
    for name in wrapped:
        monkeypatch.setattr(pretrainer, name, spy(name))
    check_gradients_reach(
        lambda: loss_of(pretrainer, inputs, targets), pretrainer.trainable_variables, unused=("pooler",)
    )
    loss_of(pretrainer, inputs, targets)
    before = to_numpy({"generator": seen["_generate"]["sequence_output"], "found": seen["_discriminate"]["logits"]})
    row, places = next(iter(places_of(inputs)))
    other = {**inputs, "token_ids": 4 + (inputs["token_ids"] + 5) % 50}
    other["token_ids"][row, places] = inputs["token_ids"][row, places]
    changed = {**targets, "labels": 4 + (targets["labels"] + 5) % 50}
    is_within = (
        np.isin(targets["positions"], np.arange(24)[places]) & (np.arange(len(targets["labels"])) == row)[:, None]
    )
    changed["labels"] = np.where(is_within, targets["labels"], changed["labels"]).astype("int32")
    monkeypatch.setattr("tfmodels.objectives.losses.gumbel_sample", lambda logits, seed: tensors(changed)["labels"])
    loss_of(pretrainer, other, changed)
    after = to_numpy({"generator": seen["_generate"]["sequence_output"], "found": seen["_discriminate"]["logits"]})
    for name, value in before.items():
        assert_close(after[name][row, places], value[row, places], 1e-6, name)
        assert np.abs(after[name] - value).max() > 1e-3


def test_orders_of_factorisation_stay_within_documents():
    batch = packed_batch()
    inputs, targets = corrupted(PermutedText(PartialPrediction(3, 8)), batch)
    assert "document_ids" not in inputs
    same = batch["document_ids"][:, :, None] == batch["document_ids"][:, None, :]
    assert not (inputs["permutation_mask"] & ~same).any()
    free = {name: value for name, value in batch.items() if name != "document_ids"}
    without, _ = corrupted(PermutedText(PartialPrediction(3, 8)), free)
    np.testing.assert_array_equal(inputs["permutation_mask"], without["permutation_mask"] & same)
    pretrainer = PermutationPretrainer(PermutationLM(tiny("xlnet_base", vocabulary_size=VOCABULARY_SIZE, dropout=0.0)))
    spread_out(pretrainer.task)
    logits = to_numpy(pretrainer(tensors(inputs)))["logits"]
    for row, places in places_of(batch):
        other = {**inputs, "token_ids": 4 + (inputs["token_ids"] + 5) % 50}
        other["token_ids"][row, places] = inputs["token_ids"][row, places]
        after = to_numpy(pretrainer(tensors(other)))["logits"]
        within = np.isin(targets["positions"][row], np.arange(24)[places]) & (targets["weights"][row] > 0)
        assert_close(after[row, within], logits[row, within], 1e-5, f"row {row}, {places}")


def test_batches_hand_the_models_further_inputs_on():
    documents = tf.ragged.constant([row.document_ids for row in FullSentences(FRAME).examples(DOCUMENTS)])
    ids = tf.ragged.constant([row.token_ids for row in FullSentences(FRAME).examples(DOCUMENTS)])
    batches = Batches(ids, {"row": np.arange(ids.shape[0]), "document_ids": documents}, 2)
    corrupt = MaskedText(TokenMasking(0.2, 4), bert())
    for inputs, targets in CorruptedBatches(batches, corrupt, special_ids=SPECIAL_IDS).in_order():
        assert set(inputs) == {"token_ids", "segment_ids", "padding_mask", "document_ids"}
        assert "document_ids" not in targets
        real = inputs["padding_mask"].numpy()
        np.testing.assert_array_equal(inputs["document_ids"].numpy()[real], documents.flat_values.numpy())
