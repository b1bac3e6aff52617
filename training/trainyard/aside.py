"""Small jobs beside the training: a slow file system or server keeps their thread waiting, and nobody else."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable


class Aside:
    """`put` a job under a name: of each name the newest waits, older ones are dropped. The thread begins with the first job.

    A job that raises is lost. The thread is a daemon: it never keeps a process from ending.
    """

    def __init__(self) -> None:
        self._waiting: dict[str, Callable[[], None]] = {}
        self._news = threading.Condition()
        self._works = False
        self._thread: threading.Thread | None = None

    def put(self, name: str, job: Callable[[], None]) -> None:
        with self._news:
            self._waiting[name] = job
            self._news.notify_all()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="trainyard-aside", daemon=True)
                self._thread.start()

    def drain(self, timeout_s: float) -> None:
        """Wait until all is done, at most this long."""
        deadline = time.monotonic() + timeout_s
        with self._news:
            while (self._waiting or self._works) and (left_s := deadline - time.monotonic()) > 0:
                self._news.wait(left_s)

    def _run(self) -> None:
        while True:
            with self._news:
                while not self._waiting:
                    self._news.wait()
                job = self._waiting.pop(next(iter(self._waiting)))
                self._works = True
            with contextlib.suppress(Exception):  # what is beside the training never ends it
                job()
            with self._news:
                self._works = False
                self._news.notify_all()
