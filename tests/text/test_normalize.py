"""Words set apart as Hugging Face's `BertNormalizer` and `BertPreTokenizer` do it, character by character."""

import os
import subprocess
import sys

import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.text import reference
from tfmodels.errors import UserError
from tfmodels.text import separate_words

OPTIONS = [(True, True), (True, False), (False, True), (False, False)]


@tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
def uncased(text):
    return separate_words(text)


@tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
def uncased_accented(text):
    return separate_words(text, strip_accents=False)


@tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
def cased_stripped(text):
    return separate_words(text, lowercase=False, strip_accents=True)


@tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
def cased(text):
    return separate_words(text, lowercase=False)


FUNCTIONS = dict(zip(OPTIONS, [uncased, uncased_accented, cased_stripped, cased]))


def separated(texts, lowercase=True, strip_accents=True) -> list[list[str]]:
    rows = tf.strings.split(FUNCTIONS[lowercase, strip_accents](tf.constant(texts, tf.string))).to_list()
    return [[word.decode() for word in row] for row in rows]


@pytest.mark.parametrize("lowercase, strip_accents", OPTIONS)
def test_every_character_of_unicode_is_treated_as_by_hugging_face(lowercase, strip_accents):
    # Beyond the fourth plane nothing is assigned but tags and private use: every 61st character speaks for them.
    codes = [*range(0xD800), *range(0xE000, 0x40000), *range(0xE0000, 0xE1000), *range(0x40000, 0x110000, 61)]
    texts = [f"a{chr(code)}b" for code in codes]
    expected = [reference.words(text, lowercase, strip_accents) for text in texts]
    got = separated(texts, lowercase, strip_accents)
    differing = {code for code, one, other in zip(codes, expected, got) if one != other}
    later = (reference.LOWERED_LATER if lowercase else set()) | (reference.DECOMPOSED_LATER if strip_accents else set())
    assert {f"U+{code:04X}" for code in differing - later} == set()


HARD_TEXT = st.text(st.one_of(st.sampled_from(reference.HARD_CHARACTERS), st.characters(codec="utf-8")), max_size=30)


@pytest.mark.parametrize("lowercase, strip_accents", OPTIONS)
@settings(max_examples=150, deadline=None)
@given(texts=st.lists(HARD_TEXT, max_size=4))
def test_any_text_gives_the_words_of_hugging_face(lowercase, strip_accents, texts):
    later = reference.LOWERED_LATER | reference.DECOMPOSED_LATER
    texts = ["".join(char for char in text if ord(char) not in later) for text in texts]
    assert separated(texts, lowercase, strip_accents) == [
        reference.words(text, lowercase, strip_accents) for text in texts
    ]


@pytest.mark.parametrize(
    "text, words",
    [
        ("", ""),
        (" \t\n\r\u3000", ""),
        ("It's 5€!", "it ' s 5€ !"),
        ("中文ab", "中 文 ab"),
        ("a\0b\u200dc\ufffd\ue000d", "abcd"),
        ("ΌΔΟΣ ΟΔΟΣ.", "οδοσ οδοσ ."),
        ("ς stays", "ς stays"),
        ("Straße ﬁn", "straße ﬁn"),
        ("DİYARBAKIR", "diyarbakir"),
        ("\u1112\u1161\u11ab 한", "\u1112\u1161\u11ab \u1112\u1161\u11ab"),
        ("[CLS] [SEP]", "[ cls ] [ sep ]"),
    ],
)
def test_examples(text, words):
    assert separated([text]) == [words.split()]


def test_plain_texts_are_not_changed_by_their_neighbours():
    plain, hard = "Plain, ASCII text.", "Ça \u200bva"
    alone = separated([plain])
    assert separated([hard, plain, "", hard, plain])[1::3] == [*alone, *alone]


@pytest.mark.parametrize(
    "data", [b"a\xffb", b"\xe4\xb8", b"a\xed\xa0\x80b", b"\xc0\x80", b"\xf4\x90\x80\x80!", b"\x80"]
)
def test_undecodable_bytes_are_what_python_replaces(data):
    assert separated([data]) == [reference.words(data.decode("utf-8", "replace"), True, True)]


@pytest.mark.parametrize("length", [100, 101])
@pytest.mark.parametrize("letter", ["x", "я", "e\u0301", "𐐨"])
def test_words_over_100_characters_are_replaced_by_one_too_long_for_any_vocabulary(letter, length):
    (words,) = separated([f"a {letter * length}."])
    assert words[0] == "a" and words[2] == "."
    assert len(words[1].encode()) > 400 if length > 100 else len(words[1]) == length


def test_the_locale_of_a_server_does_not_change_the_words():
    # Under a Turkish locale ICU lowers "I" to a dotless letter, under a Lithuanian one it adds dots. It reads the
    # locale once a process, so each gets a process of its own, forked after the slow imports.
    texts = ["I İ Ì Í Ĩ Į Į\u0301 J\u0301 i\u0307 ΑΣ", "PLAIN I J"]
    program = f"""
import os
import tensorflow as tf
from tfmodels.text import separate_words

for locale in ("tr_TR.UTF-8", "lt_LT.UTF-8"):
    if os.fork() == 0:
        os.environ["LC_ALL"] = locale
        print(tf.strings.lower("I J\u0301", encoding="utf-8").numpy())
        for strip_accents in (True, False):
            print(separate_words(tf.constant({texts!r}), strip_accents=strip_accents).numpy().tolist(), flush=True)
        os._exit(0)
    os.wait()
"""
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    result = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    ours = [str(FUNCTIONS[True, strip](tf.constant(texts)).numpy().tolist()) for strip in (True, False)]
    # The first line of each shows that the locale was in force.
    expected = [str("ı j\u0301".encode()), *ours, str("i j\u0307\u0301".encode()), *ours]
    assert result.stdout.splitlines() == expected, result.stderr


@pytest.mark.parametrize("text", ["one", [["a"], ["b"]], [1, 2]])
def test_anything_but_a_vector_of_strings_is_refused(text):
    with pytest.raises(UserError, match="vector of strings"):
        separate_words(tf.constant(text))
