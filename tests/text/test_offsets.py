"""Every tokeniser tells the bytes of the original text that a piece comes from, as others tell them."""

import random
import unicodedata

import numpy as np
import pytest
import sentencepiece
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.operations import allowed_operations
from tests.text import reference
from tests.text.test_wordpiece import RICH, rich_vocabulary
from tfmodels import datasets
from tfmodels.errors import UserError
from tfmodels.text import (
    ALBERT_TOKENS,
    BPETokenizer,
    ByteLevelBPETokenizer,
    SentencePieceTokenizer,
    WordPieceTokenizer,
    train_bpe,
    train_byte_level_bpe,
    train_unigram,
)
from tfmodels.text.offsets import Trace

LETTERS = ["alpha beta Gamma delta", "``quoted'' naïve café 中文 😀", "low lower lowest"] * 20
TEXTS = st.lists(
    st.text(
        st.one_of(st.sampled_from("aZ9 '`"), st.sampled_from(reference.HARD_CHARACTERS), st.characters(codec="utf-8")),
        max_size=30,
    ),
    max_size=4,
)
# Marks that are no accents, and yet have an order of their own beside others: decomposing may move them.
MOVED = {
    char for char in map(chr, range(0x110000)) if unicodedata.category(char) == "Mc" and unicodedata.combining(char)
}


def in_graph(tokenizer):
    signature = [tf.TensorSpec([None], tf.string)]
    return tf.function(tokenizer.tokenize_with_offsets, input_signature=signature)


@pytest.fixture(scope="module")
def tokenizers():
    """One of every kind, and of SentencePiece's one that changes text and one that does not."""
    model = train_unigram(LETTERS, 36)
    return {
        "WordPiece": WordPieceTokenizer(rich_vocabulary()),
        "cased WordPiece": WordPieceTokenizer(rich_vocabulary(), lowercase=False),
        "byte-level BPE": ByteLevelBPETokenizer(*train_byte_level_bpe(LETTERS, 290)),
        "byte-level BPE with a prefix": ByteLevelBPETokenizer(
            *train_byte_level_bpe(LETTERS, 290), add_prefix_space=True
        ),
        "BPE": BPETokenizer(*train_bpe(LETTERS, 70)),
        "BPE in lower case": BPETokenizer(*train_bpe(LETTERS, 70, lowercase=True), lowercase=True),
        "SentencePiece": SentencePieceTokenizer(model),
        "ALBERT's SentencePiece": SentencePieceTokenizer(model, ALBERT_TOKENS, lowercase=True, plain_quotes=True),
    }


KINDS = (
    "WordPiece",
    "cased WordPiece",
    "byte-level BPE",
    "byte-level BPE with a prefix",
    "BPE",
    "BPE in lower case",
    "SentencePiece",
    "ALBERT's SentencePiece",
)


def in_characters(text: str, starts, limits) -> list[tuple[int, int]]:
    """Places in bytes, which must not part a character, as places in characters."""
    data = text.encode()
    return [(len(data[:start].decode()), len(data[:limit].decode())) for start, limit in zip(starts, limits)]


def assert_equal_hugging_face(function, other, texts):
    ids, starts, limits = (part.to_list() for part in function(tf.constant(texts, tf.string)))
    encodings = other.encode_batch(texts, add_special_tokens=False)
    assert ids == [encoding.ids for encoding in encodings]
    got = [in_characters(*row) for row in zip(texts, starts, limits)]
    differing = [(text, ours, one.offsets) for text, ours, one in zip(texts, got, encodings) if ours != one.offsets]
    assert differing == []


@pytest.mark.parametrize("options", RICH)
def test_wordpieces_offsets_equal_hugging_face_on_hard_lines(options):
    generator = random.Random(0)
    characters = "".join(char for char in reference.HARD_CHARACTERS if char not in MOVED)
    texts = [a + b for a in characters for b in characters[::3]]
    texts += ["".join(generator.choices(characters + "aaazz9    ", k=generator.randrange(40))) for _ in range(1_000)]
    texts += [
        "",
        " ",
        "Ça va très bien: 好. e\u0301 E\u0301\u0323",
        "👩‍👩‍👧‍👦 👍🏽 🇮🇹 ❤️ \u202eRTL\u202c",
        "naïve café, ΑΣ ΟΔΟΣ, İstanbul, Straße, ﬁnal, 한국어, שָׁלוֹם, السَّلام, नमस्ते, ภาษาไทย, tiếng Việt",
        *(f"{letter * length} a" for letter in ("x", "я", "é", "e\u0301", "𐐀") for length in (100, 101, 401)),
    ]
    function = in_graph(WordPieceTokenizer(rich_vocabulary(), *options))
    assert_equal_hugging_face(function, RICH[options][1], texts)


