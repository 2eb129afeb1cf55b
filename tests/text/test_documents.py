"""Documents, sentences and words: by examples, and in linear time."""

import gzip
import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.data import english_prose
from tests.text import reference
from tfmodels import datasets
from tfmodels.errors import UserError
from tfmodels.text import (
    ChineseSegmenter,
    WordPieceTokenizer,
    blank_line_documents,
    join_word_starts,
    json_documents,
    line_documents,
    read_lines,
    split_sentences,
)


@pytest.mark.parametrize(
    "sentences",
    [
        ["He left.", "She stayed!", "Why?", "I see."],
        ["Dr. J. R. Smith paid Mr. Jones $3.50 (approx. £2.80) for No. 5, e.g. at 10 p.m. on www.x.org.", "Yes."],
        ["He lives in the U.S.", "The U.S. Army does not.", "It was plan B.", "They knew."],
        ['"Stop!" she cried.', '"Why?"', "(He had asked.)", "[See vol. 3, pp. 4-5.]", "Well... no.", "Well...", "No."],
        ["他说：“好！”", "我们走吧。", "真的吗？！", "是的……", "（完。）", "好.", "他来了"],
        ["I saw Prof. Lee vs. Kim et al. at the Univ. of X, cf. Fig. 2.", "No.", "Then it ended."],
        ["A heading", "A paragraph\nof two lines.", "Another"],
    ],
)
def test_sentences_end_where_readers_end_them(sentences):
    separator = "\n\n" if "A heading" in sentences else " "
    assert split_sentences(separator.join(sentences)) == sentences


@settings(max_examples=200, deadline=None)
@given(st.text(st.sampled_from(" \n.!?…。！？\"'”)aB1中é" + reference.HARD_CHARACTERS), max_size=60))
def test_nothing_but_white_space_is_lost(text):
    sentences = split_sentences(text)
    assert "".join("".join(sentences).split()) == "".join(text.split())
    assert all(sentence == sentence.strip() != "" for sentence in sentences)


@pytest.mark.parametrize(
    "unit", [". ", ".", " ", "\n", "\n ", "a", '."', "中。", "U.S.", "\"'([", "….!? ", "a.\t(", ". ('"]
)
def test_time_is_linear_in_the_text(unit):
    def seconds(size):
        text = (unit * size)[:size]
        start = time.process_time()
        split_sentences(text)
        return time.process_time() - start

    # A quadratic splitter would take ten minutes for what a linear one does in a second or two.
    assert seconds(1_000_000) < 20


@pytest.mark.data
def test_real_prose_is_split_into_sentences_of_a_usual_length():
    essay = max(english_prose(), key=len)
    sentences = split_sentences(essay)
    words = sum(len(sentence.split()) for sentence in sentences) / len(sentences)
    assert 15 < words < 35
    assert sum(sentence[0].islower() for sentence in sentences) < 0.01 * len(sentences)


def test_documents_come_from_files_as_they_lie_there(tmp_path):
    (tmp_path / "plain.txt").write_bytes("\ufeffone\r\nmore\r\n\r\n \n\ntwo\u2028still two".encode())
    with gzip.open(tmp_path / "packed.gz", "wb") as file:
        file.write(b"one\n\ntwo\n")
    assert list(blank_line_documents(read_lines(tmp_path / "plain.txt"))) == ["one\nmore", "two\u2028still two"]
    assert list(line_documents(read_lines(tmp_path / "packed.gz"))) == ["one", "two"]
    rows = [json.dumps({"body": "x\ny"}), "", json.dumps({"body": " "})]
    assert list(json_documents(rows, "body")) == ["x\ny"]


def test_files_that_hold_no_text_are_refused_in_one_sentence(tmp_path):
    (tmp_path / "latin").write_bytes(b"good\nbad \xff\n")
    (tmp_path / "fake.gz").write_bytes(b"not packed")
    with pytest.raises(UserError, match=r"Line 2 of .*latin is not UTF-8"):
        list(read_lines(tmp_path / "latin"))
    packed = bytearray(gzip.compress(b"some text\n" * 100, mtime=0))
    packed[12:20] = b"\xff" * 8
    (tmp_path / "damaged.gz").write_bytes(packed)
    for name in ("absent", ".", "fake.gz", "damaged.gz"):
        with pytest.raises(UserError, match="cannot be read"):
            list(read_lines(tmp_path / name))
    for line, message in (
        ("{", "Line 1 is not JSON"),
        ("[" * 100_000, "Line 1 is not JSON"),
        ("[]", "no text in the field"),
        ('{"text": 1}', "no text in"),
    ):
        with pytest.raises(UserError, match=message):
            list(json_documents([line]))


@pytest.mark.data
def test_the_segmenter_finds_the_words_of_a_newspaper_that_it_has_not_read():
    news = datasets.chinese_news()
    held_out = int(0.9 * len(news))
    segmenter = ChineseSegmenter(news[:held_out])

    def spans(words):
        ends, at = set(), 0
        for word in words:
            ends.add((at, at + len(word)))
            at += len(word)
        return ends

    def f1(segment):
        right = found = true = 0
        for words in news[held_out:]:
            gold, got = spans(words), spans(segment("".join(words)))
            right, found, true = right + len(gold & got), found + len(got), true + len(gold)
        return 2 * right / (found + true)

    assert f1(list) < 0.4, "single characters are the baseline"
    assert f1(segmenter.segment) > 0.925


@given(st.text(st.sampled_from("中国人民a1 。" + reference.HARD_CHARACTERS), max_size=40))
def test_segmented_words_are_the_text(text):
    segmenter = ChineseSegmenter([["中国", "人民"], ["国人"]])
    assert "".join(segmenter.segment(text)) == text


def test_a_segmenter_without_words_is_refused():
    with pytest.raises(UserError, match="needs words"):
        ChineseSegmenter([])


def test_words_of_ideographs_are_joined_for_whole_word_masks():
    pieces = [*reference.SPECIAL, *"中国人民爱", "un", "##want", "##ed", "!"]
    tokenizer = WordPieceTokenizer(pieces)
    text = [pieces[id] for id in tokenizer(["中国人民 unwanted爱!人"]).to_list()[0]]
    starts = [bool(tokenizer.word_starts()[tokenizer.token_to_id(piece)]) for piece in text]
    segment = ChineseSegmenter([["中国", "人民"]]).segment
    words, expected = [], ["中国", "人民", "un##want##ed", "爱", "!", "人"]
    for piece, start in zip(text, join_word_starts(text, starts, segment)):
        words = [*words, piece] if start else [*words[:-1], words[-1] + piece]
    assert words == expected
