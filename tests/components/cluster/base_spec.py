"""base_spec.py < `ctr oci spec` > the specification that every container of the real node starts from.

It adds what an image would hold: the packages that the tests run with, Ray, this checkout's training/, and tests/ with the jobs
that only tests run. So pods find torch and trainyard without a multi-gigabyte image (image/python.json puts the folders on
PYTHONPATH). Read-only.
"""

from __future__ import annotations

import json
import sys
import sysconfig
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]


def mounts(ray_site: Path) -> dict[str, Path]:
    """Place in the container -> folder of this machine."""
    found = {"/opt/site": Path(sysconfig.get_path("purelib"))}
    found |= {f"/workspace/{name}": ROOT / name for name in ("training", "tests")}
    return {**found, **({"/opt/ray-site": ray_site} if ray_site.is_dir() else {})}


def with_mounts(spec: dict[str, Any], ray_site: Path) -> dict[str, Any]:
    more = [
        {"destination": place, "type": "bind", "source": str(folder), "options": ["rbind", "ro", "nosuid", "nodev"]}
        for place, folder in mounts(ray_site).items()
    ]
    return {**spec, "mounts": [*spec["mounts"], *more]}


if __name__ == "__main__":
    print(json.dumps(with_mounts(json.load(sys.stdin), Path(sys.argv[1]))))
