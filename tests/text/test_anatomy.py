from electra_cli.text.anatomy import KINDS, anatomy_of, entries_of
from electra_cli.text.tokenizer import Tokenizer

TOKENS = ["[PAD]", "[unused0]", "[unused1]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
TOKENS += ["a", "中", ".", "##", "##a", "##中", "the", "Катя", "[x]", "##ing", "##가나"]


def test_every_entry_is_counted_once_where_it_belongs():
    parts = Tokenizer.from_vocab(TOKENS).parts
    found = anatomy_of(parts, examples=3)
    assert found.entries == len(TOKENS) == sum(found.kinds.values())
    assert list(found.kinds) == list(KINDS)
    # "##" alone is two characters of the text, no continuation of nothing
    assert list(found.kinds.values()) == [5, 2, 3, 2, 4, 2]
    assert found.scripts == {"Latin": 5, "Common": 2, "Han": 2, "Cyrillic": 1, "Hangul": 1}
    assert found.lengths == {1: 5, 2: 2, 3: 3, 4: 1}
    assert found.longest == ("Катя", "the", "[x]")


def test_an_entry_stands_for_its_text():
    entries = entries_of(Tokenizer.from_vocab(TOKENS).parts)
    assert [entry.text for entry in entries][-5:] == ["the", "Катя", "[x]", "ing", "가나"]
