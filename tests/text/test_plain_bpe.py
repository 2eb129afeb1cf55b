"""Plain BPE: words, ids and offsets equal those of `tokenizers`; `tests/parity` compares with `subword-nmt`."""

import random

import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, models, pre_tokenizers

from tests.text import reference
from tfmodels import datasets
from tfmodels.errors import UserError
from tfmodels.text import (
    ROBERTA_FORMAT,
    ROBERTA_TOKENS,
    BPETokenizer,
    SpecialTokens,
    TextPreprocessor,
    split_at_blanks,
    train_bpe,
)
from tfmodels.text.bpe import END_OF_WORD

SPECIAL = ROBERTA_TOKENS.names()
LETTERS = [*SPECIAL, *"lowest", *(f"{letter}</w>" for letter in "lowest")]
TEXT = st.text(
    st.one_of(st.sampled_from("aab \n"), st.sampled_from(reference.HARD_CHARACTERS), st.characters(codec="utf-8")),
    max_size=30,
)


def merges_of(*pairs):
    return [tuple(pair.split()) for pair in pairs]


def hugging_face(pieces, merges) -> Tokenizer:
    ids = {piece: id for id, piece in enumerate(pieces)}
    other = Tokenizer(models.BPE(ids, merges, unk_token="<unk>", end_of_word_suffix=END_OF_WORD))
    other.pre_tokenizer = pre_tokenizers.Split(Regex("[ \r\n]"), "removed")
    return other


def pieces_of(tokenizer, text: str) -> list[str]:
    return [tokenizer.id_to_token(id) for id in tokenizer([text]).to_list()[0]]


@pytest.fixture(scope="module")
def lines():
    lines = [" ".join(words) for words in datasets.chinese_news()[:1_000]]
    return lines + [review.text for review in datasets.movie_reviews()[:3_000]] + datasets.unlabelled_texts("emoji")


@pytest.fixture(scope="module")
def learnt(lines):
    """A vocabulary of English and Chinese, without the rare characters of either, and the reference that it makes."""
    pieces, merges = train_bpe(lines[::2], 3_000, max_characters=1_000)
    return BPETokenizer(pieces, merges), hugging_face(pieces, merges)


def assert_equal_ids_and_offsets(pair, texts):
    tokenizer, other = pair
    ids, starts, limits = (part.to_list() for part in tokenizer.tokenize_with_offsets(tf.constant(texts, tf.string)))
    assert ids == tokenizer(tf.constant(texts, tf.string)).to_list()
    encodings = other.encode_batch(texts, add_special_tokens=False)
    for text, row, begun, ended, encoding in zip(texts, ids, starts, limits, encodings):
        assert row == encoding.ids, text
        data = text.encode()
        got = [(len(data[:start].decode()), len(data[:limit].decode())) for start, limit in zip(begun, ended)]
        assert got == encoding.offsets, text


@pytest.mark.data
def test_ids_and_offsets_equal_hugging_face_on_real_lines(learnt, lines):
    assert_equal_ids_and_offsets(learnt, lines)
    unknown = tf.equal(learnt[0](lines).flat_values, learnt[0].unk_token_id)
    assert 0.005 < tf.reduce_mean(tf.cast(unknown, tf.float32)) < 0.2


@pytest.mark.data
def test_ids_and_offsets_equal_hugging_face_on_hard_lines(learnt):
    generator = random.Random(0)
    alphabet = reference.HARD_CHARACTERS + "ethanin   \n\r的人"
    texts = ["".join(generator.choices(alphabet, k=generator.randrange(40))) for _ in range(2_000)]
    texts += ["", " ", "\r\n", "\0", "a", "a" * 10_000, "😀" * 10_000, "ab" * 501, "</w>", "a</w>b <mask></s>"]
    assert_equal_ids_and_offsets(learnt, texts)


