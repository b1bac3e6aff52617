"""What the environment says about this node of the job."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Settings:
    nodes: int
    node: int
    procs: str
    master: str
    port: int
    run_id: str
    run_dir: Path | None
    max_restarts: int
    grace_s: float
    node_timeout_s: float
    hang: str
    hang_after_s: float | None

    @classmethod
    def from_environment(cls) -> Settings:
        """Raises ValueError, with the variable's name, where one is not a number."""
        nodes, node = _number("PET_NNODES", 1), _number("PET_NODE_RANK", 0)
        if not node < nodes:
            raise ValueError(f"PET_NODE_RANK={node} and PET_NNODES={nodes}: nodes are counted from 0")
        alone = nodes == 1
        run_dir = os.environ.get("TRAINYARD_RUN_DIR")
        return cls(
            nodes=nodes,
            node=node,
            procs=os.environ.get("PET_NPROC_PER_NODE", "1"),
            master="127.0.0.1" if alone else _text("PET_MASTER_ADDR", "MASTER_ADDR"),
            port=0 if alone else _port("PET_MASTER_PORT", "MASTER_PORT"),
            run_id=os.environ.get("TRAINYARD_RUN_ID", ""),
            run_dir=Path(run_dir) if run_dir else None,
            max_restarts=_number("TRAINYARD_MAX_RESTARTS", 3),
            grace_s=_seconds("TRAINYARD_STOP_GRACE_S", 60.0),
            node_timeout_s=_seconds("TRAINYARD_NODE_TIMEOUT_S", 3600.0),
            hang=_hang(),
            hang_after_s=_hang_after_s(),
        )


def _number(name: str, default: int) -> int:
    text = os.environ.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise ValueError(f"{name}={text!r} is not a whole number (an elastic range is not supported: nodes are a fixed count)")
    return int(text)


def _seconds(name: str, default: float) -> float:
    text = os.environ.get(name, str(default))
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < 1e9:
        raise ValueError(f"{name}={text!r} is not a number of seconds")
    return seconds


def _hang() -> str:
    word = os.environ.get("TRAINYARD_HANG", "restart")
    if word not in ("restart", "report"):
        raise ValueError(f"TRAINYARD_HANG={word!r} is neither restart nor report")
    return word


def _hang_after_s() -> float | None:
    """None: auto."""
    if os.environ.get("TRAINYARD_HANG_AFTER_S", "auto") == "auto":
        return None
    seconds = _seconds("TRAINYARD_HANG_AFTER_S", 0.0)
    if seconds < 1:
        raise ValueError(f"TRAINYARD_HANG_AFTER_S={seconds:g} is not auto, and not a second or more")
    return seconds


def _text(*names: str) -> str:
    for name in names:
        if os.environ.get(name):
            return os.environ[name]
    raise ValueError(f"more than one node, and none of {', '.join(names)} is set")


def _port(*names: str) -> int:
    text = _text(*names)
    if not (text.isascii() and text.isdigit() and len(text) < 6 and 0 < int(text) < 65536):
        raise ValueError(f"{' or '.join(names)}: {text!r} is not a port")
    return int(text)
