from __future__ import annotations

from pathlib import Path

from electra_cli.data.docstrings import SourceDocstrings, _read, required_distributions, split_docstrings

SOURCE = '''
"""The module says something that is long enough to be kept as a paragraph.

>>> example()
'not prose, whatever stands around it, so it is left out altogether'

A second paragraph of the module, over
two lines, that is kept as one line of text.
"""

import does_not_exist

raise SystemExit("imported!")


class Thing:
    """A thing whose docstring is long enough to be kept here."""

    def method(self):
        """Too short."""
'''


def test_reads_prose_without_importing(tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text(SOURCE)
    assert _read((path, "package")) == SourceDocstrings(
        "package",
        (
            (
                "The module says something that is long enough to be kept as a paragraph.",
                "A second paragraph of the module, over two lines, that is kept as one line of text.",
            ),
            ("A thing whose docstring is long enough to be kept here.",),
        ),
    )
    path.write_text("def broken(:\n")
    assert _read((path, "package")) is None
    path.write_text("x = 1\n")
    assert _read((path, "package")) is None


def test_labelled_texts_are_of_files_that_the_corpus_does_not_hold() -> None:
    sources = [
        SourceDocstrings(f"p{number % 3}", ((f"docstring {number} with words", "shared by all"), (f"more {number}",)))
        for number in range(400)
    ]
    data = split_docstrings(sources)
    held_back = {text for text, _ in data.labelled}
    corpus = {paragraph for document in data.documents for paragraph in document}
    assert 20 < len(held_back) / 2 < 70, "about a tenth of 400 files, two docstrings each"
    assert not held_back & corpus
    assert sum(document.count("shared by all") for document in data.documents) <= 1, "a paragraph is kept once"
    assert data == split_docstrings(sources)


def test_required_distributions_are_what_runs_the_tool_and_not_what_tests_it() -> None:
    found = required_distributions("electra-cli")
    if found:  # not installed when the tests run from a bare checkout
        assert {"torch", "numpy", "sympy", "typer"} <= found.keys()
        assert not {"pytest", "transformers", "electra-cli"} & found.keys()
    assert required_distributions("no-such-distribution") == {}
