"""What a user's table may look like, and the one sentence that each mistake in it gets."""

import gzip
import json

import pyarrow as pa
import pytest
import tensorflow as tf
from pyarrow import parquet

from pipelines.text_classification import data
from pipelines.text_classification.data import SPLITS, TableReport, prepare, preview
from pipelines.text_classification.tables import TableConfig, read_rows
from tfmodels.errors import UserError

ROWS = [(f"a {'good' if i % 2 else 'bad'} film, number {i}, wörth it", "good" if i % 2 else "bad") for i in range(200)]


def write_csv(path, rows=ROWS, header=("text", "label"), mark=",", newline="\n"):
    quote = (lambda cell: '"' + cell.replace('"', '""') + '"') if mark == "," else str
    lines = [mark.join(header), *(mark.join(quote(str(cell)) for cell in row) for row in rows)]
    path.write_bytes((newline.join(lines) + newline).encode())
    return path


def write_tsv(path, rows=ROWS):
    return write_csv(path, rows, mark="\t")


def write_jsonl(path, rows=ROWS):
    path.write_text("".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in rows))
    return path


def write_parquet(path, rows=ROWS):
    texts, labels = zip(*rows)
    parquet.write_table(pa.table({"text": list(texts), "label": list(labels)}), path)
    return path


def example(**features):
    def feature(value):
        if isinstance(value, bytes):
            return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
        return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))

    values = {name: feature(value) for name, value in features.items()}
    return tf.train.Example(features=tf.train.Features(feature=values)).SerializeToString()


def write_tfrecord(path, rows=ROWS, compression=""):
    with tf.io.TFRecordWriter(str(path), compression) as writer:
        for text, label in rows:
            writer.write(example(text=text.encode(), label=label.encode()))
    return path


WRITERS = {
    "reviews.csv": write_csv,
    "reviews.tsv": write_tsv,
    "reviews.jsonl": write_jsonl,
    "reviews.parquet": write_parquet,
    "reviews.tfrecord": write_tfrecord,
}


def written(directory, split):
    files = sorted(str(path) for path in (directory / split).glob("data-*.tfrecord.gz"))
    rows = []
    for record in tf.data.TFRecordDataset(files, "GZIP").as_numpy_iterator():
        features = tf.train.Example.FromString(record).features.feature
        rows.append({name: features[name].bytes_list.value[0].decode() for name in sorted(features)})
    return rows


def all_written(directory):
    return [row for split in SPLITS for row in written(directory, split)]


def refused(path, tmp_path, **columns):
    """The sentence that a table is refused with; nothing may be left of it."""
    root = tmp_path / "prepared"
    with pytest.raises(UserError) as caught:
        prepare(TableConfig(str(path), **columns), root)
    assert not root.exists() or not list(root.iterdir())
    sentence = str(caught.value)
    assert "\n" not in sentence and sentence.endswith((".", "?"))
    return sentence


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_gives_the_same_examples(tmp_path, name):
    directory, report = prepare(TableConfig(str(WRITERS[name](tmp_path / name))), tmp_path / "prepared")
    assert sorted((row["text"], row["label"]) for row in all_written(directory)) == sorted(ROWS)
    assert report.rows == 200 and report.classes == ("bad", "good")
    assert {split: sum(report.counts[split].values()) for split in SPLITS} == {
        split: len(written(directory, split)) for split in SPLITS
    }


@pytest.mark.parametrize("name", ["reviews.csv", "reviews.jsonl"])
def test_gzipped_text_is_read(tmp_path, name):
    plain = WRITERS[name](tmp_path / name)
    packed = tmp_path / f"{name}.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert list(read_rows(TableConfig(str(packed)))) == list(read_rows(TableConfig(str(plain))))


def test_gzipped_tfrecords_are_read(tmp_path):
    packed = write_tfrecord(tmp_path / "packed.tfrecord.gz", compression="GZIP")
    assert len(list(read_rows(TableConfig(str(packed))))) == 200


def test_the_split_depends_on_the_text_alone(tmp_path):
    def splits(rows, name):
        directory, _ = prepare(TableConfig(str(write_csv(tmp_path / name, rows))), tmp_path / "prepared")
        return {row["text"]: split for split in SPLITS for row in written(directory, split)}

    first, second = splits(ROWS, "a.csv"), splits([*ROWS[::-1], ("one more text", "good")], "b.csv")
    assert first == {text: split for text, split in second.items() if text in first}


