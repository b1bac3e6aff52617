"""torch with torchvision, torchaudio and triton, its CUDA build, and its Python. Source: assets/package_rules.yaml, part torch."""

from __future__ import annotations

import re
from collections.abc import Iterator

from bases.images import rows
from conflicts.findings import Finding, passed, rewritten, skipped
from conflicts.scene import CUDA_TAG, Scene, Torch, tagged, torch_row
from image_tables import table
from asked.versions import allows, minor, newest, version
from asked.wants import Want
from packaging.version import Version

INDEX = re.compile(
    r"index|INDEX|find.links|FIND_LINKS|pip\.conf|pip3? config|TORCH_BACKEND|torch-backend|uv\.toml|/whl/|\s-[fi]\s"
)
CONFIGURATIONS = ("pip.conf", ".pip/pip.conf", ".config/pip/pip.conf", "uv.toml")

FROM_OPEN = {"torchvision": "0.29", "torchaudio": "2.11"}
"""From this line on its wheels pin no single torch."""


def findings(scene: Scene) -> Iterator[Finding]:
    torch = scene.torch
    if torch is None and (asked := scene.named("torch")) and not scene.torch_is_unknown:
        text = f"which version torch{asked[0].allowed} is, is not in the table of {table('package_rules')['date']}"
        yield Finding(
            "torch.version", "unknown", text, asked[0].place, "torch's partners, CUDA and Python are not judged", "torch==X.Y.Z"
        )
        return
    if torch is None:
        yield skipped("torch.version", "no version of torch is asked for, and the base image is not known to hold one")
        return
    if torch_row(torch.version) is None:
        text = f"torch {torch.version} is not in the table of {table('package_rules')['date']}"
        yield Finding(
            "torch.version",
            "unknown",
            text,
            torch.place,
            "its partners, CUDA and Python are not judged",
            f"judge it yourself by its release notes, or take one of torch {' to '.join(_ends())}",
        )
        return
    yield from _pairs(scene, torch)
    yield from _build(torch)
    yield from _python(scene, torch)


def _pairs(scene: Scene, torch: Torch) -> Iterator[Finding]:
    partners = scene.named("torchvision", "torchaudio", "triton")
    wrong = [
        finding for each in partners if (finding := _pair(each, torch, scene.resolution.chosen.get(each.group, {}))) is not None
    ]
    yield from wrong
    if partners and not wrong:
        names = ", ".join(each.name for each in partners)
        yield passed(
            "torch.pair",
            f"{names} {'goes' if len(partners) == 1 else 'go'} with torch {torch.version}",
            f"table of {table('package_rules')['date']}",
        )


def _pair(each: Want, torch: Torch, chosen: dict[str, str]) -> Finding | None:
    """`chosen`: what the index gives this command; its own pins are met then, and torchaudio 2.11 has none."""
    row = torch_row(torch.version)
    assert row is not None
    right = row.get(each.name, row["newest"])
    if each.name == "torchaudio":
        right = torch.version.partition("+")[0] if Version(torch.version) < Version("2.11") else "2.11.0"
    if each.name in chosen and each.name != "torchaudio" and not Version(torch.version).is_prerelease:
        return None
    if not str(each.allowed):
        return _unpinned_audio(each, torch, right)
    if each.name in FROM_OPEN and _open(each, torch):
        return None
    known = {minor(version_) for version_ in _releases(each.name)}
    pin = each.pin or newest(each.allowed, _releases(each.name))
    if pin is None or _goes(each, pin, right, torch) or (minor(pin) not in known and each.name == "triton"):
        return None
    if each.pin is None and each.allowed.contains(right):
        return None  # a resolver takes the one that fits
    return Finding(
        "torch.pair",
        "fail",
        f"{each.name} {each.allowed} does not go with torch {torch.version}"
        + (f" of {torch.place}" if torch.place else " of the base image"),
        each.place,
        f"{each.name} {pin} is built for {_built_for(each.name, pin)}; torch {torch.version} goes with {each.name} {right}",
        f"{each.asked}=={right}",
        rewritten(each, right),
    )


