"""An instance group as UpdateCluster takes it, from what DescribeCluster shows: UpdateCluster replaces the whole group, so all of it
is sent back. What cannot be sent back and would be lost is named, and nothing is sent.

Which fields there are is read from botocore's model. `RENAMED` and `READ_ONLY` are all that the model does not say itself; a test holds
that nothing of today's model is left over.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import trainyard_shell as shell

from hyperpod_api.calls import Document, SageMaker
from hyperpod_api.cluster import HyperPodCluster

LISTS = ("InstanceGroups", "RestrictedInstanceGroups")
RENAMED = {
    "MinCount": ("MinInstanceCount", ()),
    "DesiredImageId": ("ImageId", ("CurrentImageId",)),
    "DesiredImageReleaseVersion": ("ImageReleaseVersion", ("CurrentImageReleaseVersion",)),
    "InstanceRequirements.DesiredInstanceTypes": ("InstanceTypes", ("CurrentInstanceTypes",)),
    "KubernetesConfig.DesiredLabels": ("Labels", ("CurrentLabels",)),
    "KubernetesConfig.DesiredTaints": ("Taints", ("CurrentTaints",)),
    "AutoPatchConfig.DesiredPatchSchedule": ("PatchSchedule", ("CurrentPatchSchedule",)),
}
"""Path of what is described -> its name in the request, and what stands in for it where it is not described."""
READ_ONLY = {
    "TargetCount",  # the count that is asked for takes its place
    "CurrentCount",
    "InstanceTypeDetails",
    "Status",
    "TrainingPlanStatus",
    "ImageVersionStatus",
    "ActiveOperations",
    "TargetStateCount",
    "SoftwareUpdateStatus",
    "ActiveSoftwareUpdateConfig",
} | {f"{path.rpartition('.')[0]}.{name}".lstrip(".") for path, (_, others) in RENAMED.items() for name in others}
"""What AWS says of the group and nobody has set."""


def specification(sagemaker: SageMaker, cluster: HyperPodCluster, name: str, count: int) -> Document:
    """UpdateCluster's request for one group with `count` nodes, nothing else in it changed. Raises SkillError conflict; AwsError."""
    model = sagemaker.reading.meta.service_model
    kind = next(
        each for each in LISTS if any(group["InstanceGroupName"] == name for group in cluster.described.get(each) or [])
    )
    group = next(group for group in cluster.described[kind] if group["InstanceGroupName"] == name)
    shown = model.operation_model("DescribeCluster").output_shape.members[kind].member
    taken = model.operation_model("UpdateCluster").input_shape.members[kind].member
    lost: list[str] = []
    back = sent_back(group, shown, taken, "", lost)
    lost += [
        f"{path} (newer than botocore {version()})" for path in unknown(raw_group(sagemaker, cluster, kind, name), shown, "")
    ]
    if lost:
        message = f"UpdateCluster replaces the whole group {name}, and these of its settings cannot be sent back: {', '.join(lost)}; nothing was sent"
        hint = "pip install -U boto3 where a field is newer; else change the count in the console, or on a cluster with continuous provisioning"
        raise shell.SkillError("conflict", message, hint=hint)
    return {"ClusterName": cluster.name, kind: [back | {"InstanceCount": count}]}


def sent_back(value: Any, shown: Any, taken: Any, path: str, lost: list[str]) -> Any:
    """`value` of the shape `shown` as a value of the shape `taken`; paths that have no place there go into `lost`."""
    if shown.type_name == "list":
        return [sent_back(each, shown.member, taken.member, path, lost) for each in value]
    if shown.type_name != "structure":
        return value
    back: Document = {}
    for name, each in value.items():
        here = f"{path}.{name}".lstrip(".")
        if here in READ_ONLY:
            continue
        if name in taken.members:
            back[name] = sent_back(each, shown.members[name], taken.members[name], here, lost)
        elif here in RENAMED:
            to = RENAMED[here][0]
            back[to] = sent_back(each, shown.members[name], taken.members[to], here, lost)
        else:
            lost.append(here)
    for wanted, (to, others) in RENAMED.items():
        if wanted.rpartition(".")[0] == path and to in taken.members and to not in back:
            back.update((to, value[other]) for other in others if other in value)
    return back


# --- what this botocore does not know ----------------------------------------------------------------------------


def version() -> str:
    import botocore

    return str(botocore.__version__)


def raw_group(sagemaker: SageMaker, cluster: HyperPodCluster, kind: str, name: str) -> Document:
    """The group as AWS sent it: botocore leaves out whatever its model does not have, in silence. Raises AwsError."""
    bodies: list[bytes] = []

    def keep(response_dict: Document, **_: Any) -> None:
        bodies.append(response_dict["body"])

    events = sagemaker.reading.meta.events
    events.register("before-parse.sagemaker.DescribeCluster", keep)
    try:
        with sagemaker.asking(f"describe the cluster {cluster.name}", cluster.arn):
            sagemaker.reading.describe_cluster(ClusterName=cluster.name)
    finally:
        events.unregister("before-parse.sagemaker.DescribeCluster", keep)
    found = json.loads(bodies[-1])
    return dict(next(group for group in found[kind] if group["InstanceGroupName"] == name))


def unknown(value: Any, shape: Any, path: str) -> Iterator[str]:
    if shape.type_name == "list" and isinstance(value, list):
        for each in value:
            yield from unknown(each, shape.member, path)
    elif shape.type_name == "structure" and isinstance(value, dict):
        for name, each in value.items():
            here = f"{path}.{name}".lstrip(".")
            if name not in shape.members:
                yield here
            elif each is not None:
                yield from unknown(each, shape.members[name], here)
