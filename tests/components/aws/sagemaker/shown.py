"""Clusters, groups and nodes as the calls show them."""

from __future__ import annotations

import base64
import copy
from collections.abc import Callable, Iterable
from typing import Any

from tests.components.aws.sagemaker.records import RELEASES, Cluster, Document, Group, Node
from tests.components.aws.sagemaker.state import HyperPodState
from tests.components.aws.wire.refused import Refused

SAME = (
    "InstanceGroupName",
    "InstanceType",
    "LifeCycleConfig",
    "ExecutionRole",
    "ThreadsPerCore",
    "InstanceStorageConfigs",
    "OnStartDeepHealthChecks",
    "TrainingPlanArn",
    "OverrideVpcConfig",
    "ScheduledUpdateConfig",
    "CapacityRequirements",
    "SlurmConfig",
    "NetworkInterface",
)
"""Members of a group that are described as they were given; the others come back under other names."""
SETTINGS = (
    "VpcConfig",
    "Orchestrator",
    "TieredStorageConfig",
    "NodeRecovery",
    "NodeProvisioningMode",
    "ClusterRole",
    "RestrictedInstanceGroupsConfig",
)
PAGE = 10


def cluster_document(state: HyperPodState, cluster: Cluster) -> Document:
    settings = {name: copy.deepcopy(cluster.settings[name]) for name in SETTINGS if name in cluster.settings}
    if "AutoScaling" in cluster.settings:
        settings["AutoScaling"] = {**cluster.settings["AutoScaling"], "Status": "InService"}
    return {
        "ClusterArn": cluster.arn,
        "ClusterName": cluster.name,
        "ClusterStatus": cluster.status,
        "CreationTime": cluster.created_at,
        **({"FailureMessage": cluster.failure} if cluster.failure else {}),
        "InstanceGroups": [group_document(cluster, group) for group in cluster.groups.values()],
        "NodeRecovery": "Automatic",
        **settings,
    }


def group_document(cluster: Cluster, group: Group) -> Document:
    spec, current = group.spec, cluster.count(group.name)
    shown: Document = {name: copy.deepcopy(spec[name]) for name in SAME if name in spec}
    shown |= {"CurrentCount": current, "TargetCount": group.target, "Status": group.status}
    if group.minimum is not None:
        shown["MinCount"] = group.minimum
    if "InstanceRequirements" in spec:
        types = list(spec["InstanceRequirements"]["InstanceTypes"])
        shown["InstanceRequirements"] = {"CurrentInstanceTypes": types, "DesiredInstanceTypes": types}
        each = [{"InstanceType": type, "CurrentCount": of_type(cluster, group, type)} for type in types]
        shown["InstanceTypeDetails"] = each
    if "KubernetesConfig" in spec:
        shown["KubernetesConfig"] = kubernetes(spec["KubernetesConfig"])
    if "AutoPatchConfig" in spec:
        patch = dict(spec["AutoPatchConfig"])
        schedule = patch.pop("PatchSchedule", None)
        shown["AutoPatchConfig"] = {**patch, **({"DesiredPatchSchedule": schedule} if schedule else {})}
    if "ImageId" in spec:
        shown |= {"CurrentImageId": spec["ImageId"], "DesiredImageId": spec["ImageId"]}
    if group.software:
        shown["SoftwareUpdateStatus"] = group.software
    if cluster.continuous and current != group.target:
        shown["ActiveOperations"] = {"Scaling": 1}
    return {**shown, **image(group.release), "DesiredImageReleaseVersion": spec.get("ImageReleaseVersion", group.release)}


def of_type(cluster: Cluster, group: Group, type: str) -> int:
    return sum(node.arrived and node.instance_type == type for node in cluster.of_group(group.name))


def kubernetes(config: Document) -> Document:
    """Labels and Taints come back twice: as they are and as they are wanted."""
    return {f"{when}{part}": copy.deepcopy(value) for part, value in config.items() for when in ("Current", "Desired")}


def image(release: str) -> Document:
    newest = release == RELEASES[-1]
    return {"CurrentImageReleaseVersion": release, "ImageVersionStatus": "UpToDate" if newest else "UpdateAvailable"}


def summary(cluster: Cluster) -> Document:
    plans = [group.spec["TrainingPlanArn"] for group in cluster.groups.values() if "TrainingPlanArn" in group.spec]
    return {
        "ClusterArn": cluster.arn,
        "ClusterName": cluster.name,
        "CreationTime": cluster.created_at,
        "ClusterStatus": cluster.status,
        **({"TrainingPlanArns": plans} if plans else {}),
    }


def node_summary(node: Node) -> Document:
    return {
        "InstanceGroupName": node.group,
        "InstanceId": node.instance_id,
        **({"NodeLogicalId": node.logical_id} if node.logical_id else {}),
        "InstanceType": node.instance_type,
        "LaunchTime": node.launched_at,
        "InstanceStatus": {"Status": node.status, **({"Message": node.message} if node.message else {})},
        **({"PrivateDnsHostname": dns(node)} if node.instance_id else {}),
        **image(node.release),
    }


def dns(node: Node) -> str:
    return f"ip-{node.address.replace('.', '-')}.{node.zone[:-1]}.compute.internal"


def node_detail(cluster: Cluster, node: Node) -> Document:
    spec = cluster.groups[node.group].spec
    of_group = ("LifeCycleConfig", "OverrideVpcConfig", "ThreadsPerCore", "InstanceStorageConfigs", "NetworkInterface")
    shown = {name: copy.deepcopy(spec[name]) for name in of_group if name in spec}
    if "KubernetesConfig" in spec:
        shown["KubernetesConfig"] = kubernetes(spec["KubernetesConfig"])
    if node.instance_id:
        shown |= {
            "PrivatePrimaryIp": node.address,
            "Placement": {"AvailabilityZone": node.zone, "AvailabilityZoneId": zone_id(node)},
        }
    return {
        **node_summary(node),
        **shown,
        "CapacityType": "Spot" if "Spot" in spec.get("CapacityRequirements", {}) else "OnDemand",
    }


def zone_id(node: Node) -> str:
    area, direction, number = node.zone[:-1].split("-")
    return f"{area}{direction[0]}{number}-az{'abcdef'.index(node.zone[-1]) + 1}"


def page(every: Iterable[Any], request: Document, list_name: str, show: Callable[[Any], Document]) -> Document:
    """One page of the list. The token says which list it is of: AWS takes it in no other. Raises Refused."""
    items, start = list(every), 0
    if token := request.get("NextToken"):
        try:
            name, _, at = base64.b64decode(token, validate=True).decode().rpartition(":")
            start = int(at)
        except ValueError:
            name = ""
        if name != list_name:
            raise Refused("ValidationException", "Invalid NextToken")
    end = start + int(request.get("MaxResults", PAGE))
    more = {"NextToken": base64.b64encode(f"{list_name}:{end}".encode()).decode()} if end < len(items) else {}
    return {list_name: [show(each) for each in items[start:end]], **more}


def ordered(
    items: Iterable[Any], request: Document, time: Callable[[Any], float], name: Callable[[Any], str], default: str
) -> list[Any]:
    """By SortBy and SortOrder, within the times that are asked for."""
    after = request.get("CreationTimeAfter", request.get("EventTimeAfter"))
    before = request.get("CreationTimeBefore", request.get("EventTimeBefore"))
    found = [each for each in items if (after is None or time(each) > after) and (before is None or time(each) < before)]
    found.sort(key=name if request.get("SortBy") == "NAME" else time)
    if request.get("SortOrder", default) == "Descending":
        found.reverse()
    return found
