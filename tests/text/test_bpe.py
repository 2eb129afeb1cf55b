"""Byte-level BPE: words, ids and offsets equal those of Hugging Face's `tokenizers`."""

import json
import random

import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers

from tests.text import reference
from tfmodels import datasets
from tfmodels.errors import UserError
from tfmodels.text import ROBERTA_TOKENS, ByteLevelBPETokenizer, split_words, train_byte_level_bpe
from tfmodels.text.bpe import BYTE_CHARACTERS

SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
BYTES = [*SPECIAL, *sorted(BYTE_CHARACTERS)]
HARD_CHARACTERS = reference.HARD_CHARACTERS + "\U0010ffff\x01\x02"
SPLIT = tf.function(split_words, input_signature=[tf.TensorSpec([None], tf.string)])
HARD_TEXT = st.text(
    st.one_of(st.sampled_from("aab9 \n's"), st.sampled_from(HARD_CHARACTERS), st.characters(codec="utf-8")),
    max_size=30,
)


def later(text: str) -> bool:
    """Whether a text holds a letter or digit that RE2's Unicode (15.0) does not know and that of `tokenizers` does."""
    return any(
        pre_tokenizers.ByteLevel(add_prefix_space=False).pre_tokenize_str(kind + char)[1:] == []
        for char in set(text)
        if not char.isascii() and not tf.strings.regex_full_match(char, r"[\p{L}\p{N}]")
        for kind in "a1"
    )


def hugging_face(pieces, merges, prefix=False) -> Tokenizer:
    other = Tokenizer(models.BPE({piece: id for id, piece in enumerate(pieces)}, merges))
    other.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    return other


def reference_words(text: str) -> list[bytes]:
    words = pre_tokenizers.ByteLevel(add_prefix_space=False).pre_tokenize_str(text)
    return [bytes(BYTE_CHARACTERS.index(character) for character in word) for word, _ in words]


@pytest.fixture(scope="module")
def lines():
    lines = [review.text for review in datasets.movie_reviews()]
    lines += [review.text for review in datasets.chinese_reviews()][:4_000]
    return lines + datasets.unlabelled_texts("tweets") + datasets.unlabelled_texts("emoji")


@pytest.fixture(scope="module")
def learnt(lines):
    """A vocabulary of English and Chinese with the reference that it makes."""
    pieces, merges = train_byte_level_bpe(lines[::4], 3_000)
    return ByteLevelBPETokenizer(pieces, merges), hugging_face(pieces, merges)


def assert_equal_ids(pair, texts):
    tokenizer, other = pair
    expected = [encoding.ids for encoding in other.encode_batch_fast(texts, add_special_tokens=False)]
    got = tokenizer(tf.constant(texts, tf.string)).to_list()
    assert [text for text, one, two in zip(texts, expected, got) if one != two] == []


@pytest.mark.data
def test_token_ids_equal_hugging_face_on_real_lines(learnt, lines):
    assert len(lines) > 20_000
    assert_equal_ids(learnt, lines)


@pytest.mark.data
def test_token_ids_equal_hugging_face_on_hard_lines(learnt):
    generator = random.Random(0)
    alphabet = " \n\t\u3000\x85 a1!'sé中tll\u200b\u0301😀\0\x01\U0010ffffeethanin"
    texts = ["".join(generator.choices(alphabet, k=generator.randrange(40))) for _ in range(5_000)]
    texts += ["", " ", "\0", "a" * 1_000, "aaa", "ab" * 501, "中" * 400, "<mask></s>", "🏳️‍🌈", "\ud7ff\ue000"]
    texts += [a + b for a in reference.HARD_CHARACTERS for b in reference.HARD_CHARACTERS]
    assert_equal_ids(learnt, [text for text in texts if "\u1c89" not in text])


@pytest.mark.data
@settings(max_examples=60, deadline=None)
@given(texts=st.lists(HARD_TEXT, max_size=4))
def test_any_text_comes_back_and_its_offsets_tile_it(learnt, texts):
    tokenizer, _ = learnt
    ids, starts, limits = tokenizer.tokenize_with_offsets(tf.constant(texts, tf.string))
    assert [text.decode() for text in tokenizer.detokenize(ids).numpy()] == texts
    assert ids.to_list() == tokenizer(tf.constant(texts, tf.string)).to_list()
    for text, row, begun, ended in zip(texts, ids.to_list(), starts.to_list(), limits.to_list()):
        text = text.encode()
        assert [0, *ended][:-1] == begun[: len(ended)] and (not ended or ended[-1] == len(text))
        spelt = ["".join(BYTE_CHARACTERS[byte] for byte in text[one:two]) for one, two in zip(begun, ended)]
        assert spelt == [tokenizer.id_to_token(id) for id in row]


