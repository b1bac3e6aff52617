"""Queries by name: what HyperPod's observability add-on scrapes, and which of it is switched off until somebody asks for it."""

from __future__ import annotations

from dataclasses import dataclass

TURN_ON = "it is off by default: switch it on in the add-on amazon-sagemaker-hyperpod-observability"


@dataclass(frozen=True)
class Named:
    query: str
    unit: str
    off: bool = False
    """HyperPod's add-on does not scrape it by default."""


QUERIES = {
    "gpu-utilization": Named("DCGM_FI_DEV_GPU_UTIL", "percent"),
    "gpu-busy": Named("DCGM_FI_PROF_GR_ENGINE_ACTIVE", "part of the time"),
    "gpu-memory": Named("DCGM_FI_DEV_FB_USED", "MiB"),
    "gpu-temperature": Named("DCGM_FI_DEV_GPU_TEMP", "Celsius"),
    "gpu-power": Named("DCGM_FI_DEV_POWER_USAGE", "watts"),
    "ecc": Named("DCGM_FI_DEV_ECC_DBE_VOL_TOTAL", "double bit errors since the last reset"),
    "xid": Named("DCGM_FI_DEV_XID_ERRORS", "the last Xid, 0 where there was none"),
    "efa": Named(
        "sum by (instance) (rate(node_amazonefa_rx_bytes[5m]) + rate(node_amazonefa_tx_bytes[5m]))", "bytes a second", off=True
    ),
    "efa-drops": Named("sum by (instance) (rate(node_amazonefa_rx_drops[5m]))", "packets a second", off=True),
    "uptime": Named("training_uptime_percentage", "percent", off=True),
    "faults": Named("training_fault_count", "faults", off=True),
    "recoveries": Named("training_auto_recovery_count", "recoveries", off=True),
    "node-memory": Named("node_memory_MemAvailable_bytes", "bytes"),
    "targets": Named("up", "1 where it was scraped"),
}


def of(query: str) -> Named:
    """The query of that name, else the text itself as PromQL."""
    return QUERIES.get(query) or Named(query, "", off="node_amazonefa_" in query or "training_" in query)