@pytest.mark.data
@settings(max_examples=60, deadline=None)
@given(texts=st.lists(TEXT, max_size=4))
def test_words_come_back_and_pieces_tile_them(learnt, texts):
    tokenizer, _ = learnt
    ids, starts, limits = tokenizer.tokenize_with_offsets(tf.constant(texts, tf.string))
    assert ids.to_list() == tokenizer(tf.constant(texts, tf.string)).to_list()
    for text, row, begun, ended in zip(texts, ids.to_list(), starts.to_list(), limits.to_list()):
        parts = [text.encode()[start:limit].decode() for start, limit in zip(begun, ended)]
        assert "".join(parts) == "".join(char for char in text if char not in " \r\n")
        for id, part in zip(row, parts):
            known = tokenizer.id_to_token(id).removesuffix(END_OF_WORD)
            assert part == known or (id == tokenizer.unk_token_id and len(part) == 1)
    known = [row for row in ids.to_list() if tokenizer.unk_token_id not in row]
    again = [tokenizer.detokenize([row]).numpy()[0].decode() for row in known if row]
    assert tokenizer(tf.constant(again, tf.string)).to_list() == [row for row in known if row]


@settings(max_examples=200, deadline=None)
@given(texts=st.lists(TEXT, max_size=4))
def test_words_stand_between_blanks_and_line_breaks_alone(texts):
    expected = [
        [word.encode() for word in text.replace("\r", " ").replace("\n", " ").split(" ") if word] for text in texts
    ]
    assert SPLIT(tf.constant(texts, tf.string)).to_list() == expected


SPLIT = tf.function(split_at_blanks, input_signature=[tf.TensorSpec([None], tf.string)])


def test_detokenizing_joins_words_with_blanks_and_leaves_structure_out():
    tokenizer = BPETokenizer([*LETTERS, "lo", "low</w>"], merges_of("l o", "lo w</w>"))
    ids = tokenizer([" low \n lowe  é <s>", "", "low"]).to_list()
    texts = tokenizer.detokenize(tf.ragged.constant([[2, *ids[0], 3, 0], [], ids[2][:1]], dtype=tf.int32))
    # As with `subword-nmt`, after what is unknown a word is taken to have ended.
    assert [text.decode() for text in texts.numpy()] == ["low lowe <unk> <unk> s<unk>", "", "low"]
    assert tokenizer.detokenize([[0, 0]]).numpy().tolist() == [b""]


def test_pairs_are_joined_all_at_once():
    # One by one, the first "abc" would take the "a" of what would have been the second.
    pieces = [*SPECIAL, *"abc", "x</w>", "bc", "abc", "abca"]
    tokenizer = BPETokenizer(pieces, merges_of("abc a", "b c", "a bc"))
    assert pieces_of(tokenizer, "abcabcx") == ["abc", "abc", "x</w>"]


def test_the_first_of_equal_merges_counts():
    pieces = [*LETTERS, "lo", "ow"]
    tokenizer = BPETokenizer(pieces, merges_of("l o", "o w", "l o"))
    assert pieces_of(tokenizer, "lowe") == ["lo", "w", "e</w>"]
    assert pieces_of(BPETokenizer(pieces, merges_of("o w", "l o", "o w")), "lowe") == ["l", "ow", "e</w>"]


def test_text_makes_neither_special_tokens_nor_ends_of_words():
    texts = ["a<unk>b a<unk>b </w>x </w>x a</w>b"] * 5
    pieces, merges = train_bpe(texts, 100, min_frequency=1)
    forged = [("<un", "k>"), ("</w", ">"), ("a", "</w>"), ("<unk>", "b")]
    assert not {left + right for left, right in merges} & {"<unk>", "</w>"}
    for pairs in (merges, [*forged, *merges], [*merges, *forged]):
        tokenizer = BPETokenizer(list(dict.fromkeys([*pieces, "<un", "k>", "</w", "</w>", "a</w>", "<unk>b"])), pairs)
        ids, starts, limits = tokenizer.tokenize_with_offsets(texts)
        assert tokenizer.unk_token_id not in ids.flat_values.numpy()
        parts = [texts[0].encode()[start:limit] for start, limit in zip(starts.to_list()[0], limits.to_list()[0])]
        assert [tokenizer.id_to_token(id).removesuffix("</w>").encode() for id in ids.to_list()[0]] == parts
        assert tokenizer.detokenize(ids).numpy().tolist() == [text.encode() for text in texts]
    # A character that is unknown is no piece of text either.
    assert tokenizer(["éb"]).to_list()[0][0] == tokenizer.unk_token_id


