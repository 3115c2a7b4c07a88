import bz2
import gzip
import io
import json
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from electra_cli.data.corpus import Tally, read_documents
from electra_cli.data.sources import CorpusSettings, find_sources
from electra_cli.errors import DataError, UsageError
from electra_cli.reporting import Silent


def read(path, **settings):
    """Return the lines of each document, and the tally."""
    tally = Tally()
    sources = find_sources([path], report=Silent())
    documents = list(read_documents(sources, CorpusSettings(**settings), tally=tally, report=Silent()))
    return [document.lines for document in documents], tally


def written(tmp_path, data, name="corpus.txt"):
    path = tmp_path / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode("utf-8"))
    return path


TWO = "first line\n second line \n\n\nother document"


def compressed(codec, data):
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, codec) as stream:
        stream.write(data)
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ("blank-line", [["first line", "second line"], ["other document"]]),
        ("line", [["first line"], ["second line"], ["other document"]]),
        ("file", [["first line", "second line", "other document"]]),
    ],
)
def test_plain_text_documents(document, expected, tmp_path):
    found, tally = read(written(tmp_path, TWO), document=document)
    assert found == expected
    assert (tally.documents, tally.lines) == (len(expected), 3)
    assert not tally.dropped


def test_documents_know_where_they_begin(tmp_path):
    path = written(tmp_path, "\n\n" + TWO + "\n")
    sources = find_sources([path], report=Silent())
    found = list(read_documents(sources, CorpusSettings(), tally=Tally(), report=Silent()))
    assert [(document.source, document.line) for document in found] == [(str(path), 3), (str(path), 7)]


def test_files_never_share_a_document(tmp_path):
    written(tmp_path, "one", "a.txt")
    written(tmp_path, "two", "b.txt")
    assert read(tmp_path)[0] == [["one"], ["two"]]


@pytest.mark.parametrize(
    "pack",
    [gzip.compress, bz2.compress, lambda data: compressed("zstd", data), lambda data: compressed("lz4", data)],
    ids=["gzip", "bz2", "zstd", "lz4"],
)
class TestCompression:
    TEXT = b"".join(b"line %d of the corpus\n%s" % (n, b"\n" if n % 5 == 0 else b"") for n in range(50_000))

    def test_it_is_unpacked_whatever_the_name(self, pack, tmp_path):
        packed = read(written(tmp_path, pack(self.TEXT)))
        plain = read(written(tmp_path, self.TEXT))
        assert packed[0] == plain[0]
        assert len(plain[0]) == 10_000 + 1

    def test_several_members_are_read_whole(self, pack, tmp_path):
        path = written(tmp_path, pack(b"one\n\n") + pack(b"two\n"))
        assert read(path)[0] == [["one"], ["two"]]

    @pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
    def test_cut_off_data_are_an_error(self, pack, share, tmp_path):
        data = pack(self.TEXT)
        with pytest.raises(DataError) as caught:
            read(written(tmp_path, data[: int(len(data) * share)]))
        assert caught.value.code == "TRUNCATED"
        assert "corpus.txt" in str(caught.value.where)


def test_trailing_garbage_is_an_error(tmp_path):
    with pytest.raises(DataError) as caught:
        read(written(tmp_path, gzip.compress(b"text\n") + b"garbage at the end"))
    assert caught.value.code == "TRUNCATED"


def test_an_archive_inside_is_refused(tmp_path):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as file:
        file.addfile(tarfile.TarInfo("a.txt"), io.BytesIO())
    with pytest.raises(UsageError, match="extract first"):
        read(written(tmp_path, buffer.getvalue()))


