"""Words without which a rule cannot fit: one look for all of them leaves few of a hundred rules to be tried on a line.

They come out of the patterns themselves, so a rule needs to know nothing of this. A pattern of which no word is certain is tried always.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any, Generic, TypeVar

_parser: Any = getattr(re, "_parser", None)
_codes: Any = getattr(re, "_constants", None)
"""Python's own business; without them every rule is tried on every line, which is slower and not wrong."""

MIN_CHARS, MAX_WORDS = 3, 40
Gram = tuple[str, str, str]
Item = TypeVar("Item")


class Sieve(Generic[Item]):
    """Which items may fit a text: those with a pattern one of whose words is in it."""

    def __init__(self, items: Sequence[tuple[Item, Sequence[re.Pattern[str]]]]) -> None:
        self._items = [item for item, _ in items]
        self.always: set[int] = set()
        self._by_word: dict[str, list[int]] = {}
        for number, (_, patterns) in enumerate(items):
            sets = [words_of(pattern) for pattern in patterns]
            if any(words is None for words in sets):
                self.always.add(number)
                continue
            for word in {word for words in sets for word in words or ()}:
                self._by_word.setdefault(word, []).append(number)
        counts = Counter(gram for word in self._by_word for gram in _grams(word))
        self._by_gram: dict[Gram, list[str]] = {}
        for word in self._by_word:
            self._by_gram.setdefault(min(_grams(word), key=lambda gram: (counts[gram], gram)), []).append(word)

    def may_fit(self, text: str) -> list[Item]:
        """In their order. Letters beyond ASCII have more than one small form for `(?i)`, so nothing is ruled out beside them."""
        if not text.isascii():
            return self._items
        small, numbers = text.lower(), set(self.always)
        for gram in self._by_gram.keys() & _grams(small):
            for word in self._by_gram[gram]:
                if word in small:
                    numbers.update(self._by_word[word])
        return [self._items[number] for number in sorted(numbers)]


def _grams(text: str) -> set[Gram]:
    """Every three letters in a row: of hundreds of words only those are looked for that have three of the text's."""
    return set(zip(text, text[1:], text[2:], strict=False))


def words_of(pattern: re.Pattern[str]) -> frozenset[str] | None:
    """In small letters; whatever the pattern fits has at least one of them. None where that is not known."""
    if _parser is None or _codes is None:
        return None
    try:
        return _of_sequence(_parser.parse(pattern.pattern, pattern.flags))
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        return None


def _of_sequence(parsed: Any) -> frozenset[str] | None:
    """The best of what every part requires: that whose shortest word is the longest."""
    found: list[frozenset[str]] = []
    run = ""
    for code, argument in [*parsed, (None, None)]:
        if code is _codes.LITERAL and argument < 128:
            run += chr(argument).lower()
            continue
        if len(run) >= MIN_CHARS:
            found.append(frozenset([run]))
        run = ""
        if code is not None and (words := _of_part(code, argument)):
            found.append(words)
    return max(found, key=lambda words: (min(map(len, words)), -len(words)), default=None)


def _of_part(code: Any, argument: Any) -> frozenset[str] | None:
    if code is _codes.SUBPATTERN:
        return _of_sequence(argument[-1])
    if code in (_codes.MAX_REPEAT, _codes.MIN_REPEAT) and argument[0] > 0:
        return _of_sequence(argument[2])
    if code is _codes.BRANCH:
        branches = [_of_sequence(each) for each in argument[1]]
        if any(words is None for words in branches):
            return None
        words = frozenset(word for each in branches for word in each or ())
        return words if len(words) <= MAX_WORDS else None
    return None
