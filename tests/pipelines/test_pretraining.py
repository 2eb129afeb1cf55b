"""From documents to an encoder: the corpus, the rows, every objective's recipe, and the pipeline end to end."""

import dataclasses
import functools
import gzip
import json
import shutil

import apache_beam as beam
import keras
import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner
from scipy import stats
from tfx.types import standard_artifacts

import tfmodels
from pipelines.commands import OBJECTIVES
from pipelines.components.baseline_gate import BASELINES, BaselineGateExecutor
from pipelines.pretraining import components, entities, trainer
from pipelines.pretraining.configs import EncoderConfig, RowsConfig
from pipelines.pretraining.corpus import CorpusConfig, CorpusReport, prepare, preview
from pipelines.pretraining.judgement import judge
from pipelines.pretraining.recipes import RECIPES, make_backbone, make_generator, max_predictions, recipe
from pipelines.pretraining.vocabularies import BYTE_LEVEL_BPE, WORDPIECE
from tests.objectives.rows import MASK, uniform_rows
from tests.objectives.rows import rows_of as rows_to_corrupt
from tests.objectives.test_choosing import chosen_by
from tests.objectives.topics import topic_backbone, topic_batches
from tfmodels.cli import main
from tfmodels.errors import UserError
from tfmodels.objectives import Draw, MaskReplacement, PartialPrediction, PhraseMasking, WholeWordMasking
from tfmodels.text import (
    ALBERT_TOKENS,
    ByteLevelBPETokenizer,
    ChineseSegmenter,
    SentencePieceTokenizer,
    TextPreprocessor,
    WordPieceTokenizer,
    train_byte_level_bpe,
    train_unigram,
)
from tfmodels.training import FitConfig

REPORT = CorpusReport(1, {"train": 100, "validation": 5}, {"train": 9_000, "validation": 500}, 0)

# Byte-level BPE spells with 256 bytes; so few words have no more than 50 unigram pieces.
VOCABULARY_SIZES = {WORDPIECE: 90, BYTE_LEVEL_BPE: 330}

SUBJECTS = ("The old captain", "A tired teacher", "My sister", "The red-haired neighbour", "Nobody")
VERBS = ("sold", "painted", "forgot", "repaired", "borrowed")
# Of a graph of five entities.
MENTIONS = {"captain": 1, "teacher": 2, "sister": 3, "wooden boat": 4, "kitchen clock": 5, "boat": 2}
OBJECTS = ("a wooden boat.", "the kitchen clock.", "three green apples.", "an umbrella.", "the letter.")


def documents(count=60, seed=0):
    """Short documents of sentences that a model can learn something from."""
    random = np.random.default_rng(seed)

    def sentence():
        return " ".join(words[random.integers(len(words))] for words in (SUBJECTS, VERBS, OBJECTS))

    return [" ".join(sentence() for _ in range(random.integers(3, 9))) for _ in range(count)]


def records(folder, split):
    files = sorted(str(file) for file in (folder / split).iterdir())
    return list(components._texts(files))


def corpus(tmp_path, content, name="corpus.txt", **settings):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return CorpusConfig((str(path),), **settings)


# --- corpus


def test_paragraphs_lines_and_json_give_the_same_documents(tmp_path):
    texts = documents(40)
    forms = {
        "a.txt": ("\n\n".join(texts), {}),
        "b.txt": ("\n".join(texts), {"format": "lines"}),
        "c.jsonl": ("\n".join(json.dumps({"body": text}) for text in texts), {"field": "body"}),
    }
    found = []
    for name, (content, settings) in forms.items():
        folder, report = prepare(corpus(tmp_path, content, name, validation=0.2, **settings), tmp_path / "out")
        assert report.documents["train"] + report.documents["validation"] == 40
        found.append({split: records(folder, split) for split in ("train", "validation")})
    assert found[0] == found[1] == found[2]
    assert sorted(found[0]["train"] + found[0]["validation"]) == sorted(texts)


def test_folders_patterns_and_gzip_are_read_and_copies_left_out(tmp_path):
    folder = tmp_path / "texts"
    folder.mkdir()
    texts = documents(30)
    (folder / "one.txt").write_text("\n\n".join(texts[:20]))
    with gzip.open(folder / "two.txt.gz", "wt") as file:
        file.write("\n\n".join(texts[10:]))
    for names in ((str(folder),), (str(folder / "*"),)):
        _, report = prepare(CorpusConfig(names, validation=0.3), tmp_path / "out")
        assert report.files == 2 and sum(report.documents.values()) == 30 and report.duplicates == 10


@pytest.mark.parametrize(
    ("content", "settings", "message"),
    [
        ("", {}, "holds no text"),
        ("\n \n", {}, "holds no text"),
        ("one document alone", {}, "1 different document,"),
        (b"fine\n\n\xff\xfe not", {}, "Line 3 of .* is not UTF-8"),
        ("a\n\nb", {"validation": 0.0}, "validation=0.0 must be a fraction"),
        ("a\n\nb", {"format": "xml"}, "no corpus format 'xml'"),
        ('{"text": 1}', {"format": "jsonl"}, "has no text in the field 'text'"),
    ],
)
def test_a_bad_corpus_gets_one_sentence_and_leaves_nothing(tmp_path, content, settings, message):
    with pytest.raises(UserError, match=message) as caught:
        prepare(corpus(tmp_path, content, **settings), tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"nowhere.txt names no file"):
        preview(CorpusConfig((str(tmp_path / "nowhere.txt"),)))


def test_a_line_of_ten_megabytes_is_a_document(tmp_path):
    config = corpus(tmp_path, "\n\n".join(["word " * 2_000_000, *documents(30)]), validation=0.2)
    _, report = prepare(config, tmp_path / "out")
    assert sum(report.characters.values()) > 9_000_000


# --- rows


@pytest.fixture(scope="module")
def preprocessors(tmp_path_factory):
    """A saved preprocessor for every vocabulary that a recipe takes, by the recipe's name."""
    folders = {}
    texts = documents(200)
    for name in RECIPES:
        vocabulary = recipe(name).vocabulary
        known = next((folders[other] for other in folders if recipe(other).vocabulary is vocabulary), None)
        if known is None:
            known = tmp_path_factory.mktemp(name)
            tokenizer = vocabulary.train(texts, VOCABULARY_SIZES.get(vocabulary, 50), True)
            TextPreprocessor(tokenizer, 32, format=vocabulary.format).save(known)
            counts = components._ngram_counter()
            counts.add(texts)
            components._write_lexicon(counts.counts, None, str(known / "lexicon.json"))
            entities.write_entities(known / "entities", MENTIONS, np.random.default_rng(0).normal(size=(5, 8)))
        folders[name] = known
    return folders


def rows_of(name, folder, texts, shard=0, within_documents=False, chinese_words=False, row_format=None):
    settings = {
        "objective": name,
        "preprocessor": str(folder),
        "format": row_format,
        "chinese_words": chinese_words,
        "within_documents": within_documents,
        "lexicon": str(folder / "lexicon.json"),
        "entities": str(folder / "entities"),
    }
    shards = [components._with_shard(text, 1) for text in texts]
    return list(components._rows_of_shard((shard, [document for _, document in shards]), settings))


@pytest.mark.parametrize("name", RECIPES)
def test_rows_hold_the_documents_tokens_in_the_objectives_format(preprocessors, name):
    preprocessor = TextPreprocessor.load(preprocessors[name])
    tokenizer = preprocessor.tokenizer
    rows = [
        tf.train.Example.FromString(row).features.feature for row in rows_of(name, preprocessors[name], documents())
    ]
    assert len(rows) > 20
    special = {tokenizer.cls_token_id, tokenizer.sep_token_id}
    for row in rows:
        columns = {key: list(value.int64_list.value) for key, value in row.items()}
        tokens, label, (task,) = columns["token_ids"], columns.pop("label"), columns.pop("task", [0])
        judged = (recipe(name).pair, *(later.target for later in recipe(name).later))[task]
        assert len({len(column) for column in columns.values()}) == 1
        assert len(tokens) <= 32 or recipe(name).streams
        assert [bool(flag) for flag in columns["special_mask"]] == [token in special for token in tokens]
        assert (label[0] >= 0) == (judged is not None and judged not in columns)
        assert columns["segment_ids"] == sorted(columns["segment_ids"])
    text = tokenizer.detokenize(tf.ragged.constant([list(rows[0]["token_ids"].int64_list.value)])).numpy()[0].decode()
    assert any(word in text.lower() for word in ("captain", "teacher", "sister", "neighbour", "nobody"))


