"""Plain byte-pair encoding: learnt merges and encoded texts equal those of the authors' `subword-nmt`."""

import io
import random
import re

import pytest
from subword_nmt.apply_bpe import BPE
from subword_nmt.learn_bpe import learn_bpe

from tests.text import reference
from tfmodels import datasets
from tfmodels.text import ROBERTA_TOKENS, BPETokenizer, train_bpe
from tfmodels.text.bpe import END_OF_WORD

pytestmark = [pytest.mark.parity]

SPECIAL = ROBERTA_TOKENS.names()
# Where the reference says that a word goes on. No text has it.
GOES_ON = "\ue001"
# Within a word the reference's learner takes white space for the end of a symbol, and splits lines at other breaks.
NO_WHITE_SPACE = "".join(char for char in reference.HARD_CHARACTERS if not char.isspace())


def learnt(texts, symbols: int, **options) -> str:
    """The codes that the reference learns."""
    codes = io.StringIO()
    learn_bpe(io.StringIO("\n".join(texts)), codes, symbols, **options)
    return codes.getvalue()


def merges_of(codes: str) -> list[tuple[str, str]]:
    return [tuple(line.split(" ")) for line in codes.split("\n")[1:-1]]


def codes_of(merges) -> str:
    return "#version: 0.2\n" + "".join(f"{left} {right}\n" for left, right in merges)


@pytest.fixture(scope="module")
def texts():
    """Lines with blanks between words: English with its punctuation at the words, Chinese cut by hand, and both."""
    english = [line for essay in datasets.english_prose() for line in essay.split("\n") if line]
    chinese = [" ".join(words) for words in datasets.chinese_news()]
    return {"English": english, "Chinese": chinese, "both": english[:500] + chinese[:500]}


SIZES = {"English": (600, 1_200), "Chinese": (1_000, 4_900), "both": (1_000, 4_000)}  # lines and pieces


@pytest.fixture(scope="module")
def vocabularies(texts):
    return {name: train_bpe(texts[name][:lines], size, special_tokens=SPECIAL) for name, (lines, size) in SIZES.items()}


@pytest.mark.data
@pytest.mark.parametrize("name", SIZES)
def test_learnt_merges_are_the_references_on_real_text(texts, vocabularies, name):
    lines, size = SIZES[name]
    pieces, merges = vocabularies[name]
    expected = merges_of(learnt(texts[name][:lines], size - len(SPECIAL), total_symbols=True))
    assert len(pieces) == size and len(expected) > 500
    assert merges[: len(expected)] == expected
    # The reference counts merges, which may make a piece in two ways: those are more to us.
    twice = len(merges) - len({left + right for left, right in merges})
    assert len(merges) == len(expected) + twice


@pytest.mark.parametrize("letters", ["aab", "abc", "aé中\\", "ab<w/>", "😀a\0"])
@pytest.mark.parametrize("min_frequency", [1, 2])
def test_learnt_merges_are_the_references_where_pairs_overlap_and_tie(letters, min_frequency):
    generator = random.Random(0)
    seen = 0
    for count in (2, 10, 60) * 4:
        words = ["".join(generator.choices(letters, k=generator.randrange(1, 12))) for _ in range(count)]
        _, merges = train_bpe([" ".join(words)], 350, min_frequency=min_frequency)
        seen += len(merges)
        if not merges:  # the reference learns from no text without pairs
            continue
        assert merges == merges_of(learnt([" ".join(words)], len(merges), min_frequency=min_frequency))
    assert seen > 100


def assert_equal_pieces(tokenizer: BPETokenizer, other: BPE, texts) -> float:
    """Token ids are those of the reference's pieces; what no piece stands for is one unknown character.

    Returns the fraction of the pieces that are unknown.
    """
    ids = {piece: id for id, piece in enumerate(tokenizer.get_vocabulary())}
    expected = []
    for text in texts:
        words = other.segment_tokens(re.split("[ \r\n]", text))
        pieces = [word.removesuffix(GOES_ON) if word.endswith(GOES_ON) else word + END_OF_WORD for word in words]
        assert all(piece in ids or len(piece.removesuffix(END_OF_WORD)) == 1 for piece in pieces)
        expected.append([ids.get(piece, tokenizer.unk_token_id) for piece in pieces])
    got = tokenizer(texts).to_list()
    assert [text for text, one, two in zip(texts, expected, got) if one != two] == []
    ids = [id for row in expected for id in row]
    return ids.count(tokenizer.unk_token_id) / len(ids)


