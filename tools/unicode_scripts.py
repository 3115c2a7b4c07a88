"""Write electra_cli/text/unicode_scripts.txt: which code points belong to which script.

    pip install fonttools; python tools/unicode_scripts.py

Python's own `unicodedata` knows no scripts. fonttools carries Unicode's Scripts.txt with every release; it is needed to
renew the table, not to use it.
"""

from __future__ import annotations

import inspect
import re
from itertools import pairwise
from pathlib import Path

from fontTools import unicodedata
from fontTools.unicodedata import Scripts

TABLE = Path(__file__).resolve().parent.parent / "electra_cli" / "text" / "unicode_scripts.txt"


def main() -> None:
    """Write the table."""
    version = re.search(r"Scripts-([\d.]+)\.txt", inspect.getsource(Scripts))
    assert version is not None
    lines = [
        f"# Unicode {version[1]}, Scripts.txt, © Unicode, Inc., https://www.unicode.org/terms_of_use.html",
        "# First code point of a run, its script; written by tools/unicode_scripts.py.",
    ]
    runs = list(zip(Scripts.RANGES, Scripts.VALUES, strict=True))
    for (_, before), (start, code) in pairwise([(0, ""), *runs]):
        if code != before:
            lines.append(f"{start:X} {unicodedata.script_name(code)}")
    TABLE.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