@pytest.mark.parametrize(
    ("name", "row_format"),
    [
        ("bert", "sentence_pair"),
        ("unilm", "sentence_pair"),
        ("roberta", "doc_sentences"),
        ("spanbert", "full_sentences"),
    ],
)
def test_rows_may_have_another_of_robertas_formats(preprocessors, name, row_format):
    texts, folder = documents(), preprocessors[name]
    own, other = (
        [tf.train.Example.FromString(row).features.feature for row in rows_of(name, folder, texts, row_format=form)]
        for form in (None, row_format)
    )
    tokenizer = TextPreprocessor.load(folder).tokenizer

    def pieces(rows):
        """The number of sentences and of separators in each row."""
        ids = [np.array(row["token_ids"].int64_list.value) for row in rows]
        stop = tokenizer(["."]).to_list()[0][-1]
        return np.array([[(each == stop).sum(), (each == tokenizer.sep_token_id).sum()] for each in ids])

    if row_format == "sentence_pair":
        assert (pieces(other) <= [2, 2]).all() and pieces(own)[:, 0].max() > 2
        labels = [row["label"].int64_list.value[0] for row in other]
        assert 0.1 < np.mean(labels) < 0.7
    else:
        packed, apart = (other, own) if row_format == "full_sentences" else (own, other)
        assert (pieces(apart)[:, 1] == 1).all() and pieces(packed)[:, 1].max() > 1
        assert len(packed) < len(apart)


@pytest.mark.parametrize("name", ["whole_word", "roberta", "spanbert", "xlnet", "xlnet_memory"])
def test_a_row_of_one_text_is_arranged_as_fine_tuning_reads_it(preprocessors, name):
    text = "The old captain sold a wooden boat."
    preprocessor = TextPreprocessor.load(preprocessors[name])
    (row,) = [tf.train.Example.FromString(row).features.feature for row in rows_of(name, preprocessors[name], [text])]
    padded = preprocessor([text])
    read = {key: value[padded["padding_mask"]] for key, value in padded.items()}
    for column in ("token_ids", "segment_ids"):
        assert list(row[column].int64_list.value) == read[column].numpy().tolist()


def test_chinese_words_stay_whole_where_that_is_asked_for(tmp_path, monkeypatch):
    segmenter = ChineseSegmenter([["我们", "喜欢", "语言", "模型"], ["模型", "喜欢", "我们"]] * 5)
    monkeypatch.setattr(components, "_chinese_segmenter", lambda: segmenter)
    texts = ["我们喜欢语言模型。", "模型喜欢我们。"]
    TextPreprocessor(WORDPIECE.train(texts * 9, 64, True), 32, format=WORDPIECE.format).save(tmp_path)
    starts = {}
    for whole in (False, True):
        (row,) = rows_of("whole_word", tmp_path, texts[:1], chinese_words=whole)
        starts[whole] = list(tf.train.Example.FromString(row).features.feature["word_starts"].int64_list.value)
    # [CLS] 我 们 喜 欢 语 言 模 型 。 [SEP]
    assert starts == {False: [1] * 11, True: [1, 1, 0, 1, 0, 1, 0, 1, 0, 1, 1]}


def test_beam_counts_what_a_loop_counts(tmp_path):
    texts = [f"{text} Then Emma Goldman met her." for text in documents(150)]
    files = []
    for number in range(2):
        files.append(str(tmp_path / f"{number}.gz"))
        with tf.io.TFRecordWriter(files[-1], "GZIP") as writer:
            for text in texts[number::2]:
                feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=[text.encode()]))
                example = tf.train.Example(features=tf.train.Features(feature={"text": feature}))
                writer.write(example.SerializeToString())
    for name, counter in (
        ("words", functools.partial(components._vocabulary_counter, "bert", True)),
        ("bytes", functools.partial(components._vocabulary_counter, "roberta", True)),
        ("ngrams", components._ngram_counter),
    ):
        expected, target = counter(), tmp_path / f"{name}.json"
        expected.add(texts)
        # As several workers would have it.
        combine = components._CountWords(counter)
        parts = [combine.add_input(combine.create_accumulator(), texts[number::3]) for number in range(3)]
        assert combine.extract_output(combine.merge_accumulators(parts)) == expected.counts
        with beam.Pipeline() as pipeline:
            counted = pipeline | beam.Create(files) | components._Counted(counter)
            if name == "ngrams":
                _ = counted | beam.Map(components._write_lexicon, None, str(target))
            else:
                _ = counted | beam.Map(components._write_counts, str(target))
        found = json.loads(target.read_text())
        if name == "ngrams":
            assert found["entity_ids"] == ["Emma Goldman"]
            components._write_lexicon(expected.counts, None, str(tmp_path / "expected.json"))
            assert found == json.loads((tmp_path / "expected.json").read_text())
        else:
            assert {word.encode("utf-8", "surrogateescape"): count for word, count in found.items()} == expected.counts


@pytest.mark.parametrize("name", ["bert", "roberta", "albert", "xlnet"])
def test_the_vocabulary_component_leaves_a_tokeniser_of_the_recipes_kind(tmp_path, name):
    prepared, _ = prepare(corpus(tmp_path, "\n\n".join(documents(200)), validation=0.1), tmp_path / "corpus")
    examples, saved = standard_artifacts.Examples(), components.Preprocessor()
    examples.uri, saved.uri = str(tmp_path / "examples"), str(tmp_path / "saved")
    examples.split_names = '["train"]'
    (tmp_path / "examples").mkdir()
    (prepared / "train").rename(tmp_path / "examples" / "Split-train")  # as TFX lays it out
    size = VOCABULARY_SIZES.get(recipe(name).vocabulary, 50)
    settings = {"objective": name, "size": size, "lowercase": True, "sequence_length": 32, "folder": None, "counts": ""}
    components._VocabularyExecutor().Do(
        {"documents": [examples]}, {"preprocessor": [saved]}, {"settings": json.dumps(settings)}
    )
    preprocessor, expected = TextPreprocessor.load(saved.uri), recipe(name).vocabulary
    tokenizer = preprocessor.tokenizer
    assert preprocessor.format == expected.format and preprocessor.sequence_length == 32
    assert 40 < tokenizer.vocabulary_size() <= size
    # Words that stand in the documents alone are spelt without an unknown piece.
    text = "the old captain painted the kitchen clock."
    assert tokenizer.unk_token_id not in tokenizer([text]).to_list()[0]
    assert tokenizer.detokenize(tokenizer([text])).numpy()[0].decode().replace(" .", ".").strip() == text


def without_mask(vocabulary):
    """A tokeniser of a kind, whose vocabulary has no [MASK]."""
    if vocabulary is WORDPIECE:
        return WordPieceTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "captain"])
    if vocabulary is BYTE_LEVEL_BPE:
        pieces, merges = train_byte_level_bpe(documents(20), 280)
        return ByteLevelBPETokenizer([piece for piece in pieces if piece != "<mask>"], merges)
    unmasked = dataclasses.replace(ALBERT_TOKENS, mask=None)
    return SentencePieceTokenizer(train_unigram(documents(20), 40, special_tokens=unmasked), ALBERT_TOKENS)


# XLNet hides tokens by its orders, and a Transformer-XL predicts the next one.
@pytest.mark.parametrize("name", sorted(set(RECIPES) - {"xlnet", "xlnet_memory", "transformer_xl"}))
def test_a_vocabulary_without_a_mask_is_refused_before_training(name):
    with pytest.raises(UserError, match=r"The vocabulary lacks (\[MASK\]|<mask>)"):
        recipe(name).corruption(without_mask(recipe(name).vocabulary), 0.15, 5)


@pytest.mark.parametrize("name", RECIPES)
def test_documents_of_one_token_give_rows_or_none(preprocessors, name):
    tokenizer = TextPreprocessor.load(preprocessors[name]).tokenizer
    short = ["a", "the"]
    assert all(len(ids) == 1 for ids in tokenizer(short).to_list()) or recipe(name).vocabulary is not WORDPIECE
    alone = rows_of(name, preprocessors[name], short)
    beside = rows_of(name, preprocessors[name], short + documents(20))
    assert len(alone) < len(beside)
    for row in (*alone, *beside):
        columns = tf.train.Example.FromString(row).features.feature
        assert 0 in columns["special_mask"].int64_list.value, "a row without text"


def test_rows_depend_neither_on_the_order_of_documents_nor_on_how_many_sentences_are_tokenised_at_once(
    preprocessors, monkeypatch
):
    texts = documents()
    rows = rows_of("bert", preprocessors["bert"], texts)
    assert rows == rows_of("bert", preprocessors["bert"], texts[::-1])
    monkeypatch.setattr(components, "_SENTENCES_A_BATCH", 7)
    assert rows == rows_of("bert", preprocessors["bert"], texts)


