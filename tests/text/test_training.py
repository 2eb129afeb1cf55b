"""Learnt vocabularies equal those of Hugging Face's `tokenizers`; memory is bounded; nothing to learn is refused."""

import json
import random

import numpy as np
import pytest
import tensorflow as tf
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from tests.text import reference
from tfmodels import datasets
from tfmodels.errors import UserError
from tfmodels.text import (
    XLNET_TOKENS,
    BPETokenizer,
    ByteLevelBPETokenizer,
    SentencePieceTokenizer,
    SpecialTokens,
    WordCounts,
    WordPieceTokenizer,
    bert_words,
    split_at_blanks,
    split_words,
    train_bpe,
    train_byte_level_bpe,
    train_unigram,
    train_wordpiece,
)

SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]


@pytest.fixture(scope="module")
def lines():
    lines = [review.text for review in datasets.movie_reviews()][:5_000]
    return lines + ["".join(words) for words in datasets.chinese_news()[:1_000]] + datasets.unlabelled_texts("emoji")


def random_corpus(seed: int) -> list[str]:
    generator = random.Random(seed)
    return ["".join(generator.choices("aab c", k=generator.randrange(1, 20))) for _ in range(60)]


def hugging_face_bpe(texts, vocabulary_size, min_frequency=2) -> tuple[list[str], list[tuple[str, str]]]:
    other = Tokenizer(models.BPE())
    other.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        min_frequency=min_frequency,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    other.train_from_iterator(texts, trainer)
    ids = other.get_vocab()
    return sorted(ids, key=ids.get), [tuple(pair) for pair in json.loads(other.to_str())["model"]["merges"]]


def hugging_face_wordpiece(texts, vocabulary_size) -> list[str]:
    other = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    other.normalizer = reference.normalizer(True, None)
    other.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocabulary_size, min_frequency=2, special_tokens=reference.SPECIAL, show_progress=False
    )
    other.train_from_iterator(texts, trainer)
    ids = other.get_vocab()
    return sorted(ids, key=ids.get)


@pytest.mark.data
def test_byte_level_merges_equal_hugging_face_on_real_lines(lines):
    pieces, merges = train_byte_level_bpe(iter(lines), 4_000)
    assert len(pieces) == 4_000
    assert (pieces, merges) == hugging_face_bpe(lines, 4_000)


@pytest.mark.parametrize("seed", range(8))
def test_byte_level_merges_equal_hugging_face_where_pairs_overlap_and_tie(seed):
    texts = random_corpus(seed)
    assert train_byte_level_bpe(texts, 330, min_frequency=1) == hugging_face_bpe(texts, 330, min_frequency=1)


@pytest.mark.data
def test_wordpiece_vocabularies_agree_with_hugging_face_as_it_does_with_itself(lines):
    # The reference breaks ties by the order of a hash table, which is another one each time.
    lines = lines[:5_000]  # of few characters, so that no limit on them comes in
    ours = set(train_wordpiece(lines, 4_000))
    one, two = (set(hugging_face_wordpiece(lines, 4_000)) for _ in range(2))
    assert len(ours) == len(one) == 4_000
    assert min(len(ours & one), len(ours & two)) >= 0.99 * 4_000
    assert len(one & two) >= 0.99 * 4_000


@pytest.mark.data
def test_a_learnt_wordpiece_vocabulary_compresses_as_well_as_hugging_faces(lines):
    lines = lines[:5_000]

    def tokens(pieces):
        return WordPieceTokenizer(pieces)(lines).flat_values.shape[0]

    assert tokens(train_wordpiece(lines, 4_000)) <= 1.002 * tokens(hugging_face_wordpiece(lines, 4_000))


@pytest.mark.data
def test_a_larger_vocabulary_makes_fewer_tokens(lines):
    lines = lines[:2_000]
    made = [
        ByteLevelBPETokenizer(*train_byte_level_bpe(lines, size))(lines).flat_values.shape[0] for size in (300, 900)
    ]
    assert made[0] > 1.3 * made[1]


