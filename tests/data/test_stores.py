"""Object stores: what URLs mean, what is found there, what refusals become. A server in this process is the S3."""

import gzip
import http.server
import pickle
import threading
from datetime import timedelta

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from electra_cli.data import stores
from electra_cli.data.corpus import Tally, read_documents, read_span
from electra_cli.data.pieces import Span
from electra_cli.data.sources import CorpusSettings, content_of_sources, find_sources
from electra_cli.data.stores import Store, _pattern, find, parse, without_secrets
from electra_cli.errors import DataError, ResourceError, UsageError
from electra_cli.reporting import Silent

pytestmark = pytest.mark.usefixtures("without_credentials")


class TestUrls:
    def test_what_they_mean(self):
        assert parse("s3://bucket/a/b%20c.txt") == (Store("s3"), "bucket/a/b%20c.txt")
        assert parse("gs://bucket/") == (Store("gs"), "bucket/")
        assert parse("S3://bucket/k?endpoint_override=localhost:9000&scheme=http&region=eu-1") == (
            Store("s3", "localhost:9000", "http", "eu-1"),
            "bucket/k",
        )

    def test_the_environment_counts_for_s3(self, monkeypatch):
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://one:1")
        assert parse("s3://b/k")[0] == Store("s3", "http://one:1", None, "us-east-1")
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://two:2")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-1")
        assert parse("s3://b/k")[0] == Store("s3", "http://two:2", None, "eu-1")
        monkeypatch.setenv("AWS_REGION", "eu-2")
        assert parse("s3://b/k?endpoint_override=three")[0] == Store("s3", "three", None, "eu-2")
        assert parse("gs://b/k")[0] == Store("gs")

    @pytest.mark.parametrize(
        "url",
        [
            "s3://AKIAXXXX:hunter2@bucket/key",
            "s3://hunter2@bucket/key",
            "s3://bucket/key?secret_key=hunter2",
            "s3://bucket/key?X-Amz-Signature=hunter2",
            "https://user:hunter2@host/file?token=hunter2#hunter2",
            "file://hunter2:hunter2@host/file",
            "s3:///key?region=hunter2",
            "ftp://host/f",
        ],
    )
    def test_what_is_refused_says_no_secret(self, url):
        with pytest.raises(UsageError) as caught:
            find_sources([url], report=Silent())
        assert caught.value.code == "BAD_URL"
        assert "hunter2" not in f"{caught.value} {caught.value.hint}"

    def test_secrets_are_cut_out(self):
        assert without_secrets("s3://a:b@c/d@e?f=g#h") == "s3://c/d@e"

    @pytest.mark.parametrize(
        ("pattern", "matches", "fails"),
        [
            ("b/*.txt", ["b/a.txt", "b/.txt"], ["b/c/a.txt", "b/atxt"]),
            ("b/**/*.txt", ["b/a.txt", "b/c/d/a.txt"], ["b/a.tx", "c/a.txt"]),
            ("b/x**", ["b/x", "b/xy/z"], ["b/y"]),
            ("b/[a-c]1", ["b/a1", "b/c1"], ["b/d1", "b/-1"]),
            ("b/[!a]+", ["b/b+"], ["b/a+", "b/bb"]),
            ("b/[x", ["b/[x"], ["b/x"]),
        ],
    )
    def test_patterns(self, pattern, matches, fails):
        assert all(_pattern(pattern).fullmatch(name) for name in matches)
        assert not any(_pattern(pattern).fullmatch(name) for name in fails)

    def test_local_files_have_urls_too(self, tmp_path):
        path = tmp_path / "ein Text.txt"
        path.write_text("text")
        (source,) = find_sources([path.as_uri()], report=Silent())
        assert (source.path, source.store) == (str(path), None)
        with pytest.raises(DataError) as caught:
            find_sources([(tmp_path / "none").as_uri()], report=Silent())
        assert caught.value.code == "MISSING_INPUT"


def labels(*texts):
    return [source.label.removeprefix("s3://the-corpus/") for source in find_sources(texts, report=Silent())]