# --- objectives


def test_the_command_line_knows_every_recipe():
    assert sorted(OBJECTIVES) == sorted(RECIPES)
    with pytest.raises(UserError, match="did you mean 'electra'"):
        recipe("elektra")


# What takes longer than the others to learn something.
EPOCHS = {"bert": 8, "unilm": 12, "electra_adversarial": 20}
SMALL = {"num_layers": 2, "hidden_dim": 32, "intermediate_dim": 64, "num_heads": 2}


def overrides_for(preset):
    fields = {field.name for field in dataclasses.fields(tfmodels.describe_model(preset)[1].config)}
    return {**SMALL, **({"embedding_dim": 32} if "embedding_dim" in fields else {})}


def batches_of(name, folder, parts, tmp_path, config, rows, encoder=EncoderConfig()):  # noqa: B008 - it is frozen
    """What training reads of the texts to learn from and of those to judge by, and the rare words."""
    paths = []
    for part, texts in zip(("train", "validation"), parts):
        paths.append(str(tmp_path / f"{part}.tfrecord.gz"))
        with tf.io.TFRecordWriter(paths[-1], "GZIP") as writer:
            for row in rows_of(name, folder, texts, within_documents=rows.within_documents):
                writer.write(row)
    tokenizer = TextPreprocessor.load(folder).tokenizer
    return trainer.read_rows(*paths, recipe(name), tokenizer, rows, config, encoder)


@pytest.mark.parametrize("name", RECIPES)
def test_every_objective_beats_the_unigram_model_and_its_encoder_comes_back(preprocessors, name, tmp_path):
    chosen, preprocessor = recipe(name), TextPreprocessor.load(preprocessors[name])
    # Several tasks give as many rows again.
    epochs = 3 if chosen.later else EPOCHS.get(name, 6)
    config = FitConfig(epochs=epochs, batch_size=16, learning_rate=5e-3, monitor=chosen.monitor)
    texts, rows = (
        (documents(240), documents(40, seed=1)),
        RowsConfig(32, rare_words=(5, 60), entities=str(preprocessors[name] / "entities")),
    )
    train, validation, rare_words = batches_of(name, preprocessors[name], texts, tmp_path, config, rows)
    assert (rare_words is not None) == (name == "tnf")
    keras.utils.set_random_seed(0)
    memory = {"memory_length": 32} if chosen.streams else {}
    overrides = {**memory, **overrides_for(chosen.preset), **chosen.overrides}
    encoder = make_backbone(chosen.preset, preprocessor.tokenizer.vocabulary_size(), 32, overrides)
    models = trainer.make_models(chosen, EncoderConfig(), encoder, rows, config, rare_words)
    mixed = (trainer.mixed(tasks, config) for tasks in (train, validation))
    stages, model = trainer._fit_stages(models, *mixed, config, tmp_path / "fit", name)
    # By these names the monitor is looked for before anything runs.
    assert {f"val_{metric.name}" for metric in model.metrics} == {each for each in stages[-1][1] if "val_" in each}
    learnt_from = train[0].rows.token_ids
    held_out, tokenizer = validation[0].batches, preprocessor.tokenizer
    judgement = judge(chosen, model, stages[-1][1], config.monitor, learnt_from, held_out, tokenizer)
    if name == "electra_adversarial":
        # Its generator learns to be hard to tell, not to guess: the discriminator alone is judged.
        assert judgement["judged"] == ["detection"]
        assert judgement["figures"]["discriminator_loss"] < judgement["detection"]["unigram"], judgement
    else:
        assert judgement["judged"] == (["loss", "detection"] if "electra" in name else ["loss"])
        assert judgement["loss"] < judgement["baselines"]["unigram"] - 0.2, judgement
    if "detection" in judgement:
        # What the gate asks of the discriminator.
        assert judgement["figures"]["discriminator_loss"] < judgement["detection"]["unigram"], judgement
    if "electra" in name:
        # Guessing the share of replaced tokens everywhere is the baseline of a discriminator.
        share = judgement["figures"]["replaced"]
        entropy = -share * np.log(share) - (1 - share) * np.log(1 - share)
        assert judgement["figures"]["discriminator_loss"] < entropy - 0.005, judgement
    if name == "infoword":
        assert judgement["figures"]["info_word_loss"] < np.log(config.batch_size) - 0.1, judgement
    if name == "ernie2":
        # Texts of sentences drawn at random tell nothing of the sentences' order and distance.
        labels = validation[1].rows.targets["capitals"].flat_values.numpy()
        assert judgement["figures"]["capitals_accuracy"] > 0.05 + (labels == 0).sum() / (labels >= 0).sum(), judgement
    losses = judgement["baselines"]
    # These texts are of few words: the last one tells much, unless it is hidden.
    assert losses["bigram"] < losses["unigram"] - 1 and losses["bigram"] <= losses["visible bigram"]
    assert losses["visible bigram"] < losses["unigram"] - 0.2, losses
    assert set(losses) == set(BASELINES)
    assert ("detection" in judgement) == ("electra" in name)

    trainer.save_encoder(encoder, preprocessor, tmp_path / "encoder")
    twin = tfmodels.from_hf(tmp_path / "encoder", task=tfmodels.models.Backbone)
    inputs = preprocessor([documents(1)[0]])
    for output, value in encoder(inputs).items():
        np.testing.assert_allclose(twin(inputs)[output], value, atol=1e-5, err_msg=output)


@pytest.mark.parametrize("name", ["roberta", "electra", "electra_two_stage", "xlnet"])
def test_attention_stays_within_the_documents_of_a_row(preprocessors, name, tmp_path):
    chosen, preprocessor = recipe(name), TextPreprocessor.load(preprocessors[name])
    config = FitConfig(epochs=1, batch_size=16, monitor="val_loss")
    # Texts so short that every row holds several.
    texts = [[text.split(".")[0] for text in documents(count, seed)] for count, seed in ((90, 0), (30, 1))]
    rows = RowsConfig(32, within_documents=True)
    (train,), (validation,), _ = batches_of(name, preprocessors[name], texts, tmp_path, config, rows)
    inputs, targets = next(iter(validation.batches.in_order()))
    assert "document_ids" not in targets
    if name == "xlnet":
        # [CLS] is never predicted: only other documents do not see it.
        is_cls = inputs["token_ids"] == preprocessor.tokenizer.cls_token_id
        unseen = ~inputs["permutation_mask"] & is_cls[:, None, :]
        assert tf.reduce_any(inputs["padding_mask"] & tf.reduce_any(unseen, axis=2))
    else:
        assert tf.reduce_max(inputs["document_ids"]) > 0
    encoder = make_backbone(chosen.preset, preprocessor.tokenizer.vocabulary_size(), 32, overrides_for(chosen.preset))
    models = trainer.make_models(chosen, EncoderConfig(), encoder, rows, config, None)
    stages, _ = trainer._fit_stages(models, train.batches, validation.batches, config, tmp_path / "fit", name)
    assert all(np.isfinite(history["val_loss"]).all() for _, history in stages)
    trainer.save_encoder(encoder, preprocessor, tmp_path / "encoder")


def test_words_that_the_vocabulary_cannot_spell_stop_the_run_with_a_way_out(tmp_path, caplog):
    caplog.set_level("INFO", "tfmodels.progress")
    random = np.random.default_rng(0)
    thai = "กขคงจชซญดตถทนบปผพฟมยรลวสหอะาิีุูเแโไ"
    # Thai has hardly a space, and WordPiece knows no word of more than a hundred characters.
    texts = [" ".join("".join(random.choice(list(thai), size)) for size in (300, 300, 300, 1)) for _ in range(40)]

    def read(name):
        vocabulary, folder = recipe(name).vocabulary, tmp_path / name
        # Of letters in a random order there are no unigram pieces but the letters.
        tokenizer = vocabulary.train(texts, 400 if vocabulary in (WORDPIECE, BYTE_LEVEL_BPE) else 48, True)
        TextPreprocessor(tokenizer, 32, format=vocabulary.format).save(folder)
        settings = FitConfig(batch_size=4), RowsConfig(32)
        return batches_of(name, folder, (texts, texts), folder, *settings)

    with pytest.raises(
        UserError, match=r"79% of the tokens .* byte-level BPE or SentencePiece.*roberta, albert"
    ) as caught:
        read("whole_word")
    assert "\n" not in str(caught.value)
    for name in ("roberta", "albert", "xlnet"):
        read(name)
    # TensorFlow may have its own say of what other tests have traced.
    told = [record.getMessage() for record in caplog.records if record.name == "tfmodels.progress"]
    wordpiece, *others = told
    assert wordpiece.startswith("79.5%") and others == 3 * ["0.0% of the tokens are unknown to the vocabulary"]


