import csv

import pytest

from electra_cli.errors import DataError, UsageError
from electra_cli.tasks.tables import Columns, format_of, read_table

COLUMNS = Columns("text", label="label")


def read(tmp_path, name, content, columns=COLUMNS):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_table(path, columns)


def refused(tmp_path, name, content, columns=COLUMNS):
    with pytest.raises(DataError) as error:
        read(tmp_path, name, content, columns)
    assert error.value.exit_code == 3
    return error.value


def test_csv_quotes_commas_and_line_breaks(tmp_path):
    content = 'label,text\nx,"one, ""two""\nthree"\n\ny,plain\n'
    examples = read(tmp_path, "t.csv", content)
    assert examples.texts == ['one, "two"\nthree', "plain"]
    assert examples.labels == ["x", "y"]
    assert examples.lines == [2, 5]


def test_csv_written_by_the_standard_library_comes_back(tmp_path):
    rows = [("a,b\r\nc", "x"), ('"', "y"), ("tab\there \u2028 é 中", "x"), (" spaces ", "y"), ("NA", "null")]
    with (tmp_path / "w.csv").open("w", newline="", encoding="utf-8-sig") as file:
        csv.writer(file).writerows([("text", "label"), *rows])
    examples = read_table(tmp_path / "w.csv", COLUMNS)
    assert list(zip(examples.texts, examples.labels or (), strict=True)) == rows


def test_pairs_and_unused_columns(tmp_path):
    examples = read(tmp_path, "t.tsv", "id\ta\tb\tlabel\n1\tp\tq\tx\n", Columns("a", pair="b", label="label"))
    assert (examples.texts, examples.pairs, examples.labels) == (["p"], ["q"], ["x"])


def test_quotes_in_tsv_are_letters(tmp_path):
    examples = read(tmp_path, "t.tsv", 'text\tlabel\n"open\tx\nb\ty\n')
    assert examples.texts == ['"open', "b"]


def test_labels_stay_text(tmp_path):
    assert read(tmp_path, "t.csv", "text,label\na,007\nb,NA\nc,null\n").labels == ["007", "NA", "null"]


@pytest.mark.parametrize(
    ("name", "content", "code", "line"),
    [
        ("t.csv", 'text,label\na,x\n"open,y\nb,x\n', "BAD_CSV", 3),
        ("t.csv", 'text,label\n"a"b,x\n', "BAD_CSV", 2),
        ("t.csv", "text,label\na,x\nb\n", "RAGGED_ROW", 3),
        ("t.csv", "text,label\na,x,z\n", "RAGGED_ROW", 2),
        ("t.tsv", "text\tlabel\na\n", "RAGGED_ROW", 2),
        ("t.csv", "text,label,text\na,x,b\n", "DUPLICATE_COLUMN", 1),
        ("t.csv", "text,lable\na,x\n", "MISSING_COLUMN", 1),
        ("t.tsv", "a\tx\nb\ty\n", "MISSING_COLUMN", 1),
        ("t.csv", "text,label\na,\n", "EMPTY_LABEL", 2),
        ("t.csv", b"text,label\na,x\ncaf\xe9,x\n", "NOT_UTF8", 3),
        ("t.jsonl", '{"text": "a", "label": "x"}\n{"text": "b", \n', "BAD_JSON", 2),
        ("t.jsonl", '{"text": "a", "label": "x", "score": NaN}\n', "BAD_JSON", 1),
        ("t.jsonl", '{"text": "a", "text": "b", "label": "x"}\n', "BAD_JSON", 1),
        ("t.jsonl", '["a", "x"]\n', "BAD_JSON", 1),
        ("t.jsonl", "[" * 100_000 + "\n", "BAD_JSON", 1),
        ("t.jsonl", '{"text": 3, "label": "x"}\n', "WRONG_TYPE", 1),
        ("t.jsonl", '{"text": {"t": "a"}, "label": "x"}\n', "WRONG_TYPE", 1),
        ("t.jsonl", '{"text": "a", "label": null}\n', "WRONG_TYPE", 1),
        ("t.jsonl", '{"text": "a", "label": 0.5}\n', "WRONG_TYPE", 1),
        ("t.jsonl", '{"text": "a", "label": true}\n', "WRONG_TYPE", 1),
        ("t.jsonl", '{"text": "a", "label": 1}\n{"text": "a", "label": "1"}\n', "WRONG_TYPE", 2),
        ("t.jsonl", '{"text": "a"}\n', "MISSING_COLUMN", 1),
        ("t.jsonl", '{"text": "\\ud800", "label": "x"}\n', "NOT_UTF8", 1),
    ],
)
def test_what_does_not_fit_is_refused_with_its_line(tmp_path, name, content, code, line):
    error = refused(tmp_path, name, content)
    assert (error.code, error.where) == (code, f"{tmp_path / name}:{line}")


@pytest.mark.parametrize(("name", "content"), [("t.csv", ""), ("t.csv", "text,label\n"), ("t.jsonl", "\n\n")])
def test_files_without_rows_are_refused(tmp_path, name, content):
    assert refused(tmp_path, name, content).code == "NO_ROWS"


def test_messages_name_the_row_and_the_expected_columns(tmp_path):
    assert (
        "row 2 has 1 columns, expected 2 (text, label)"
        in refused(tmp_path, "t.csv", 'text,label\n"a\na",x\nb\n').message
    )
    assert "the columns are: text, lable" in refused(tmp_path, "t.csv", "text,lable\na,x\n").message
    assert "half of a surrogate pair" in refused(tmp_path, "t.jsonl", '{"text": "\\ud800", "label": "x"}\n').message


def test_json_integers_are_labels(tmp_path):
    examples = read(tmp_path, "t.jsonl", '{"text": "a", "label": 1}\n\n{"text": "b", "label": 0}\n')
    assert (examples.labels, examples.lines) == (["1", "0"], [1, 3])


def test_a_json_row_may_be_long(tmp_path):
    text = "word " * 400_000
    assert read(tmp_path, "t.jsonl", f'{{"text": "{text}", "label": "x"}}\n').texts == [text]


def test_a_line_without_end_is_refused_in_bounded_memory(tmp_path):
    error = refused(tmp_path, "t.tsv", b"text\tlabel\n" + b"a" * (17 * 2**20))
    assert (error.code, error.where) == ("LINE_TOO_LONG", f"{tmp_path / 't.tsv'}:2")


def test_the_name_says_the_format(tmp_path):
    assert [format_of(tmp_path / name) for name in ("a.CSV", "a.tsv.xz", "a.ndjson")] == ["csv", "tsv", "jsonl"]
    with pytest.raises(UsageError):
        format_of(tmp_path / "a.txt")


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    for path, code in ((tmp_path / "no.csv", "MISSING_INPUT"), (tmp_path, "NOT_A_FILE")):
        with pytest.raises(DataError) as error:
            read_table(path, COLUMNS)
        assert error.value.code == code
