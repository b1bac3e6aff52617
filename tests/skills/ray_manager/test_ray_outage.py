"""An API server that goes away while `wait` looks: at a stand-in, for the real one cannot be made to go at that very moment."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ray_calls import Answer, call, ours

from tests.skills.kit.api_stand_in import StandIn, kubeconfig, stand_in, status

ENDED = {"jobDeploymentStatus": "Complete", "jobStatus": "SUCCEEDED"}
META = {
    "name": "tiny",
    "uid": "u-1",
    "resourceVersion": "1",
    "creationTimestamp": "2026-01-01T00:00:00Z",
    "labels": ours("tiny"),
}
JOB: dict[str, Any] = {"kind": "RayJob", "metadata": META, "spec": {"rayClusterSpec": {"headGroupSpec": {}}}, "status": ENDED}
GONE = (503, {}, status(503, "ServiceUnavailable", "the API server is restarted"))
CUT = (200, {"content-length": "100000"}, JOB)


def listed(*items: dict[str, Any]) -> tuple[int, dict[str, str], dict[str, Any]]:
    return 200, {}, {"metadata": {"resourceVersion": "1"}, "items": list(items)}


UNTIL_THE_WATCH_HAS_SEEN_THE_END = [(200, {}, JOB), listed(JOB)]


@pytest.fixture
def script() -> Iterator[StandIn]:
    with stand_in() as running:
        yield running


def wait(script: StandIn, folder: Path, *words: str) -> Answer:
    return call(kubeconfig(folder / "config", script.address), "ml", "wait", "tiny", "--kind", "rayjob", *words)


def test_a_look_that_is_not_answered_is_told_once_and_repeated(script: StandIn, tmp_path: Path) -> None:
    script.answers = [*UNTIL_THE_WATCH_HAS_SEEN_THE_END, GONE, CUT, GONE, (200, {}, JOB), listed()]
    ended = wait(script, tmp_path, "--timeout", "30")
    assert (ended.exit_code, ended.data["state"]) == (0, "finished"), ended.document
    assert ended.stderr.count("waiting for it") == 1


def test_a_server_that_is_away_at_the_deadline_is_exit_8_for_nobody_knows_how_the_job_is(
    script: StandIn, tmp_path: Path
) -> None:
    script.answers = [*UNTIL_THE_WATCH_HAS_SEEN_THE_END, *[GONE] * 30]
    late = wait(script, tmp_path, "--timeout", "2")
    assert (late.exit_code, late.error["code"], late.error["retryable"]) == (8, "unreachable", True)
    assert len(script.asked) > len(UNTIL_THE_WATCH_HAS_SEEN_THE_END) + 1, "it was asked again"


def test_a_refusal_is_not_waited_for(script: StandIn, tmp_path: Path) -> None:
    script.answers = [
        *UNTIL_THE_WATCH_HAS_SEEN_THE_END,
        (403, {}, status(403, "Forbidden", "no more")),
        (200, {}, JOB),
        listed(),
    ]
    refused = wait(script, tmp_path, "--timeout", "30")
    assert (refused.exit_code, refused.error["code"]) == (4, "permission")