def test_training_starts_anew_where_any_column_of_the_rows_has_changed(tmp_path):
    settings = {"objective": "ernie", "training": str(tmp_path), "code": "1", "export_code": "2"}

    def folder(split="train", **columns):
        paths = {name: str(tmp_path / f"{name}-rows.gz") for name in ("train", "validation")}
        for name, path in paths.items():
            values = {"token_ids": [2, 7, 8, 3], "entity_ids": [0, 0, 0, 0], **(columns if name == split else {})}
            features = tf.train.Features(feature={key: components._int64(value) for key, value in values.items()})
            with tf.io.TFRecordWriter(path, "GZIP") as writer:
                writer.write(tf.train.Example(features=features).SerializeToString(deterministic=True))
        return trainer._training_directory(settings, paths.values())

    whole = folder()
    assert folder() == whole and whole.parent == tmp_path
    changes = [{"token_ids": [2, 7, 9, 3]}, {"entity_ids": [0, 1, 1, 0]}, {"split": "validation", "token_ids": [2]}]
    assert len({whole, *(folder(**change) for change in changes)}) == 4


@pytest.mark.parametrize(
    ("monitor", "best"), [("val_loss", 0), ("val_next_sentence_accuracy", 2), ("val_next_sentence_loss", 3)]
)
def test_figures_are_those_of_the_epoch_whose_weights_are_kept(preprocessors, tmp_path, monitor, best):
    history = {
        "val_loss": [1.0, 2.0, 3.0, 4.0],
        "val_masked_language_model_loss": [0.1, 0.2, 0.3, 0.4],
        "val_next_sentence_accuracy": [0.5, 0.9, 0.9, 0.6],
        "val_next_sentence_loss": [0.4, 0.3, 0.2, 0.1],
    }
    parts = (documents(), documents(20, seed=1))
    (train,), (validation,), _ = batches_of(
        "bert", preprocessors["bert"], parts, tmp_path, FitConfig(batch_size=16), RowsConfig(32)
    )
    tokenizer = TextPreprocessor.load(preprocessors["bert"]).tokenizer
    judged = judge(recipe("bert"), None, history, monitor, train.rows.token_ids, validation.batches, tokenizer)
    assert judged["figures"] == {name.removeprefix("val_"): values[best] for name, values in history.items()}
    assert judged["loss"] == history["val_masked_language_model_loss"][best]


@pytest.mark.parametrize(("name", "within"), [("unilm", False), ("electra", True)])
def test_the_visible_bigram_model_is_told_what_the_judged_models_mask_shows(preprocessors, tmp_path, name, within):
    chosen, preprocessor = recipe(name), TextPreprocessor.load(preprocessors[name])
    config, rows = FitConfig(batch_size=16), RowsConfig(32, within_documents=within)
    texts = [[text.split(".")[0] for text in documents(count, seed)] for count, seed in ((200, 0), (100, 1))]
    parts = texts if within else (documents(100), documents(60, seed=1))
    (train,), (validation,), _ = batches_of(name, preprocessors[name], parts, tmp_path, config, rows)
    size = preprocessor.tokenizer.vocabulary_size()
    encoder = make_backbone(chosen.preset, size, 32, {**overrides_for(chosen.preset), **chosen.overrides})
    ((_, model),) = trainer.make_models(chosen, EncoderConfig(), encoder, rows, config, None)
    assert model.attention_mask is not None
    history = {name: [1.0] for name in ("val_loss", f"val_{chosen.figure}", "val_discriminator_loss")}
    judged = [
        judge(chosen, each, history, "val_loss", train.rows.token_ids, validation.batches, preprocessor.tokenizer)
        for each in (model, None)
    ]
    told, untold = (each["baselines"] for each in judged)
    assert told["bigram"] == untold["bigram"] < untold["visible bigram"] < told["visible bigram"] - 1e-4


def test_a_stretch_begins_where_the_memory_of_the_one_before_ends(preprocessors, tmp_path):
    parts = documents(), documents(20, seed=1)
    settings = FitConfig(batch_size=2), RowsConfig(32), EncoderConfig(overrides={"reuse_length": 12})
    tasks = batches_of("xlnet_memory", preprocessors["xlnet_memory"], parts, tmp_path, *settings)[:2]
    assert [task.rows.step for (task,) in tasks] == [12, 12]
    # What is remembered sees nothing that the next stretch will predict.
    for (task,) in tasks:
        seen = np.concatenate([inputs["permutation_mask"] for inputs, _ in task.batches.in_order()])
        assert not seen[:, :12, 12:].any() and seen[:, :12, :12].any() and seen[:, 12:, :12].any()


@pytest.mark.parametrize(("masked", "one_in"), [(1 / 6, 6), (0.3, 4), (0.7, 2)])
def test_no_more_of_a_permuted_row_is_chosen_than_may_be_predicted(masked, one_in):
    batch, most = uniform_rows(512, 128), max_predictions(130, masked)
    chooser = recipe("xlnet").corruption(None, masked, most).choose
    assert chooser.inverse_rate == one_in
    chosen = chosen_by(chooser, batch) > 0
    assert chosen.sum(axis=1).max() <= most
    # Where no row of this many is cut short, its end is predicted as it would be without a limit.
    unlimited = chosen_by(PartialPrediction(one_in, max_predictions=128), batch) > 0
    fits = unlimited.sum(axis=1) <= most
    assert fits.mean() > 1 / 2
    np.testing.assert_array_equal(chosen[fits], unlimited[fits])


def test_rows_tell_documents_apart_only_where_that_is_asked_for(preprocessors):
    def rows(within_documents):
        found = rows_of("whole_word", preprocessors["whole_word"], documents(), within_documents=within_documents)
        return [tf.train.Example.FromString(row).features.feature for row in found]

    plain, told = rows(False), rows(True)
    tokenizer = TextPreprocessor.load(preprocessors["whole_word"]).tokenizer
    assert all("document_ids" not in row for row in plain) and len(plain) == len(told)
    several = 0
    for row in told:
        tokens, numbers = (np.array(row[name].int64_list.value) for name in ("token_ids", "document_ids"))
        assert len(tokens) == len(numbers) and numbers[0] == 0
        # A document ends at its separator, and the next one begins behind it.
        assert (tokens[:-1][np.diff(numbers) == 1] == tokenizer.sep_token_id).all()
        assert set(np.diff(numbers).tolist()) <= {0, 1}
        several += numbers[-1] > 0
    assert several > 10


