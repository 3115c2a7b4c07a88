import bz2
import csv
import gzip
import io
import json
import lzma
import random
import subprocess
import tarfile
import time
import zlib

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


PACKERS = {
    "gzip": lambda data: gzip.compress(data, mtime=0),
    "bz2": bz2.compress,
    "xz": lambda data: lzma.compress(data, preset=0),
    "zstd": lambda data: compressed("zstd", data),
    "lz4": lambda data: compressed("lz4", data),
}


@pytest.mark.parametrize("pack", PACKERS.values(), ids=PACKERS)
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

    @pytest.mark.parametrize("missing", [1, 4, 8])
    def test_the_last_bytes_count(self, pack, missing, tmp_path):
        for data in (pack(self.TEXT), pack(b"one\n") + pack(b"two\n")):
            with pytest.raises(DataError) as caught:
                read(written(tmp_path, data[:-missing]))
            assert caught.value.code == "TRUNCATED"

    @pytest.mark.parametrize("garbage", [b"x", b"garbage at the end", b"PK\x03\x04", bytes(6), b"\xff" * 70_000])
    def test_trailing_garbage_is_an_error(self, pack, garbage, tmp_path):
        with pytest.raises(DataError) as caught:
            read(written(tmp_path, pack(b"text\n") + garbage))
        assert caught.value.code == "TRUNCATED"

    def test_an_archive_inside_is_refused(self, pack, tmp_path):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as file:
            file.addfile(tarfile.TarInfo("a.txt"), io.BytesIO())
        with pytest.raises(UsageError, match="extract first") as caught:
            read(written(tmp_path, pack(buffer.getvalue())))
        assert caught.value.code == "ARCHIVE"

    def test_what_is_packed_twice_is_refused(self, pack, tmp_path):
        for inside in (gzip.compress(b"text\n"), lzma.compress(b"text\n"), b"PAR1 and so on"):
            with pytest.raises(UsageError, match="unpack first"):
                read(written(tmp_path, pack(inside)))

    def test_nothing_inside_is_no_document(self, pack, tmp_path):
        with pytest.raises(DataError) as caught:
            read(written(tmp_path, pack(b"")))
        assert caught.value.code == "NO_DOCUMENTS"


@pytest.mark.parametrize("tool", ["gzip", "bz2", "xz", "zstd", "lz4"])
def test_a_flipped_bit_is_an_error(tool, tmp_path, needs_tool):
    """In files as the tools write them, with checksums; pyarrow writes zstd and lz4 without."""
    text = b"".join(b"line %d of the corpus %d\n" % (n, n * 7919 % 1000) for n in range(5000))
    if tool in ("zstd", "lz4"):
        needs_tool(tool)
        data = subprocess.run([tool, "-c"], input=text, capture_output=True, check=True).stdout
    else:
        data = PACKERS[tool](text)
    dice = random.Random(3)
    for _ in range(30):
        place = dice.randrange(16, len(data))  # before, gzip has its date and its system
        damaged = data[:place] + bytes([data[place] ^ 1 << dice.randrange(8)]) + data[place + 1 :]
        with pytest.raises(DataError) as caught:
            read(written(tmp_path, damaged))
        assert caught.value.code == "TRUNCATED"


def test_frames_without_text_before_the_first_are_passed_over(tmp_path):
    """pzstd writes one with the size of the frame behind it."""
    skipped = b"\x50\x2a\x4d\x18\x04\0\0\0abcd"
    for codec in ("zstd", "lz4"):
        assert read(written(tmp_path, skipped + compressed(codec, b"text\n") + skipped))[0] == [["text"]]


