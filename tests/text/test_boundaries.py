from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

from electra_cli.text.boundaries import CONTROLS, IDEOGRAPHS, PUNCTUATION, SEPARATORS, CutRule, pieces

PLAIN = BertNormalizer(lowercase=False, strip_accents=False, handle_chinese_chars=False)
CHINESE = BertNormalizer(lowercase=False, strip_accents=False, handle_chinese_chars=True)
# Letters, marks, format characters, ideographs and their compatibility forms, characters that normalise to punctuation.
ODD = (
    "aZ9 \t\r\x00\x0b\x0c\x1c\x85\xa0\u200b\u200d\u2028\u3000.,!-_「」。·é\u0301\u0308"
    "İßΣσ字国漢\uf900\U00020000가ㅎあー\u037e\u1fef\ufeff"
)


def words_of(text, normalizer):
    return [word for word, _ in BertPreTokenizer().pre_tokenize_str(normalizer.normalize_str(text))]


def points(ranges):
    return [chr(point) for first, last in ranges for point in range(first, last + 1)]


def test_every_separator_separates():
    for character in points(SEPARATORS):
        assert words_of(f"a{character}b", PLAIN) == ["a", "b"], hex(ord(character))


def test_every_control_is_deleted():
    for character in points(CONTROLS):
        assert words_of(f"a{character}b", PLAIN) == ["ab"], hex(ord(character))


def test_every_punctuation_stands_alone():
    for character in points(PUNCTUATION):
        assert words_of(f"a{character}b", PLAIN) == ["a", character, "b"], hex(ord(character))


def test_every_ideograph_stands_alone_when_split():
    for character in points(IDEOGRAPHS):
        assert CHINESE.normalize_str(f"a{character}b") == f"a {character} b", hex(ord(character))


def test_no_other_character_of_the_basic_plane_separates_or_is_an_ideograph():
    # Rare punctuation may be missing from the tables; white space and ideographs must all be there.
    known = set(points(SEPARATORS)) | set(points(IDEOGRAPHS))
    for point in range(0x10000):
        character = chr(point)
        if character in known or 0xD800 <= point < 0xE000:
            continue
        assert " " not in CHINESE.normalize_str(f"a{character}b"), hex(point)


@given(st.text(alphabet=ODD, max_size=200), st.integers(1, 30), st.booleans())
@settings(max_examples=300, deadline=None)
def test_the_words_of_the_pieces_are_the_words_of_the_whole(text, limit, split_cjk):
    normalizer = BertNormalizer(lowercase=True, strip_accents=True, handle_chinese_chars=split_cjk)
    found = pieces(text, limit, rule=CutRule(ideographs=split_cjk))
    assert "".join(found) == text
    assert [word for piece in found for word in words_of(piece, normalizer)] == words_of(text, normalizer)


def test_pieces_stay_within_the_limit_where_there_are_boundaries():
    text = "word " * 5000
    assert {len(piece) <= 1000 for piece in pieces(text, 1000, rule=CutRule())} == {True}
    assert [len(piece) for piece in pieces("字" * 25, 10, rule=CutRule())] == [9, 9, 7]


def test_a_run_without_boundary_is_not_cut():
    assert pieces("字" * 25, 10, rule=CutRule(ideographs=False)) == ["字" * 25]
    assert pieces("x" * 50 + " y", 10, rule=CutRule()) == ["x" * 50, " y"]
