"""The order in which a cluster comes up: a step starts as soon as those it names are done, so the operators start side by side."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.components.cluster.place import Place

PARTS = Path(__file__).parent / "parts"
STEP_LIMIT_S = 240
_running: set[subprocess.Popen[bytes]] = set()
"""Scripts of steps that are under way."""


class ClusterError(Exception):
    """A step failed; the message holds its last words, and where the logs are."""


@dataclass(frozen=True)
class Step:
    name: str
    run: Callable[[], None]
    after: tuple[str, ...] = ()


def part(place: Place, script: str, *words: str) -> Callable[[], None]:
    """A script of parts/ as the work of a step."""

    def run() -> None:
        command = [str(PARTS / script), *words]
        # Into a file: the processes that the script leaves running would hold a pipe open.
        place.state.mkdir(parents=True, exist_ok=True)
        said = place.state / f"{'-'.join([script, *words])}.said"
        with said.open("w") as file:
            process = subprocess.Popen(
                command, env=place.environment(), stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True
            )
            _running.add(process)
            try:
                code = process.wait(STEP_LIMIT_S)
            finally:
                end(process)
                _running.discard(process)
        if code != 0:
            raise ClusterError(
                f"{script} {' '.join(words)} (exit {code}): {said.read_text()[-2000:]}\nlogs: {place.state / 'log'}"
            )

    return run


def end(script: subprocess.Popen[bytes]) -> None:
    """A script and what it waits for; what it has started in sessions of their own is recorded, and taken by `down`."""
    if script.poll() is None:
        with contextlib.suppress(ProcessLookupError):  # the thread that waits for it was told first
            os.killpg(script.pid, signal.SIGKILL)
        script.wait()


def run_steps(steps: Sequence[Step]) -> dict[str, float]:
    """Run all, each after its predecessors; the seconds that each took.

    Raises what a failing step raised, or KeyboardInterrupt; no step's script runs then: it would start more behind `down`.
    """
    futures: dict[str, Future[float]] = {}

    def timed(step: Step) -> float:
        for name in step.after:
            futures[name].result()
        began = time.monotonic()
        step.run()
        return time.monotonic() - began

    with ThreadPoolExecutor(len(steps)) as pool:
        try:
            for step in steps:  # predecessors come earlier in the list
                futures[step.name] = pool.submit(timed, step)
            return {name: future.result() for name, future in futures.items()}
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for script in list(_running):
                end(script)
            raise
