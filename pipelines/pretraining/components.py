"""The components between documents and rows to pre-train on: the vocabulary, and the rows. Both run on Beam.

Rows are made shard by shard: documents go to a shard by a hash of their text, a shard's documents are read in the order
of that hash, and a shard is a file, so that a corpus gives the same files on every runner with any number of workers.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

import apache_beam as beam
import numpy as np
import tensorflow as tf
from tfx.dsl.components.base.base_beam_component import BaseBeamComponent
from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
from tfx.dsl.components.base.executor_spec import BeamExecutorSpec
from tfx.dsl.io import fileio
from tfx.types import artifact, artifact_utils, standard_artifacts
from tfx.types.channel import BaseChannel, Channel
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter
from tfx.utils import io_utils

from pipelines.components.files import is_remote, local_copy
from pipelines.pretraining.corpus import SPLITS
from pipelines.pretraining.entities import digest_of, read_mentions
from pipelines.pretraining.recipes import recipe
from tfmodels.errors import UserError
from tfmodels.objectives import Frame
from tfmodels.text import (
    ChineseSegmenter,
    EntityLinker,
    NgramTable,
    SpanMarker,
    TextPreprocessor,
    WordCounts,
    bert_words,
    join_word_starts,
    ngrams_of_words,
    read_lines,
    read_names,
    split_sentences,
)

_TEXTS_A_BATCH = 64
_SENTENCES_A_BATCH = 1024
_CONFIG_FILE = "preprocessor.json"


class Preprocessor(artifact.Artifact):
    """A folder with a saved `TextPreprocessor`."""

    TYPE_NAME = "TextPreprocessor"


class _VocabularySpec(ComponentSpec):
    PARAMETERS: ClassVar = {"settings": ExecutionParameter(type=str)}
    INPUTS: ClassVar = {"documents": ChannelParameter(type=standard_artifacts.Examples)}
    OUTPUTS: ClassVar = {"preprocessor": ChannelParameter(type=Preprocessor)}


class _VocabularyExecutor(BaseBeamExecutor):
    def Do(self, input_dict, output_dict, exec_properties):
        self._log_startup(input_dict, output_dict, exec_properties)
        settings = json.loads(exec_properties["settings"])
        uri = artifact_utils.get_single_instance(output_dict["preprocessor"]).uri
        if settings["folder"]:
            with local_copy(settings["folder"]) as folder:
                saved = TextPreprocessor.load(folder)
                tokenizer, form = saved.tokenizer, saved.format
        else:
            vocabulary = recipe(settings["objective"]).vocabulary
            files = _files(input_dict["documents"], "train")
            source = self._counts(files, settings) if vocabulary.counter else _texts(files)
            tokenizer, form = vocabulary.train(source, settings["size"], settings["lowercase"]), vocabulary.format
        with tempfile.TemporaryDirectory() as folder:
            TextPreprocessor(tokenizer, settings["sequence_length"], format=form).save(folder)
            io_utils.copy_dir(folder, uri)

    def _counts(self, files: list[str], settings: dict) -> WordCounts:
        """How often each word stands in the documents, counted by Beam."""
        counter = functools.partial(_vocabulary_counter, settings["objective"], settings["lowercase"])
        total = counter()
        with tempfile.TemporaryDirectory() as folder:
            # The counts leave the pipeline by a file that every worker can write.
            target = f"{settings['counts'] or folder}/words.json"
            fileio.makedirs(target.rpartition("/")[0])
            with self._make_beam_pipeline() as pipeline:
                _ = pipeline | beam.Create(files) | _Counted(counter) | beam.Map(_write_counts, target)
            counts = json.loads(fileio.open(target).read())
        total.counts.update({word.encode("utf-8", "surrogateescape"): count for word, count in counts.items()})
        return total


def _vocabulary_counter(objective: str, lowercase: bool) -> WordCounts:
    return recipe(objective).vocabulary.counter(lowercase)


def _ngram_counter() -> WordCounts:
    return WordCounts(ngrams_of_words)


class _Counted(beam.PTransform):
    """From files of documents to what `counter()`, a `WordCounts`, counts in all of them."""

    def __init__(self, counter):
        super().__init__()
        self.counter = counter

    def expand(self, files):
        return (
            files
            | beam.Reshuffle()
            | beam.FlatMap(lambda file: _texts([file]))
            | beam.BatchElements(min_batch_size=_TEXTS_A_BATCH, max_batch_size=_TEXTS_A_BATCH)
            | beam.CombineGlobally(_CountWords(self.counter))
        )


class _CountWords(beam.CombineFn):
    """Adds up what `counter()` counts."""

    def __init__(self, counter):
        self.counter = counter

    def create_accumulator(self):
        return Counter()

    def add_input(self, accumulator, texts):
        counts = self._holding(accumulator)
        counts.add(texts)
        return counts.counts

    def merge_accumulators(self, accumulators):
        first, *others = accumulators
        counts = self._holding(first)
        for other in others:
            counts.merge(self._holding(other))
        return counts.counts

    def extract_output(self, accumulator):
        return dict(accumulator)

    def _holding(self, accumulator) -> WordCounts:
        """What adds to an accumulator, which is not copied."""
        counts = self.counter()
        counts.counts = accumulator
        return counts


def check_preprocessor(folder: str) -> None:
    """Makes sure that there is a saved `TextPreprocessor` in a folder.

    Raises:
        UserError: There is none.
    """
    if not fileio.exists(f"{folder}/{_CONFIG_FILE}"):
        raise UserError(f"{folder} has no {_CONFIG_FILE}: give a folder that a run made, or a saved preprocessor.")


def names_of(file: str) -> list[str]:
    """The names of a UTF-8 file, gzipped or not, one a line.

    Raises:
        UserError: It cannot be read, or holds none.
    """
    with tempfile.TemporaryDirectory() as folder:
        local = Path(file)
        if is_remote(file):
            local = Path(folder) / local.name
            try:
                io_utils.copy_file(file, str(local))
            except (OSError, tf.errors.OpError, fileio.NotFoundError) as error:
                raise UserError(f"{file} cannot be read ({error}): give a file of names.") from error
        names = read_names(read_lines(local))
    if not names:
        raise UserError(f"{file} holds no names: write one a line.")
    return names


def _digest_of(folder: str) -> str:
    """The content of a folder with a tokeniser, without the weights beside it."""
    with local_copy(folder) as local:
        files = [path for path in sorted(Path(local).iterdir()) if path.suffix not in (".safetensors", ".keras")]
        return hashlib.sha256(b"".join(path.read_bytes() for path in files if path.is_file())).hexdigest()


def _write_counts(counts: dict[bytes, int], target: str) -> None:
    words = {word.decode("utf-8", "surrogateescape"): count for word, count in sorted(counts.items())}
    with fileio.open(target, "w") as file:
        file.write(json.dumps(words))


def _write_lexicon(counts: dict[bytes, int], names: list[str] | None, target: str) -> None:
    """Writes the phrases and the names that the documents hold; names that are given stand in for those found."""
    table = NgramTable(counts)
    lexicon = {"phrase_ids": table.phrases(), "entity_ids": table.names() if names is None else names}
    with fileio.open(target, "w") as file:
        file.write(json.dumps(lexicon, indent=1, ensure_ascii=False))


class Vocabulary(BaseBeamComponent):
    """Learns an objective's vocabulary from the training documents, or takes a given one.

    Outputs:
        preprocessor: A saved `TextPreprocessor`.
    """

    SPEC_CLASS = _VocabularySpec
    EXECUTOR_SPEC = BeamExecutorSpec(_VocabularyExecutor)

    def __init__(
        self,
        documents: BaseChannel,
        *,
        objective: str,
        size: int,
        lowercase: bool,
        sequence_length: int,
        folder: str | None = None,
        counts: str = "",
        code: str = "",
    ):
        """Constructs the component.

        Args:
            documents: Examples of the byte feature `text`.
            objective: The name of a recipe.
            size: V.
            lowercase: Whether texts are lowered, where the tokeniser can.
            sequence_length: tokens of a row.
            folder: A saved preprocessor to take instead.
            counts: A folder that all workers can write, where Beam runs on several machines.
            code: A fingerprint of the code, for TFX's cache.
        """
        settings = {
            "objective": objective,
            "size": size,
            "lowercase": lowercase,
            "sequence_length": sequence_length,
            "folder": folder,
            # For TFX's cache, which sees the folder's place alone.
            "folder_sha256": _digest_of(folder) if folder else None,
            "counts": counts,
            "code": code,
        }
        super().__init__(
            _VocabularySpec(documents=documents, settings=json.dumps(settings), preprocessor=Channel(type=Preprocessor))
        )


class _RowsSpec(ComponentSpec):
    PARAMETERS: ClassVar = {"settings": ExecutionParameter(type=str)}
    INPUTS: ClassVar = {
        "documents": ChannelParameter(type=standard_artifacts.Examples),
        "preprocessor": ChannelParameter(type=Preprocessor),
    }
    OUTPUTS: ClassVar = {"examples": ChannelParameter(type=standard_artifacts.Examples)}


class _RowsExecutor(BaseBeamExecutor):
    def Do(self, input_dict, output_dict, exec_properties):
        self._log_startup(input_dict, output_dict, exec_properties)
        settings = json.loads(exec_properties["settings"])
        examples = artifact_utils.get_single_instance(output_dict["examples"])
        examples.split_names = artifact_utils.encode_split_names(list(SPLITS))
        settings["preprocessor"] = artifact_utils.get_single_instance(input_dict["preprocessor"]).uri
        # The Trainer, which takes no further artifact, finds the tokeniser beside the rows.
        io_utils.copy_dir(settings["preprocessor"], f"{examples.uri}/preprocessor")
        if "phrase_ids" in recipe(settings["objective"]).columns:
            settings["lexicon"] = f"{examples.uri}/lexicon.json"
            names = names_of(settings["names"]) if settings["names"] else None
            with self._make_beam_pipeline() as pipeline:
                files = _files(input_dict["documents"], "train")
                _ = (
                    pipeline
                    | beam.Create(files)
                    | _Counted(_ngram_counter)
                    | beam.Map(_write_lexicon, names, settings["lexicon"])
                )
        with self._make_beam_pipeline() as pipeline:
            for split in SPLITS:
                shards = settings["shards"][split]
                _ = (
                    pipeline
                    | f"files {split}" >> beam.Create(_files(input_dict["documents"], split))
                    | f"spread {split}" >> beam.Reshuffle()
                    | f"read {split}" >> beam.FlatMap(lambda file: _texts([file]))
                    | f"shard {split}" >> beam.Map(_with_shard, shards)
                    | f"gather {split}" >> beam.GroupByKey()
                    | f"rows {split}" >> beam.Map(_write_shard, settings, f"{examples.uri}/Split-{split}")
                )


class PretrainingRows(BaseBeamComponent):
    """Cuts documents into an objective's rows.

    Outputs:
        examples: tf.Examples of int64 features `token_ids`, `segment_ids`, `special_mask` and `word_starts`, one number
            a token, and `label`, -1 where the objective has no pairs; `document_ids`, the number of every token's
            document in its row, if attention is to stay within; the further `columns` of the recipe, and `task`, the
            number of the row's task, where there are several. Beside the splits the folder `preprocessor`, and
            lexicon.json, the phrases and names, where the objective masks such.
    """

    SPEC_CLASS = _RowsSpec
    EXECUTOR_SPEC = BeamExecutorSpec(_RowsExecutor)

    def __init__(
        self,
        documents: BaseChannel,
        preprocessor: BaseChannel,
        *,
        objective: str,
        shards: dict[str, int],
        format: str | None = None,
        chinese_words: bool = False,
        within_documents: bool = False,
        names: str | None = None,
        entities: str | None = None,
        code: str = "",
    ):
        """Constructs the component.

        Args:
            documents: Examples of the byte feature `text`.
            preprocessor: What `Vocabulary` made.
            objective: The name of a recipe.
            shards: How many there are of each split; documents of one may be paired with each other, and share rows.
            format: The rows' format; None is the objective's own.
            chinese_words: Whether ideographs that form a word stay together in whole-word masks.
            within_documents: Whether the rows tell the documents in them apart.
            names: A file of names, one a line, instead of those that the documents show.
            entities: A folder of a knowledge graph's entities.
            code: A fingerprint of the code, for TFX's cache.
        """
        settings = {
            "objective": objective,
            "shards": shards,
            "format": format,
            "chinese_words": chinese_words,
            "within_documents": within_documents,
            "names": names,
            # For TFX's cache, which sees the file's place alone.
            "names_sha256": hashlib.sha256(fileio.open(names, "rb").read()).hexdigest() if names else None,
            "entities": entities,
            "entities_sha256": digest_of(entities) if entities else None,
            "code": code,
        }
        super().__init__(
            _RowsSpec(
                documents=documents,
                preprocessor=preprocessor,
                settings=json.dumps(settings),
                examples=Channel(type=standard_artifacts.Examples),
            )
        )


def _files(examples: list, split: str) -> list[str]:
    return sorted(file for uri in artifact_utils.get_split_uris(examples, split) for file in fileio.glob(f"{uri}/*"))


def _texts(files: list[str]) -> Iterator[str]:
    for record in tf.data.TFRecordDataset(files, "GZIP").as_numpy_iterator():
        yield (
            tf.train.Example.FromString(record).features.feature["text"].bytes_list.value[0].decode("utf-8", "replace")
        )


def _with_shard(text: str, shards: int) -> tuple[int, tuple[bytes, str]]:
    digest = hashlib.sha256(text.encode("utf-8", "replace")).digest()
    # The first bytes have chosen the split: of little that is held out they are nearly the same.
    return int.from_bytes(digest[8:16], "little") % shards, (digest[:8], text)


def _write_shard(element, settings: dict, folder: str) -> None:
    """Writes a file of one shard's rows. A worker that repeats it writes the same file again."""
    path = f"{folder}/rows-{element[0]:05d}.tfrecord.gz"
    fileio.makedirs(folder)
    with tf.io.TFRecordWriter(path, "GZIP") as writer:
        for row in _rows_of_shard(element, settings):
            writer.write(row)


