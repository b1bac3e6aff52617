"""SIGTERM and SIGINT ask for an orderly end; the second one ends at once."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType

from trainyard.speaking import warn_from_handler

STOP_EXIT_CODE = 143
"""Exit code of an agreed stop, as a shell reports SIGTERM. 0 means finished and nothing else."""


class StopSignals:
    """Remembers the first SIGTERM or SIGINT; from the main thread only, elsewhere it never hears one."""

    def __init__(self) -> None:
        self.received: str | None = None
        self._pid = os.getpid()
        self._before: dict[int, object] = {}
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._on_signal)
            if signal.getsignal(signal.SIGPIPE) is signal.SIG_DFL:  # a reader that goes would end this process without a save
                self._before[signal.SIGPIPE] = signal.signal(signal.SIGPIPE, signal.SIG_IGN)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._pid:
            self._on_signal_in_child(number)
            return
        if self.received is not None:
            _die_of(number)
            return
        self.received = signal.Signals(number).name
        warn_from_handler(f"trainyard: {self.received}: stopping after this step; once more stops at once")

    def _on_signal_in_child(self, number: int) -> None:
        """A forked process, such as a DataLoader's worker, has this handler too.

        Ctrl-C reaches all of them: without its workers the parent would fail before the step that it saves. It ends them itself.
        """
        if number != signal.SIGINT:
            _die_of(number)

    def restore(self) -> None:
        """Give the signals back to whoever had them; only the main thread can."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        self._before = {}


def _die_of(number: int) -> None:
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
