import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer
from transformers.models.bert.tokenization_bert_legacy import BertTokenizerLegacy

from electra_cli.errors import ArtifactError, DataError
from electra_cli.text.parts import WordRules
from electra_cli.text.tokenizer import Tokenizer
from electra_cli.text.vocabulary import Wanted
from electra_cli.text.wordpiece import train
from electra_cli.text.words import words_of

SAMPLES = {
    "English": "The quick brown fox can't jump over 12,345 naïve façades; it's 7.5% (or so) — isn't it?",
    "German": "Über die Größe des Öls: Fußgänger müssen äußerst vorsichtig sein, weiß Frau Müller-Lüdenscheidt.",
    "Korean": "한국어는 교착어이며, 조사와 어미가 발달하였다. 서울특별시의 인구는 약 940만 명이다!",
    "Chinese": "北京是中华人民共和国的首都，有2100多万人口。《红楼梦》作者：曹雪芹（约1715年—1763年）、龘𠀀。",
    "odd": "a\u200db\x00c\x0bd\u00a0e\u3000f\u2028g ZÍ\u0301 İstanbul ẞ ΣΑΣ emoji 👩‍💻 ﬁ ½ ‘q’ «x» 🏳️‍🌈\ufeff",
}
CASES = {"uncased": (True, True, True), "cased": (False, False, True), "lower, accents": (True, False, True),
         "no split": (True, True, False)}  # fmt: skip


ALL_SAMPLES = " ".join(SAMPLES.values())


def built(case="uncased", vocab_size=700, text=ALL_SAMPLES):
    lowercase, strip_accents, split_cjk = CASES[case]
    flags = {"lowercase": lowercase, "strip_accents": strip_accents, "split_cjk": split_cjk}
    words = words_of({chunk: 3 for chunk in text.split(" ")}, WordRules(**flags))
    return Tokenizer.from_vocab(train(words, Wanted(vocab_size)).tokens, **flags)


def saved(tokenizer, folder):
    folder.mkdir(exist_ok=True)
    for name, data in tokenizer.files().items():
        (folder / name).write_bytes(data)
    return folder


@pytest.mark.parametrize("case", CASES)
def test_transformers_gives_the_same_ids_through_the_files(case, tmp_path):
    tokenizer = built(case)
    theirs = AutoTokenizer.from_pretrained(saved(tokenizer, tmp_path))
    ours = Tokenizer.load(tmp_path)
    for text in SAMPLES.values():
        assert ours.encode_lines([text])[0].tolist() == theirs(text, add_special_tokens=False).input_ids
        ((ids, first),) = ours.encode_pairs([text], ["next text"], max_length=512)
        both = theirs(text, "next text")
        assert ids.tolist() == both.input_ids
        assert both.token_type_ids == [0] * first + [1] * (len(ids) - first)
    assert theirs.model_max_length == 512
    names = ("pad", "unk", "cls", "sep", "mask")
    assert {name: getattr(theirs, f"{name}_token_id") for name in names} == ours.special_table()


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("language", ["English", "German", "Korean", "Chinese"])
def test_the_slow_python_tokenizer_gives_the_same_ids(case, language, tmp_path):
    tokenizer = built(case)
    lowercase, strip_accents, split_cjk = CASES[case]
    slow = BertTokenizerLegacy(
        str(saved(tokenizer, tmp_path) / "vocab.txt"),
        do_lower_case=lowercase,
        strip_accents=strip_accents,
        tokenize_chinese_chars=split_cjk,
    )
    for word in SAMPLES[language].split():
        expected = slow.convert_tokens_to_ids(slow.tokenize(word))
        assert tokenizer.encode_lines([word])[0].tolist() == expected, word


def test_text_never_becomes_a_special_token(tmp_path):
    tokenizer = built(text="a [MASK] [SEP] [CLS] [PAD] [UNK] b mask sep cls pad unk " * 2)
    for text in ("[MASK]", "a [SEP] b[CLS]", "[PAD][UNK]", "x [MASK"):
        ids = set(tokenizer.encode_lines([text])[0].tolist())
        assert not ids & tokenizer.special_ids - {tokenizer.unk_id}, text
    assert [tokenizer.tokens[i] for i in tokenizer.encode_lines(["a [MASK]"])[0]] == ["a", "[", "mask", "]"]


def test_a_file_written_and_loaded_is_the_same_tokenizer(tmp_path):
    tokenizer = built()
    again = Tokenizer.load(saved(tokenizer, tmp_path))
    assert again.parts == tokenizer.parts
    assert again.files() == tokenizer.files()
    assert (tmp_path / "vocab.txt").read_text("utf-8").split("\n")[:-1] == list(tokenizer.tokens)


def test_decoding_gives_the_text_back():
    tokenizer = built(text="the quick brown fox jumps over the lazy dog . , 's don t")
    ids = tokenizer.encode_lines(["The quick, brown fox jumps over the lazy dog."])[0]
    assert tokenizer.decode(ids) == "the quick, brown fox jumps over the lazy dog."
    assert tokenizer.decode([tokenizer.cls_id, *ids[:2], tokenizer.sep_id, tokenizer.pad_id]) == "the quick"
    assert tokenizer.decode([]) == ""


@given(st.lists(st.text(max_size=40), max_size=6))
@settings(max_examples=100, deadline=None)
def test_lines_are_encoded_independently(lines):
    tokenizer = TINY
    found = tokenizer.encode_lines(lines)
    assert [ids.tolist() for ids in found] == [
        tokenizer.raw.encode(line, add_special_tokens=False).ids for line in lines
    ]
    assert {ids.dtype for ids in found} <= {np.dtype(np.int64)}