def test_about_a_tenth_is_held_out_for_each_purpose(tmp_path):
    rows = [(f"text {i}", f"{i % 2}") for i in range(5000)]
    _, report = prepare(TableConfig(str(write_csv(tmp_path / "t.csv", rows))), tmp_path / "prepared")
    sizes = [sum(report.counts[split].values()) for split in SPLITS]
    assert 3900 < sizes[0] < 4100 and 430 < sizes[1] < 570 and 430 < sizes[2] < 570


def test_a_split_column_is_followed(tmp_path):
    words = ["train", "Training", "dev", "TEST"]
    rows = [(text, label, words[i // 2 % 4]) for i, (text, label) in enumerate(ROWS)]
    path = write_csv(tmp_path / "t.csv", rows, header=("text", "label", "part"))
    _, report = prepare(TableConfig(str(path), split_column="part"), tmp_path / "prepared")
    assert {split: sum(report.counts[split].values()) for split in SPLITS} == {
        "train": 100,
        "validation": 50,
        "test": 50,
    }


def test_pairs_are_written_as_two_features(tmp_path):
    rows = [(text, f"second {i}", label) for i, (text, label) in enumerate(ROWS)]
    path = write_csv(tmp_path / "t.csv", rows, header=("premise", "hypothesis", "gold"))
    config = TableConfig(str(path), "premise", "gold", "hypothesis")
    directory, report = prepare(config, tmp_path / "prepared")
    assert report.pairs
    assert set(written(directory, "test")[0]) == {"text", "text_pair", "label"}


def test_numeric_labels_sort_by_value(tmp_path):
    rows = [(f"text {i}", i % 11) for i in range(900)]
    _, report = prepare(TableConfig(str(write_csv(tmp_path / "t.csv", rows))), tmp_path / "prepared")
    assert report.classes == tuple(str(number) for number in range(11))


def test_parquet_integers_with_gaps_and_booleans_are_labels(tmp_path):
    def labels(values, **options):
        table = pa.table({"text": [f"text {i}" for i in range(len(values))], "label": values})
        parquet.write_table(table, tmp_path / "t.parquet")
        config = TableConfig(str(tmp_path / "t.parquet"), **options)
        return prepare(config, tmp_path / "prepared")[1]

    report = labels([1.0, 2.0, None] * 100, skip_incomplete=True)
    assert report.classes == ("1", "2") and report.skipped_rows == 100
    assert labels([True, False] * 150).classes == ("false", "true")
    assert labels(pa.array(["a", "b"] * 150).dictionary_encode()).classes == ("a", "b")


def test_integer_labels_in_tfrecords(tmp_path):
    with tf.io.TFRecordWriter(str(tmp_path / "t.tfrecord")) as writer:
        for i in range(200):
            writer.write(example(text=f"text {i}".encode(), label=i % 2))
    _, report = prepare(TableConfig(str(tmp_path / "t.tfrecord")), tmp_path / "prepared")
    assert report.classes == ("0", "1")


def test_a_table_is_converted_once(tmp_path, monkeypatch):
    config = TableConfig(str(write_csv(tmp_path / "t.csv")))
    first = prepare(config, tmp_path / "prepared")
    monkeypatch.setattr(data, "_convert", lambda *_: pytest.fail("converted again"))
    assert prepare(config, tmp_path / "prepared") == first


def test_another_content_or_column_is_another_folder(tmp_path):
    path = write_csv(tmp_path / "t.csv", [(*row, row[1]) for row in ROWS], header=("text", "label", "other"))
    first, _ = prepare(TableConfig(str(path)), tmp_path / "prepared")
    second, _ = prepare(TableConfig(str(path), label_column="other"), tmp_path / "prepared")
    write_csv(path, [(*row, row[1]) for row in ROWS[2:]], header=("text", "label", "other"))
    third, _ = prepare(TableConfig(str(path)), tmp_path / "prepared")
    assert len({first, second, third}) == 3


def test_the_report_is_saved_beside_the_data(tmp_path):
    directory, report = prepare(TableConfig(str(write_csv(tmp_path / "t.csv"))), tmp_path / "prepared")
    assert TableReport.from_json((directory / "report.json").read_text()) == report
    assert report.words["min"] == report.words["max"] == 7
    assert sum(rows for _, rows in report.word_histogram) == 200


def test_duplicates_conflicts_and_crossings_are_counted(tmp_path):
    rows = [(text, label, SPLITS[i // 2 % 3]) for i, (text, label) in enumerate(ROWS)]
    again = (rows[0][0], rows[0][1], "train")  # a plain duplicate, in the same split
    contrary = (rows[1][0], "bad", "train")  # the other label
    elsewhere = (rows[2][0], rows[2][1], "train")  # from validation
    path = write_csv(tmp_path / "t.csv", [*rows, again, contrary, elsewhere], header=("text", "label", "split"))
    _, report = prepare(TableConfig(str(path), split_column="split"), tmp_path / "prepared")
    assert (report.rows, report.duplicate_rows, report.conflicting_texts, report.crossing_texts) == (203, 3, 1, 1)
    assert len(report.warnings) == 3


def test_copies_of_a_text_stay_together_without_a_split_column(tmp_path):
    _, report = prepare(TableConfig(str(write_csv(tmp_path / "t.csv", ROWS * 3))), tmp_path / "prepared")
    assert report.duplicate_rows == 400 and report.crossing_texts == 0


def test_quoted_line_breaks_and_carriage_returns(tmp_path):
    rows = [(f'{text}\nand more, "quoted"', label) for text, label in ROWS]
    path = write_csv(tmp_path / "t.csv", rows, newline="\r\n")
    assert [row.cells["text"] for row in read_rows(TableConfig(str(path)))] == [text for text, _ in rows]


def test_tab_separated_texts_may_hold_lone_quotation_marks(tmp_path):
    rows = [('5" of rain and a "great" film', "good"), ('"', "bad")]
    path = write_tsv(tmp_path / "t.tsv", rows)
    assert [row.cells["text"] for row in read_rows(TableConfig(str(path)))] == [text for text, _ in rows]


def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(b"\xef\xbb\xbf" + write_csv(tmp_path / "plain.csv").read_bytes())
    preview(TableConfig(str(path)))


def test_many_rows_make_several_shards(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "_ROWS_A_SHARD", 50)
    directory, report = prepare(TableConfig(str(write_csv(tmp_path / "t.csv"))), tmp_path / "prepared")
    rows = sum(report.counts["train"].values())
    assert len(list((directory / "train").iterdir())) == -(-rows // 50)
    assert len(written(directory, "train")) == rows


# What is refused.


def test_missing_file(tmp_path):
    write_csv(tmp_path / "reviews.csv")
    sentence = refused(tmp_path / "review.csv", tmp_path)
    assert "there is no file" in sentence and f"is it {tmp_path / 'reviews.csv'}?" in sentence


def test_folder(tmp_path):
    assert "is a folder" in refused(tmp_path, tmp_path)


def test_unknown_extension(tmp_path):
    path = write_csv(tmp_path / "reviews.data")
    assert "give --format" in refused(path, tmp_path)
    preview(TableConfig(str(path), format="csv"))
    assert "no table format 'excel'" in refused(path, tmp_path, format="excel")


@pytest.mark.parametrize("name", WRITERS)
def test_missing_column_names_the_nearest(tmp_path, name):
    path = WRITERS[name](tmp_path / name)
    sentence = refused(path, tmp_path, label_column="lable")
    assert "has no column 'lable': did you mean 'label'?" in sentence
    assert "'text'" in sentence


def test_another_delimiter_is_recognised(tmp_path):
    path = write_csv(tmp_path / "t.csv", mark=";")
    assert "give --delimiter ';'" in refused(path, tmp_path)
    prepare(TableConfig(str(path), delimiter=";"), tmp_path / "prepared")


def test_column_named_twice(tmp_path):
    path = write_csv(tmp_path / "t.csv", [(*row, "x") for row in ROWS], header=("text", "label", "label"))
    assert "has 2 columns named 'label'" in refused(path, tmp_path)


@pytest.mark.parametrize("name", ["t.csv", "t.jsonl", "t.parquet", "t.tfrecord"])
def test_empty_file(tmp_path, name):
    (tmp_path / name).touch()
    assert "is empty" in refused(tmp_path / name, tmp_path)


def test_one_column_for_two_purposes(tmp_path):
    assert "'text' is named for two purposes" in refused(write_csv(tmp_path / "t.csv"), tmp_path, label_column="text")


def test_labels_of_two_lines(tmp_path):
    path = write_csv(tmp_path / "t.csv", [*ROWS, ("fine", "go\nod")])
    assert "row 201 (line 202) holds a line break in the label 'go\\nod'" in refused(path, tmp_path)


def test_header_without_rows(tmp_path):
    assert "has no rows" in refused(write_csv(tmp_path / "t.csv", []), tmp_path)


def test_single_class(tmp_path):
    path = write_csv(tmp_path / "t.csv", [(text, "good") for text, _ in ROWS])
    assert "the single class 'good'" in refused(path, tmp_path)


def test_class_with_one_row(tmp_path):
    path = write_csv(tmp_path / "t.csv", [*ROWS, ("an odd one", "mixed")])
    assert "a single row of class 'mixed'" in refused(path, tmp_path)


def test_class_without_rows_in_a_split(tmp_path):
    path = write_csv(tmp_path / "t.csv", [*ROWS, ("one", "mixed"), ("two", "mixed")])
    assert "2 rows of class 'mixed' but none of them in the" in refused(path, tmp_path)


def test_labels_that_are_scores(tmp_path):
    path = write_csv(tmp_path / "t.csv", [(f"text {i}", i / 7) for i in range(2000)])
    assert "more than 1,000 different labels" in refused(path, tmp_path)


@pytest.mark.parametrize("name", ["t.csv", "t.jsonl", "t.parquet"])
def test_missing_labels_are_counted_and_the_first_named(tmp_path, name):
    rows = [(text, "" if i in (6, 8, 150, 170) else label) for i, (text, label) in enumerate(ROWS)]
    path = WRITERS["reviews" + name[1:]](tmp_path / name, rows)
    sentence = refused(path, tmp_path)
    assert "no label in column 'label' of 4 rows (row 7" in sentence and "row 151" in sentence
    assert "--skip-incomplete" in sentence
    _, report = prepare(TableConfig(str(path), skip_incomplete=True), tmp_path / "prepared")
    assert report.rows == 196 and report.skipped_rows == 4


def test_missing_texts(tmp_path):
    path = write_csv(tmp_path / "t.csv", [*ROWS, ("  ", "good")])
    assert "no text in column 'text' of 1 row (row 201 (line 202)): fill it" in refused(path, tmp_path)


def test_unlabelled_column(tmp_path):
    path = write_csv(tmp_path / "t.csv", [(text, "") for text, _ in ROWS])
    assert "has nothing in column 'label' of its first 100 rows" in refused(path, tmp_path)


def test_text_that_is_not_utf8(tmp_path):
    path = write_csv(tmp_path / "t.csv")
    lines = path.read_bytes().split(b"\n")
    lines[150] = lines[150].replace("wörth".encode(), "wörth".encode("latin-1"))
    path.write_bytes(b"\n".join(lines))
    assert "line 151 is not UTF-8 (byte 0xf6 at position" in refused(path, tmp_path)


def test_cells_that_are_not_utf8(tmp_path):
    rows = [(text.encode(), label) for text, label in ROWS]
    rows[120] = (b"sch\xf6n", "good")
    texts, labels = zip(*rows)
    parquet.write_table(pa.table({"text": list(texts), "label": list(labels)}), tmp_path / "t.parquet")
    assert "row 121 is not UTF-8 in column 'text'" in refused(tmp_path / "t.parquet", tmp_path)
    with tf.io.TFRecordWriter(str(tmp_path / "t.tfrecord")) as writer:
        for text, label in rows:
            writer.write(example(text=text, label=label.encode()))
    assert "record 121 is not UTF-8 in column 'text'" in refused(tmp_path / "t.tfrecord", tmp_path)


def test_half_characters_in_json(tmp_path):
    path = write_jsonl(tmp_path / "t.jsonl", [*ROWS, ("\ud83d", "good")])
    assert "row 201 (line 201) holds half a character" in refused(path, tmp_path)


def test_utf16(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(write_csv(tmp_path / "plain.csv").read_text(), encoding="utf-16")
    assert "is UTF-16: save it as UTF-8" in refused(path, tmp_path)


@pytest.mark.parametrize("name", WRITERS)
def test_a_megabyte_in_one_cell(tmp_path, name):
    rows = [*ROWS[:150], ("x" * 1_000_000, "good"), *ROWS[150:]]
    sentence = refused(WRITERS[name](tmp_path / name, rows), tmp_path)
    assert "151" in sentence and "holds 1,000,000 bytes in column 'text', more than the 262,144" in sentence


@pytest.mark.parametrize("name", WRITERS)
def test_nul_characters(tmp_path, name):
    rows = [*ROWS[:150], ("hidden \0 here", "good"), *ROWS[150:]]
    sentence = refused(WRITERS[name](tmp_path / name, rows), tmp_path)
    assert "holds a NUL character" in sentence and ("line 152" in sentence or "151" in sentence)


def test_unclosed_quotation_mark(tmp_path):
    path = write_csv(tmp_path / "t.csv")
    path.write_text(path.read_text().replace('it",', "it,", 1))
    assert "line 2 is not CSV" in refused(path, tmp_path)
    path.write_text('text,label\nfine,good\n"never closed,bad\nmore,good\n')
    assert "line 3 opens a quotation mark that is never closed" in refused(path, tmp_path)


def test_unquoted_commas(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("text,label\nfine,good\nwell, well,bad\n")
    assert "line 3 has 3 cells where the header has 2: put quotes around texts that hold ','" in refused(path, tmp_path)


def test_damaged_json(tmp_path):
    path = write_jsonl(tmp_path / "t.jsonl")
    path.write_text(path.read_text() + '{"text": "cut o')
    assert "line 201 is not JSON" in refused(path, tmp_path)
    path.write_text('["text", "label"]\n')
    assert "line 1 is not a JSON object" in refused(path, tmp_path)
    path.write_text('{"text": ["a", "b"], "label": "good"}\n')
    assert "row 1 (line 1) holds a list in column 'text'" in refused(path, tmp_path)


def test_damaged_parquet(tmp_path):
    path = write_parquet(tmp_path / "t.parquet")
    path.write_bytes(path.read_bytes()[:-20])
    assert "is no whole Parquet file" in refused(path, tmp_path)


def test_damaged_tfrecord(tmp_path):
    path = write_tfrecord(tmp_path / "t.tfrecord")
    content = bytearray(path.read_bytes())
    content[-40] ^= 0xFF
    path.write_bytes(content)
    assert "is a damaged TFRecord file after record 199" in refused(path, tmp_path)
    path.write_bytes(content[:-100])
    assert "is a damaged TFRecord file after record" in refused(path, tmp_path)


def test_records_that_are_no_examples(tmp_path):
    with tf.io.TFRecordWriter(str(tmp_path / "t.tfrecord")) as writer:
        writer.write(b"\xff\xff\xff not an example")
    assert "record 1 is no tf.Example" in refused(tmp_path / "t.tfrecord", tmp_path)


def test_damaged_gzip(tmp_path):
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(write_csv(tmp_path / "plain.csv").read_bytes())[:-200])
    assert "is a damaged gzip file" in refused(path, tmp_path)


def test_unknown_split(tmp_path):
    rows = [(*row, "train" if i else "holdout") for i, row in enumerate(ROWS)]
    path = write_csv(tmp_path / "t.csv", rows, header=("text", "label", "split"))
    assert "has 'holdout' in column 'split'" in refused(path, tmp_path, split_column="split")


def test_split_column_without_test_rows(tmp_path):
    rows = [(*row, "train" if i % 3 else "dev") for i, row in enumerate(ROWS)]
    path = write_csv(tmp_path / "t.csv", rows, header=("text", "label", "split"))
    assert "none of them in the test split" in refused(path, tmp_path, split_column="split")


def test_an_interrupted_conversion_leaves_nothing(tmp_path, monkeypatch):
    def interrupted(self, example):
        raise KeyboardInterrupt

    monkeypatch.setattr(data._Shards, "write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prepare(TableConfig(str(write_csv(tmp_path / "t.csv"))), tmp_path / "prepared")
    assert not list((tmp_path / "prepared").iterdir())
