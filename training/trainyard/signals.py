"""SIGTERM and SIGINT ask for an orderly end; the second one ends at once."""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import FrameType

STOP_EXIT_CODE = 143
"""Exit code of an agreed stop, as a shell reports SIGTERM. 0 means finished and nothing else."""


class StopSignals:
    """Remembers the first SIGTERM or SIGINT; from the main thread only, elsewhere it never hears one."""

    def __init__(self) -> None:
        self.received: str | None = None
        self._before: dict[int, object] = {}
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        self.received = signal.Signals(number).name
        # No print(): the handler may have interrupted one, and a buffered stream is not reentrant.
        os.write(
            sys.stderr.fileno(), f"trainyard: {self.received}: stopping after this step; once more stops at once\n".encode()
        )

    def restore(self) -> None:
        """Give the signals back to whoever had them."""
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        self._before = {}
