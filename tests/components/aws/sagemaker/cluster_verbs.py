"""Clusters: made, shown, changed, deleted, and their software updated."""

from __future__ import annotations

import copy
from collections import Counter

from tests.components.aws.sagemaker import events, life, scaling, settling
from tests.components.aws.sagemaker.entering import HyperPodCall, verb
from tests.components.aws.sagemaker.records import RELEASES, Cluster, Document, Group
from tests.components.aws.sagemaker.shown import cluster_document, ordered, page, summary
from tests.components.aws.wire.refused import Refused

NOT_SETTINGS = ("ClusterName", "InstanceGroups", "InstanceGroupsToDelete")


@verb
def create_cluster(call: HyperPodCall) -> Document:
    name, state = call.request["ClusterName"], call.state
    if (call.region, name) in state.clusters:
        raise Refused("ResourceInUse", f"Cluster with name '{name}' already exists.")
    settings = {key: copy.deepcopy(value) for key, value in call.request.items() if key not in NOT_SETTINGS}
    cluster = Cluster(call.region, name, settings, state.agenda.now)
    specs = checked_groups(cluster, call.request.get("InstanceGroups", []))
    more: Counter[str] = Counter()
    for spec in specs:
        more[Group(spec, 0).types[0]] += spec["InstanceCount"]
    scaling.check_quota(state, call.region, more)
    state.clusters[call.region, name] = cluster
    for spec in specs:
        cluster.groups[spec["InstanceGroupName"]] = new_group(spec)
    events.of_cluster(cluster, state.agenda.now, "Cluster creation started")
    if cluster.continuous:
        state.agenda.after(state.agenda.pace.create_s, lambda: ready(call, cluster))
    scaling.aim(state, cluster, {spec["InstanceGroupName"]: spec["InstanceCount"] for spec in specs})
    return {"ClusterArn": cluster.arn}


def ready(call: HyperPodCall, cluster: Cluster) -> None:
    if cluster.status == "Creating":
        cluster.status = "InService"
        events.of_cluster(cluster, call.state.agenda.now, "Cluster is in service")


def new_group(spec: Document) -> Group:
    release = spec.get("ImageReleaseVersion", RELEASES[-1])
    return Group(copy.deepcopy(spec), 0, spec.get("MinInstanceCount"), release=release)


def checked_groups(cluster: Cluster, specs: list[Document]) -> list[Document]:
    """Raises Refused for what the shapes alone do not say."""
    names = [spec["InstanceGroupName"] for spec in specs]
    if len(set(names)) != len(names):
        raise Refused("ValidationException", "Instance group names must be unique.")
    for spec in specs:
        if ("InstanceType" in spec) == ("InstanceRequirements" in spec):
            raise Refused("ValidationException", "Specify either InstanceType or InstanceRequirements for an instance group.")
        if spec.get("MinInstanceCount", 0) > spec["InstanceCount"]:
            raise Refused("ValidationException", "MinInstanceCount must not be greater than InstanceCount.")
        if "MinInstanceCount" in spec and not cluster.continuous:
            raise Refused("ValidationException", "MinInstanceCount is only supported with the Continuous NodeProvisioningMode.")
        if "KubernetesConfig" in spec and cluster.slurm:
            raise Refused("ValidationException", "KubernetesConfig is only supported for clusters orchestrated by Amazon EKS.")
    return specs


@verb
def describe_cluster(call: HyperPodCall) -> Document:
    return cluster_document(call.state, call.cluster)


@verb
def list_clusters(call: HyperPodCall) -> Document:
    mine = [cluster for (region, _), cluster in call.state.clusters.items() if region == call.region]
    named = [cluster for cluster in mine if call.request.get("NameContains", "") in cluster.name]
    if plan := call.request.get("TrainingPlanArn"):
        named = [each for each in named if plan in summary(each).get("TrainingPlanArns", ())]
    found = ordered(named, call.request, lambda each: each.created_at, lambda each: each.name, "Descending")
    return page(found, call.request, "ClusterSummaries", summary)


@verb
def delete_cluster(call: HyperPodCall) -> Document:
    cluster, state = call.cluster, call.state
    unless_busy(cluster)
    cluster.status = "Deleting"
    for node in list(cluster.nodes):
        life.go(state, cluster, node)

    def forget() -> None:
        state.clusters.pop((cluster.region, cluster.name), None)

    state.agenda.after(state.agenda.pace.shutdown_s, forget)
    return {"ClusterArn": cluster.arn}


