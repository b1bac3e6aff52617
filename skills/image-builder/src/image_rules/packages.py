"""Packages against torch, NumPy, Python and the compiler: where one of the two is too new or too old for the other."""

from __future__ import annotations

import re
from collections.abc import Iterator

from conflicts.findings import Finding, passed, rewritten, skipped
from conflicts.scene import Scene
from image_rules.nvcc import compiler, has_nvcc as has_nvcc, mismatch
from image_tables import table
from asked.versions import allows, minor, newest, specifiers, version
from asked.wants import WHEEL, Want
from packaging.version import Version

LAST_NUMPY_1, LAST_PIP = "1.26.4", "25.2"
"""What stands for `numpy<2` and `pip<25.3` where a pin is written."""


OF_NGC = frozenset({"flash-attn", "transformer-engine", "transformer-engine-torch", "apex"})
"""Built into NVIDIA's PyTorch images."""


def rules(name: str) -> dict[str, dict[str, object]]:
    found: dict[str, dict[str, object]] = table("package_rules")[name]
    return found


def wheels(scene: Scene) -> Iterator[Finding]:
    """A pin that has no wheel for the Python of the image, and whose source cannot be built there."""
    for name, row in rules("wheels").items():
        first, python = str(row["first"]), str(row["python"])
        for each in scene.named(name):
            pin = version(each.pin) if each.pin else None
            if pin is None or scene.python is None or pin >= Version(first) or not allows(python, scene.python):
                continue
            summary = f"{each.asked} {each.pin} has no wheel for Python {scene.python}"
            why = f"{scene.python_why}; the source of an older one than {first} {row['why']}"
            yield Finding("python.wheel", "fail", summary, each.place, why, f"{each.asked}=={first}", rewritten(each, first))


def with_torch(scene: Scene) -> Iterator[Finding]:
    """Packages that work with some versions of torch only."""
    torch = scene.torch
    for name, row in rules("with_torch").items():
        versions = row["versions"]
        assert isinstance(versions, dict)
        for each in scene.named(name):
            if not versions or torch is None or each.name in scene.resolution.chosen.get(each.group, {}):
                continue  # its own pins are met: uv has read them
            yield _against(each, {str(key): str(value) for key, value in versions.items()}, torch.version, str(row["evidence"]))


def _against(each: Want, versions: dict[str, str], torch: str, evidence: str) -> Finding:
    id = "hyperpod.torch" if each.name == "hyperpod-elastic-agent" else "extension.torch"
    taken = each.pin if each.pin in versions else None if each.pin else newest(each.allowed, versions)
    fitting = [v for v, need in versions.items() if _meets(need, torch) and (taken is None or each.allowed.contains(v))]
    if each.pin and taken is None:
        return skipped(id, f"{each.name} {each.pin} is not in the table")
    if fitting and (each.pin is None or taken in fitting):
        return passed(id, f"{each.name} {fitting[-1]} goes with torch {torch}")
    need = versions[taken] if taken else ""
    others = [v for v, need in versions.items() if _meets(need, torch)]
    hyperpod = each.name == "hyperpod-elastic-agent"
    instead = (
        f"torch{need}, or `pip install --no-deps {each.asked}` and a test of it"
        if hyperpod
        else f"{each.asked}=={others[-1]}"
        if others
        else f"torch{need}"
    )
    status = "warn" if "--no-deps" in each.options else "fail"
    edits = rewritten(each, others[-1]) if others and each.pin and not hyperpod else ()
    return Finding(
        id,
        status,
        f"{each.name} {taken or each.allowed} needs torch{need}, the image has {torch}",
        each.place,
        f"by its own pin ({evidence})",
        instead,
        edits,
    )


def _meets(need: str, torch: str) -> bool:
    allowed = specifiers(need)
    return allowed is not None and allowed.contains(torch.partition("+")[0], prereleases=True)


def needs_nvcc(scene: Scene) -> Iterator[Finding]:
    """Packages that come as source: they need nvcc, the torch that is there, and time."""
    for name, row in rules("needs_nvcc").items():
        for each in scene.named(name):
            extra = row.get("extra")
            held = scene.base.packages.get(name) if scene.base else None
            if extra and extra not in each.extras:
                continue
            if name in OF_NGC and scene.base and scene.base.source == "ngc" and each.pin is None and each.url is None:
                yield passed("extension.build", f"{name} is in NVIDIA's image")
                continue
            if wheel := WHEEL.search(each.url or ""):
                yield from _wheel(scene, each, wheel)
            elif held and each.allowed.contains(held):
                yield passed("extension.build", f"{name} {held} is in the base image")
            else:
                yield from _source(scene, each, row)


