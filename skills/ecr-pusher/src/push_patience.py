"""How long a push goes on: one deadline for all of it, pauses that grow between tries, and an end for all threads when one has failed."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import trainyard_shell as shell

TRIES = 6
"""Of one request or one layer; the pauses between them add up to about 14 s."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 8.0
AGAIN = "the same call again: what is there is not sent again"


class Stopped(Exception):
    """Another layer has failed: this one need not go on."""


class TimeUp(BaseException):
    """The deadline, in the middle of whatever the main thread waits for. No Exception: nobody on the way shall take it for a broken read."""

    def __init__(self, error: shell.SkillError) -> None:
        self.error = error


class Patience:
    """Shared by the threads of one push."""

    def __init__(self, timeout_s: float, tries: int = TRIES) -> None:
        self.timeout_s, self.tries = timeout_s, tries
        self.deadline = time.monotonic() + timeout_s
        self.stopped = threading.Event()

    def check(self) -> None:
        """Raises Stopped, or SkillError timeout."""
        if self.stopped.is_set():
            raise Stopped
        if time.monotonic() >= self.deadline:
            raise self.late()

    def late(self) -> shell.SkillError:
        return shell.SkillError("timeout", f"not done within {self.timeout_s:g} s", hint=AGAIN, retryable=True)

    @contextmanager
    def bound(self) -> Iterator[None]:
        """Ends the block at the deadline, also in a read or a write that hangs; main thread only. Raises SkillError timeout.

        A socket's own time-outs are of one read, and begin again with each byte that comes.
        """

        def ring(number: int, frame: Any) -> None:
            raise TimeUp(self.late())

        before = signal.signal(signal.SIGALRM, ring)
        signal.setitimer(signal.ITIMER_REAL, max(0.001, self.deadline - time.monotonic()))
        try:
            yield
        except TimeUp as late:
            raise late.error from None
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)

    def pause(self, attempt: int) -> None:
        """Before try `attempt` + 1, counted from 0; a little at random, so that threads do not come back together."""
        wait_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2**attempt) * random.uniform(0.7, 1.0)
        self.stopped.wait(min(wait_s, max(0.0, self.deadline - time.monotonic())))
        self.check()