def test_the_second_stage_starts_from_the_generator_and_leaves_it_alone(tmp_path):
    encoder, stages = topic_backbone(), {}
    for stage, model in recipe("electra_two_stage").models(encoder, None):
        if stage == "generator":
            # As if it had been trained.
            model.set_weights([value + 0.1 for value in model.get_weights()])
            generator = model.backbone
            assert generator is not encoder and generator.config == encoder.config
        stages[stage] = model
    assert list(stages) == ["generator", "discriminator"]
    assert stages["discriminator"].generator.backbone is generator
    for ours, theirs in zip(encoder.get_weights(), generator.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    learns = {id(variable) for variable in stages["discriminator"].trainable_variables}
    assert {id(variable) for variable in encoder.trainable_variables} < learns
    assert not learns & {id(variable) for variable in stages["discriminator"].generator.variables}


def test_two_stages_that_were_killed_go_on_as_if_they_had_not_been(monkeypatch, tmp_path):
    begun, dies_at = [], None

    class Killer(keras.callbacks.Callback):
        def __init__(self, *arguments):
            super().__init__()

        def on_epoch_begin(self, epoch, logs=None):
            begun.append(epoch)
            if len(begun) - 1 == dies_at:
                raise KeyboardInterrupt

    monkeypatch.setattr(trainer, "EpochLines", Killer)
    config = FitConfig(epochs=2, learning_rate=1e-2, monitor="val_loss")

    def run(folder):
        begun.clear()
        keras.utils.set_random_seed(0)
        encoder = topic_backbone(dropout=0.1)
        batches = (topic_batches(rows, seed, replace=MaskReplacement(MASK)) for rows, seed in ((64, 0), (32, 1)))
        models = recipe("electra_two_stage").models(encoder, None)
        stages, _ = trainer._fit_stages(models, *batches, config, folder, "test")
        return encoder, stages

    whole, expected = run(tmp_path / "whole")
    assert begun == [0, 1, 0, 1] and [stage for stage, _ in expected] == ["generator", "discriminator"]
    # In the first stage, between the two, and in the second: each time as far as the one before, and one epoch more.
    dies_at = 1
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "killed")
    dies_at = None
    again, stages = run(tmp_path / "killed")
    assert begun == [1] and stages == expected
    for ours, theirs in zip(again.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    # The generator's figure is that of its best epoch all along.
    (_, first), (_, second) = expected
    np.testing.assert_allclose(second["val_generator_loss"], min(first["val_generator_loss"]), rtol=1e-5)


def test_rows_of_ernie_tell_phrases_and_names(preprocessors, tmp_path):
    texts = [f"{text} Then Emma Goldman met her, and Emma Goldman left." for text in documents(80)]
    texts[:8] = [f"{text} Nobody, in medias res." for text in texts[:8]]
    counts = components._ngram_counter()
    counts.add(texts)
    folder = tmp_path / "preprocessor"
    TextPreprocessor.load(preprocessors["ernie"]).save(folder)
    components._write_lexicon(counts.counts, None, str(folder / "lexicon.json"))
    lexicon = json.loads((folder / "lexicon.json").read_text())
    assert lexicon["entity_ids"] == ["Emma Goldman"] and "in medias res" in lexicon["phrase_ids"]
    tokenizer, found = TextPreprocessor.load(folder).tokenizer, {"phrase_ids": set(), "entity_ids": set()}
    for row in rows_of("ernie", folder, texts):
        columns = {
            key: np.array(value.int64_list.value)
            for key, value in tf.train.Example.FromString(row).features.feature.items()
        }
        for name, spans in found.items():
            for number in range(1, columns[name].max() + 1):
                places = np.flatnonzero(columns[name] == number)
                assert (np.diff(places) == 1).all() and columns["word_starts"][places[0]]
                assert places[-1] + 1 == len(columns[name]) or columns["word_starts"][places[-1] + 1]
                spans.add(
                    tokenizer.detokenize(tf.ragged.constant([columns["token_ids"][places].tolist()]))
                    .numpy()[0]
                    .decode()
                )
    assert found["entity_ids"] == {"emma goldman"}
    assert "in medias res" in found["phrase_ids"] and found["phrase_ids"] <= set(lexicon["phrase_ids"])
    # A list of names stands in for those found.
    components._write_lexicon(counts.counts, ["captain"], str(folder / "lexicon.json"))
    components._markers.cache_clear()
    rows = [tf.train.Example.FromString(row).features.feature for row in rows_of("ernie", folder, texts)]
    captain = tokenizer(["captain"]).to_list()[0]
    marked = sum(np.count_nonzero(row["entity_ids"].int64_list.value) for row in rows)
    tokens = [token for row in rows for token in row["token_ids"].int64_list.value]
    assert marked == len(captain) * sum(tokens[place : place + len(captain)] == captain for place in range(len(tokens)))
    components._markers.cache_clear()


def test_capitals_are_those_of_the_text(preprocessors):
    tokenizer = TextPreprocessor.load(preprocessors["ernie2"]).tokenizer
    size = tokenizer.vocabulary_size()
    ((told,),) = components._sentences(tokenizer, ["The old Captain painted the kitchen clock, Émile's."], True)
    flags, ids = np.divmod(told, size)
    assert ids.tolist() == tokenizer(["The old Captain painted the kitchen clock, Émile's."]).to_list()[0]
    by_word = flags[tokenizer.word_starts()[ids]] - 1
    # The old Captain painted the kitchen clock , Émile ' s .
    assert by_word.tolist() == [1, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0]
    # Every piece of a word is told the same.
    assert (flags == (by_word + 1)[np.cumsum(tokenizer.word_starts()[ids]) - 1]).all()
    # A lone accent is a word until accents are taken away: of such a sentence nothing is known.
    ((unknown, known),) = components._sentences(tokenizer, ["The \u0301 captain. The captain."], True)
    assert max(unknown) < size <= min(known)
    rows = [
        tf.train.Example.FromString(row).features.feature
        for row in rows_of("ernie2", preprocessors["ernie2"], documents())
    ]
    for row in rows:
        capitals, special = (np.array(row[name].int64_list.value) for name in ("capitals", "special_mask"))
        assert ((capitals == -1) == (special == 1)).all()
    assert {tuple(row["task"].int64_list.value) for row in rows} == {(0,), (1,), (2,), (3,)}


def test_ernies_masks_are_words_phrases_and_names_in_equal_parts(preprocessors):
    tokenizer = TextPreprocessor.load(preprocessors["ernie"]).tokenizer
    chooser = recipe("ernie").corruption(tokenizer, 0.15, 5).choose
    np.testing.assert_allclose(chooser.shares, [1 / 3] * 3)
    assert [type(part) for part in chooser.choosers] == [WholeWordMasking, PhraseMasking, PhraseMasking]
    # Rows that are a single phrase and a single name: only words fit the budget, and it is two tokens of twelve.
    batch = uniform_rows(1500, 12)
    batch |= {spans: np.ones_like(batch["token_ids"]) for spans in ("phrase_ids", "entity_ids")}
    chosen = (chosen_by(chooser, batch) > 0).sum(axis=1)
    assert set(chosen) == {0, 2} and stats.binomtest(int((chosen == 2).sum()), 1500, 1 / 3).pvalue > 1e-3


def test_alberts_spans_are_of_one_to_three_words(preprocessors):
    tokenizer = TextPreprocessor.load(preprocessors["albert"]).tokenizer
    chooser = recipe("albert").corruption(tokenizer, 0.15, 5).choose
    # arXiv:1909.11942, equation 2.
    np.testing.assert_allclose(chooser.length_probabilities, [6 / 11, 3 / 11, 2 / 11])


def test_an_objective_without_a_generator_is_told_so():
    backbone = tfmodels.create_model("bert_tiny", vocabulary_size=50, num_layers=1)
    with pytest.raises(UserError, match="a model with a generator, such as electra_small"):
        make_generator("bert_tiny", backbone, None)


def test_a_generator_has_the_papers_proportions_or_sizes_of_its_own():
    backbone = tfmodels.create_model("electra_small", **SMALL, embedding_dim=32, vocabulary_size=50)
    plain = make_generator("electra_small", backbone, None).config
    # Of the paper's small model a quarter: half a head is one.
    assert (plain.num_heads, plain.hidden_dim, plain.intermediate_dim, plain.num_layers) == (1, 16, 16, 2)
    wide = make_generator("electra_small", backbone, None, {"num_heads": 2, "hidden_dim": 24, "num_layers": 1}).config
    assert (wide.num_heads, wide.hidden_dim, wide.intermediate_dim, wide.num_layers) == (2, 24, 16, 1)
    with pytest.raises(UserError, match="its vocabulary_size cannot differ"):
        make_generator("electra_small", backbone, None, {"vocabulary_size": 60})
    with pytest.raises(UserError, match="did you mean 'num_heads'"):
        make_generator("electra_small", backbone, None, {"num_head": 2})


# --- the pipeline


@pytest.mark.parametrize(
    ("judgement", "baseline", "blessed"),
    [
        ({"judged": ["loss"], "loss": 3.0}, "unigram", True),
        ({"judged": ["loss"], "loss": 3.0}, "bigram", False),
        ({"judged": ["loss"], "loss": float("nan")}, "unigram", False),
        # The encoder is the discriminator, however well the generator guesses.
        ({"judged": ["loss", "detection"], "loss": 1.0, "figures": {"discriminator_loss": 0.5}}, "unigram", False),
        ({"judged": ["loss", "detection"], "loss": 1.0, "figures": {"discriminator_loss": 0.3}}, "bigram", True),
        ({"judged": ["loss", "detection"], "loss": 5.0, "figures": {"discriminator_loss": 0.3}}, "unigram", False),
        ({"judged": ["detection"], "loss": 5.0, "figures": {"discriminator_loss": 0.3}}, "unigram", True),
    ],
)
def test_the_gate_judges_what_becomes_the_encoder(tmp_path, judgement, baseline, blessed):
    judgement["baselines"] = {"unigram": 4.0, "visible bigram": 3.5, "bigram": 2.0}
    if "detection" in judgement["judged"]:
        judgement["detection"] = {"unigram": 0.4, "bigram": 0.2}
    (tmp_path / "history.json").write_text(json.dumps({"judgement": judgement}))
    run, model, verdict = standard_artifacts.ModelRun(), standard_artifacts.Model(), standard_artifacts.ModelBlessing()
    run.uri, verdict.uri = str(tmp_path), str(tmp_path / "blessing")
    BaselineGateExecutor().Do({"model_run": [run], "model": [model]}, {"blessing": [verdict]}, {"baseline": baseline})
    assert verdict.get_int_custom_property("blessed") == blessed
    assert (tmp_path / "blessing" / ("BLESSED" if blessed else "NOT_BLESSED")).exists()


@pytest.mark.e2e
def test_the_pipeline_pushes_an_encoder_that_fine_tuning_starts_from(tmp_path):
    from pipelines.pretraining.job import JobConfig, run_job
    from pipelines.text_classification import sources
    from pipelines.text_classification.configs import TeacherConfig, TextConfig
    from pipelines.text_classification.trainer import build_teacher
    from serving import check_savedmodel
    from tfmodels.models import BertConfig

    path = tmp_path / "corpus.txt"
    path.write_text("\n\n".join(documents(400)))
    settings = {
        "objective": "electra",
        "encoder": {"overrides": overrides_for("electra_small")},
        "vocabulary": {"size": 90},
        "rows": {"sequence_length": 32},
        "fit": {"epochs": 10, "batch_size": 16, "learning_rate": 5e-3, "precision": "auto"},
    }
    output = tmp_path / "out"
    job = JobConfig(str(output), CorpusConfig((str(path),), validation=0.1), settings, "little")
    assert run_job(job)
    results = json.loads((output / "results.json").read_text())
    assert results["judgement"]["loss"] < results["judgement"]["baselines"]["unigram"]
    assert results["recipe"]["precision"] in ("float32", "bfloat16")
    assert results["fit_tokens"] == 10 * results["tokens"]
    assert (output / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert check_savedmodel(results["pushed"]["path"], latency_seconds=0.05).passed

    # What --model takes: the encoder with its own tokeniser, under a new head.
    teacher = TeacherConfig(source=str(output / "encoder"))
    config = sources.check_teacher(teacher, 32)
    preprocessor = sources.make_preprocessor(TextConfig(sequence_length=32), teacher, pairs=False)
    classifier = build_teacher(teacher, 2, "float32")
    assert classifier(preprocessor(["Nobody painted an umbrella."]))["logits"].shape == (1, 2)
    with pytest.raises(UserError, match="at most 32 tokens"):
        sources.check_teacher(teacher, 64)
    narrow, wide = BertConfig(hidden_dim=config.hidden_dim), BertConfig(hidden_dim=32, embedding_dim=64)
    # A student that is wider than a small encoder's states begins at random, unless more is asked for.
    assert sources.starts_like_teacher(None, narrow, config) and not sources.starts_like_teacher(None, wide, config)
    assert not sources.starts_like_teacher(False, narrow, config)
    with pytest.raises(UserError, match="lower the student's embedding_dim"):
        sources.starts_like_teacher(True, wide, config)

    # Once more: everything comes from the cache, the version stays and the encoder is the same.
    before = (output / "encoder" / "model.safetensors").read_bytes()
    assert run_job(job)
    again = json.loads((output / "results.json").read_text())
    assert again["seconds"]["fit"] == 0 and again["pushed"] == results["pushed"]
    assert (output / "encoder" / "model.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"objective": "elektra"}, "did you mean 'electra'"),
        ({"encoder": {"preset": "bert_tinny"}}, "did you mean 'bert_tiny'"),
        ({"encoder": {"overrides": {"num_layer": 2}}}, "did you mean 'num_layers'"),
        ({"baseline": "trigram"}, "no baseline 'trigram'"),
        ({"fit": {"epoch": 1}}, "did you mean 'epochs'"),
        (
            {"rows": {"names": "names.txt"}},
            "rows.names is for an objective that masks names: leave it out of bert, or choose ernie or ernie2",
        ),
        ({"objective": "ernie", "rows": {"names": "nowhere.txt"}}, "nowhere.txt cannot be read"),
        ({"encoder": {"preset": "xlnet_base"}}, "bert cannot train xlnet_base: .* such as bert_tiny"),
        ({"objective": "xlnet", "encoder": {"preset": "bert_tiny"}}, "cannot train bert_tiny: .* such as xlnet_base"),
        ({"objective": "transformer_xl", "encoder": {"preset": "xlnet_base"}}, "such as transformer_xl_standard"),
        ({"objective": "ernie2", "encoder": {"preset": "bert_tiny"}}, "cannot train bert_tiny: .* such as ernie2_base"),
        ({"objective": "electra", "encoder": {"preset": "bert_tiny"}}, "a model with a generator, such as electra_sm"),
        ({"objective": "tnf", "encoder": {"preset": "electra_small"}}, "set embedding_dim to 256 among the encoder's"),
        (
            {"objective": "albert", "encoder": {"overrides": {"positions": "relative_key"}}},
            "ALBERT scales 'relative_key' otherwise: it cannot be saved",
        ),
        (
            {"encoder": {"generator": {"hidden_dim": 8}}},
            "encoder.generator is for an objective that takes a generator: leave it out of bert, or choose electra or",
        ),
        (
            {"rows": {"within_documents": True}},
            "packs several documents into a row: leave it out of bert, or choose whole_word or roberta or",
        ),
        ({"objective": "unilm", "encoder": {"overrides": {"num_segments": 2}}}, "unilm sets num_segments=6 itself"),
        (
            {"objective": "unilm", "encoder": {"overrides": {"attention": {"kind": "LocalAttention"}}}},
            "unilm says who sees whom, which LocalAttention cannot take: use FullAttention",
        ),
        (
            {"objective": "roberta", "encoder": {"preset": "star_transformer"}, "rows": {"within_documents": True}},
            "within_documents says who sees whom, which Star cannot take",
        ),
        ({"rows": {"format": "sentence_pairs"}}, "did you mean 'sentence_pair'"),
        (
            {"rows": {"format": "full_sentences"}},
            "bert has no rows in the format full_sentences: choose segment_pair or",
        ),
        (
            {"objective": "roberta", "rows": {"format": "segment_pair"}},
            "roberta has no rows in the format segment_pair: choose full_sentences or doc_sentences",
        ),
        (
            {"objective": "xlnet_memory", "rows": {"format": "full_sentences"}},
            "leave rows.format out, it reads whole d",
        ),
        (
            {"objective": "roberta", "rows": {"format": "doc_sentences", "within_documents": True}},
            "packs several documents into a row: leave it out of roberta, or choose whole_word or electra",
        ),
        ({"vocabulary": {"folder": "nowhere"}}, "nowhere has no preprocessor.json: give a folder that a run made"),
        ({"rows": {"masked": 15}}, "rows.masked=15: give the fraction of the tokens to predict"),
        ({"rows": {"masked": 0.0}}, "rows.masked=0.0: give the fraction"),
        ({"rows": {"copies": 0}}, "rows.copies=0: give at least 1"),
        ({"rows": {"shards": 0}}, "rows.shards=0: give at least 1"),
        ({"objective": "ernie_thu"}, "give their folder as rows.entities"),
        ({"objective": "ernie_thu", "rows": {"entities": "nowhere"}}, "there is no nowhere/mentions.tsv"),
        ({"rows": {"entities": "nowhere"}}, "that reads entities: leave it out of bert, or choose ernie_thu"),
        ({"rows": {"rare_words": [20, 100]}}, "that takes notes of rare words: leave it out of bert, or choose tnf"),
        ({"rows": {"chinese_words": True}}, "that masks whole words: leave it out of bert, or choose whole_word or"),
        (
            {"objective": "transformer_xl", "rows": {"masked": 0.1}},
            "rows.masked is for an objective that hides tokens: leave it out of transformer_xl.$",
        ),
        (
            {"objective": "xlnet_memory", "rows": {"copies": 1}},
            "rows.copies is for an objective that hides tokens of rows that stay the same: leave it out of xlnet_mem",
        ),
        ({"paths": {"corpus": "documents"}}, "the run sets paths itself: leave it out of --config"),
        ({"rows": {"masked": "0.2"}}, "RowsConfig.masked='0.2' is no number"),
        ({"fit": {"batch_size": "8"}}, "FitConfig.batch_size='8' is no whole number"),
        ({"rows": {"sequence_length": 3.5}}, "RowsConfig.sequence_length=3.5 is no whole number"),
        ({"rows": {"sequence_length": 3}}, "rows.sequence_length=3: give at least 8"),
        ({"rows": {"rare_words": 100}}, "RowsConfig.rare_words=100 is no list: give one"),
        ({"objective": "tnf", "rows": {"rare_words": [500, 100]}}, r"rows.rare_words=\[500, 100\]: give how often"),
        ({"vocabulary": {"size": 0}}, "vocabulary.size=0: give at least 64"),
        (
            {"fit": {"monitor": "val_los"}},
            "fit.monitor='val_los' is no figure of bert on held-out rows: did you mean 'val_loss'",
        ),
        (
            {"objective": "electra_two_stage", "fit": {"monitor": "val_discriminator_loss"}},
            "is no figure of electra_two_stage on held-out rows: did you mean 'val_generator_loss'",
        ),
        ({"objective": "electra", "encoder": {"generator": {"num_head": 2}}}, "no field 'num_head': did you mean 'num"),
        (
            {"objective": "electra", "encoder": {"generator": {"num_heads": 3, "hidden_dim": 64}}},
            "num_heads=3 does not divide hidden_dim=64",
        ),
        ({"encoder": {"overrides": {"num_heads": 3}}}, "num_heads=3 does not divide hidden_dim=128: choose a divisor"),
        ({"encoder": {"overrides": {"num_layers": "2"}}}, "BertConfig.num_layers='2' is no whole number"),
        ({"encoder": {"overrides": {"vocabulary_size": 30}}}, "vocabulary_size follows from the vocabulary: leave it"),
        ({"encoder": {"overrides": {"max_sequence_length": 16}}}, "takes at most 16 tokens and rows have 128: leave"),
        ({"encoder": {"overrides": {"num_segments": 1}}}, "the rows have a segment 1 and the encoder knows 1"),
        ({"encoder": {"preset": "roberta_base"}}, "the rows have a segment 1 and the encoder knows 1"),
        ({"objective": "xlnet_memory", "fit": {"batch_size": 9}}, "fit.batch_size=9 is odd: half of the rows"),
        (
            {"objective": "xlnet_memory", "encoder": {"overrides": {"reuse_length": 200}}},
            "reuse_length=200: a row has 128 tokens",
        ),
        ({"objective": "tnf", "fit": {"micro_batches": 2}}, "fit.micro_batches=2: tnf reads batches whole, on one"),
        ({"objective": "xlnet_memory", "fit": {"strategy": "mirrored"}}, "fit.strategy='mirrored': xlnet_memory reads"),
        ({"objective": "electra", "fit": {"layer_decay": 0.9}}, "ElectraPretrainer has no layers by depth"),
        ({"fit": {"unfreezing": "gradual", "epochs": 2}}, "lets the lowest layer learn in epoch 4, but there are 2"),
        ({"fit": {"unfreezing": "gradual", "unfreeze_epochs": [1, 2]}}, "takes one number"),
        ({"fit": {"seed": -1}}, "seed=-1 must be from 0 to"),
        (
            {"fit": {"monitor": "loss"}},
            "fit.monitor='loss' is no figure of bert on held-out rows: did you mean 'val_loss'",
        ),
        ({"objective": "roberta", "vocabulary": {"size": 64}}, "vocabulary.size=64: give at least 261"),
        ({"objective": "ernie2", "vocabulary": {"lowercase": False}}, "learns which words have capitals from small le"),
        ({"encoder": {"overrides": {"num_segments": -1}}}, "BertConfig.num_segments=-1 is no whole number from 0"),
        ({"encoder": {"overrides": {"dropout": 2}}}, "BertConfig.dropout=2 is no rate: give a fraction"),
        ({"encoder": {"overrides": {"num_layers": 0}}}, "BertConfig.num_layers=0 is no whole number from 1"),
        ({"encoder": {"overrides": {"attention": {"kind": 3}}}}, "there is no kind of attention 3"),
        ({"objective": "transformer_xl", "fit": {"micro_batches": 2}}, "transformer_xl reads batches whole"),
        (
            {"objective": "ernie_thu", "encoder": {"preset": "star_transformer"}},
            "star_transformer has no layers that could read entities",
        ),
    ],
)
def test_a_mistake_in_the_settings_is_told_before_anything_runs(tmp_path, settings, message):
    from pipelines.pretraining.job import JobConfig, pipeline_config

    with pytest.raises(UserError, match=message):
        pipeline_config(JobConfig(str(tmp_path), settings=settings))


def test_a_model_that_memory_does_not_hold_is_told_in_a_sentence(tmp_path, monkeypatch):
    from pipelines.pretraining import checks
    from pipelines.pretraining.job import JobConfig, pipeline_config

    def make(*arguments):
        raise tf.errors.ResourceExhaustedError(None, None, "out of memory")

    monkeypatch.setattr(checks, "make_learner", make)
    with pytest.raises(UserError, match="memory does not hold the encoder: give a smaller model, or shorter rows"):
        pipeline_config(JobConfig(str(tmp_path)))


def test_what_is_no_mistake_passes(tmp_path):
    from pipelines.pretraining.job import JobConfig, pipeline_config

    for settings in (
        {"fit": {"monitor": "val_next_sentence_accuracy"}},
        {"objective": "whole_word", "rows": {"chinese_words": True, "within_documents": True, "copies": 10}},
        {"objective": "tnf", "rows": {"rare_words": [20, 20]}},
        {"objective": "electra", "encoder": {"generator": {"num_heads": 4, "hidden_dim": 256}}},
        {"rows": {"rare_words": [100, 500], "chinese_words": False}},
        # One layer is not enough for all of these.
        {"objective": "albert", "encoder": {"overrides": {"num_groups": 4}}},
        {"objective": "albert", "encoder": {"overrides": {"inner_layers": 2}}},
        {"objective": "albert", "encoder": {"overrides": {"num_layers": 4, "num_groups": 2, "inner_layers": 2}}},
        {"fit": {"unfreezing": "gradual", "unfreeze_epochs": [0.5], "layer_decay": 0.9}},
    ):
        pipeline_config(JobConfig(str(tmp_path), settings=settings))


def test_the_epoch_that_is_kept_is_by_the_objectives_figure_unless_another_is_named(tmp_path):
    from pipelines.pretraining.job import JobConfig, pipeline_config

    def monitor(**settings):
        return pipeline_config(JobConfig(str(tmp_path), settings=settings)).fit.monitor

    assert monitor() == monitor(objective="electra", fit={"epochs": 2}) == "val_loss"
    assert monitor(objective="electra_adversarial", fit={"epochs": 2}) == "val_discriminator_loss"
    assert monitor(objective="electra_adversarial", fit={"monitor": "val_loss"}) == "val_loss"


@pytest.mark.parametrize(
    ("name", "of", "message"),
    [
        (
            "unilm",
            "roberta",
            "unilm says by the segments 0 and 1 who sees whom, and this vocabulary's rows have 0: tak",
        ),
        ("unilm", "xlnet", "this vocabulary's rows have 0 and 1 and 2"),
        ("bert", "xlnet", "the rows have a segment 2 and the encoder knows 2"),
        ("bert", "roberta", None),
        ("xlnet", "bert", None),
    ],
)
def test_a_vocabulary_that_is_given_has_the_segments_that_are_read(preprocessors, tmp_path, name, of, message):
    from pipelines.pretraining.job import JobConfig, pipeline_config

    job = JobConfig(str(tmp_path), settings={"objective": name, "vocabulary": {"folder": str(preprocessors[of])}})
    if message is None:
        assert pipeline_config(job).vocabulary.folder == str(preprocessors[of])
    else:
        with pytest.raises(UserError, match=message):
            pipeline_config(job)


def test_a_vocabulary_that_is_given_is_read_before_anything_runs(preprocessors, tmp_path):
    from pipelines.pretraining.job import JobConfig, pipeline_config

    def told(folder, **settings):
        with pytest.raises(UserError) as caught:
            pipeline_config(JobConfig(str(tmp_path), settings={"vocabulary": {"folder": str(folder), **settings}}))
        return str(caught.value)

    TextPreprocessor(without_mask(WORDPIECE), 32).save(tmp_path / "unmasked")
    assert told(tmp_path / "unmasked").startswith("The vocabulary lacks [MASK]")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "preprocessor.json").write_text("{")
    assert "preprocessor.json is not JSON" in told(tmp_path / "broken")
    # Its size is what it is.
    assert "has its own size: leave vocabulary.size out" in told(preprocessors["bert"], size=8192)
    assert "has its own lowercase" in told(preprocessors["bert"], lowercase=True)
    settings = {"objective": "ernie2", "vocabulary": {"folder": str(preprocessors["roberta"])}}
    with pytest.raises(UserError, match=r"learns which words have capitals, but the vocabulary in .* keeps"):
        pipeline_config(JobConfig(str(tmp_path), settings=settings))


