"""However a file is cut, the spans give its documents: each once, whole, in order, with the same counts."""

import gzip
import itertools
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from electra_cli.data import lines, spans
from electra_cli.data.corpus import Tally, read_documents, read_span, splittable
from electra_cli.data.pieces import Span, plan_pieces, read_piece
from electra_cli.data.sources import CorpusSettings, find_sources
from electra_cli.errors import DataError
from electra_cli.reporting import Silent

BITS = [
    "a",
    "word ",
    "\n",
    "\n\n",
    "\r\n",
    "\r\n\r\n",
    " \n",
    "\t\n\n",
    "é",
    "漢字",
    "😀",
    "\0",
    "\u3000\n",
    "\x85",
    "\u2028",
]
BITS += ['<doc id="1" url="u" title="T">\n', "T\n", "</doc>\n", "<doc \n", " <doc id=", "long " * 300, "x" * 1500]


def source_of(path, data):
    path.write_bytes(data)
    (source,) = find_sources([path], report=Silent())
    return source


def whole(source, corpus):
    """Return the documents and the tally of a source read in one go, without places."""
    tally, done = Tally(), []
    documents = [document.lines for document in read_span(Span(source), corpus, tally=tally, advance=done.append)]
    assert sum(done) == source.bytes
    return documents, tally


def cut_up(source, corpus, cuts):
    """Return the same of the spans between `cuts`."""
    tally, documents = Tally(), []
    places = [0, *sorted(cuts), source.bytes]
    for start, stop in itertools.pairwise(places):
        if stop > start:
            mine, done = Tally(), []
            span = Span(source, start, stop)
            documents += [document.lines for document in read_span(span, corpus, tally=mine, advance=done.append)]
            assert sum(done) == stop - start
            tally.add(mine)
    return documents, tally


@st.composite
def texts(draw):
    bits = [bit.encode("utf-8") for bit in draw(st.lists(st.sampled_from(BITS), max_size=60))]
    if draw(st.booleans()):
        bits.insert(0, b"\xef\xbb\xbf")
    if draw(st.booleans()):
        bits.insert(draw(st.integers(0, len(bits))), draw(st.sampled_from([b"\xff", b"\xc3", b"\xa0\n", b"\xe6\xbc"])))
    return b"".join(bits)


@pytest.mark.parametrize("kind", ["blank-line", "line", "wiki"])
@pytest.mark.parametrize("encoding_errors", ["replace", "skip"])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=texts(),
    cuts=st.lists(st.integers(0, 3000), max_size=6),
    long=st.booleans(),
    block=st.sampled_from([3, 7, 100, 2**20]),
)
@example(data=b"a\n\nb\n\nc", cuts=[1, 2, 3, 4, 5, 6], long=False, block=2**20)
@example(data=b"a\n\n\n\nb\n", cuts=[1, 2, 3, 4, 5], long=False, block=2**20)
@example(data=b"a\n" + b" " * 1500 + b"\nb", cuts=[1, 2, 3, 1024, 1502, 1503], long=True, block=100)
@example(data=b"\xef\xbb\xbf\na", cuts=[1, 2, 3, 4], long=False, block=2**20)
def test_any_cuts_give_what_the_whole_gives(kind, encoding_errors, data, cuts, long, block, tmp_path):
    """Blocks are what is read at once: what a document or a line makes of their ends must not show either."""
    choice = {"format": "wiki"} if kind == "wiki" else {"format": "text", "document": kind}
    corpus = CorpusSettings(
        encoding_errors=encoding_errors,
        max_line_bytes=1024 if long else 10**6,
        long_lines="split" if long else "error",
        max_document_chars=10_000,
        min_document_chars=2,
        **choice,
    )
    source = source_of(tmp_path / "t", data)
    expected = whole(source, corpus)
    cuts = {cut for cut in cuts if cut < len(data)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "_BLOCK", block)
        patch.setattr(spans, "_BLOCK", block)
        assert cut_up(source, corpus, cuts) == expected


def test_every_single_cut_of_a_text_with_everything_in_it(tmp_path):
    data = "\ufeffone\r\ntwo\r\n\r\n\r\n漢字\n \t\n\n\0\nlast of it \u3000\n\u3000\nü".encode()
    source = source_of(tmp_path / "t", data)
    for document in ("blank-line", "line"):
        corpus = CorpusSettings(document=document)
        expected = whole(source, corpus)
        for cut in range(1, len(data)):
            assert cut_up(source, corpus, [cut]) == expected, cut
        assert cut_up(source, corpus, range(1, len(data))) == expected


def test_every_single_cut_around_lines_that_are_cut_themselves(tmp_path):
    data = b"a\n\n" + b"long " * 500 + b"\nb\n" + b"x" * 2100 + b"\n\n" + b" " * 1100 + b"\nc\nd"
    source = source_of(tmp_path / "t", data)
    for document in ("blank-line", "line"):
        corpus = CorpusSettings(document=document, max_line_bytes=1024, long_lines="split")
        expected = whole(source, corpus)
        assert len(expected[0]) == (3 if document == "blank-line" else 6)
        for cut in [*range(1, 30), *range(2490, 2520), *range(4600, 4640), *range(len(data) - 10, len(data))]:
            assert cut_up(source, corpus, [cut]) == expected, cut


