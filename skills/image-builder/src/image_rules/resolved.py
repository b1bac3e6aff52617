"""What uv says of the requirements together: no versions that meet them, a torch that is replaced, names that the index does not have."""

from __future__ import annotations

from collections.abc import Iterator

from conflicts.findings import Finding, passed, skipped
from conflicts.resolution import NOT_THERE, Conflict
from conflicts.scene import Scene


def findings(scene: Scene) -> Iterator[Finding]:
    found = scene.resolution
    if not scene.wants:
        return
    if found.judge == "table":
        yield skipped(
            "requirements.resolve", f"{'the index gave no answer' if found.asked else 'no index was asked'}: {found.why}"
        )
        return
    yield from (_conflict(scene, each) for each in found.conflicts)
    count = sum(map(len, found.chosen.values()))
    if count and not found.conflicts:
        assumed = "" if scene.python else " (assumed: the image's own is not known)"
        yield passed(
            "requirements.resolve",
            f"uv finds {count} versions that go together for Python {found.python}{assumed}, {found.platform}",
        )
    if found.left_out:
        yield skipped(
            "requirements.source",
            f"not judged, because its own requirements are known only after a build: {', '.join(sorted(found.left_out))}",
        )
    if found.why:
        yield skipped("requirements.resolve", f"a part was not judged: {found.why}")


def _conflict(scene: Scene, each: Conflict) -> Finding:
    names = ", ".join(each.names[:4]) or "the requirements"
    if each.replaces:
        of_base = scene.base is not None and each.replaces == scene.kept
        held = f"{scene.base.torch} of the base image" if scene.base and of_base else f"{each.replaces} of an earlier command"
        one = len(each.names[:4]) == 1
        text = f"{names} {'needs' if one else 'need'} another torch than the {held}, and {'replaces' if one else 'replace'} it"
        instead = "versions that go with it, or an image without torch"
        return Finding("torch.again", "fail", text, each.place, each.text, instead)
    if each.missing:
        text = f"{names}: not on the public index; the index that the project names was not reached from here"
        return Finding(
            "requirements.resolve", "unknown", text, each.place, each.text, "the same call where that index is reachable"
        )
    if absent := NOT_THERE.search(each.text):
        text = f"{absent[1]} is not on the package index"
        return Finding(
            "requirements.resolve", "fail", text, each.place, each.text, "correct its name: there is no such package"
        )
    unsure = scene.python is None and ("Python" in each.text or "ABI tag" in each.text)
    text = f"no versions of {names} go together" + (f" for Python {scene.resolution.python}" if unsure else "")
    instead = (
        "name the image's Python in .python-version"
        if unsure
        else f"another version of {names}; the reason says what each of them needs"
    )
    return Finding("requirements.resolve", "warn" if unsure else "fail", text, each.place, each.text, instead)
