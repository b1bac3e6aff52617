"""A Prometheus inside the cluster, asked through the API server's proxy: no port-forward, and the caller's own rights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hardware.prometheus_asking import data_of
from trainyard_kube import ApiError

if TYPE_CHECKING:
    from hardware.dcgm_series import Query
    from trainyard_cluster import Cluster

NAMES = (
    "prometheus-operated",
    "prometheus-k8s",
    "prometheus-server",
    "prometheus-kube-prometheus-prometheus",
    "kube-prometheus-stack-prometheus",
    "prometheus-stack-kube-prom-prometheus",
    "prometheus",
)
"""Services of the operator, of kube-prometheus, and of the Helm charts prometheus and kube-prometheus-stack."""
USUAL = (
    ("monitoring", "prometheus-operated", 9090),
    ("monitoring", "prometheus-k8s", 9090),
    ("prometheus", "prometheus-server", 80),
)
"""Tried where services of all namespaces may not be listed."""
MOST = 4
Service = tuple[str, str, int]


def services(cluster: Cluster) -> list[Service]:
    """(namespace, name, port) of those with a usual name, the operator's own first."""
    found = []
    try:
        for name in NAMES:
            found += cluster.list("/api/v1/services", fieldSelector=f"metadata.name={name}")
    except ApiError as error:
        if error.status != 403:
            raise
        return list(USUAL)
    return [service for each in found[:MOST] if (service := _service(each)) is not None]


def _service(thing: dict[str, Any]) -> Service | None:
    ports = thing["spec"].get("ports") or []
    known = [port for port in ports if port.get("name") in ("web", "http-web", "http", "https-web")] or ports
    return (thing["metadata"]["namespace"], thing["metadata"]["name"], int(known[0]["port"])) if known else None


def query_of(cluster: Cluster, namespace: str, name: str, port: int) -> Query:
    """Raises ApiError: 403 without `get services/proxy`, 503 where nothing stands behind the service."""

    def query(path: str, words: dict[str, str]) -> dict[str, Any]:
        where = f"/api/v1/namespaces/{namespace}/services/{name}:{port}/proxy/api/v1/{path}"
        return data_of(cluster.get(where, **words), 200, words.get("query", ""))

    return query