class TestXz:
    def test_padding_between_and_behind_streams(self, tmp_path):
        one, two = lzma.compress(b"one\n\n"), lzma.compress(b"two\n")
        for data in (one + bytes(4) + two, one + bytes(70_000) + two + bytes(8)):
            assert read(written(tmp_path, data))[0] == [["one"], ["two"]]
        for data in (one + bytes(3) + two, one + two + bytes(2), one + bytes(70_001)):
            with pytest.raises(DataError, match="garbage"):
                read(written(tmp_path, data))

    def test_a_dictionary_larger_than_a_worker_is_refused(self, tmp_path):
        filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 2**28}]
        data = lzma.compress(b"text\n", filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 2**20}])
        assert read(written(tmp_path, data))[0] == [["text"]]
        # The encoder would take gigabytes for it; the byte of the block header says how large, its CRC follows it.
        header = bytearray(data[12:24])
        assert header[0] == 2 and filters[0]["dict_size"] == 2**28
        header[4] = 32  # 2**28
        header[8:12] = zlib.crc32(header[:8]).to_bytes(4, "little")
        with pytest.raises(DataError, match=r"[Mm]emory"):
            read(written(tmp_path, data[:12] + bytes(header) + data[24:]))


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
        assert "corpus.long_lines=split" in (caught.value.hint or "")

    @pytest.mark.parametrize("before", [b"", b"short\n"])
    @pytest.mark.parametrize("after", [b"", b"\n", b"\nshort\n"])
    def test_split_cuts_at_white_space(self, before, after, tmp_path):
        words = " ".join(f"word{n}" for n in range(300_000))
        found, tally = read(
            written(tmp_path, before + words.encode() + after), max_line_bytes=1_000_000, long_lines="split"
        )
        (lines,) = found
        parts = [line for line in lines if line != "short"]
        assert " ".join(parts) == words
        assert all(60_000 < len(part) <= 65_536 for part in parts[:-1])
        assert tally.dropped == {"line_cuts": len(parts) - 1}

    def test_a_line_is_split_the_same_whatever_stands_around_it(self, tmp_path):
        line = b"".join(b"%d " % n * (n % 50) for n in range(3000))
        assert len(line) > 200_000
        settings = {"max_line_bytes": 100_000, "long_lines": "split", "document": "line"}
        alone, _ = read(written(tmp_path, line), **settings)
        for before in (b"x\n", b"x\n" * 50_000, b"y" * 99_999 + b"\n"):
            found, _ = read(written(tmp_path, before + line + b"\nz"), **settings)
            assert found[-2] == alone[0]

    @pytest.mark.parametrize("character", ["é", "漢", "😀"])
    def test_a_word_is_cut_between_characters(self, character, tmp_path):
        for shift in range(4):
            word = "a" * shift + character * 200_000
            found, tally = read(written(tmp_path, word), max_line_bytes=100_000, long_lines="split")
            assert "".join(found[0]) == word
            assert tally.dropped["line_cuts"] == len(found[0]) - 1 > 2

    def test_a_cut_line_stays_one_line(self, tmp_path):
        """Blank parts end no document, and a document of one line is one document."""
        line = "a" * 10 + " " * 300_000 + "b" * 10 + " " * 300_000
        text = f"{line}\nsecond\n"
        found, tally = read(written(tmp_path, text), max_line_bytes=100_000, long_lines="split")
        assert found == [["a" * 10, "b" * 10, "second"]]
        assert tally.dropped == {"line_cuts": 1}
        found, _ = read(written(tmp_path, text), max_line_bytes=100_000, long_lines="split", document="line")
        assert found == [["a" * 10, "b" * 10], ["second"]]
        found, _ = read(written(tmp_path, "x\n" + " " * 300_000 + "\ny"), max_line_bytes=100_000, long_lines="split")
        assert found == [["x"], ["y"]]

    def test_rows_are_never_split(self, tmp_path):
        rows = {
            "jsonl": json.dumps({"text": "word " * 10_000}),
            "csv": "text\n" + "word " * 10_000,
            "tsv": "text\n" + "word " * 10_000,
        }
        for kind, data in rows.items():
            for chosen in (kind, "auto") if kind == "jsonl" else (kind,):
                with pytest.raises(DataError, match="cannot be cut") as caught:
                    read(written(tmp_path, data), max_line_bytes=10_000, long_lines="split", format=chosen)
                assert caught.value.code == "LINE_TOO_LONG"

    def test_bad_bytes_in_a_cut_line_are_where_they_are(self, tmp_path):
        data = b"x\n" + b"word " * 50_000 + b"\xff" + b" word" * 50_000
        settings = {"max_line_bytes": 100_000, "long_lines": "split"}
        with pytest.raises(DataError, match="offset 250002") as caught:
            read(written(tmp_path, data), **settings)
        assert str(caught.value.where).endswith(":2")
        found, tally = read(written(tmp_path, data), encoding_errors="replace", **settings)
        assert sum(line.count("\ufffd") for line in found[0]) == 1 == tally.dropped["lines_with_replaced_bytes"]

    def test_blank_lines_by_the_million_cost_little(self, tmp_path):
        data = b"first\n" + b"\n" * 30_000_000 + b"\xff\n"
        began = time.process_time()
        with pytest.raises(DataError) as caught:
            read(written(tmp_path, data))
        assert str(caught.value.where).endswith(":30000002")
        assert time.process_time() - began < 1.5


