"""A run's claim is made once, found again, never changed, and deleted only by its own run."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cluster_calls import OTHER_ID, RUN_ID, check, claims, ensure, volumes

from tests.components.cluster.nodes import FAKE_SELECTOR, FAKE_TOLERATION
from tests.components.cluster.running import Cluster
from tests.components.cluster.volumes import SHARED_CLASS, shared_volume

NAME = "tiny-01234567"


@dataclass(frozen=True)
class Shared:
    """A namespace, and a class whose three free volumes of 5Gi nobody else's claims can take."""

    namespace: str
    storage_class: str

    @property
    def wish(self) -> tuple[Any, ...]:
        return "--storage-class", self.storage_class, "--size", "1Gi", "--nodes", 2


@pytest.fixture
def shared(cluster: Cluster, namespace: str, tmp_path: Path) -> Shared:
    """The class and the volumes belong to the namespace and go with it."""
    uid = cluster.get("namespace", namespace)["metadata"]["uid"]
    owner = {"apiVersion": "v1", "kind": "Namespace", "name": namespace, "uid": uid}
    name = f"shared-{namespace}"
    made = [shared_volume(f"{name}-{number}", tmp_path, "5Gi", owner) for number in range(3)]
    for volume in made:
        volume["spec"]["storageClassName"] = name
    cluster.apply([{**SHARED_CLASS, "metadata": {"name": name, "ownerReferences": [owner]}}, *made])
    return Shared(namespace, name)


def claim(cluster: Cluster, namespace: str, name: str = NAME) -> dict[str, Any]:
    return cluster.get("persistentvolumeclaim", name, "--namespace", namespace)


def foreign_claim(name: str, **spec: Any) -> dict[str, Any]:
    words = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, **spec}
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": words}


def test_the_same_call_finds_the_claim_again_and_another_wish_is_a_conflict(cluster: Cluster, shared: Shared) -> None:
    first = ensure(cluster, shared.namespace, *shared.wish)
    assert first.code == 0 and first.data["created"] and first.data["phase"] == "Bound"
    assert first.data["access_mode"] == "ReadWriteMany" and first.data["claim"] == NAME
    made = claim(cluster, shared.namespace)
    assert made["metadata"]["labels"]["trainyard.dev/run-id"] == RUN_ID
    again = ensure(cluster, shared.namespace, *shared.wish)
    assert again.code == 0 and again.data["uid"] == first.data["uid"]
    assert again.document["changed"] == [] and not again.data["created"]
    assert ensure(cluster, shared.namespace, "--storage-class", shared.storage_class, "--size", "2Gi").code == 5
    assert claim(cluster, shared.namespace)["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]
    # Another run of the same name, whose id begins with the same digits, does not get it.
    assert ensure(cluster, shared.namespace, *shared.wish, run_id=RUN_ID[:8] + OTHER_ID[8:]).code == 5


def test_a_claim_of_that_name_that_is_not_ours_is_left_alone(cluster: Cluster, shared: Shared) -> None:
    cluster.apply([foreign_claim(NAME, storageClassName=shared.storage_class)], "--namespace", shared.namespace)
    answer = ensure(cluster, shared.namespace, *shared.wish)
    assert answer.code == 5 and "not made by Trainyard" in answer.document["error"]["message"]
    assert volumes(cluster, shared.namespace, "delete-volume", NAME, "--run-id", RUN_ID, "--yes").code == 5
    assert claims(cluster, shared.namespace) == [NAME]


def test_an_existing_claim_is_checked_and_never_changed(cluster: Cluster, shared: Shared) -> None:
    cluster.apply([foreign_claim("once", storageClassName=shared.storage_class)], "--namespace", shared.namespace)
    cluster.kubectl(
        "wait", "--for=jsonpath={.status.phase}=Bound", "pvc/once", "--namespace", shared.namespace, "--timeout=20s"
    )
    before = claim(cluster, shared.namespace, "once")
    fits = ensure(cluster, shared.namespace, "--claim", "once", "--nodes", 1, "--size", "5Gi")
    assert fits.code == 0 and fits.data["created"] is False and fits.data["reclaim_policy"] == "Retain"
    assert check(ensure(cluster, shared.namespace, "--claim", "once", "--nodes", 2), "volume.access")["status"] == "fail"
    assert check(ensure(cluster, shared.namespace, "--claim", "once", "--size", "6Gi"), "volume.size")["status"] == "fail"
    assert ensure(cluster, shared.namespace, "--claim", "absent").code == 3
    assert claim(cluster, shared.namespace, "once") == before


def test_a_volume_in_another_zone_than_the_nodes_is_refused(cluster: Cluster, shared: Shared) -> None:
    term = {"matchExpressions": [{"key": "topology.ebs.csi.aws.com/zone", "operator": "In", "values": ["us-west-2b"]}]}
    name = f"zoned-{secrets.token_hex(4)}"
    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": name,
            "persistentVolumeReclaimPolicy": "Delete",
            "csi": {"driver": "zoned.csi.example.com", "volumeHandle": name},
            "claimRef": {"namespace": shared.namespace, "name": "zoned"},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [term]}},
        },
    }
    cluster.apply([volume])
    cluster.apply([foreign_claim("zoned", storageClassName=name, volumeName=name)], "--namespace", shared.namespace)
    try:
        cluster.kubectl(
            "wait", "--for=jsonpath={.status.phase}=Bound", "pvc/zoned", "--namespace", shared.namespace, "--timeout=20s"
        )
        answer = ensure(cluster, shared.namespace, "--claim", "zoned", "--zone", "us-west-2a")
        assert check(answer, "volume.zone")["status"] == "fail" and answer.data["zone"] == "us-west-2b"
        assert check(answer, "volume.reclaim")["status"] == "warn"
        assert (
            check(ensure(cluster, shared.namespace, "--claim", "zoned", "--zone", "us-west-2b"), "volume.zone")["status"]
            == "pass"
        )
    finally:
        cluster.kubectl("delete", "pv", name, "--wait=false")


