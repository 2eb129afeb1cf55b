"""TNF in pre-training: which words are rare, what the encoder reads, what is noted down, and what it is good for."""

from collections import Counter

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.models.test_bert import oracle
from tests.models.tiny import tiny
from tests.objectives.rows import CLS, MASK, SEP, SPECIAL_IDS, rows_of
from tests.objectives.test_corruption import bert, corrupted
from tests.objectives.test_notes import updated_notes
from tests.objectives.test_pretrainer import loss_of, spread_out, tensors
from tests.objectives.topics import TOPICS, topic_backbone
from tests.support import gradients_of, to_numpy
from tests.support.gradients import finite_differences
from tests.support.oracles import gelu, layer_norm, named_weights, part, softmax
from tests.support.tensors import assert_close
from tfmodels.errors import UserError
from tfmodels.models import TextClassifier
from tfmodels.objectives import (
    BertReplacement,
    CorruptedBatches,
    MaskedLanguageModel,
    MaskedText,
    NoteDictionary,
    Pretrainer,
    RareWords,
    TokenMasking,
    WholeWordMasking,
    WithNotes,
)
from tfmodels.training import Batches, FitConfig, fit

V, D = 60, 14


def words_of(batch, row):
    """The words of a row, as tuples of pieces, and the positions of each, one token at a time."""
    found, places = [], []
    for place in range(batch["token_ids"].shape[1]):
        if batch["special_mask"][row, place] or not batch["padding_mask"][row, place]:
            continue
        follows = places and places[-1][-1] == place - 1 and not batch["word_starts"][row, place]
        if not follows:
            found.append(())
            places.append([])
        found[-1] += (int(batch["token_ids"][row, place]),)
        places[-1].append(place)
    return found, places


def small_rows():
    """Rows of few different pieces, in words of one to three."""
    batch = rows_of([30, 25, 3, 0, 41, 1])
    ordinary = batch["padding_mask"] & ~batch["special_mask"]
    batch["token_ids"][ordinary] = 4 + batch["token_ids"][ordinary] % 5
    del batch["word_ids"], batch["phrase_ids"]
    return batch


def test_rare_words_are_counted_and_numbered_whole():
    batch = small_rows()
    counts = Counter(word for row in range(6) for word in words_of(batch, row)[0])
    assert max(map(len, counts)) > 2 and max(counts.values()) > 4
    inputs = {name: tf.constant(batch[name]) for name in ("token_ids", "padding_mask")}
    told = {name: tf.constant(batch[name]) for name in ("special_mask", "word_starts")}
    halves = [tuple({k: v[part] for k, v in x.items()} for x in (inputs, told)) for part in np.s_[:2, 2:]]
    for least, most in ((2, 4), (1, 1), (5, 100)):
        rare = RareWords.counted(halves, least=least, most=most)
        assert set(rare.words) == {word for word, count in counts.items() if least <= count <= most}
        ordered = [counts[word] for word in rare.words]
        assert ordered == sorted(ordered, reverse=True) and len(rare) == len(ordered)
        expected = np.zeros_like(batch["token_ids"])
        for row in range(6):
            for word, places in zip(*words_of(batch, row)):
                expected[row, places] = rare.words.index(word) + 1 if word in rare.words else 0
        np.testing.assert_array_equal(rare(tensors(batch)), expected)
    assert RareWords.counted(halves, least=2, most=4).words == RareWords.counted(halves[::-1], least=2, most=4).words
    with pytest.raises(UserError, match="no rare words to take notes of"):
        RareWords.counted(halves, least=1000)


def test_special_tokens_are_told_by_their_numbers_too():
    batch = small_rows()
    inputs = {name: tf.constant(batch[name]) for name in ("token_ids", "padding_mask")}
    starts, special = tf.constant(batch["word_starts"]), tf.constant(batch["special_mask"])
    one = RareWords.counted([(inputs, {"word_starts": starts, "special_mask": special})], least=2, most=9)
    two = RareWords.counted([(inputs, {"word_starts": starts})], SPECIAL_IDS, least=2, most=9)
    assert one.words == two.words and not any(set(word) & set(SPECIAL_IDS) for word in one.words)


