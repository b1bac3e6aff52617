"""How much evidence is taken: bytes of a file, bytes of all, and until when."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

MIB = 1 << 20
FILE_MIB, TOTAL_MIB, TIMEOUT_S = 8, 256, 300.0


@dataclass(frozen=True)
class Limits:
    file_bytes: int = FILE_MIB * MIB
    """Of a log or a record: its head and its tail, half of this each. Of what cannot be cut, all or nothing."""
    total_bytes: int = TOTAL_MIB * MIB
    timeout_s: float = TIMEOUT_S
    began: float = field(default_factory=time.monotonic)

    @property
    def left_s(self) -> float:
        return self.began + self.timeout_s - time.monotonic()
