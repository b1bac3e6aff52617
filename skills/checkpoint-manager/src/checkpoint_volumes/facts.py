"""What the cluster says about a class of storage and about one volume. Reads only; a read that is not allowed is remembered, not fatal.

StorageClasses, CSIDrivers and PersistentVolumes belong to the cluster: most users of a team may not read them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import trainyard_kube as kube
import trainyard_shell as shell
from trainyard_storage import CLASSES, STATIC, default_class, driver_of

CSI_DRIVERS = "/apis/storage.k8s.io/v1/csidrivers"


@dataclass(frozen=True)
class FreeVolume:
    modes: frozenset[str]
    size: str


@dataclass
class Facts:
    """Of the class and, once the claim is bound, of its volume. None: not known, or Kubernetes does not say."""

    class_name: str | None = None
    driver: str | None = None
    static: bool = False
    """Volumes of the class are made beforehand."""
    binding_mode: str | None = None
    reclaim_policy: str | None = None
    zones: frozenset[str] | None = None
    """Where volumes of the class, or this volume, can be; None: anywhere, or not said."""
    free_volumes: tuple[FreeVolume, ...] | None = None
    """Those of a static class that no claim has."""
    installed: bool | None = None
    """Whether the driver's CSIDriver is there."""
    unread: dict[str, kube.ApiError] = field(default_factory=dict)
    """Check id -> the refusal that left it without an answer."""

    @property
    def free_sizes(self) -> list[str]:
        return [volume.size for volume in self.free_volumes or ()]

    def try_read(self, id: str, read: Callable[[], Any]) -> Any:
        """What `read` returns, or None where it is not allowed."""
        try:
            return read()
        except kube.ApiError as error:
            if error.status != 403:
                raise
            self.unread[id] = error
            return None


def facts_of_class(cluster: kube.Cluster, wanted: str | None) -> Facts:
    """Facts of the class called `wanted`, or of the default class. SkillError `not-found` names the classes there are."""
    facts = Facts(class_name=wanted)
    classes = facts.try_read("volume.class", lambda: cluster.list(CLASSES))
    if classes is None:
        return facts
    found = _choose(classes, wanted)
    facts.class_name = kube.name(found)
    facts.static = found["provisioner"] == STATIC
    facts.driver = None if facts.static else driver_of(found["provisioner"])
    facts.binding_mode = found.get("volumeBindingMode") or "Immediate"
    facts.reclaim_policy = found.get("reclaimPolicy") or "Delete"
    facts.zones = _zones_of_terms(
        [{"matchExpressions": term.get("matchLabelExpressions")} for term in found.get("allowedTopologies") or []]
    )
    if facts.static:
        _read_free_volumes(cluster, facts)
    else:
        facts.installed = _installed(cluster, facts)
    return facts


def facts_of_claim(cluster: kube.Cluster, claim: kube.Object) -> Facts:
    """Facts of the volume that a claim is bound to; of its class where it is not bound."""
    spec = claim["spec"]
    if not spec.get("volumeName"):
        return facts_of_class(cluster, spec["storageClassName"]) if spec.get("storageClassName") else Facts()
    facts = Facts(class_name=spec.get("storageClassName") or None)
    path = f"/api/v1/persistentvolumes/{spec['volumeName']}"
    volume = facts.try_read("volume.volume", lambda: cluster.find(path))
    if volume is None:
        return facts
    csi = volume["spec"].get("csi") or {}
    facts.driver = csi.get("driver") or ("ebs.csi.aws.com" if "awsElasticBlockStore" in volume["spec"] else None)
    facts.reclaim_policy = volume["spec"].get("persistentVolumeReclaimPolicy")
    required = (volume["spec"].get("nodeAffinity") or {}).get("required") or {}
    facts.zones = _zones_of_terms(required.get("nodeSelectorTerms") or [])
    if facts.driver:
        facts.installed = _installed(cluster, facts)
    return facts


def _choose(classes: list[kube.Object], wanted: str | None) -> kube.Object:
    names = sorted(kube.name(each) for each in classes)
    there = f"there are: {', '.join(names[:10])}" if names else "the cluster has none"
    named = (each for each in classes if kube.name(each) == wanted)
    chosen = next(named, None) if wanted else default_class(classes)
    if chosen:
        return chosen
    what = f"no storage class {wanted}" if wanted else "no default storage class"
    raise shell.SkillError(
        "not-found", f"{what}; {there}", hint="checkpoints.storage.class (--storage-class), or an existing claim"
    )


def _installed(cluster: kube.Cluster, facts: Facts) -> bool | None:
    path = f"{CSI_DRIVERS}/{facts.driver}"
    answer = facts.try_read("volume.driver", lambda: [cluster.find(path)])
    return None if answer is None else answer[0] is not None


def _read_free_volumes(cluster: kube.Cluster, facts: Facts) -> None:
    volumes = facts.try_read("volume.free", lambda: cluster.list("/api/v1/persistentvolumes"))
    if volumes is None:
        return
    free = [
        each["spec"]
        for each in volumes
        if each["spec"].get("storageClassName") == facts.class_name
        and kube.status(each).get("phase") == "Available"
        and (each["spec"].get("claimRef") or {}).get("namespace", cluster.namespace) == cluster.namespace
    ]
    facts.free_volumes = tuple(FreeVolume(frozenset(spec["accessModes"]), str(spec["capacity"]["storage"])) for spec in free)
    drivers = {(spec.get("csi") or {}).get("driver") for spec in free}
    facts.driver = drivers.pop() if len(drivers) == 1 else None


def _zones_of_terms(terms: list[kube.Object]) -> frozenset[str] | None:
    """The zones that node selector terms allow; None where one of them says nothing about zones."""
    zones: set[str] = set()
    for term in terms:
        named = [
            set(each.get("values") or [])
            for each in term.get("matchExpressions") or []
            # topology.kubernetes.io/zone, and each driver's own: topology.ebs.csi.aws.com/zone
            if each["key"].endswith("/zone") and each.get("operator", "In") == "In"
        ]
        if not named:
            return None
        zones |= set.intersection(*named)
    return frozenset(zones) if terms else None
