"""Credentials that end while they are used: read anew from where they came, with growing pauses, by one thread for all.

`make kit` copies this file with trainyard_kube.py; edit it in skills/kit/ only. A run of 30 days outlives every token: the kubeconfig's
command is run again, its files and the mounted token are read again, and whoever signs in anew meanwhile need not tell anybody.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import trainyard_shell as shell
from trainyard_files import read_regular
from trainyard_kubeconfig import Access

FIRST_PAUSE_S = 1.0
MAX_PAUSE_S = 60.0


class Login:
    """The access that is used now. `read` gives it anew, and raises SkillError; `is_same`: whether it leads to the same cluster."""

    def __init__(self, access: Access, read: Callable[[], Access], is_same: Callable[[Any], bool]) -> None:
        self.access, self._read, self._is_same = access, read, is_same
        self.trouble = ""
        """Why the last reading gave nothing."""
        self._secrets = _secrets(access)
        self._lock = threading.Lock()
        self._pause_s, self._not_before = FIRST_PAUSE_S, 0.0

    def renew_if_over(self) -> None:
        """Before a request. Where it fails the old credentials are used: the server knows best whether they still hold."""
        ends = self.access.expires_at
        if ends is not None and time.time() > ends:
            self.renewed(self.access)

    def renewed(self, used: Access) -> bool:
        """After `used` was refused: whether there are other credentials now."""
        with self._lock:
            if self.access is not used:  # another thread was faster
                return True
            if time.monotonic() < self._not_before:
                return False
            self._not_before = time.monotonic() + self._pause_s
            self._pause_s = min(2 * self._pause_s, MAX_PAUSE_S)
            try:
                return self._take(self._read())
            except shell.SkillError as error:
                self.trouble = str(error)
                return False

    def _take(self, fresh: Access) -> bool:
        if not self._is_same(fresh.configuration):
            self.trouble = f"context {fresh.context} leads to another cluster now"
            return False
        before, self._secrets = self._secrets, _secrets(fresh)
        self.access, self.trouble = fresh, ""
        return before != self._secrets

    def works(self) -> None:
        """The server has taken them."""
        self._pause_s, self._not_before = FIRST_PAUSE_S, 0.0


def _secrets(access: Access) -> tuple[Any, ...]:
    """What the server judges by. A certificate's file may be renewed under its name."""
    given = access.configuration
    files = [path and read_regular(Path(path)) for path in (given.cert_file, given.key_file)]
    return given.api_key.get("BearerToken"), *files