def _rows_of_shard(element, settings: dict) -> Iterator[bytes]:
    """The rows of one shard's documents, as serialised tf.Examples."""
    shard, documents = element
    preprocessor = _preprocessor(settings["preprocessor"])
    tokenizer = preprocessor.tokenizer
    starts = tokenizer.word_starts()
    pieces = tokenizer.get_vocabulary()
    chosen = recipe(settings["objective"], settings["format"])
    form = preprocessor.format
    frame = Frame(preprocessor.sequence_length, tokenizer.cls_token_id, tokenizer.sep_token_id, form)
    # What is told of a token rides on its number: formats hand numbers on as they are.
    has_capitals = "capitals" in chosen.columns
    tokenised = _sentences(tokenizer, [text for _, text in sorted(documents)], has_capitals)
    segment = _chinese_segmenter().segment if settings["chinese_words"] else None
    markers = _markers(settings["lexicon"], settings["preprocessor"]) if "phrase_ids" in chosen.columns else {}
    if chosen.entities:
        markers["entities"] = _linker(settings["entities"], settings["preprocessor"])
    random = np.random.default_rng(shard)
    for task, part in enumerate((chosen, *chosen.later)):
        for row in part.rows(frame).examples(tokenised, random):
            capitals, token_ids = np.divmod(row.token_ids, len(pieces))
            token_ids = token_ids.tolist()
            words = starts[token_ids].tolist()
            values = {name: marker(token_ids, words) for name, marker in markers.items()}
            if segment is not None:
                words = join_word_starts([pieces[id] for id in token_ids], words, segment)
            values |= {
                "token_ids": token_ids,
                "segment_ids": row.segment_ids,
                "special_mask": row.special_mask,
                "word_starts": words,
                "label": [-1 if row.label is None else row.label],
            }
            if has_capitals:
                values["capitals"] = capitals - 1
            if chosen.later:
                values["task"] = [task]
            if settings["within_documents"]:
                values["document_ids"] = row.document_ids
            features = {name: _int64(numbers) for name, numbers in values.items()}
            yield tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString(deterministic=True)


