"""Reading a user's table row by row: CSV, TSV, JSON Lines, Parquet and TFRecord, in bounded memory.

Every reader yields `Row`s with the cells of the wanted columns as Python values, and tells a mistake in the file in one
sentence that names the row. What the cells mean is decided in `data`.

TSV has no quoting, as its registration with IANA defines it: a quotation mark is a character like any other.
"""

from __future__ import annotations

import csv
import difflib
import gzip
import itertools
import json
import os
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tfmodels.errors import UserError

# The longest text that is taken: about 40,000 words. A cell over it is nearly always an unclosed quotation mark.
MAX_CELL_BYTES = 256 * 1024
# The longest line that is held in memory to look for its cells.
_MAX_LINE_BYTES = 16 * 1024 * 1024

_EXTENSIONS = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".tfrecord": "tfrecord",
    ".tfrecords": "tfrecord",
}
FORMATS = tuple(dict.fromkeys(_EXTENSIONS.values()))


@dataclass(frozen=True)
class TableConfig:
    """Where a user's labelled texts are and which columns hold what.

    Attributes:
        path: The file.
        text_column: The column of the text.
        label_column: The column of the class: strings, integers or booleans; None reads texts alone.
        text_pair_column: The column of the second text, for pairs.
        split_column: The column that says train, validation or test. Without it, rows are split by a hash of the text.
        format: One of `FORMATS`; None goes by the file's extension.
        delimiter: What separates the cells of a CSV file; None is a comma, for TSV a tab.
        skip_incomplete: Whether rows without a text or a label are left out; otherwise they are an error.
    """

    path: str
    text_column: str = "text"
    label_column: str | None = "label"
    text_pair_column: str | None = None
    split_column: str | None = None
    format: str | None = None
    delimiter: str | None = None
    skip_incomplete: bool = False

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that are read."""
        named = (self.text_column, self.text_pair_column, self.label_column, self.split_column)
        return tuple(dict.fromkeys(column for column in named if column is not None))


@dataclass(frozen=True)
class Row:
    """One row of a table.

    Attributes:
        number: Counted from 1, without the header.
        where: The place to look at in the file, such as "row 3 (line 5)".
        cells: Column -> value; a missing cell is None.
    """

    number: int
    where: str
    cells: dict[str, object]


def table_format(config: TableConfig) -> str:
    """The table's format, by `config.format` or the file's extension.

    Raises:
        UserError: Neither tells it.
    """
    if config.format is not None:
        if config.format not in FORMATS:
            raise UserError(f"there is no table format {config.format!r}: choose one of {', '.join(FORMATS)}.")
        return config.format
    path = Path(config.path)
    extension = Path(path.stem).suffix if path.suffix == ".gz" else path.suffix
    if extension.lower() not in _EXTENSIONS:
        raise UserError(
            f"{path.name} does not say by its extension what it is: rename it to one of "
            f"{', '.join(_EXTENSIONS)} (or those with .gz), or give --format {'|'.join(FORMATS)}."
        )
    return _EXTENSIONS[extension.lower()]


def read_rows(config: TableConfig) -> Iterator[Row]:
    """Yields the table's rows, in the file's order.

    Raises:
        UserError: The file or a column is missing, or the file is damaged or not of its format.
    """
    path = Path(config.path)
    if not path.exists():
        raise UserError(f"there is no file {path}: give the path of your table{_similar_file(path)}.")
    if path.is_dir():
        raise UserError(f"{path} is a folder: give the path of one table, a file.")
    named = [config.text_column, config.text_pair_column, config.label_column, config.split_column]
    for column in config.columns:
        if named.count(column) > 1:
            raise UserError(f"column {column!r} is named for two purposes: give a column for each.")
    kind = table_format(config)
    if path.stat().st_size == 0:
        raise UserError(f"{path} is empty: give a table with labelled texts.")
    if not os.access(path, os.R_OK):
        raise UserError(f"{path} may not be read by this user: change its permissions.")
    readers = {"csv": _csv, "tsv": _csv, "jsonl": _json_lines, "parquet": _parquet, "tfrecord": _tfrecord}
    yield from _undamaged(path, readers[kind](path, config))


def line_rows(path: Path, column: str) -> Iterator[Row]:
    """Yields the lines of a text file, gzipped or not, as rows of one column.

    Raises:
        UserError: The file is missing, damaged or not UTF-8.
    """
    if not path.is_file():
        raise UserError(f"there is no file {path}: give the path of your texts{_similar_file(path)}.")
    yield from _undamaged(path, (Row(number, f"line {number}", {column: line}) for number, line in _lines(path)))


def _undamaged(path: Path, rows: Iterator[Row]) -> Iterator[Row]:
    try:
        yield from rows
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"{path} is a damaged gzip file ({error}): copy or compress it again.") from error


def is_gzip(path: Path) -> bool:
    """Whether a file is compressed with gzip, by its first bytes."""
    with open(path, "rb") as file:
        return file.read(2) == b"\x1f\x8b"


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yields (line number, line) of a UTF-8 text file."""
    with (gzip.open if is_gzip(path) else open)(path, "rb") as file:
        number = 0
        while line := file.readline(_MAX_LINE_BYTES + 1):
            number += 1
            if number == 1 and line[:2] in (b"\xff\xfe", b"\xfe\xff"):
                raise UserError(f"{path} is UTF-16: save it as UTF-8.")
            if len(line) > _MAX_LINE_BYTES:
                raise UserError(
                    f"{path} line {number} is longer than {_MAX_LINE_BYTES:,} bytes: a table has one row a line."
                )
            if b"\0" in line:
                raise UserError(
                    f"{path} line {number} holds a NUL character: the file is UTF-16 or binary; save it as UTF-8 text."
                )
            try:
                yield number, line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise UserError(
                    f"{path} line {number} is not UTF-8 (byte 0x{line[error.start]:02x} at position "
                    f"{error.start + 1}): save the file as UTF-8."
                ) from error