def test_long_documents_are_cut_at_line_ends_and_counted(tmp_path):
    text = "".join(f"{number:0999d}\n" for number in range(25))
    for data, settings in ((text, {}), (json.dumps({"text": text}), {})):
        found, tally = read(written(tmp_path, data), max_document_chars=10_000, **settings)
        assert [len(lines) for lines in found] == [10, 10, 5]
        assert tally.dropped == {"document_cuts": 2}


class TestFilters:
    """Each rule on its own, against what counting by hand gives."""

    def kept(self, tmp_path, documents, **settings):
        found, tally = read(written(tmp_path, "\n\n".join(documents)), **settings)
        return [" / ".join(lines) for lines in found], dict(tally.dropped)

    def test_letters(self, tmp_path):
        documents = ["abc 123", "ab 1234", "हिन्दी में", "漢字。", "été 12", "== == x", "\u3000é\u3000"]
        found, dropped = self.kept(tmp_path, documents, min_letter_share=0.5)
        assert found == ["abc 123", "हिन्दी में", "漢字。", "été 12", "é"]
        assert dropped == {"documents_of_few_letters": 2}

    def test_repeated_lines(self, tmp_path):
        documents = ["a\nb\nc", "a\na\nb\nc", "a\na\na\nb", "x"]
        found, dropped = self.kept(tmp_path, documents, max_repeated_lines=0.3)
        assert found == ["a / b / c", "a / a / b / c", "x"]
        assert dropped == {"documents_of_repeated_lines": 1}

    def test_word_lengths(self, tmp_path):
        documents = ["a b\nc", "some words", "incomprehensibilities notwithstanding"]
        found, dropped = self.kept(tmp_path, documents, min_word_chars=3.0, max_word_chars=10.0)
        assert found == ["some words"]
        assert dropped == {"documents_of_short_words": 1, "documents_of_long_words": 1}

    def test_a_document_counts_under_one_reason(self, tmp_path):
        settings = {"min_document_chars": 3, "min_letter_share": 0.5, "max_repeated_lines": 0.1, "min_word_chars": 2.0}
        found, dropped = self.kept(tmp_path, ["1", "1 2 3", "a\na\na", "fine text"], **settings)
        assert found == ["fine text"]
        assert dropped == {"short_documents": 1, "documents_of_few_letters": 1, "documents_of_repeated_lines": 1}

    def test_prose_passes_what_the_guide_recommends(self, shared_data, tmp_path):
        text = lzma.decompress((shared_data / "tinyshakespeare/input.txt.xz").read_bytes())
        _, everything = read(written(tmp_path, text))
        _, tally = read(
            written(tmp_path, text),
            min_letter_share=0.7,
            max_repeated_lines=0.3,
            min_word_chars=3.0,
            max_word_chars=10.0,
        )
        assert tally.documents > 0.98 * everything.documents


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