@pytest.mark.data
@pytest.mark.parametrize("prefix", [False, True])
def test_offsets_equal_hugging_face(learnt, lines, prefix):
    pieces, merges = learnt[0].get_vocabulary(), learnt[0]._merges
    tokenizer, other = (
        ByteLevelBPETokenizer(pieces, merges, add_prefix_space=prefix),
        hugging_face(pieces, merges, prefix),
    )
    texts = [*lines[::20], "", " a", "\na", "a"]
    ids, starts, limits = tokenizer.tokenize_with_offsets(tf.constant(texts))
    for text, row, begun, ended, encoding in zip(
        texts, ids.to_list(), starts.to_list(), limits.to_list(), other.encode_batch(texts, add_special_tokens=False)
    ):
        assert row == encoding.ids
        # The reference counts characters and gives all bytes of one the whole character.
        data = text.encode()
        places = [len(data[:place].decode("utf-8", "ignore")) for place in range(len(data) + 1)]
        got = [(places[one], places[two - 1] + 1 if two else 0) for one, two in zip(begun, ended)]
        alone = ended[:1] == [
            0
        ]  # a blank put before the text is nowhere in it; the reference shows the first character
        assert got[alone:] == encoding.offsets[alone:]


def test_every_character_splits_words_as_in_hugging_face():
    codes = [*range(0x3400), *range(0x3400, 0xD800, 17), *range(0xE000, 0x20000), *range(0x20000, 0x110000, 61)]
    texts = [f"a{chr(code)}1{chr(code)} {chr(code)}b" for code in codes]
    got = SPLIT(tf.constant(texts)).to_list()
    differing = {chr(code) for code, text, words in zip(codes, texts, got) if words != reference_words(text)}
    assert {char for char in differing if not later(char)} == set()
    assert len(differing) < 5_100, "letters and digits of Unicode 15.1 and later"


@settings(max_examples=300, deadline=None)
@given(texts=st.lists(HARD_TEXT, max_size=4))
def test_any_text_splits_into_the_words_of_hugging_face(texts):
    texts = [text for text in texts if not later(text)]
    assert SPLIT(tf.constant(texts, tf.string)).to_list() == [reference_words(text) for text in texts]


def merges_of(*pairs):
    return [tuple(pair.split()) for pair in pairs]


@pytest.mark.parametrize(
    "merges, texts",
    [
        (merges_of("a a"), ["a" * count for count in range(8)]),
        (merges_of("a b", "ab a", "b a"), ["abababa", "aba", "bab"]),
        (merges_of("b c", "a b"), ["abc", "aabbcc", "abcabc"]),
        # (a, bc) makes a piece that (ab, c) made before and that is joined earlier: one by one, from the left.
        (merges_of("a b", "ab c", "abc a", "b c", "a bc"), ["abcabc", "abcbcabc", "bcabcabcabca"]),
        (merges_of("b c", "abc a", "a bc"), ["abcabc", "abcabcabc", "aabcabc"]),
        ([], ["abc", ""]),
    ],
)
def test_pairs_are_joined_in_the_order_of_hugging_face(merges, texts):
    pieces = list(dict.fromkeys([*BYTES, "abc", *(left + right for left, right in merges)]))
    assert_equal_ids((ByteLevelBPETokenizer(pieces, merges), hugging_face(pieces, merges)), texts)


@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_learnt_pairs_of_few_letters_are_joined_as_in_hugging_face(data):
    corpus = data.draw(st.lists(st.text("abc", min_size=2, max_size=12), min_size=1, max_size=6))
    pieces, merges = train_byte_level_bpe(corpus, 300, min_frequency=1)
    texts = data.draw(st.lists(st.text("abc", max_size=15), min_size=1, max_size=8))
    assert_equal_ids((ByteLevelBPETokenizer(pieces, merges), hugging_face(pieces, merges)), texts)


def test_undecodable_bytes_are_what_python_replaces():
    tokenizer = ByteLevelBPETokenizer(BYTES, [])
    data = [b"a\xff b", b"\xe4\xb8", b"\xc0\x80", b"\xf0\x9f\x98 x"]
    assert tokenizer(data).to_list() == tokenizer([text.decode("utf-8", "replace") for text in data]).to_list()


def test_a_line_of_ten_megabytes_takes_seconds():
    tokenizer = ByteLevelBPETokenizer([*BYTES, "lo", "low"], merges_of("l o", "lo w"))
    assert tokenizer(["low" * 33 + " "] * 1 + ["low" * 3_300_000]).row_lengths().numpy().tolist() == [34, 3_300_000]