def test_a_word_that_is_predicted_has_no_note_to_read():
    batch = small_rows()
    rare = RareWords.counted([(tensors(batch), {})], least=1, most=100)
    # Single pieces: a word of which one piece must be predicted is hidden whole.
    corruption = MaskedText(TokenMasking(0.3, 12), bert(BertReplacement))
    inputs, targets = corrupted(WithNotes(corruption, rare), batch)
    plain_inputs, plain = corrupted(corruption, batch)
    assert set(inputs) - set(plain_inputs) == {"word_numbers"} and set(targets) - set(plain) == {"word_numbers"}
    np.testing.assert_array_equal(targets["word_numbers"], to_numpy(rare(tensors(batch))))
    seen = 0
    for row in range(6):
        predicted = set(targets["positions"][row][targets["weights"][row] > 0].tolist())
        for _, places in zip(*words_of(batch, row)):
            hidden = bool(predicted & set(places))
            seen += hidden and len(places) > len(predicted & set(places))
            expected = 0 if hidden else targets["word_numbers"][row, places]
            assert (inputs["word_numbers"][row, places] == expected).all()
    assert seen > 3, "words that are predicted in part are among them"
    assert (inputs["word_numbers"] > 0).sum() > 20


def noted(**settings):
    """A pretrainer with notes, and a batch with its rare words."""
    batch = small_rows()
    rare = RareWords.counted([(tensors(batch), {})], least=1, most=3)
    inputs, targets = corrupted(WithNotes(MaskedText(WholeWordMasking(0.3, 12), bert(BertReplacement)), rare), batch)
    backbone = tiny(vocabulary_size=V, max_sequence_length=64, num_layers=2)
    notes = NoteDictionary(len(rare), D, **settings)
    pretrainer = Pretrainer(backbone, [MaskedLanguageModel()], notes=notes)
    spread_out(pretrainer)
    return pretrainer, inputs, targets


def test_notes_are_read_beside_the_vectors_of_tasks():
    backbone = tiny("ernie_base", vocabulary_size=20, num_layers=1)
    notes = NoteDictionary(3, backbone.config.hidden_dim, name="notes")
    reader = notes.read_by(backbone, backbone.input)
    spread_out(reader)
    batch = {name: np.ones((1, 4), "int32") for name in ("token_ids", "segment_ids", "padding_mask")}
    numbers = np.array([[[0, 0, 0, 0]], [[0, 2, 0, 0]]], "int32")
    plain, noted_once = (reader({**batch, "word_numbers": each}) for each in numbers)
    np.testing.assert_allclose(plain["sequence_output"], backbone(batch)["sequence_output"], rtol=1e-5)
    assert not np.allclose(plain["sequence_output"], noted_once["sequence_output"], rtol=1e-3)