class TestDelimited:
    def test_quotes_delimiters_and_line_breaks(self, tmp_path):
        data = 'id,text\r\n1,"a, ""b""\r\nc"\r\n\r\n2,plain\r\n3,"é\n\n漢"\n4,\n'
        found, tally = read(written(tmp_path, data), format="csv")
        assert found == [['a, "b"', "c"], ["plain"], ["é", "漢"]]
        assert tally.dropped == {"empty_texts": 1}

    def test_rows_know_their_lines(self, tmp_path):
        path = written(tmp_path, 'id,text\n1,"a\nb"\n\n2,c\n')
        (source,) = find_sources([path], report=Silent())
        found = read_documents([source], CorpusSettings(format="csv"), tally=Tally(), report=Silent())
        assert [document.line for document in found] == [2, 5]

    def test_quotes_mean_nothing_in_tsv(self, tmp_path):
        data = 'text\tlabel\n"unbalanced\t1\nit is 5" long\t0\n""\t1\n'
        found, _ = read(written(tmp_path, data), format="tsv")
        assert found == [['"unbalanced'], ['it is 5" long'], ['""']]
        with pytest.raises(DataError) as caught:
            read(written(tmp_path, data), format="tsv", quotes="rfc4180")
        assert caught.value.code == "BAD_CSV"
        found, _ = read(written(tmp_path, 'text\tlabel\n"a\tb\nc"\t1\n'), format="tsv", quotes="rfc4180")
        assert found == [["a\tb", "c"]]
        found, _ = read(written(tmp_path, 'text,label\n"a,1\n'), format="csv", quotes="none")
        assert found == [['"a']]

    @pytest.mark.parametrize(
        ("data", "code", "line", "says"),
        [
            ("id,text\n1,a\n2\n", "RAGGED_ROW", 3, "row 2 has 1 columns, expected 2 (id, text)"),
            ('id,text\n"1\n",a\n2,b,c\n', "RAGGED_ROW", 4, "row 2 has 3 columns, expected 2 (id, text)"),
            ('id,text\n1,a\n2,"open\n3,c\n', "BAD_CSV", 3, "not valid CSV"),
            ('id,text\n1,"a"b\n', "BAD_CSV", 2, "not valid CSV"),
            ("id,text,id\n1,a,2\n", "DUPLICATE_COLUMN", 1, "twice in the header: id"),
            ("id,body\n1,a\n", "NO_COLUMN", 1, "no column 'text': id, body"),
            ("id,text\n", "NO_DOCUMENTS", None, "no documents"),
            ("\n \nid,text\n", "NO_COLUMN", 2, "no column 'text'"),
        ],
    )
    def test_bad_rows_are_named(self, data, code, line, says, tmp_path):
        with pytest.raises(DataError) as caught:
            read(written(tmp_path, data), format="csv")
        assert caught.value.code == code
        assert says in caught.value.message
        assert line is None or str(caught.value.where).endswith(f":{line}")

    def test_an_open_quote_does_not_take_the_rest_of_a_large_file(self, tmp_path):
        data = "text\n" + "fine\n" * 10 + '"open\n' + "fine\n" * 100_000
        with pytest.raises(DataError, match="quote left open") as caught:
            read(written(tmp_path, data), format="csv", max_line_bytes=10_000)
        assert str(caught.value.where).endswith(":12")

    def test_a_field_may_be_as_long_as_a_line(self, tmp_path):
        text = "word " * 400_000
        found, _ = read(written(tmp_path, f'text\n"{text}"\n'), format="csv")
        assert found == [[text.strip()]]

    def test_the_header_may_follow_a_mark(self, tmp_path):
        assert read(written(tmp_path, b"\xef\xbb\xbftext\nx\n"), format="csv")[0] == [["x"]]

    @pytest.mark.parametrize(("delimiter", "kind"), [(",", "csv"), ("\t", "tsv")])
    def test_a_header_is_not_taken_for_plain_text_nor_guessed(self, delimiter, kind, tmp_path):
        path = written(tmp_path, delimiter.join(["id", "text", "label"]) + "\n" + delimiter.join("1a0") + "\n")
        with pytest.raises(UsageError, match=kind.upper()) as caught:
            read(path)
        assert f"corpus.format={kind}" in (caught.value.hint or "")
        assert read(path, format=kind)[0] == [["a"]]
        assert read(path, format="text")[0][0][0].startswith("id")

    @pytest.mark.parametrize("line", ["text", "In short, text, and more.", "a,b", "text,text", "text,", "a, text"])
    def test_prose_with_commas_is_prose(self, line, tmp_path):
        assert read(written(tmp_path, line + "\n"))[0] == [[line]]

    def test_lines_cannot_be_left_out_of_quoted_rows(self):
        for chosen in ({"format": "csv"}, {"format": "tsv", "quotes": "rfc4180"}):
            with pytest.raises(UsageError, match="left out"):
                CorpusSettings(encoding_errors="skip", **chosen).check()
        for chosen in ({"format": "tsv"}, {"format": "csv", "quotes": "none"}, {}):
            CorpusSettings(encoding_errors="skip", **chosen).check()
        with pytest.raises(UsageError, match="every document"):
            CorpusSettings(min_word_chars=5.0, max_word_chars=4.0).check()

    def test_it_reads_what_the_csv_module_writes(self, tmp_path):
        dice = random.Random(8)
        texts = ["".join(dice.choices(['"', ",", "\n", "a", "é ", "\t", "'"], k=20)) + "x" for _ in range(500)]
        buffer = io.StringIO()
        writer = csv.writer(buffer)
        writer.writerow(["n", "text"])
        writer.writerows(enumerate(texts))
        found, _ = read(written(tmp_path, buffer.getvalue()), format="csv")
        assert found == [[line.strip() for line in text.split("\n") if line.strip()] for text in texts]

    def test_glue_has_as_many_rows_as_lines(self, shared_data):
        path = shared_data / "glue/SST-2/dev.tsv"
        _, tally = read(path, format="tsv", text_column="sentence")
        assert tally.documents == len(path.read_bytes().splitlines()) - 1 == 872


