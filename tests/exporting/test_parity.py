"""The comparison: what counts as agreement, and what is said when the folder cannot be read."""

from __future__ import annotations

import json
import math

import pytest
import torch

from electra_cli.errors import ArtifactError
from electra_cli.exporting.parity import Agreement, compare, question, sample_texts

ASKED = question([["a"], ["a", "b"]], [([2, 7, 3], 3), ([2, 7, 3, 8, 9, 3], 3)], positions=5)


def test_a_batch_is_cut_padded_and_split_into_segments():
    assert ASKED.ids_BL.tolist() == [[2, 7, 3, 0, 0], [2, 7, 3, 8, 9]]
    assert ASKED.types_BL.tolist() == [[0, 0, 0, 0, 0], [0, 0, 0, 1, 1]]
    assert ASKED.mask_BL.tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]
    assert [len(ids) for ids in ASKED.ids] == [3, 6]  # uncut for the comparison of ids


@pytest.mark.parametrize(
    ("other_ids", "difference", "holds"),
    [
        (0, 0.0, True),
        (0, 9.9e-6, True),
        (0, 1.1e-5, False),
        (1, 0.0, False),
        (0, math.nan, False),
        (0, math.inf, False),
    ],
)
def test_agreement(other_ids, difference, holds):
    row = Agreement("someone", 2, other_ids, 8, difference, 1.0)
    assert row.holds is holds
    json.dumps(row.to_dict(), allow_nan=False)


def test_the_samples_hold_what_they_promise():
    texts = sample_texts()
    text = "".join(part for pair in texts for part in pair)
    assert len(texts) >= 12
    assert any(len(pair) == 2 for pair in texts)
    for sign in "ß서今３🙂İ\u0301":
        assert sign in text
    assert max(len(word) for word in text.split()) > 100  # longer than any word that WordPiece takes


@pytest.mark.slow
@pytest.mark.parametrize("broken", ["empty", "not json", "another model"])
def test_a_folder_that_cannot_be_read(tmp_path, broken):
    if broken == "not json":
        (tmp_path / "config.json").write_text("{", encoding="utf-8")
    if broken == "another model":
        (tmp_path / "config.json").write_text('{"model_type": "bert", "architectures": ["BertModel"]}')
        (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n")
        names = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
        switches = {"do_lower_case": True, "strip_accents": True, "tokenize_chinese_chars": True}
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(names | switches))
    with pytest.raises(ArtifactError) as caught:
        compare(tmp_path, ASKED, torch.zeros(8))
    assert caught.value.code == "EXPORT_UNREADABLE"
    expected = {"empty": "config.json", "not json": "JSONDecodeError", "another model": "bert/BertModel"}
    assert expected[broken] in caught.value.message
