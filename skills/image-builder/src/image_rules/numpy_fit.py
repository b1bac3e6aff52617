"""NumPy against the extensions that were built for another of its lines, and against Python."""

from __future__ import annotations

from collections.abc import Iterator

from conflicts.findings import Finding, passed, rewritten, skipped
from conflicts.scene import Scene
from image_project import DEFAULT_PYTHON
from image_tables import table
from asked.versions import allows, minor, newest, specifiers, version
from asked.wants import Want
from image_rules.packages import rules
from packaging.version import Version

LAST_NUMPY_1 = "1.26.4"
"""What stands for `numpy<2` where a pin is written."""


def numpy(scene: Scene) -> Iterator[Finding]:
    """NumPy 2 beside extensions that were built against NumPy 1."""
    old = [each for each in scene.wants if each.name in rules("numpy_2") and _is_old(each, scene.taken(each))]
    asked = scene.named("numpy")
    if not old:
        if asked:
            yield passed("numpy.abi", "nothing that is asked for is known to be built against NumPy 1")
        return
    names = ", ".join(each.name for each in old)
    if scene.torch_is_unknown and not asked:
        yield skipped("numpy.abi", f"which NumPy {scene.image} has beside {names} is not known")
        return
    taken = scene.resolution.versions("numpy")[-1:] if scene.resolution.chosen else _numpy_of_table(scene, old)
    if not taken or Version(taken[0]) < Version("2"):
        yield passed("numpy.abi", f"NumPy stays below 2 beside {names}" if taken else f"{names} brings no NumPy")
        return
    for each in old:
        yield _old(each, asked, taken[0])


def _numpy_of_table(scene: Scene, old: list[Want]) -> list[str]:
    """The newest NumPy that Python, pins and known caps of other packages allow; none where nothing brings NumPy."""
    asked = scene.named("numpy")
    if not asked and not scene.named(*table("package_rules")["bring_numpy"]):
        return []
    limits = [each.allowed for each in asked + [each for each in scene.project.constraints if each.name == "numpy"]]
    capped = any(_caps(each) for each in old) or any(_keeps_numpy_1(scene, each) for each in scene.wants)
    rows = {v: need for v, need in table("package_rules")["numpy"].items() if not (capped and Version(v) >= Version("2"))}
    fitting = [
        v for v, need in rows.items() if allows(need, scene.python or DEFAULT_PYTHON) and all(one.contains(v) for one in limits)
    ]
    return [max(fitting, key=Version)] if fitting else []


def _keeps_numpy_1(scene: Scene, each: Want) -> bool:
    row = table("package_rules")["keep_numpy_1"].get(each.name)
    return row is not None and each.pin is not None and (specifiers(row) or each.allowed).contains(each.pin)


def _old(each: Want, asked: list[Want], newest_: str) -> Finding:
    first = rules("numpy_2")[each.name]["first"]
    why = f"{each.name} is built against NumPy 2 from {first} on; an installer takes NumPy {newest_}, and the import says _ARRAY_API not found"
    fitting = [one for one in asked if one.allowed.contains(LAST_NUMPY_1)]
    edits = rewritten(fitting[0], LAST_NUMPY_1, "<2") if fitting and fitting[0].pin is None else ()
    return Finding(
        "numpy.abi",
        "fail",
        f"{each.name}{each.allowed} beside NumPy 2",
        each.place,
        why,
        f"numpy<2, or {each.name}>={first}",
        edits,
    )


def _is_old(each: Want, taken: str | None) -> bool:
    """Whether what is taken, or every version that is allowed, is older than the first that was built against NumPy 2."""
    first = Version(str(rules("numpy_2")[each.name]["first"]))
    if taken:
        has = version(taken)
        return has is not None and has < first
    edges = [edge for one in each.allowed if (edge := version(one.version.removesuffix(".*")))]
    tried = [first, Version("9999"), *edges, *(Version(f"{edge.base_version}.9999") for edge in edges)]
    return bool(str(each.allowed)) and not any(v >= first and each.allowed.contains(v) for v in tried)


def _caps(each: Want) -> bool:
    caps = rules("numpy_2")[each.name]["caps"]
    pin = version(each.pin)
    return caps is not None and (pin is None or pin >= Version(str(caps)))


def numpy_python(scene: Scene) -> Iterator[Finding]:
    """A NumPy that has no wheel for the Python of the image."""
    for each in scene.named("numpy"):
        row = next(
            (need for v, need in table("package_rules")["numpy"].items() if each.pin and minor(v) == minor(each.pin)), None
        )
        if row and scene.python and not allows(row, scene.python):
            why = f"{scene.python_why}; NumPy {minor(str(each.pin))} is for Python {row}"
            fitting = newest(
                specifiers(">0") or each.allowed,
                [v for v, need in table("package_rules")["numpy"].items() if allows(need, scene.python)],
            )
            text = f"numpy {each.pin} has no wheel for Python {scene.python}"
            edits = rewritten(each, fitting) if fitting else ()
            yield Finding("python.numpy", "fail", text, each.place, why, f"numpy=={fitting}", edits)
