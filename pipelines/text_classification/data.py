"""From a user's table to TFRecords: checked, split, and described.

`preview` looks at the first rows and answers at once, before anything heavy is imported. `prepare` goes through the
whole table and writes `ROOT/CONTENT-HASH/{train,validation,test}/data-*.tfrecord.gz`, tf.Examples of the byte features
`text`, `text_pair` (for pairs) and `label`, with `report.json` beside them. A table with a mistake leaves nothing
behind. Memory is bounded: a row costs about 17 bytes, whatever its text.

Decisions on bad cells:
- A text over `MAX_CELL_BYTES` is refused rather than cut: it is nearly always an unclosed quotation mark.
- A NUL character is refused: it means a UTF-16 or binary file, and hides in text that looks right.
- Rows without a text or label are refused unless `skip_incomplete` leaves them out; either way they are counted.
- Duplicates stay, as they are part of the data's distribution, but are counted, and all copies of a text fall into one
  split. Texts with two labels, and texts that a split column puts into two splits, are counted as well.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import math
import os
from array import array
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pipelines.text_classification.tables import MAX_CELL_BYTES, Row, TableConfig, read_rows, table_format
from tfmodels.errors import UserError
from tfmodels.files import atomic_directory

SPLITS = ("train", "validation", "test")
# Fractions of the rows, by hash of the text, where the table has no split column.
_TRAIN, _VALIDATION = 0.8, 0.1
_SPLIT_WORDS = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "eval": "validation",
    "test": "test",
    "testing": "test",
}
_PREVIEW_ROWS = 100
_MAX_CLASSES = 1000
_ROWS_A_SHARD = 100_000
# Raised when the written examples change, so that an older conversion is not taken for a current one.
_VERSION = 1


@dataclasses.dataclass(frozen=True)
class TableReport:
    """What is in a prepared table.

    Attributes:
        source: The table's path.
        format: The table's format.
        pairs: Whether the rows are pairs of texts.
        rows: How many rows were written.
        classes: The labels in sorted order; a class's number in the model is its place here.
        counts: Split -> label -> rows.
        words: Words in a text (both texts of a pair together): "min", "quartiles", "mean", "p95", "max".
        word_histogram: [words, rows] pairs, in equal steps up to the longest text.
        duplicate_rows: Rows whose text stands in an earlier row.
        conflicting_texts: Texts that stand under more than one label.
        crossing_texts: Texts that the split column puts into more than one split.
        skipped_rows: Rows left out because a text or a label is missing.
    """

    source: str
    format: str
    pairs: bool
    rows: int
    classes: tuple[str, ...]
    counts: dict[str, dict[str, int]]
    words: dict[str, float | list[float]]
    word_histogram: tuple[tuple[int, int], ...]
    duplicate_rows: int
    conflicting_texts: int
    crossing_texts: int
    skipped_rows: int

    def to_json(self) -> str:
        """The report as an indented JSON object."""
        return json.dumps(dataclasses.asdict(self), indent=2, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> TableReport:
        """The report that `to_json` wrote."""
        values = json.loads(text)
        values["classes"] = tuple(values["classes"])
        values["word_histogram"] = tuple(tuple(pair) for pair in values["word_histogram"])
        return cls(**values)

    @property
    def warnings(self) -> list[str]:
        """What a user should know about the table, one sentence each."""
        notes = []
        if self.duplicate_rows:
            notes.append(f"{self.duplicate_rows:,} rows repeat the text of an earlier row.")
        if self.conflicting_texts:
            notes.append(f"{self.conflicting_texts:,} texts stand under more than one label: no model can get both.")
        if self.crossing_texts:
            notes.append(
                f"{self.crossing_texts:,} texts are in more than one split: figures on them flatter the model."
            )
        if self.skipped_rows:
            notes.append(f"{self.skipped_rows:,} rows without a text or label were left out.")
        return notes


@dataclasses.dataclass(frozen=True)
class _Example:
    """A checked row."""

    text: bytes
    pair: bytes | None
    label: str
    split: str

    @property
    def digest(self) -> int:
        """64 bits that stand for the text or the pair."""
        content = self.text if self.pair is None else self.text + b"\0" + self.pair
        return int.from_bytes(hashlib.sha256(content).digest()[:8], "big")


def preview(config: TableConfig) -> None:
    """Checks the table's first rows, in well under a second.

    Raises:
        UserError: The file, its columns or its first rows have a mistake.
    """
    rows = list(itertools.islice(read_rows(config), _PREVIEW_ROWS))
    if not rows:
        raise UserError(f"{config.path} has no rows: give a table with labelled texts.")
    incomplete = _Incomplete()
    list(_examples(rows, config, incomplete))
    # Only a column that is empty throughout is an error yet; the full pass counts the single cells.
    for column, count in incomplete.cells.items():
        if count == len(rows) > 1:
            raise UserError(f"{config.path} has nothing in column {column!r} of its first {len(rows)} rows: fill it.")


def prepare(config: TableConfig, root: str | os.PathLike) -> tuple[Path, TableReport]:
    """Converts the table to TFRecords, once for every content.

    Args:
        config: The table.
        root: The folder to make the converted data's folder in.

    Returns:
        The converted data's folder, named by a hash of the table's content and of the columns used, and its report.

    Raises:
        UserError: The table has a mistake; nothing is left in `root`.
    """
    preview(config)
    directory = Path(root) / _content_hash(config)
    if not (directory / "report.json").exists():
        with atomic_directory(directory) as partial:
            report = _convert(config, partial)
            (partial / "report.json").write_text(report.to_json(), encoding="utf-8")
    report = TableReport.from_json((directory / "report.json").read_text(encoding="utf-8"))
    # The same content may have been read from another path.
    return directory, dataclasses.replace(report, source=str(config.path))


def _content_hash(config: TableConfig) -> str:
    columns = {**dataclasses.asdict(config), "path": None, "format": table_format(config), "version": _VERSION}
    digest = hashlib.sha256(json.dumps(columns, sort_keys=True).encode())
    with open(config.path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()[:16]


def _convert(config: TableConfig, directory: Path) -> TableReport:
    """Writes the table's rows under `directory` and describes them."""
    incomplete = _Incomplete()
    digests, labels, splits, lengths = array("Q"), array("I"), array("B"), array("I")
    numbers: dict[str, int] = {}
    with _Shards(directory) as shards:
        for example in _examples(read_rows(config), config, incomplete):
            number = numbers.setdefault(example.label, len(numbers))
            if number >= _MAX_CLASSES:
                raise UserError(
                    f"{config.path} has more than {_MAX_CLASSES:,} different labels in column "
                    f"{config.label_column!r}: give a column of classes, not of scores or texts."
                )
            digests.append(example.digest)
            labels.append(number)
            splits.append(SPLITS.index(example.split))
            lengths.append(len(example.text.split()) + len((example.pair or b"").split()))
            shards.write(example)
    incomplete.check(config)

    digests, labels, splits, lengths = (np.asarray(values) for values in (digests, labels, splits, lengths))
    classes = _sorted_labels(numbers)
    counts = {
        split: {label: int(np.sum((splits == index) & (labels == numbers[label]))) for label in classes}
        for index, split in enumerate(SPLITS)
    }
    _check_classes(config, classes, counts)
    texts = len(np.unique(digests))
    return TableReport(
        source=str(config.path),
        format=table_format(config),
        pairs=config.text_pair_column is not None,
        rows=len(digests),
        classes=classes,
        counts=counts,
        words={
            "min": int(lengths.min()),
            "quartiles": [float(value) for value in np.percentile(lengths, [25, 50, 75])],
            "mean": float(lengths.mean()),
            "p95": float(np.percentile(lengths, 95)),
            "max": int(lengths.max()),
        },
        word_histogram=_histogram(lengths),
        duplicate_rows=len(digests) - texts,
        conflicting_texts=_texts_with_several(digests, labels),
        crossing_texts=_texts_with_several(digests, splits),
        skipped_rows=incomplete.rows,
    )


