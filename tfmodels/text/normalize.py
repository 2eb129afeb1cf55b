"""Normalises text as BERT does and sets its words apart, as TensorFlow operations.

The result equals that of Hugging Face's `BertNormalizer` followed by `BertPreTokenizer`. Texts of plain ASCII, which
most are, need little: one operation finds the others, and only those go through the costly Unicode passes. There is no
control flow; where all texts are plain the passes run on nothing.

Where the libraries follow different versions of Unicode, letters that got a lower case or a decomposition after the
older version differ. `tests/text/reference.py` lists them all (Garay, Vithkuqi, Beria Erfe, a few more); they change
token ids only with a vocabulary that has pieces for them.
"""

import tensorflow as tf
import tensorflow_text as tf_text

from tfmodels.errors import UserError
from tfmodels.text import characters

# Words of more characters are unknown to BERT, whatever the vocabulary holds.
MAX_WORD_CHARACTERS = 100
# What such a word is replaced by: longer in bytes than any word that is left can be in UTF-8, so that a tokeniser
# with that limit calls it unknown too.
MAX_WORD_BYTES = 4 * MAX_WORD_CHARACTERS
OVERLONG_WORD = "x" * (MAX_WORD_BYTES + 1)

_ASCII_PUNCTUATION = r"[!-/:-@\[-`{-~]"
# Printable ASCII and ordinary white space, without an overlong word.
_PLAIN_TEXT = (
    rf"(?:[0-9A-Za-z]{{0,{MAX_WORD_CHARACTERS}}}[\t\n\r -/:-@\[-`{{-~])*[0-9A-Za-z]{{0,{MAX_WORD_CHARACTERS}}}"
)

# How a NUL is written where operations would stop at it.
_ESCAPE = "\U0010ffff"
_ESCAPED_NUL, _ESCAPED_ESCAPE = _ESCAPE + "\x01", _ESCAPE + "\x02"

# `tf.strings.lower` takes a final capital sigma to its final form, and follows the locale of the process: under a
# Turkish or Lithuanian one a server would give other tokens than it was trained with. BERT knows neither, so these are
# lowered beforehand (and the ASCII letters, by an operation that knows no locale).
_LOWERED_FIRST = {"Σ": "σ"}
_LOWERED_FIRST_IF_ACCENTED = {"İ": "i\u0307", "Ì": "ì", "Í": "í", "Ĩ": "ĩ", "Į": "į"}


def text_vector(text: tf.Tensor) -> tf.Tensor:
    """Makes string[B] of texts.

    Raises:
        UserError: They are no vector of strings.
    """
    text = tf.convert_to_tensor(text)
    if text.dtype != tf.string or text.shape.rank != 1:
        raise UserError(f"Texts must be a vector of strings, not {text.dtype.name} of shape {text.shape}.")
    return text


def separate_words(text: tf.Tensor, *, lowercase: bool = True, strip_accents: bool | None = None) -> tf.Tensor:
    """Normalises text and puts blanks between its words, punctuation marks and ideographs.

    Undecodable bytes become U+FFFD; controls, formats, private-use characters and U+FFFD are removed; white space
    beyond ASCII becomes a blank. Words of more than 100 characters are replaced by one that is too long to be known.

    Args:
        text: string[B], UTF-8.
        lowercase: Take every letter to its lower case.
        strip_accents: Decompose (NFD) and remove combining marks. None means: if `lowercase`.

    Returns:
        string[B]: words separated by ASCII white space, as `tf.strings.split` takes them.

    Raises:
        UserError: `text` is not a vector of strings.

    Example:
    >>> tf.strings.split(separate_words(tf.constant(["It's GREAT!", "L'été"])))
    <tf.RaggedTensor [[b'it', b"'", b's', b'great', b'!'], [b'l', b"'", b'ete']]>
    """
    text = text_vector(text)
    if strip_accents is None:
        strip_accents = lowercase

    plain = tf.strings.regex_full_match(text, _PLAIN_TEXT)
    rows = tf.where(tf.logical_not(plain))  # int64[R, 1]
    text = tf.tensor_scatter_nd_update(text, rows, _separate(tf.gather_nd(text, rows), lowercase, strip_accents))
    if lowercase:
        text = tf.strings.lower(text)
    return tf.strings.regex_replace(text, _ASCII_PUNCTUATION, r" \0 ")


def lower_case(text: tf.Tensor, *, accents_stripped: bool) -> tf.Tensor:
    """Takes text to lower case character by character, whatever its neighbours and the locale of the process.

    Args:
        text: string[B], UTF-8.
        accents_stripped: The text has no accents on capital letters, which saves work.

    Returns:
        string[B].
    """
    text = hide_nuls(tf.strings.lower(text))
    first = _LOWERED_FIRST if accents_stripped else _LOWERED_FIRST | _LOWERED_FIRST_IF_ACCENTED
    for capital, small in first.items():
        text = tf.strings.regex_replace(text, capital, small)
    return show_nuls(tf.strings.lower(text, encoding="utf-8"))


def hide_nuls(text: tf.Tensor) -> tf.Tensor:
    """string[...]: the text for operations that stop at a NUL, which becomes two characters without case or class."""
    return tf.strings.regex_replace(tf.strings.regex_replace(text, _ESCAPE, _ESCAPED_ESCAPE), r"\x{0}", _ESCAPED_NUL)


def show_nuls(text: tf.Tensor) -> tf.Tensor:
    """string[...]: the text that `hide_nuls` was given."""
    return tf.strings.regex_replace(tf.strings.regex_replace(text, _ESCAPED_NUL, "\0"), _ESCAPED_ESCAPE, _ESCAPE)


def _separate(text: tf.Tensor, lowercase: bool, strip_accents: bool) -> tf.Tensor:
    """Does what any text needs and plain ASCII does not; the order is BERT's."""
    text = tf.strings.unicode_transcode(text, "UTF-8", "UTF-8", errors="replace")
    text = tf.strings.regex_replace(text, f"[{characters.REMOVED}]+", "")
    text = tf.strings.regex_replace(text, f"[{characters.WHITE_SPACE}]", " ")
    if strip_accents:
        text = tf_text.normalize_utf8(text, "NFD")
        text = tf.strings.regex_replace(text, f"[{characters.ACCENTS}]+", "")
    if lowercase:
        text = lower_case(text, accents_stripped=strip_accents)
    # BERT sets ideographs apart before it decomposes: the same, since no ideograph decomposes into anything else.
    text = tf.strings.regex_replace(text, f"[{characters.IDEOGRAPHS}{characters.PUNCTUATION}]", r" \0 ")
    return tf.strings.regex_replace(text, f"[^ ]{{{MAX_WORD_CHARACTERS + 1},}}", OVERLONG_WORD)
