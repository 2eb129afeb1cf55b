from pathlib import Path

from tfmodels.catalogue import ROWS, as_dicts

ROOT = Path(__file__).parents[1]


def test_every_row_has_one_id():
    assert len({row.id for row in ROWS}) == len(ROWS) == 82


def test_code_and_evidence_that_a_row_names_exist():
    missing = [path for row in ROWS for path in (*row.code, *row.tests) if not (ROOT / path).exists()]
    assert missing == []


def test_a_row_is_planned_exactly_when_it_has_no_code():
    assert [row.id for row in ROWS if (row.status == "planned") == bool(row.code)] == []
    assert [row.id for row in ROWS if row.code and not (row.evidence and row.tests)] == []


def test_json_rows_have_the_documented_keys():
    keys = {"id", "system", "paper", "code", "evidence_kind", "evidence_tests", "status", "note"}
    assert all(set(row) == keys for row in as_dicts())
