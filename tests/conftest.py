"""What all tests share: nothing that a test started outlives the suite, and in CI nothing is skipped for want of a component."""

from __future__ import annotations

import os
import secrets
import signal
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

MARK = "TRAINYARD_TEST_SESSION"
Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)


def pytest_configure() -> None:
    """A suite started in the background inherits SIGINT ignored, and would pass that on to programs whose Ctrl-C is tested."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


BY_DESIGN = "by design: "
"""Begins the reason of a skip that no component could prevent."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    return refuse_skip((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    return refuse_skip((yield))


def refuse_skip(report: Report) -> Report:
    """With TRAINYARD_REQUIRE=all a skip is a failure: a machine that lacks something has not run the tests."""
    if os.environ.get("TRAINYARD_REQUIRE") == "all" and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if BY_DESIGN not in reason:
            report.outcome, report.longrepr = "failed", f"TRAINYARD_REQUIRE=all, and it was skipped: {reason}"
    return report


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