def _csv(path: Path, config: TableConfig) -> Iterator[Row]:
    tabs = table_format(config) == "tsv"
    delimiter = config.delimiter or ("\t" if tabs else ",")
    if len(delimiter) != 1:
        raise UserError(f"the delimiter {delimiter!r} has {len(delimiter)} characters: give one, such as ';'.")
    # The bound on cells is checked, with its own sentence, where cells are read.
    csv.field_size_limit(_MAX_LINE_BYTES)
    row_line = 1  # where the current row begins; quoted cells may hold line breaks
    line_number = 0

    def lines():
        nonlocal line_number
        gathered = 0
        for line_number, line in _lines(path):
            gathered = len(line) if line_number == row_line else gathered + len(line)
            if gathered > _MAX_LINE_BYTES:
                raise UserError(_unclosed(path, row_line))
            yield line

    quoting = csv.QUOTE_NONE if tabs else csv.QUOTE_MINIMAL
    parsed = csv.reader(lines(), delimiter=delimiter, quoting=quoting, strict=True)
    try:
        header = [name.strip() for name in next(parsed, [])]
        _check_columns(path, config, header)
        positions = {column: header.index(column) for column in config.columns}
        number = 0
        row_line = line_number + 1
        for cells in parsed:
            if cells:
                number += 1
                if len(cells) != len(header):
                    remedy = "remove the surplus tabs" if tabs else f"put quotes around texts that hold {delimiter!r}"
                    raise UserError(
                        f"{path} line {row_line} has {len(cells)} cells where the header has {len(header)}: {remedy}."
                    )
                values = {column: cells[position] for column, position in positions.items()}
                yield Row(number, f"row {number} (line {row_line})", values)
            row_line = line_number + 1
    except csv.Error as error:
        if "unexpected end of data" in str(error):
            raise UserError(_unclosed(path, row_line)) from error
        raise UserError(
            f"{path} line {line_number} is not CSV ({error}): write a quotation mark within quotes twice."
        ) from error


def _unclosed(path: Path, line: int) -> str:
    return f"{path} line {line} opens a quotation mark that is never closed: close it, or double it if it is text."


def _json_lines(path: Path, config: TableConfig) -> Iterator[Row]:
    # An object may leave out what it lacks, so that one row alone does not tell the columns.
    first = itertools.islice(_json_objects(path, config), 100)
    _check_columns(path, config, list(dict.fromkeys(name for _, cells in first for name in cells)))
    for number, (line, cells) in enumerate(_json_objects(path, config), start=1):
        values = {column: cells.get(column) for column in config.columns}
        yield Row(number, f"row {number} (line {line})", values)


