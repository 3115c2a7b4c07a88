"""Pretraining under every rule of masking: exact resume, what the metrics say of it, what is refused."""

from __future__ import annotations

import random
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from electra_cli.artifacts import Artifact, open_artifact
from electra_cli.data.shards import ShardSet
from electra_cli.errors import UsageError
from electra_cli.reporting import Silent
from electra_cli.runtime.machine import choose_machine
from electra_cli.stages import evaluate_pretraining, pretrain, shard, tokenize
from electra_cli.stages.evaluate_pretraining import EvaluatePretrainingSettings
from electra_cli.stages.masking_rule import masking_rule
from electra_cli.stages.rows import MaskedRows
from electra_cli.text.tokenizer import Tokenizer
from electra_cli.training.history import read_history
from tests.stages.pretraining import small_settings
from tests.stages.test_pretrain import At, PowerCut, cut, same

LEXICON = ["我", "们", "我们", "看见", "天安门", "升旗", "在", "北京", "大学", "图书馆", "，", "的", "书", "electra"]
RULES: dict[str, dict[str, object]] = {
    "as released": {"objective.mask_draw": "with-replacement", "objective.disallow_correct": True},
    "as BERT": {"objective.whole_words": True, "objective.shown_as_mask": 0.8, "objective.shown_as_random": 0.1},
}


