"""Names that mislead, versions that contradict each other, lines and files that cannot be read."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from itertools import combinations

from conflicts.findings import Edit, Finding, passed, skipped
from asked.imports import top_modules
from conflicts.scene import Scene
from image_tables import table
from asked.versions import version
from asked.wants import Want

NEVER_HIDDEN = frozenset(sys.builtin_module_names) | {
    "abc",
    "codecs",
    "io",
    "os",
    "site",
    "stat",
    "posixpath",
    "genericpath",
    "zipimport",
}
"""Loaded before any file of the project is looked for."""
OF_CONDA = frozenset({"pytorch", "pytorch-cuda", "yaml", "tensorflow-gpu", "apex"})
"""Names that are right in conda."""


def traps(scene: Scene) -> Iterator[Finding]:
    rows = table("package_rules")["traps"]
    for each in scene.wants:
        code = each.place.file.endswith((".py", ".lock")) and each.place.file != "setup.py"
        if each.name not in rows or each.url or code or ("conda" in each.options and each.asked.lower() in OF_CONDA):
            continue
        row = rows[each.name]
        instead = row["instead"]
        edit = Edit(each.place, each.text, each.text.replace(each.asked, str(instead), 1))
        edits = (edit,) if instead and each.asked in each.text and not str(each.allowed) else ()
        text = f"{each.asked} {row['why']}"
        yield Finding(
            "name.trap",
            "fail",
            text,
            each.place,
            f"table of {table('package_rules')['date']}",
            instead or "leave it out",
            edits,
        )


def shadows(scene: Scene) -> Iterator[Finding]:
    """A file at the top of the project with the name of a package or of the standard library."""
    modules = table("package_rules")["modules"]
    packages = {each.name.replace("-", "_"): each for each in scene.wants}
    of_modules = {module: (name or "").partition("[")[0].lower().replace("-", "_") for module, name in modules.items()}
    packages |= {module: packages[name] for module, name in of_modules.items() if name in packages}
    own = {(each.name or "").lower().replace("-", "_") for each in scene.project.metadata}
    for module, file in top_modules(scene.project.files).items():
        if module in packages and module not in own:
            text, why = (
                f"{file} hides the package {packages[module].asked}",
                f"{packages[module].place} asks for it; `python train.py` finds the file first",
            )
            yield Finding("name.shadow", "fail", text, None, why, "another name for the file")
        elif module in sys.stdlib_module_names - NEVER_HIDDEN and module not in ("__main__", "this", "test"):
            text = f"{file} hides the standard library's {module}"
            yield Finding(
                "name.shadow",
                "warn",
                text,
                None,
                "`python train.py` finds the file first, for other packages too",
                "another name for the file",
            )


def contradictions(scene: Scene) -> Iterator[Finding]:
    """One package, asked for with versions that exclude each other."""
    asked: dict[str, list[Want]] = {}
    for each in scene.wants:
        if str(each.allowed) and each.place.file != "uv.lock":
            asked.setdefault(each.name, []).append(each)
    for each in scene.project.constraints:
        if each.name in asked:
            asked[each.name].append(each)
    for name, wants in asked.items():
        for one, other in combinations(wants[:20], 2):
            if _excluded(one, other):
                text = f"{name}{one.allowed} here, {name}{other.allowed} at {other.place}"
                same = one.group == other.group
                why = "no version is both" if same else "the later command replaces what the earlier one has installed"
                yield Finding("requirements.contradiction", "fail" if same else "warn", text, one.place, why, "one of the two")
                break


def _excluded(one: Want, other: Want) -> bool:
    for a, b in ((one, other), (other, one)):
        pin = version(a.pin)
        if pin is not None and not b.allowed.contains(pin, prereleases=True):
            return not (b.pin and version(b.pin) is not None and a.pin and a.pin.partition("+")[0] == b.pin)
    return False


def readable(scene: Scene) -> Iterator[Finding]:
    """Lines that pip refuses, files that are not there, and whether there was anything to judge."""
    project = scene.project
    for place, why in project.wrong:
        yield Finding("requirements.syntax", "fail", "pip refuses this line", place, why, "a requirement such as torch==2.13.0")
    for place, name in project.missing:
        text = f"it installs {name[:200]}, which is not in the folder"
        yield Finding(
            "requirements.missing",
            "warn",
            text,
            place,
            "it may be made in the build; what it asks for was not judged",
            "COPY a file of the project",
        )
    for name, why in project.folder.unread.items():
        status = "unknown" if re.search(r"\.(?:txt|toml|lock|ya?ml|in|cfg)$|setup\.py$|^[^.]+$", name) else "warn"
        yield Finding("files.unread", status, f"{name} was not read", None, why, "make it a readable text file in the folder")
    for name in project.computed:
        text = f"{name} computes its install_requires"
        instead = "requirements.txt or pyproject.toml"
        yield Finding("requirements.computed", "warn", text, None, "setup.py is not run here", instead)
    if project.sources or project.wants:
        yield passed("requirements.read", f"{len(scene.wants)} requirements from {', '.join(project.sources)[:200]}")
    elif project.docker:
        yield skipped("requirements.read", "the Dockerfile installs no packages, and the folder declares none")
    else:
        text = "nothing in the folder says which packages it needs"
        yield Finding(
            "requirements.read",
            "unknown",
            text,
            None,
            "no requirements, pyproject.toml, environment.yml, setup.py, import or RUN pip install",
            "requirements.txt",
        )
