"""Does what the project declares import? Distribution names become modules by the image's own metadata."""

from __future__ import annotations

import importlib.util
import re
import sys
from importlib import metadata

from image_probe.probe_report import Failed, Report

MAX_MODULES = 12
INIT = "/__init__.py"
PRIVATE = re.compile(r"^_|^tests?$|^docs?$|^examples?$|^benchmarks?$|^scripts?$|^setup$")


def declared(report: Report, item: dict[str, object]) -> dict[str, object]:
    """Version and modules of one distribution. Raises Failed where it is not installed, and what an import raises."""
    name = str(item["name"])
    report.step("find " + name)
    try:
        found = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return _module(report, name, item)
    modules = modules_of(found)
    for module in modules:
        report.step("import " + module)
        importlib.import_module(module)
    return {"version": found.version, "modules": modules}


def _module(report: Report, name: str, item: dict[str, object]) -> dict[str, object]:
    """A name that somebody gave may be a module's."""
    if item.get("declared"):
        raise Failed(f"{name} is declared and not installed in the image's Python")
    report.step("import " + name)
    module = importlib.import_module(name)
    return {"version": str(getattr(module, "__version__", "")) or None, "modules": [name]}


def modules_of(found: metadata.Distribution) -> list[str]:
    """What to import of it: the module of its own name where there is one, else its public top level."""
    names = [line.strip() for line in (found.read_text("top_level.txt") or "").splitlines()]
    names = [each.replace("/", ".") for each in names if each] or sorted(_from_files(found))
    own = (found.metadata["Name"] or "").lower().replace("-", "_").replace(".", "_")
    if not names and own.isidentifier() and importlib.util.find_spec(own):
        return [own]  # Debian's packages, and those in place, name no files
    same = [each for each in names if each.lower() == own]
    public = same[:1] or [each for each in names if not PRIVATE.search(each) and each.isidentifier()]
    return [inner for each in public[:MAX_MODULES] for inner in _packages(found, each)][:MAX_MODULES]


def _packages(found: metadata.Distribution, top: str) -> list[str]:
    """A namespace (`google`) is several distributions' and imports without this one: its own packages below, the uppermost."""
    paths = [str(each).replace("\\", "/") for each in found.files or []]
    inner = sorted({each[: -len(INIT)] for each in paths if each.startswith(top + "/") and each.endswith(INIT)})
    inner = [each for each in inner if not any(PRIVATE.search(part) for part in each.split("/"))]
    if top in inner or not inner:
        return [top]
    return [each.replace("/", ".") for each in inner if not any(each.startswith(upper + "/") for upper in inner)]


def _from_files(found: metadata.Distribution) -> set[str]:
    names = set()
    for file in found.files or []:
        head, _, rest = str(file).replace("\\", "/").partition("/")
        if rest and head.isidentifier() and rest.endswith((".py", ".so")):
            names.add(head)
        elif not rest and (head.endswith(".py") or ".so" in head or ".abi3." in head):
            names.add(head.split(".")[0])
    return {each for each in names if each not in sys.builtin_module_names}