class _Incomplete:
    """Counts rows in which a text, a label or a split is missing."""

    def __init__(self):
        self.rows = 0
        self.cells = Counter()
        self.first: dict[str, list[str]] = {}

    def add(self, row: Row, columns: list[str]) -> None:
        self.rows += 1
        self.cells.update(columns)
        for column in columns:
            places = self.first.setdefault(column, [])
            if len(places) < 3:
                places.append(row.where)

    def check(self, config: TableConfig) -> None:
        if config.skip_incomplete or not self.rows:
            return
        column, count = self.cells.most_common(1)[0]
        what = {config.label_column: "label", config.split_column: "split"}.get(column, "text")
        shown = ", ".join(self.first[column]) + (", …" if count > 3 else "")
        raise UserError(
            f"{config.path} has no {what} in column {column!r} of {count:,} row{'s' * (count > 1)} ({shown}): "
            f"fill {'them' if count > 1 else 'it'}, or give --skip-incomplete to leave such rows out."
        )


def _examples(rows: Iterator[Row] | list[Row], config: TableConfig, incomplete: _Incomplete) -> Iterator[_Example]:
    """Yields the rows that are complete, checked; the others go into `incomplete`."""
    for row in rows:
        cells = {column: cell_text(row, column, config) for column in config.columns}
        missing = [column for column, cell in cells.items() if not cell]
        if missing:
            incomplete.add(row, missing)
            continue
        pair = cells[config.text_pair_column].encode() if config.text_pair_column else None
        example = _Example(cells[config.text_column].encode(), pair, cells[config.label_column], "")
        split = _named_split(row, cells[config.split_column], config) if config.split_column else _hashed_split(example)
        yield dataclasses.replace(example, split=split)


