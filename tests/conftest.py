"""What all tests share: nothing that a test started outlives the suite."""

from __future__ import annotations

import os
import secrets
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

MARK = "TRAINYARD_TEST_SESSION"


def pytest_configure() -> None:
    """A suite started in the background inherits SIGINT ignored, and would pass that on to programs whose Ctrl-C is tested."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def marked_processes(mark: str) -> dict[int, str]:
    """Pid -> command line of every other living process whose environment holds `mark`."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environment = (folder / "environ").read_bytes().split(b"\0")
            words = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue  # gone, or another user's
        # multiprocessing's own helpers end with this process.
        if mark.encode() in environment and int(folder.name) != os.getpid() and "multiprocessing" not in words:
            found[int(folder.name)] = words
    return found


@pytest.fixture(scope="session", autouse=True)
def no_process_is_left() -> Iterator[None]:
    """The suite's children inherit a mark; after the last test none of them may live."""
    os.environ[MARK] = secrets.token_hex(8)
    yield
    mark, deadline = f"{MARK}={os.environ[MARK]}", time.monotonic() + 10
    while (left := marked_processes(mark)) and time.monotonic() < deadline:
        time.sleep(0.1)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert not left, f"left behind by the tests (ended now): {left}"
