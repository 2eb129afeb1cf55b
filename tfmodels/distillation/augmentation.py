"""More rows for a student to ask its teacher about, made from the rows that there are.

A small student that sees only the labelled rows learns them by heart; the teacher's word on variations of them tells it
what each phrase adds. Rows are token ids with a special token at either end. Nothing here has a label: the teacher says
what a new row is.

- `random_spans`: phrases of the rows.
- `varied_rows` with `bilstm_changes`: masked words, replaced words, n-grams (Tang et al., "Distilling Task-Specific
  Knowledge from BERT into Simple Neural Networks", arXiv:1903.12136, section 3.3). Words are replaced by others of
  their group: with a tagger, of their part of speech, as in the paper; without one, of about their frequency
  (`frequency_classes`).
- `SubstitutedWords`: words replaced by what a masked language model or word vectors would say instead (TinyBERT,
  arXiv:1909.10351, algorithm 1).

Cost: thousands of rows a second on one core for the first two; the third needs one pass of the language
model over every row for every word of it, and is as fast as the first two from then on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import keras
import numpy as np
from keras import ops
from rich.console import Console
from rich.progress import track

from tfmodels.errors import UserError
from tfmodels.models import Task
from tfmodels.models.backbone import token_inputs

# A word is the ids of its pieces; a row without its first and last token is a list of words.
Word = tuple[int, ...]
# What makes another row of one; see `varied_rows`.
Change = Callable[[list[Word], np.random.Generator], list[Word]]


def random_spans(rows: Sequence[np.ndarray], count: int, *, shortest=2, longest=15, seed=0) -> list[np.ndarray]:
    """Random n-grams of random rows, each between its row's first and last token.

    Args:
        rows: int[T] token ids with a special token at either end ([CLS] and [SEP] in BERT).
        count: The number of spans.
        shortest: tokens, special ones not counted.
        longest: tokens, special ones not counted.
        seed: Decides the spans.

    Returns:
        int[length + 2] arrays; a row that is shorter than the drawn length is taken whole.

    Raises:
        UserError: There are no rows, or the lengths are not ascending from 1.

    Example:
    >>> [span.tolist() for span in random_spans([np.array([2, 7, 8, 9, 3])], 2, longest=2)]
    [[2, 8, 9, 3], [2, 8, 9, 3]]
    """
    if not len(rows):
        raise UserError("there are no rows to take spans from.")
    if not 1 <= shortest <= longest:
        raise UserError(f"shortest={shortest} and longest={longest} must be ascending from 1.")
    random = np.random.default_rng(seed)
    spans = []
    for row in (rows[index] for index in random.integers(len(rows), size=count)):
        length = min(int(random.integers(shortest, longest + 1)), len(row) - 2)
        start = 1 + int(random.integers(len(row) - 1 - length))
        spans.append(np.concatenate([row[:1], row[start : start + length], row[-1:]]))
    return spans


def words_of(row: np.ndarray, word_starts: np.ndarray) -> list[Word]:
    """A row's words, without its first and last token.

    Args:
        row: int[T].
        word_starts: bool[V], the pieces that begin a word (`Tokenizer.word_starts`).

    Returns:
        The ids of each word's pieces.

    Example:
    >>> words_of(np.array([2, 7, 8, 9, 3]), np.array([True] * 8 + [False] + [True]))
    [(7, 8), (9,)]
    """
    inner = np.asarray(row)[1:-1]
    borders = [*np.flatnonzero(word_starts[inner][1:]) + 1, len(inner)] if len(inner) else []
    pieces = inner.tolist()
    return [tuple(pieces[start:stop]) for start, stop in zip([0, *borders], borders)]


def varied_rows(
    rows: Sequence[np.ndarray], word_starts: np.ndarray, changes: Sequence[Change], *, n_iter=20, seed=0
) -> list[np.ndarray]:
    """Variations of every row: the changes, one after the other, `n_iter` times over.

    Args:
        rows: int[T] token ids with a special token at either end.
        word_starts: bool[V], the pieces that begin a word (`Tokenizer.word_starts`).
        changes: Each makes a list of words of a list of words, `change(words, random)`.
        n_iter: tries for each row.
        seed: Decides the variations.

    Returns:
        At most `n_iter` int arrays for each row, in the rows' order: none twice, and none of the given rows.

    Example:
    >>> rows = varied_rows([np.array([2, 7, 8, 3])], np.full(10, True), bilstm_changes(4, lambda word, _: (9,)))
    >>> all(row[0] == 2 and row[-1] == 3 and set(row[1:-1]) <= {4, 7, 8, 9} for row in rows)
    True
    """
    random = np.random.default_rng(seed)
    return _distinct(rows, (_vary(row, words_of(row, word_starts), changes, n_iter, random) for row in rows))


def _vary(row, words, changes, n_iter, random):
    for _ in range(n_iter):
        varied = words
        for change in changes:
            varied = change(varied, random)
        yield _row_of(row, varied)


def _row_of(row, words):
    return (int(row[0]), *(piece for word in words for piece in word), int(row[-1]))


def _distinct(rows, variations: Iterable[Iterable[Word]]):
    seen = {tuple(np.asarray(row).tolist()) for row in rows}
    kept = []
    for ofrow in variations:
        for row in ofrow:
            if row not in seen:
                seen.add(row)
                kept.append(np.array(row, "int32"))
    return kept


class ChangedWords:
    """Each word meets at most one of several fates (arXiv:1903.12136, section 3.3: one uniform draw a word decides).

    Args:
        fates: Pairs of a probability and `fate(word, random) -> word`; the probabilities sum to at most 1.

    Call arguments:
        words: A row's words.
        random: Draws.

    Returns:
        As many words.

    Raises:
        UserError: The probabilities are none.
    """

    def __init__(self, *fates: tuple[float, Callable[[Word, np.random.Generator], Word]]):
        probabilities = [probability for probability, _ in fates]
        if min(probabilities, default=0) < 0 or sum(probabilities) > 1:
            raise UserError(f"probabilities {probabilities} must be at least 0 and sum to at most 1.")
        self._fates = [fate for _, fate in fates]
        self._limits = np.cumsum(probabilities)

    def __call__(self, words, random):
        met = np.searchsorted(self._limits, random.random(len(words)), side="right")
        return [self._fates[fate](word, random) if fate < len(self._fates) else word for word, fate in zip(words, met)]


class Ngram:
    """Now and then an n-gram in the whole row's place.

    Args:
        probability: of taking one.
        longest: words; the length is uniform from 1.

    Call arguments:
        words: A row's words.
        random: Draws.

    Returns:
        The words, or a stretch of them.
    """

    def __init__(self, probability=0.25, longest=5):
        self.probability = probability
        self.longest = longest

    def __call__(self, words, random):
        if random.random() >= self.probability or not words:
            return words
        length = min(int(random.integers(1, self.longest + 1)), len(words))
        start = int(random.integers(len(words) - length + 1))
        return words[start : start + length]


class SameGroup:
    """Another word of the same group, as often as it is used: the paper's part of speech, or a frequency class.

    Args:
        groups: int[V], a group for every piece; -1 for those that neither are replaced nor replace.
        counts: int[V], how often each piece is seen.

    Call arguments:
        word: The ids of its pieces. A word of several pieces has no group and stays.
        random: Draws.

    Returns:
        A word of one piece, maybe the same again.
    """

    def __init__(self, groups: np.ndarray, counts: np.ndarray):
        self._groups = np.asarray(groups)
        self._members, self._limits = {}, {}
        for group in np.unique(self._groups[self._groups >= 0]):
            members = np.flatnonzero((self._groups == group) & (np.asarray(counts) > 0))
            if len(members):
                self._members[group] = members
                self._limits[group] = np.cumsum(np.asarray(counts)[members])

    def __call__(self, word, random):
        group = self._groups[word[0]] if len(word) == 1 else -1
        if group not in self._members:
            return word
        limits = self._limits[group]
        drawn = np.searchsorted(limits, random.random() * limits[-1], side="right")
        return (int(self._members[group][drawn]),)


def frequency_classes(counts: np.ndarray, replaceable: np.ndarray) -> np.ndarray:
    """Groups of pieces that are used about as often: how often the most frequent one halves until it is as rare.

    Args:
        counts: int[V], how often each piece is seen.
        replaceable: bool[V], the pieces that are words; special tokens and continuations are not.

    Returns:
        int[V]: round(log2(most / count)), and -1 at what is not seen or not replaceable.

    Example:
    >>> frequency_classes(np.array([100, 60, 24, 26, 0]), np.array([True, True, True, True, True])).tolist()
    [0, 1, 2, 2, -1]
    """
    counts = np.where(replaceable, counts, 0)
    known = counts > 0
    classes = np.full(len(counts), -1)
    classes[known] = np.round(np.log2(counts.max(initial=1) / counts[known])).astype(int)
    return classes


def bilstm_changes(mask_id: int, replace, *, p_mask=0.1, p_replace=0.1, p_ngram=0.25, longest=5) -> list[Change]:
    """The augmentation of arXiv:1903.12136, section 3.3, with the probabilities of its section 4.2.

    Args:
        mask_id: [MASK] in a masked word's place.
        replace: `replace(word, random) -> word`, such as `SameGroup`: the paper's POS-guided replacement.
        p_mask: of masking a word.
        p_replace: of replacing one, if it is not masked (the paper's p_pos).
        p_ngram: of taking an n-gram of the row.
        longest: words of an n-gram.

    Returns:
        Changes for `varied_rows`.
    """
    masked = (int(mask_id),)
    return [ChangedWords((p_mask, lambda word, random: masked), (p_replace, replace)), Ngram(p_ngram, longest)]


class NearestWords:
    """The words whose vectors point most nearly the same way.

    Args:
        words: W words, as the ids of their pieces.
        vectors: float[W, E], any word vectors; of a model's own table, `mean_of_pieces` makes some.
        count: K, neighbours of a word.

    Call arguments:
        word: The ids of its pieces.

    Returns:
        At most K words, the nearest first; none for a word without a vector.

    Raises:
        UserError: There are not as many vectors as words.

    Example:
    >>> nearest = NearestWords([(1,), (2, 3), (4,)], np.array([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]]), count=1)
    >>> nearest((2, 3))
    [(1,)]
    """

    def __init__(self, words: Sequence[Word], vectors: np.ndarray, count: int = 15):
        if len(words) != len(vectors):
            raise UserError(f"there are {len(words)} words and {len(vectors)} vectors: give every word one.")
        self.words = [tuple(word) for word in words]
        self.count = count
        self._places = {word: place for place, word in enumerate(self.words)}
        vectors = np.asarray(vectors, "float32")
        self._units = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        self._known: dict[Word, list[Word]] = {}

    def __call__(self, word: Word) -> list[Word]:
        if word not in self._known:
            place = self._places.get(word)
            self._known[word] = [] if place is None else self._nearest(place)
        return self._known[word]

    def _nearest(self, place):
        cosines = self._units @ self._units[place]  # [W]
        cosines[place] = -np.inf
        count = min(self.count, len(cosines) - 1)
        best = np.argpartition(-cosines, count - 1)[:count] if count else np.array([], int)
        return [self.words[index] for index in best[np.argsort(-cosines[best], kind="stable")]]


def mean_of_pieces(words: Sequence[Word], table: np.ndarray) -> np.ndarray:
    """Word vectors out of a table of piece vectors, such as the teacher's embeddings.

    Args:
        words: W words, as the ids of their pieces.
        table: float[V, E].

    Returns:
        float[W, E].
    """
    lengths = np.array([len(word) for word in words])
    pieces = np.asarray(table)[np.concatenate([np.asarray(word) for word in words])]  # [all pieces, E]
    return np.add.reduceat(pieces, np.cumsum(lengths) - lengths, axis=0) / lengths[:, None]


class SubstitutedWords:
    """Words replaced by what could stand in their place (TinyBERT, arXiv:1909.10351, algorithm 1).

    A word of one piece is masked in its row, and its candidates are the K words that a masked language model finds most
    probable there; a word of several pieces has those nearest to it by word vectors. Every variation replaces each word
    with probability p_t by one of its candidates, drawn uniformly. As in the authors' code, candidates are found in the
    row as it is, once, and serve all of its variations.

    Args:
        masked_lm: A `MaskedLM` task on the rows' tokens.
        word_starts: bool[V], the pieces that begin a word (`Tokenizer.word_starts`).
        special_ids: Ids that are no words ([CLS], [SEP], [MASK] ...): never candidates.
        mask_id: [MASK].
        nearest: `nearest(word) -> words`, such as `NearestWords`; None leaves words of several pieces alone.
        p_replace: p_t, of replacing a word.
        count: N_a, variations of a row.
        candidates: K.
        batch_size: rows, for the language model.
        seed: Decides the variations.
        progress: Whether to show a bar while the language model reads.

    Call arguments:
        rows: int[T] token ids with a special token at either end.

    Returns:
        At most `count` int arrays for each row, in the rows' order: none twice, and none of the given rows.

    Raises:
        UserError: p_t is no probability.
    """

    def __init__(
        self,
        masked_lm: Task,
        word_starts: np.ndarray,
        special_ids: Sequence[int],
        mask_id: int,
        nearest: Callable[[Word], list[Word]] | None = None,
        *,
        p_replace=0.4,
        count=20,
        candidates=15,
        batch_size=256,
        seed=0,
        progress=True,
    ):
        if not 0 <= p_replace <= 1:
            raise UserError(f"p_replace={p_replace} must be a probability, from 0 to 1.")
        self.word_starts = np.asarray(word_starts)
        self.mask_id = mask_id
        self.nearest = nearest
        self.p_replace = p_replace
        self.count = count
        self.batch_size = batch_size
        self.seed = seed
        self.progress = progress
        is_word = self.word_starts.copy()
        is_word[np.asarray(special_ids, int)] = False
        self._predict = _most_probable(masked_lm, is_word, min(candidates, int(is_word.sum())))

    def __call__(self, rows: Sequence[np.ndarray]) -> list[np.ndarray]:
        words = [words_of(row, self.word_starts) for row in rows]
        found = self.candidates_of(rows, words)
        random = np.random.default_rng(self.seed)
        variations = (
            _vary(*given, [self._substitute(own)], self.count, random) for *given, own in zip(rows, words, found)
        )
        return _distinct(rows, variations)

    def candidates_of(self, rows, words) -> list[list[list[Word]]]:
        """The candidates of each word of each row.

        Args:
            rows: int[T] token ids.
            words: The words of each, as `words_of` returns them.

        Returns:
            Lists of words, for every word of every row.
        """
        found = [
            [[] if len(word) == 1 or self.nearest is None else self.nearest(word) for word in own] for own in words
        ]
        masked = []  # row, word, place of its piece
        for row, own in enumerate(words):
            places = np.cumsum([1, *(len(word) for word in own)])
            masked += [(row, number, places[number]) for number, word in enumerate(own) if len(word) == 1]
        # Rows of one length together: little is padding, and few shapes are traced.
        masked.sort(key=lambda at: len(rows[at[0]]))
        starts = range(0, len(masked), self.batch_size)
        console = Console(stderr=True)
        for start in track(starts, "Candidates for words", console=console, disable=not self.progress):
            batch = masked[start : start + self.batch_size]
            for (row, number, _), ids in zip(batch, self._predict_at([(rows[row], place) for row, _, place in batch])):
                found[row][number] = [(piece,) for piece in ids.tolist()]
        return found

    def _predict_at(self, batch):
        length = -(-max(len(row) for row, _ in batch) // 8) * 8
        length = min(length, self._longest) if self._longest else length
        token_ids = np.zeros((len(batch), length), "int32")
        padding_mask = np.zeros((len(batch), length), bool)
        places = np.array([place for _, place in batch], "int32")
        for number, (row, _) in enumerate(batch):
            token_ids[number, : len(row)] = row
            padding_mask[number, : len(row)] = True
        token_ids[np.arange(len(batch)), places] = self.mask_id
        inputs = {"token_ids": token_ids, "segment_ids": 0 * token_ids, "padding_mask": padding_mask}
        return self._predict.predict_on_batch({**inputs, "places": places})

    @property
    def _longest(self):
        return self._predict.max_length

    def _substitute(self, candidates):
        def change(words, random):
            draws, choices = random.random((2, len(words)))
            return [
                own[int(choice * len(own))] if own and draw < self.p_replace else word
                for word, own, draw, choice in zip(words, candidates, draws, choices)
            ]

        return change


def _most_probable(task, is_word, count):
    """A model from rows and one place in each to the `count` most probable words there, int32[B, count]."""
    inputs = {**token_inputs(), "places": keras.Input((), dtype="int32", name="places")}
    tokens = {name: inputs[name] for name in task.backbone.input}
    features = task.backbone(tokens)
    # The head is as wide as the vocabulary: it looks at one place of a row.
    at_place = ops.take_along_axis(features["sequence_output"], inputs["places"][:, None, None], axis=1)  # [B, 1, D]
    logits = task.head({**tokens, **features, "sequence_output": at_place})["logits"][:, 0]  # [B, V]
    _, ids = ops.top_k(logits + np.where(is_word, 0.0, -1e9).astype("float32"), count)
    model = keras.Model(inputs, ids, name="most_probable")
    model.max_length = task.backbone.max_length
    return model
