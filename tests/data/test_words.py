from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

from electra_cli.data import words as module
from electra_cli.data.words import ChunkCounter
from electra_cli.text.boundaries import CutRule
from electra_cli.text.parts import WordRules
from electra_cli.text.words import words_of

# Letters, marks, format characters, ideographs and their compatibility forms, characters that normalise to punctuation.
ODD = (
    "aZ9 \t\r\x00\x0b\x0c\x1c\x85\xa0\u200b\u200d\u2028\u3000.,!-_「」。·é\u0301\u0308"
    "İßΣσ字国漢\uf900\U00020000가ㅎあー\u037e\u1fef\ufeff"
)
LINE = st.one_of(st.text(alphabet=ODD, max_size=40), st.text(max_size=20), st.text(alphabet="ab, .-", max_size=40))


def counted_directly(lines, **flags):
    normalizer = BertNormalizer(
        lowercase=flags["lowercase"], strip_accents=flags["strip_accents"], handle_chinese_chars=flags["split_cjk"]
    )
    counts = Counter()
    for line in lines:
        counts.update(word for word, _ in BertPreTokenizer().pre_tokenize_str(normalizer.normalize_str(line)))
    return counts


@given(st.lists(LINE, max_size=12), st.booleans(), st.booleans(), st.booleans())
@settings(max_examples=200, deadline=None)
def test_the_table_equals_direct_counting(lines, lowercase, strip_accents, split_cjk):
    flags = {"lowercase": lowercase, "strip_accents": strip_accents, "split_cjk": split_cjk}
    counter = ChunkCounter(rule=CutRule(ideographs=split_cjk))
    counter.add(lines)
    assert words_of(counter.total(), WordRules(**flags)) == counted_directly(lines, **flags)


def test_counting_in_many_blocks_is_the_same(monkeypatch):
    lines = ["the cat, the dog", "字字国 the", "", "\t", "DOG cat\x0bcat"] * 40
    monkeypatch.setattr(module, "_BLOCK", 50)
    counter = ChunkCounter(rule=CutRule())
    for start in range(0, len(lines), 7):
        counter.add(lines[start : start + 7])
    assert counter.total() == {"the": 120, "cat": 40, "dog": 40, ",": 40, "字": 80, "国": 40, "DOG": 40, "catcat": 40}
    counter.add(["cat"])
    assert counter.total()["cat"] == 41


def test_chinese_text_does_not_fill_memory_with_sentences():
    counter = ChunkCounter(rule=CutRule())
    counter.add("".join(chr(0x4E00 + (i * j) % 300) for j in range(50)) + "。" for i in range(200))
    assert len(counter.total()) <= 301