@pytest.mark.parametrize("name", sorted(set(RECIPES) - {"transformer_xl"}))
def test_an_objective_reads_words_where_it_says_so(preprocessors, name):
    chosen, batch = recipe(name), rows_to_corrupt([24] * 4)
    del batch["word_ids"], batch["word_starts"]
    batch |= {"entity_ids": batch["phrase_ids"], "pair": np.zeros(4, "int32")}
    corruption = chosen.corruption(TextPreprocessor.load(preprocessors[name]).tokenizer, 0.15, 4)
    if not chosen.words or name == "tnf":  # its notes read words, its masks do not
        corruption(batch, Draw(0, 0, np.arange(4)))
    else:
        with pytest.raises(KeyError, match="word_starts"):
            corruption(batch, Draw(0, 0, np.arange(4)))


def test_names_may_be_packed(tmp_path):
    path = tmp_path / "names.txt.gz"
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.write("Emma Goldman\n\n Max  Stirner \n")
    assert components.names_of(str(path)) == ["Emma Goldman", "Max Stirner"]
    path.write_bytes(gzip.compress(b"\n"))
    with pytest.raises(UserError, match=r"names\.txt\.gz holds no names: write one a line"):
        components.names_of(str(path))


@pytest.mark.parametrize("validation", [0.004, 0.05, 0.5])
def test_shards_are_alike_whatever_part_is_held_out(tmp_path, validation):
    texts = [f"Document {number}." for number in range(20_000)]
    folder, _ = prepare(corpus(tmp_path, "\n".join(texts), format="lines", validation=validation), tmp_path / "out")
    for split in ("train", "validation"):
        shards = [components._with_shard(text, 4)[0] for text in records(folder, split)]
        counts = np.bincount(shards, minlength=4)
        assert stats.chisquare(counts).pvalue > 1e-3, (split, counts)


