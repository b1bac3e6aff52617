"""Connections to the registry that break on demand, after so many bytes of a chosen request or answer."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NoReturn


class CutError(ConnectionError):
    """The connection is to be broken now."""


@dataclass
class Cut:
    after_bytes: int
    """Of one body; 0 breaks before the first byte."""
    method: str = "PATCH"
    path: str = ""
    """A regular expression that is searched in the path."""
    times: int = 1
    """How many requests are cut; those after them pass."""
    skip: int = 0
    """How many matching requests pass first."""
    stall_s: float = 0.0
    """For so long before it breaks nothing more is read and nothing is answered."""
    seen: int = 0


@dataclass
class Cuts:
    waiting: list[Cut] = field(default_factory=list)
    done: int = 0
    """How many connections were broken."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def for_request(self, method: str, path: str) -> Cut | None:
        """The cut that this request gets."""
        with self.lock:
            for cut in self.waiting:
                if cut.method == method and re.search(cut.path, path):
                    cut.seen += 1
                    if cut.skip < cut.seen <= cut.skip + cut.times:
                        return cut
        return None

    def apply(self, cut: Cut | None, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """The pieces up to the byte where the connection breaks. Raises CutError there; a shorter body passes whole."""
        if cut is None:
            yield from pieces
            return
        left = cut.after_bytes
        for piece in pieces:
            if len(piece) >= left:
                yield piece[:left]
                self.strike(cut)
            left -= len(piece)
            yield piece

    def strike(self, cut: Cut) -> NoReturn:
        """Raises CutError."""
        self.done += 1
        time.sleep(cut.stall_s)
        raise CutError(f"cut after {cut.after_bytes} bytes")