def _json_objects(path: Path, config: TableConfig) -> Iterator[tuple[int, dict]]:
    """Yields (line number, object) of a JSON Lines file."""
    for number, line in _lines(path):
        if not line.strip():
            continue
        try:
            cells = json.loads(line)
        except json.JSONDecodeError as error:
            raise UserError(f"{path} line {number} is not JSON ({error.msg}): write one object a line.") from error
        if not isinstance(cells, dict):
            raise UserError(
                f"{path} line {number} is not a JSON object: write one object a line, such as "
                f'{{"{config.text_column}": "…", "{config.label_column}": "…"}}.'
            )
        yield number, cells


def _parquet(path: Path, config: TableConfig) -> Iterator[Row]:
    import pyarrow as pa
    from pyarrow import parquet

    if is_gzip(path):
        raise UserError(f"{path} is a gzipped Parquet file, which cannot be read in parts: unpack it with gunzip.")
    try:
        with parquet.ParquetFile(path) as file:
            _check_columns(path, config, file.schema_arrow.names)
            number = 0
            for batch in file.iter_batches(batch_size=1024, columns=list(config.columns)):
                columns = {}
                for name in config.columns:
                    column = batch.column(name)
                    if pa.types.is_dictionary(column.type):
                        column = column.dictionary_decode()
                    # Strings are decoded with the other formats' cells, so that a bad one is told with its row.
                    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
                        column = column.cast(pa.large_binary())
                    columns[name] = column.to_pylist()
                for cells in zip(*columns.values()):
                    number += 1
                    yield Row(number, f"row {number}", dict(zip(columns, cells)))
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(f"{path} is no whole Parquet file ({_one_line(error)}): write it again.") from error


def _tfrecord(path: Path, config: TableConfig) -> Iterator[Row]:
    # A feature without a value may be absent, as in JSON.
    first = itertools.islice(_examples(path), 100)
    _check_columns(path, config, list(dict.fromkeys(name for features in first for name in sorted(features))))
    for number, features in enumerate(_examples(path), start=1):
        cells = {}
        for column in config.columns:
            values = _feature_values(features[column]) if column in features else ()
            if len(values) > 1:
                raise UserError(f"{path} record {number} has {len(values)} values in {column!r}: write one a feature.")
            cells[column] = values[0] if values else None
        yield Row(number, f"record {number}", cells)


def _examples(path: Path) -> Iterator:
    """Yields the features of every tf.Example of a TFRecord file."""
    # TensorFlow takes seconds to import, which the other formats do not need before their first check.
    import tensorflow as tf
    from google.protobuf.message import DecodeError

    number = 0
    try:
        for record in tf.data.TFRecordDataset(str(path), "GZIP" if is_gzip(path) else "").as_numpy_iterator():
            number += 1
            yield tf.train.Example.FromString(record).features.feature
    except DecodeError as error:
        raise UserError(f"{path} record {number} is no tf.Example: write one serialised tf.Example a row.") from error
    except (tf.errors.DataLossError, tf.errors.OutOfRangeError) as error:
        raise UserError(
            f"{path} is a damaged TFRecord file after record {number} ({_one_line(error)}): write it again."
        ) from error


def _feature_values(feature) -> Sequence:
    kind = feature.WhichOneof("kind")
    return getattr(feature, kind).value if kind else ()


def _check_columns(path: Path, config: TableConfig, present: list[str]) -> None:
    """Refuses a table that lacks a wanted column, and names the nearest one."""
    for column in config.columns:
        if present.count(column) == 1:
            continue
        if column in present:
            raise UserError(f"{path} has {present.count(column)} columns named {column!r}: rename all but one.")
        if len(present) == 1 and (separator := _other_delimiter(present[0])):
            raise UserError(
                f"{path} has no column {column!r}: its cells seem to be separated by {separator!r}; "
                f"give --delimiter {separator!r}."
            )
        shown = ", ".join(repr(name if len(name) <= 40 else name[:40] + "…") for name in present[:20])
        close = difflib.get_close_matches(column, present, n=1, cutoff=0.5)
        hint = f"did you mean {close[0]!r}? " if close else ""
        more = f" and {len(present) - 20} more" if len(present) > 20 else ""
        raise UserError(f"{path} has no column {column!r}: {hint}it has {shown}{more}.")


def _other_delimiter(header: str) -> str | None:
    return next((mark for mark in (";", "\t", "|", ",") if mark in header), None)


def _similar_file(path: Path) -> str:
    folder = path.parent
    names = os.listdir(folder) if folder.is_dir() else []
    close = difflib.get_close_matches(path.name, names, n=1)
    return f" (is it {folder / close[0]}?)" if close else ""


def _one_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0].rstrip(".")