@pytest.mark.parametrize("name", RECIPES)
def test_every_objective_takes_its_own_model(tmp_path, name):
    from pipelines.pretraining.job import JobConfig, pipeline_config

    settings = {"objective": name}
    if recipe(name).entities:
        entities.write_entities(tmp_path / "graph", MENTIONS, np.ones((5, 4)))
        settings["rows"] = {"entities": str(tmp_path / "graph")}
    assert pipeline_config(JobConfig(str(tmp_path), settings=settings)).objective == name


@pytest.mark.parametrize(
    ("mentions", "vectors", "message"),
    [
        (b"captain 1\n", np.ones((5, 4)), "mentions.tsv, line 1: write a mention, a tab and a number from 1"),
        (b"captain\t1\n\t2\n", np.ones((5, 4)), "line 2: write"),
        (b"captain\t0\n", np.ones((5, 4)), "line 1: write"),
        (b"captain\t6\n", np.ones((5, 4)), "names entity 6, but there are 5 vectors"),
        (b"", np.ones((5, 4)), "holds no graph"),
        (b"captain\t1\n", np.ones((1, 4)), "holds no graph"),
        (b"captain\t1\n", np.full((5, 4), np.nan), "one vector of finite numbers"),
        (b"captain\t1\n", np.ones(5), "one vector of finite numbers"),
        (b"captain\t1\n", np.ones((5, 4), int), "one vector of finite numbers"),
        (b"captain\t1\n", np.array([[object()]]), "is no array that NumPy saved"),
        (b"\xff\t1\n", np.ones((5, 4)), "mentions.tsv is not UTF-8"),
    ],
)
def test_a_folder_of_entities_is_looked_at_before_anything_runs(tmp_path, mentions, vectors, message):
    (tmp_path / entities.MENTIONS).write_bytes(mentions)
    np.save(tmp_path / entities.VECTORS, vectors)
    with pytest.raises(UserError, match=message):
        entities.check_entities(str(tmp_path))


