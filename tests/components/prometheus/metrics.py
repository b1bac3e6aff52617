"""Metrics as HyperPod's observability add-on collects them: DCGM, EFA, the add-on's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

Sample = tuple[str, Mapping[str, str], float]
"""Name, labels, value."""


def gpu_node(
    node: str,
    *,
    gpus: int = 8,
    temperature: Sequence[float] = (),
    ecc: Sequence[float] = (),
    xid: Sequence[float] = (),
    efa: int = 0,
) -> list[Sample]:
    """One node's GPUs, and as many EFA devices: those are off by default. `node`: its name, hyperpod-i-...

    The sequences have a value for each of the first GPUs; the others are healthy.
    """
    found: list[Sample] = []
    for gpu in range(gpus):
        labels = {"gpu": str(gpu), "UUID": f"GPU-{node[-4:]}-{gpu}", "Hostname": node, "modelName": "NVIDIA H100 80GB HBM3"}
        values = {
            "DCGM_FI_DEV_GPU_TEMP": nth(temperature, gpu, 55.0),
            "DCGM_FI_DEV_ECC_DBE_VOL_TOTAL": nth(ecc, gpu, 0.0),
            "DCGM_FI_DEV_XID_ERRORS": nth(xid, gpu, 0.0),
            "DCGM_FI_DEV_GPU_UTIL": 97.0,
            "DCGM_FI_DEV_POWER_USAGE": 610.0,
            "DCGM_FI_DEV_FB_USED": 61000.0,
        }
        found += [(name, labels, value) for name, value in values.items()]
    for device in range(efa):
        labels = {"device": f"rdmap{device}s27", "port": "1", "instance": node}
        found += [("node_amazonefa_rx_bytes", labels, 1e12), ("node_amazonefa_rx_drops", labels, 0.0)]
    return found


def nth(values: Sequence[float], index: int, otherwise: float) -> float:
    return values[index] if index < len(values) else otherwise


def text(samples: Sequence[Sample], *, at_s: float | None = None) -> str:
    """In the exposition format; with `at_s`, epoch seconds, as OpenMetrics with a time."""
    moment = "" if at_s is None else f" {at_s:.3f}"
    return "".join(f"{name}{{{labelled(labels)}}} {value:g}{moment}\n" for name, labels, value in samples)


def labelled(labels: Mapping[str, str]) -> str:
    quoted = {name: value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") for name, value in labels.items()}
    return ",".join(f'{name}="{value}"' for name, value in quoted.items())


def history(samples: Sequence[Sample], *, end_s: float, seconds: int = 600, every_s: int = 15) -> str:
    """The same values for some time before `end_s`, as OpenMetrics: what `promtool tsdb create-blocks-from` takes."""
    blocks = []
    for sample in samples:  # of one series all samples stand together, the oldest first
        blocks += [text([sample], at_s=end_s - seconds + number * every_s) for number in range(seconds // every_s)]
    return "".join(blocks) + "# EOF\n"
