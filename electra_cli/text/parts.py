"""What makes one of our tokenizers: the rules by which text becomes words, and the vocabulary that cuts words."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

from electra_cli.text.boundaries import CutRule

Model = Literal["wordpiece", "bpe", "unigram"]

SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
PREFIX = "##"
"""WordPiece: what a piece inside a word begins with."""
LONGEST_WORD = 100
"""Characters; longer words become `[UNK]`, as in BERT (`max_input_chars_per_word`). No model learns from them."""
MAX_VOCABULARY = 1_000_000
MAX_EXTRA = 10_000
"""Special tokens and placeholders that a user may add."""

MARKS = {"bpe": " ", "unigram": "▁"}
"""BPE and Unigram: what the first piece of a word begins with, before BPE turns text into bytes (a space is then Ġ)."""
BYTE_MARK = "Ġ"

_UNUSABLE = re.compile(r"[\s\x00-\x1f\x7f-\x9f]")


@dataclass(frozen=True)
class WordRules:
    """How text is normalised and cut into words, before a vocabulary cuts words into pieces.

    Attributes:
        model: WordPiece cuts words as BERT does, with each punctuation character a word of its own. In BPE and Unigram
            a word is a run of letters and combining marks, of numbers, or of anything else; the first one after white
            space begins with a mark of the model's, so that text can be put together again.
        lowercase: whether text is lower-cased.
        strip_accents: whether combining marks are removed; always said outright, since the library's default follows
            `lowercase` and German or Korean text is ruined by it unnoticed.
        split_cjk: whether each CJK ideograph is a word of its own.
        split_digits: whether each digit is one.
        pre_segmented: whether white space alone separates words; `split_cjk` and `split_digits` are False then.
        placeholders: strings that become one token wherever they stand in text, as they are, before anything else.
    """

    model: Model = "wordpiece"
    lowercase: bool = True
    strip_accents: bool = True
    split_cjk: bool = True
    split_digits: bool = False
    pre_segmented: bool = False
    placeholders: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.pre_segmented and (self.split_cjk or self.split_digits):
            raise ValueError("words that white space alone separates are not split further")

    @property
    def as_bert(self) -> bool:
        """Whether text becomes words by BERT's rules alone, so that a vocabulary and three flags say everything."""
        return self.model == "wordpiece" and not (self.split_digits or self.pre_segmented or self.placeholders)

    def with_placeholders(self, placeholders: tuple[str, ...]) -> WordRules:
        """Return the same rules with these placeholders."""
        return replace(self, placeholders=placeholders)

    @property
    def cut_rule(self) -> CutRule:
        """Where words end for certain, whatever the text.

        At white space with any rules: the ids of a text are those of its parts between white space, one after another.
        """
        between = self.cut_rule_between_placeholders
        if self.placeholders:  # they may hold any other character
            return CutRule(punctuation=False, ideographs=False)
        # Whoever is told of punctuation takes all words between for whole ones; digits are not.
        return replace(between, punctuation=between.punctuation and not self.split_digits)

    @property
    def cut_rule_between_placeholders(self) -> CutRule:
        """The same for text without placeholders in it."""
        as_bert = self.model == "wordpiece" and not self.pre_segmented
        return CutRule(punctuation=as_bert, ideographs=self.split_cjk, lowercase=self.lowercase)

    @cached_property
    def placeholder_pattern(self) -> re.Pattern[str] | None:
        """What finds placeholders in text, the longest where several begin; in one group. None without any."""
        if not self.placeholders:
            return None
        longest_first = sorted(self.placeholders, key=lambda name: (-len(name), name))
        return re.compile("(" + "|".join(map(re.escape, longest_first)) + ")")


@dataclass(frozen=True)
class TokenizerParts:
    """Everything that makes one of our tokenizers.

    Attributes:
        tokens: the vocabulary; position is id.
        rules: how text becomes words.
        merges: BPE: the pairs of pieces that are joined, in order.
        scores: Unigram: the log probability of each entry; those that text never becomes have one too.
        special_tokens: entries beside `SPECIALS` that text never becomes, by id.
        model_max_length: longest row that a model of this tokenizer takes, for `transformers`.
    """

    tokens: tuple[str, ...]
    rules: WordRules = field(default_factory=WordRules)
    merges: tuple[tuple[str, str], ...] = ()
    scores: tuple[float, ...] = ()
    special_tokens: tuple[str, ...] = ()
    model_max_length: int = 512

    @cached_property
    def ids(self) -> dict[str, int]:
        """The id of each entry."""
        return {token: position for position, token in enumerate(self.tokens)}

    @property
    def split_cjk(self) -> bool:
        """Whether each CJK ideograph is a word of its own."""
        return self.rules.split_cjk

    def continues_word(self) -> list[bool]:
        """Say of each entry whether it goes on with the word of the piece before it.

        WordPiece: the pieces with `##`. BPE and Unigram, where a word is what stands between white space: those without
        the mark, except special tokens and placeholders.
        """
        if self.rules.model == "wordpiece":
            return [token.startswith(PREFIX) and len(token) > len(PREFIX) for token in self.tokens]
        mark = BYTE_MARK if self.rules.model == "bpe" else MARKS["unigram"]
        alone = {*SPECIALS, *self.special_tokens, *self.rules.placeholders} - {"[UNK]"}
        return [not token.startswith(mark) and token not in alone for token in self.tokens]


def unused_slots(count: int) -> list[str]:
    """Return the names of `count` slots for tokens that a user adds later."""
    return [f"[unused{number}]" for number in range(count)]


def problem_of_extra(name: str, others: set[str]) -> str | None:
    """Say why `name` cannot be a special token or a placeholder beside `others`, None if it can.

    A name of one character would be in the alphabet, and one without any sign would be in the way of a word.
    """
    if name in SPECIALS or name in others or re.fullmatch(r"\[unused\d+\]", name):
        return "stands in the vocabulary already"
    if not 2 <= len(name) <= LONGEST_WORD:
        return f"has {len(name)} characters; 2 to {LONGEST_WORD} are possible"
    if _UNUSABLE.search(name):
        return "holds white space or a control character"
    if any("\ud800" <= char <= "\udfff" for char in name):
        return "holds half of a surrogate pair"
    if name.startswith((PREFIX, MARKS["unigram"], BYTE_MARK)):
        return f"begins with {name[:2] if name.startswith(PREFIX) else name[0]}, which marks pieces of words"
    if name.isalnum():
        return "is a plain word; put signs around it, as in [DOC] or <URL>"
    return None


_VISIBLE = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}


def byte_alphabet() -> list[str]:
    """Return the character that stands for each byte, by byte: itself if it is visible, else one from U+0100 on."""
    others = iter(range(0x100, 0x200))
    return [chr(byte) if byte in _VISIBLE else chr(next(others)) for byte in range(256)]
