"""The plain reading of a tokenizer, against the fast library on text made to be awkward."""

from __future__ import annotations

import pytest

from electra_cli.exporting.parity import sample_texts
from electra_cli.exporting.reference_tokenizer import ReferenceTokenizer
from electra_cli.text.parts import SPECIALS
from electra_cli.text.tokenizer import Tokenizer

AWKWARD = [
    "",
    " \t\r\n ",
    "a\u00a0b\u2003c\u200bd\ufeffe\ufffdf\x00g\x7fh",
    "don't--stop...$5+€6=~7`8^9|0",
    "ΣΊΣΥΦΟΣ ẞ ŉ ǅ ﬃ Å\u030a e\u0301\u0323",
    "漢字かな交じり文、㐀𠀀豈",
    "한글 한글",  # composed, then in pieces
    "x" * 100 + " " + "x" * 101,
    "[MASK] [CLS]",
]


@pytest.mark.parametrize("lowercase", [True, False])
@pytest.mark.parametrize("strip", [True, False])
@pytest.mark.parametrize("split_cjk", [True, False])
def test_ids_are_those_of_the_fast_tokenizer(tmp_path, lowercase, strip, split_cjk):
    texts = [text for pair in sample_texts() for text in pair] + AWKWARD
    whole = "".join(texts) + "".join(texts).lower()
    letters = sorted({letter for letter in whole if letter.isprintable() and not letter.isspace()} - set("fg€"))
    tokens = [*SPECIALS, *letters, *(f"##{letter}" for letter in letters[::2]), "xx", "##xx", "##xxx"]
    fast = Tokenizer.from_vocab(tokens, lowercase=lowercase, strip_accents=strip, split_cjk=split_cjk)
    for name, data in fast.files().items():
        (tmp_path / name).write_bytes(data)
    plain = ReferenceTokenizer(tmp_path)
    for text, other in zip(texts, texts[::-1], strict=True):
        assert plain.encode(text) == fast.encode_pairs([text], max_length=9999)[0][0].tolist(), text
        assert plain.encode(text, other) == fast.encode_pairs([text], [other], max_length=9999)[0][0].tolist()


def test_a_vocabulary_with_a_token_twice_is_refused(tmp_path):
    for name, data in Tokenizer.from_vocab([*SPECIALS, "a"]).files().items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "vocab.txt").write_text("\n".join([*SPECIALS, "a", "a"]) + "\n")
    with pytest.raises(ValueError, match="twice"):
        ReferenceTokenizer(tmp_path)
