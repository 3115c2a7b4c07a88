"""A small real corpus and a tokenizer for it."""

import random

import pytest

from electra_cli.text.tokenizer import Tokenizer

WORDS = ["the", "of", "a", "cat", "dog", "house", "sees", "finds", "old", "new", "red", "river", "stone", "and", "but"]
WORDS += ["under", "over", "slowly", "never", "always"]


@pytest.fixture(scope="session")
def small_tokenizer():
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    return Tokenizer.from_vocab([*specials, *WORDS, ".", "##s"])


@pytest.fixture(scope="session")
def small_corpus():
    """Text of 300 documents of different lengths, separated by blank lines."""
    dice = random.Random(5)
    documents = []
    for _ in range(300):
        lines = [" ".join(dice.choices(WORDS, k=dice.randint(1, 30))) + " ." for _ in range(dice.randint(1, 12))]
        documents.append("\n".join(lines))
    return "\n\n".join(documents) + "\n"


@pytest.fixture
def tokenizer_folder(small_tokenizer, tmp_path):
    folder = tmp_path / "tokenizer files"
    folder.mkdir()
    for name, data in small_tokenizer.files().items():
        (folder / name).write_bytes(data)
    return folder