def test_undecodable_bytes_are_unknown_one_by_one():
    tokenizer = BPETokenizer([*LETTERS, "lo"], merges_of("l o"))
    data = [b"lo\xffw lo", b"\xe4\xb8", b"l\xc0\x80", b"\xf0\x9f\x98 lo"]
    assert tokenizer(data).to_list() == tokenizer([text.decode("utf-8", "replace") for text in data]).to_list()
    assert pieces_of(tokenizer, data[0]) == ["lo", "<unk>", "w</w>", "l", "o</w>"]
    texts = ["low\ufffd"] * 2
    assert (
        BPETokenizer(*train_bpe(texts, 20))([b"low\xff"]).to_list()
        == BPETokenizer(*train_bpe(texts, 20))(texts[:1]).to_list()
    )


def test_lower_case_is_that_of_every_character_alone():
    pieces, merges = train_bpe(["ΟΔΟΣ İstanbul LOW low"] * 3, 60, lowercase=True)
    tokenizer, plain = BPETokenizer(pieces, merges, lowercase=True), BPETokenizer(pieces, merges)
    ids, starts, limits = tokenizer.tokenize_with_offsets(["LOW ΟΔΟΣ İl"])
    assert ids.to_list() == plain(["low οδοσ i\u0307l"]).to_list()
    assert tokenizer.unk_token_id not in ids.to_list()[0] and plain.unk_token_id in plain(["LOW"]).to_list()[0]
    # Both characters that the dotted capital becomes are its two bytes.
    text = "LOW ΟΔΟΣ İl".encode()
    places = list(zip(starts.to_list()[0], limits.to_list()[0]))
    assert places[0] == (0, 3) and (text.index("İ".encode()), len(text) - 1) in places
    assert places[-1] == (len(text) - 1, len(text))


def test_a_word_of_ten_thousand_characters_and_a_line_of_ten_megabytes_are_cut():
    tokenizer = BPETokenizer([*LETTERS, "lo", "low"], merges_of("l o", "lo w"))
    generator = random.Random(0)
    word = "".join(generator.choices("lowest", k=10_000))
    ids, starts, limits = tokenizer.tokenize_with_offsets([word, "low" * 3_300_000 + "w"])
    assert ids.row_lengths().numpy().tolist()[1] == 3_300_001
    parts = [word[start:limit] for start, limit in zip(starts[0].numpy(), limits[0].numpy())]
    assert "".join(parts) == word and parts.count("low") >= word[:-1].count("low") > 20


def test_empty_batches_and_texts_have_no_tokens():
    tokenizer = BPETokenizer(LETTERS, [])
    assert tokenizer(tf.constant([], tf.string)).to_list() == []
    assert tokenizer(["", "l", " \n"]).to_list() == [[], [LETTERS.index("l</w>")], []]
    assert tokenizer([""]).dtype == tf.int32
    # Nothing but the unknown token is a vocabulary too.
    assert BPETokenizer(["<unk>"], [])(["ab"]).to_list() == [[0, 0]]


