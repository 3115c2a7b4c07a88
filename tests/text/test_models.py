"""BPE, Unigram and the options of all models: the same ids through the files in `transformers` and by plain reading."""

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from electra_cli.errors import ArtifactError, DataError, UsageError
from electra_cli.exporting.reference_tokenizer import ReferenceTokenizer
from electra_cli.text.parts import TokenizerParts, WordRules, problem_of_extra
from electra_cli.text.tokenizer import LONGEST_RUN, Tokenizer
from electra_cli.text.training import assembled, train
from electra_cli.text.vocabulary import Wanted
from electra_cli.text.word_cache import WordCache
from electra_cli.text.words import words_of

REPOSITORY = Path(__file__).resolve().parents[2]

TEXT = (
    "The quick brown fox can't jump over 12,345 naïve façades; it's 7.5% (or so) — isn't it? Über die Größe des Öls: "
    "한국어는 교착어이며, 조사와 어미가 발달하였다. 북한 "
    "北京是中华人民共和国的首都，有2100多万人口。《红楼梦》（约1715年）、龘𠀀 "
    "हिन्दी में लिखा गया กำลังอ่านหนังสือ emoji 👩‍💻 ½ x² q’s «x» see <URL> and <URL>s or [DOC] [MASK] ok"
)
CASED = {"lowercase": False, "strip_accents": False}
RULES = {
    "wordpiece": WordRules(),
    "wordpiece digits": WordRules(split_digits=True),
    "wordpiece segmented": WordRules(pre_segmented=True, split_cjk=False, **CASED),
    "wordpiece placeholders": WordRules(placeholders=("<URL>", "[网址]")),
    "bpe": WordRules(model="bpe", split_cjk=False, **CASED),
    "bpe digits, lower case": WordRules(model="bpe", split_digits=True),
    "bpe segmented": WordRules(model="bpe", pre_segmented=True, split_cjk=False, **CASED),
    "bpe placeholders": WordRules(model="bpe", placeholders=("<URL>", "[网址]"), **CASED),
    "unigram": WordRules(model="unigram", split_cjk=False, **CASED),
    "unigram digits, lower case": WordRules(model="unigram", split_digits=True),
    "unigram segmented": WordRules(model="unigram", pre_segmented=True, split_cjk=False, **CASED),
    "unigram placeholders": WordRules(model="unigram", placeholders=("<URL>", "[网址]"), **CASED),
}
# What `transformers` takes for a special token wherever it stands, and we do not.
SPECIAL = ("[DOC]", "[MASK]", "[CLS]", "[SEP]", "[PAD]", "[UNK]")
PIECES = [*TEXT.split(), "<URL>", "<UR", "[网址]", "https", "9", "▁", "Ġ", "  ", "\t", "\u3000", "\x00", "é", "x" * 101]


def made(rules, vocab_size=620, text=TEXT):
    wanted = Wanted(vocab_size, unused=2, extra=("[DOC]", *rules.placeholders))
    words = words_of({chunk: 2 + at % 3 for at, chunk in enumerate(text.split(" "))}, rules)
    return Tokenizer(assembled(train(words, wanted, rules), rules, special_tokens=("[DOC]",)))


MADE = {name: made(rules) for name, rules in RULES.items()}


def saved(tokenizer, folder):
    for name, data in tokenizer.files().items():
        (folder / name).write_bytes(data)
    return folder


@pytest.fixture(scope="module")
def readers(tmp_path_factory):
    found = {}
    for name, tokenizer in MADE.items():
        folder = saved(tokenizer, tmp_path_factory.mktemp("tokenizer"))
        found[name] = (AutoTokenizer.from_pretrained(folder), ReferenceTokenizer(folder), Tokenizer.load(folder))
    return found


@pytest.mark.parametrize("name", RULES)
def test_transformers_and_a_plain_reading_give_the_same_ids(name, readers):
    theirs, plain, ours = readers[name]
    assert ours.parts == MADE[name].parts
    texts = [TEXT, TEXT[30:90], "", "a", "x" * 120, *TEXT.split()]
    for special in SPECIAL:
        texts = [text.replace(special, "it") for text in texts]
    for text, other in zip(texts, [part or "b" for part in texts[::-1]], strict=True):
        ((ids, first),) = ours.encode_pairs([text], [other], max_length=10_000)
        both = theirs(text, other)
        assert ids.tolist() == both.input_ids == plain.encode(text, other)
        assert both.token_type_ids == [0] * first + [1] * (len(ids) - first)
        assert theirs(text).input_ids == plain.encode(text)
    names = ("pad", "unk", "cls", "sep", "mask")
    assert {key: getattr(theirs, f"{key}_token_id") for key in names} | {
        "[DOC]": theirs.convert_tokens_to_ids("[DOC]")
    } == ours.special_table()
    assert theirs.model_max_length == 512 and len(theirs) == ours.vocab_size


