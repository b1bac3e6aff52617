"""When nothing will come of waiting: a cause that no time removes, and that has stood for as long as its kind needs."""

from __future__ import annotations

from typing import Any

import pytest
from trainyard_endless import Standing, sentence


class Clock:
    """Seconds that the test sets."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def status(*ids: str, state: str = "pending") -> dict[str, Any]:
    return {"state": state, "findings": [{"id": id, "summary": f"about {id}", "fix": ""} for id in ids]}


def after(standing: Standing, clock: Clock, seconds: float, seen: dict[str, Any]) -> str | None:
    clock.now += seconds
    found = standing.endless(seen)
    return str(found["id"]) if found else None


def test_a_cause_that_no_time_removes_ends_the_wait_once_it_has_stood_for_long() -> None:
    standing = Standing(clock := Clock())
    seen = status("node.resource", "container.start", "image.not-found")
    assert after(standing, clock, 0, seen) is None and after(standing, clock, 29, seen) is None
    assert after(standing, clock, 1, seen) == "container.start"
    assert after(standing, clock, 90, status("image.not-found")) == "image.not-found", "an image may be pushed meanwhile"
    assert sentence(seen, seen["findings"][1]) == "it is pending and will stay so: container.start: about container.start"


def test_a_cause_that_goes_and_comes_again_begins_anew() -> None:
    standing = Standing(clock := Clock())
    assert after(standing, clock, 0, status("image.invalid")) is None
    assert after(standing, clock, 29, status()) is None
    assert after(standing, clock, 29, status("image.invalid")) is None


@pytest.mark.parametrize("state", ["running", "suspended", "deleting", "finished", "failed", "stopping"])
def test_only_who_waits_to_run_waits_for_ever(state: str) -> None:
    standing = Standing(clock := Clock())
    for seconds in (0, 500):
        assert after(standing, clock, seconds, status("container.start", state=state)) is None


def test_what_passes_with_time_is_waited_for() -> None:
    standing = Standing(clock := Clock())
    for seconds in (0, 100_000):
        assert after(standing, clock, seconds, status("node.resource", "pod.node-shutdown", "memory.out")) is None
