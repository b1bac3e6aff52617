"""SIGTERM and SIGINT ask for an orderly end; the second one ends at once. Under HyperPod's launcher SIGUSR1 asks for it too.

`hyperpodrun` sends SIGUSR1 where its operator asks for a graceful stop, and SIGKILL when its time is over. It may send SIGTERM after
SIGUSR1 (the pod is deleted while it stops), and SIGTERM twice (it was itself told twice): there a second signal is no wish for
haste, and the save goes on until the launcher's SIGKILL. A second SIGINT ends at once everywhere.
"""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType

from trainyard.speaking import warn_from_handler

STOP_EXIT_CODE = 143
"""Exit code of an agreed stop, as a shell reports SIGTERM. 0 means finished and nothing else."""
HYPERPODRUN = "HYPERPOD_ELASTICAGENT_SOCKET_SERVER_PATH"
"""Every worker of hyperpodrun has this variable, and no other launcher sets it. (HYPERPOD_SIGNAL_COORDINATION is there only to
switch AWS's own handler on.)"""
GRACEFUL = signal.SIGUSR1


def is_under_hyperpodrun() -> bool:
    return bool(os.environ.get(HYPERPODRUN))


def stop_signals() -> tuple[signal.Signals, ...]:
    """Those that ask this process for an orderly end. SIGUSR1 is nobody else's business: local-runner's is for its supervisor."""
    return (signal.SIGTERM, signal.SIGINT, *((GRACEFUL,) if is_under_hyperpodrun() else ()))


class StopSignals:
    """Remembers the first signal that asks for an end; from the main thread only, elsewhere it never hears one.

    A handler that a script has for SIGUSR1, such as that of `hyperpod_elastic_agent.elastic_event_handler`, is called as well.
    """

    def __init__(self) -> None:
        self.received: str | None = None
        self._pid = os.getpid()
        self._before: dict[int, object] = {}
        self._is_bounded = is_under_hyperpodrun()
        """Whoever stops this process ends it with SIGKILL when it takes too long."""
        if threading.current_thread() is threading.main_thread():
            for number in stop_signals():
                self._before[number] = signal.signal(number, self._on_signal)
            if signal.getsignal(signal.SIGPIPE) is signal.SIG_DFL:  # a reader that goes would end this process without a save
                self._before[signal.SIGPIPE] = signal.signal(signal.SIGPIPE, signal.SIG_IGN)

    def keep(self) -> None:
        """Take SIGUSR1 back from a handler that was installed meanwhile: importing AWS's event handler installs one, whenever."""
        if GRACEFUL not in self._before or signal.getsignal(GRACEFUL) == self._on_signal:
            return
        if threading.current_thread() is threading.main_thread():
            self._before[GRACEFUL] = signal.signal(GRACEFUL, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._pid:
            self._on_signal_in_child(number)
            return
        if number == GRACEFUL and callable(theirs := self._before.get(number)):
            theirs(number, frame)
        if self.received is not None:
            if not self._is_bounded or number == signal.SIGINT:
                _die_of(number)
            return
        self.received = signal.Signals(number).name
        then = "the launcher ends what takes too long" if self._is_bounded else "once more stops at once"
        warn_from_handler(f"trainyard: {self.received}: stopping after this step; {then}")

    def _on_signal_in_child(self, number: int) -> None:
        """A forked process, such as a DataLoader's worker, has this handler too.

        Ctrl-C and a launcher's SIGUSR1 reach all of them: without its workers the parent would fail before the step that it saves.
        It ends them itself.
        """
        if number not in (signal.SIGINT, GRACEFUL):
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
