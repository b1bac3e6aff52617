"""Progress of layers on stderr: a line for each change of state, and between them one that moves on a terminal, or a new one now and then."""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter

import trainyard_shell as shell
from pushed.image import Blob

REDRAW_S, NEXT_LINE_S = 0.2, 20.0


class Progress:
    """Of one region. Threads tell it what they do."""

    def __init__(self, region: str, blobs: tuple[Blob, ...]) -> None:
        self.region, self.total_bytes = region, sum(blob.size for blob in blobs)
        self.number = {blob.digest: index for index, blob in enumerate(blobs, start=1)}
        self.lock = threading.Lock()
        self.sent_bytes: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()
        self.moves = sys.stderr.isatty()
        self.began = time.monotonic()
        self.drawn_at = 0.0 if self.moves else self.began

    def state(self, blob: Blob, word: str) -> None:
        """present | sending | sent | broken, and why."""
        with self.lock:
            self.counts[word.partition(" ")[0]] += 1
            if word == "sent":
                self.counts["bytes"] += blob.size
            place = f"{self.number.get(blob.digest, 0)}/{len(self.number)}"
            shell.progress(f"{self._clear()}{self.region} layer {place} {blob.digest[7:19]} {megabytes(blob.size)}: {word}")

    def begin(self, blob: Blob) -> None:
        """A layer is sent from its beginning."""
        self.sent_bytes[blob.digest] = 0

    def moved(self, blob: Blob, size: int) -> None:
        """So many bytes more were handed to the connection."""
        with self.lock:
            self.sent_bytes[blob.digest] += size
            now = time.monotonic()
            if now - self.drawn_at < (REDRAW_S if self.moves else NEXT_LINE_S):
                return
            self.drawn_at, sent = now, self.sent_bytes.total()
            rate = megabytes(int(sent / max(now - self.began, 0.001)))
            text = f"{self.region} {megabytes(sent)} of {megabytes(self.total_bytes)}, {rate}/s"
        if not self.moves:
            shell.progress(text)
            return
        try:
            sys.stderr.write(f"\r\x1b[K{text}")
            sys.stderr.flush()
        except OSError:
            self.moves = False

    def _clear(self) -> str:
        if self.moves and self.drawn_at:
            try:
                sys.stderr.write("\r\x1b[K")
            except OSError:
                self.moves = False
        return ""

    def layers(self, total: int) -> dict[str, int]:
        """As the answer has it; the config counts as one of them."""
        counts = self.counts
        return {"total": total, "sent": counts["sent"], "present": counts["present"], "bytes_sent": counts["bytes"]}


def megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 100_000 else f"{size / 1e3:.1f} kB"