def unless_busy(cluster: Cluster) -> None:
    """Raises Refused while another change of the whole cluster runs. A continuous cluster stays InService while it scales."""
    if cluster.status not in ("InService", "Failed"):
        raise Refused(
            "ConflictException",
            f"Cluster '{cluster.name}' is in {cluster.status} status and cannot be modified. Try again when it is InService.",
        )


@verb
def update_cluster(call: HyperPodCall) -> Document:
    """A group that is sent replaces the whole of what it was; one that is not sent stays."""
    cluster, state, request = call.cluster, call.state, call.request
    unless_busy(cluster)
    specs = checked_groups(cluster, request.get("InstanceGroups", []))
    deleted = request.get("InstanceGroupsToDelete", [])
    check_change(cluster, specs, deleted)
    more: Counter[str] = Counter()
    for spec in specs:
        before = cluster.groups.get(spec["InstanceGroupName"])
        more[Group(spec, 0).types[0]] += spec["InstanceCount"] - (before.target if before else 0)
    scaling.check_quota(state, call.region, more)
    cluster.settings |= {key: copy.deepcopy(value) for key, value in request.items() if key not in NOT_SETTINGS}
    cluster.failure, cluster.undo = "", lambda: scaling.roll_all_back(state, cluster)
    if not cluster.continuous:
        cluster.status = "Updating"
    for spec in specs:
        replace_group(cluster, spec)
    for name in deleted:
        delete_group(call, cluster, name)
    scaling.aim(state, cluster, {spec["InstanceGroupName"]: spec["InstanceCount"] for spec in specs})
    return {"ClusterArn": cluster.arn}


def replace_group(cluster: Cluster, spec: Document) -> None:
    name = spec["InstanceGroupName"]
    if name not in cluster.groups:
        cluster.groups[name] = new_group(spec)
        return
    group = cluster.groups[name]
    group.before = (group.spec, group.target)
    group.spec, group.minimum = copy.deepcopy(spec), spec.get("MinInstanceCount")


def delete_group(call: HyperPodCall, cluster: Cluster, name: str) -> None:
    """It is shown as Deleting until its nodes are gone."""
    group, pace = cluster.groups[name], call.state.agenda.pace
    group.target, group.status = 0, "Deleting"
    for node in cluster.of_group(name):
        life.go(call.state, cluster, node)
    call.state.agenda.after(pace.shutdown_s, lambda: cluster.groups.pop(name, None) and settling.settle(call.state, cluster))


def check_change(cluster: Cluster, specs: list[Document], deleted: list[str]) -> None:
    """Raises Refused."""
    if unknown := [name for name in deleted if name not in cluster.groups]:
        raise Refused("ValidationException", f"Instance groups {unknown} do not exist in cluster '{cluster.name}'.")
    for spec in specs:
        held = cluster.groups.get(spec["InstanceGroupName"])
        if held and held.spec.get("InstanceType") != spec.get("InstanceType"):
            raise Refused("ValidationException", f"The instance type of instance group '{held.name}' cannot be changed.")
        if held and held.spec["ExecutionRole"] != spec["ExecutionRole"]:
            raise Refused("ValidationException", f"The execution role of instance group '{held.name}' cannot be changed.")
        if held and not cluster.continuous and not cluster.patched and spec["InstanceCount"] < held.target:
            raise Refused("ValidationException", "Run UpdateClusterSoftware on the cluster before you scale it down.")


@verb
def update_cluster_software(call: HyperPodCall) -> Document:
    """Its nodes are SystemUpdating for a time, and then have the newest release, or the one that is asked for."""
    cluster, state = call.cluster, call.state
    unless_busy(cluster)
    asked = {spec["InstanceGroupName"]: spec.get("ImageReleaseVersion") for spec in call.request.get("InstanceGroups", [])}
    if unknown := [name for name in asked if name not in cluster.groups]:
        raise Refused("ValidationException", f"Instance groups {unknown} do not exist in cluster '{cluster.name}'.")
    names = list(asked or cluster.groups)
    cluster.status = "SystemUpdating"
    for name in names:
        cluster.groups[name].status, cluster.groups[name].software = "SystemUpdating", "InProgress"
        for node in cluster.of_group(name):
            life.take(node, "update", "SystemUpdating")

    def done() -> None:
        cluster.status, cluster.patched = "InService", True
        for name in names:
            group = cluster.groups[name]
            group.release, group.software, group.status = asked.get(name) or RELEASES[-1], "Succeeded", "InService"
            for node in cluster.of_group(name):
                node.release = group.release
                life.runs(state, cluster, node)

    state.agenda.after(state.agenda.pace.software_s, done)
    return {"ClusterArn": cluster.arn}