@pytest.mark.data
@pytest.mark.parametrize("name", SIZES)
def test_encoded_real_text_is_the_references(texts, vocabularies, name):
    pieces, merges = vocabularies[name]
    tokenizer, other = BPETokenizer(pieces, merges), BPE(io.StringIO(codes_of(merges)), separator=GOES_ON)
    assert assert_equal_pieces(tokenizer, other, texts[name][:3_000]) < 0.05
    # Rare and unknown characters, and those of the other language.
    others = texts["Chinese" if name == "English" else "English"][-500:]
    others += datasets.unlabelled_texts("emoji") + datasets.unlabelled_texts("tweets")
    assert assert_equal_pieces(tokenizer, other, others) > 0.02


@pytest.mark.data
def test_encoded_hard_text_is_the_references(vocabularies):
    pieces, merges = vocabularies["both"]
    tokenizer, other = BPETokenizer(pieces, merges), BPE(io.StringIO(codes_of(merges)), separator=GOES_ON)
    generator = random.Random(0)
    alphabet = reference.HARD_CHARACTERS + "etaoin的人在   \n\r\t"
    texts = ["".join(generator.choices(alphabet, k=generator.randrange(40))) for _ in range(3_000)]
    texts += ["", " ", "\n", "\0", "a", "a" * 10_000, "the" * 1_001, "</w>", "a</w>b", "<mask> </s><unk>", "@@ a@@b"]
    texts += [a + b for a in reference.HARD_CHARACTERS for b in "a 中"]
    assert assert_equal_pieces(tokenizer, other, texts) > 0.5


def random_merges(generator: random.Random, count: int) -> tuple[list[str], list[tuple[str, str]]]:
    """Pieces and pairs of them in any order, some twice: of learnt ones the later never make what earlier ones use."""
    inner, last = list("abc"), [letter + END_OF_WORD for letter in "abc"]
    merges = []
    for _ in range(count):
        left, right = generator.choice(inner), generator.choice(inner + last)
        (last if right in last else inner).append(left + right)
        merges.append((left, right))
    merges += generator.choices(merges, k=3)
    generator.shuffle(merges)
    return list(dict.fromkeys([*SPECIAL, *inner, *last])), merges


def test_any_merges_in_any_order_are_joined_as_by_the_reference():
    generator = random.Random(0)
    texts = [
        " ".join("".join(generator.choices("abc", k=generator.randrange(1, 25))) for _ in range(5)) for _ in range(100)
    ]
    for count in (3, 8, 8, 20, 20, 40):
        pieces, merges = random_merges(generator, count)
        other = BPE(io.StringIO(codes_of(merges)), separator=GOES_ON)
        assert assert_equal_pieces(BPETokenizer(pieces, merges), other, texts) == 0


def test_codes_are_read_from_the_references_file_and_it_reads_ours(tmp_path):
    generator = random.Random(0)
    lines = ["".join(generator.choices(NO_WHITE_SPACE[-40:] + "ab#  ", k=30)) for _ in range(200)] + ["#version #v"] * 2
    codes = learnt(lines, 60)
    (tmp_path / "codes").write_text(codes, encoding="utf-8")
    pieces, merges = train_bpe(lines, 500)
    assert merges[:60] == merges_of(codes)
    tokenizer = BPETokenizer(pieces, tmp_path / "codes")
    assert_equal_pieces(tokenizer, BPE(io.StringIO(codes), separator=GOES_ON), lines)
    tokenizer.save(tmp_path)
    with open(tmp_path / "merges.txt", encoding="utf-8", newline="\n") as file:
        assert_equal_pieces(tokenizer, BPE(file, separator=GOES_ON), lines)