def _sentences(tokenizer, texts: Sequence[str], has_capitals: bool = False) -> list[list[list[int]]]:
    """The sentences of texts as token ids; to tell capitals, V or 2 V is added where a word has none or has one."""
    documents = [split_sentences(text) for text in texts]
    sentences = [sentence for document in documents for sentence in document]
    tokenised = []
    for first in range(0, len(sentences), _SENTENCES_A_BATCH):
        batch = tf.constant(sentences[first : first + _SENTENCES_A_BATCH], tf.string)
        found = tokenizer(batch).to_list()
        if has_capitals:
            words = bert_words(lowercase=False)(batch).to_list()
            starts, size = tokenizer.word_starts(), tokenizer.vocabulary_size()
            found = [_with_capitals(*pair, starts, size) for pair in zip(found, words)]
        tokenised += found
    following = iter(tokenised)
    return [list(itertools.islice(following, len(document))) for document in documents]


def _with_capitals(token_ids: list[int], words: list[bytes], starts: np.ndarray, size: int) -> list[int]:
    word = np.cumsum(starts[token_ids]) - 1 if token_ids else np.zeros(0, "int64")
    if not len(word) or word[-1] != len(words) - 1:
        # Folding has taken a word away, or made one: nothing is known of the sentence.
        return token_ids
    has_capital = np.array([written.decode("utf-8", "replace")[:1].isupper() for written in words], "int64")
    return (np.array(token_ids) + size * (1 + has_capital[word])).tolist()