@given(st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=12)), max_size=10), st.sampled_from(["", " "]))
@settings(max_examples=60, deadline=None)
def test_ids_of_made_up_text_are_those_of_transformers(readers, pieces, glue):
    text = glue.join(pieces)
    for special in SPECIAL:
        text = text.replace(special, "it").replace(special, "")
    for name, (theirs, _, ours) in readers.items():
        assert ours.encode_lines([text])[0].tolist() == theirs(text, add_special_tokens=False).input_ids, name


@given(st.lists(st.one_of(st.sampled_from([*PIECES, *SPECIAL]), st.text(max_size=12)), max_size=8))
@settings(max_examples=60, deadline=None)
def test_white_space_and_what_the_cut_rule_says_end_words_for_certain(pieces):
    text = " ".join(pieces)
    for name, tokenizer in MADE.items():
        whole = tokenizer.encode_lines([text])[0].tolist()
        assert whole == [i for ids in tokenizer.encode_lines(text.split(" ")) for i in ids.tolist()], name
        ends = [i for i, char in enumerate(text) if char in ",.(<" and tokenizer.cut_rule.punctuation]
        ends += [i for i, char in enumerate(text) if char in "北京网" and tokenizer.cut_rule.ideographs]
        for end in ends:
            both = tokenizer.encode_lines([text[:end], text[end:]])
            assert whole == [i for ids in both for i in ids.tolist()], name


@given(
    st.lists(
        st.lists(st.one_of(st.sampled_from([*PIECES, *SPECIAL]), st.text(max_size=9)), max_size=6),
        min_size=1,
        max_size=5,
    ),
    st.sampled_from(["", " "]),
)
@settings(max_examples=50, deadline=None)
def test_the_word_cache_gives_the_same_ids(lines, glue):
    texts = [glue.join(pieces).replace("\n", " ") for pieces in lines]
    for name, tokenizer in MADE.items():
        expected = [ids.tolist() for ids in tokenizer.encode_lines(texts)]
        for _ in range(2):  # what is looked up is what was encoded
            found = CACHES[name].encode_lines(texts)
            assert found.line_lengths.tolist() == list(map(len, expected)), name
            assert found.ids_N.tolist() == [i for ids in expected for i in ids], name


CACHES = {name: WordCache(tokenizer) for name, tokenizer in MADE.items()}


@pytest.mark.parametrize("name", RULES)
def test_text_never_becomes_a_special_token(name):
    tokenizer = MADE[name]
    for text in (*SPECIAL, "a[MASK]b", "[PAD][DOC]", "x [SEP] y", "[CLS"):
        found = set(tokenizer.encode_lines([text])[0].tolist())
        assert not found & tokenizer.special_ids - {tokenizer.unk_id}, text


@pytest.mark.parametrize("name", [name for name in RULES if "placeholders" in name])
def test_placeholders_are_one_token_wherever_they_stand(name):
    tokenizer = MADE[name]
    url, site = tokenizer.parts.ids["<URL>"], tokenizer.parts.ids["[网址]"]
    for text, count in (("<URL>", 1), ("a<URL>b", 1), ("<URL><URL>", 2), ("<url>", 0), ("< URL>", 0)):
        assert tokenizer.encode_lines([text])[0].tolist().count(url) == count, text
    assert tokenizer.encode_lines(["去[网址]看"])[0].tolist().count(site) == 1
    assert tokenizer.decode(tokenizer.encode_lines(["the <URL> fox"])[0]) == "the <URL> fox"


@pytest.mark.parametrize("name", [name for name in RULES if "digits" in name])
def test_each_digit_is_a_token(name):
    tokenizer = made(RULES[name], text=TEXT + " 1945" * 9)
    tokens = [tokenizer.tokens[i] for i in tokenizer.encode_lines(["1945"])[0]]
    assert [token.lstrip("Ġ▁") for token in tokens if token not in ("Ġ", "▁")] == list("1945")
    joined = made(replace(RULES[name], split_digits=False), text=TEXT + " 1945" * 9)
    assert len(joined.encode_lines(["1945"])[0]) == 1


