"""A read error is not damage: read again for a while, and then say which file and which error.

EIO, ESTALE, EMFILE, ENOMEM or a time-out say nothing about the bytes on the disk, and most of them pass. A file that is not there is
damage only after the same while: on NFS and EFS a client may go on believing for a minute that a name, which another node has made
since, does not exist (nfs(5), acdirmax and lookupcache).
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from trainyard.checkpoint_bytes import MissingError
from trainyard.speaking import warn
from trainyard.whose import whose

READ_TIMEOUT_S = 60.0
FIRST_WAIT_S, LONGEST_WAIT_S = 0.05, 5.0
ABSENT = (FileNotFoundError, NotADirectoryError, IsADirectoryError)
"""What is there is not what was written: no failure of the reading."""

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Patience:
    """How long a read that fails is tried again."""

    timeout_s: float = READ_TIMEOUT_S
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    def read(self, action: Callable[[], Answer], path: Path) -> Answer:
        """The answer of `action`, which reads `path` and can be repeated.

        Raises DamagedError for what differs, at once, and for what is still missing in the end; OSError or MemoryError for what
        still cannot be read.
        """
        deadline, wait_s = self.clock() + self.timeout_s, FIRST_WAIT_S
        while True:
            try:
                return action()
            except (MissingError, OSError, MemoryError) as error:
                if isinstance(error, OSError) and error.filename is None:
                    error.filename = os.fspath(path)  # read(2) knows a number, people know a name
                if self.clock() + wait_s > deadline:
                    if isinstance(error, ABSENT):
                        raise MissingError(told(error)) from error
                    raise
                if wait_s == FIRST_WAIT_S:
                    warn(f"trainyard: {told(error)}; trying again for up to {self.timeout_s:.0f} s")
            self.sleep(wait_s)
            look_afresh(path.parent)
            wait_s = min(2 * wait_s, LONGEST_WAIT_S)


def look_afresh(folder: Path) -> None:
    """An NFS client asks the server what has changed in a folder when somebody opens it (close-to-open, nfs(5))."""
    with contextlib.suppress(OSError):
        os.close(os.open(folder, os.O_RDONLY | os.O_DIRECTORY))


def told(error: Exception) -> str:
    """Which file and which error: `/c/step_00000004/state.json: Input/output error (EIO)`."""
    if isinstance(error, MemoryError):
        return "out of memory while reading"
    if isinstance(error, OSError) and error.errno is not None:
        name = errno.errorcode.get(error.errno, str(error.errno))
        where = "" if error.filename is None else f"{os.fspath(error.filename)}: "
        owner = whose(error)
        return f"{where}{error.strerror} ({name})" + (f": {owner}" if owner else "")
    return str(error)


UNREADABLE = (OSError, MemoryError)
"""What Patience.read raises besides damage."""
PATIENT = Patience()
