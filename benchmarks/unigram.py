"""The Unigram trainer against the library's: how many tokens a word becomes, time, and whether two runs agree.

    python benchmarks/unigram.py TEXT_FILE… [--vocab-size 8000]

Both get the same words, and no character outside our alphabet. The last line is of text that neither has seen: every
tenth file, or none if there are fewer.
"""

from __future__ import annotations

import argparse
import hashlib
import time
from collections import Counter
from pathlib import Path

from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from electra_cli.text.parts import SPECIALS, WordRules
from electra_cli.text.unigram import train
from electra_cli.text.vocabulary import Wanted, sequences
from electra_cli.text.words import words_of

RULES = WordRules(model="unigram", lowercase=False, strip_accents=False, split_cjk=False)


def words_in(files: list[Path]) -> dict[str, int]:
    return words_of(Counter(chunk for path in files for chunk in path.read_text("utf-8").split()), RULES)


def tokens_a_word(library: Tokenizer, words: dict[str, int]) -> float:
    encodings = library.encode_batch_fast(list(words))
    return sum(len(found.ids) * count for found, count in zip(encodings, words.values(), strict=True)) / sum(
        words.values()
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--vocab-size", type=int, default=8000)
    parser.add_argument("--runs", type=int, default=2)
    options = parser.parse_args()
    unseen = options.files[9::10]
    words = words_in([path for path in options.files if path not in unseen])
    made: dict[str, Tokenizer] = {}
    alphabet: set[str] = set()
    for run in range(options.runs):
        began = time.process_time()
        vocabulary = train(words, Wanted(options.vocab_size))
        made["electra"] = Tokenizer(
            models.Unigram(
                list(zip(vocabulary.tokens, vocabulary.scores, strict=True)), vocabulary.tokens.index("[UNK]")
            )
        )
        alphabet = {token for token in vocabulary.tokens if len(token) == 1}
        name = hashlib.sha256(repr(vocabulary).encode()).hexdigest()[:12]
        print(f"electra    run {run}  {name}  {time.process_time() - began:6.1f} s CPU")
    known = {word: count for word, count in words.items() if alphabet.issuperset(word)}
    for run in range(options.runs):
        began = time.process_time()
        library = Tokenizer(models.Unigram())
        library.pre_tokenizer = pre_tokenizers.CharDelimiterSplit(" ")
        library.train_from_iterator(
            sequences(known),
            trainers.UnigramTrainer(
                vocab_size=options.vocab_size, special_tokens=list(SPECIALS), unk_token="[UNK]", show_progress=False
            ),
        )
        name = hashlib.sha256(repr(sorted(library.get_vocab().items())).encode()).hexdigest()[:12]
        library.pre_tokenizer = None
        made["tokenizers"] = library
        print(f"tokenizers run {run}  {name}  {time.process_time() - began:6.1f} s CPU")
    for what, table in (("seen", known), ("unseen", words_in(unseen))):
        for name, library in made.items():
            if table:
                share = tokens_a_word(library, table)
                print(f"{name:10} {library.get_vocab_size()} entries  {share:.4f} tokens a word, {what}")


if __name__ == "__main__":
    main()
