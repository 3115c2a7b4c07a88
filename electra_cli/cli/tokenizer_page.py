"""What `electra inspect` found out about one tokenizer, or two side by side, as a page for people."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from rich.cells import cell_len, chop_cells

from electra_cli.cli.ui import figure

if TYPE_CHECKING:
    from electra_cli.stages.inspect_tokenizer import Inspected, Inspection
    from electra_cli.text.usage import ScriptUsage, Usage

_LABEL = 30  # columns of the names of rows
_VALUE = 13  # columns of a value
_SCRIPTS = 8  # on the page; --json has all
_LONGEST_SHOWN = 28  # columns of a piece
_LENGTHS = (1, 2, 3, 5, 7, 9, 13, 21)  # where the classes of lengths begin
_RARE = 10  # uses that are hardly any
_PROMILLE = 0.001


def tokenizer_page(inspection: Inspection, *, width: int) -> str:
    """Return the page, made for `width` columns."""
    items = inspection.tokenizers
    longest = _lists("longest pieces", items, _longest, width=width)
    text = inspection.text
    lines = ["vocabulary", *_vocabulary(items)]
    if len(items) > 1 or text is not None:
        lines = [*_heading(items), "", *lines]
    if text is None:
        return "\n".join([*lines, *longest, "", "--text FILE shows what it makes of a text."])
    usages = [item.usage for item in items if item.usage is not None]
    read = [f"{text.files:,} file{'s' if text.files > 1 else ''}", f"{text.documents:,} documents"]
    read += [figure(text.bytes, "bytes"), f"{text.characters:,} characters"]
    read += [f"{usages[0].words:,} words", f"{usages[0].distinct_words:,} distinct"]
    lines += ["", *_wrapped("text", read, width=width)]
    lines += _on_text(inspection, usages)
    lines += _scripts(usages)
    lines += longest
    lines += _lists("rarest pieces of the text, and their uses", items, _rarest, width=width)
    lines += _lists("pieces that the text never uses", items, _never, width=width)
    lines += _lists("characters that are always [UNK]", items, _missing, width=width)
    if len(items) > 1:
        lines += _differences(inspection, usages[0].words, width=width)
    return "\n".join(lines)


def _heading(items: Sequence[Inspected]) -> list[str]:
    names = "AB" if len(items) > 1 else ["tokenizer"]
    found = zip(names, items, strict=True)
    return [f"{name}  {item.artifact.path}  {item.artifact.content_id[:19]}" for name, item in found]


def _vocabulary(items: Sequence[Inspected]) -> list[str]:
    of = [item.parts.rules for item in items]
    rules = [
        _row("lower-cased", [_yes(rule.lowercase) for rule in of]),
        _row("accents removed", [_yes(rule.strip_accents) for rule in of]),
        _row("each ideograph a word", [_yes(rule.split_cjk) for rule in of]),
    ]
    if any(not rule.as_bert for rule in of):
        rules.insert(0, _row("model", [rule.model for rule in of]))
        rules.append(_row("each digit a word", [_yes(rule.split_digits) for rule in of]))
        rules.append(_row("cut at white space alone", [_yes(rule.pre_segmented) for rule in of]))
    lines = [_row("", "AB"), *rules] if len(items) > 1 else rules
    lines.append(_compared("entries", [item.anatomy.entries for item in items]))
    lines += [_compared(f"  {kind}", [item.anatomy.kinds[kind] for item in items]) for kind in items[0].anatomy.kinds]
    lines.append(_row("by script", []))
    names = _most(item.anatomy.scripts for item in items)
    lines += [_compared(f"  {name}", [item.anatomy.scripts.get(name, 0) for item in items]) for name in names]
    lines.append(_row("by characters", []))
    for first, last in pairwise([*_LENGTHS, 1000]):
        counts = [sum(n for size, n in item.anatomy.lengths.items() if first <= size < last) for item in items]
        name = f"over {first - 1}" if last == 1000 else str(first) if last == first + 1 else f"{first}–{last - 1}"
        lines.append(_compared(f"  {name}", counts))
    return lines


def _on_text(inspection: Inspection, usages: Sequence[Usage]) -> list[str]:
    text = inspection.text
    assert text is not None
    expected = [item.expected(text.bytes) for item in inspection.tokenizers]
    lines = [_row("", "AB")] if len(usages) > 1 else []
    return [
        *lines,
        _compared("tokens", [u.tokens for u in usages]),
        _compared("tokens per word", [u.tokens / max(u.words, 1) for u in usages]),
        _compared("tokens per character", [u.tokens / max(text.characters, 1) for u in usages]),
        _compared("tokens per byte", [u.tokens / max(text.bytes, 1) for u in usages]),
        _row("words kept whole", [_share(u.whole_words, u.words) for u in usages]),
        _row("words with [UNK]", [_share(u.unknown_words, u.words) for u in usages]),
        _row("[UNK] among the tokens", [_share(u.unknown_tokens, u.tokens) for u in usages]),
        _row("vocabulary used", [_share(u.used, u.entries) for u in usages]),
        _compared("  entries never used", [u.entries - u.used for u in usages]),
        _compared(f"  used less than {_RARE} times", [sum(n < _RARE for _, n in u.rarest) for u in usages]),
        _compared("tokens in 1 GB of such text", [each["tokens"] for each in expected]),
        *(
            _compared(f"  full rows of {key.removeprefix('rows_of_')}", [each[key] for each in expected])
            for key in expected[0]
            if key.startswith("rows_of_")
        ),
    ]


def _scripts(usages: Sequence[Usage]) -> list[str]:
    """The text by script, three figures a tokenizer."""
    lines = ["", " " * 24 + "".join(f"{name:>25}" for name in "AB")] if len(usages) > 1 else [""]
    lines.append(f"{'by script':<10}{'characters':>14}" + f"{'per word':>9}{'whole':>8}{'[UNK]':>8}" * len(usages))
    total = sum(part.characters for part in usages[0].scripts.values())
    for name in list(usages[0].scripts)[:_SCRIPTS]:
        parts = [usage.scripts[name] for usage in usages]
        cells = "".join(_script_cells(part) for part in parts)
        lines.append(f"  {name[:12]:<12}{_share(parts[0].characters, total):>10}{cells}")
    left = len(usages[0].scripts) - _SCRIPTS
    return [*lines, f"  and {left} more"] if left > 0 else lines


def _script_cells(part: ScriptUsage) -> str:
    if not part.words:
        return f"{'–':>7}{'–':>9}{'–':>9}"
    whole, unknown = _share(part.whole_words, part.words), _share(part.unknown_words, part.words)
    return f"{part.tokens / part.words:>7.3f}{whole:>9}{unknown:>9}"


def _differences(inspection: Inspection, words: int, *, width: int) -> list[str]:
    lines = ["", f"cut differently: {_share(inspection.words_apart, words)} of the words, the most frequent"]
    room = max((width - 2 - 18 - 10) // 2, 16)
    for item in inspection.differences:
        first, second = (_fit(" ".join(cut), room) for cut in (item.first, item.second))
        lines.append(f"  {_fit(item.word, 17)} {item.count:>9,}  {first} {second}".rstrip())
    return lines


def _lists(
    title: str, items: Sequence[Inspected], entries: Callable[[Inspected], Iterable[str]], *, width: int
) -> list[str]:
    """A heading, and the entries of each tokenizer in lines of at most `width` columns."""
    lines = ["", title]
    for name, item in zip("AB", items, strict=False):
        lines += _wrapped(name if len(items) > 1 else "", list(entries(item)) or ["none"], width=width, indent=2)
    return lines


def _wrapped(head: str, parts: Sequence[str], *, width: int, indent: int = 0) -> list[str]:
    """Put `parts`, with commas between them, into lines; those after the first are indented as its text is."""
    start = " " * indent + (f"{head}  " if head else "")
    lines, line = [], start
    for number, part in enumerate(parts):
        text = part + ("," if number + 1 < len(parts) else "")
        if line.strip() and line != start and cell_len(line) + 1 + cell_len(text) > width:
            lines.append(line)
            line = " " * len(start) + text
        else:
            line += text if line == start else f" {text}"
    return [*lines, line]


def _row(label: str, values: Iterable[str]) -> str:
    return f"  {label:<{_LABEL - 2}}{''.join(f'{value:>{_VALUE}}' for value in values)}".rstrip()


def _compared(label: str, values: Sequence[float]) -> str:
    """A row of numbers, and behind two of them by how much the second is more or less."""
    cells = [f"{value:,}" if isinstance(value, int) else f"{value:#.4g}" for value in values]
    if len(values) == 2 and values[0] and values[0] != values[1]:
        cells.append(f"{100 * (values[1] / values[0] - 1):+.1f} %".replace("-", "−"))
    return _row(label, cells)


def _share(part: int, whole: int) -> str:
    """A share in per cent: two places, or as many figures as a small one needs."""
    share = part / whole if whole else 0.0
    return f"{100 * share:.2f} %" if share == 0 or share >= _PROMILLE else f"{100 * share:.1g} %"


def _most(tables: Iterable[dict[str, int]]) -> list[str]:
    """Return the names that have most in any of the tables."""
    best: dict[str, int] = {}
    for table in tables:
        for name, count in table.items():
            best[name] = max(count, best.get(name, 0))
    return sorted(best, key=lambda name: (-best[name], name))[:_SCRIPTS]


def _longest(item: Inspected) -> list[str]:
    return [_clipped(piece) for piece in item.anatomy.longest]


def _rarest(item: Inspected) -> list[str]:
    assert item.usage is not None
    return [f"{_clipped(piece)} {count:,}" for piece, count in item.usage.rarest[: len(item.anatomy.longest)]]


def _never(item: Inspected) -> list[str]:
    assert item.usage is not None
    shown = [_clipped(piece) for piece in item.usage.never[: len(item.anatomy.longest)]]
    left = len(item.usage.never) - len(shown)
    return [*shown, f"and {left:,} more"] if left else shown


def _missing(item: Inspected) -> list[str]:
    assert item.usage is not None
    return [f"{character} {count:,}" for character, count in item.usage.missing]


def _clipped(text: str) -> str:
    return text if cell_len(text) <= _LONGEST_SHOWN else chop_cells(text, _LONGEST_SHOWN - 1)[0] + "…"


def _fit(text: str, columns: int) -> str:
    """Cut or fill `text` to a number of columns; ideographs take two each."""
    if cell_len(text) > columns:
        text = chop_cells(text, columns - 1)[0] + "…"
    return text + " " * (columns - cell_len(text))


def _yes(value: bool) -> str:
    return "yes" if value else "no"
