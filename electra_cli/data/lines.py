"""Bytes as lines: strictly UTF-8, only `\\n` ends a line, too long ones cut or refused, numbered for errors."""

from __future__ import annotations

import codecs
import functools
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

from electra_cli.data.sources import CorpusSettings, Source
from electra_cli.data.streams import Stream, opened
from electra_cli.errors import DataError

_BLOCK = 1024 * 1024
_PART = (
    64 * 1024
)  # of a line that is cut: encoding takes about 140 bytes of memory for each of a line (tokenizers 0.23)
_RECOUNT = 8 * 1024**3  # bytes before a span whose lines are counted for an error's line number


class Raw(NamedTuple):
    """Undecoded text: whole lines without the last one's newline, or a part of one line that is too long.

    Attributes:
        data: the bytes.
        offset: where they begin in the decompressed file.
        number: of the first line, counted from 1 where reading began.
        kind: whole lines; a part of a line, which goes on; a line's last part.
    """

    data: bytes
    offset: int
    number: int
    kind: Literal["lines", "part", "end"] = "lines"


@dataclass(frozen=True)
class Block:
    """Consecutive lines of a source, not stripped; `first` is the number of the first.

    `numbers` tells the number of each where lines were left out, else it is None. `goes_on` says that the only line is
    a part of one that was too long, and that the next block goes on with it.
    """

    first: int
    lines: list[str]
    numbers: list[int] | None = None
    goes_on: bool = False

    def number(self, index: int) -> int:
        """Return the line number of `lines[index]`."""
        return self.first + index if self.numbers is None else self.numbers[index]


class Places:
    """Where lines are in a file of which perhaps only a span is read: their numbers are counted when an error asks.

    Args:
        source: the file.
        origin: the byte at which reading began, where a line begins.
    """

    def __init__(self, source: Source, origin: int = 0) -> None:
        self.source = source
        self.origin = origin
        self._before: int | None = None

    def where(self, number: int) -> str:
        """Return `file:line` for a line counted from 1 at the origin."""
        if self.origin > _RECOUNT:
            return f"{self.source.label}: line {number} behind byte {self.origin}"
        if self._before is None:
            self._before = 0
            with opened(self.source) as stream:
                left = self.origin
                while left and (data := stream.read(min(_BLOCK, left))):
                    self._before += data.count(b"\n")
                    left -= len(data)
        return f"{self.source.label}:{self._before + number}"


def raw_lines(
    stream: Stream, settings: CorpusSettings, *, places: Places, whole: bool, rest: bytes = b""
) -> Iterator[Raw]:
    """Yield the lines of `rest` and what follows it in `stream`; `places.origin` is where `rest` begins.

    Lines longer than `max_line_bytes` come in parts if the settings say so, except where they must stay `whole`.
    Raises DataError for one that must not be so long.
    """
    limit = settings.max_line_bytes
    held: list[bytes] = []
    size, number, offset = 0, 1, places.origin
    while data := rest or stream.read(_BLOCK):
        rest = b""
        cut = data.rfind(b"\n")
        if cut < 0:
            held.append(data)
            size += len(data)
            if size > limit:
                _may_be_long(number, places, settings, whole=whole)
                part = min(_PART, limit)
                more = functools.partial(stream.read, _BLOCK)
                rest, offset = yield from _parts(b"".join(held), more, offset=offset, number=number, size=part)
                held, size, number = [], 0, number + 1
            continue
        raw = Raw(b"".join([*held, data[:cut]]), offset, number)
        yield from _checked(raw, places, settings, whole=whole)
        number += raw.data.count(b"\n") + 1
        offset += len(raw.data) + 1
        held, size = [data[cut + 1 :]], len(data) - cut - 1
    if size:
        yield from _checked(Raw(b"".join(held), offset, number), places, settings, whole=whole)


def _checked(raw: Raw, places: Places, settings: CorpusSettings, *, whole: bool) -> Iterator[Raw]:
    """Yield whole lines, with the too long ones in parts."""
    limit = settings.max_line_bytes
    if len(raw.data) <= limit:
        yield raw
        return
    _, offset, number, _ = raw
    short: list[bytes] = []
    for line in raw.data.split(b"\n"):
        if len(line) <= limit:
            short.append(line)
            continue
        if short:
            data = b"\n".join(short)
            yield Raw(data, offset, number)
            offset, number, short = offset + len(data) + 1, number + len(short), []
        _may_be_long(number, places, settings, whole=whole)
        _, offset = yield from _parts(line, bytes, offset=offset, number=number, size=min(_PART, limit))
        number += 1
    if short:
        yield Raw(b"\n".join(short), offset, number)