def test_a_training_step_is_the_papers_equations():
    """Mixing, forward pass, loss, gradient, and the notes that are taken, for two steps."""
    half_window, decay, mix = 2, 0.3, 0.4
    pretrainer, inputs, targets = noted(half_window=half_window, decay=decay, mix=mix)
    objective, backbone = pretrainer.objectives[0], pretrainer.backbone
    head = part(named_weights(objective.task.head), "head")
    (table,) = (v for v in backbone.get_weights() if v.shape == (V, D))
    notes = to_numpy(pretrainer.notes.notes).astype("float64")
    shift = backbone.parts["embeddings"].norm.beta
    rare = inputs["word_numbers"] > 0
    assert rare.sum() > 10 and (targets["word_numbers"] > 0).sum() > rare.sum()

    def states(notes, moved=0.0):
        def mixed(x):
            result = x + moved
            for row, place in zip(*np.nonzero(rare)):
                result[row, place] = (1 - mix) * result[row, place] + mix * notes[
                    inputs["word_numbers"][row, place] - 1
                ]
            return result

        return oracle(backbone, inputs, mixed)["sequence_output"]

    def loss(sequence):
        x = gelu(sequence @ head["transform/kernel"] + head["transform/bias"])
        x = layer_norm(x, head["norm/gamma"], head["norm/beta"], backbone.config.layer_norm_epsilon)
        probabilities = softmax(x @ table.T + head["bias"])
        nats = [
            -np.log(probabilities[row, targets["positions"][row, p], targets["labels"][row, p]])
            for row, p in zip(*np.nonzero(targets["weights"]))
        ]
        return np.mean(nats)

    for step in range(2):
        sequence = states(notes)
        outputs = pretrainer(tensors(inputs), training=False)
        real = inputs["padding_mask"]
        assert_close(to_numpy(outputs["sequence_output"])[real], sequence[real], 1e-5)
        before = to_numpy(pretrainer.notes.notes)
        value, (gradient,) = gradients_of(lambda: loss_of(pretrainer, inputs, targets), [shift])
        np.testing.assert_array_equal(to_numpy(pretrainer.notes.notes), before, "evaluation takes no notes")
        assert value == pytest.approx(loss(sequence), rel=1e-5)
        if step == 0:
            expected = finite_differences(lambda moved, notes=notes: loss(states(notes, moved)), np.zeros(D))
            assert_close(gradient, expected, 1e-5, "the gradient of the embeddings, through the mixture")
        loss_of_training(pretrainer, inputs, targets, outputs)
        notes = updated_notes(notes, sequence, targets["word_numbers"], real, half_window, decay)
        assert_close(to_numpy(pretrainer.notes.notes), notes, 1e-5, "notes")
        assert np.abs(to_numpy(pretrainer.notes.notes) - before).max() > 0.01


def loss_of_training(pretrainer, inputs, targets, outputs):
    """A training step without dropout: the loss and the notes."""
    return pretrainer.compute_loss(tensors(inputs), tensors(targets), outputs, training=True)


def test_fine_tuning_knows_no_notes():
    pretrainer, inputs, _ = noted()
    backbone = pretrainer.backbone
    assert set(backbone.input) == {"token_ids", "segment_ids", "padding_mask"}
    plain = {name: inputs[name] for name in backbone.input}
    before = to_numpy(backbone(plain))["sequence_output"]
    pretrainer.notes.notes.assign(pretrainer.notes.notes + 1)
    np.testing.assert_array_equal(to_numpy(backbone(plain))["sequence_output"], before)
    assert TextClassifier(backbone, 2).count_params() == backbone.count_params() + 2 * D + 2
    # Without rare words in it a text is read as the backbone reads it.
    nothing = {**inputs, "word_numbers": np.zeros_like(inputs["word_numbers"])}
    assert_close(to_numpy(pretrainer(tensors(nothing)))["sequence_output"], before, 1e-6)
    assert all(variable is not pretrainer.notes.notes for variable in pretrainer.trainable_variables)


RARE, COMMON = 40, 3
FIRST_RARE = len(SPECIAL_IDS) + TOPICS * COMMON


