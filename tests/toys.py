"""A small pretrained checkpoint and a task that a small network can learn."""

import random

import pytest

from electra_cli.artifacts import Recipe, claim
from electra_cli.reporting import Silent

FILLERS = ["the", "a", "film", "book", "was", "it", "and", "very", "this", "that", "one", "story", "end", "not", "long"]
SIGNS = {"good": "great", "bad": "awful"}


@pytest.fixture(scope="session")
def make_checkpoint():
    """Publishes an untrained checkpoint made by hand; keyword arguments change its shape."""

    def make(out, **changes):
        from safetensors.torch import save

        from electra_cli.model.initialize import initialize
        from electra_cli.model.naming import ties, to_public
        from electra_cli.model.pretraining import Electra
        from electra_cli.model.shape import EncoderShape, generator_shape
        from electra_cli.text.tokenizer import Tokenizer

        specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
        tokenizer = Tokenizer.from_vocab([*specials, *FILLERS, "short", *SIGNS.values(), *"0123456789.,", "##s"])
        size = {"embedding_size": 16, "hidden_size": 32, "layers": 2, "heads": 2, "feed_forward": 64, "positions": 64}
        shape = EncoderShape(vocab_size=tokenizer.vocab_size, **{**size, **changes})
        generator = generator_shape(shape, size=0.5)
        model = Electra(shape, generator)
        initialize(model, seed=4)
        files = {"model.safetensors": save(to_public(model), {"format": "pt"})}
        files |= {f"tokenizer/{name}": data for name, data in tokenizer.files().items()}
        spec = {
            "architecture": {"discriminator": shape.to_dict(), "generator": generator.to_dict()},
            "tokenizer": "sha256:" + "0" * 64,
            "step": 7,
            "ties": ties(model),
        }
        with claim(out, Recipe("checkpoint", "test", 1, {"made": "by hand"}, ()), report=Silent()) as held:
            assert held.draft is not None
            for name, data in files.items():
                held.draft.write_bytes(name, data)
            return held.draft.publish(spec=spec)

    return make


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory, make_checkpoint):
    return make_checkpoint(tmp_path_factory.mktemp("pretrained") / "out").path


def toy_rows(count, *, seed):
    """Sentences of filler words, each with one word that gives its label away."""
    dice = random.Random(seed)
    rows = []
    for _ in range(count):
        label = dice.choice(sorted(SIGNS))
        words = dice.choices(FILLERS, k=dice.randint(4, 20))
        words.insert(dice.randrange(len(words)), SIGNS[label])
        rows.append((" ".join(words), label))
    return rows


@pytest.fixture(scope="session")
def toy(tmp_path_factory):
    """Folder with train.tsv (256 rows) and dev.tsv (64 rows): columns text, label; labels good and bad."""
    folder = tmp_path_factory.mktemp("toy")
    for name, count, seed in (("train", 256, 1), ("dev", 64, 2)):
        lines = ["text\tlabel", *("\t".join(row) for row in toy_rows(count, seed=seed))]
        (folder / f"{name}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


@pytest.fixture
def heard():
    """A reporter that remembers what it was told."""
    return Heard()


class Heard(Silent):
    """Keeps notes and warnings."""

    def __init__(self):
        self.notes, self.warnings = [], []

    def note(self, message):
        self.notes.append(message)

    def warn(self, message):
        self.warnings.append(message)
