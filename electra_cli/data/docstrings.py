"""A corpus that every machine with this tool already has: the docstrings of Python and of the packages it needs.

Sources are parsed with `ast` and never imported. A document is one source file's docstrings, a line one paragraph of
prose; paragraphs that hold doctest examples are left out. A tenth of the files is kept apart for a labelled task (which
package is this docstring from?), so that no text of that task is seen in pretraining.
"""

from __future__ import annotations

import ast
import hashlib
import re
import sysconfig
import warnings
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from importlib import metadata
from multiprocessing import get_context
from pathlib import Path

LABELLED_SHARE = 0.1  # of the files
SHORTEST = 40  # characters of a paragraph or docstring worth keeping: shorter ones are mostly headings


@dataclass(frozen=True)
class SourceDocstrings:
    """What one source file says of itself.

    Attributes:
        package: the top-level package or, for the standard library, `python`.
        docstrings: each a list of paragraphs, in source order.
    """

    package: str
    docstrings: tuple[tuple[str, ...], ...]


def required_distributions(name: str) -> dict[str, str]:
    """Name and version of everything that distribution `name` needs to run, itself left out, extras left out.

    Empty when `name` is not installed. What happens to be installed besides (test tools, say) does not count, so that
    the corpus stays the same.
    """
    found: dict[str, str] = {}
    waiting, known = [name], {_canonical(name)}
    while waiting:
        try:
            distribution = metadata.distribution(waiting.pop())
        except metadata.PackageNotFoundError:
            continue  # a requirement for another platform
        found[_canonical(distribution.metadata["Name"])] = distribution.version
        for requirement in distribution.requires or ():
            needed = re.match(r"[A-Za-z0-9._-]+", requirement)
            if needed and "extra ==" not in requirement and _canonical(needed[0]) not in known:
                known.add(_canonical(needed[0]))
                waiting.append(needed[0])
    found.pop(_canonical(name), None)
    return found


def installed_docstrings(distributions: Collection[str]) -> Iterator[SourceDocstrings]:
    """Yield the docstrings of the standard library and of the packages of `distributions`, in a fixed order."""
    standard = Path(sysconfig.get_path("stdlib"))
    not_python = ("site-packages", "dist-packages", "test", "tests", "idlelib", "lib2to3")
    files = [(path, "python") for path in _sources(standard, skip=not_python)]
    installed = Path(sysconfig.get_path("purelib"))
    wanted = set(distributions)
    for package, owners in sorted(metadata.packages_distributions().items()):
        if wanted.isdisjoint(map(_canonical, owners)) or not (installed / package / "__init__.py").exists():
            continue
        not_own = ("test", "tests", "testing", "_vendor", "vendor")
        files += [(path, package) for path in _sources(installed / package, skip=not_own)]
    with get_context("spawn").Pool() as pool:
        for found in pool.imap(_read, files, chunksize=32):
            if found is not None:
                yield found


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _sources(folder: Path, *, skip: Iterable[str]) -> list[Path]:
    unwanted = set(skip)
    found = folder.rglob("*.py")
    return sorted(p for p in found if not unwanted.intersection(p.relative_to(folder).parts))


def _read(file: tuple[Path, str]) -> SourceDocstrings | None:
    """The docstrings of one source file; None where there are none or Python does not parse it."""
    path, package = file
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # old sources with odd escapes
            tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, OSError, RecursionError):
        return None
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            paragraphs = tuple(_paragraphs(ast.get_docstring(node) or ""))
            if paragraphs:
                found.append(paragraphs)
    return SourceDocstrings(package, tuple(found)) if found else None


def _paragraphs(docstring: str) -> Iterator[str]:
    for block in re.split(r"\n\s*\n", docstring):
        if ">>>" in block or "```" in block:
            continue
        text = " ".join(block.split())
        if len(text) >= SHORTEST and text.isprintable() and text.isascii():
            yield text


@dataclass(frozen=True)
class DocstringData:
    """The corpus and the labelled rows.

    Attributes:
        documents: paragraphs of each file that is for pretraining.
        labelled: (text, package) of the files kept apart; each text once.
    """

    documents: list[list[str]]
    labelled: list[tuple[str, str]]


def split_docstrings(sources: Iterable[SourceDocstrings]) -> DocstringData:
    """Part the files by a hash of their text, and drop paragraphs and docstrings that were met before."""
    data = DocstringData([], [])
    seen: set[str] = set()
    for source in sources:
        fresh = []
        for paragraphs in source.docstrings:
            new = [p for p in paragraphs if p not in seen]
            seen.update(new)
            if new:
                fresh.append(new)
        if not fresh:
            continue
        digest = hashlib.blake2b("\n".join(fresh[0]).encode(), digest_size=8).digest()
        if int.from_bytes(digest) < LABELLED_SHARE * 2**64:
            data.labelled.extend((" ".join(new), source.package) for new in fresh)
        else:
            data.documents.append([p for new in fresh for p in new])
    return data