def rare_rows(rows, seed=0):
    """[CLS] a rare word, in two pieces, and three common words of its topic [SEP].

    Every topic has `RARE` rare words and `COMMON` common ones.
    """
    random = np.random.default_rng(seed)
    texts = []
    for row in range(rows):
        rare = row % (RARE * TOPICS)
        topic = rare % TOPICS
        common = len(SPECIAL_IDS) + COMMON * topic + random.integers(COMMON, size=3)
        texts.append([CLS, FIRST_RARE + rare // 16, FIRST_RARE + 15 + rare % 16, *common, SEP])
    return np.array(texts, "int32")


def rare_batches(rows, seed=0):
    ids = tf.RaggedTensor.from_tensor(rare_rows(rows, seed), ragged_rank=1)
    starts = tf.RaggedTensor.from_tensor(np.tile(np.int32([1, 1, 0, 1, 1, 1, 1]), (rows, 1)), ragged_rank=1)
    return Batches(ids, {"row": np.arange(rows), "word_starts": starts}, 32, bucket_lengths=[7], seed=seed)


def rare_language(with_notes, directory, rows, epochs, seed=0, micro_batches=1, **settings):
    """A pretrainer for the language, its rare words, and what trains it."""
    keras.utils.set_random_seed(seed)
    size = FIRST_RARE + 15 + 16
    corruption = MaskedText(WholeWordMasking(0.5, 3), BertReplacement(MASK, size, SPECIAL_IDS))
    backbone, batches, notes = topic_backbone(vocabulary_size=size, **settings), rare_batches(rows), None
    # A rare word is in one row of 240, a common one in about a sixth of all.
    rare = RareWords.counted(batches.in_order(), SPECIAL_IDS, least=2, most=rows // 40)
    assert {len(word) for word in rare.words} == {2} and len(rare) == RARE * TOPICS
    if with_notes:
        corruption, notes = WithNotes(corruption, rare), NoteDictionary(len(rare), 24, decay=0.3)
    pretrainer = Pretrainer(backbone, [MaskedLanguageModel()], notes=notes)
    train = CorruptedBatches(batches, corruption, special_ids=SPECIAL_IDS)
    config = FitConfig(epochs=epochs, learning_rate=1e-2, micro_batches=micro_batches)
    return (
        pretrainer,
        rare,
        lambda *callbacks: fit(pretrainer, train, None, config, directory, callbacks=callbacks, verbose=0),
    )


def test_parts_of_a_batch_would_take_other_notes_and_are_refused(tmp_path):
    pretrainer, _, train = rare_language(True, tmp_path, rows=480, epochs=1, micro_batches=2)
    before = pretrainer.get_weights()
    with pytest.raises(UserError, match="notes on rare words are taken of whole batches: train with micro_batches=1"):
        train()
    for ours, theirs in zip(pretrainer.get_weights(), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.learns
def test_notes_tell_early_what_rare_words_mean(tmp_path):
    """Common words from the rare one beside them alone: it tells the topic, but comes 24 times in all of training."""
    ids = rare_rows(RARE * TOPICS, seed=1)
    common = np.broadcast_to(np.array([3, 4, 5]), (len(ids), 3))
    inputs = {"token_ids": ids.copy(), "segment_ids": 0 * ids, "padding_mask": ids > 0}
    told = {"special_mask": np.isin(ids, SPECIAL_IDS), "word_starts": np.tile(np.arange(7) != 2, (len(ids), 1))}
    inputs["token_ids"][:, 3:6] = MASK
    targets = {"positions": common, "labels": ids[:, 3:6], "weights": np.ones(common.shape, "float32")}
    losses = {}
    for with_notes in (True, False):
        pretrainer, rare, train = rare_language(with_notes, tmp_path / str(with_notes), rows=2880, epochs=2)
        train()
        numbers = to_numpy(rare(tensors({**inputs, **told, "token_ids": ids})))
        assert (numbers > 0).sum(axis=1).tolist() == [2] * len(ids)
        losses[with_notes] = float(loss_of(pretrainer, {**inputs, "word_numbers": numbers}, targets))
    # All that can be known is the topic: log 3. Who knows nothing is at log 18.
    assert losses[True] < 2.3 < 2.7 < losses[False] < 1.05 * np.log(TOPICS * COMMON), losses
    assert losses[True] > 0.95 * np.log(COMMON)


@pytest.mark.learns
def test_a_killed_run_goes_on_as_if_it_had_not_been(tmp_path):
    def run(directory, epochs, seed=0):
        pretrainer, _, train = rare_language(True, directory, rows=480, epochs=2, seed=seed, dropout=0.1)

        def stop(epoch, logs):
            if epoch >= epochs:
                raise KeyboardInterrupt

        return pretrainer, train(keras.callbacks.LambdaCallback(on_epoch_begin=stop))

    whole, history = run(tmp_path / "whole", 2)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "killed", 1)
    again, resumed = run(tmp_path / "killed", 2, seed=9)
    assert resumed == history
    np.testing.assert_array_equal(to_numpy(again.notes.notes), to_numpy(whole.notes.notes))
    for ours, theirs in zip(again.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