@pytest.mark.data
def test_wordpieces_offsets_equal_hugging_face_on_real_lines():
    vocabulary = datasets.minilm() / "vocab.txt"
    lines = [review.text for review in datasets.movie_reviews()][:2_000]
    lines += datasets.unlabelled_texts("tweets")[:1_000] + datasets.unlabelled_texts("emoji")[:500]
    lines += [review.text for review in datasets.chinese_reviews()][:1_000]
    assert_equal_hugging_face(in_graph(WordPieceTokenizer(vocabulary)), reference.tokenizer(vocabulary), lines)


@pytest.mark.parametrize("options", RICH)
@settings(max_examples=80, deadline=None)
@given(texts=TEXTS)
def test_wordpieces_offsets_equal_hugging_face_on_any_text(options, texts):
    later = reference.LOWERED_LATER | reference.DECOMPOSED_LATER
    texts = ["".join(char for char in text if char not in MOVED and ord(char) not in later) for text in texts]
    assert_equal_hugging_face(OFFSETS[options], RICH[options][1], texts)


OFFSETS = {options: in_graph(WordPieceTokenizer(rich_vocabulary(), *options)) for options in RICH}


def test_a_mark_that_decomposing_moves_keeps_its_place():
    # Here Hugging Face gives the places after the move to what stood there before it.
    tokenizer = WordPieceTokenizer(rich_vocabulary())
    ids, starts, limits = tokenizer.tokenize_with_offsets(["\u0301\u302e"])
    assert ids.to_list() == [[tokenizer.token_to_id("\u302e")]]
    assert (starts.to_list(), limits.to_list()) == ([[2]], [[5]])


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=60, deadline=None)
@given(texts=TEXTS)
def test_ids_are_those_without_offsets_and_offsets_rise_within_the_text(tokenizers, kind, texts):
    tokenizer, texts = tokenizers[kind], tf.constant(texts, tf.string)
    ids, starts, limits = tokenizer.tokenize_with_offsets(texts)
    assert (ids.dtype, starts.dtype, limits.dtype) == (tf.int32, tf.int64, tf.int64)
    assert ids.to_list() == tokenizer(texts).to_list()
    for text, begun, ended in zip(texts.numpy(), starts.to_list(), limits.to_list()):
        assert all(0 <= start <= limit <= len(text) for start, limit in zip(begun, ended))
        assert begun == sorted(begun) and ended == sorted(ended)
        if not kind.startswith("byte"):
            in_characters(text.decode(), begun, ended)


def parts_of(tokenizer, text: str) -> list[bytes]:
    _, starts, limits = tokenizer.tokenize_with_offsets([text])
    return [text.encode()[start:limit] for start, limit in zip(starts.to_list()[0], limits.to_list()[0])]


def test_wordpieces_come_from_letters_without_the_accents_that_were_removed():
    tokenizer = WordPieceTokenizer([*reference.SPECIAL, "a", "##b", "e", "'", "中"])
    expected = ["É", "'", "A", "b", "中", "a", "zz"]
    assert [part.decode() for part in parts_of(tokenizer, "É'Ab中a\u0301 zz")] == expected


def test_pieces_of_bytes_come_from_their_bytes():
    tokenizer = ByteLevelBPETokenizer(*train_byte_level_bpe(["ab ab ab"], 263))
    expected = [b"\xc3", b"\x89", b"'", b" ab", b"\xe4", b"\xb8", b"\xad", b" ", b"z"]
    assert parts_of(tokenizer, "É' ab中 z") == expected


def test_pieces_of_characters_come_from_their_characters_and_unknown_ones_from_theirs():
    tokenizer = BPETokenizer(*train_bpe(["ab ab ab"], 20))
    assert [part.decode() for part in parts_of(tokenizer, " É'ab 😀ab\nab")] == ["É", "'", "ab", "😀", "ab", "ab"]


def test_sentencepieces_begin_with_their_blank_and_hold_both_characters_of_a_quote(tokenizers):
    parts = parts_of(tokenizers["ALBERT's SentencePiece"], "low ``é")
    assert b"".join(parts).decode() == "low ``é" and any(part.strip() == b"``" for part in parts)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bad", [b"\xff", b"\xe4\xb8", b"\xf0\x9f\x98", b"\xc0\x80", b"\xed\xa0\x80"])
def test_undecodable_bytes_have_their_own_places(tokenizers, kind, bad):
    tokenizer = tokenizers[kind]
    texts = [b"low " + bad + b" low", b"low " + bad, bad]
    ids, starts, limits = tokenizer.tokenize_with_offsets(texts)
    assert ids.to_list() == tokenizer(texts).to_list()
    assert ids.to_list() == tokenizer([text.decode("utf-8", "replace") for text in texts]).to_list()
    for text, begun, ended in zip(texts, starts.to_list(), limits.to_list()):
        assert all(0 <= start <= limit <= len(text) for start, limit in zip(begun, ended))
    parts = [texts[0][start:limit].strip() for start, limit in zip(starts.to_list()[0], limits.to_list()[0])]
    # What follows them is where it stands.
    assert b"".join(parts).endswith(b"low") and b"".join(parts).startswith(b"low")
    assert limits.to_list()[0][-1] == len(texts[0])