def test_it_runs_in_tf_data_and_in_a_graph_of_the_old_kind():
    tokenizer = BPETokenizer([*LETTERS, "lo"], merges_of("l o"))
    expected = tokenizer(["lo lol", "ol"]).to_list()
    dataset = tf.data.Dataset.from_tensor_slices(["lo lol", "ol"]).batch(2).map(tokenizer)
    assert next(iter(dataset)).to_list() == expected
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        ids = tokenizer(tf.constant(["lo lol", "ol"]))
        assert session.run(ids.values).tolist() == [id for row in expected for id in row]


def test_a_saved_preprocessor_loads_equal(tmp_path):
    special = SpecialTokens("<pad>", "<unk>", "<s>", "</s>", None)
    pieces, merges = train_bpe(["low lower \u2028 #version \x85x"] * 3, 60, special_tokens=special.names())
    tokenizer = BPETokenizer(pieces, merges, special, lowercase=True)
    preprocessor = TextPreprocessor(tokenizer, 24, length_multiple=4, format=ROBERTA_FORMAT)
    preprocessor.save(tmp_path)
    loaded = TextPreprocessor.load(tmp_path)
    assert type(loaded.tokenizer) is BPETokenizer and loaded.tokenizer.options() == {"lowercase": True}
    assert (loaded.tokenizer.get_vocabulary(), loaded.tokenizer.special_tokens) == (pieces, special)
    texts = ["LOW lower é", "", "#version x\u2028"]
    assert loaded(texts)["token_ids"].numpy().tolist() == preprocessor(texts)["token_ids"].numpy().tolist()
    assert loaded.tokenizer.files() == tokenizer.files()


@pytest.mark.parametrize(
    "pieces, merges, message",
    [
        ([], [], "is empty"),
        (LETTERS[2:], [], "lacks <unk>"),
        ([*LETTERS, "l"], [], "holds 'l' more than once"),
        (LETTERS, [("l", "o")], "lacks 'lo', which it needs"),
        (LETTERS, [("x", "o")], "lacks 'x', which it needs"),
        (LETTERS, ["lo"], "hold 'lo', which is no pair"),
        (LETTERS, [("l", "o", "w")], "hold 'l o w', which is no pair"),
        (LETTERS, [("l",)], "hold 'l', which is no pair"),
        (LETTERS, [("l", "")], "hold 'l ', which is no pair"),
        (LETTERS, [("l", "o w")], "hold 'l o w', which is no pair"),
        (LETTERS, [("l", 3)], "hold 'l 3', which is no pair"),
    ],
)
def test_a_bad_vocabulary_is_refused_in_one_sentence(pieces, merges, message):
    with pytest.raises(UserError, match=message):
        BPETokenizer(pieces, merges)


@pytest.mark.parametrize(
    "content, message",
    [
        (b"l o\n", "do not begin with '#version: 0.2'"),
        (b"#version: 0.1\nl o\n", "do not begin with '#version: 0.2'"),
        (b"", "do not begin with '#version: 0.2'"),
        (b"#version: 0.2\nl o w\n", "hold 'l o w', which is no pair"),
        (b"#version: 0.2\n#version: 0.2\nl\n", "lacks '#version:'|hold 'l', which is no pair"),
        (b"#version: 0.2\n\xff o\n", "is not UTF-8"),
    ],
)
def test_codes_that_are_none_of_version_0_2_are_refused_in_one_sentence(tmp_path, content, message):
    (tmp_path / "codes").write_bytes(content)
    with pytest.raises(UserError, match=message):
        BPETokenizer(LETTERS, tmp_path / "codes")
    with pytest.raises(UserError, match="cannot be read"):
        BPETokenizer(LETTERS, tmp_path / "absent")


def test_whole_words_cannot_be_told_by_the_pieces():
    with pytest.raises(UserError, match="does not tell whether it begins a word"):
        BPETokenizer(LETTERS, []).word_starts()


@pytest.mark.parametrize("text", ["one", [["a"], ["b"]], [1, 2]])
def test_anything_but_a_vector_of_strings_is_refused(text):
    with pytest.raises(UserError, match="vector of strings"):
        split_at_blanks(tf.constant(text))