def test_other_vectors_of_the_entities_are_another_training(tmp_path):
    from pipelines.pretraining.job import JobConfig, pipeline_config
    from pipelines.pretraining.pipeline import create_pipeline

    graph, seen = tmp_path / "graph", []
    settings = {"objective": "ernie_thu", "rows": {"entities": str(graph)}}
    for vectors in (np.ones((5, 4)), np.ones((5, 4)), np.zeros((5, 4))):
        shutil.rmtree(graph, ignore_errors=True)
        entities.write_entities(graph, MENTIONS, vectors)
        config = pipeline_config(JobConfig(str(tmp_path), settings=settings))
        trained = next(part for part in create_pipeline(config).components if part.id == "Trainer")
        given = json.loads(trained.exec_properties["custom_config"])
        seen.append(trainer._training_directory(given, []).name)
    assert seen[0] == seen[1] != seen[2]


def test_another_tokeniser_in_the_same_folder_is_another_vocabulary(preprocessors, tmp_path):
    folder, seen = tmp_path / "encoder", []
    for name in ("bert", "bert", "roberta"):
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(preprocessors[name], folder)
        (folder / "model.safetensors").write_bytes(bytes(len(seen)))
        settings = {"objective": "bert", "size": 90, "lowercase": True, "sequence_length": 32, "folder": str(folder)}
        channel = components.Channel(type=standard_artifacts.Examples)
        seen.append(components.Vocabulary(channel, **settings).exec_properties["settings"])
    assert seen[0] == seen[1] != seen[2]


def test_rows_tell_which_entities_are_named(preprocessors):
    rows = [
        tf.train.Example.FromString(row).features.feature
        for row in rows_of("ernie_thu", preprocessors["ernie_thu"], documents())
    ]
    tokenizer, found = TextPreprocessor.load(preprocessors["ernie_thu"]).tokenizer, set()
    spelt = {number: set() for number in MENTIONS.values()}
    for mention, number in MENTIONS.items():
        spelt[number].add(tuple(tokenizer([mention]).to_list()[0]))
    for row in rows:
        tokens = list(row["token_ids"].int64_list.value)
        for place, number in enumerate(row["entities"].int64_list.value):
            if number:
                assert any(tuple(tokens[place : place + len(span)]) == span for span in spelt[number])
                found.add(number)
    assert found == set(MENTIONS.values())
    # Of "wooden boat" and "boat" the longer one counts.
    wooden, boat = (tokenizer([word]).to_list()[0] for word in ("wooden", "boat"))
    whole = wooden + boat
    for row in rows:
        tokens, told = (list(row[name].int64_list.value) for name in ("token_ids", "entities"))
        for place in range(len(tokens)):
            if tokens[place : place + len(whole)] == whole:
                assert told[place] == 4 and not told[place + len(wooden)]


@pytest.mark.parametrize(
    ("option", "written", "objective"),
    [(None, None, "bert"), (None, "albert", "albert"), ("electra", "albert", "electra"), ("bert", "albert", "bert")],
)
def test_an_objective_on_the_command_line_goes_before_that_of_the_file(
    tmp_path, monkeypatch, option, written, objective
):
    from pipelines.pretraining import job

    started, file = [], tmp_path / "settings.json"
    monkeypatch.setattr(job, "run_job", lambda config: started.append(config) or True)
    file.write_text(json.dumps({"objective": written} if written else {}))
    arguments = ["run", "pretraining", "--config", str(file), *(["--objective", option] if option else [])]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    config = job.pipeline_config(started[0])
    assert config.objective == objective
    result = CliRunner().invoke(main, ["run", "pretraining", "--objective", "elektra"])
    assert result.exit_code == 2 and "did you mean 'electra'" in result.output


def test_a_small_corpus_has_few_shards(tmp_path):
    from pipelines.pretraining.job import JobConfig, for_corpus, pipeline_config

    for documents_in_all, held_out, shards in (
        (2, 2, (1, 1)),
        (39, 39, (1, 1)),
        (60, 40, (3, 2)),
        (10_000, 500, (4, 4)),
    ):
        report = dataclasses.replace(REPORT, documents={"train": documents_in_all, "validation": held_out})
        config = for_corpus(pipeline_config(JobConfig(str(tmp_path))), tmp_path / "documents", report)
        assert (config.rows.shards, config.rows.held_out_shards) == shards
        assert config.paths.corpus == str(tmp_path / "documents")


@pytest.mark.parametrize("split", ["train", "validation"])
@pytest.mark.parametrize("name", RECIPES)
def test_documents_that_have_no_other_to_be_paired_with_are_told_before_anything_runs(tmp_path, name, split):
    from pipelines.pretraining.configs import PathsConfig, PretrainingConfig
    from pipelines.pretraining.job import for_corpus

    config = PretrainingConfig(PathsConfig("", "", "", ""), name)
    report = dataclasses.replace(REPORT, documents={"train": 24, "validation": 2, split: 1})
    if name in ("bert", "nezha", "ernie", "ernie_thu", "unilm", "ernie2"):
        with pytest.raises(UserError, match=f"{name} pairs a document with others, and there is only one for {split}"):
            for_corpus(config, tmp_path, report)
    else:
        assert for_corpus(config, tmp_path, report).rows.shards == 1
