"""pytorchjob-manager and ray-manager as users who may do exactly what their Roles say: every verb works, nothing granted goes unused."""

from __future__ import annotations

import contextlib
import http.client
import json
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.components.cluster.nodes import FAKE_SELECTOR, FAKE_TOLERATION
from tests.components.cluster.running import Cluster
from tests.infrastructure.conftest import Team
from tests.infrastructure.kustomized import granted
from tests.infrastructure.recorded import Record, authority
from tests.infrastructure.skill_calls import ON_KWOK, RUN_ID, call

JOB = ["--run-id", RUN_ID, "--image", "any:1", *ON_KWOK]
NOWHERE = ["--node-selector", "no=such"]


@pytest.fixture(scope="module")
def pytorchjob_user(team: Team, hyperpod: None) -> Record:
    """Every verb of pytorchjob-manager, on a job of each engine. (No public HyperPod operator: tests/components/hyperpod plays it.)"""
    user = team.user("pytorchjob-manager")

    def run(*words: str, exits: tuple[int, ...] = (0,)) -> None:
        call(user.kubeconfig, "pytorchjob-manager", *words, exits=exits)

    run("create", "role-job", *JOB, "--nodes", "2", "--dry-run", "--", "torchrun", "train.py")
    run("create", "role-job", *JOB, "--nodes", "2", "--", "torchrun", "train.py")
    run("wait", "role-job", "--timeout", "1", exits=(7,))
    run("logs", "role-job", "--lines", "1")
    run("list")
    run("delete", "role-job", "--run-id", RUN_ID, "--yes")
    # Pods that cannot be placed: status asks for the events that say why. (Those of a TrainJob that can, kwok ends at once.)
    for engine in ("pytorchjob", "trainjob", "hyperpodjob"):
        name = f"role-{engine}"
        waiting = ["--run-id", RUN_ID, "--image", "any:1", *NOWHERE, "--engine", engine, "--nodes", "2"]
        run("create", name, *waiting, "--", "torchrun", "train.py")
        run("wait", name, "--timeout", "1", exits=(7,))
        run("status", name)
        run("suspend", name, "--run-id", RUN_ID, exits=(0, 2))
        run("resume", name, "--run-id", RUN_ID, exits=(0, 2))
        run("scale", name, "--run-id", RUN_ID, "--nodes", "3", exits=(0, 2))
        run("delete", name, "--run-id", RUN_ID, "--yes")
    # Pods that the quota refuses: only events say so.
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "no-gpus", "namespace": team.namespace}}
    team.cluster.apply([{**quota, "spec": {"hard": {"requests.nvidia.com/gpu": "0"}}}])
    run("create", "role-quota", *JOB, "--gpus", "1", "--", "true")
    run("status", "role-quota")
    run("logs", "role-quota", "--follow", "--timeout", "1", exits=(0, 7))
    run("delete", "role-quota", "--run-id", RUN_ID, "--yes")
    return user


@pytest.fixture(scope="module")
def ray_user(team: Team) -> Record:
    """Every verb of ray-manager. On a pretended node commands run on this machine, which has no Ray: what needs it may fail there."""
    user = team.user("ray-manager")

    def run(*words: str, exits: tuple[int, ...] = (0,)) -> None:
        document = call(user.kubeconfig, "ray-manager", *words, exits=exits)
        assert document.get("error", {}).get("code") != "permission", document

    anyhow = tuple(range(9))
    run("create", "role-ray", *JOB, "--kind", "raycluster", "--nodes", "2", "--dry-run")
    run("create", "role-ray", *JOB, "--kind", "raycluster", "--nodes", "2")
    run("wait", "role-ray", "--timeout", "30", exits=(0, 7))
    run("status", "role-ray")
    run("exec", "role-ray", "--", "true")
    run("submit", "role-ray", "--run-id", RUN_ID, "--", "python", "train.py", exits=anyhow)
    run("verify-gpus", "role-ray", "--timeout", "5", exits=anyhow)
    run("logs", "role-ray", "--rank", "1", "--lines", "1")
    run("list")
    run("delete", "role-ray", "--run-id", RUN_ID, "--yes")
    run("create", "role-waits", "--run-id", RUN_ID, "--image", "any:1", "--kind", "raycluster", "--nodes", "1", *NOWHERE)
    run("wait", "role-waits", "--timeout", "2", exits=(7,))
    run("status", "role-waits")
    run("delete", "role-waits", "--run-id", RUN_ID, "--yes")
    run("create", "role-rayjob", *JOB, "--kind", "rayjob", "--nodes", "1", "--", "python", "train.py")
    run("wait", "role-rayjob", "--timeout", "1", exits=(7,))
    run("status", "role-rayjob")
    run("logs", "role-rayjob", exits=anyhow)
    run("delete", "role-rayjob", "--run-id", RUN_ID, "--yes")
    return user


def test_pytorchjob_manager_asks_for_all_that_its_role_grants_and_nothing_else(pytorchjob_user: Record) -> None:
    assert pytorchjob_user.permissions() == granted("pytorchjob-manager")


def test_ray_manager_asks_for_all_that_its_role_grants_and_nothing_else(ray_user: Record) -> None:
    # `create --dry-run` asks whether a pod like the head's would be taken: skipped where one may not make pods.
    assert ray_user.permissions() - {("", "pods", "create")} == granted("ray-manager")


def test_a_stream_into_a_pod_needs_get_and_create(cluster: Cluster, namespace: str) -> None:
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "some", "namespace": namespace}}
    containers = [{"name": "main", "image": "any"}]
    cluster.apply(
        [{**pod, "spec": {"containers": containers, "nodeSelector": FAKE_SELECTOR, "tolerations": [FAKE_TOLERATION]}}]
    )
    cluster.kubectl("wait", "--for=condition=Ready", "pod/some", "--namespace", namespace, "--timeout=30s")
    answers = {}
    for verbs in (["get"], ["create"], ["get", "create"]):
        rules = [{"apiGroups": [""], "resources": ["pods/exec"], "verbs": verbs}]
        user = cluster.user("-".join(verbs), namespace, rules=rules)
        answers["+".join(verbs)] = websocket_status(
            user, f"/api/v1/namespaces/{namespace}/pods/some/exec?command=true&stdout=1"
        )
    assert answers == {"get": 403, "create": 403, "get+create": 101}


def websocket_status(kubeconfig: Path, target: str) -> int:
    """The answer to the request that opens a stream; 101: it is open."""
    config = json.loads(kubeconfig.read_text())
    server = config["clusters"][0]["cluster"]
    connection = http.client.HTTPSConnection(urlsplit(server["server"]).netloc, context=authority(server), timeout=30)
    headers = {"Authorization": f"Bearer {config['users'][0]['user']['token']}", "Sec-WebSocket-Protocol": "v4.channel.k8s.io"}
    headers |= {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "A" * 22 + "==",
    }
    with contextlib.closing(connection):
        connection.request("GET", target, headers=headers)
        return connection.getresponse().status