def test_learning_is_the_same_every_time_and_in_any_order():
    texts = random_corpus(0)
    assert train_byte_level_bpe(texts, 330) == train_byte_level_bpe(texts[::-1], 330)
    assert train_bpe(texts, 60) == train_bpe(texts[::-1], 60)
    assert train_wordpiece(texts, 60) == train_wordpiece(texts[::-1], 60)


def test_counts_of_several_workers_teach_the_same():
    texts = random_corpus(0)
    workers = [WordCounts(split_words), WordCounts(split_words)]
    for worker, part in zip(workers, (texts[:30], texts[30:])):
        worker.add(part)
    workers[0].merge(workers[1])
    assert train_byte_level_bpe(workers[0], 330) == train_byte_level_bpe(texts, 330)
    counted = WordCounts(split_at_blanks)
    counted.add(texts)
    assert train_bpe(counted, 60) == train_bpe(texts, 60)
    counted = WordCounts(bert_words())
    counted.add(texts)
    assert train_wordpiece(counted, 60) == train_wordpiece(texts, 60)


def test_counting_holds_no_more_words_than_it_may_and_keeps_the_frequent_ones():
    counted = WordCounts(split_words, max_words=1_000)
    for begin in range(0, 20_000, 500):
        counted.add([f"word{number} often" for number in range(begin, begin + 500)])
        assert len(counted.counts) <= 1_000
    assert counted.counts[b" often"] == 20_000
    with pytest.raises(UserError, match="max_words"):
        WordCounts(split_words, max_words=1)


def test_progress_is_told():
    told = []
    train_byte_level_bpe(random_corpus(0), 300, progress=lambda *step: told.append(step))
    assert told[0] == ("words", 60, None) and told[-1][0] == "merges"
    assert told[-1][2] == 300 - 261


def test_a_vocabulary_ends_where_pairs_get_rare():
    pieces, merges = train_byte_level_bpe(["abc abd"], 1_000, min_frequency=2)
    assert merges == [("a", "b")] and len(pieces) == 262


def test_words_of_rare_characters_do_not_teach():
    pieces = train_wordpiece(["aa aa ab ac"] * 3, 30, max_characters=2)
    assert {"a", "b", "##a", "##b"} <= set(pieces) and not {"c", "##c"} & set(pieces)
    pieces, merges = train_bpe(["aa aa ab ac"] * 3, 30, max_characters=2)
    assert {"a", "a</w>", "b</w>"} <= set(pieces) and "c</w>" not in pieces
    assert merges == [("a", "a</w>"), ("a", "b</w>")]


def test_plain_bpe_of_two_languages_together_cuts_their_names_alike():
    english, german = ["Bonn is near Cologne"] * 4, ["Bonn liegt bei Köln"] * 4
    pieces, merges = train_bpe([*english, *german], 60)
    tokenizer = BPETokenizer(pieces, merges)
    assert "Bonn</w>" in pieces
    assert tokenizer.unk_token_id not in tokenizer([*english, *german]).flat_values.numpy()


def test_of_equally_frequent_pairs_plain_bpe_joins_the_last_in_order_and_byte_level_bpe_the_oldest():
    texts = ["ab cd", "ab cd"]
    assert train_bpe(texts, 100)[1] == [("c", "d</w>"), ("a", "b</w>")]
    assert train_byte_level_bpe([" ".join(texts)], 300)[1][0] == ("a", "b")
    # "ab" comes after "a" in order, so before it here, whatever follows either.
    expected = [("a", "b"), ("ab", "d</w>"), ("ab", "c</w>"), ("a", "z</w>")]
    assert train_bpe(["abc abd az"] * 2, 100)[1] == expected


def test_a_line_of_ten_megabytes_is_learnt_from():
    line = "lowlowest " * 1_000_000
    assert "Ġlowlowest" in train_byte_level_bpe([line], 300)[0]
    assert "lowlowest" in train_wordpiece([line], 60)
    assert "lowlowest</w>" in train_bpe([line], 60)[0]


# "The weather is very good today", "we go to the market every morning": Thai puts blanks between sentences only.
THAI = ["วันนี้อากาศดีมาก", "พวกเราไปตลาดทุกเช้า", "อากาศที่ตลาดดีมากวันนี้"] * 5
CHINESE = ["今天天气很好。", "我们每天早上去市场。", "市场的天气很好。"] * 5


