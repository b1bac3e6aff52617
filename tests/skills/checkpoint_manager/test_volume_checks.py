"""ensure-volume refuses storage that does not fit, before anything is made. The classes are real objects; no driver is needed."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any

import pytest
from cluster_calls import check, claims, ensure

from tests.components.cluster.running import Cluster

STORAGE = "storage.k8s.io/v1"
ZONE_TERM = {"matchLabelExpressions": [{"key": "topology.kubernetes.io/zone", "values": ["us-west-2a"]}]}
CLASSES: dict[str, dict[str, Any]] = {
    "ebs": {"provisioner": "ebs.csi.aws.com", "volumeBindingMode": "WaitForFirstConsumer", "reclaimPolicy": "Delete"},
    "efs": {"provisioner": "efs.csi.aws.com", "reclaimPolicy": "Retain"},
    "s3": {"provisioner": "s3.csi.aws.com"},
    "zoned": {
        "provisioner": "zoned.csi.example.com",
        "volumeBindingMode": "WaitForFirstConsumer",
        "allowedTopologies": [ZONE_TERM],
    },
    "lost": {"provisioner": "missing.csi.example.com"},
    "static": {"provisioner": "kubernetes.io/no-provisioner"},
}
DRIVERS = ("ebs.csi.aws.com", "efs.csi.aws.com", "s3.csi.aws.com", "zoned.csi.example.com")


@pytest.fixture(scope="module")
def classes(cluster: Cluster) -> Iterator[dict[str, str]]:
    """Kind of storage -> name of its class, with the drivers that most of them need."""
    mark = f"vc{secrets.token_hex(3)}"
    names = {kind: f"{mark}-{kind}" for kind in CLASSES}
    made = [{"apiVersion": STORAGE, "kind": "StorageClass", "metadata": {"name": names[k]}, **CLASSES[k]} for k in CLASSES]
    there = {each["metadata"]["name"] for each in cluster.get("csidrivers")["items"]}
    added = [name for name in DRIVERS if name not in there]
    drivers = [{"apiVersion": STORAGE, "kind": "CSIDriver", "metadata": {"name": name}, "spec": {}} for name in added]
    cluster.apply([*made, *drivers])
    yield names
    cluster.kubectl("delete", "storageclass", *names.values())
    if added:
        cluster.kubectl("delete", "csidriver", *added)


def test_ebs_is_refused_for_two_nodes_and_fits_one(cluster: Cluster, namespace: str, classes: dict[str, str]) -> None:
    refused = ensure(cluster, namespace, "--storage-class", classes["ebs"], "--nodes", 2)
    assert refused.code == 1 and check(refused, "volume.access")["status"] == "fail"
    assert "FSx" in check(refused, "volume.access")["fix"]
    assert claims(cluster, namespace) == [] and refused.data["created"] is False
    fits = ensure(cluster, namespace, "--storage-class", classes["ebs"], "--nodes", 1)
    assert fits.code == 0 and fits.data["access_mode"] == "ReadWriteOnce" and fits.data["size"] == "100Gi"
    assert check(fits, "volume.bound")["status"] == "pass" and "first pod" in check(fits, "volume.bound")["summary"]
    assert check(fits, "volume.reclaim")["status"] == "warn" and fits.data["reclaim_policy"] == "Delete"
    # The run grows: the claim that is there does not fit any more, and says so.
    grown = ensure(cluster, namespace, "--storage-class", classes["ebs"], "--nodes", 2)
    assert grown.code == 1 and check(grown, "volume.access")["status"] == "fail"


def test_efs_is_shared_also_for_one_node(cluster: Cluster, namespace: str, classes: dict[str, str]) -> None:
    answer = ensure(cluster, namespace, "--storage-class", classes["efs"], "--dry-run")
    assert (
        answer.code == 0
        and answer.data["access_mode"] == "ReadWriteMany"
        and check(answer, "volume.driver")["status"] == "pass"
    )
    assert answer.data["manifest"]["metadata"]["labels"]["trainyard.dev/run"] == "tiny"
    assert claims(cluster, namespace) == [] and answer.document["changed"] == []


def test_s3_is_refused_for_checkpoints_because_it_cannot_rename(
    cluster: Cluster, namespace: str, classes: dict[str, str]
) -> None:
    refused = ensure(cluster, namespace, "--storage-class", classes["s3"], "--nodes", 2)
    assert refused.code == 1 and "rename" in check(refused, "volume.use")["summary"]
    data = ensure(cluster, namespace, "--storage-class", classes["s3"], "--nodes", 2, "--use", "data", "--dry-run")
    assert data.code == 0 and check(data, "volume.use")["status"] == "warn"


def test_a_driver_that_is_not_installed_is_named_before_anything_is_made(
    cluster: Cluster, namespace: str, classes: dict[str, str]
) -> None:
    answer = ensure(cluster, namespace, "--storage-class", classes["lost"])
    assert answer.code == 1 and "missing.csi.example.com" in check(answer, "volume.driver")["summary"]
    assert claims(cluster, namespace) == []


def test_a_zone_that_the_class_does_not_serve_is_refused(cluster: Cluster, namespace: str, classes: dict[str, str]) -> None:
    elsewhere = ensure(cluster, namespace, "--storage-class", classes["zoned"], "--zone", "us-west-2b", "--dry-run")
    assert elsewhere.code == 1 and "us-west-2a" in check(elsewhere, "volume.zone")["summary"]
    there = ensure(cluster, namespace, "--storage-class", classes["zoned"], "--zone", "us-west-2a", "--dry-run")
    assert there.code == 0 and there.data["zone"] == "us-west-2a"


def test_a_class_without_provisioner_and_free_volume_is_refused(
    cluster: Cluster, namespace: str, classes: dict[str, str]
) -> None:
    answer = ensure(cluster, namespace, "--storage-class", classes["static"])
    assert answer.code == 1 and check(answer, "volume.free")["status"] == "fail" and claims(cluster, namespace) == []


def test_a_class_that_is_not_there_is_not_found_and_the_others_are_named(
    cluster: Cluster, namespace: str, classes: dict[str, str]
) -> None:
    answer = ensure(cluster, namespace, "--storage-class", "no-such-class")
    assert answer.code == 3 and "there are:" in answer.document["error"]["message"]


def test_the_newest_default_class_is_taken_where_none_is_named(
    cluster: Cluster, namespace: str, classes: dict[str, str]
) -> None:
    mark = "storageclass.kubernetes.io/is-default-class"
    cluster.kubectl("annotate", "storageclass", classes["efs"], f"{mark}=true")
    try:
        answer = ensure(cluster, namespace, "--dry-run")
    finally:
        cluster.kubectl("annotate", "storageclass", classes["efs"], f"{mark}-")
    assert answer.code == 0 and answer.data["storage_class"] == classes["efs"]


def test_a_quota_that_is_used_up_is_a_finding_not_a_missing_permission(
    cluster: Cluster, namespace: str, classes: dict[str, str]
) -> None:
    cluster.kubectl("create", "quota", "small", "--hard=requests.storage=1Gi", "--namespace", namespace)
    answer = ensure(cluster, namespace, "--storage-class", classes["efs"], "--size", "2Gi")
    found = check(answer, "volume.quota")
    assert answer.code == 1 and found["status"] == "fail" and "exceeded quota" in found["evidence"]
    assert claims(cluster, namespace) == []


CLAIMS = {"apiGroups": [""], "resources": ["persistentvolumeclaims"], "verbs": ["get", "create"]}
EVENTS = {"apiGroups": [""], "resources": ["events"], "verbs": ["list"]}


def test_without_cluster_wide_reads_the_claim_is_made_and_the_missing_rules_are_printed(
    cluster: Cluster, namespace: str, classes: dict[str, str]
) -> None:
    member = cluster.user("member", namespace, rules=[CLAIMS, EVENTS])
    answer = ensure(cluster, namespace, "--storage-class", classes["ebs"], user=member)
    assert answer.code == 0 and claims(cluster, namespace) == ["tiny-01234567"]
    found = check(answer, "volume.class")
    assert found["status"] == "warn" and '"storageclasses"' in found["fix"] and '"list"' in found["fix"]
    # Nobody knows whether this class gives one volume to two nodes (it does not).
    two = ensure(cluster, namespace, "--storage-class", classes["ebs"], "--nodes", 2, run_id="f" * 16, user=member)
    assert check(two, "volume.access")["status"] == "warn" and "not checked" in check(two, "volume.access")["summary"]


def test_without_the_right_to_make_claims_the_rule_is_printed(
    cluster: Cluster, namespace: str, classes: dict[str, str]
) -> None:
    reader = cluster.user("reader", namespace, rules=[{**CLAIMS, "verbs": ["get"]}])
    answer = ensure(cluster, namespace, "--storage-class", classes["ebs"], user=reader)
    assert answer.code == 4 and answer.error == "permission"
    assert '"persistentvolumeclaims"' in answer.document["error"]["hint"] and '"create"' in answer.document["error"]["hint"]


@pytest.mark.parametrize(
    "words",
    [
        ("--size", "much"),
        ("--size", "-1Gi"),
        ("--size", "100m"),
        ("--storage-class", "Not_A_Name"),
        ("--zone", "a b"),
        ("--claim", "x/y"),
        ("--nodes", "0"),
    ],
)
def test_wrong_words_are_refused(cluster: Cluster, namespace: str, words: tuple[str, str]) -> None:
    assert ensure(cluster, namespace, *words).code == 2
    assert ensure(cluster, namespace, run_id="no-id").code == 2