def test_special_tokens_have_ids_and_come_from_no_text():
    tokenizer = ByteLevelBPETokenizer(BYTES, [])
    ids = [tokenizer.cls_token_id, tokenizer.pad_token_id, tokenizer.sep_token_id, tokenizer.unk_token_id]
    assert [*ids, tokenizer.mask_token_id] == list(range(5))
    assert min(tokenizer(["<s></s><mask><pad><unk>"]).to_list()[0]) > 4
    assert tokenizer.detokenize([[0, *tokenizer(["hé"]).to_list()[0], 2, 1]]).numpy().tolist() == ["hé".encode()]


def test_word_starts_are_pieces_with_a_blank():
    tokenizer = ByteLevelBPETokenizer([*BYTES, "Ġa", "ab"], merges_of("Ġ a", "a b"))
    starts = {piece for piece, start in zip(tokenizer.get_vocabulary(), tokenizer.word_starts()) if start}
    assert starts == {*SPECIAL, "Ġ", "Ġa", "Ċ", "ĉ", "č", "ċ", "Č"}


def test_empty_batches_and_texts_have_no_tokens():
    tokenizer = ByteLevelBPETokenizer(BYTES, [])
    assert tokenizer(tf.constant([], tf.string)).to_list() == []
    assert tokenizer(["", "a", ""]).to_list() == [[], [BYTES.index("a")], []]
    assert tokenizer([""]).dtype == tf.int32


def test_it_runs_in_tf_data_and_in_a_graph_of_the_old_kind():
    tokenizer = ByteLevelBPETokenizer([*BYTES, "lo"], merges_of("l o"))
    expected = tokenizer(["lo lol", "ol"]).to_list()
    dataset = tf.data.Dataset.from_tensor_slices(["lo lol", "ol"]).batch(2).map(tokenizer)
    assert next(iter(dataset)).to_list() == expected
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        ids = tokenizer(tf.constant(["lo lol", "ol"]))
        assert session.run(ids.values).tolist() == [id for row in expected for id in row]


def test_files_are_those_of_hugging_face(tmp_path):
    merges = merges_of("l o", "lo w", "Ġ low")
    tokenizer = ByteLevelBPETokenizer([*BYTES, "lo", "low", "Ġlow"], merges, add_prefix_space=True)
    tokenizer.save(tmp_path)
    files = str(tmp_path / "vocab.json"), str(tmp_path / "merges.txt")
    other = Tokenizer(models.BPE.from_file(*files))
    other.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    again = ByteLevelBPETokenizer.load(tmp_path, **tokenizer.options())
    texts = ["low low", "slow", " low"]
    assert_equal_ids((tokenizer, other), texts)
    assert_equal_ids((again, other), texts)
    assert again.special_tokens == ROBERTA_TOKENS and again.vocabulary_sha256() == tokenizer.vocabulary_sha256()


@pytest.mark.parametrize(
    "pieces, merges, message",
    [
        ([], [], "is empty"),
        ([*BYTES[:-1]], [], "lacks 'Ń', which it needs to spell any text"),
        ([*BYTES, "a"], [], "holds 'a' more than once"),
        (BYTES, [("a", "b")], "lacks 'ab'"),
        (BYTES, [("a", "xyz")], "lacks 'xyz'"),
    ],
)
def test_a_bad_vocabulary_is_refused_in_one_sentence(pieces, merges, message):
    with pytest.raises(UserError, match=message):
        ByteLevelBPETokenizer(pieces, merges)


def test_bad_files_are_refused_in_one_sentence(tmp_path):
    good = tmp_path / "vocab.json"
    good.write_text(json.dumps({piece: id for id, piece in enumerate(BYTES)}))
    (tmp_path / "merges.txt").write_text("#version: 0.2\na b c\n")
    for content, message in (
        ("{", "is not JSON"),
        ('{"a": 1}', "from 0 on"),
        ("[]", "piece to id"),
        (b"\xff", "is not UTF-8"),
    ):
        (tmp_path / "bad").write_bytes(content if isinstance(content, bytes) else content.encode())
        with pytest.raises(UserError, match=message):
            ByteLevelBPETokenizer(tmp_path / "bad", [])
    with pytest.raises(UserError, match="no pair of pieces"):
        ByteLevelBPETokenizer(good, tmp_path / "merges.txt")
    with pytest.raises(UserError, match="cannot be read"):
        ByteLevelBPETokenizer(good, tmp_path / "absent")


@pytest.mark.parametrize("text", ["one", [["a"], ["b"]], [1, 2]])
def test_anything_but_a_vector_of_strings_is_refused(text):
    with pytest.raises(UserError, match="vector of strings"):
        split_words(tf.constant(text))
