"""Packing, cutting and padding as Hugging Face does them, and preprocessors that survive saving and exporting."""

import dataclasses
import json

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers.processors import TemplateProcessing

from tests.text import reference
from tfmodels import datasets
from tfmodels.errors import UserError
from tfmodels.text import (
    BERT_FORMAT,
    ROBERTA_FORMAT,
    T5_FORMAT,
    T5_TOKENS,
    XLNET_FORMAT,
    ByteLevelBPETokenizer,
    SequenceFormat,
    TextPreprocessor,
    WordPieceTokenizer,
)
from tfmodels.text.bpe import BYTE_CHARACTERS

PIECES = [*reference.SPECIAL, *"abcdefghij", "##z"]

# What TensorFlow Serving links: core TensorFlow, and of TensorFlow Text only what was in its release 2.16. No
# operation with state among them: no table to initialise, no file to carry, no Python.
CORE_OPS = {
    "AddN AddV2 Assert Cast ConcatV2 Const Cumsum Equal ExpandDims FloorDiv GatherNd GatherV2 Greater GreaterEqual",
    "Identity Less LessEqual LogicalAnd LogicalNot LogicalOr LowerBound Max Maximum Minimum Mul Neg NoOp Pack Pad",
    "Placeholder Range Reshape Select SelectV2 Shape Size StaticRegexFullMatch StaticRegexReplace StridedSlice",
    "StringLower StringSplitV2 Sub TensorScatterUpdate UnicodeTranscode Unpack Where ZerosLike",
}
TEXT_OPS = {"NormalizeUTF8", "FastWordpieceTokenizeWithOffsets"}


@pytest.fixture(scope="module")
def tokenizer():
    return WordPieceTokenizer(PIECES)


def as_arrays(encodings):
    return {
        "token_ids": np.array([encoding.ids for encoding in encodings]),
        "segment_ids": np.array([encoding.type_ids for encoding in encodings]),
        "padding_mask": np.array([encoding.attention_mask for encoding in encodings], bool),
    }


def assert_equal_features(features, expected):
    assert features.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_array_equal(features[name], values, err_msg=name)


@pytest.mark.parametrize("sequence_length", range(5, 15))
def test_pairs_are_cut_as_hugging_face_cuts_the_longest_first(tokenizer, sequence_length):
    words = list("abcdefghij")
    pairs = [(" ".join(words[:one]), " ".join(words[10 - two :])) for one in range(11) for two in range(11)]
    other = reference.tokenizer(PIECES)
    other.enable_truncation(sequence_length, strategy="longest_first")
    other.enable_padding(length=sequence_length)
    preprocessor = TextPreprocessor(tokenizer, sequence_length, pair=True, length_multiple=sequence_length)
    features = preprocessor([one for one, _ in pairs], [two for _, two in pairs])
    assert_equal_features(features, as_arrays(other.encode_batch(pairs)))


@pytest.mark.parametrize("sequence_length", [3, 4, 8, 11, 12, 13])
def test_single_texts_are_cut_as_hugging_face_cuts_them(tokenizer, sequence_length):
    texts = [" ".join("abcdefghij"[:count]) for count in range(11)]
    other = reference.tokenizer(PIECES)
    other.enable_truncation(sequence_length)
    other.enable_padding(length=sequence_length)
    preprocessor = TextPreprocessor(tokenizer, sequence_length, length_multiple=sequence_length)
    assert_equal_features(preprocessor(texts), as_arrays(other.encode_batch(texts)))


@pytest.mark.data
@pytest.mark.parametrize("pair", [False, True])
def test_features_equal_hugging_face_on_real_lines(pair):
    texts = [review.text for review in datasets.movie_reviews()][:2_000]
    texts += [review.text for review in datasets.chinese_reviews()][:1_000]
    others = texts[::-1]
    vocabulary = datasets.minilm() / "vocab.txt"
    other = reference.tokenizer(vocabulary)
    other.enable_truncation(64)
    other.enable_padding(pad_to_multiple_of=8)
    preprocessor = TextPreprocessor(WordPieceTokenizer(vocabulary), 64, pair=pair)
    features = preprocessor(texts, others) if pair else preprocessor(texts)
    assert_equal_features(features, as_arrays(other.encode_batch(list(zip(texts, others)) if pair else texts)))


