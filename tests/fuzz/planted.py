"""A reader with a fault, for the frame's own tests: it breaks on a word that only a search led by branches or by WORDS finds."""

from __future__ import annotations

from collections.abc import Callable

COVERED: list[str] = []
SEEDS = [b"good", b"goad"]
WORDS = [b"evil"]


def target() -> Callable[[bytes], None]:
    def read(data: bytes) -> None:
        if data.endswith(b"evil"):
            raise KeyError("evil")

    return read
