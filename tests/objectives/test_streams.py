"""Streams of contiguous text: nothing is lost, every row reads on where it stopped, and epochs are their own."""

import numpy as np
import pytest
import tensorflow as tf

from tests.objectives.rows import SPECIAL_IDS
from tests.support import to_numpy
from tfmodels.errors import UserError
from tfmodels.objectives import CorruptedBatches, PartialPrediction, PermutedText, TextStreams


def documents(lengths=(5, 1, 9, 0, 4, 7), first=10):
    """Ragged documents whose tokens are all different, in rising order."""
    return tf.RaggedTensor.from_row_lengths(np.arange(first, first + sum(lengths)), list(lengths))


def read(dataset, rows, slots=None):
    """What every row of the batches reads, padding left out, and the batches."""
    batches = [(to_numpy(inputs), to_numpy(targets)) for inputs, targets in dataset]
    texts = [[] for _ in range(slots or rows)]
    for inputs, _ in batches:
        for row, text in enumerate(texts):
            text.extend(inputs["token_ids"][row][inputs["padding_mask"][row]].tolist())
    return texts, batches


@pytest.mark.parametrize("rows, length", [(1, 4), (2, 4), (3, 3), (4, 1), (5, 30), (26, 2)])
def test_streams_are_the_documents_cut_into_equal_parts(rows, length):
    streams = TextStreams(documents(), rows, length)
    texts, batches = read(streams.in_order(), rows)
    size = -(-26 // rows)
    assert texts == [list(range(10 + size * row, 10 + min(26, size * (row + 1)))) for row in range(rows)]
    assert len(batches) == len(streams) == -(-size // length)
    for number, (inputs, targets) in enumerate(batches):
        assert inputs["token_ids"].shape == (rows, length) and not inputs["segment_ids"].any()
        assert (inputs["is_start"] == (number == 0)).all()
        assert targets["row"].tolist() == list(range(number * rows, (number + 1) * rows))
        # Tokens rise by one: the label of each is the next one, over the ends of stretches but not of streams.
        counts = targets["weights"] > 0
        np.testing.assert_array_equal(targets["labels"][counts], inputs["token_ids"][counts] + 1)
        ends = np.isin(inputs["token_ids"], [text[-1] for text in texts])
        np.testing.assert_array_equal(counts, inputs["padding_mask"] & ~ends)


def test_an_epoch_reads_all_documents_in_an_order_of_its_own():
    streams = TextStreams(documents(), 2, 4, seed=3)
    one, two = (read(streams.dataset(epoch, epoch + 1), 2)[0] for epoch in (0, 1))
    assert sorted(one[0] + one[1]) == sorted(two[0] + two[1]) == list(range(10, 36)) and one != two
    whole = read(streams.dataset(0, 2), 2)
    assert whole[0] == [one[row] + two[row] for row in (0, 1)], "a resumed run reads the same"
    assert [inputs["is_start"].all() for inputs, _ in whole[1]] == [True, False, False, False] * 2
    assert read(TextStreams(documents(), 2, 4, seed=4).dataset(), 2)[0] != one
    # Documents stay whole, but where a stream ends.
    assert set(range(16, 25)) <= set(one[0]) or set(range(16, 25)) <= set(one[1]) or len(set(one[0]) & {16, 24}) == 1


def test_half_of_the_rows_read_backwards():
    streams = TextStreams(documents(), 4, 4, both_directions=True)
    texts, batches = read(streams.in_order(), 4)
    assert texts[:2] == [list(range(10, 23)), list(range(23, 36))]
    assert texts[2:] == [text[::-1] for text in texts[:2]]
    for inputs, targets in batches:
        counts = targets["weights"][2:] > 0
        np.testing.assert_array_equal(targets["labels"][2:][counts], inputs["token_ids"][2:][counts] - 1)
    # The last stream is shorter than the others: it is read from its own end.
    assert read(TextStreams(documents([7]), 4, 3, both_directions=True).in_order(), 4)[0][3] == [16, 15, 14]


def test_stretches_may_overlap():
    streams = TextStreams(documents([11]), 1, 5, step=2)
    rows = [inputs["token_ids"][0].tolist() for inputs, _ in read(streams.in_order(), 1)[1]]
    assert rows == [[10, 11, 12, 13, 14], [12, 13, 14, 15, 16], [14, 15, 16, 17, 18], [16, 17, 18, 19, 20]]
    assert len(streams) == 4
    assert len(TextStreams(documents([12]), 1, 5, step=2)) == 5, "no token is left out"
    assert len(TextStreams(documents([3]), 1, 5, step=2)) == 1


def test_what_belongs_to_tokens_goes_with_them():
    texts = documents()
    streams = TextStreams(texts, 2, 4, targets={"double": texts * 2, "even": tf.equal(texts % 2, 0)}, seed=1)
    for inputs, targets in streams.dataset(0, 2):
        tokens, real = inputs["token_ids"].numpy(), inputs["padding_mask"].numpy()
        np.testing.assert_array_equal(targets["double"], 2 * tokens)
        np.testing.assert_array_equal(targets["even"], (tokens % 2 == 0) & real)


def test_streams_can_be_corrupted():
    streams = TextStreams(documents([40, 40], first=4), 2, 8)
    corruption = PermutedText(PartialPrediction(3, max_predictions=4))
    batches = CorruptedBatches(streams, corruption, special_ids=SPECIAL_IDS)
    for (inputs, targets), (plain, _) in zip(batches.in_order(), streams.in_order(), strict=True):
        assert inputs["is_start"].numpy().tolist() == plain["is_start"].numpy().tolist()
        places, counts = targets["positions"].numpy(), targets["weights"].numpy() > 0
        expected = np.take_along_axis(plain["token_ids"].numpy(), places, axis=1)
        np.testing.assert_array_equal(targets["labels"].numpy()[counts], expected[counts])
    first, second = ([t["positions"].numpy().tolist() for _, t in batches.dataset(e, e + 1)] for e in (0, 1))
    assert first != second


def test_what_cannot_be_is_told():
    with pytest.raises(UserError, match="step=5 must be between 1 and the length of a stretch, 4"):
        TextStreams(documents(), 2, 4, step=5)
    with pytest.raises(UserError, match="batch_size=3 is odd"):
        TextStreams(documents(), 3, 4, both_directions=True)
    with pytest.raises(UserError, match="26 tokens are too few for 27 streams"):
        TextStreams(documents(), 27, 4)
    with pytest.raises(ValueError, match="'words' must have as many numbers"):
        TextStreams(documents(), 2, 4, targets={"words": documents([26])})


def test_segments_are_cut_as_the_tokens_are():
    texts = documents()
    streams = TextStreams(texts, 4, 4, both_directions=True, segment_ids=texts % 3)
    for inputs, _ in streams.dataset():
        expected = np.where(inputs["padding_mask"], inputs["token_ids"] % 3, 0)
        np.testing.assert_array_equal(inputs["segment_ids"], expected)
    with pytest.raises(ValueError, match="'segment_ids' must have as many numbers"):
        TextStreams(texts, 2, 4, segment_ids=documents([26]))