def _goes(each: Want, pin: str, right: str, torch: Torch) -> bool:
    """torchvision and torchaudio pin one release of torch, to the patch; a pre-release and --no-deps are judged by the line alone."""
    has, goal, of = Version(pin), Version(right), Version(torch.version)
    by_line = each.name == "triton" or "--no-deps" in each.options or of.is_prerelease or not each.pin
    return minor(pin) == minor(right) and (by_line or has.release[2:3] in ((), goal.release[2:3]))


def _open(each: Want, torch: Torch) -> bool:
    """Whether an open pin holds: torchvision >= 0.29 takes torch >= 2.14, torchaudio >= 2.11 takes torch >= 2.11."""
    pin = version(each.pin or newest(each.allowed, _releases(each.name)))
    floor = "2.14" if each.name == "torchvision" else "2.11"
    return pin is not None and pin >= Version(FROM_OPEN[each.name]) and Version(torch.version) >= Version(floor)


def _unpinned_audio(each: Want, torch: Torch, right: str) -> Finding | None:
    if each.name != "torchaudio" or Version(torch.version) >= Version("2.11"):
        return None
    why = "torchaudio 2.11.0 names no torch in its metadata, so an installer takes it beside any; it is built for torch 2.11"
    return Finding(
        "torch.pair",
        "warn",
        f"torchaudio without a version, beside torch {torch.version}",
        each.place,
        why,
        f"torchaudio=={right}",
        rewritten(each, right),
    )


def _ends() -> tuple[str, str]:
    lines = list(table("package_rules")["torch"])
    return lines[0], lines[-1]


def _releases(name: str) -> list[str]:
    rows = table("package_rules")["torch"].values()
    return [str(row["newest"] if name == "torchaudio" else row[name]) for row in rows]


def _built_for(name: str, pin: str) -> str:
    """The releases of torch that go with it; where the very version is unknown, those of its line."""
    rules = table("package_rules")
    rows = [torch_row(str(each)) for each in rules["torch_patches"]] + list(rules["torch"].values())
    names = [*map(str, rules["torch_patches"]), *(str(row["newest"]) for row in rules["torch"].values())]
    found = [(torch, torch if name == "torchaudio" else str(row[name])) for torch, row in zip(names, rows, strict=True) if row]
    fitting = [torch for torch, has in found if Version(has) == Version(Version(pin).public)]
    fitting = fitting or [torch for torch, has in found if minor(has) == minor(pin)]
    return f"torch {' and '.join(sorted(fitting, key=Version))}" if fitting else "another torch"


def _build(torch: Torch) -> Iterator[Finding]:
    row = torch_row(torch.version)
    assert row is not None
    if torch.cuda in (None, "cpu") or torch.place is None:
        return
    if torch.cuda in row["builds"]:
        yield passed("torch.build", f"torch {torch.version} exists for CUDA {torch.cuda}")
        return
    status = "fail" if torch.line == "2.15" else "warn"  # the other lines' builds were not looked up
    builds = ", ".join(row["builds"])
    text = f"torch {torch.version} has no wheel for CUDA {torch.cuda}"
    yield Finding(
        "torch.build",
        status,
        text,
        torch.place,
        f"{torch.cuda_why}; the builds of torch {torch.line}: {builds}",
        f"the index of one of {builds}",
    )


def no_index(scene: Scene) -> Iterator[Finding]:
    """`torch==2.3.1+cu118` is on PyTorch's own index alone; without one pip finds no such version."""
    for each in scene.named("torch", "torchvision", "torchaudio"):
        local = CUDA_TAG.search((each.pin or "").rpartition("+")[2]) if "+" in (each.pin or "") else None
        if local is None or each.url or each.place.file == "uv.lock" or _names_an_index(scene, each):
            continue
        base = scene.base
        if base and each.name == "torch" and base.torch == str(each.pin).partition("+")[0] and base.cuda == tagged(local[1]):
            continue  # it may be that very build
        row = torch_row(str(each.pin)) if each.name == "torch" else None
        builds = "" if row is None or tagged(local[1]) in ("cpu", *row["builds"]) else ", and it is not known for that line"
        own = scene.project.docker is not None and base is None
        text = f"{each.asked}=={each.pin} is not on PyPI, and no other index is named"
        why = f"versions with +{local[1]} are on PyTorch's own index alone{builds}; pip says `No matching distribution found`"
        why += "; the base image may have an index in its configuration" if own else ""
        instead = f"--extra-index-url with PyTorch's index for {local[1]} (it ends in /whl/{local[1]}), in the file or behind pip install"
        yield Finding("torch.index", "warn" if own else "fail", text, each.place, why, instead)


