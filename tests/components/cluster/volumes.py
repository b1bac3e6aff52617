"""Volumes that pods of the real node share: folders of this machine, in the place of a shared file system."""

from __future__ import annotations

from pathlib import Path
from typing import Any

SHARED_CLASS = {
    "apiVersion": "storage.k8s.io/v1",
    "kind": "StorageClass",
    "metadata": {"name": "test-shared"},
    "provisioner": "kubernetes.io/no-provisioner",
    "reclaimPolicy": "Retain",
    "volumeBindingMode": "Immediate",
}


def local_volume(name: str, folder: Path, size: str, owner: dict[str, Any]) -> dict[str, Any]:
    """The same folder as a volume on which the kubelet applies a pod's fsGroup, as on a disk; on a hostPath, as on FSx, it does not."""
    volume = shared_volume(name, folder, size, owner)
    volume["spec"] |= {"local": {"path": volume["spec"].pop("hostPath")["path"]}}
    here = {"key": "type", "operator": "In", "values": ["real"]}
    volume["spec"]["nodeAffinity"] = {"required": {"nodeSelectorTerms": [{"matchExpressions": [here]}]}}
    return volume


def shared_volume(name: str, folder: Path, size: str, owner: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name, "ownerReferences": [owner]},
        "spec": {
            "capacity": {"storage": size},
            "accessModes": ["ReadWriteMany", "ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": "test-shared",
            "hostPath": {"path": str(folder), "type": "Directory"},
        },
    }


def claim(name: str) -> dict[str, Any]:
    spec = {"storageClassName": "test-shared", "accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}}
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": spec}
