"""DNS inside the cluster, and the CSI drivers that storage classes need."""

from __future__ import annotations

import trainyard_kube as kube
from cluster_health.facts import ABSENT, NOT_READY, READY, Component, Facts, attempt, component, refused, some

SLICES = "/apis/discovery.k8s.io/v1/namespaces/kube-system/endpointslices"
STORAGE = "/apis/storage.k8s.io/v1"


def check_dns(facts: Facts) -> Component:
    """Whether the Service kube-dns has endpoints: ranks find their master by name."""
    slices = attempt(lambda: facts.cluster.list(SLICES, labelSelector="kubernetes.io/service-name=kube-dns"))
    if isinstance(slices, kube.ApiError):
        return refused("dns", slices)
    endpoints = [endpoint for each in slices for endpoint in each.get("endpoints") or []]
    ready = [endpoint for endpoint in endpoints if (endpoint.get("conditions") or {}).get("ready", True)]
    if ready:
        return component("dns", READY, f"{len(ready)} of {len(endpoints)} endpoints of kube-dns are ready")
    if not slices:
        return component("dns", ABSENT, "no Service kube-dns in kube-system", None, "install the coredns add-on", "fail")
    fix = "kubectl -n kube-system get pods -l k8s-app=kube-dns"
    return component("dns", NOT_READY, f"none of {len(endpoints)} endpoints of kube-dns is ready", None, fix)


def csi_components(facts: Facts) -> list[Component]:
    """One for each driver that is installed, or that a storage class names."""
    drivers = attempt(lambda: facts.cluster.list(f"{STORAGE}/csidrivers"))
    classes = attempt(lambda: facts.cluster.list(f"{STORAGE}/storageclasses"))
    on_nodes = attempt(lambda: facts.cluster.list(f"{STORAGE}/csinodes"))
    for read in (drivers, classes, on_nodes):
        if isinstance(read, kube.ApiError):
            return [refused("csi", read)]
    assert not (isinstance(drivers, kube.ApiError) or isinstance(classes, kube.ApiError) or isinstance(on_nodes, kube.ApiError))
    installed = {kube.name(driver) for driver in drivers}
    wanted = {each["provisioner"] for each in classes if ".csi." in each["provisioner"]}
    if not installed | wanted:
        return [component("csi", ABSENT, "no CSI driver, and no storage class names one")]
    return [_driver(name, name in installed, on_nodes) for name in sorted(installed | wanted)]


def _driver(name: str, installed: bool, on_nodes: list[kube.Object]) -> Component:
    """Registered on a node: its kubelet can mount."""
    id = f"csi.{name}"
    if not installed:
        return component(
            id, ABSENT, f"a storage class names {name}, no such driver is installed", None, f"install {name}", "fail"
        )
    drivers = {kube.name(node): node["spec"].get("drivers") or [] for node in on_nodes}
    registered = [node for node, there in drivers.items() if any(driver["name"] == name for driver in there)]
    if not registered:
        fix = "kubectl get daemonsets -A: does the driver's node plugin run?"
        return component(id, NOT_READY, f"{name} is registered on no node", None, fix)
    told = f"{name} is registered on {len(registered)} of {len(on_nodes)} nodes"
    without = sorted(drivers.keys() - set(registered))
    if without:
        fix = "a pod with its volume cannot start there: kubectl get pods -A -o wide shows the driver's node plugin"
        return component(id, READY, told, f"not on {some(without, 3)}", fix, "warn")
    return component(id, READY, told, some(registered, 3))
