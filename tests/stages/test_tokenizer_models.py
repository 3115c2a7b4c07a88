"""Tokenizers of other models and with options of their own, through shards to masks and back to text."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from electra_cli.artifacts import open_artifact
from electra_cli.data.shards import ShardSet
from electra_cli.reporting import Silent
from electra_cli.runtime.machine import choose_machine
from electra_cli.stages import adopt, shard, tokenize
from electra_cli.stages.masking_rule import masking_rule
from electra_cli.stages.pretrain_settings import ObjectiveSettings
from electra_cli.text.tokenizer import Tokenizer

TEXT = "The 3 quick (brown) foxes didn't jump over <URL> 1945 times, [MASK] 北京是中国的首都。 Größe [DOC] ok"


@pytest.mark.parametrize(
    "options",
    [
        {"model": "bpe", "split_cjk": False},
        {"model": "unigram", "split_digits": True},
        {"model": "wordpiece", "split_digits": True, "coverage": 1.0},
        {"model": "wordpiece", "pre_segmented": True, "coverage": 1.0},
    ],
    ids=lambda options: "-".join(map(str, options.values())),
)
def test_shards_and_masks_know_the_tokenizer(options: dict[str, object], tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("\n\n".join([TEXT] * 30))
    settings = tokenize.TokenizeSettings(
        vocab_size=500, lowercase=False, special_tokens=("[DOC]",), placeholders=("<URL>",), **options
    )
    made = tokenize.run([tmp_path / "a.txt"], tmp_path / "t", settings=settings, report=Silent()).artifact
    rows = shard.ShardSettings(length=64, workers=1, word_starts=True, val_fraction=0.0)
    shards = shard.run([tmp_path / "a.txt"], made.path, tmp_path / "s", settings=rows, report=Silent()).artifact
    tokenizer = Tokenizer.load(shards.path / "tokenizer")
    assert tokenizer.parts == Tokenizer.load(made.path).parts
    rows_of = ShardSet(shards, "train")
    batch = rows_of.gather(np.arange(rows_of.rows))
    found = np.bincount(batch.ids_BL.reshape(-1), minlength=tokenizer.vocab_size)
    doc, url = tokenizer.parts.ids["[DOC]"], tokenizer.parts.ids["<URL>"]
    assert shards.spec["special_ids"]["[DOC]"] == doc
    objective = ObjectiveSettings(whole_words=True, shown_as_mask=0.8, shown_as_random=0.1)
    machine = choose_machine("cpu", "fp32")
    rule = masking_rule(objective, shards, vocab_size=tokenizer.vocab_size, machine=machine)
    assert doc in rule.special_ids and url not in rule.special_ids
    assert rule.words_W is not None and doc not in rule.words_W and url in rule.words_W
    assert rule.continues_V is not None and not rule.continues_V[[doc, url]].any()
    assert (found[url], found[doc], found[tokenizer.mask_id]) == (30, 0, 0)
    if options["model"] == "bpe":
        everything = " ".join(tokenizer.decode(row) for row in batch.ids_BL)
        assert sorted(everything.replace(" ", "")) == sorted((TEXT * 30).replace(" ", ""))


def test_shards_of_an_adopted_vocabulary_are_padded_with_its_pad(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text("\n".join([*"abcdefgh", "[CLS]", "[SEP]", "[MASK]", "[UNK]", "[PAD]"]) + "\n")
    (tmp_path / "a.txt").write_text("a b c d e f g h\n\n" * 20)
    made = adopt.run(tmp_path / "vocab.txt", tmp_path / "t", settings=adopt.AdoptSettings(), report=Silent()).artifact
    rows = shard.ShardSettings(length=16, workers=1, val_fraction=0.0)
    shards = shard.run([tmp_path / "a.txt"], made.path, tmp_path / "s", settings=rows, report=Silent()).artifact
    assert open_artifact(shards.path).spec["special_ids"]["pad"] == 12
    batch = ShardSet(shards, "train").gather(np.arange(1))
    assert set(batch.ids_BL[0, int(batch.lengths_B[0]) :].tolist()) <= {12}