def write_chinese(path: Path, *, segmented: bool = True, documents: int = 80) -> Path:
    """Documents of a few lines of words of `LEXICON`, with spaces between all of them or as people write."""
    dice = random.Random(3)
    blocks = []
    for _ in range(documents):
        blocks.append("\n".join(" ".join([*dice.choices(LEXICON, k=dice.randint(4, 16)), "。"]) for _ in range(4)))
    text = "\n\n".join(blocks) + "\n"
    path.write_text(text if segmented else re.sub(" (?![a-z])|(?<![a-z]) ", "", text), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards of segmented Chinese in `shards`, with the words that the segmenter gave."""
    folder = tmp_path_factory.mktemp("masking")
    text = write_chinese(folder / "segmented.txt")
    settings = tokenize.TokenizeSettings(vocab_size=60, min_frequency=1, coverage=1.0)
    tokenize.run([text], folder / "tokenizer", settings=settings, report=Silent())
    rows = shard.ShardSettings(length=32, val_fraction=0.2, workers=1, word_starts=True)
    shard.run([text], folder / "tokenizer", folder / "shards", settings=rows, report=Silent())
    return folder


@pytest.fixture(scope="module", params=RULES)
def rule(request: pytest.FixtureRequest) -> dict[str, object]:
    return RULES[str(request.param)]


@pytest.fixture(scope="module")
def undisturbed(rule: dict[str, object], folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    return pretrain.run(folder / "shards", out, settings=small_settings(**rule)).artifact


def test_cut_short_and_continued_is_the_undisturbed_run(
    rule: dict[str, object], undisturbed: Artifact, folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(PowerCut):
        pretrain.run(folder / "shards", tmp_path / "out", settings=small_settings(**rule), report=At(6, cut))
    outcome = pretrain.run(folder / "shards", tmp_path / "out", settings=small_settings(**rule))
    assert outcome.status == "resumed"
    same(outcome.artifact, undisturbed)


def test_measuring_again_follows_the_rule_of_the_run(undisturbed: Artifact, folder: Path) -> None:
    settings = EvaluatePretrainingSettings(rows=16, batch_size=4)
    found = evaluate_pretraining.run(undisturbed.path, [folder / "shards"], settings=settings)
    assert found == undisturbed.spec["held_out"]


def test_fresh_text_is_segmented_like_the_shards(undisturbed: Artifact, folder: Path, tmp_path: Path) -> None:
    text = write_chinese(tmp_path / "fresh.txt", documents=9)
    rows = shard.ShardSettings(length=32, val_fraction=0.0, workers=1, word_starts=True)
    shards = shard.run([text], folder / "tokenizer", tmp_path / "s", settings=rows, report=Silent()).artifact
    settings = EvaluatePretrainingSettings(rows=100, batch_size=8)
    of_text = evaluate_pretraining.run(undisturbed.path, [text], settings=settings)
    assert of_text == evaluate_pretraining.run(undisturbed.path, [shards.path], settings=settings)


def test_disallowed_originals_make_every_drawn_position_a_replaced_one(folder: Path, tmp_path: Path) -> None:
    settings = small_settings(**{"objective.disallow_correct": True})
    artifact = pretrain.run(folder / "shards", tmp_path / "out", settings=settings).artifact
    records = read_history(artifact.file("metrics.jsonl"))
    trained = [record for record in records if record["kind"] == "train"]
    assert all(record["replaced_fraction"] == pytest.approx(record["masked_fraction"]) for record in trained)
    measured = [record for record in records if record["kind"] == "held-out"]
    assert all(record["generator_sampled_accuracy"] == 0 for record in measured)


def test_the_words_that_are_hidden_are_the_segmenters(folder: Path) -> None:
    artifact, machine = open_artifact(folder / "shards"), choose_machine("cpu", "fp32")
    objective = small_settings(**{"objective.whole_words": True, "objective.shown_as_mask": 1.0}).objective
    rule = masking_rule(objective, artifact, vocab_size=artifact.spec["vocab_size"], machine=machine)
    batch, _ = MaskedRows(ShardSet(artifact, "train"), rule=rule, seed=5, machine=machine).batch(0, 60)
    tokens = Tokenizer.load(artifact.path / "tokenizer").tokens
    hidden = set()
    for ids, shown in zip(batch.ids_BL.tolist(), batch.masked_BL.tolist(), strict=True):
        marks = "".join(
            "|" if tokens[seen].startswith("[S") or seen != rule.mask_id else tokens[real].removeprefix("##")
            for real, seen in zip(ids, shown, strict=True)
        )
        hidden |= set(filter(None, marks.split("|")))
    whole = {word for word in hidden if word in LEXICON}
    assert {"天安门", "图书馆", "看见", "升旗", "北京", "大学"} <= whole
    # Never a part of a word, but where a row begins or ends within it.
    parts = {"天", "安", "门", "天安", "安门", "图", "图书", "馆", "升", "旗", "北", "京"}
    begun = sum(any(part == run for run in hidden) for part in parts)
    assert begun <= 4, sorted(hidden)


def test_random_words_come_from_the_vocabulary_without_its_special_ids(folder: Path) -> None:
    artifact, machine = open_artifact(folder / "shards"), choose_machine("cpu", "fp32")
    objective = small_settings(**{"objective.shown_as_mask": 0.8, "objective.shown_as_random": 0.1}).objective
    rule = masking_rule(objective, artifact, vocab_size=artifact.spec["vocab_size"], machine=machine)
    assert rule.words_W is not None
    everything = set(range(artifact.spec["vocab_size"])) - set(artifact.spec["special_ids"].values())
    assert set(rule.words_W.tolist()) == everything


def test_the_prefixes_of_the_vocabulary_say_what_a_word_is_where_the_shards_do_not(folder: Path) -> None:
    artifact, machine = open_artifact(folder / "shards"), choose_machine("cpu", "fp32")
    objective = small_settings(**{"objective.whole_words": True}).objective
    rule = masking_rule(objective, artifact, vocab_size=artifact.spec["vocab_size"], machine=machine)
    tokens = (artifact.path / "tokenizer" / "vocab.txt").read_text(encoding="utf-8").split("\n")[:-1]
    expected = torch.tensor([token.startswith("##") for token in tokens])
    assert rule.continues_V is not None and torch.equal(rule.continues_V, expected) and expected.any()


def test_segmented_text_has_the_rows_of_the_text_and_says_so(folder: Path, tmp_path: Path) -> None:
    """The tokens of the spaced text are those of the text as it was; only the words are new."""
    streams = []
    for name, segmented in (("segmented", True), ("plain", False)):
        text = write_chinese(tmp_path / f"{name}.txt", segmented=segmented)
        rows = shard.ShardSettings(length=32, val_fraction=0.0, workers=1, min_row_tokens=1, word_starts=segmented)
        artifact = shard.run([text], folder / "tokenizer", tmp_path / name, settings=rows, report=Silent()).artifact
        found = ShardSet(artifact, "train")
        batch = found.gather(np.arange(found.rows))
        streams.append(
            [i for row in batch.ids_BL.tolist() for i in row if i not in artifact.spec["special_ids"].values()]
        )
        assert ("word_starts" in artifact.spec) == ("words" in artifact.spec) == found.word_starts == segmented
        if found.word_starts:
            words = len((tmp_path / "segmented.txt").read_text(encoding="utf-8").split())
            assert words <= artifact.spec["words"] <= words + found.rows * 2, "a word cut by a row's end counts twice"
    assert sorted(streams[0]) == sorted(streams[1])


class Listener(Silent):
    def __init__(self) -> None:
        self.said: list[str] = []

    def warn(self, message: str) -> None:
        self.said.append(message)


def test_text_that_no_segmenter_has_seen_is_warned_about(folder: Path, tmp_path: Path) -> None:
    text = write_chinese(tmp_path / "plain.txt", segmented=False)
    rows = shard.ShardSettings(length=32, workers=1, word_starts=True)
    listener = Listener()
    shard.run([text], folder / "tokenizer", tmp_path / "s", settings=rows, report=listener)
    assert any("segmenter" in message for message in listener.said)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"objective.shown_as_random": 0.2}, "sum to 1.05"),
        ({"objective.whole_words": True, "objective.mask_draw": "with-replacement"}, "words are not drawn twice"),
        ({"objective.mask_draw": "twice"}, "mask_draw"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(flags: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        small_settings(**flags)
    small_settings(**{"objective.shown_as_mask": 0.7, "objective.shown_as_random": 0.3})
