"""Which versions an installer would take. Today the dated tables say so; an index is not asked.

This is the place for real resolution: `uv pip compile --python-platform x86_64-manylinux_2_28 --torch-backend ...` on
`scene.wants`, whose answer would replace `scene.chosen`.
"""

from __future__ import annotations

from typing import Any

from image_tables import date_of

TABLES = ("package_rules", "base_images", "gpu_builds")


def judged_by() -> dict[str, Any]:
    return {"judge": "table", "index_asked": False, "dates": {name: date_of(name) for name in TABLES}}
