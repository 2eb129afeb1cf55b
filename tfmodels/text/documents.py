"""From files to documents, from documents to sentences, and from pieces to words: plain Python, for Beam as well.

Everything takes time linear in its text, whatever the text: a line of ten megabytes is a line.
"""

import gzip
import json
import os
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from tfmodels.errors import UserError

_CLOSERS = "\"'”’»)\\]}」』】）》〉"
_IDEOGRAPH = "\u3400-\u9fff\uf900-\ufaff"
# Marks that can end a sentence with the quotes and brackets that close with it, or an empty line.
_END = re.compile(rf"(?:[.!?…]+|[。！？]+…*|……)[。！？.!?]*[{_CLOSERS}]*|\n[^\S\n]*(?=\n)")
_WIDE_END = re.compile(r"[。！？]")
_SPACES = re.compile(r"\s*")
_OPENERS = re.compile("[\"'“‘«(\\[{「『【（《〈]*")
_CHINESE = re.compile(f"[{_IDEOGRAPH}]")
# How far back the word before a full stop is looked for, in characters.
_LOOK_BACK = 24

# Full stops that a name, or whatever else, follows.
_ABBREVIATIONS = frozenset(
    [
        "mr",
        "mrs",
        "ms",
        "messrs",
        "dr",
        "prof",
        "st",
        "gen",
        "col",
        "maj",
        "capt",
        "lt",
        "sgt",
        "cpl",
        "rev",
        "hon",
        "sen",
        "rep",
        "gov",
        "pres",
        "supt",
        "cmdr",
        "adm",
        "fr",
        "sr",
        "bros",
        "e.g",
        "i.e",
        "cf",
        "vs",
        "viz",
        "al",
        "ca",
        "approx",
        "ed",
        "eds",
        "trans",
        "dept",
        "univ",
    ]
)
# Full stops that a number follows.
_BEFORE_NUMBERS = frozenset(
    [
        "no",
        "nos",
        "p",
        "pp",
        "vol",
        "vols",
        "fig",
        "figs",
        "ch",
        "chap",
        "sec",
        "sect",
        "art",
        "eq",
        "eqs",
        "para",
        "ll",
        "op",
        "cit",
        "ibid",
        "jan",
        "feb",
        "mar",
        "apr",
        "jun",
        "jul",
        "aug",
        "sep",
        "sept",
        "oct",
        "nov",
        "dec",
    ]
)
# After initials ("J. Smith", "the U.S. Army") only these begin a sentence.
_BEGINNERS = frozenset(
    [
        "the",
        "a",
        "an",
        "this",
        "that",
        "these",
        "those",
        "he",
        "she",
        "it",
        "they",
        "we",
        "you",
        "i",
        "his",
        "her",
        "its",
        "their",
        "our",
        "my",
        "there",
        "here",
        "what",
        "when",
        "where",
        "who",
        "why",
        "how",
        "if",
        "in",
        "on",
        "at",
        "as",
        "but",
        "and",
        "so",
        "for",
        "from",
        "with",
        "by",
        "to",
        "of",
        "not",
        "no",
        "yes",
        "then",
        "thus",
        "while",
        "although",
        "however",
    ]
)
_INITIALS = re.compile(r"(?:[^\W\d_]\.)*[^\W\d_]", re.UNICODE)


def split_sentences(text: str) -> list[str]:
    """Splits a document into sentences, by the punctuation of English and Chinese.

    A sentence ends at `.`, `!`, `?` or `…` with the quotes and brackets behind it, if white space and no small letter
    follow and it is no abbreviation's or initial's full stop; at `。`, `！`, `？` in any case; and at an empty line.

    Args:
        text: A document. Single line breaks are white space.

    Returns:
        The sentences that are not empty, without white space around them.

    Example:
    >>> split_sentences('Dr. J. Smith paid $3.50. "Why?" she asked. He left.')
    ['Dr. J. Smith paid $3.50.', '"Why?" she asked.', 'He left.']
    >>> split_sentences("他说：“好！”我们走吧。")
    ['他说：“好！”', '我们走吧。']
    """
    sentences, begin = [], 0
    for match in _END.finditer(text):
        if _ends_sentence(text, match):
            sentences.append(text[begin : match.end()].strip())
            begin = match.end()
    sentences.append(text[begin:].strip())
    return [sentence for sentence in sentences if sentence]


