import json
import random

import pytest

from electra_cli.errors import DataError, UsageError
from electra_cli.reporting import Silent
from electra_cli.stages import corpus_words
from electra_cli.stages.corpus_words import CorporaSettings
from electra_cli.stages.tokenize import TokenizeSettings, run
from electra_cli.text.tokenizer import Tokenizer


def some_text(seed, letters, documents=30):
    dice = random.Random(seed)
    words = ["".join(dice.choices(letters, k=dice.randint(2, 7))) for _ in range(300)]
    return "\n\n".join(" ".join(dice.choices(words, k=50)) for _ in range(documents)) + "\n"


@pytest.fixture
def languages(tmp_path):
    """Two corpora with different letters, the second a tenth of the first."""
    for name, letters, documents in (("en", "abcdefgh", 100), ("ka", "აბგდევზთ", 10)):
        (tmp_path / name).mkdir()
        for number in range(3):
            (tmp_path / name / f"{number}.txt").write_text(some_text(number, letters, documents), "utf-8")
    return tmp_path


def build(texts, out, *, vocab_size=500, **settings):
    return run(texts, out, settings=TokenizeSettings(vocab_size=vocab_size, **settings), report=Silent()).artifact


def georgian(artifact):
    return sum("ა" <= token.removeprefix("##")[0] <= "ჰ" for token in Tokenizer.load(artifact.path).tokens)


def test_weights_give_a_small_language_its_share_of_the_vocabulary(languages):
    texts = [languages / "en", languages / "ka"]
    plain = build(texts, languages / "plain")
    equal = build(texts, languages / "equal", corpora=CorporaSettings(weights=(1, 1)))
    assert georgian(plain) < 100 < 200 < georgian(equal)
    parts = equal.manifest.provenance["corpora"]
    assert [(part["name"], part["files"], part["weight"]) for part in parts] == [("en", 3, 0.5), ("ka", 3, 0.5)]
    characters = [part["characters"] for part in parts]
    assert [part["factor"] for part in parts] == pytest.approx([sum(characters) / n / 2 for n in characters])
    assert sum(characters) == equal.manifest.provenance["corpus"]["characters"]
    assert [part["documents"] for part in parts] == [300, 30]


def test_temperature_one_is_the_plain_text(languages):
    texts = [languages / "en", languages / "ka"]
    plain = build(texts, languages / "plain")
    assert build(texts, languages / "a", corpora=CorporaSettings(temperature=1.0)).content_id == plain.content_id
    warm = build(texts, languages / "b", corpora=CorporaSettings(temperature=5.0))
    assert georgian(warm) > georgian(plain)
    again = build(texts[::-1], languages / "b", corpora=CorporaSettings(temperature=5.0))
    assert again.path == warm.path


def test_the_order_of_corpora_matters_with_weights_only(languages):
    texts = [languages / "en", languages / "ka"]
    first = build(texts, languages / "out", corpora=CorporaSettings(weights=(0.9, 0.1)))
    assert build(texts[::-1], languages / "out", corpora=CorporaSettings(weights=(0.9, 0.1))).path != first.path
    other = build(texts[::-1], languages / "other", corpora=CorporaSettings(weights=(0.1, 0.9)))
    assert other.content_id == first.content_id


@pytest.mark.slow
@pytest.mark.parametrize("grouped", [False, True])
def test_workers_and_memory_do_not_matter(grouped, languages, monkeypatch):
    monkeypatch.setattr(corpus_words, "PIECE_BYTES", 5000)
    monkeypatch.setattr("electra_cli.data.pieces.SMALLEST_UNIT", 5000)
    monkeypatch.setattr("electra_cli.data.pieces.LARGEST_UNIT", 5000)
    texts = [languages / "en", languages / "ka"]
    corpora = CorporaSettings(temperature=3.0) if grouped else CorporaSettings()
    found = [build(texts, languages / str(workers), corpora=corpora, workers=workers).content_id for workers in (1, 2)]
    assert found[0] == found[1]


def test_more_words_than_memory_lose_the_rarest_whatever_the_order(languages):
    (languages / "rare.txt").write_text(" ".join(f"rare{number}" for number in range(2000)) + "\n")
    texts = [languages / "en", languages / "rare.txt"]
    found = [
        build(order, languages / str(number), max_distinct_words=1000)
        for number, order in enumerate((texts, texts[::-1]))
    ]
    assert found[0].content_id == found[1].content_id
    left_out = found[0].manifest.provenance["rare_words_left_out"]
    assert left_out["distinct"] == 2000 == left_out["occurrences"] and left_out["less_than"] > 1
    assert found[0].content_id == build(texts[:1], languages / "without").content_id
    assert not list(found[0].path.rglob("*.words"))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"weights": (1.0,), "temperature": 2.0}, "exclude"),
        ({"weights": (1.0, 0.0)}, "more than 0"),
        ({"names": ("a",)}, "several corpora"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        CorporaSettings(**settings)


def test_corpora_that_do_not_fit_are_refused(languages):
    texts = [languages / "en", languages / "ka"]
    for wrong, corpora in (
        (texts, CorporaSettings(weights=(1, 2, 3))),
        (texts, CorporaSettings(temperature=2.0, names=("one",))),
        ([*texts, languages / "ka" / "0.txt"], CorporaSettings(temperature=2.0)),
        (["-", texts[0]], CorporaSettings(temperature=2.0)),
    ):
        with pytest.raises(UsageError):
            build(wrong, languages / "out", corpora=corpora)
    (languages / "empty.txt").write_text("\n")
    with pytest.raises(DataError) as caught:
        build([*texts, languages / "empty.txt"], languages / "out", corpora=CorporaSettings(temperature=2.0))
    assert caught.value.code == "NO_DOCUMENTS" and "empty" in caught.value.where


def test_the_command_takes_weights_and_temperature(languages, electra):
    arguments = ("tokenize", languages / "en", languages / "ka", "--vocab-size", 400, "--json")
    done = electra(*arguments, "--weights", "0.5,0.5", "--workers", 1, "-o", languages / "out")
    assert done.returncode == 0, done.stderr
    done = electra(*arguments, "--temperature", 1e6, "-o", languages / "out")
    assert done.returncode == 2 and "temperature" in json.loads(done.stdout)["error"]["message"]
    done = electra(*arguments, "--weights", "0.5,b", "-o", languages / "out")
    assert json.loads(done.stdout)["error"] == {
        "code": "BAD_SETTINGS",
        "message": "'0.5,b' is not a list of numbers",
        "where": "--weights",
        "hint": "for example 0.5,0.3,0.2",
        "exit_code": 2,
    }
