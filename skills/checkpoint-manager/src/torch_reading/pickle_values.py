"""What a pickle holds, as data: plain values, and placeholders for whatever unpickling would import or call."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch_reading.pickle_names import Suspicion


class PickleError(Exception):
    """The pickle is torn, malformed or beyond the bounds; the text says which.

    `suspicions`: the names found before that. Unpickling would have come as far, and run them.
    """

    suspicions: tuple[Suspicion, ...] = ()


class TooLargeError(PickleError):
    """More than the bounds allow: nothing is known about the rest."""


@dataclass(frozen=True)
class Global:
    """A name that unpickling would import."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(eq=False)
class Pairs:
    """A dictionary as its (key, value) pairs, in order."""

    items: list[tuple[Any, Any]] = field(default_factory=list)

    def get(self, key: str | int) -> Any:
        """The value of a plain key (the last one wins, as in a dictionary), None if there is none."""
        return next((value for name, value in reversed(self.items) if type(name) is type(key) and name == key), None)

    def keys(self) -> set[str]:
        return {key for key, _ in self.items if isinstance(key, str)}


@dataclass(eq=False)
class Group:
    """A set or frozenset."""

    items: list[Any] = field(default_factory=list)


@dataclass(eq=False)
class Call:
    """What unpickling would get by calling `function` (a Global, or something computed) with `args`; nothing was called."""

    function: Any
    args: Any
    state: Any = None
    pairs: Pairs = field(default_factory=Pairs)
    items: list[Any] = field(default_factory=list)

    def of(self, *names: str) -> bool:
        """Is it a call of one of these names (`torch._utils._rebuild_tensor_v2`)?"""
        return isinstance(self.function, Global) and str(self.function) in names


@dataclass(frozen=True, eq=False)
class Persistent:
    """A reference to something outside the pickle: a storage, in torch's files."""

    id: Any


@dataclass
class Reading:
    """One pickle, read."""

    value: Any
    suspicions: list[Suspicion]
    size_bytes: int
    """Bytes up to and including its end mark."""
    references: list[Persistent] = field(default_factory=list)
    """Every reference to something outside, in order."""
