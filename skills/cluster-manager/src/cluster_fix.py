"""The few repairs that are safe to make from outside: named objects only, planned first, done with --yes.

Anything else (a missing plugin, an operator that does not start, a node that does not come back) is for who runs the cluster;
`health` names it.
"""

from __future__ import annotations

import re

import trainyard_kube as kube
import trainyard_nodehealth as nodehealth
import trainyard_shell as shell

ACTIONS = ("uncordon", "delete-plugin-pod")
PLUGIN_IMAGE = re.compile(r"k8s-device-plugin|aws-efa-k8s-device-plugin|neuron-device-plugin|dcgm-exporter")


def fix(cluster: kube.Cluster, action: str, name: str, *, yes: bool, dry_run: bool) -> shell.Result:
    """Raises SkillError: not-found, conflict (this fix does not suit it), confirm (the plan is in data)."""
    if action == "uncordon":
        return _uncordon(cluster, kube.name_or_raise("node", name), yes, dry_run)
    return _delete_plugin_pod(cluster, kube.name_or_raise("pod", name), yes, dry_run)


def _uncordon(cluster: kube.Cluster, name: str, yes: bool, dry_run: bool) -> shell.Result:
    path = f"/api/v1/nodes/{name}"
    node = cluster.get(path)
    if not node["spec"].get("unschedulable"):
        return shell.Result({"node": name, "cordoned": False}, [shell.Check("fix.uncordon", "pass", f"{name} is not cordoned")])
    health = kube.label(node, nodehealth.HEALTH)
    if health not in (None, "Schedulable"):
        hint = "wait for HyperPod's replacement or reboot; it uncordons the node itself"
        raise shell.SkillError("conflict", f"HyperPod holds {name} back: {health}", hint=hint)
    # The version makes the patch fail (409) where somebody changed the node since it was looked at.
    body = {"metadata": {"resourceVersion": node["metadata"]["resourceVersion"]}, "spec": {"unschedulable": None}}
    plan = {"node": name, "patch": body}
    if not dry_run:
        shell.confirm(yes, plan, what=f"uncordon node {name}")
    cluster.patch(path, body, dry_run=dry_run)
    return shell.Result(plan, changed=[] if dry_run else [f"uncordoned node {name}"])


def _delete_plugin_pod(cluster: kube.Cluster, name: str, yes: bool, dry_run: bool) -> shell.Result:
    """Its DaemonSet makes a new one. Only pods of a DaemonSet with a known plugin's image, and only those that do not run."""
    path = cluster.namespaced("v1", "pods", name)
    pod = cluster.get(path)
    images = [container["image"] for container in pod["spec"]["containers"]]
    owners = {owner["kind"] for owner in pod["metadata"].get("ownerReferences") or []}
    if "DaemonSet" not in owners or not any(PLUGIN_IMAGE.search(image) for image in images):
        message = f"pod {name} is no DaemonSet's device plugin ({', '.join(images)})"
        raise shell.SkillError("conflict", message, hint="this fix is for device plugins only")
    if kube.holds(pod, "Ready"):
        return shell.Result({"pod": name, "ready": True}, [shell.Check("fix.plugin-pod", "pass", f"pod {name} is ready")])
    plan = {"pod": name, "namespace": cluster.namespace, "uid": pod["metadata"]["uid"], "node": pod["spec"].get("nodeName")}
    if not dry_run:
        shell.confirm(yes, plan, what=f"delete pod {name} of namespace {cluster.namespace}")
    cluster.delete(path, pod["metadata"]["uid"], dry_run=dry_run)
    return shell.Result(plan, changed=[] if dry_run else [f"deleted pod {cluster.namespace}/{name}"])
