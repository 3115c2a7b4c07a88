"""Spans: parts of a file by bytes, so that many processes can share one, each document whole in exactly one of them.

A file falls into documents at places that can be recognised without what stands before them: where a line begins,
at a blank line, where a `<doc …>` begins. A span from byte `start` to byte `stop` holds what lies between the first
such place at `start` or later (the file's beginning for 0) and the first at `stop` or later. So spans that touch share
nothing and leave nothing out, whatever the text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from electra_cli.data.kinds import WIKI_START, Kind
from electra_cli.data.lines import Places, Raw, decoded_line, raw_lines
from electra_cli.data.pieces import Span
from electra_cli.data.sources import CorpusSettings
from electra_cli.data.streams import Stream, opened

_BLOCK = 1024 * 1024


_AtLine = Callable[[bytes], bool]


def break_of(kind: Kind, settings: CorpusSettings) -> _AtLine | None:
    """Return whether a file can be split before a line, for text of a kind; None where it can nowhere.

    Quotes in CSV reach over lines, and which of them are open shows only from the beginning.
    """
    if kind == "jsonl" or (kind == "text" and settings.document == "line"):
        return _everywhere
    if kind == "text" and settings.document == "blank-line":
        return lambda line: (text := decoded_line(line, settings)) is not None and not text.strip()
    if kind == "wiki":
        return lambda line: b"<doc " in line and bool(WIKI_START.match((decoded_line(line, settings) or "").strip()))
    return None


def _everywhere(line: bytes) -> bool:
    return True


def raw_span(
    span: Span, kind: Kind, settings: CorpusSettings, *, places: Places, advance: Callable[[int], None]
) -> Iterator[Raw]:
    """Yield the undecoded lines of a span of text and tell `advance` about the bytes of the file done.

    `places` is told where reading begins. Errors as `raw_lines`.
    """
    rows = kind in ("jsonl", "csv", "tsv")
    start, stop = span.start, span.start + span.bytes
    if start == 0 and stop >= span.source.bytes:
        done = 0
        with opened(span.source) as stream:
            for raw in raw_lines(stream, settings, places=places, whole=rows):
                yield raw
                done, before = stream.consumed(), done
                advance(done - before)
        return
    breaks = break_of(kind, settings)
    assert breaks is not None, "a file that cannot be split was"
    with opened(span.source, start=max(start - 1, 0)) as stream:
        rest, done = b"", start
        if start:
            places.origin, rest = _next_line(stream, start, stop)
        raws = raw_lines(stream, settings, places=places, whole=rows, rest=rest)
        for raw in _owned(raws, start, stop, breaks) if places.origin < stop else ():
            yield raw
            reached = min(raw.offset + len(raw.data), stop)
            if reached > done:
                advance(reached - done)
                done = reached
        advance(stop - done)


def _next_line(stream: Stream, start: int, stop: int) -> tuple[int, bytes]:
    """Return where the first line that begins at `start` or later does, and what was read from there.

    The stream is at the byte before `start`. Without such a line before `stop`: `stop` and nothing.
    """
    place = start - 1
    while place < stop and (data := stream.read(_BLOCK)):
        found = data.find(b"\n")
        if found >= 0:
            return place + found + 1, data[found + 1 :]
        place += len(data)
    return stop, b""


def _owned(raws: Iterable[Raw], start: int, stop: int, breaks: _AtLine) -> Iterator[Raw]:
    """Keep what lies between the first break at `start` or later and the first at `stop` or later."""
    searching, inside = start > 0, False
    for raw in raws:
        at_line, inside = not inside, raw.kind == "part"
        mine = raw
        if searching:
            _, behind = _broken(raw, start, breaks, at_line=at_line)
            if (behind or raw).offset >= stop:
                return
            if behind is None:
                continue
            mine, searching = behind, False
        if mine.offset + len(mine.data) < stop:
            yield mine
            continue
        before, behind = _broken(mine, stop, breaks, at_line=at_line)
        if before is not None:
            yield before
        if behind is not None:
            return


def _broken(raw: Raw, least: int, breaks: _AtLine, *, at_line: bool) -> tuple[Raw | None, Raw | None]:
    """Return what lies before and behind the first break of `raw` at byte `least` or later; None for nothing.

    A line that comes in parts is one where every line is.
    """
    if raw.kind != "lines":
        here = at_line and breaks is _everywhere and raw.offset >= least
        return (None, raw) if here else (raw, None)
    data, place = raw.data, max(least - raw.offset, 0)
    if place:
        place = data.find(b"\n", place - 1) + 1 or len(data) + 1
    while place <= len(data):
        end = data.find(b"\n", place)
        end = len(data) if end < 0 else end
        if breaks(data[place:end]):
            before = raw._replace(data=data[: place - 1]) if place else None
            return before, Raw(data[place:], raw.offset + place, raw.number + data.count(b"\n", 0, place))
        place = end + 1
    return raw, None
