"""What all tests share: nothing that a test started outlives the suite, and in CI nothing is skipped for want of a component."""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import signal
import tempfile
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests import situations, turns, when_changed
from tests.components.images import fixtures as images

MARK = "TRAINYARD_TEST_SESSION"
Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fast", action="store_true", help="only what starts no cluster, no training and no container")
    situations.add_option(parser)


def pytest_configure(config: pytest.Config) -> None:
    """A suite started in the background inherits SIGINT ignored, and would pass that on to programs whose Ctrl-C is tested."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    config.addinivalue_line("markers", "when_changed(*globs): once passed here, it runs again when one of these files changed")
    situations.configure(config)


TRAINS_ON_RAY = re.compile(r"tests/e2e/.*(?:\b|_)ray|tests/e2e/test_cluster_kills|tests/skills/ray_manager/test_ray_re")
NOT_FAST = (
    "tests/components/",
    "tests/e2e/",
    "tests/infrastructure/test_wheel.py",
    "tests/recorded/test_old_run.py",
    "tests/skills/checkpoint_manager/test_any_",
    "tests/skills/checkpoint_manager/test_pickles_never_run.py",
    "tests/skills/ecr_pusher/",
    "tests/skills/hyperpod_manager/",
    "tests/skills/local_runner/",
    "tests/skills/monitor/test_monitor_real_trainers.py",
    "tests/skills/test_contract.py",
    "tests/skills/training_job_deployer/test_deploy_accepts.py",
    "tests/skills/training_job_deployer/test_deploy_demo.py",
    "tests/skills/training_job_deployer/test_deploy_fresh.py",
    "tests/skills/training_job_deployer/test_deploy_run.py",
    "tests/skills/training_job_deployer/test_deploy_saving.py",
    "tests/test_benchmarks.py",
    "tests/training/",
)
"""Where tests start trainings, whole installations or hundreds of programs, besides those that use the cluster or engines for images:
`make test-fast` leaves them out."""
BUT_FAST = (
    "tests/skills/local_runner/test_local_cause.py",
    "tests/skills/local_runner/test_local_submit.py",
    "tests/training/test_data.py",
    "tests/training/test_exact_o",
    "tests/training/test_format_codec.py",
    "tests/training/test_format_layout.py",
    "tests/training/test_format_manifest.py",
    "tests/training/test_format_reading.py",
    "tests/training/test_format_shards.py",
    "tests/training/test_hang_rule.py",
    "tests/training/test_judgement.py",
    "tests/training/test_loop.py",
)
"""Of these, what is tried in the test's own process or in a few short ones."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--fast"):
        items[:] = [item for item in items if is_fast(item)]
    for item in items:
        situations.note(item)
        if "cluster" in getattr(item, "fixturenames", ()) and turns.row_of(item.nodeid) is None:
            raise pytest.UsageError(f"{item.nodeid} uses the cluster: its place belongs into ON_ONE_CLUSTER")
    items.sort(key=turns.turn)


def is_fast(item: pytest.Item) -> bool:
    place = item.nodeid
    starts_training = place.startswith(NOT_FAST) and not place.startswith(BUT_FAST)
    return not starts_training and "cluster" not in getattr(item, "fixturenames", ()) and not images.uses(item)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """What is not fast is not even imported: torch alone takes seconds, in each process."""
    place = str(collection_path.relative_to(config.rootpath))
    skips = config.getoption("--fast") and place.startswith(NOT_FAST) and not place.startswith(BUT_FAST)
    return True if skips and collection_path.suffix == ".py" else None


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """For `-n N`."""
    config.option.loadscopereorder = False  # the order of turns, not the files with most tests first
    return turns.ByFile(config, log)


BY_DESIGN = "by design: "
"""Begins the reason of a skip that no component could prevent."""


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """One Ray at a time, whichever cluster it is on: two on two cores do not come up. The wait is before the test's own time-out."""
    if not TRAINS_ON_RAY.match(item.nodeid):
        return (yield)
    with (Path(tempfile.gettempdir()) / "trainyard-tests-ray.lock").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        return (yield)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    when_changed.skip_if_proved(item)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = refuse_skip((yield))
    when_changed.remember(item, report)
    return report


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
