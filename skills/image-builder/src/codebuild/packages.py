"""How much larger the requirements make an image: torch comes with CUDA's libraries, which are most of it."""

from __future__ import annotations

from build_source import Source
from codebuild.compute import TABLE
from generated.base import BRING_TORCH
from image_project import read_project
from image_tables import table


def large_gb(source: Source, base: str | None) -> float:
    """Unpacked size of what the image installs of the table's packages, by the requirements of its Dockerfile's RUNs or of the project."""
    sizes = table(TABLE)["package_gb"]
    if base is not None and any(part in base for part in table(TABLE)["has_torch"]):
        return 0.0
    project = read_project(source.folder, None if source.recipe.generated else source.recipe.dockerfile_name)
    if project.docker and not project.installs:
        return 0.0
    wanted = {each.name for each in project.wants}
    imported = source.recipe.generated and '"torch"' in source.recipe.dockerfile  # by the code, in no file of requirements
    if not imported and not wanted & {"torch", *BRING_TORCH}:
        return 0.0
    urls = [url for each in project.wants for url in each.indexes] + [url for url, _ in project.indexes]
    return float(sizes["torch-cpu" if any("/whl/cpu" in url for url in urls) else "torch"])
