import sys
import unicodedata
from itertools import pairwise

import pytest

from electra_cli.text.scripts import COMMON, script_of, script_of_word, script_runs


def test_the_runs_cover_all_code_points_in_order():
    starts, scripts = script_runs()
    assert starts[0] == 0 and list(starts) == sorted(set(starts)) and starts[-1] <= sys.maxunicode
    assert len(starts) == len(scripts) > 1000
    assert all(before != after for before, after in pairwise(scripts))


@pytest.mark.parametrize(
    ("character", "script"),
    [
        *[("a", "Latin"), ("ß", "Latin"), ("7", COMMON), ("。", COMMON), ("я", "Cyrillic"), ("中", "Han")],
        *[("𠀀", "Han"), ("가", "Hangul"), ("ᅡ", "Hangul"), ("あ", "Hiragana"), ("\u0301", "Inherited")],
        ("\ue000", "Unknown"),
    ],
)
def test_known_characters_have_their_script(character, script):
    assert script_of(character) == script


def test_another_table_of_unicode_agrees():
    regex = pytest.importorskip("regex")
    names = ["Latin", "Han", "Hangul", "Cyrillic", "Greek", "Arabic", "Hebrew", "Thai", "Devanagari", "Common"]
    patterns = {name: regex.compile(rf"\p{{Script={name}}}") for name in names}
    for point in range(0, 0x20000, 3):
        character = chr(point)
        if unicodedata.category(character) in ("Cn", "Cs"):  # of newer versions of Unicode, or no characters
            continue
        found = script_of(character)
        assert [name for name in names if patterns[name].match(character)] == [found] * (found in names), hex(point)


def test_a_word_has_the_script_of_its_first_character_with_one():
    assert script_of_word("\u0301́3д0a") == "Cyrillic"
    assert script_of_word("3.14") == COMMON == script_of_word("")