@pytest.mark.parametrize("lines, unigrams", [(THAI, 30), (CHINESE, 22)], ids=["Thai", "Chinese"])
def test_languages_without_blanks_are_learnt_and_spelt(lines, unigrams):
    pieces, merges = train_byte_level_bpe(lines, 330)
    bpe = ByteLevelBPETokenizer(pieces, merges)
    assert [text.decode() for text in bpe.detokenize(bpe(lines)).numpy()] == lines
    unigram = SentencePieceTokenizer(train_unigram(lines, unigrams, special_tokens=XLNET_TOKENS), XLNET_TOKENS)
    wordpiece = WordPieceTokenizer(train_wordpiece(lines, 120))
    for tokenizer in (unigram, wordpiece):
        assert tokenizer.unk_token_id not in tokenizer(lines).flat_values.numpy()
    # Each ideograph is a word to BERT, while a Thai line is one word of several pieces.
    per_piece = len("".join(lines)) / wordpiece(lines).flat_values.shape[0]
    assert per_piece > 1.5 if lines is THAI else per_piece == 1


def test_a_word_of_more_than_a_hundred_characters_is_unknown_to_wordpiece_alone():
    line = "".join(THAI)  # without blanks: one word
    assert line.count(" ") == 0 and len(line) > 100
    wordpiece = WordPieceTokenizer(train_wordpiece(THAI, 120))
    assert wordpiece([line]).to_list() == [[wordpiece.unk_token_id]]
    # Such words do not teach either: there is nothing else here.
    with pytest.raises(UserError, match="no words to learn"):
        train_wordpiece([line * 2], 120)
    bpe = ByteLevelBPETokenizer(*train_byte_level_bpe([line], 300))
    assert bpe.detokenize(bpe([line])).numpy()[0].decode() == line


@pytest.mark.parametrize("train", [train_bpe, train_byte_level_bpe, train_wordpiece, train_unigram])
def test_what_teaches_nothing_is_refused_in_one_sentence(train):
    for texts in ([], iter(()), [""]):
        with pytest.raises(UserError, match="no words to learn"):
            train(texts, 300)
    with pytest.raises(UserError, match="not one string"):
        train("abc", 300)


def test_a_vocabulary_without_room_for_the_characters_is_refused():
    with pytest.raises(UserError, match=r"no room for the 261 special tokens and characters"):
        train_byte_level_bpe(["abc"], 200)
    with pytest.raises(UserError, match=r"no room for the 10"):
        train_wordpiece(["abc"], 9)
    with pytest.raises(UserError, match=r"no room for the 8 special tokens and characters"):
        train_bpe(["abc"], 7)


@pytest.mark.data
def test_a_unigram_model_is_learnt_the_same_every_time_with_its_special_tokens_first(lines):
    model = train_unigram(iter(lines[:3_000]), 1_000, special_tokens=XLNET_TOKENS)
    assert model == train_unigram(lines[:3_000], 1_000, special_tokens=XLNET_TOKENS)
    tokenizer = SentencePieceTokenizer(model, XLNET_TOKENS)
    assert tokenizer.vocabulary_size() == 1_000
    assert tokenizer.get_vocabulary()[:5] == XLNET_TOKENS.names()
    ids = tokenizer(lines[:3_000])
    assert np.mean(tf.equal(ids.flat_values, tokenizer.unk_token_id)) < 0.005


def test_a_unigram_model_learns_from_long_lines_and_refuses_too_little_text():
    words = ["alpha", "beta", "gamma", "delta"]
    generator = random.Random(0)
    line = " ".join(generator.choices(words, k=200_000))
    pieces = SentencePieceTokenizer(train_unigram([line], 20)).get_vocabulary()
    assert {f"\u2581{word}" for word in words} <= set(pieces)
    with pytest.raises(UserError, match="could not train 5000 pieces"):
        train_unigram(["a few words"], 5_000)
    with pytest.raises(UserError, match="needs a padding and an unknown token"):
        train_unigram(["a"], 10, special_tokens=SpecialTokens(None, "<unk>", None, None, None))
