"""Token ids equal those of Hugging Face's `tokenizers`, on real lines and on the hardest ones that can be made."""

import unicodedata

import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.text import reference
from tfmodels import datasets
from tfmodels.errors import UserError
from tfmodels.text import WordPieceTokenizer

SMALL = [*reference.SPECIAL, "un", "##want", "##ed", "run", "##ning", "!", ",", "é", "中"]


@pytest.fixture(scope="module")
def small():
    return WordPieceTokenizer(SMALL)


@pytest.fixture(scope="module")
def minilm():
    """MiniLM's tokeniser, ours in a function and the other one."""
    vocabulary = datasets.minilm() / "vocab.txt"
    tokenizer = WordPieceTokenizer(vocabulary)
    function = tf.function(tokenizer, input_signature=[tf.TensorSpec([None], tf.string)])
    return function, reference.tokenizer(vocabulary)


def assert_equal_ids(pair, lines):
    function, other = pair
    expected = [encoding.ids for encoding in other.encode_batch_fast(lines, add_special_tokens=False)]
    got = function(tf.constant(lines, tf.string)).to_list()
    differing = [line for line, one, two in zip(lines, expected, got) if one != two]
    assert differing == []


@pytest.mark.data
@pytest.mark.parametrize("collection", ["movies", "amazon", "nyt", "tweets", "emoji", "chinese"])
def test_token_ids_equal_hugging_face_on_real_lines(minilm, collection):
    if collection == "movies":
        lines = [review.text for review in datasets.movie_reviews()]
        assert len(lines) > 10_000
    elif collection == "chinese":
        lines = [review.text for review in datasets.chinese_reviews()]
    else:
        lines = datasets.unlabelled_texts(collection)
    assert_equal_ids(minilm, lines)


@pytest.mark.data
def test_token_ids_equal_hugging_faces_own_file_of_the_model(minilm):
    # The reference above is made here; this one is the file that the model came with.
    shipped = reference.Tokenizer.from_file(str(datasets.minilm() / "tokenizer.json"))
    shipped.no_truncation()
    shipped.no_padding()
    lines = [review.text for review in datasets.movie_reviews()] + datasets.unlabelled_texts("tweets")
    assert_equal_ids((minilm[0], shipped), lines)


@pytest.mark.data
@pytest.mark.parametrize("pattern", ["{}", "a{}b"])
def test_token_ids_equal_hugging_face_on_every_character_of_unicode(minilm, pattern):
    codes = [*range(0xD800), *range(0xE000, 0x40000), *range(0xE0000, 0xE1000), *range(0x40000, 0x110000, 61)]
    assert_equal_ids(minilm, [pattern.format(chr(code)) for code in codes])


@pytest.mark.data
def test_token_ids_equal_hugging_face_on_hard_lines(minilm):
    lines = [
        "",
        " \t\r\n\u3000\u200b",
        "[CLS] a [SEP] b [MASK] [PAD] [UNK] [unused1] ##ing",
        *(letter * length for letter in ("x", "я", "é", "e\u0301", "𐐀", "ก") for length in (50, 51, 99, 100, 101, 500)),
        "good " + "x" * 101 + ", bad." + "y" * 100,
        "中" * 300,
        "." * 300,
        "a\u200d" * 101,
        "naïve café, ΑΣ ΟΔΟΣ, İstanbul, Straße, ﬁnal, 한국어, שָׁלוֹם, السَّلام, नमस्ते, ภาษาไทย, tiếng Việt",
        "👩‍👩‍👧‍👦 👍🏽 🇮🇹 ❤️ :-) \u202eRTL\u202c",
        "tab\tnew\nline\rvertical\x0bfeed\x0cnext\x85line",
    ]
    assert_equal_ids(minilm, lines)


@pytest.mark.data
@pytest.mark.parametrize("text", ["a good film, ", "Ça va très bien: 好. ", "x", "é", "."])
def test_a_cell_of_a_megabyte_gives_the_ids_of_hugging_face(minilm, text):
    assert_equal_ids(minilm, [(text * (1 << 20))[: 1 << 20]])


def rich_vocabulary() -> list[str]:
    """Every hard character in each form that normalising can give it, alone and within a word, and some pairs.

    With a piece for everything no difference in normalising hides behind [UNK].
    """
    characters = dict.fromkeys(
        form
        for char in reference.HARD_CHARACTERS
        for text in (char, char.lower(), unicodedata.normalize("NFD", char), unicodedata.normalize("NFD", char).lower())
        for form in text
        if form not in "\n\r\0"
    )
    pairs = ["aa", "az", "##zz", "##9a", "σς", "##i̇", "e\u0301", "##中", "ae\u0301a"]
    return list(dict.fromkeys([*reference.SPECIAL, *characters, *(f"##{char}" for char in characters), *pairs]))


RICH = {
    options: (
        tf.function(
            WordPieceTokenizer(rich_vocabulary(), *options), input_signature=[tf.TensorSpec([None], tf.string)]
        ),
        reference.tokenizer(rich_vocabulary(), *options),
    )
    for options in [(True, None), (True, False), (False, True), (False, None)]
}
HARD_TEXT = st.text(
    st.one_of(st.sampled_from("az9 "), st.sampled_from(reference.HARD_CHARACTERS), st.characters(codec="utf-8")),
    max_size=30,
)