@pytest.mark.slow
class TestStore:
    def test_folders_and_patterns_are_those_of_local_files(self, store, tmp_path):
        names = ["b.txt", "a/z.txt", "a/y/x.txt", "a.txt", ".hidden", "a/.cache/t.txt", "B.txt", "d [1].txt", "d 1.txt"]
        for name in names:
            store(f"in/{name}", b"text")
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text("text")
        for text in ("", "*.txt", "**/*.txt", "a", "d [1].txt", "a.txt", "[ab].txt"):
            local = find_sources([f"{tmp_path}/{text}"], report=Silent())
            expected = [source.path.removeprefix(f"{tmp_path}/") for source in local]
            assert labels(f"s3://the-corpus/in/{text}") == [f"in/{name}" for name in expected], text
        assert labels("s3://the-corpus/in") == labels("s3://the-corpus") == labels("s3://the-corpus/in/")
        assert labels("s3://the-corpus/in/b.txt", "s3://the-corpus/in/b.txt") == ["in/b.txt"]

    def test_the_text_and_its_id_are_those_of_the_files(self, store, tmp_path):
        text = "".join(f"line {n} of some text\n" + "\n" * (n % 4 == 0) for n in range(200_000)).encode()
        pq.write_table(pa.table({"text": ["a", "b\nc"]}), tmp_path / "3")
        files = [text, gzip.compress(text, mtime=0), b"no newline", (tmp_path / "3").read_bytes(), b""]
        for number, data in enumerate(files):
            (tmp_path / str(number)).write_bytes(data)
            store(f"in/{number}", data)
        found = []
        for place in (tmp_path, "s3://the-corpus/in"):
            sources = find_sources([place], report=Silent())
            tally = Tally()
            lines = [d.lines for d in read_documents(sources, CorpusSettings(), tally=tally, report=Silent())]
            ids = [content_of_sources(sources, ordered=ordered, report=Silent()) for ordered in (True, False)]
            found.append((lines, tally, ids, [source.bytes for source in sources]))
        assert found[0] == found[1]
        assert found[0][1].documents == 100_005

    def test_spans_of_an_object(self, store):
        data = b"".join(b"document %d\nof two lines\n\n" % n for n in range(60_000))
        store("big", data)
        (source,) = find_sources(["s3://the-corpus/big"], report=Silent())
        source = pickle.loads(pickle.dumps(source))  # as it goes to a worker
        whole = [d.lines for d in read_span(Span(source), CorpusSettings(), tally=Tally(), advance=int)]
        parts = [Span(source, start, min(start + 400_000, len(data))) for start in range(0, len(data), 400_000)]
        found = [d.lines for part in parts for d in read_span(part, CorpusSettings(), tally=Tally(), advance=int)]
        assert found == whole
        assert len(whole) == 60_000

    def test_nothing_secret_is_kept(self, store):
        store("in/a", b"text")
        (source,) = find_sources(["s3://the-corpus/in"], report=Silent())
        assert b"hunter2" not in pickle.dumps(source)

    def test_damage_is_told_from_a_store_that_fails(self, store):
        store("in/cut.gz", gzip.compress(b"text\n" * 100_000)[:-100])
        (source,) = find_sources(["s3://the-corpus/in"], report=Silent())
        with pytest.raises(DataError) as caught:
            list(read_span(Span(source), CorpusSettings(), tally=Tally(), advance=int))
        assert (caught.value.code, caught.value.where) == ("TRUNCATED", "s3://the-corpus/in/cut.gz")

    def test_an_object_that_changed_is_noticed(self, store):
        store("in/a", b"text")
        (source,) = find_sources(["s3://the-corpus/in"], report=Silent())
        store("in/a", b"another text")
        with pytest.raises(DataError) as caught:
            source.open()
        assert caught.value.code == "CHANGED"

    @pytest.mark.parametrize(
        "url", ["s3://the-corpus/none", "s3://the-corpus/none*", "s3://no-such-bucket/x", "s3://no-such-bucket/*"]
    )
    def test_what_is_not_there(self, url, store):
        store("in/a", b"text")
        with pytest.raises(DataError) as caught:
            find_sources([url], report=Silent())
        assert caught.value.code == "MISSING_INPUT"
        assert caught.value.where == url


def answering(status, headers):
    """Start a server that gives every request the same answer; return it and its address."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_HEAD = do_GET

        def log_message(self, *arguments):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server, f"http://127.0.0.1:{server.server_port}"


@pytest.mark.slow
class TestRefusals:
    def refused(self, monkeypatch, endpoint):
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "hunter2")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
        with pytest.raises(ResourceError) as caught:
            find("s3://the-corpus/in/a")
        assert "hunter2" not in f"{caught.value} {caught.value.hint}"
        assert caught.value.where == "s3://the-corpus/in/a"
        return caught.value.code

    @pytest.mark.parametrize(
        ("status", "headers", "code"),
        [
            (403, {}, "PERMISSION_DENIED"),
            (301, {"x-amz-bucket-region": "eu-west-1"}, "WRONG_REGION"),
            (400, {}, "STORE_ERROR"),
        ],
    )
    def test_answers(self, status, headers, code, monkeypatch):
        server, address = answering(status, headers)
        try:
            assert self.refused(monkeypatch, address) == code
        finally:
            server.shutdown()
            server.server_close()

    @pytest.mark.timeout(60)
    def test_nobody_answers(self, monkeypatch):
        assert self.refused(monkeypatch, "http://127.0.0.1:9") == "NETWORK"

    @pytest.mark.timeout(60)
    def test_google_does_not_answer(self, monkeypatch):
        monkeypatch.setattr(stores, "_PATIENCE", timedelta(seconds=1))
        with pytest.raises(ResourceError) as caught:
            find("gs://corpus/in?endpoint_override=127.0.0.1:9&scheme=http")
        assert caught.value.code == "NETWORK"
