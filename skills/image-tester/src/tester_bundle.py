"""The text that is sent to the image's Python, and the plan in it. Both ways of running, here and on CodeBuild, send this."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from image_probe import probe_bundle

PARTS = Path(__file__).with_name("image_probe")


@dataclass(frozen=True, kw_only=True)
class Probe:
    """One probe: a function of a part, called once for each item."""

    id: str
    call: str
    """part.function"""
    items: tuple[dict[str, Any], ...] = ({},)
    limit_s: float = 120.0
    """For each item."""
    folder: str = ""
    """First in sys.path: the folder of the entry point."""
    environment: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """What is tried in an image, in this order."""

    probes: tuple[Probe, ...]
    key: str = field(default_factory=lambda: secrets.token_hex(32))
    """Signs the answers. It is in the text and nowhere else."""

    def limit_s(self) -> float:
        """More than all time limits together."""
        return 60.0 + sum(each.limit_s * len(each.items) for each in self.probes)


def text(plan: Plan) -> str:
    """A program for `python -I -S -u -`."""
    parts = [(name, (PARTS / f"{name}.py").read_text(encoding="ascii")) for name in probe_bundle.ORDER]
    probes = [
        {
            "id": each.id,
            "call": each.call,
            "items": list(each.items),
            "limit_s": each.limit_s,
            "folder": each.folder,
            "environment": each.environment,
        }
        for each in plan.probes
    ]
    return probe_bundle.text(parts, "probe_first", {"key": plan.key, "probes": probes})