def _source(scene: Scene, each: Want, row: dict[str, object]) -> Iterator[Finding]:
    """`cpu`: without nvcc it is built for the CPU alone. `other_torch`: in isolation it is built against the newest torch."""
    docker = scene.project.docker
    text = (docker.text if docker else "") + (scene.project.folder.text("pyproject.toml") or "")
    nvcc = compiler(scene, each.group)
    isolated = "--no-build-isolation" not in each.options and not re.search(
        r"NO_BUILD_ISOLATION|no-build-isolation|extra-build-depend", text
    )
    reason = "else it is built with the newest torch" if row.get("other_torch") else "its build imports the torch of the image"
    missing = [f"--no-build-isolation ({reason})"] if isolated else []
    missing += ["an image with nvcc (its name ends in -devel)"] if nvcc is False else []
    if wrong := mismatch(scene, each.group, each.name):
        yield wrong
    if not missing and nvcc is None:
        yield skipped(
            "extension.build", f"{each.name} is compiled for {row['minutes']} minutes; whether the image has nvcc is not known"
        )
        return
    if not missing:
        if wrong is None:
            yield passed("extension.build", f"{each.name} is compiled with the image's nvcc, {row['minutes']} minutes")
        return
    why = f"{each.name} comes as source only, and is compiled for {row['minutes']} minutes"
    why += "; without nvcc it is built for the CPU alone" if row.get("cpu") and nvcc is False else ""
    wheels = f", or a wheel of {row['wheels']} for this torch, CUDA and Python" if row["wheels"] else ""
    mild = (
        ((row.get("unsure") or row.get("cpu")) and not isolated)
        or (row.get("other_torch") and nvcc is not False)
        or each.place.file.endswith(".py")
    )
    yield Finding(
        "extension.build",
        "warn" if mild else "fail",
        f"{each.name} needs {' and '.join(missing)}",
        each.place,
        why,
        f"{' and '.join(missing)}{wheels}",
    )


def _wheel(scene: Scene, each: Want, wheel: re.Match[str]) -> Iterator[Finding]:
    """`flash_attn-2.8.3+cu12torch2.8cxx11abiTRUE-cp312-cp312-linux_x86_64.whl` names what it was built for."""
    said = re.search(r"cu(\d+)torch(\d+\.\d+)", wheel["version"].replace("%2B", "+"))
    wrong = []
    if said and scene.torch and minor(scene.torch.version) != said[2]:
        wrong.append(f"torch {said[2]}, the image has {scene.torch.version}")
    if said and scene.torch and scene.torch.cuda and not scene.torch.cuda.replace(".", "").startswith(said[1][:2]):
        wrong.append(f"CUDA {said[1]}, the image's torch has {scene.torch.cuda}")
    tag = re.fullmatch(r"cp3(\d+)", wheel["python"])
    if tag and scene.python and scene.python != f"3.{tag[1]}" and wheel["abi"] != "abi3":
        wrong.append(f"Python 3.{tag[1]}, the image has {scene.python}")
    if wrong:
        text = f"the wheel of {each.name} is built for {'; '.join(wrong)}"
        yield Finding(
            "extension.wheel",
            "fail",
            text,
            each.place,
            "its file name says so",
            "the wheel for this image, or no wheel and a build",
        )
    else:
        yield passed("extension.wheel", f"the wheel of {each.name} is built for this image, as far as its name says")


def nccl(scene: Scene) -> Iterator[Finding]:
    """An NCCL of its own beside torch's."""
    for each in scene.wants:
        if not re.fullmatch(r"nvidia-nccl-cu1[1-9]", each.name) or scene.torch is None or each.place.file == "uv.lock":
            continue
        row = table("package_rules")["torch"].get(scene.torch.line)
        cuda = scene.torch.cuda or ""
        major = each.name.rpartition("cu")[2]
        if cuda not in ("", "cpu") and major != cuda.partition(".")[0]:
            text = f"{each.name} beside a torch for CUDA {cuda}"
            yield Finding(
                "nccl.version",
                "fail",
                text,
                each.place,
                "two libnccl.so.2 of two CUDA lines; which one loads depends on the path",
                "leave it out: torch brings its own",
            )
        elif row and each.pin and each.pin != row["nccl"]:
            why = f"the wheel of torch {scene.torch.line} pins {row['nccl']}, so pip refuses both or replaces it"
            yield Finding(
                "nccl.version",
                "fail",
                f"{each.name} {each.pin} beside torch {scene.torch.version}",
                each.place,
                why,
                f"{each.name}=={row['nccl']}, or leave it out",
            )
        else:
            yield passed("nccl.version", f"{each.name} is the one that torch {scene.torch.line} takes")


def pip_cap(scene: Scene) -> Iterator[Finding]:
    """Packages that cap pip itself."""
    for name, cap in table("package_rules")["pip_cap"].items():
        if not scene.named(name):
            continue
        allowed = specifiers(cap)
        for each in scene.named("pip"):
            if allowed is not None and (not str(each.allowed) or (each.pin and not allowed.contains(each.pin))):
                text = f"pip {each.allowed or 'of any version'} beside {name}, which needs pip{cap}"
                yield Finding(
                    "hyperpod.pip",
                    "fail",
                    text,
                    each.place,
                    "by its own metadata",
                    f"pip{cap}",
                    rewritten(each, LAST_PIP, cap),
                )