def cell_text(row: Row, column: str, config: TableConfig) -> str | None:
    """A cell as stripped text; None where it is missing.

    Raises:
        UserError: It is no text, or no UTF-8, or too long.
    """
    value = row.cells[column]
    place = f"{config.path} {row.where}"
    if isinstance(value, (bool, int)):
        return str(value).lower() if isinstance(value, bool) else str(value)
    if isinstance(value, float):
        # A column of integers with gaps is read as floats.
        return None if math.isnan(value) else str(int(value)) if value.is_integer() else str(value)
    if isinstance(value, bytes):
        try:
            value = value.decode("utf-8")
        except UnicodeDecodeError as error:
            raise UserError(f"{place} is not UTF-8 in column {column!r}: write the text as UTF-8.") from error
    if value is None:
        return None
    if not isinstance(value, str):
        raise UserError(
            f"{place} holds a {type(value).__name__} in column {column!r}: give a column of plain texts or numbers."
        )
    try:
        size = len(value.encode("utf-8"))
    except UnicodeEncodeError as error:
        raise UserError(f"{place} holds half a character in column {column!r}: write the text as UTF-8.") from error
    if "\0" in value:
        raise UserError(
            f"{place} holds a NUL character in column {column!r}: the table was made from UTF-16 or binary data; "
            "write it again as UTF-8 text."
        )
    if size > MAX_CELL_BYTES:
        raise UserError(
            f"{place} holds {size:,} bytes in column {column!r}, more than the {MAX_CELL_BYTES:,} that a text may "
            "have: shorten it, or close the quotation mark that makes one cell of many rows."
        )
    value = value.strip()
    if column == config.label_column and len(value.splitlines()) > 1:
        raise UserError(f"{place} holds a line break in the label {value[:40]!r}: a label is one line.")
    return value


def _named_split(row: Row, value: str, config: TableConfig) -> str:
    split = _SPLIT_WORDS.get(value.lower())
    if split is None:
        raise UserError(
            f"{config.path} {row.where} has {value[:40]!r} in column {config.split_column!r}: "
            f"a split is one of {', '.join(SPLITS)}."
        )
    return split


def _hashed_split(example: _Example) -> str:
    place = example.digest / 2**64
    return "train" if place < _TRAIN else "validation" if place < _TRAIN + _VALIDATION else "test"


def _sorted_labels(labels) -> tuple[str, ...]:
    """Labels in the order of their text, or of their value where all are whole numbers."""
    whole = all(label.removeprefix("-").isdecimal() for label in labels)
    return tuple(sorted(labels, key=(lambda label: (int(label), label)) if whole else None))


def _check_classes(config: TableConfig, classes: tuple[str, ...], counts: dict[str, dict[str, int]]) -> None:
    if not classes:
        raise UserError(f"{config.path} has no complete rows: give a table with texts and labels.")
    if len(classes) == 1:
        raise UserError(
            f"{config.path} has the single class {classes[0]!r} in column {config.label_column!r}: "
            "a classifier needs rows of two or more."
        )
    totals = {label: sum(counts[split][label] for split in SPLITS) for label in classes}
    lonely = [label for label in classes if totals[label] == 1]
    if lonely:
        rest = f" (and {len(lonely) - 1} more classes)" if len(lonely) > 1 else ""
        raise UserError(
            f"{config.path} has a single row of class {lonely[0]!r}{rest}: add rows of it, or remove it; every class "
            "needs some to learn from and some to be tested on."
        )
    for split in SPLITS:
        absent = [label for label in classes if not counts[split][label]]
        if absent:
            remedy = (
                f"put some of them into it in column {config.split_column!r}"
                if config.split_column
                else "add rows of it, or name a column with your own split by --split-column"
            )
            raise UserError(
                f"{config.path} has {totals[absent[0]]:,} rows of class {absent[0]!r} but none of them in the {split} "
                f"split: {remedy}."
            )


def _texts_with_several(digests: np.ndarray, values: np.ndarray) -> int:
    """How many texts have more than one value."""
    pairs = np.unique(np.stack([digests, values.astype(np.uint64)], axis=1), axis=0)
    _, counts = np.unique(pairs[:, 0], return_counts=True)
    return int(np.sum(counts > 1))


def _histogram(lengths: np.ndarray, bins: int = 40) -> tuple[tuple[int, int], ...]:
    step = max(1, -(-int(lengths.max()) // bins))
    counts = Counter(((lengths - 1) // step).tolist())
    return tuple(((place + 1) * step, counts.get(place, 0)) for place in range(max(counts) + 1))


class _Shards:
    """Writes examples to one gzipped TFRecord file a split, or more when there are many."""

    def __init__(self, directory: Path):
        self.directory = directory
        self.rows = Counter()
        self.writers = {}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for writer in self.writers.values():
            writer.close()

    def write(self, example: _Example) -> None:
        import tensorflow as tf

        split = example.split
        if self.rows[split] % _ROWS_A_SHARD == 0:
            if split in self.writers:
                self.writers[split].close()
            folder = self.directory / split
            folder.mkdir(exist_ok=True)
            path = folder / f"data-{self.rows[split] // _ROWS_A_SHARD:05d}.tfrecord.gz"
            self.writers[split] = tf.io.TFRecordWriter(str(path), "GZIP")
        self.rows[split] += 1
        values = {"text": example.text, "text_pair": example.pair, "label": example.label.encode()}
        features = {
            name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
            for name, value in values.items()
            if value is not None
        }
        record = tf.train.Example(features=tf.train.Features(feature=features))
        self.writers[split].write(record.SerializeToString())