def _int64(numbers) -> tf.train.Feature:
    return tf.train.Feature(int64_list=tf.train.Int64List(value=[int(number) for number in numbers]))


@functools.lru_cache(maxsize=1)
def _preprocessor(uri: str) -> TextPreprocessor:
    check_preprocessor(uri)
    with local_copy(uri) as folder:
        return TextPreprocessor.load(folder)


@functools.lru_cache(maxsize=1)
def _markers(lexicon: str, preprocessor: str) -> dict[str, SpanMarker]:
    """What finds the phrases and the names in rows, by the column that tells them."""
    tokenizer = _preprocessor(preprocessor).tokenizer
    markers = {}
    for name, texts in json.loads(fileio.open(lexicon).read()).items():
        spans = tokenizer(tf.constant(texts, tf.string)).to_list()
        markers[name] = SpanMarker(span for span in spans if tokenizer.unk_token_id not in span)
    return markers


@functools.lru_cache(maxsize=1)
def _linker(entities: str, preprocessor: str) -> EntityLinker:
    """What finds the entities that rows name; a mention that the vocabulary cannot spell is left out."""
    tokenizer, mentions = _preprocessor(preprocessor).tokenizer, read_mentions(entities)
    spans = tokenizer(tf.constant(list(mentions), tf.string)).to_list()
    return EntityLinker(
        {
            tuple(span): number
            for span, number in zip(spans, mentions.values())
            if span and tokenizer.unk_token_id not in span
        }
    )


@functools.cache
def _chinese_segmenter() -> ChineseSegmenter:
    from tfmodels import datasets

    return ChineseSegmenter(datasets.chinese_news())