def test_pre_segmented_words_are_kept_whole():
    rules = WordRules(pre_segmented=True, split_cjk=False)
    tokenizer = made(rules, text="中华人民共和国 的 首都 是 北京 (R&B) " * 5)
    tokens = [tokenizer.tokens[i] for i in tokenizer.encode_lines(["北京 是 中华人民共和国 的 首都 (r&b)"])[0]]
    assert tokens == ["北京", "是", "中华人民共和国", "的", "首都", "(r&b)"]


@pytest.mark.parametrize("name", ["bpe", "bpe segmented", "bpe placeholders"])
@given(text=st.text(max_size=60))
@settings(max_examples=40, deadline=None)
def test_bpe_has_no_unknown_and_gives_the_normalised_text_back(name, text):
    tokenizer = MADE[name]
    ids = tokenizer.encode_lines([text])[0]
    assert tokenizer.unk_id not in ids
    normal = " ".join(tokenizer.raw.normalizer.normalize_str(text).split())
    if "placeholders" not in name:
        assert tokenizer.decode(ids) == normal


def test_decoding_gives_the_text_back(readers):
    text = "The quick brown fox can't jump over 12,345 naïve façades; it's 7.5% (or so) 北京是中华人民共和国的首都，"
    for name in ("bpe", "unigram", "bpe segmented", "unigram segmented"):
        theirs, _, ours = readers[name]
        assert ours.decode(ours.encode_lines([text])[0]) == text == theirs.decode(theirs(text).input_ids, True), name


def test_what_continues_a_word():
    for name, expected in {
        "wordpiece": lambda token: token.startswith("##"),
        "bpe placeholders": lambda token: not token.startswith(("Ġ", "[", "<URL>")) or token == "[UNK]" or token in "[",
        "unigram placeholders": lambda token: not token.startswith(("▁", "[", "<URL>")) or token in ("[", "[UNK]"),
    }.items():
        parts = MADE[name].parts
        slots = {"[unused0]", "[unused1]"}
        for token, continues in zip(parts.tokens, parts.continues_word(), strict=True):
            if token not in slots:
                assert continues == expected(token), (name, token)


@pytest.mark.slow
def test_an_endless_run_is_cut_by_bpe_and_unigram():
    for name in ("bpe placeholders", "unigram placeholders"):
        tokenizer = MADE[name]
        run = "fox" * (LONGEST_RUN // 2) + "<URL>" + "fox" * 9
        whole = tokenizer.encode_lines(["the " + run + " the"])[0].tolist()
        head = run[: run.index("<")]
        parts = ["the", head[:LONGEST_RUN], head[LONGEST_RUN:], "<URL>", "fox" * 9, "the"]
        assert whole == [i for ids in tokenizer.encode_lines(parts) for i in ids.tolist()]
        assert tokenizer.unk_id not in whole
    long = "fox " * LONGEST_RUN + "<URL>" + "a,b" * LONGEST_RUN
    tokenizer = MADE["wordpiece placeholders"]
    assert tokenizer.encode_lines([long])[0].tolist() == tokenizer.raw.encode(long, add_special_tokens=False).ids


@pytest.mark.slow
@pytest.mark.parametrize("model", ["bpe", "unigram"])
def test_processes_threads_and_hash_seeds_do_not_matter(model):
    script = (
        "import hashlib, random, sys\n"
        "from electra_cli.text.parts import WordRules\n"
        "from electra_cli.text.tokenizer import Tokenizer\n"
        "from electra_cli.text.training import assembled, train\n"
        "from electra_cli.text.vocabulary import Wanted\n"
        "dice = random.Random(7)\n"
        "rules = WordRules(model=sys.argv[1])\n"
        "mark = ' ' if rules.model == 'bpe' else '▁'\n"
        "words = {}\n"
        "for rank in range(6000):\n"
        "    word = mark + ''.join(dice.choices('abcdefghijklmnopqrstuvwxyzäéß字국', k=dice.randint(1, 9)))\n"
        "    words[word] = words.get(word, 0) + 1 + 900 // (rank + 1)\n"
        "items = sorted(words.items(), key=lambda item: hash(item[0]))\n"
        "files = Tokenizer(assembled(train(dict(items), Wanted(900), rules), rules)).files()\n"
        "print(hashlib.sha256(files['tokenizer.json']).hexdigest())\n"
    )
    found = set()
    for hash_seed, threads in (("0", "1"), ("1", "2"), ("99", "2")):
        env = {**os.environ, "PYTHONHASHSEED": hash_seed, "RAYON_NUM_THREADS": threads, "PYTHONPATH": str(REPOSITORY)}
        env["OMP_NUM_THREADS"] = threads
        done = subprocess.run([sys.executable, "-c", script, model], env=env, capture_output=True, check=True)
        found.add(done.stdout)
    assert len(found) == 1


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("[MASK]", "already"), ("[unused7]", "already"), ("[DOC]", "already"), ("x", "characters"),
        ("a" * 101, "characters"), ("<a b>", "white space"), ("<\x07>", "control"), ("##<x>", "##"), ("▁<x>", "▁"),
        ("Ġ<x>", "Ġ"), ("url", "plain word"), ("<\ud800>", "surrogate"),
    ],
)  # fmt: skip
def test_impossible_extra_tokens_have_a_reason(name, why):
    assert why in problem_of_extra(name, {"[DOC]"})
    assert problem_of_extra("<URL>", {"[DOC]"}) is None


