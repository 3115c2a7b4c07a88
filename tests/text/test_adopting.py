"""Adopted vocabularies give the ids that `transformers` gives from the same files; what cannot be adopted says why."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer
from transformers.models.bert.tokenization_bert import BertTokenizer

from electra_cli.errors import DataError
from electra_cli.text.adopting import Said, adopt, files_of
from electra_cli.text.tokenizer import Tokenizer

SHARED = Path(os.environ.get("ELECTRA_SHARED_DATA", Path(__file__).resolve().parents[3] / "shared/data"))
TOKENS = ["[PAD]", "[unused0]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "fox", "##es", ".", "[", "]", "mask", "字"]


def written(folder, tokens=TOKENS, name="vocab.txt", end="\n"):
    path = folder / name
    path.write_bytes((end.join(tokens) + end).encode("utf-8"))
    return path


def changed(body, path, value):
    *folders, name = path.split(".")
    inner = body
    for folder in folders:
        inner = inner[int(folder)] if isinstance(inner, list) else inner[folder]
    inner[name] = value


def public(folder, tokens=TOKENS, **flags):
    """The files of a tokenizer as `transformers` writes them."""
    folder.mkdir(exist_ok=True)
    BertTokenizer(vocab={token: i for i, token in enumerate(tokens)}, **flags).save_pretrained(folder)
    return folder


def ids_of(parts, text):
    return Tokenizer(parts).encode_lines([text])[0].tolist()


def test_a_vocabulary_file_keeps_its_ids(tmp_path):
    path = written(tmp_path)
    found = adopt(path, Said())
    assert found.parts.tokens == tuple(TOKENS)
    assert ids_of(found.parts, "The foxes. 字[MASK]") == [6, 7, 8, 9, 13, 10, 12, 11]
    assert (found.parts.rules.lowercase, found.parts.rules.strip_accents, found.parts.rules.split_cjk) == (True,) * 3
    (note,) = found.notes
    assert "no upper-case pieces" in note


def test_a_vocabulary_with_upper_case_pieces_is_taken_for_a_cased_one(tmp_path):
    path = written(tmp_path, [*TOKENS, "Haus", "##Ö"])
    found = adopt(path, Said())
    assert not found.parts.rules.lowercase and not found.parts.rules.strip_accents
    assert "lowercase = false" in found.notes[0]
    said = adopt(path, Said(lowercase=True, strip_accents=False, split_cjk=False, model_max_length=128))
    assert said.parts.rules.lowercase and not said.parts.rules.strip_accents and not said.parts.rules.split_cjk
    assert said.parts.model_max_length == 128 and not said.notes


def test_the_special_tokens_may_stand_anywhere(tmp_path):
    tokens = ["the", "[MASK]", "fox", "[SEP]", "[PAD]", "[UNK]", "[CLS]"]
    tokenizer = Tokenizer(adopt(written(tmp_path, tokens), Said()).parts)
    assert tokenizer.special_table() == {"pad": 4, "unk": 5, "cls": 6, "sep": 3, "mask": 1}
    assert tokenizer.encode_pairs(["the x"], max_length=9)[0][0].tolist() == [6, 0, 5, 3]


def test_windows_line_ends_are_no_part_of_tokens(tmp_path):
    found = adopt(written(tmp_path, end="\r\n"), Said())
    assert found.parts.tokens == tuple(TOKENS)
    assert "Windows line ends" in found.notes[0]


@pytest.mark.parametrize(
    ("data", "place", "why"),
    [
        ([*TOKENS, "fox"], ":15", "stands on line 8 too"),
        ([*TOKENS, "a b"], ":15", "white space"),
        ([*TOKENS, "a\tb"], ":15", "white space"),
        ([*TOKENS, "a\rb"], ":15", "white space"),
        ([*TOKENS[:8], "", *TOKENS[8:]], ":9", "is empty"),
        ([*TOKENS, ""], ":15", "is empty"),
        ([token for token in TOKENS if token not in ("[SEP]", "[MASK]")], "", r"lacks \[SEP\] \[MASK\]"),
        (["[PAD]"], "", "1 entries; 6 to 1000000"),
        (b"", ":1", "is empty"),
        (b"\xef\xbb\xbf[PAD]\n", ":1", "byte order mark"),
        ("\n".join(TOKENS).encode("utf-16"), ":1", "byte order mark"),
        (b"[PAD]\n[UNK]\nf\xe9e\n", ":3", "not UTF-8"),
        (b"x\n" * 1_000_001, "", "1000001 tokens; 6 to 1000000"),
    ],
)  # fmt: skip
def test_a_broken_vocabulary_file_is_refused_with_its_line(data, place, why, tmp_path):
    path = written(tmp_path, data) if isinstance(data, list) else tmp_path / "vocab.txt"
    if isinstance(data, bytes):
        path.write_bytes(data)
    with pytest.raises(DataError, match=why) as caught:
        adopt(path, Said())
    assert caught.value.code == "BAD_VOCABULARY"
    assert caught.value.where == f"{path}{place}"


def test_a_line_separator_may_be_a_token_as_in_bert_s_chinese_vocabulary(tmp_path):
    tokens = [*TOKENS, "\u2028", "##\u2028"]
    assert adopt(written(tmp_path, tokens), Said()).parts.tokens == tuple(tokens)


@pytest.mark.parametrize(
    "flags", [{}, {"do_lower_case": False}, {"strip_accents": False}, {"tokenize_chinese_chars": False}]
)
def test_a_folder_of_transformers_gives_its_ids(flags, tmp_path):
    tokens = [*TOKENS, "The", "é", "e", "É", "字a", "a"]
    folder = public(tmp_path / "public", tokens, **flags)
    theirs = AutoTokenizer.from_pretrained(folder)
    found = adopt(folder, Said())
    assert not found.notes
    for text in ("The foxes. É é 字a", "the [unused0]", ""):
        assert ids_of(found.parts, text) == theirs(text, add_special_tokens=False).input_ids
    alone = adopt(folder / "tokenizer.json", Said())
    assert alone.parts == found.parts


def test_the_configuration_is_heeded_beside_a_vocabulary_file(tmp_path):
    written(tmp_path, [*TOKENS, "The"])
    config = {"do_lower_case": True, "tokenizer_class": "ElectraTokenizer", "model_max_length": 256}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    found = adopt(tmp_path, Said())
    assert found.parts.rules.lowercase and found.parts.rules.strip_accents
    assert found.parts.model_max_length == 256 and not found.notes


def test_the_configuration_goes_before_tokenizer_json_as_in_transformers(tmp_path):
    folder = public(tmp_path / "public", [*TOKENS, "The"])
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(config | {"do_lower_case": False}))
    theirs = AutoTokenizer.from_pretrained(folder)
    found = adopt(folder, Said())
    assert "former holds" in found.notes[0]
    assert ids_of(found.parts, "The the") == theirs("The the", add_special_tokens=False).input_ids == [14, 6]


def test_added_tokens_become_placeholders_and_special_tokens(tmp_path):
    from tokenizers import AddedToken

    folder = public(tmp_path / "public")
    theirs = AutoTokenizer.from_pretrained(folder)
    theirs.add_tokens([AddedToken("<URL>", normalized=False)])
    theirs.add_special_tokens({"additional_special_tokens": ["[DOC]"]})
    theirs.save_pretrained(folder)
    theirs = AutoTokenizer.from_pretrained(folder)
    found = adopt(folder, Said())
    assert found.parts.rules.placeholders == ("<URL>",) and found.parts.special_tokens == ("[DOC]",)
    text = "The<URL>fox <URL>"
    assert ids_of(found.parts, text) == theirs(text, add_special_tokens=False).input_ids
    assert 15 not in ids_of(found.parts, "[DOC]")


def test_a_truncation_is_left_out_and_said(tmp_path):
    folder = public(tmp_path / "public")
    body = json.loads((folder / "tokenizer.json").read_text())
    body["truncation"] = {"direction": "Right", "max_length": 9, "strategy": "LongestFirst", "stride": 0}
    (folder / "tokenizer.json").write_text(json.dumps(body))
    assert "truncation" in adopt(folder, Said()).notes[0]


@pytest.mark.parametrize(
    ("path", "value", "why"),
    [
        ("pre_tokenizer", {"type": "Split", "pattern": {"Regex": "(a+)+$"}}, "pre_tokenizer is Split with a pattern"),
        ("pre_tokenizer", {"type": "Sequence", "pretokenizers": [{"type": "Split"}, {"type": "X"}]}, "Split, X"),
        ("pre_tokenizer", None, "pre_tokenizer is none"),
        ("normalizer", {"type": "Replace", "pattern": {"Regex": "(a|a)*b"}, "content": ""}, "Replace"),
        ("normalizer", None, "no normalizer"),
        ("normalizer.clean_text", False, "clean_text"),
        ("model.type", "BPE", "strip_accents is not"),
        ("model.type", "Unigram", "strip_accents is not"),
        ("model.type", "WordLevel", "model is WordLevel"),
        ("model.unk_token", "<unk>", "unk_token"),
        ("model.continuing_subword_prefix", "@@", "continuing_subword_prefix"),
        ("model.max_input_chars_per_word", 200, "max_input_chars_per_word"),
        ("model.vocab.fox", 99, "are not 0 to"),
        ("model.vocab.a b", 14, "white space"),
        ("decoder", {"type": "ByteFallback"}, "decoder"),
        ("post_processor", {"type": "RobertaProcessing"}, "post_processor is RobertaProcessing"),
        ("added_tokens", "x", "added_tokens"),
        ("added_tokens.0.id", 7, "not that entry"),
    ],
)  # fmt: skip
def test_foreign_components_are_named_and_not_run(path, value, why, tmp_path):
    folder = public(tmp_path / "public")
    body = json.loads((folder / "tokenizer.json").read_text())
    changed(body, path, value)
    (folder / "tokenizer.json").write_text(json.dumps(body))
    with pytest.raises(DataError, match=why) as caught:
        adopt(folder, Said())
    assert caught.value.code == "FOREIGN_TOKENIZER"
    assert caught.value.where == str(folder / "tokenizer.json")


@pytest.mark.parametrize("flag", ["single_word", "lstrip", "rstrip", "normalized"])
def test_added_tokens_that_are_matched_otherwise_are_refused(flag, tmp_path):
    folder = public(tmp_path / "public", [*TOKENS, "<URL>"])
    body = json.loads((folder / "tokenizer.json").read_text())
    plain = {
        "id": 14,
        "content": "<URL>",
        **dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized", "special"), False),
    }
    body["added_tokens"].append(plain | {flag: True})
    (folder / "tokenizer.json").write_text(json.dumps(body))
    with pytest.raises(DataError, match=flag):
        adopt(folder, Said())


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({"tokenizer_class": "BertJapaneseTokenizer"}, "BertJapanese"),
        ({"auto_map": {"AutoTokenizer": ["x.Y", None]}}, "code of its own"),
        ({"do_basic_tokenize": False}, "do_basic_tokenize"),
        ({"never_split": ["x"]}, "never_split"),
        ({"cls_token": "<s>"}, "cls_token"),
        ({"pad_token": {"content": "<pad>"}}, "pad_token"),
        ([], "not a JSON object"),
    ],
)
def test_configurations_that_mean_other_ids_are_refused(config, why, tmp_path):
    written(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    with pytest.raises(DataError, match=why) as caught:
        adopt(tmp_path, Said())
    assert caught.value.code == "FOREIGN_TOKENIZER"


def test_added_tokens_of_which_nothing_is_known_are_refused(tmp_path):
    written(tmp_path)
    (tmp_path / "added_tokens.json").write_text(json.dumps({"<URL>": 14}))
    with pytest.raises(DataError, match="<URL>"):
        adopt(tmp_path, Said())


def test_a_file_of_a_gigabyte_is_not_read(tmp_path):
    with open(tmp_path / "tokenizer.json", "wb") as file:
        file.truncate(2**30)
    with pytest.raises(DataError, match="larger than 128 MiB"):
        adopt(tmp_path / "tokenizer.json", Said())


@pytest.mark.parametrize(("name", "code"), [("nothing", "MISSING_INPUT"), ("empty", "BAD_VOCABULARY")])
def test_where_there_is_no_tokenizer(name, code, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError) as caught:
        files_of(tmp_path / name)
    assert caught.value.code == code


@pytest.mark.parametrize("model", ["bpe", "unigram"])
def test_our_own_files_of_other_models_can_be_adopted(model, tmp_path):
    from electra_cli.text.parts import WordRules
    from electra_cli.text.training import assembled, train
    from electra_cli.text.vocabulary import Wanted

    rules = WordRules(model=model)
    mark = " " if model == "bpe" else "▁"
    parts = assembled(train({mark + "the": 5, mark + "fox": 9}, Wanted(300), rules), rules)
    for name, data in Tokenizer(parts).files().items():
        (tmp_path / name).write_bytes(data)
    assert adopt(tmp_path, Said()).parts == parts
    with pytest.raises(DataError, match="cannot be changed"):
        adopt(tmp_path, Said(lowercase=False))


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared/data")
@pytest.mark.parametrize(
    ("name", "cased"), [("bert_uncased_30522", False), ("bert_chinese_21128", False), ("koelectra_v3_35000", True)]
)
class TestPublicVocabularies:
    @pytest.fixture
    def both(self, name, cased, tmp_path):
        path = SHARED / "vocab" / name / "vocab.txt"
        found = adopt(path, Said())
        assert found.parts.rules.lowercase is not cased
        theirs = BertTokenizer(vocab=str(path), do_lower_case=not cased)
        assert len(theirs) == len(found.parts.tokens)
        return Tokenizer(found.parts), theirs

    @pytest.mark.slow
    def test_ids_are_those_of_transformers_in_all_languages(self, both):
        """A sample of each file; benchmarks/adopted_vocab.py takes all."""
        ours, theirs = both
        for name in (
            *("squad/dev-v1.1.json.xz", "germeval2018/germeval2018.test.txt", "xquad/xquad.de.json"),
            *(
                "xquad/xquad.zh.json",
                "chnsenticorp/test.tsv",
                "thucnews_titles/dev.txt",
                "weibo_ner/weiboNER_2nd_conll.dev",
            ),
        ):
            lines = sample(SHARED / name)
            found = ours.encode_lines(lines)
            expected = theirs(lines, add_special_tokens=False).input_ids
            assert [ids.tolist() for ids in found] == expected, name

    def test_ids_of_made_up_text_are_those_of_transformers(self, both):
        ours, theirs = both

        @given(st.text(max_size=80))
        @settings(max_examples=60, deadline=None)
        def check(text):
            assert ours.encode_lines([text])[0].tolist() == theirs(text, add_special_tokens=False).input_ids

        check()


def sample(path, size=60_000):
    import lzma

    with (lzma.open if path.suffix == ".xz" else open)(path, "rb") as file:
        text = file.read(size).decode("utf-8", errors="ignore")
    for special in TOKENS[:6]:
        text = text.replace(special, "")
    return [text[start : start + 400] for start in range(0, len(text), 400)]
