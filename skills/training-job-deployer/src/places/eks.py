"""Target eks: a cluster of Amazon EKS. Both Kubernetes targets are one place; what differs is found in the job file."""

from on_kubernetes.place import KubernetesPlace as Place

__all__ = ["Place"]
