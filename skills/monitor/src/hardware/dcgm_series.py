"""GPUs from DCGM's exporter through Prometheus: a query for each metric, joined by GPU.

Names and units: dcgm-exporter's default-counters.csv. Its `pod` and `namespace` are told where it knows the kubelet's pod resources;
a Prometheus that keeps its own labels renames them to `exported_pod` and `exported_namespace`.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import trainyard_shell as shell
from hardware.gpu_facts import IDLE_PERCENT, Gpu, Seen

METRICS = {
    "use": "DCGM_FI_DEV_GPU_UTIL",
    "engine": "DCGM_FI_PROF_GR_ENGINE_ACTIVE",
    "used": "DCGM_FI_DEV_FB_USED",
    "free": "DCGM_FI_DEV_FB_FREE",
    "temperature": "DCGM_FI_DEV_GPU_TEMP",
    "power": "DCGM_FI_DEV_POWER_USAGE",
    "ecc": "DCGM_FI_DEV_ECC_DBE_VOL_TOTAL",
    "xid": "DCGM_FI_DEV_XID_ERRORS",
    "remap_failed": "DCGM_FI_DEV_ROW_REMAP_FAILURE",
    "remap_pending": "DCGM_FI_DEV_ROW_REMAP_PENDING",
    "reasons": '{__name__=~"DCGM_FI_DEV_CLOCK(S_EVENT|_THROTTLE)_REASONS"}',
}
HOT_RULES = {85: "1m", 80: "5m"}
"""Degrees -> for how long: HyperPod's own alerts."""
WINDOW_S, STEP_S = 3600, 60
SAME = ("UUID", "gpu", "Hostname", "instance", "GPU_I_ID")
Query = Callable[[str, dict[str, str]], dict[str, Any]]
"""`query` or `query_range` with its words, and the answer's `data`. Raises SkillError."""
Labels = dict[str, str]


@dataclass(frozen=True)
class Whose:
    """Which GPUs are meant: those of these pods, else of these nodes; neither: all."""

    pods: frozenset[str] = frozenset()
    namespace: str | None = None
    nodes: frozenset[str] = frozenset()
    expected: int | None = None

    def takes(self, labels: Labels) -> bool:
        pod = labels.get("exported_pod") or labels.get("pod", "")
        namespace = labels.get("exported_namespace") or labels.get("namespace", "")
        if self.pods and pod in self.pods:
            return self.namespace in (None, namespace)
        if self.nodes:
            return bool(self.nodes & {labels.get("Hostname", ""), labels.get("node", ""), _host(labels.get("instance", ""))})
        return not self.pods


@dataclass
class Series:
    """What the queries gave, by GPU."""

    values: dict[tuple[str, ...], dict[str, float]] = field(default_factory=lambda: defaultdict(dict))
    labels: dict[tuple[str, ...], Labels] = field(default_factory=dict)

    def add(self, name: str, rows: list[Any], whose: Whose, value: Callable[[dict[str, Any]], float | None]) -> None:
        for row in rows:
            labels = {str(key): shell.clean(str(text), 200) for key, text in (row.get("metric") or {}).items()}
            key = tuple(labels.get(each, "") for each in SAME)
            number = value(row)
            if any(key[:2]) and number is not None and whose.takes(labels):
                self.values[key][name] = number
                self.labels[key] = labels


def look_at_dcgm(query: Query, whose: Whose) -> Seen:
    """All GPUs of the job that Prometheus knows. None of them is `unknown`, said with the reason. Raises SkillError."""
    series = Series()
    for name, expression in METRICS.items():
        series.add(name, _rows(query("query", {"query": expression})), whose, newest)
    for degrees, time in HOT_RULES.items():
        expression = f"min_over_time({METRICS['temperature']}[{time}])"
        series.add(f"hot {degrees}", _rows(query("query", {"query": expression})), whose, newest)
    for name, metric, scale in (("use", "use", 1.0), ("engine", "engine", 100.0)):
        rows = _rows(query("query_range", _range(METRICS[metric])))
        series.add(f"{name} idle", rows, whose, lambda row, scale=scale: idle_s(row, scale))  # type: ignore[misc]
        series.add(f"{name} watched", rows, whose, watched_s)
    # A node that is gone has a past in the range, and no value now.
    gpus = [_gpu(series.labels[key], values) for key, values in series.values.items() if not values.keys().isdisjoint(METRICS)]
    problems = [] if gpus else ["Prometheus has no DCGM series of this job's GPUs (DCGM_FI_DEV_...)"]
    return Seen(
        sorted(gpus, key=lambda gpu: (gpu.place, len(gpu.index), gpu.index)), "prometheus", problems, [], whose.expected
    )


def _rows(data: dict[str, Any]) -> list[Any]:
    rows = data.get("result")
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def _range(expression: str) -> dict[str, str]:
    import time

    now = time.time()
    return {"query": expression, "start": f"{now - WINDOW_S:.3f}", "end": f"{now:.3f}", "step": str(STEP_S)}


def newest(row: dict[str, Any]) -> float | None:
    try:
        value = float(row["value"][1])
    except (KeyError, IndexError, TypeError, ValueError):
        return None
    return value if math.isfinite(value) else None


def _points(row: dict[str, Any]) -> list[tuple[float, float]]:
    try:
        return [(float(time), float(text)) for time, text in row["values"][-1000:]]
    except (KeyError, TypeError, ValueError):
        return []


def idle_s(row: dict[str, Any], scale: float) -> float | None:
    """Seconds since it was last in use, as far back as the samples go; 0: it is in use."""
    points = _points(row)
    if not points:
        return None
    busy = [time for time, value in points if not value * scale < IDLE_PERCENT]
    return points[-1][0] - (busy[-1] if busy else points[0][0])


def watched_s(row: dict[str, Any]) -> float | None:
    points = _points(row)
    return points[-1][0] - points[0][0] if points else None


def _gpu(labels: Labels, values: dict[str, float]) -> Gpu:
    part = labels.get("GPU_I_ID")
    use, kind = (values.get("use"), "use") if "use" in values else (_percent(values.get("engine")), "engine")
    free, used = values.get("free"), values.get("used")
    place = labels.get("exported_pod") or labels.get("pod") or labels.get("Hostname") or _host(labels.get("instance", ""))
    return Gpu(
        place or "unknown",
        labels.get("gpu", "?") + (f":{part}" if part else ""),
        uuid=labels.get("UUID", ""),
        name=labels.get("modelName", ""),
        use_percent=use,
        idle_s=values.get(f"{kind} idle"),
        watched_s=values.get(f"{kind} watched", 0.0),
        memory_used_mib=used,
        memory_total_mib=used + free if used is not None and free is not None else None,
        temperature_c=values.get("temperature"),
        power_w=values.get("power"),
        ecc_uncorrected=values.get("ecc"),
        remap_failed=_flag(values.get("remap_failed")),
        remap_pending=_flag(values.get("remap_pending")),
        reasons=int(values["reasons"]) if 0 <= values.get("reasons", -1) < 1 << 32 else None,
        xid=int(values["xid"]) if abs(values.get("xid", math.inf)) < 1 << 16 else None,
        is_mig=part is not None,
        hot_s={degrees: values[f"hot {degrees}"] > degrees for degrees in HOT_RULES if f"hot {degrees}" in values},
    )


def _percent(part: float | None) -> float | None:
    return None if part is None else part * 100


def _flag(value: float | None) -> bool | None:
    return None if value is None else value > 0


def _host(instance: str) -> str:
    return instance.partition(":")[0]