def test_long_documents_are_cut_where_the_whole_cuts_them(tmp_path):
    text = [f"{number:0999d}" for number in range(60)]
    data = ("\n".join(text[:25]) + "\n\n" + "\n".join(text[25:])).encode()
    source = source_of(tmp_path / "t", data)
    corpus = CorpusSettings(max_document_chars=10_000)
    expected = whole(source, corpus)
    assert expected[1].dropped == {"document_cuts": 5}
    for cuts in ([5000], [24_990], [25_001, 25_002], range(1000, len(data), 1000)):
        assert cut_up(source, corpus, cuts) == expected


def test_json_lines(tmp_path):
    data = "".join(
        json.dumps({"text": f"text {n}\nof two lines" if n % 3 else None}) + "\r\n" * (n % 4) + "\n" for n in range(50)
    )
    source = source_of(tmp_path / "t", data.encode())
    expected = whole(source, CorpusSettings())
    assert len(expected[0]) == 33
    for step in (1, 7, 100, 1000):
        assert cut_up(source, CorpusSettings(), range(step, len(data), step)) == expected


def test_parquet_falls_into_its_row_groups(tmp_path):
    table = pa.table({"n": list(range(1000)), "text": [f"row {n}" * 5 if n % 7 else None for n in range(1000)]})
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=64)
    (source,) = find_sources([tmp_path / "t.parquet"], report=Silent())
    expected = whole(source, CorpusSettings())
    assert expected[1].dropped == {"empty_texts": 143}
    begins = [pq.ParquetFile(source.path).metadata.row_group(n).column(0).dictionary_page_offset for n in range(16)]
    for cuts in (range(1000, source.bytes, 1000), range(4321, source.bytes, 4321), begins, [n + 1 for n in begins]):
        assert cut_up(source, CorpusSettings(), cuts) == expected
    parts = [Span(source, start, min(start + 2000, source.bytes)) for start in range(0, source.bytes, 2000)]
    rows = [[d.line for d in read_span(s, CorpusSettings(), tally=Tally(), advance=int)] for s in parts]
    assert len([part for part in rows if part]) > 3, "several spans have rows"
    assert [*itertools.chain(*rows)] == [n + 1 for n in range(1000) if n % 7], "rows keep their numbers"


@pytest.mark.parametrize(
    ("bad", "code", "line"),
    [(b"caf\xe9\n", "NOT_UTF8", 30_001), (b"x" * 3000 + b"\n", "LINE_TOO_LONG", 30_001)],
)
@pytest.mark.parametrize("document", ["line", "blank-line"])
def test_errors_in_a_span_name_the_line_of_the_file(bad, code, line, document, tmp_path):
    data = b"\xef\xbb\xbf" + b"0123\n5678\n \n" * 10_000 + bad + b"after\n"
    source = source_of(tmp_path / "t", data)
    corpus = CorpusSettings(document=document, max_line_bytes=2000)
    found = []
    for start in range(0, len(data), 7000):
        try:
            list(read_span(Span(source, start, start + 7000), corpus, tally=Tally(), advance=int))
        except DataError as error:
            found.append(error)
    (error,) = found
    assert (error.code, error.where) == (code, f"{source.label}:{line}")
    if code == "NOT_UTF8":
        assert f"byte offset {3 + 120_000 + 3}" in error.message


def test_what_can_be_split(tmp_path):
    def asked(data, **settings):
        return splittable(source_of(tmp_path / "t", data), CorpusSettings(**settings))

    assert asked(b"text\n")
    assert asked(b"text\n", document="line")
    assert not asked(b"text\n", document="file")
    assert not asked(gzip.compress(b"text\n"))
    assert asked(b'{"text": "x"}\n', document="file"), "JSON lines are what they are, whatever ends plain text"
    assert not asked(b"text\nx\n", format="csv")
    assert asked(b'<doc id="1" url="u" title="T">\n', document="file")


def test_the_format_is_that_of_the_whole_file(tmp_path):
    data = b'{"text": "first"}\n' + b"\n" * 100 + b'{"text": "second"}\n'
    source = source_of(tmp_path / "t", data)
    span = Span(source, 50, source.bytes)
    assert [d.lines for d in read_span(span, CorpusSettings(), tally=Tally(), advance=int)] == [["second"]]


def test_pieces_of_cut_files_hold_the_corpus(tmp_path):
    for number, size in enumerate((10, 50_000, 3, 0, 120_000, 7)):
        (tmp_path / f"{number}.txt").write_text("".join(f"line {number} {n}\n\n" for n in range(size // 10)))
    sources = find_sources([tmp_path], report=Silent())
    corpus = CorpusSettings()
    expected = [document.lines for document in read_documents(sources, corpus, tally=Tally(), report=Silent())]
    for size in (1000, 8192, 30_000, 10**9):
        pieces = plan_pieces(sources, piece_bytes=size, splittable=lambda source: splittable(source, corpus))
        assert [piece.number for piece in pieces] == list(range(len(pieces)))
        assert sum(piece.bytes for piece in pieces) == sum(source.bytes for source in sources)
        assert all(piece.bytes <= size for piece in pieces)
        found = [document.lines for piece in pieces for document in read_piece(piece, corpus, tally=Tally())]
        assert found == expected
