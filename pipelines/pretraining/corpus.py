"""From a user's files to TFRecords of documents: checked, split into training and validation, and described.

`preview` reads the first documents. `prepare` goes through all of them and writes
`ROOT/CONTENT-HASH/{train,validation}/data-*.tfrecord.gz`, tf.Examples of the byte feature `text`, with `report.json`
beside them. A corpus with a mistake leaves nothing behind. Memory holds the longest document and, to know
copies by, 8 bytes of a hash of every document.
"""

from __future__ import annotations

import dataclasses
import functools
import glob
import hashlib
import itertools
import json
from collections.abc import Iterator
from pathlib import Path

from tfmodels.errors import UserError
from tfmodels.files import atomic_directory

SPLITS = ("train", "validation")
FORMATS = ("paragraphs", "lines", "jsonl")
_DOCUMENTS_A_SHARD = 20_000
_PREVIEW_DOCUMENTS = 20
# A model is judged by documents that it has not seen; fewer say nothing.
_LEAST_DOCUMENTS = 2
# Raised when what is written changes, so that an older conversion is not taken for a current one.
_VERSION = 1


@dataclasses.dataclass(frozen=True)
class CorpusConfig:
    """Where the documents are.

    Attributes:
        files: Files, folders and patterns such as "essays/*.txt.gz"; a folder stands for the files in it.
        format: "paragraphs" (documents between empty lines), "lines" (one a line) or "jsonl" (one object a line); None
            goes by the extension: .jsonl is JSON Lines, all else paragraphs.
        field: The field of an object that holds the text.
        validation: fraction of the documents that is held out, by a hash of their text.
    """

    files: tuple[str, ...]
    format: str | None = None
    field: str = "text"
    validation: float = 0.05


@dataclasses.dataclass(frozen=True)
class CorpusReport:
    """What is in a prepared corpus.

    Attributes:
        files: The number of files.
        documents: Split -> documents.
        characters: Split -> characters.
        duplicates: Documents left out because their text stands in an earlier one.
    """

    files: int
    documents: dict[str, int]
    characters: dict[str, int]
    duplicates: int


def preview(config: CorpusConfig) -> None:
    """Checks that there are files and that the first documents can be read.

    Raises:
        UserError: They cannot.
    """
    if config.format is not None and config.format not in FORMATS:
        raise UserError(f"there is no corpus format {config.format!r}: choose one of {', '.join(FORMATS)}.")
    if not 0 < config.validation < 1:
        raise UserError(f"validation={config.validation} must be a fraction between 0 and 1.")
    corpus_files(config)
    if not list(itertools.islice(_documents(config), _PREVIEW_DOCUMENTS)):
        raise UserError(f"{_named(config)} holds no text: give files with documents.")


def prepare(config: CorpusConfig, root) -> tuple[Path, CorpusReport]:
    """Converts the corpus to TFRecords, once for every content.

    Args:
        config: The corpus.
        root: The folder to make the converted corpus's folder in.

    Returns:
        The converted corpus's folder, named by a hash of its content, and its report.

    Raises:
        UserError: The corpus has a mistake; nothing is left in `root`.
    """
    preview(config)
    directory = Path(root) / _content_hash(config)
    if not (directory / "report.json").exists():
        with atomic_directory(directory) as partial:
            report = _convert(config, partial)
            (partial / "report.json").write_text(json.dumps(dataclasses.asdict(report), indent=2), encoding="utf-8")
    return directory, CorpusReport(**json.loads((directory / "report.json").read_text(encoding="utf-8")))


def corpus_files(config: CorpusConfig) -> list[Path]:
    """The files of a corpus, in order, each once.

    Raises:
        UserError: A file, folder or pattern names nothing.
    """
    files: dict[Path, None] = {}
    for name in config.files:
        path = Path(name)
        found = sorted(path.rglob("*")) if path.is_dir() else sorted(map(Path, glob.glob(name, recursive=True)))
        found = [file for file in found if file.is_file() and not file.name.startswith(".")]
        if not found:
            raise UserError(f"{name} names no file: give text files, folders of them or a pattern.")
        files |= dict.fromkeys(found)
    if not files:
        raise UserError("the corpus has no files: name at least one.")
    return list(files)


def _documents(config: CorpusConfig) -> Iterator[str]:
    # Here, for the command line's sake: the room loads TensorFlow.
    from tfmodels.text import documents

    readers = {
        "paragraphs": documents.blank_line_documents,
        "lines": documents.line_documents,
        "jsonl": functools.partial(documents.json_documents, field=config.field),
    }
    for file in corpus_files(config):
        form = config.format or ("jsonl" if ".jsonl" in file.suffixes else "paragraphs")
        try:
            yield from readers[form](documents.read_lines(file))
        except UserError as error:
            raise error if str(file) in str(error) else UserError(f"{file}: {error}") from error


def _convert(config: CorpusConfig, directory: Path) -> CorpusReport:
    import tensorflow as tf

    documents, characters = dict.fromkeys(SPLITS, 0), dict.fromkeys(SPLITS, 0)
    duplicates, seen, writers = 0, set(), {}
    try:
        for text in _documents(config):
            content = text.encode("utf-8", "surrogatepass")
            digest = hashlib.sha256(content).digest()[:8]
            if digest in seen:
                duplicates += 1
                continue
            seen.add(digest)
            split = "validation" if int.from_bytes(digest, "big") / 2**64 < config.validation else "train"
            if documents[split] % _DOCUMENTS_A_SHARD == 0:
                if split in writers:
                    writers[split].close()
                (directory / split).mkdir(exist_ok=True)
                path = directory / split / f"data-{documents[split] // _DOCUMENTS_A_SHARD:05d}.tfrecord.gz"
                writers[split] = tf.io.TFRecordWriter(str(path), "GZIP")
            feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=[content]))
            example = tf.train.Example(features=tf.train.Features(feature={"text": feature}))
            writers[split].write(example.SerializeToString())
            documents[split] += 1
            characters[split] += len(text)
    finally:
        for writer in writers.values():
            writer.close()
    total = sum(documents.values())
    if total < _LEAST_DOCUMENTS or not all(documents.values()):
        raise UserError(
            f"{_named(config)} holds {total:,} different document{'s' * (total != 1)}, {documents['validation']:,} of "
            "them for validation: give more text, separate documents by empty lines, or raise --validation."
        )
    return CorpusReport(len(corpus_files(config)), documents, characters, duplicates)


def _content_hash(config: CorpusConfig) -> str:
    settings = {**dataclasses.asdict(config), "files": None, "version": _VERSION}
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for path in corpus_files(config):
        digest.update(f"\0{''.join(path.suffixes)}\0".encode())
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()[:16]


def _named(config: CorpusConfig) -> str:
    return config.files[0] + (f" and {len(config.files) - 1} more" if len(config.files) > 1 else "")