def test_pre_segmented_words_are_not_split():
    with pytest.raises(ValueError, match="not split further"):
        WordRules(pre_segmented=True)


@pytest.mark.parametrize("model", ["wordpiece", "bpe", "unigram"])
def test_a_size_below_the_alphabet_is_refused_with_the_range(model):
    rules = WordRules(model=model)
    with pytest.raises(UsageError) as caught:
        train(words_of({"abc": 5, "def": 5}, rules), Wanted(9), rules)
    assert caught.value.code == "VOCAB_TOO_SMALL"
    assert "to 1000000" in (caught.value.hint or "")
    with pytest.raises(DataError):
        train({}, Wanted(900), rules)


@pytest.mark.parametrize("name", ["bpe placeholders", "unigram placeholders"])
@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("normalizer.strip_accents", None),
        ("pre_tokenizer.pretokenizers.2.pattern.Regex", "(a|aa)+$"),
        ("pre_tokenizer.pretokenizers.2.pattern.Regex", r"\p{N}+"),
        ("decoder", {"type": "BPEDecoder"}),
        ("post_processor", None),
        ("added_tokens.0.lstrip", True),
        ("added_tokens.0.id", 3),
        ("added_tokens.6.content", "plain"),
        ("model.type", "WordLevel"),
        ("model.vocab", {}),
        ("model.vocab", [["a", 1.0]]),
        ("model.vocab.7", ["[PAD]", -1.0]),
        ("model.vocab.7", ["zz", "1"]),
        ("model.merges", [["a", "zzz"]]),
        ("model.merges", ["a b"]),
        ("model.byte_fallback", True),
    ],
)
def test_anything_but_our_own_files_is_refused(name, path, value, tmp_path):
    saved(MADE[name], tmp_path)
    body = json.loads((tmp_path / "tokenizer.json").read_text("utf-8"))
    inner, *rest = body, *path.split(".")
    *folders, last = rest
    try:
        for folder in folders:
            inner = inner[int(folder)] if isinstance(inner, list) else inner[folder]
        inner[int(last) if isinstance(inner, list) else last] = value
    except KeyError:
        pytest.skip("the model has no such part")
    (tmp_path / "tokenizer.json").write_text(json.dumps(body), "utf-8")
    with pytest.raises(ArtifactError) as caught:
        Tokenizer.load(tmp_path)
    assert caught.value.code == "BAD_TOKENIZER"


def test_a_pad_that_is_not_the_first_entry_works(tmp_path):
    tokens = ("the", "fox", "[CLS]", "[MASK]", "[UNK]", "[SEP]", "[PAD]", "##es")
    tokenizer = Tokenizer.load(saved(Tokenizer(TokenizerParts(tokens=tokens)), tmp_path))
    assert tokenizer.special_table() == {"pad": 6, "unk": 4, "cls": 2, "sep": 5, "mask": 3}
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    assert theirs("the foxes").input_ids == [2, 0, 1, 7, 5]
    assert (theirs.pad_token_id, ReferenceTokenizer(tmp_path).encode("the foxes")) == (6, [2, 0, 1, 7, 5])


def test_files_of_today_s_settings_are_those_of_the_first_electra(tmp_path):
    """The sha256 was taken from the code before there was a choice of models."""
    words = words_of({chunk: 3 for chunk in TEXT.split(" ")}, WordRules())
    vocabulary = train(words, Wanted(400), WordRules())
    files = Tokenizer(assembled(vocabulary, WordRules())).files()
    assert hashlib.sha256(b"".join(files[name] for name in sorted(files))).hexdigest() == FIRST


FIRST = "552a23403cd592436e11eebd2825888b2d7d2fec86b9afec920e582c492d41a5"