class TestEncoding:
    BAD = b"good line\nbad \xff\xfe line\ngood again\n"

    def test_strict_names_file_line_and_offset(self, tmp_path):
        with pytest.raises(DataError, match="byte 0xff at byte offset 14") as caught:
            read(written(tmp_path, self.BAD))
        assert caught.value.code == "NOT_UTF8"
        assert str(caught.value.where).endswith("corpus.txt:2")

    def test_the_place_is_right_far_into_a_file(self, tmp_path):
        before = b"0123456789\n" * 300_000
        with pytest.raises(DataError, match=f"offset {len(before) + 4}") as caught:
            read(written(tmp_path, before + b"bad \xe9t\n"), document="line")
        assert str(caught.value.where).endswith(":300001")

    def test_replace_and_skip_are_counted(self, tmp_path):
        found, tally = read(written(tmp_path, self.BAD), encoding_errors="replace")
        assert found == [["good line", "bad \ufffd\ufffd line", "good again"]]
        assert tally.dropped == {"lines_with_replaced_bytes": 1}
        found, tally = read(written(tmp_path, self.BAD), encoding_errors="skip")
        assert found == [["good line", "good again"]]
        assert tally.dropped == {"lines_not_utf8": 1}

    def test_lines_keep_their_numbers_when_one_is_skipped(self, tmp_path):
        path = written(tmp_path, b"\xff\n\ntext\n\n{\n")
        sources = find_sources([path], report=Silent())
        settings = CorpusSettings(encoding_errors="skip")
        found = list(read_documents(sources, settings, tally=Tally(), report=Silent()))
        assert [document.line for document in found] == [3, 5]

    @pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be"])
    def test_utf_16_is_recognised(self, encoding, tmp_path):
        data = ("\ufeff" if encoding == "utf-16-be" else "") + "text\n"
        with pytest.raises(DataError, match="UTF-16") as caught:
            read(written(tmp_path, data.encode(encoding)))
        assert "iconv" in (caught.value.hint or "")

    def test_a_byte_order_mark_is_left_out(self, tmp_path):
        assert read(written(tmp_path, b"\xef\xbb\xbftext\n"))[0] == [["text"]]

    def test_only_newlines_end_lines(self, tmp_path):
        text = "a\r\nb\u2028c\u0085d\x0be\rf\n"
        assert read(written(tmp_path, text))[0] == [["a", "b\u2028c\u0085d\x0be\rf"]]

    def test_nul_is_removed_and_counted(self, tmp_path):
        found, tally = read(written(tmp_path, b"a\0b\0\nc\n"))
        assert found == [["ab", "c"]]
        assert tally.dropped == {"nul_characters": 2}


class TestLongLines:
    def test_a_line_over_the_limit_is_an_error_with_its_place(self, tmp_path):
        for data in (b"short\n" + b"x" * 5000 + b"\nshort\n", b"short\n" + b"x" * 3_000_000):
            limit = 4000 if len(data) < 10_000 else 2_000_000
            with pytest.raises(DataError, match=f"longer than {limit} bytes") as caught:
                read(written(tmp_path, data), max_line_bytes=limit)
            assert caught.value.code == "LINE_TOO_LONG"
            assert str(caught.value.where).endswith(":2")
            assert "max_line_bytes" in (caught.value.hint or "")

    def test_a_line_at_the_limit_is_read(self, tmp_path):
        assert len(read(written(tmp_path, b"x" * 3_000_000 + b"\n"), max_line_bytes=3_000_000)[0][0][0]) == 3_000_000

    def test_a_decompression_bomb_stops_at_the_limit(self, tmp_path):
        with pytest.raises(DataError) as caught:
            read(written(tmp_path, compressed("zstd", bytes(200_000_000))))
        assert caught.value.code == "LINE_TOO_LONG"


def test_long_documents_are_cut_at_line_ends_and_counted(tmp_path):
    text = "".join(f"{number:0999d}\n" for number in range(25))
    for data, settings in ((text, {}), (json.dumps({"text": text}), {})):
        found, tally = read(written(tmp_path, data), max_document_chars=10_000, **settings)
        assert [len(lines) for lines in found] == [10, 10, 5]
        assert tally.dropped == {"document_cuts": 2}


def test_short_documents_are_left_out_on_request(tmp_path):
    found, tally = read(written(tmp_path, "abc\n\nabcdef\n"), min_document_chars=5)
    assert found == [["abcdef"]]
    assert tally.dropped == {"short_documents": 1}


WIKI = """<doc id="1" url="https://x/?curid=1" title="A">
A

First paragraph.

Second.
</doc>
<doc id="2" url="https://x/?curid=2" title="B &lt;x&gt;">
B

</doc>
stray
<doc id="3" url="u" title="C">
C
Text without an end
"""


def test_wikiextractor_output_is_recognised(tmp_path):
    found, tally = read(written(tmp_path, WIKI))
    assert found == [["A", "First paragraph.", "Second."], ["C", "Text without an end"]]
    assert tally.dropped == {"documents_without_text": 1, "lines_outside_documents": 1}
    as_text, _ = read(written(tmp_path, WIKI), format="text")
    assert as_text[0] == ['<doc id="1" url="https://x/?curid=1" title="A">', "A"]