@pytest.mark.parametrize("options", RICH)
@settings(max_examples=150, deadline=None)
@given(texts=st.lists(HARD_TEXT, max_size=4))
def test_token_ids_equal_hugging_face_on_any_text(options, texts):
    assert_equal_ids(RICH[options], texts)


@pytest.mark.parametrize("options", RICH)
def test_token_ids_equal_hugging_face_on_all_pairs_of_hard_characters(options):
    assert_equal_ids(RICH[options], [a + b for a in reference.HARD_CHARACTERS for b in reference.HARD_CHARACTERS])


def test_special_tokens_in_a_text_are_plain_text(small):
    ids = set(small(["[SEP] [MASK] [PAD] [CLS] [SEP]"]).to_list()[0])
    assert ids == {small.unk_token_id}


def test_a_word_without_pieces_is_unknown_as_a_whole(small):
    assert small(["unwanted unwantedly running!"]).to_list() == [[5, 6, 7, 1, 8, 9, 10]]


def test_an_empty_batch_and_empty_texts_have_no_tokens(small):
    assert small(tf.constant([], tf.string)).to_list() == []
    assert small(["", " ", "un"]).to_list() == [[], [], [5]]
    assert small([""]).dtype == tf.int32


def test_it_runs_in_tf_data_and_in_a_graph_of_the_old_kind(small):
    dataset = tf.data.Dataset.from_tensor_slices(["un!", "running"]).batch(2).map(small)
    assert next(iter(dataset)).to_list() == [[5, 10], [8, 9]]
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        ids = WordPieceTokenizer(SMALL)(tf.constant(["un!"]))
        assert session.run(ids.values).tolist() == [5, 10]


def test_a_tokenizer_made_inside_a_function_serves_another_one():
    made = []

    @tf.function
    def first(text):
        made.append(WordPieceTokenizer(SMALL))
        return made[0](text)

    assert first(tf.constant(["un!"])).to_list() == [[5, 10]]
    assert tf.function(lambda text: made[0](text))(tf.constant(["un!"])).to_list() == [[5, 10]]


def test_detokenize_joins_pieces_and_leaves_out_what_packing_added(small):
    ids = [[2, 5, 6, 7, 10, 3, 8, 9, 3, 0, 0]]
    assert small.detokenize(ids).numpy().tolist() == [b"unwanted ! running"]
    assert small.detokenize(tf.ragged.constant([[5], [], [1, 4]])).numpy().tolist() == [b"un", b"", b"[UNK] [MASK]"]


def test_ids_and_tokens_map_both_ways(small):
    assert small.vocabulary_size() == len(SMALL)
    assert [small.id_to_token(small.token_to_id(piece)) for piece in SMALL] == SMALL
    special = small.pad_token_id, small.unk_token_id, small.cls_token_id, small.sep_token_id, small.mask_token_id
    assert special == (0, 1, 2, 3, 4)
    for bad in (-1, len(SMALL)):
        with pytest.raises(UserError, match="ids go from 0"):
            small.id_to_token(bad)
    with pytest.raises(UserError, match="no piece 'xyz'"):
        small.token_to_id("xyz")


@pytest.mark.parametrize("lowercase", [True, False])
@pytest.mark.parametrize("strip_accents", [None, True, False])
def test_a_config_makes_an_equal_tokenizer(lowercase, strip_accents):
    tokenizer = WordPieceTokenizer(SMALL, lowercase, strip_accents)
    again = WordPieceTokenizer.from_config(tokenizer.get_config())
    assert again.get_config() == tokenizer.get_config()
    text = ["UN un É é 中"]
    assert again(text).to_list() == tokenizer(text).to_list()
    assert again.strip_accents == (lowercase if strip_accents is None else strip_accents)


def test_a_vocabulary_file_is_read_line_by_line(tmp_path):
    # Line separators other than the line feed are pieces; a carriage return before it is Windows's way of writing.
    pieces = [*reference.SPECIAL, "a\u2028b", "\x85", "last"]
    for name, end in (("unix", "\n"), ("windows", "\r\n")):
        (tmp_path / name).write_bytes(end.join(pieces).encode() + (end.encode() if name == "unix" else b""))
        assert WordPieceTokenizer(tmp_path / name).get_vocabulary() == pieces
        assert WordPieceTokenizer(str(tmp_path / name)).vocabulary_size() == len(pieces)


@pytest.mark.parametrize(
    "pieces, message",
    [
        ([], "is empty"),
        (["[PAD]", "[CLS]", "a"], r"lacks \[UNK\] and \[SEP\]"),
        ([*SMALL, "un"], "holds 'un' more than once"),
        ([*SMALL, ""], "Piece 14 .*'', is no piece"),
        ([*SMALL, "##"], "Piece 14 .*'##', is no piece"),
        ([*SMALL, "a\nb"], "is no piece"),
        ([*SMALL, "a\0"], "is no piece"),
        ([*SMALL, 7], "is no piece"),
    ],
)
def test_a_bad_vocabulary_is_refused_in_one_sentence(pieces, message):
    with pytest.raises(UserError, match=message):
        WordPieceTokenizer(pieces)


def test_an_unreadable_vocabulary_file_is_refused_in_one_sentence(tmp_path):
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "empty").write_bytes(b"")
    for name, message in (("absent", "cannot be read"), (".", "cannot be read"), ("binary", "not UTF-8")):
        with pytest.raises(UserError, match=message):
            WordPieceTokenizer(tmp_path / name)
    with pytest.raises(UserError, match="is empty"):
        WordPieceTokenizer(tmp_path / "empty")
