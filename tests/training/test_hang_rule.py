"""The rule about hangs, over evidence that lasts for hours and is made here: what is ended, when, and what never is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from trainyard.hang_rule import Rank, Seen, Steps, Verdict, Watch, interval_s

MINUTE, HOUR = 60.0, 3600.0
Shape = Callable[[float], dict[str, Any]]
"""Seconds since the start -> what is seen: step, output (both numbers that grow), busy, sign, states, waits, until."""


def watched(shape: Shape, hours: float, hang_after_s: float | None = None, longest: float = 0.0) -> tuple[float, Verdict]:
    """When the first hang was found, and its verdict; after `hours` without one: the last verdict."""
    watch, now, verdict = Watch(hang_after_s, longest), 0.0, Verdict("works")
    watch.begin(now)
    while now < hours * HOUR:
        now += 4 * interval_s(hang_after_s)
        at = shape(now)
        states, waits = at.get("states", "ll"), at.get("waits", "..")
        words = {"l": "lives", "s": "stopped", "t": "traced", "g": "gone"}
        ranks = tuple(Rank(i, 100 + i, words[s], waits[i] == "w") for i, s in enumerate(states))
        seen = Seen(ranks, at.get("output", 0), at.get("busy", ""), at.get("sign", ""))
        verdict = watch.look(now, seen, Steps(at.get("step"), at.get("until", float("inf"))))
        if verdict.name == "hang":
            break
    return now, verdict


def every(seconds: float, now: float, since: float = 0.0) -> int:
    return int(max(0.0, now - since) // seconds)


HEALTHY: dict[str, Shape] = {
    "a step every second": lambda t: {"step": every(1, t), "output": every(1, t)},
    "a step every nine minutes, nothing between": lambda t: {"step": every(9 * MINUTE, t) or None},
    "output alone, a line every nine minutes": lambda t: {"output": every(9 * MINUTE, t)},
    "steps that wait for each other in between": lambda t: {"step": every(5 * MINUTE, t), "waits": "ww"},
    "compilation before the first step": lambda t: {"step": every(1, t) if t > HOUR else None, "sign": "new processes"},
    "data preparation on one rank, the others wait": lambda t: {
        "busy": "storage",
        "waits": ".w",
        "step": t if t > 8 * HOUR else None,
    },
    "an evaluation of five hours that prints": lambda t: (
        {"step": 7, "output": every(MINUTE, t)} if t < 5 * HOUR else {"step": t}
    ),
    "an evaluation of ten hours on processors": lambda t: {"step": 7, "busy": "processors"} if t < 10 * HOUR else {"step": t},
    "a save of ten minutes": lambda t: {"step": 7, "busy": "storage"} if HOUR < t < HOUR + 10 * MINUTE else {"step": t},
    "one line in twenty hours": lambda t: {"output": every(20 * HOUR, t), "busy": "processors"},
    "no line at all, at work": lambda t: {"busy": "processors"},
    "work that comes and goes": lambda t: {"busy": "storage" if every(8 * MINUTE, t) % 2 else ""},
    "an early end of one rank, the other exports": lambda t: {
        "states": "lg",
        "busy": "" if t % 90 > 25 else "storage",
        "waits": "w." if t % 90 > 25 else "..",
    },
    "an early end of one rank, the other computes without a word": lambda t: {"states": "lg", "busy": "processors"},
    "ranks end one after the other": lambda t: {"states": "lg", "waits": "w." if t > 100 else ".."} if t < 200 else {"step": t},
    "stopped by somebody": lambda t: {"states": "ss", "waits": "ww"},
    "a debugger for three hours": lambda t: {"states": "lt", "waits": "ww"} if t < 3 * HOUR else {"step": t},
    "stopped for three hours, then going on": lambda t: {"states": "ss"} if t < 3 * HOUR else {"step": every(60, t)},
    "a rank stopped for 100 seconds": lambda t: {"states": "ls", "waits": "w."} if t % 300 < 90 else {"step": every(300, t)},
    "pauses that grow": lambda t: {"step": [x for x in (0, 1, 500, 1900, 6000, 18000, 9e9) if x <= t][-1]},
    "a step between slow steps that only a slow reader sees": lambda t: {
        "step": every(30, t - 25),
        "output": every(1, t),
        "until": t - 25,
    },
    "lost step lines on a full disk": lambda t: {"step": 7, "sign": "calls of its own"} if t < 5 * HOUR else {"step": t},
}


@pytest.mark.parametrize("name", HEALTHY)
def test_a_healthy_run_is_never_ended(name: str) -> None:
    _, verdict = watched(HEALTHY[name], hours=12)
    assert verdict.name != "hang", verdict


def stops(at: float, **then: Any) -> Shape:
    """Steps until `at`, then what `then` says."""
    return lambda t: {"step": every(1, min(t, at)), "output": every(1, min(t, at)), **(then if t > at else {})}


HANGS: dict[str, tuple[Shape, float | None, float, str]] = {
    # what is seen, hang_after_s, seconds after the hang at which it is acted on, what the reason says
    "a stopped rank": (stops(500, states="ls", waits="w."), None, 120, "rank 1 (pid 101) has been stopped for 1"),
    "a stopped rank, others spin": (stops(500, states="sl", sign="calls of its own"), None, 120, "rank 0 (pid 100) has been stopped"),
    "a rank that is gone": (stops(500, states="lg", waits="w."), None, 120, "rank 1 (pid 101) is gone and the others wait"),
    "silence": (stops(500), None, 600, "no step for 600 s"),
    "silence from the beginning": (lambda t: {}, None, 600, "no output for 600 s"),
    "silence after output": (lambda t: {"output": min(t, 500)}, None, 600, "no output for 600 s"),
    "gone on a GPU: the others do not seem to wait": (stops(500, states="lg"), None, 600, "no step for 600 s"),
    "words without steps": (stops(500, output=1), None, 600, "no step"),
    "words that go on": (lambda t: {"step": min(t, 500), "output": t}, None, 6 * HOUR, "only output or short processes"),
    "work without end": (lambda t: {"step": min(t, 500), "busy": "processors"}, None, 24 * HOUR, "although it works"),
    "as the user says: steps": (lambda t: {"step": min(t, 500), "output": t, "busy": "storage"}, 60, 60, "no step for 60 s"),
    "as the user says: output": (lambda t: {"output": min(t, 500)}, 60, 60, "no output for 6"),
    "as the user says: output, although it works": (
        lambda t: {"output": min(t, 500), "busy": "processors"}, 60, 600, "no output for 6"
    ),
    "hard evidence within a short limit": (stops(500, states="ls"), 30, 30, "is stopped"),
    "hard evidence within a long limit": (stops(500, states="ls"), 5000, 120, "has been stopped"),
}  # fmt: skip


@pytest.mark.parametrize("name", HANGS)
def test_a_hang_is_found_when_its_limit_is_reached_and_not_before(name: str) -> None:
    shape, hang_after_s, limit_s, reason = HANGS[name]
    began_s = 0.0 if name == "silence from the beginning" else 500.0
    found_s, verdict = watched(shape, 26, hang_after_s)
    assert verdict.name == "hang"
    assert reason in verdict.reason
    assert limit_s <= found_s - began_s <= limit_s + 8 * interval_s(hang_after_s)


def test_a_run_teaches_how_long_its_pauses_are() -> None:
    pause = lambda t: {"step": 1 if t < 590 else 2}  # noqa: E731
    found_s, verdict = watched(pause, 2)
    assert "no sign of work for 17" in verdict.reason
    assert found_s - 590 == pytest.approx(3 * 590, abs=70)
    again_s, _ = watched(lambda t: {}, 2, longest=590)
    assert again_s == pytest.approx(3 * 590, abs=25)


def test_a_pause_by_somebody_starts_all_clocks_anew() -> None:
    def shape(t: float) -> dict[str, Any]:
        return {"step": 1, "states": "ss" if 500 < t < 2000 else "ll"}

    found_s, _ = watched(shape, 2)
    assert found_s == pytest.approx(2600, abs=25)
    _, verdict = watched(lambda t: {"states": "ts"}, 1)
    assert verdict == Verdict("paused", "rank 0 (pid 100) is being debugged")


def test_a_gap_between_two_looks_starts_all_clocks_anew() -> None:
    watch = Watch(None)
    watch.begin(0)
    silent, stopped = Seen((Rank(0, 7, "lives"), Rank(1, 8, "lives")), 0), Seen((Rank(0, 7, "lives"), Rank(1, 8, "stopped")), 0)
    for now in range(5, 600, 5):
        assert watch.look(now, silent, Steps()).name == "works"
    assert watch.look(4000, silent, Steps()).name == "works"
    for now in range(4005, 4600, 5):
        assert watch.look(now, silent, Steps()).name == "works", now
    assert watch.look(4600, silent, Steps()).name == "hang"
    watch.begin(5000)
    for now in range(5005, 5100, 5):
        watch.look(now, stopped, Steps())
    assert watch.look(9000, stopped, Steps()).name == "works"


def test_steps_that_nobody_has_read_yet_are_no_silence() -> None:
    watch = Watch(60)
    watch.begin(0)
    seen = [Seen((Rank(0, 7, "lives"),), now) for now in range(200)]
    for now in range(1, 150):  # one step was read at 10; the reader was asked last at 50, and the run has printed ever since
        verdict = watch.look(now, seen[now], Steps(1 if now >= 10 else None, 50))
        assert verdict.name == "works", (now, verdict)
    assert "no step for 61 s" in watch.look(151, seen[151], Steps(1, 71)).reason


def test_a_rank_that_waits_for_another_node_is_no_silence() -> None:
    """Each node alone would be ended."""
    watch = Watch(None)
    watch.begin(0)
    for now in range(5, 4000, 5):
        exporting = Seen((Rank(0, 7, "lives"),), 0, busy="storage")
        waiting = Seen((Rank(1, 9, "lives", waits=True),), 0)
        assert watch.look(now, Seen.together({0: exporting, 1: waiting}), Steps(3)).name == "works"
    one_stopped = Seen.together({0: Seen((Rank(0, 7, "stopped"),), 0), 1: Seen((Rank(1, 9, "lives"),), 0)})
    verdicts = [watch.look(now, one_stopped, Steps(3)) for now in range(4000, 4200, 5)]
    assert verdicts[0].name == "works"
    assert verdicts[-1].reason.startswith("rank 0 (node 0, pid 7) has been stopped")


@pytest.mark.parametrize(
    "document",
    [None, [], {}, {"ranks": 3}, {"ranks": [[0]], "output": 0, "busy": "", "sign": ""}]
    + [{"ranks": [[0, 1, "odd", True]], "output": 0, "busy": "", "sign": ""}, {"ranks": [], "output": "x", "busy": "", "sign": ""}]
    + [{"ranks": [["1e9", 1, "lives", True]], "output": 0, "busy": "", "sign": ""}, {"ranks": [], "output": float("inf"), "busy": "", "sign": ""}],
)  # fmt: skip
def test_evidence_of_another_shape_is_refused(document: Any) -> None:
    with pytest.raises(ValueError):
        Seen.of(document)


def test_evidence_is_read_as_it_was_written() -> None:
    seen = Seen.of({"ranks": [[0, 7, "lives", True], [1, None, "gone", False]], "output": 4, "busy": "storage", "sign": ""})
    assert seen == Seen((Rank(0, 7, "lives", True), Rank(1, None, "gone")), 4, "storage", "")
    assert str(seen.ranks[1]) == "rank 1"


def test_a_start_that_works_without_a_word_is_not_cut_short_by_a_short_limit() -> None:
    """torchrun on a busy machine, or with torch on a network volume, needs longer than some limits before a rank says anything."""
    last_s, verdict = watched(lambda t: {"busy": "processors"} if t < 300 else {"step": t}, 0.2, hang_after_s=10)
    assert verdict.name == "works" and last_s > 700


def test_a_step_that_was_read_late_was_made_before_it_was_asked_for() -> None:
    watch = Watch(60)
    watch.begin(0)
    seen = Seen((Rank(0, 7, "lives"),), 0)
    verdicts = {now: watch.look(now, seen, Steps(1 if now >= 40 else None, 12)).name for now in range(1, 73)}
    assert (verdicts[71], verdicts[72]) == ("works", "hang")  # 60 s after 12, not after 40
