"""checkpoint-manager as a user who may do exactly what its Role says: every verb works, and nothing that is granted goes unused."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.components.cluster.nodes import REAL_SELECTOR
from tests.components.cluster.running import IMAGE
from tests.infrastructure.conftest import Team
from tests.infrastructure.kustomized import granted
from tests.infrastructure.recorded import Record
from tests.infrastructure.skill_calls import RUN_ID, SKILLS, call, printed_permissions

EXAMPLE = SKILLS / "checkpoint-manager" / "assets" / "example-checkpoints"
RUN_DIR = "/trainyard/tiny"


@dataclass
class Journey:
    """What the verbs said, in the order of their use."""

    user: Record
    ensured: dict[str, Any]
    latest: dict[str, Any]
    copied: Path


@contextmanager
def trainer(team: Team, claim: str) -> Iterator[list[str]]:
    """A running pod that has the claim mounted, as words of the command line; not of the user's making."""
    container = {"name": "main", "image": IMAGE, "imagePullPolicy": "IfNotPresent", "command": ["sleep", "600"]}
    spec = {
        "nodeSelector": REAL_SELECTOR,
        "terminationGracePeriodSeconds": 0,
        "containers": [{**container, "volumeMounts": [{"name": "run", "mountPath": "/trainyard"}]}],
        "volumes": [{"name": "run", "persistentVolumeClaim": {"claimName": claim}}],
    }
    metadata = {"name": "trainer", "namespace": team.namespace}
    team.cluster.apply([{"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}])
    team.cluster.kubectl("wait", "--for=condition=Ready", "pod/trainer", "-n", team.namespace, "--timeout=60s")
    yield ["--pod", "trainer"]
    team.cluster.kubectl("delete", "pod", "trainer", "-n", team.namespace, "--wait=true", "--timeout=60s")


@pytest.fixture(scope="module")
def journey(team: Team) -> Journey:
    user = team.user("checkpoint-manager")
    storage = ["--storage-class", team.storage_class(1), "--size", "1Gi", "--nodes", "2"]
    ensured = call(user.kubeconfig, "volumes", "ensure-volume", "tiny", "--run-id", RUN_ID, *storage)
    claim = ensured["data"]["claim"]
    call(user.kubeconfig, "volumes", "list-volumes")
    shutil.copytree(EXAMPLE, team.folder / "volume-0" / "tiny" / "checkpoints")
    (team.folder / "volume-0" / "tiny" / "steps.jsonl").write_text('{"step": 1}\n')

    def look(*words: str, at: list[str], exits: tuple[int, ...] = (0,)) -> dict[str, Any]:
        return call(user.kubeconfig, "pod-checkpoints", *words, *at, exits=exits)

    helper = ["--claim", claim, "--image", IMAGE, "--node-selector", "=".join(*REAL_SELECTOR.items())]
    latest = look("latest", RUN_DIR, at=helper)
    with trainer(team, claim) as pod:
        look("list", RUN_DIR, at=pod)
        look("verify", RUN_DIR, at=pod, exits=(1,))  # the newest step of the example is damaged
        look("prune", RUN_DIR, at=pod, exits=(6,))
        look("copy", RUN_DIR, "latest", str(team.folder / "copied"), at=pod)
        look("fetch", RUN_DIR, str(team.folder / "fetched"), at=pod)
    # A class whose volumes nobody makes: the claim waits, and its events are asked why.
    empty = ["--storage-class", team.storage_class(0), "--size", "1Gi", "--timeout", "2"]
    waits = call(user.kubeconfig, "volumes", "ensure-volume", "waits", "--run-id", RUN_ID, *empty, exits=(0, 1, 7))
    for name in (claim, waits["data"]["claim"]):
        call(user.kubeconfig, "volumes", "delete-volume", name, "--run-id", RUN_ID, "--yes")
    return Journey(user, ensured, latest, team.folder / "copied")


def test_every_verb_works_with_the_role_alone(journey: Journey) -> None:
    assert journey.ensured["data"]["phase"] == "Bound"
    assert journey.latest["data"]["step"] > 0
    assert list(journey.copied.rglob("manifest.json"))
    assert (journey.copied.parent / "fetched" / "steps.jsonl").exists()


def test_what_only_the_cluster_role_lets_be_read_is_no_pass_and_prints_a_rule_of_it(journey: Journey) -> None:
    printed = printed_permissions(journey.ensured)
    assert printed and printed <= granted(cluster_reads=True)


def test_all_that_the_role_grants_is_asked_for_and_beyond_it_only_what_the_cluster_role_has(journey: Journey) -> None:
    asked = journey.user.permissions()
    assert granted("checkpoint-manager") - asked == set()
    assert asked - granted("checkpoint-manager", cluster_reads=True) == set()
