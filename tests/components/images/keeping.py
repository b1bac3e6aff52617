"""Programs that run while a `with` lasts, and end with this process also when it is killed (keeper.py)."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

KEEPER = Path(__file__).with_name("keeper.py")
POLL_S = 0.02
STOP_LIMIT_S = 40.0


class ComponentError(Exception):
    """A program did not come up; the message holds its last words."""


@dataclass(frozen=True)
class Kept:
    name: str
    folder: Path
    """Everything of it; a short path, for it holds unix sockets. It goes with the program."""
    keeper: subprocess.Popen[bytes]

    @property
    def log(self) -> Path:
        return self.folder / "log"

    def wait_until(self, ready: Callable[[], object], limit_s: float = 30.0) -> None:
        """Raises ComponentError when the program ends, or the limit is over."""
        deadline = time.monotonic() + limit_s
        while not ready():
            ended = self.keeper.poll() is not None
            if ended or time.monotonic() > deadline:
                why = "ended" if ended else f"was not ready within {limit_s:g} s"
                raise ComponentError(f"{self.name} {why}: {self.log.read_text(errors='replace')[-2000:]}")
            time.sleep(POLL_S)


@contextmanager
def keep(name: str, command: Callable[[Path], Sequence[object]], env: Mapping[str, str] | None = None) -> Iterator[Kept]:
    """`command` gets the program's folder, may write its configuration there, and answers the command line."""
    folder = Path(tempfile.mkdtemp(prefix=f"trainyard-{name}-")).resolve()  # as /proc/mounts has it
    try:
        words = [sys.executable, str(KEEPER), str(folder), *map(str, command(folder))]
        with (folder / "log").open("wb") as log:
            keeper = subprocess.Popen(
                words, stdin=subprocess.PIPE, stdout=log, stderr=log, env={**os.environ, **(env or {})}, start_new_session=True
            )
        assert keeper.stdin is not None
        try:
            yield Kept(name, folder, keeper)
        finally:
            keeper.stdin.close()
            keeper.wait(STOP_LIMIT_S)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
