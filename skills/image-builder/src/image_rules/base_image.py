"""The image behind FROM: is it known, patched, old enough in its glibc, does its Python fit, has it EFA where the target does?"""

from __future__ import annotations

import re
from collections.abc import Iterator

from bases.images import TABLE
from conflicts.findings import Finding, passed, skipped
from conflicts.scene import Scene
from image_tables import date_of, table
from asked.versions import allows, version
from packaging.version import Version

SOON_DAYS = 60
FLOATING = re.compile(r"[^@:]+(?::[0-9]+/[^@:]+)?(?::latest)?")


def findings(scene: Scene) -> Iterator[Finding]:
    if scene.project.docker is None:
        yield skipped("base.known", "no Dockerfile; only the requirements were judged")
        return
    yield from _known(scene)
    yield from _floating(scene)
    yield from _patch(scene)
    yield from _glibc(scene)
    yield from _python(scene)
    yield from _efa(scene)
    yield from stages(scene)


def _known(scene: Scene) -> Iterator[Finding]:
    docker = scene.project.docker
    assert docker is not None
    last = docker.chain(docker.stages[-1])[-1]
    if scene.image is None:
        names = ", ".join(sorted(last.missing))
        text = f"FROM needs {names or 'an image'}, which has no value in the file"
        yield Finding(
            "base.known",
            "unknown",
            text,
            scene.image_place,
            "the image depends on --build-arg",
            f"ARG {names or 'IMAGE'}=... before FROM",
        )
    elif scene.base is None:
        yield skipped("base.known", f"{scene.image_place}: nothing is known of {scene.image}; what it holds was not judged")
    elif scene.base.has_torch and scene.base.torch is None:
        text = f"{scene.image} holds a torch of NVIDIA's own build, and its release is not in the table of {date_of(TABLE)}"
        yield skipped("base.known", f"{scene.image_place}: {text}; its torch, CUDA and Python were not judged")
    else:
        how = "the table" if scene.base.evidence != "name" else "its name"
        yield passed("base.known", f"{scene.image} is known by {how}", f"table of {date_of(TABLE)}")


def _floating(scene: Scene) -> Iterator[Finding]:
    image = scene.image
    if image and image != "scratch" and FLOATING.fullmatch(image):
        why = "the same Dockerfile builds another image next month, and what it holds cannot be judged"
        yield Finding(
            "base.tag", "warn", f"{image} has no fixed tag", scene.image_place, why, "a tag with a version, or a digest"
        )


def _patch(scene: Scene) -> Iterator[Finding]:
    base = scene.base
    left = base.days_left(scene.today) if base else None
    if base is None or left is None:
        if base and base.has_torch:
            yield skipped("base.patch", f"no end of patch is known for {base.image}")
        return
    if left < 0:
        why = f"AWS's support policy ended its patches on {base.end_of_patch} or before (table of {date_of(TABLE)}, today {scene.today})"
        yield Finding(
            "base.patch",
            "fail",
            f"{base.image} gets no more patches",
            scene.image_place,
            why,
            "base_image_selector.py select FOLDER names one that does",
        )
    elif left < SOON_DAYS:
        text = f"{base.image} gets patches for {left} days more"
        yield Finding(
            "base.patch", "warn", text, scene.image_place, f"until {base.end_of_patch}", "base_image_selector.py select FOLDER"
        )
    else:
        yield passed("base.patch", f"{base.image} gets patches until {base.end_of_patch}")


def _glibc(scene: Scene) -> Iterator[Finding]:
    glibc = scene.base.glibc if scene.base else None
    if glibc is None:
        return
    for name, floors in table("package_rules")["glibc"].items():
        for each in scene.named(name):
            taken = scene.torch.version if name == "torch" and scene.torch else scene.taken(each)
            floor = _floor(floors, taken, newest=each.allowed.contains("9999"))
            if floor is None:
                continue
            if glibc == "musl":
                why = "Alpine has musl in place of glibc, and every wheel of it is for glibc"
                yield Finding(
                    "glibc.floor",
                    "fail",
                    f"{name} has no wheel for {scene.image}",
                    each.place,
                    why,
                    "an image of Debian or Ubuntu, such as python:3.12-slim",
                )
            elif Version(glibc) < Version(floor):
                why = f"its wheels are for glibc {floor} or newer, {scene.image} has {glibc}; pip then takes an older one in silence, or finds none"
                yield Finding(
                    "glibc.floor",
                    "fail",
                    f"{name} {taken or ''} is too new for {scene.image}",
                    each.place,
                    why,
                    f"an image with glibc {floor} or newer",
                )
            else:
                yield passed("glibc.floor", f"{name} needs glibc {floor}, the image has {glibc}")


def _floor(floors: list[dict[str, str]], taken: str | None, *, newest: bool) -> str | None:
    """The glibc of the newest row that the version reaches; without a version that of the newest."""
    has = version(taken)
    if has is None:
        return floors[0]["glibc"] if newest else None
    return next((row["glibc"] for row in floors if has >= Version(row["from"])), None)


def _python(scene: Scene) -> Iterator[Finding]:
    """requires-python of the project against the image's Python."""
    for each in scene.project.metadata:
        if each.python is None or scene.python is None or scene.base is None:
            continue
        if allows(each.python, scene.python):
            yield passed("python.version", f"Python {scene.python} of the image meets {each.python}")
        else:
            text = f"{each.file} asks for Python {each.python}, the image has {scene.python}"
            yield Finding(
                "python.version",
                "fail",
                text,
                scene.image_place,
                f"{each.file}:{each.python_line}; {scene.python_why}",
                "an image with that Python",
            )


def _efa(scene: Scene) -> Iterator[Finding]:
    """Instance types with EFA want libfabric and aws-ofi-nccl in the image; without, NCCL goes over TCP in silence."""
    docker, goal = scene.project.docker, scene.target
    if goal is None or not goal.efa or docker is None or not (scene.torch or scene.torch_is_unknown):
        return
    if scene.base and scene.base.efa:
        yield passed("nccl.efa", f"{scene.base.image} has EFA and aws-ofi-nccl")
    elif re.search(r"aws-efa-installer|aws-ofi-nccl|/opt/amazon/(?:efa|ofi-nccl)", docker.text):
        yield passed("nccl.efa", "the Dockerfile installs EFA or aws-ofi-nccl")
    elif scene.base:
        why = f"{goal.instance_type} has EFA; without libfabric and aws-ofi-nccl NCCL goes over TCP between nodes, and says nothing"
        yield Finding(
            "nccl.efa",
            "warn",
            f"{scene.image} is not known to have EFA",
            scene.image_place,
            why,
            "AWS's container, or the EFA installer (which brings aws-ofi-nccl); one node needs neither",
        )


def stages(scene: Scene) -> Iterator[Finding]:
    """A virtual environment that is copied from a stage with another Python."""
    from bases.images import known

    docker = scene.project.docker
    assert docker is not None
    for each, _ in docker.stages[-1].body:
        source = docker.stage(each.flags.get("from", "")) if each.keyword == "COPY" else None
        if source is None or not re.search(r"venv|site-packages|dist-packages|/usr/local/lib/python", each.value):
            continue
        base = known(docker.chain(source)[-1].image)
        if base and base.python and scene.python and base.python != scene.python:
            text = f"packages of Python {base.python} are copied into an image with {scene.python}"
            why = f"stage {source.name or source.index} is built from {base.image}; extensions are built for one Python"
            from asked.wants import Place

            yield Finding("python.stages", "fail", text, Place(docker.file, each.line), why, "the same Python in both stages")
