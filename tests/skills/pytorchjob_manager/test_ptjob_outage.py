"""An API server that goes away while `wait` looks: at a stand-in, for the real one cannot be made to go at that very moment."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ptjob_call import Answer, Manager

from tests.skills.kit.api_stand_in import StandIn, kubeconfig, stand_in, status

LABELS = {"app.kubernetes.io/managed-by": "trainyard", "trainyard.dev/run": "tiny", "trainyard.dev/run-id": "0123456789abcdef"}
META = {"name": "tiny", "uid": "u-1", "resourceVersion": "1", "creationTimestamp": "2026-01-01T00:00:00Z", "labels": LABELS}
SPEC: dict[str, Any] = {"pytorchReplicaSpecs": {"Master": {"replicas": 1, "template": {"spec": {"containers": []}}}}}
SUCCEEDED = {"type": "Succeeded", "status": "True", "reason": "Done", "message": "it has ended"}


def job(*conditions: dict[str, str]) -> dict[str, Any]:
    return {"kind": "PyTorchJob", "metadata": META, "spec": SPEC, "status": {"conditions": list(conditions)}}


def listed(*items: dict[str, Any]) -> tuple[int, dict[str, str], dict[str, Any]]:
    return 200, {}, {"metadata": {"resourceVersion": "1"}, "items": list(items)}


ENDED = job(SUCCEEDED)
GONE = (503, {}, status(503, "ServiceUnavailable", "the API server is restarted"))
CUT = (200, {"content-length": "100000"}, ENDED)


@pytest.fixture
def script() -> Iterator[StandIn]:
    with stand_in() as running:
        yield running


def wait(script: StandIn, folder: Path, timeout_s: int) -> Answer:
    manager = Manager(kubeconfig(folder / "config", script.address), "ml")
    return manager("wait", "tiny", "--engine", "pytorchjob", "--timeout", str(timeout_s))


def test_a_look_that_is_not_answered_is_told_once_and_repeated(script: StandIn, tmp_path: Path) -> None:
    script.answers = [(200, {}, ENDED), listed(ENDED), GONE, CUT, listed(), (200, {}, ENDED), *[listed()] * 3]
    ended = wait(script, tmp_path, 30)
    assert (ended.code, ended.data["state"]) == (0, "finished"), ended.document
    assert ended.stderr.count("waiting for it") == 1


def test_a_server_that_is_away_at_the_deadline_is_exit_8_for_nobody_knows_how_the_job_is(
    script: StandIn, tmp_path: Path
) -> None:
    script.answers = [(200, {}, job()), listed(job()), *[GONE] * 30]
    late = wait(script, tmp_path, 2)
    assert (late.code, late.error["code"], late.error["retryable"]) == (8, "unreachable", True), late.document