def _names_an_index(scene: Scene, each: Want) -> bool:
    """An option, a variable or a file of configuration, wherever it stands: what it holds is not judged."""
    project = scene.project
    if each.indexes or any(project.folder.exists(name) for name in CONFIGURATIONS):
        return True
    names = [name for name in project.sources if name != "imports"] + ["pyproject.toml"]
    texts = [project.docker.text if project.docker else "", *(project.folder.text(name) or "" for name in names)]
    return any(INDEX.search(text) for text in texts)


def _python(scene: Scene, torch: Torch) -> Iterator[Finding]:
    row = torch_row(torch.version)
    assert row is not None
    if scene.python is None or torch.place is None:
        return
    if allows(row["python"], scene.python):
        yield passed("python.torch", f"torch {torch.line} has wheels for Python {scene.python}")
        return
    other = [line for line, each in table("package_rules")["torch"].items() if allows(each["python"], scene.python)]
    why = f"{scene.python_why}; torch {torch.line} has wheels for Python {row['python']}"
    instead = f"torch {other[0]} to {other[-1]}, or an image with another Python" if other else "an image with another Python"
    yield Finding(
        "python.torch", "fail", f"torch {torch.version} has no wheel for Python {scene.python}", torch.place, why, instead
    )


def again(scene: Scene) -> Iterator[Finding]:
    """torch is installed over the base image's own: its NCCL, EFA and extensions were built for the one that goes."""
    base = scene.base
    if base is not None and base.source == "ngc" and base.torch is None:
        yield from _over_nvidias(scene, base.image)
    if base is None or not base.has_torch or base.torch is None:
        return
    asked = scene.named("torch")
    if not asked and scene.torch and scene.torch.version != base.torch:
        return  # what uv says of it is a finding of its own
    if not asked:
        yield passed("torch.again", f"the torch {base.torch} of the base image stays")
        return
    held = version(base.torch)
    for each in asked:
        if (
            held is not None
            and each.allowed.contains(held, prereleases=True)
            and not each.url
            and "--force-reinstall" not in each.options
        ):
            yield passed("torch.again", f"{each.asked}{each.allowed} is met by the torch {base.torch} of the base image")
        else:
            yield _replaced(
                each,
                base.image,
                base.torch,
                held is not None and held.is_prerelease and each.allowed.contains(held.base_version),
            )


def _over_nvidias(scene: Scene, image: str) -> Iterator[Finding]:
    """A release of which nobody knows the torch: it is a build of NVIDIA's own, so that a pin on a release is never met."""
    docker = scene.project.docker
    wished = docker is not None and re.search(r"pip3? uninstall[^\n]*\btorch\b", docker.text)
    for each in scene.named("torch", *FROM_OPEN):
        closed = each.name == "torch" or (each.pin is not None and Version(each.pin) < Version(FROM_OPEN[each.name]))
        if closed and (each.pin or each.url) and "--no-deps" not in each.options:
            why = f"{image} has a torch of NVIDIA's own, with NCCL and extensions built for it; another torch is installed over it, some GB more"
            text = f"{each.asked}{each.allowed} replaces the torch of the base image"
            instead = f"leave {each.asked} out, or take an image without torch"
            yield Finding("torch.again", "warn" if wished else "fail", text, each.place, why, instead)


def _replaced(each: Want, image: str, torch: str, prerelease: bool) -> Finding:
    why = f"{image} has torch {torch} with NCCL, EFA and extensions built for it; another torch is installed over it, some GB more"
    if prerelease:
        why = f"{torch} is a pre-release, which comes before {Version(torch).base_version}; {why}"
    new = each.pin or newest(each.allowed, _releases("torchaudio")) or str(each.allowed)
    known = any(base.torch == new for base in rows())
    instead = f"leave torch out, or take an image that has torch {new}"
    instead += f" (base_image_selector.py select FOLDER --torch {new})" if known else ""
    return Finding("torch.again", "fail", f"torch{each.allowed} replaces the torch of the base image", each.place, why, instead)