def _ends_sentence(text: str, match: re.Match) -> bool:
    mark, end = match[0], match.end()
    if mark[0] == "\n" or _WIDE_END.search(mark) or end == len(text):
        return True
    if not text[end].isspace():
        before = text[match.start() - 1 : match.start()]
        return bool(_CHINESE.match(before) and _CHINESE.match(text[end]))
    start = _OPENERS.match(text, _SPACES.match(text, end).end()).end()
    following = text[start : start + _LOOK_BACK]
    if following[:1].islower():
        return False
    if mark[0] != "." or mark.startswith(".."):
        return True
    before = text[max(0, match.start() - _LOOK_BACK) : match.start()].split()
    word = before[-1].lstrip("\"'“‘«([{") if before and not text[match.start() - 1].isspace() else ""
    if word.lower() in _ABBREVIATIONS:
        return False
    if word.lower() in _BEFORE_NUMBERS:
        return not following[:1].isdigit()
    if _INITIALS.fullmatch(word) and word != "I" and word.lower() != word.upper():  # letters that have a case
        return re.split(r"\W", following, maxsplit=1)[0].lower() in _BEGINNERS
    return True


def read_lines(file: str | os.PathLike) -> Iterator[str]:
    """Yields the lines of a UTF-8 text file, packed with gzip (`.gz`) or not, without their line ends.

    Raises:
        UserError: The file cannot be read, or a line is not UTF-8.
    """
    file = Path(file)
    try:
        with gzip.open(file) if file.suffix == ".gz" else open(file, "rb") as lines:
            for number, line in enumerate(lines, start=1):
                try:
                    yield line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
                except UnicodeDecodeError as error:
                    raise UserError(
                        f"Line {number} of {file} is not UTF-8: convert the file, or leave it out."
                    ) from error
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{file} cannot be read ({reason}): give a text file.") from error


def blank_line_documents(lines: Iterable[str]) -> Iterator[str]:
    """Yields the documents that empty lines separate, with their line breaks.

    Example:
    >>> [document.split() for document in blank_line_documents(["one", "more", "", "", "two"])]
    [['one', 'more'], ['two']]
    """
    document: list[str] = []
    for line in lines:
        if line.strip():
            document.append(line)
        elif document:
            yield "\n".join(document)
            document = []
    if document:
        yield "\n".join(document)


def line_documents(lines: Iterable[str]) -> Iterator[str]:
    """Yields every line that is not empty as a document."""
    return (line for line in lines if line.strip())


def json_documents(lines: Iterable[str], field: str = "text") -> Iterator[str]:
    """Yields a field of every line of JSON Lines as a document.

    Raises:
        UserError: A line is no JSON object with text in that field.

    Example:
    >>> list(json_documents(['{"text": "one"}', '{"text": "two", "id": 2}']))
    ['one', 'two']
    """
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UserError(f"Line {number} is not JSON: give one object a line.") from error
        text = value.get(field) if isinstance(value, dict) else None
        if not isinstance(text, str):
            raise UserError(f"Line {number} has no text in the field {field!r}: name the field that has.")
        if text.strip():
            yield text


def join_word_starts(pieces: Sequence[str], starts: Sequence[bool], segment: Callable[[str], list[str]]) -> list[bool]:
    """Makes words of ideographs that follow each other, for whole-word masks of Chinese.

    A vocabulary that has ideographs singly makes each a word of its own; the segmenter knows which belong together.

    Args:
        pieces: The pieces of a text.
        starts: Which of them begin a word, as the tokeniser's `word_starts` says.
        segment: Splits text without blanks into words, as `ChineseSegmenter.segment`.

    Returns:
        Which pieces begin a word.

    Example:
    >>> segment = lambda text: [text[:2], text[2:]]
    >>> join_word_starts(["[CLS]", "中", "国", "人", "a", "##b"], [True] * 5 + [False], segment)
    [True, True, False, True, True, False]
    """
    starts = list(starts)
    begin = 0
    while begin < len(pieces):
        end = begin
        while end < len(pieces) and starts[end] and len(pieces[end]) == 1 and _CHINESE.match(pieces[end]):
            end += 1
        if end - begin > 1:
            at = begin
            for word in segment("".join(pieces[begin:end])):
                starts[at : at + len(word)] = [True] + [False] * (len(word) - 1)
                at += len(word)
        begin = max(end, begin + 1)
    return starts