class TestParquet:
    def test_a_column_of_repeated_values(self, tmp_path):
        column = pa.array(["one", "two", None, "one"]).dictionary_encode()
        pq.write_table(pa.table({"text": column}), tmp_path / "corpus")
        assert read(tmp_path / "corpus")[0] == [["one"], ["two"], ["one"]]

    def test_each_row_is_a_document(self, tmp_path):
        table = pa.table({"text": ["one\ntwo", None, "", "three"], "n": [1, 2, 3, 4]})
        pq.write_table(table, tmp_path / "corpus", row_group_size=2)
        found, tally = read(tmp_path / "corpus")
        assert found == [["one", "two"], ["three"]]
        assert tally.dropped == {"empty_texts": 2}

    def test_a_large_row_group_is_not_held_whole(self, tmp_path):
        table = pa.table({"text": [f"{number} " * 1000 for number in range(10_000)]})
        pq.write_table(table, tmp_path / "corpus", row_group_size=10**9, use_dictionary=False, compression="none")
        before, pool = pa.default_memory_pool(), pa.proxy_memory_pool(pa.default_memory_pool())
        assert (size := table.nbytes) > 40_000_000
        del table
        pa.set_memory_pool(pool)
        try:
            _, tally = read(tmp_path / "corpus", max_document_chars=10**6)
        finally:
            pa.set_memory_pool(before)
        assert tally.documents == 10_000
        assert pool.max_memory() < size / 2

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