class TestJsonLines:
    def test_each_line_is_a_document(self, tmp_path):
        lines = [{"text": "one\ntwo\n\nthree", "n": 1}, {"text": None}, {"text": " \n"}, {"text": "nul\u0000l"}]
        data = "\n".join(map(json.dumps, lines)) + "\n\n"
        found, tally = read(written(tmp_path, data))
        assert found == [["one", "two", "three"], ["null"]]
        assert tally.dropped == {"empty_texts": 2, "nul_characters": 1}

    def test_another_column(self, tmp_path):
        assert read(written(tmp_path, '{"body": "x"}\n'), text_column="body")[0] == [["x"]]

    @pytest.mark.parametrize(
        ("line", "code"),
        [
            ('{"text": "cut', "BAD_JSON"),
            ('{"text": "x", "n": NaN}', "BAD_JSON"),
            ('{"text": "x", "text": "y"}', "BAD_JSON"),
            ('["x"]', "BAD_JSON"),
            ("[" * 100_000, "BAD_JSON"),
            ('{"text": 5}', "NOT_TEXT"),
            ('{"text": ["nested"]}', "NOT_TEXT"),
            ('{"body": "x"}', "NO_COLUMN"),
            ('{"text": "half \\ud800 pair"}', "LONE_SURROGATE"),
        ],
    )
    def test_bad_lines_are_named(self, line, code, tmp_path):
        with pytest.raises(DataError) as caught:
            read(written(tmp_path, '{"text": "fine"}\n' + line + "\n"))
        assert caught.value.code == code
        assert str(caught.value.where).endswith(":2")

    def test_a_missing_column_is_not_taken_for_plain_text(self, tmp_path):
        with pytest.raises(DataError, match="no column 'text': body, id") as caught:
            read(written(tmp_path, '{"body": "x", "id": 1}\n'))
        assert caught.value.code == "NO_COLUMN"

    def test_text_that_merely_begins_with_a_brace_is_text(self, tmp_path):
        assert read(written(tmp_path, "{not json}\n"))[0] == [["{not json}"]]

    def test_emoji_as_surrogate_pairs_are_fine(self, tmp_path):
        assert read(written(tmp_path, '{"text": "\\ud83d\\ude00"}\n'))[0] == [["😀"]]


class TestParquet:
    def test_each_row_is_a_document(self, tmp_path):
        table = pa.table({"text": ["one\ntwo", None, "", "three"], "n": [1, 2, 3, 4]})
        pq.write_table(table, tmp_path / "corpus", row_group_size=2)
        found, tally = read(tmp_path / "corpus")
        assert found == [["one", "two"], ["three"]]
        assert tally.dropped == {"empty_texts": 2}

    @pytest.mark.parametrize(
        ("table", "code"),
        [({"body": ["x"]}, "NO_COLUMN"), ({"text": [1]}, "NOT_TEXT"), ({"text": [["x"]]}, "NOT_TEXT")],
    )
    def test_wrong_columns_are_named(self, table, code, tmp_path):
        pq.write_table(pa.table(table), tmp_path / "corpus.parquet")
        with pytest.raises(DataError) as caught:
            read(tmp_path)
        assert caught.value.code == code

    def test_damage_is_an_error(self, tmp_path):
        path = tmp_path / "corpus.parquet"
        pq.write_table(
            pa.table({"text": [f"row {n} of the text" for n in range(20_000)]}), path, write_page_checksum=True
        )
        data = bytearray(path.read_bytes())
        for change in (data[:-30], data[:100] + data[105:], data[:2000] + bytes([data[2000] ^ 1]) + data[2001:]):
            path.write_bytes(change)
            with pytest.raises(DataError) as caught:
                read(path)
            assert caught.value.code == "BAD_PARQUET"

    def test_text_that_is_not_utf8_is_an_error(self, tmp_path):
        column = pa.Array.from_buffers(
            pa.string(), 1, [None, pa.py_buffer(b"\0\0\0\0\2\0\0\0"), pa.py_buffer(b"\xff\xfe")]
        )
        pq.write_table(pa.table({"text": column}), tmp_path / "corpus.parquet")
        with pytest.raises(DataError) as caught:
            read(tmp_path)
        assert caught.value.code == "BAD_PARQUET"


@pytest.mark.parametrize("data", ["", "\n\n \t\n", '<doc id="1" url="u" title="T">\nT\n</doc>\n', '{"text": null}\n'])
def test_no_document_is_an_error(data, tmp_path):
    with pytest.raises(DataError, match="no documents") as caught:
        read(written(tmp_path, data))
    assert caught.value.code == "NO_DOCUMENTS"