def _parts(
    line: bytes, more: Callable[[], bytes], *, offset: int, number: int, size: int
) -> Generator[Raw, None, tuple[bytes, int]]:
    """Yield the line that begins with `line` and goes on in `more` in parts of at most `size` bytes.

    Returns what was read behind its newline, and where that begins.
    """
    place = 0
    while True:
        stop = line.find(b"\n", place, place + size + 1)
        if stop < 0 and len(line) - place <= size:
            if fresh := more():
                line, place = line[place:] + fresh, 0
                continue
            stop = len(line)
        if stop >= 0:
            yield Raw(line[place:stop], offset, number, "end")
            return line[stop + 1 :], offset + stop - place + 1
        stop = _cut(line, place, place + size)
        yield Raw(line[place:stop], offset, number, "part")
        offset, place = offset + stop - place, stop


def _cut(line: bytes, start: int, stop: int) -> int:
    """Return where to cut a line before `stop`: behind its last white space, or else between two characters."""
    space = max(line.rfind(b" ", start, stop), line.rfind(b"\t", start, stop))
    if space > start:
        return space + 1
    return next((at for at in range(stop, stop - 4, -1) if line[at] & 0xC0 != 0x80), stop)


def decoded(
    raws: Iterable[Raw], settings: CorpusSettings, *, places: Places, count: Callable[[str, int], None]
) -> Iterator[Block]:
    """Yield the lines of `raws` in blocks.

    A byte order mark at the start of the file is left out, NUL characters are removed; other control characters stay,
    since the tokenizer's normalizer knows what to do with them. Raises DataError for what is not UTF-8.

    Args:
        raws: consecutive.
        settings: how to take bytes that are not UTF-8.
        places: where they come from.
        count: called with a reason and a number for everything left out or altered.
    """
    held: str | None = None  # a part of a long line: whether others follow is known when there is one with text
    for raw in raws:
        if raw.offset == 0:
            raw = _without_mark(raw, places)
        if raw.kind != "lines":
            text = next(iter(_one_by_one(raw, settings, places, count).lines), "")
            if text.strip():
                if held is not None:
                    count("line_cuts", 1)
                    yield Block(raw.number, [held], goes_on=True)
                held = text
            if raw.kind == "end":
                yield Block(raw.number, [held or ""])
                held = None
        elif raw.data.isspace():  # any number of blank lines is one
            yield Block(raw.number, [""])
        else:
            try:
                yield Block(raw.number, _without_nul(raw.data.decode("utf-8"), count).split("\n"))
            except UnicodeDecodeError:
                yield _one_by_one(raw, settings, places, count)


def decoded_line(line: bytes, settings: CorpusSettings) -> str | None:
    """Return one line as `decoded` has it, None where it does not have it; nothing is counted, nothing raised."""
    try:
        return line.decode("utf-8", "replace" if settings.encoding_errors == "replace" else "strict").replace("\0", "")
    except UnicodeDecodeError:
        return None


def _one_by_one(raw: Raw, settings: CorpusSettings, places: Places, count: Callable[[str, int], None]) -> Block:
    """Decode line by line what is not UTF-8 as a whole."""
    number, offset = raw.number, raw.offset
    lines: list[str] = []
    numbers: list[int] = []
    for line in raw.data.split(b"\n"):
        try:
            lines.append(_without_nul(line.decode("utf-8"), count))
            numbers.append(number)
        except UnicodeDecodeError as error:
            if settings.encoding_errors == "strict":
                raise DataError(
                    f"not UTF-8: byte 0x{line[error.start]:02x} at byte offset {offset + error.start}",
                    code="NOT_UTF8",
                    where=places.where(number),
                    hint="convert the file to UTF-8 (iconv), or --set corpus.encoding_errors=replace (or skip)",
                ) from error
            if settings.encoding_errors == "replace":
                lines.append(_without_nul(line.decode("utf-8", "replace"), count))
                numbers.append(number)
                count("lines_with_replaced_bytes", 1)
            else:
                count("lines_not_utf8", 1)
        number += 1
        offset += len(line) + 1
    return Block(raw.number, lines, numbers)


def _without_mark(raw: Raw, places: Places) -> Raw:
    if raw.data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise DataError(
            "is UTF-16, not UTF-8",
            code="NOT_UTF8",
            where=places.where(1),
            hint="convert it: iconv -f UTF-16 -t UTF-8 FILE > NEW",
        )
    mark = codecs.BOM_UTF8
    return raw._replace(data=raw.data[len(mark) :], offset=len(mark)) if raw.data.startswith(mark) else raw


def _without_nul(text: str, count: Callable[[str, int], None]) -> str:
    if "\0" in text:
        count("nul_characters", text.count("\0"))
        return text.replace("\0", "")
    return text


def _may_be_long(number: int, places: Places, settings: CorpusSettings, *, whole: bool) -> None:
    """Raise DataError unless a line longer than the limit may be cut."""
    if settings.long_lines == "split" and not whole:
        return
    raise DataError(
        f"the line is longer than {settings.max_line_bytes} bytes"
        + (", and a row of JSON, CSV or TSV cannot be cut" if whole and settings.long_lines == "split" else ""),
        code="LINE_TOO_LONG",
        where=places.where(number),
        hint="raise the limit: --set corpus.max_line_bytes=…"
        + ("" if whole else ", or cut long lines at white space: --set corpus.long_lines=split"),
    )
