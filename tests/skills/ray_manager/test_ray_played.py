"""Real pods that KubeRay made for others: a Ray container of another name, a sidecar, a head without GPUs, another dashboard port.

Ray itself is played (stand_in_head.py, played_ray.py): it would take a minute to start. The same verbs on a real one: test_ray_real.py.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ray_calls import Answer, Ray

NAMES = ("S35", "a RayCluster whose containers have other names", "every verb finds the Ray container")
GPUS = ("R35", "a RayCluster with a head without GPUs", "only the nodes that ask for GPUs prove them")
HERE = Path(__file__).parent
FILES = {
    "ray": ("bin/ray", "#!/bin/sh\nexit 0\n"),
    "init": ("ray/__init__.py", (HERE / "played_ray.py").read_text()),
    "util": ("ray/util/__init__.py", ""),
    "strategies": ("ray/util/scheduling_strategies.py", "from ray import NodeAffinitySchedulingStrategy\n"),
}
"""Key of the ConfigMap -> place in the container, content. `ray` is what KubeRay's init container of a worker asks for the head."""
PORT = 8266


def node(container: str, command: list[str], **params: str) -> dict[str, Any]:
    path = "/play/bin:/usr/local/bin:/usr/bin:/bin"
    ray = {
        "name": container,
        "image": "local.test/python:3.11",
        "command": command,
        "env": [
            {"name": "PATH", "value": path},
            {"name": "PYTHONPATH", "value": "/play"},
            {"name": "PLAYED_PORT", "value": str(PORT)},
        ],
        "volumeMounts": [{"name": "play", "mountPath": "/play"}],
        "livenessProbe": {"exec": {"command": ["true"]}},
        "readinessProbe": {"exec": {"command": ["true"]}},
    }
    sidecar = {"name": "logs", "image": "local.test/python:3.11", "command": ["sleep", "3600"]}
    items = [{"key": key, "path": path} for key, (path, _) in FILES.items()]
    play = {"name": "play", "configMap": {"name": "play", "items": items, "defaultMode": 0o755}}
    pod = {
        "containers": [ray, sidecar],
        "volumes": [play],
        "nodeSelector": {"type": "real"},
        "terminationGracePeriodSeconds": 1,
    }
    overwritten = {"annotations": {"ray.io/overwrite-container-cmd": "true"}}
    return {"rayStartParams": params, "template": {"metadata": overwritten, "spec": pod}}


@pytest.fixture(scope="module")
def played(shared_ray: Ray) -> Ray:
    """A head, and a worker of which Ray was told that it has two GPUs."""
    head = node("ray-head", ["python3", "-c", (HERE / "stand_in_head.py").read_text()], **{"dashboard-port": str(PORT)})
    workers = {"groupName": "gpus", "replicas": 1, "minReplicas": 1, "maxReplicas": 1}
    workers |= node("ray-worker", ["sleep", "3600"], **{"num-gpus": "2"})
    spec = {"rayVersion": "2.60.0", "headGroupSpec": head, "workerGroupSpecs": [workers]}
    shared_ray.apply(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "play"},
            "data": {key: content for key, (_, content) in FILES.items()},
        },
        {"apiVersion": "ray.io/v1", "kind": "RayCluster", "metadata": {"name": "played"}, "spec": spec},
    )
    ready = shared_ray("wait", "played", "--ready", "--timeout", "120")
    assert ready.exit_code == 0, ready.document
    return shared_ray


@pytest.mark.situation(*NAMES)
def test_what_others_made_can_be_used(played: Ray) -> None:
    ran = played("exec", "played", "--", "python3", "-c", "print(6 * 7)")
    assert (ran.exit_code, ran.data["container"]) == (0, "ray-head"), ran.document
    assert [each["line"] for each in ran.stream] == ["42"]
    words = ("submit", "played", "--submission-id", "one", "--", "echo", "one")
    made, again = played(*words), played(*words)
    assert made.exit_code == again.exit_code == 0 and made.document["changed"] and not again.document["changed"], made.document
    which = ("played", "--submission-id", "one")
    ended = played("wait", *which, "--timeout", "30")
    assert (ended.exit_code, ended.data["state"]) == (0, "finished"), ended.document
    assert played("logs", *which).data["lines"] == ["[0] said by the driver"]
    for rank in ("0", "1"):
        assert played("logs", "played", "--rank", rank).exit_code == 0