def test_a_claim_that_no_volume_fits_is_not_made_and_where_that_could_not_be_seen_the_cause_is_named(
    cluster: Cluster, shared: Shared
) -> None:
    wish = ("--storage-class", shared.storage_class, "--size", "500Gi", "--nodes", 2)
    refused = check(ensure(cluster, shared.namespace, *wish), "volume.free")
    assert refused["status"] == "fail" and "5Gi" in refused["evidence"] and claims(cluster, shared.namespace) == []
    rules = [
        {"apiGroups": [""], "resources": ["persistentvolumeclaims"], "verbs": ["get", "create"]},
        {"apiGroups": [""], "resources": ["events"], "verbs": ["list"]},
    ]
    answer = ensure(cluster, shared.namespace, *wish, user=cluster.user("member", shared.namespace, rules=rules))
    found = check(answer, "volume.bound")
    assert answer.code == 1 and found["status"] == "fail" and found["summary"].startswith("no free volume fits")
    assert answer.data["created"] and answer.data["phase"] == "Pending"


def test_what_a_driver_says_about_its_failure_is_named_and_cleaned(cluster: Cluster, shared: Shared) -> None:
    cluster.apply([foreign_claim("failing", storageClassName="")], "--namespace", shared.namespace)
    uid = claim(cluster, shared.namespace, "failing")["metadata"]["uid"]
    # As external-provisioner writes it.
    event = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": "failing.1", "namespace": shared.namespace},
        "involvedObject": {
            "kind": "PersistentVolumeClaim",
            "namespace": shared.namespace,
            "name": "failing",
            "uid": uid,
            "apiVersion": "v1",
        },
        "reason": "ProvisioningFailed",
        "type": "Warning",
        "message": "rpc error: AccessDenied: \x1b[31mUser is not authorized to perform fsx:CreateFileSystem",
        "lastTimestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 60)),
    }
    cluster.apply([event])
    found = check(ensure(cluster, shared.namespace, "--claim", "failing"), "volume.bound")
    assert found["status"] == "fail" and "may not make the volume in AWS" in found["summary"]
    assert "\x1b" not in found["evidence"] and "CreateFileSystem" in found["evidence"]


def test_a_claim_is_deleted_only_by_its_run_with_yes_and_while_no_pod_uses_it(cluster: Cluster, shared: Shared) -> None:
    ensure(cluster, shared.namespace, *shared.wish)
    delete = ("delete-volume", NAME, "--run-id", RUN_ID)
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "user"},
        "spec": {
            "nodeSelector": FAKE_SELECTOR,
            "tolerations": [FAKE_TOLERATION],
            "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "main", "image": "local.test/python:3.11"}],
            "volumes": [{"name": "volume", "persistentVolumeClaim": {"claimName": NAME}}],
        },
    }
    cluster.apply([pod], "--namespace", shared.namespace)
    in_use = volumes(cluster, shared.namespace, *delete, "--yes")
    assert in_use.code == 5 and "pod user" in in_use.document["error"]["message"]
    [row] = volumes(cluster, shared.namespace, "list-volumes").data["volumes"]
    assert (row["claim"], row["run_id"], row["pods"], row["used_by"]) == (NAME, RUN_ID, 1, ["user"])
    cluster.kubectl("delete", "pod", "user", "--namespace", shared.namespace, "--timeout=60s")
    assert volumes(cluster, shared.namespace, "delete-volume", NAME, "--run-id", OTHER_ID, "--yes").code == 5
    plan = volumes(cluster, shared.namespace, *delete)
    assert plan.code == 6 and "stays on" in plan.data["data"] and claims(cluster, shared.namespace) == [NAME]
    assert volumes(cluster, shared.namespace, *delete, "--dry-run").document["changed"] == []
    volume = claim(cluster, shared.namespace)["spec"]["volumeName"]
    done = volumes(cluster, shared.namespace, *delete, "--yes")
    assert done.document["changed"] == [f"deleted claim {NAME}"] and claims(cluster, shared.namespace) == []
    assert cluster.get("persistentvolume", volume)["status"]["phase"] == "Released"
    again = volumes(cluster, shared.namespace, *delete, "--yes")
    assert again.code == 0 and again.document["changed"] == [] and again.data["existed"] is False


def test_the_list_shows_claims_of_trainyard_only_and_counts_them_all(cluster: Cluster, shared: Shared) -> None:
    cluster.apply([foreign_claim("somebodys", storageClassName=shared.storage_class)], "--namespace", shared.namespace)
    for run_id in (RUN_ID, OTHER_ID):
        ensure(cluster, shared.namespace, "--storage-class", shared.storage_class, "--timeout", 0, run_id=run_id)
    everything = volumes(cluster, shared.namespace, "list-volumes", "--limit", 1)
    assert everything.data["total"] == 2 and len(everything.data["volumes"]) == 1 and everything.document["truncated"]
    assert volumes(cluster, shared.namespace, "list-volumes", "--run-id", OTHER_ID).data["total"] == 1