TINY = built()


def test_a_long_line_has_the_ids_of_its_words():
    line = (SAMPLES["English"] + " " + SAMPLES["Chinese"]) * 900
    assert len(line) > 110_000
    expected = TINY.raw.encode(line, add_special_tokens=False).ids
    assert TINY.encode_lines(["x", line, "y"])[1].tolist() == expected


def test_an_endless_word_is_one_unknown_token():
    found = TINY.encode_lines(["the " + "q" * 5_000_000 + " fox", "the"])
    the = TINY.encode_lines(["the"])[0].tolist()
    fox = TINY.encode_lines(["fox"])[0].tolist()
    assert found[0].tolist() == [*the, TINY.unk_id, *fox]
    assert found[1].tolist() == the


@pytest.mark.slow
def test_a_huge_line_needs_little_memory(tmp_path):
    saved(TINY, tmp_path)
    script = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from electra_cli.text.tokenizer import Tokenizer\n"
        "tokenizer = Tokenizer.load(Path(sys.argv[1]))\n"
        "line = 'the quick brown fox ' * 500_000\n"  # 10 MB; in one piece it takes 1.4 GB
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "assert len(tokenizer.encode_lines([line])[0]) >= 2_000_000\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    grown = subprocess.run([sys.executable, "-c", script, tmp_path], capture_output=True, text=True, check=True).stdout
    assert int(grown) < 500_000 * (1 if sys.platform == "linux" else 1024)


@pytest.mark.parametrize(
    ("a", "b", "length", "kept"),
    [
        ("a b c d", "e f g", 20, (4, 3)),
        ("a b c d", "e f g h i j", 8, (3, 2)),  # five fit: popped from the longer, ties from the second
        ("a b c d e f", "g", 8, (4, 1)),
        ("a", "b c d e f g", 8, (1, 4)),
        ("a b c", "d e f", 3, (0, 0)),
    ],
)
def test_pairs_are_cut_as_the_released_code_does(a, b, length, kept):
    letters = Tokenizer.from_vocab(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghij"])
    ((ids, first),) = letters.encode_pairs([a], [b], max_length=length)
    a_ids, b_ids = (letters.encode_lines([text])[0].tolist() for text in (a, b))
    # The rule as it is written: pop from the longer until both fit.
    x, y = list(a_ids), list(b_ids)
    while len(x) + len(y) > length - 3:
        (x if len(x) > len(y) else y).pop()
    assert (len(x), len(y)) == kept
    assert ids.tolist() == [2, *x, 3, *y, 3]
    assert first == len(x) + 2


def test_single_texts_are_cut_to_the_length():
    letters = Tokenizer.from_vocab(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghij"])
    (long, n), (short, m) = letters.encode_pairs(["a b c d e f", "a"], max_length=6)
    assert long.tolist() == [2, 5, 6, 7, 8, 3] and n == 6
    assert short.tolist() == [2, 5, 3] and m == 3


def test_half_a_surrogate_pair_is_refused():
    with pytest.raises(DataError, match="U\\+D800") as caught:
        TINY.encode_lines(["fine", "a\ud800"])
    assert caught.value.code == "LONE_SURROGATE"


def change(body, path, value):
    *folders, name = path.split(".")
    for folder in folders:
        body = body[folder]
    body[name] = value


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("normalizer", {"type": "Replace", "pattern": {"Regex": "(a+)+$"}, "content": ""}),
        ("normalizer.type", "Lowercase"),
        ("normalizer.strip_accents", None),
        ("pre_tokenizer", {"type": "Split", "pattern": {"Regex": "(a|aa)+$"}, "behavior": "Removed", "invert": False}),
        ("pre_tokenizer", None),
        ("decoder", {"type": "BPEDecoder"}),
        ("post_processor", None),
        ("added_tokens", []),
        ("truncation", {"max_length": 5}),
        ("model.type", "BPE"),
        ("model.max_input_chars_per_word", 10**9),
        ("model.vocab.the", 0),
        ("model.vocab.the", "7"),
        ("model.vocab.a b", 700),
        ("version", "2.0"),
        ("extra", 1),
    ],
)
def test_anything_but_our_own_files_is_refused(path, value, tmp_path):
    saved(TINY, tmp_path)
    body = json.loads((tmp_path / "tokenizer.json").read_text("utf-8"))
    change(body, path, value)
    (tmp_path / "tokenizer.json").write_text(json.dumps(body), "utf-8")
    with pytest.raises(ArtifactError) as caught:
        Tokenizer.load(tmp_path)
    assert caught.value.code == "BAD_TOKENIZER"


@pytest.mark.parametrize("name", ["tokenizer.json", "vocab.txt", "tokenizer_config.json"])
def test_files_that_disagree_are_refused(name, tmp_path):
    path = saved(TINY, tmp_path) / name
    whole = path.read_bytes()
    for data in (
        b"",
        b"\xff\xfe",
        whole[: len(whole) // 2],
        whole.replace(b"fox", b"fax"),
        whole.replace(b"true", b"false"),
    ):
        if data != whole:
            path.write_bytes(data)
            with pytest.raises(ArtifactError):
                Tokenizer.load(tmp_path)
    path.unlink()
    with pytest.raises(ArtifactError) as caught:
        Tokenizer.load(tmp_path)
    assert caught.value.code == "MISSING_FILE"