@settings(max_examples=40, deadline=None)
@given(
    data=st.data(),
    sequence_length=st.integers(5, 20),
    length_multiple=st.integers(1, 9),
    pair=st.booleans(),
)
def test_any_batch_has_the_contracts_shapes(tokenizer, data, sequence_length, length_multiple, pair):
    texts = st.text("abc z", max_size=40)
    rows = data.draw(st.lists(st.tuples(texts, texts), max_size=5))
    preprocessor = TextPreprocessor(tokenizer, sequence_length, pair, length_multiple)
    inputs = [tf.constant([row[side] for row in rows], tf.string) for side in range(1 + pair)]
    features = {name: value.numpy() for name, value in preprocessor(*inputs).items()}
    ragged = preprocessor.tokenize(*inputs)

    lengths = [len(row) for row in ragged.to_list()]
    longest = max(lengths, default=3 if pair else 2)
    expected_length = min(-(-longest // length_multiple) * length_multiple, sequence_length)
    assert {name: value.shape for name, value in features.items()} == dict.fromkeys(
        ("token_ids", "segment_ids", "padding_mask"), (len(rows), expected_length)
    )
    assert [features[name].dtype for name in features] == [np.int32, np.int32, np.bool_]
    assert features["padding_mask"].sum(axis=1).tolist() == lengths
    assert not features["token_ids"][~features["padding_mask"]].any()
    assert_equal_features(preprocessor.pad(ragged), features)


def test_the_batchs_length_is_its_longest_row_rounded_up_and_never_over_the_limit(tokenizer):
    def length(words, sequence_length, length_multiple):
        preprocessor = TextPreprocessor(tokenizer, sequence_length, length_multiple=length_multiple)
        return preprocessor(["a " * words, "a"])["token_ids"].shape[1]

    assert [length(words, 128, 8) for words in (0, 6, 7, 14, 15)] == [8, 8, 16, 16, 24]
    assert [length(words, 20, 8) for words in (14, 15, 18, 100)] == [16, 20, 20, 20]
    assert [length(words, 20, 20) for words in (0, 100)] == [20, 20]
    assert length(5, 128, 1) == 7


def test_segments_begin_after_the_first_separator_and_end_with_the_second(tokenizer):
    features = TextPreprocessor(tokenizer, 16, pair=True)(["a b", "", "[SEP]"], ["c", "", "d"])
    assert features["token_ids"].numpy().tolist() == [
        [2, 5, 6, 3, 7, 3, 0, 0],
        [2, 3, 3, 0, 0, 0, 0, 0],
        [2, 1, 1, 1, 3, 8, 3, 0],
    ]
    assert features["segment_ids"].numpy().tolist() == [
        [0, 0, 0, 0, 1, 1, 0, 0],
        [0, 0, 1, 0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 1, 1, 0],
    ]


FORMATS = {"bert": BERT_FORMAT, "roberta": ROBERTA_FORMAT, "xlnet": XLNET_FORMAT, "t5": T5_FORMAT}


@pytest.mark.parametrize("sequence_length", [6, 9, 30])
@pytest.mark.parametrize("pair", [False, True])
@pytest.mark.parametrize("family", FORMATS)
def test_every_familys_rows_equal_hugging_faces_template(tokenizer, family, pair, sequence_length):
    names = {"cls": "[CLS]", "sep": "[SEP]", "first": "$A", "second": "$B"}
    template = {
        side: " ".join(f"{names[part]}:{segment}" for part, segment in parts)
        for side, parts in (("single", FORMATS[family].single), ("pair", FORMATS[family].pair))
    }
    other = reference.tokenizer(PIECES)
    other.post_processor = TemplateProcessing(special_tokens=[("[CLS]", 2), ("[SEP]", 3)], **template)
    other.enable_truncation(sequence_length, strategy="longest_first")
    other.enable_padding(length=sequence_length)
    words = list("abcdefghij")
    pairs = [(" ".join(words[:one]), " ".join(words[10 - two :])) for one in (0, 1, 4, 10) for two in (0, 1, 5, 10)]
    preprocessor = TextPreprocessor(tokenizer, sequence_length, pair, sequence_length, FORMATS[family])
    inputs = [[row[side] for row in pairs] for side in range(1 + pair)]
    features = preprocessor(*inputs)
    assert_equal_features(features, as_arrays(other.encode_batch(pairs if pair else inputs[0])))
    assert_equal_features(preprocessor.pad(preprocessor.tokenize(*inputs)), {k: v.numpy() for k, v in features.items()})


def test_families_arrange_pairs_as_their_papers_do(tokenizer):
    def row(format):
        features = TextPreprocessor(tokenizer, 16, pair=True, length_multiple=1, format=format)(["a"], ["b"])
        tokens = [tokenizer.id_to_token(id) for id in features["token_ids"].numpy()[0]]
        return " ".join(tokens), features["segment_ids"].numpy()[0].tolist()

    assert row(BERT_FORMAT) == ("[CLS] a [SEP] b [SEP]", [0, 0, 0, 1, 1])
    assert row(ROBERTA_FORMAT) == ("[CLS] a [SEP] [SEP] b [SEP]", [0] * 6)
    assert row(XLNET_FORMAT) == ("a [SEP] b [SEP] [CLS]", [0, 0, 1, 1, 2])
    assert row(T5_FORMAT) == ("a [SEP] b [SEP]", [0] * 4)


def test_segments_of_ragged_rows_are_those_of_their_padded_form(tokenizer):
    single, pairs = (TextPreprocessor(tokenizer, 16, pair=pair) for pair in (False, True))
    assert single.segments(single.tokenize(["A man.", "Two men eat bread."])) is None  # all are 0
    texts = ["A man.", "Two men eat bread."], ["Eats.", "A man eats a piece of bread."]
    segments, padded = pairs.segments(pairs.tokenize(*texts)), pairs(*texts)
    for row, segment_ids in enumerate(segments):
        length = int(np.sum(padded["padding_mask"][row]))
        assert segment_ids.numpy().tolist() == padded["segment_ids"][row, :length].numpy().tolist()
        assert segment_ids.numpy().max() == 1


@pytest.mark.parametrize(
    "single, pair, message",
    [
        ("cls:0 text:0", "first:0 sep:0 second:0", "no part 'text'"),
        ("cls:0", "first:0 sep:0 second:0", "must hold first once"),
        ("first:0", "first:0 sep:0 first:0", "must hold first and second once"),
        ("first:0", "first:0 second:1 sep:0", "between its texts"),
        ("first:-1", "first:0 sep:0 second:1", "from 0 on"),
    ],
)
def test_a_format_that_makes_no_row_is_refused(single, pair, message):
    with pytest.raises(UserError, match=message):
        SequenceFormat.of(single, pair)


def test_a_vocabulary_without_a_token_of_the_format_is_refused():
    pieces = ["<|endoftext|>", *sorted(BYTE_CHARACTERS)]
    tokenizer = ByteLevelBPETokenizer(pieces, [], dataclasses.replace(T5_TOKENS, unk=None))
    with pytest.raises(UserError, match=r"lacks <pad>, a cls token and </s>"):
        TextPreprocessor(tokenizer)


def test_a_preprocessor_that_version_1_saved_still_loads(tokenizer, tmp_path):
    preprocessor = TextPreprocessor(tokenizer, sequence_length=24, pair=True)
    preprocessor.save(tmp_path)
    file = tmp_path / "preprocessor.json"
    config = json.loads(file.read_text())
    old = {"kind": "wordpiece", "lowercase": True, "strip_accents": True, "vocabulary": "vocab.txt"}
    old["vocabulary_sha256"] = config["tokenizer"]["vocabulary_sha256"]
    del config["format"]
    file.write_text(json.dumps({**config, "schema_version": 1, "tokenizer": old}))
    loaded = TextPreprocessor.load(tmp_path)
    assert loaded.tokenizer.get_config() == tokenizer.get_config() and loaded.format == BERT_FORMAT


@pytest.mark.parametrize("pair", [False, True])
def test_a_saved_byte_level_preprocessor_loads_equal(tmp_path, pair):
    pieces = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", *sorted(BYTE_CHARACTERS), "lo", "low"]
    tokenizer = ByteLevelBPETokenizer(pieces, [("l", "o"), ("lo", "w")], add_prefix_space=True)
    preprocessor = TextPreprocessor(tokenizer, 24, pair, 4, ROBERTA_FORMAT)
    preprocessor.save(tmp_path)
    loaded = TextPreprocessor.load(tmp_path)
    assert (loaded.format, loaded.tokenizer.options()) == (ROBERTA_FORMAT, {"add_prefix_space": True})
    texts = (["low é", ""], ["slow" * 9, "a"])[: 1 + pair]
    assert_equal_features(loaded(*texts), {name: value.numpy() for name, value in preprocessor(*texts).items()})
    config = json.loads((tmp_path / "preprocessor.json").read_text())
    config["tokenizer"]["kind"] = "characters"
    (tmp_path / "preprocessor.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="tokeniser 'characters', this release knows wordpiece, byte_level_bpe"):
        TextPreprocessor.load(tmp_path)


def test_feature_names_tell_how_many_texts_are_taken(tokenizer):
    assert TextPreprocessor(tokenizer).feature_names == ("text",)
    assert TextPreprocessor(tokenizer, pair=True).feature_names == ("text", "text_pair")


def test_the_wrong_number_of_texts_is_refused(tokenizer):
    with pytest.raises(UserError, match=r"two vectors of texts: it was made with pair=True"):
        TextPreprocessor(tokenizer, pair=True)(["a"])
    with pytest.raises(UserError, match=r"one vector of texts: it was made with pair=False"):
        TextPreprocessor(tokenizer).tokenize(["a"], ["b"])


def test_pairs_of_unequal_batches_are_refused(tokenizer):
    for first, second in ((["a"], ["b", "c"]), (["a", "b", "c"], ["d"]), (["a"], [])):
        with pytest.raises(tf.errors.InvalidArgumentError):
            TextPreprocessor(tokenizer, pair=True)(tf.constant(first, tf.string), tf.constant(second, tf.string))


@pytest.mark.parametrize("arguments", [{"sequence_length": 2}, {"sequence_length": 4, "pair": True}])
def test_a_sequence_length_without_room_is_refused(tokenizer, arguments):
    with pytest.raises(UserError, match="is too short"):
        TextPreprocessor(tokenizer, **arguments)


def test_a_length_multiple_below_one_is_refused(tokenizer):
    with pytest.raises(UserError, match="length_multiple"):
        TextPreprocessor(tokenizer, length_multiple=0)


def test_a_saved_preprocessor_loads_equal(tmp_path):
    tokenizer = WordPieceTokenizer([*PIECES, "É", "a\u2028"], lowercase=False, strip_accents=False)
    preprocessor = TextPreprocessor(tokenizer, sequence_length=24, pair=True, length_multiple=4)
    preprocessor.save(tmp_path / "new")
    loaded = TextPreprocessor.load(tmp_path / "new")
    assert sorted(file.name for file in (tmp_path / "new").iterdir()) == ["preprocessor.json", "vocab.txt"]
    assert loaded.tokenizer.get_config() == tokenizer.get_config()
    assert (loaded.sequence_length, loaded.pair, loaded.length_multiple) == (24, True, 4)
    texts = ["É a b", "A"], ["c " * 30, ""]
    assert_equal_features(loaded(*texts), {name: value.numpy() for name, value in preprocessor(*texts).items()})


def test_a_damaged_preprocessor_is_refused_in_one_sentence(tokenizer, tmp_path):
    def refuses(message):
        with pytest.raises(UserError, match=message):
            TextPreprocessor.load(tmp_path)

    refuses("cannot be read")
    TextPreprocessor(tokenizer).save(tmp_path)
    file, vocabulary = tmp_path / "preprocessor.json", tmp_path / "vocab.txt"
    config = json.loads(file.read_text())

    file.write_text(json.dumps({**config, "schema_version": 99}))
    refuses("schema version 99")
    file.write_text(json.dumps({name: value for name, value in config.items() if name != "pair"}))
    refuses("lacks a setting .*'pair'")
    file.write_text(json.dumps(config)[:40])
    refuses("not JSON")
    file.write_text("[]")
    refuses("schema version None")

    file.write_text(json.dumps(config))
    lines = vocabulary.read_text().splitlines()
    vocabulary.write_text("\n".join([*lines[:-2], lines[-1], lines[-2]]) + "\n")
    refuses("not the one that preprocessor.json was saved with")
    vocabulary.unlink()
    refuses("vocab.txt cannot be read")


def test_the_graph_holds_only_operations_that_serving_links(tokenizer):
    preprocessor = TextPreprocessor(tokenizer, pair=True)
    texts = tf.TensorSpec([None], tf.string)
    graph = tf.function(lambda one, two: preprocessor(one, two)).get_concrete_function(texts, texts).graph
    used = {operation.type for operation in graph.get_operations()}
    assert used - set(" ".join(CORE_OPS).split()) - TEXT_OPS == set()
    assert used >= TEXT_OPS


def test_an_export_needs_no_assets_and_runs_in_a_plain_session(tokenizer, tmp_path):
    preprocessor = TextPreprocessor(tokenizer, 16, pair=True)
    module = tf.Module()
    spec = tf.TensorSpec([None], tf.string)
    module.call = tf.function(lambda text, text_pair: preprocessor(text, text_pair), input_signature=[spec, spec])
    tf.saved_model.save(module, str(tmp_path), signatures=module.call.get_concrete_function())
    assert list((tmp_path / "assets").glob("*")) == []

    texts = ["a b c", "É\u200b \x00", ""], ["d", "[SEP] " * 20, ""]
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        loaded = tf.compat.v1.saved_model.load(session, ["serve"], str(tmp_path))
        signature = loaded.signature_def["serving_default"]
        feed = {signature.inputs[name].name: value for name, value in zip(preprocessor.feature_names, texts)}
        features = session.run({name: info.name for name, info in signature.outputs.items()}, feed)
    assert_equal_features(features, {name: value.numpy() for name, value in preprocessor(*texts).items()})


def test_it_runs_in_tf_data_and_buckets_by_length(tokenizer):
    preprocessor = TextPreprocessor(tokenizer, 16, length_multiple=1)
    texts = ["a", "a b c d e f g h", "b", "b c d e f g h i"]
    rows = tf.data.Dataset.from_tensor_slices(texts).map(lambda text: preprocessor.tokenize(text[tf.newaxis])[0])
    buckets = rows.bucket_by_sequence_length(lambda row: tf.shape(row)[0], [5], [2, 2], drop_remainder=True)
    assert sorted(batch.shape.as_list() for batch in buckets) == [[2, 3], [2, 10]]


def test_it_runs_in_transform(tokenizer, tmp_path):
    transform = pytest.importorskip("tensorflow_transform")
    beam = pytest.importorskip("tensorflow_transform.beam")
    schema = pytest.importorskip("tensorflow_transform.tf_metadata.schema_utils").schema_from_feature_spec
    preprocessor = TextPreprocessor(tokenizer, 16)
    metadata = transform.DatasetMetadata(schema({"text": tf.io.FixedLenFeature([], tf.string)}))

    def preprocessing_fn(inputs):
        return {"token_ids": tf.cast(preprocessor.tokenize(inputs["text"]), tf.int64)}

    rows = [{"text": "a b é"}, {"text": ""}]
    with beam.Context(temp_dir=str(tmp_path)):
        (outputs, _), _ = (rows, metadata) | beam.AnalyzeAndTransformDataset(preprocessing_fn)
    assert [list(row["token_ids$ragged_values"]) for row in outputs] == preprocessor.tokenize(["a b é", ""]).to_list()
