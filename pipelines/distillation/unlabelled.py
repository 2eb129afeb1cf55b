"""Texts without labels: from a user's file to TFRecords, of the form that the table's rows have."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
from collections.abc import Iterator
from pathlib import Path

from pipelines.text_classification.data import cell_text
from pipelines.text_classification.tables import TableConfig, line_rows, read_rows
from tfmodels.errors import UserError
from tfmodels.files import atomic_directory

_TEXT_FILES = (".txt", ".text")
_ROWS_A_SHARD = 100_000
# Raised when the written examples change, so that an older conversion is not taken for a current one.
_VERSION = 1


@dataclasses.dataclass(frozen=True)
class UnlabelledConfig:
    """Where the texts are.

    Attributes:
        path: A file of one text a line (.txt, gzipped or not), or a table in any format of `tables`.
        text_column: A table's column of the text.
        text_pair_column: Its column of the second text, for pairs.
        format: The table's format; None goes by the extension.
    """

    path: str
    text_column: str = "text"
    text_pair_column: str | None = None
    format: str | None = None


def preview(config: UnlabelledConfig) -> None:
    """Checks that there is a text.

    Raises:
        UserError: There is none, or the file cannot be read.
    """
    if not list(itertools.islice(_texts(config), 1)):
        raise UserError(f"{config.path} holds no texts: give some without labels, or leave --unlabelled out.")


def prepare(config: UnlabelledConfig, root) -> tuple[Path, int]:
    """Converts the texts to TFRecords, once for every content. Copies of a text are kept once.

    Args:
        config: The file.
        root: The folder to make the texts' folder in.

    Returns:
        The folder, named by a hash of its content, and the number of texts.

    Raises:
        UserError: The file has a mistake; nothing is left in `root`.
    """
    preview(config)
    directory = Path(root) / f"unlabelled-{_content_hash(config)}"
    if not (directory / "report.json").exists():
        with atomic_directory(directory) as partial:
            (partial / "report.json").write_text(json.dumps({"texts": _convert(config, partial)}), encoding="utf-8")
    return directory, json.loads((directory / "report.json").read_text(encoding="utf-8"))["texts"]


def _texts(config: UnlabelledConfig) -> Iterator[tuple[str, ...]]:
    """The texts or pairs of texts, without empty ones."""
    path = Path(config.path)
    table = TableConfig(config.path, config.text_column, None, config.text_pair_column, format=config.format)
    if config.format is None and _suffix(path) in _TEXT_FILES:
        if config.text_pair_column is not None:
            raise UserError(f"{path} has one text a line, and the teacher takes pairs: give a table of two columns.")
        rows = line_rows(path, config.text_column)
    else:
        rows = read_rows(table)
    for row in rows:
        texts = tuple(cell_text(row, column, table) for column in table.columns)
        if all(texts):
            yield texts


def _suffix(path: Path) -> str:
    return (Path(path.stem) if path.suffix == ".gz" else path).suffix.lower()


def _convert(config: UnlabelledConfig, directory: Path) -> int:
    import tensorflow as tf

    seen, writer = set(), None
    try:
        for row in _texts(config):
            values = [text.encode() for text in row]
            digest = hashlib.sha256(b"\0".join(values)).digest()[:8]
            if digest in seen:
                continue
            if len(seen) % _ROWS_A_SHARD == 0:
                if writer is not None:
                    writer.close()
                path = directory / f"data-{len(seen) // _ROWS_A_SHARD:05d}.tfrecord.gz"
                writer = tf.io.TFRecordWriter(str(path), "GZIP")
            seen.add(digest)
            # A label that is none of the classes: Transform makes -1 of it.
            features = dict(zip(("text", "text_pair"), values)) | {"label": b""}
            features = {
                name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value])) for name, value in features.items()
            }
            writer.write(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())
    finally:
        if writer is not None:
            writer.close()
    return len(seen)


def _content_hash(config: UnlabelledConfig) -> str:
    settings = {**dataclasses.asdict(config), "path": _suffix(Path(config.path)), "version": _VERSION}
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    with open(config.path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()[:16]
