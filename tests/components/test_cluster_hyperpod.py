"""The test cluster's HyperPod nodes are what the overlay says, and what a person labels is recovered."""

from __future__ import annotations

import json

from tests.components.aws import hyperpod
from tests.components.aws.running import Aws
from tests.components.cluster.running import Cluster
from tests.components.hyperpod_nodes.fixtures import Follow
from tests.components.hyperpod_nodes.manifest import HEALTH, PREFIX, Document

SELECTED = f"--selector={PREFIX}cluster-name=trainyard"


def nodes(cluster: Cluster) -> dict[str, Document]:
    return {node["metadata"]["name"]: node for node in cluster.get("nodes", "", SELECTED)["items"]}


def is_ready(node: Document) -> bool:
    return any(each["type"] == "Ready" and each["status"] == "True" for each in node["status"].get("conditions", []))


def test_hyperpod_nodes_follow(aws: Aws, cluster: Cluster, hyperpod_nodes: Follow) -> None:
    """Faults are labels, an annotation and a taint; a person's label replaces the node under another name; a reboot is not ready."""
    hyperpod.make(aws, groups={"workers": hyperpod.group(2, KubernetesConfig={"Labels": {"team": "a"}})})
    aws.hyperpod_pace(recover_s=0.1, shutdown_s=0.1, reboot_s=30)
    hyperpod_nodes("trainyard")
    found = hyperpod.until(lambda: all(map(is_ready, (now := nodes(cluster)).values())) and now)
    [first, second] = sorted(found)
    assert {name.removeprefix("hyperpod-") for name in found} == set(hyperpod.ids(aws))
    assert found[first]["status"]["allocatable"]["vpc.amazonaws.com/efa"] == "32"
    assert found[first]["metadata"]["labels"]["team"] == "a"

    aws.client("sagemaker").update_cluster(ClusterName="trainyard", NodeRecovery="None")
    details = [{"reason": "XID_79"}]
    aws.control("hyperpod_faulty", cluster="trainyard", node=first.removeprefix("hyperpod-"), details=details)
    faulty = hyperpod.until(
        lambda: (now := nodes(cluster)[first])["metadata"]["labels"].get(f"{PREFIX}fault-reasons") == "XID_79" and now
    )
    assert json.loads(faulty["metadata"]["annotations"][f"{PREFIX}fault-details"]) == details
    assert {"key": HEALTH, "value": "Unschedulable", "effect": "NoSchedule"} in faulty["spec"]["taints"]

    aws.client("sagemaker").update_cluster(ClusterName="trainyard", NodeRecovery="Automatic")
    cluster.kubectl("label", "node", second, "--overwrite", f"{HEALTH}=UnschedulablePendingReplacement")
    hyperpod.until(lambda: second not in (now := nodes(cluster)) and len(now) == 2)

    aws.client("sagemaker").batch_reboot_cluster_nodes(ClusterName="trainyard", NodeIds=[first.removeprefix("hyperpod-")])
    hyperpod.until(lambda: not is_ready(nodes(cluster)[first]))
    aws.hyperpod_pass(60)
    back = hyperpod.until(lambda: is_ready((now := nodes(cluster))[first]) and now[first])
    assert back["metadata"]["labels"][HEALTH] == "Schedulable"


def test_the_real_node_plays_one(aws: Aws, cluster: Cluster, hyperpod_nodes: Follow) -> None:
    """It has an instance's labels while the test lasts."""
    hyperpod.make(aws, groups={"workers": 2})
    hyperpod_nodes("trainyard", real=True)
    real = [name for name, node in nodes(cluster).items() if node["metadata"]["labels"].get("type") == "real"]
    assert len(nodes(cluster)) == 2 and len(real) == 1
