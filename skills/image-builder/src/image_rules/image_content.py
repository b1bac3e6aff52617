"""What gets into the image at all: packages that the folder asks for and no command installs, and git's history."""

from __future__ import annotations

import re
from collections.abc import Iterator

from conflicts.findings import Finding
from conflicts.scene import Scene
from image_project import TOOLS
from asked.wants import Place

MAY_INSTALL = re.compile(r"install|pip|\buv\b|conda|mamba|poetry|pdm|hatch|setup\.py|\.sh\b|make|requirements|python|ansible")
"""In a RUN, CMD or ENTRYPOINT: it may bring packages in a way that is not read here."""
OF_SYSTEM = re.compile(r"(?:apt|apt-get|dnf|microdnf|yum|apk)\b[^&;|]*")
NO_GIT = re.compile(r"(?m)^\s*(?:\*|/?(?:\*\*/)?\.git(?:/(?:\*\*?)?)?|/?(?:\*\*/)?\.\*)\s*$")


def uninstalled(scene: Scene) -> Iterator[Finding]:
    """The Dockerfile of a known image installs nothing, and the folder asks for packages."""
    project, base = scene.project, scene.base
    docker = project.docker
    if docker is None or base is None or any(each.files or each.local for each in project.installs):
        return
    if any(want.name not in TOOLS for each in project.installs for want in each.wants):
        return
    body = [each for stage in docker.used() for each, _ in stage.body]
    runs = [OF_SYSTEM.sub("", each.value) for each in body if each.keyword == "RUN"]
    if any(MAY_INSTALL.search(each) for each in runs) or any("from" in each.flags for each in body if each.keyword == "COPY"):
        return
    if any(re.search(r"install|\.sh\b|\buv\b|poetry", each.value) for each in body if each.keyword in ("CMD", "ENTRYPOINT")):
        return
    lacking = [each for each in scene.wants if each.name not in ("python", "pip") and not _has(scene, each.name)]
    if lacking and not (base.has_torch and project.sources == ["imports"]):
        names = ", ".join(dict.fromkeys(each.asked for each in lacking))[:200]
        place = Place(docker.file, docker.stages[-1].line)
        text = f"the Dockerfile installs nothing of what {', '.join(project.sources)[:100]} asks for: {names}"
        why = "they were judged as if they were installed; the container would stop at the first import"
        files = [name for name in project.sources if name.endswith(".txt")]
        instead = f"COPY {files[0]} . and RUN pip install -r {files[0]}" if files else "RUN pip install with these packages"
        yield Finding("requirements.installed", "warn", text, place, why, instead)


def _has(scene: Scene, name: str) -> bool:
    base = scene.base
    return base is not None and ((name == "torch" and base.has_torch) or name in base.packages)


def git(scene: Scene) -> Iterator[Finding]:
    """`COPY . .` without a line for .git in the ignore file."""
    docker, folder = scene.project.docker, scene.project.folder
    if docker is None or not (folder.path / ".git").exists():
        return
    ignored = next((text for name in (f"{docker.file}.dockerignore", ".dockerignore") if (text := folder.text(name))), "")
    if NO_GIT.search(ignored):
        return
    for stage in docker.used():
        for each, _ in stage.body:
            if (
                each.keyword in ("COPY", "ADD")
                and "from" not in each.flags
                and re.match(r"\s*(?:\[\s*\")?\.?/?[\s\"]", each.value)
            ):
                text = "git's history (.git) is copied into the image"
                why = (
                    "it makes the image larger, changes its tag with every commit, and may hold what was deleted from the files"
                )
                yield Finding("context.git", "warn", text, Place(docker.file, each.line), why, "a line .git in .dockerignore")
                return