@pytest.mark.parametrize("kind", KINDS)
def test_offsets_come_out_of_a_graph_that_a_server_may_run(tokenizers, kind):
    function = in_graph(tokenizers[kind]).get_concrete_function()
    definition = function.graph.as_graph_def()
    nodes = [*definition.node, *(node for one in definition.library.function for node in one.node_def)]
    used = {node.op for node in nodes} - {one.signature.name for one in definition.library.function}
    assert used <= allowed_operations()
    assert not {op for op in used if "Table" in op or "Variable" in op or op == "VarHandleOp"}


@pytest.mark.parametrize("kind", KINDS)
def test_no_texts_and_empty_texts_have_no_pieces(tokenizers, kind):
    for texts in (tf.constant([], tf.string), ["", ""], ["", "low", ""]):
        ids, starts, limits = tokenizers[kind].tokenize_with_offsets(texts)
        assert ids.to_list() == tokenizers[kind](texts).to_list()
        assert starts.row_lengths().numpy().tolist() == ids.row_lengths().numpy().tolist()
        assert limits.to_list()[0:1] in ([], [[]])
    with pytest.raises(UserError, match="vector of strings"):
        tokenizers[kind].tokenize_with_offsets(tf.constant("low"))


@pytest.mark.parametrize("kind", ["WordPiece", "byte-level BPE", "BPE in lower case"])
def test_a_line_of_ten_megabytes_has_offsets(tokenizers, kind):
    text = "low É" * (10_000_000 // 6)
    _, _, limits = tokenizers[kind].tokenize_with_offsets([text])
    assert limits[0, -1] == len(text.encode())


def test_sentencepieces_offsets_are_googles_where_text_is_folded_by_hand():
    # What ALBERT does to text is done here by Python, character by character, and undone on Google's places.
    model = train_unigram(LETTERS, 36)
    ours = SentencePieceTokenizer(model, ALBERT_TOKENS, lowercase=True, plain_quotes=True)
    other = sentencepiece.SentencePieceProcessor(model_proto=model)
    texts = ["``Naïve'' CAFÉ", "Beta ''' alpha", "```low", "É low\u0301er", "中文", "ﬁ①Å low", "  Low  É  "]
    ids, starts, limits = (part.to_list() for part in ours.tokenize_with_offsets(texts))
    for text, row, begun, ended in zip(texts, ids, starts, limits):
        folded, places = "", []  # of every byte of the folded text, the bytes of its origin
        at = 0
        while at < len(text):
            origin = text[at : at + 2] if text[at : at + 2] in ("``", "''") else text[at]
            plain = '"' if len(origin) == 2 else unicodedata.normalize("NFKD", origin).lower()
            plain = "".join(char for char in plain if not unicodedata.category(char).startswith("M"))
            start = len(text[:at].encode())
            places += [(start, start + len(origin.encode()))] * len(plain.encode())
            folded, at = folded + plain, at + len(origin)
        pieces = other.encode(folded, return_type="proto").pieces
        assert row == [piece.id for piece in pieces]
        expected = [
            (places[one][0], places[two - 1][1])
            for one, two in ((piece.begin, piece.end) for piece in pieces)
            if two > one
        ]
        got = [(start, limit) for start, limit in zip(begun, ended) if limit > start]
        assert got == expected, text


def test_a_trace_keeps_characters_that_are_none():
    # `tf.strings.unicode_encode` alone would replace them.
    text = "a\ufdd0\uffff\U0010ffff\0\ufeffé"
    trace = Trace.of(tf.constant([text, "", text]))
    assert [row.decode() for row in trace.text().numpy()] == [text, "", text]
    sizes = [len(char.encode()) for char in text]
    limits = np.cumsum(sizes).tolist()
    assert trace.limits.numpy().tolist() == 2 * limits
    assert trace.starts.numpy().tolist() == 2 * [0, *limits[:-1]]


@pytest.mark.parametrize("kind", ["BPE in lower case", "ALBERT's SentencePiece", "WordPiece"])
def test_text_behind_a_nul_is_not_lost(tokenizers, kind):
    tokenizer = tokenizers[kind]
    behind, alone = tokenizer(["x\0 The", " The"]).to_list()
    assert behind[-len(alone) :] == alone and len(behind) > len(alone)
    _, starts, limits = tokenizer.tokenize_with_offsets(["x\0 The\0\U0010ffff"])
    assert starts.to_list()[0][0] == 0 and max(limits.to_list()[0]) == 11