def test_a_wait_for_what_cannot_pass_ends(shared_ray: Ray) -> None:
    head = node("ray-head", ["sleep", "3600"])
    head["template"]["spec"]["containers"][0]["image"] = "local.test/Not:a:name"
    head["template"]["spec"]["volumes"] = []
    head["template"]["spec"]["containers"][0]["volumeMounts"] = []
    spec = {"rayVersion": "2.60.0", "headGroupSpec": head}
    shared_ray.apply({"apiVersion": "ray.io/v1", "kind": "RayCluster", "metadata": {"name": "no-image"}, "spec": spec})
    done = shared_ray("wait", "no-image", "--ready", "--timeout", "150")
    assert (done.exit_code, done.data["state"], done.document["ok"]) == (1, "pending", False)
    assert "image.invalid" in done.check("wait.endless")["summary"]


# --- GPUs --------------------------------------------------------------------------------------------------------


def verified(played: Ray, **seen: tuple[int, int | None] | None) -> Answer:
    """verify-gpus where Ray counts and the devices of `head` and `worker` are these; None: Ray does not know that node."""
    found = [pod for pod in played.get("pods")["items"] if pod["status"].get("podIP")]
    pods = {pod["metadata"]["labels"]["ray.io/node-type"]: pod for pod in found}
    rows = [
        {
            "NodeID": role,
            "Alive": True,
            "NodeManagerHostname": role,
            "NodeManagerAddress": pods[role]["status"]["podIP"],
            "Resources": {"GPU": told[0]} if told[0] else {},
            "seen": None if told[1] is None else {"nvidia": told[1], "neuron": 0, "gpus": []},
        }
        for role, told in seen.items()
        if told
    ]
    write = ("exec", pods["head"]["metadata"]["name"], "--namespace", played.namespace, "-c", "ray-head", "-i", "--")
    played.cluster.kubectl(*write, "sh", "-c", "cat > /tmp/nodes.json", stdin=json.dumps(rows))
    return played("verify-gpus", "played", "--timeout", "5")


@pytest.mark.situation(*GPUS)
def test_nothing_asked_for_is_nothing_proved(played: Ray) -> None:
    seen = verified(played, head=(8, 8), worker=(8, 8))
    assert (seen.exit_code, seen.data["judged"], seen.check("devices")["status"]) == (1, 0, "unknown"), seen.document


@pytest.fixture(scope="module")
def asking(played: Ray) -> Ray:
    """The real node has no GPUs, so the group asks for them when its pod is there: KubeRay leaves that as it is."""
    path = "/spec/workerGroupSpecs/0/template/spec/containers/0/resources"
    patch = json.dumps([{"op": "add", "path": path, "value": {"limits": {"nvidia.com/gpu": "2"}}}])
    played.cluster.kubectl("patch", "raycluster", "played", "--namespace", played.namespace, "--type=json", "--patch", patch)
    return played


@pytest.mark.situation(*GPUS)
@pytest.mark.parametrize(
    ("head", "worker", "devices", "counted"),
    [
        ((0, 0), (2, 2), "pass", "pass"),
        ((0, None), (2, 2), "pass", "pass"),
        ((8, 8), (2, 0), "fail", "pass"),
        ((8, 8), (0, 2), "pass", "fail"),
        ((8, 8), (2, None), "unknown", "pass"),
        ((8, 8), None, "unknown", "fail"),
    ],
)
def test_gpus_are_judged_where_they_were_asked_for(
    asking: Ray, head: tuple[int, int | None], worker: tuple[int, int | None] | None, devices: str, counted: str
) -> None:
    seen = verified(asking, head=head, worker=worker)
    assert seen.data["judged"] == 1 and seen.data["accelerators"]["wanted"] == 2, seen.document
    assert (seen.check("devices")["status"], seen.check("ray.accelerators")["status"]) == (devices, counted), seen.document
    assert (seen.exit_code == 0) is (devices == counted == "pass")


@pytest.mark.situation(*GPUS)
def test_a_node_that_is_missing_is_no_proof_either(asking: Ray) -> None:
    path = "/spec/workerGroupSpecs/0"
    patch = [{"op": "replace", "path": f"{path}/{key}", "value": 2} for key in ("maxReplicas", "replicas")]
    asking.cluster.kubectl(
        "patch", "raycluster", "played", "--namespace", asking.namespace, "--type=json", "--patch", json.dumps(patch)
    )
    seen = verified(asking, head=(0, 0), worker=(2, 2))
    assert seen.exit_code == 1 and seen.check("devices")["status"] != "pass", seen.document
