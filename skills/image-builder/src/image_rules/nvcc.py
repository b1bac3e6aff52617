"""nvcc: whether the image in which something is compiled has it, of which CUDA it is, and whether torch's build tools take that.

torch.utils.cpp_extension stops where the major versions of nvcc and of torch's CUDA differ, and warns where the minor ones do.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from bases.images import known
from conflicts.findings import Finding
from conflicts.scene import Scene, torch_row
from asked.wants import Place
from asked.versions import version
from trainyard_gpus import builds

CUDA_COMPILER = re.compile(
    r"cuda-toolkit|cuda-nvcc|nvidia-cuda-toolkit|cuda-compiler|cuda_[\d._]+_linux|nvidia-cuda-nvcc|cuda-\d+-\d+"
)
OWN = re.compile(r"^[^#\n]*\bCUDAExtension\s*\(", re.MULTILINE)
GUARDED = re.compile(r"CUDA_HOME|is_available|which\(.nvcc|FORCE_CUDA|environ|getenv|CppExtension")
"""A setup.py that decides by itself whether it compiles for CUDA."""
DEEPSPEED = re.compile(r"\bDS_BUILD_(?:OPS|[A-Z_]+)[= ][\"']?1\b")
ARCHES = re.compile(r"\bTORCH_CUDA_ARCH_LIST[= ][\"']?([\d.;, +PTX]+)")


def has_nvcc(image: str | None) -> bool | None:
    """By the image's name; None where it does not say."""
    if image is None:
        return None
    if "-devel" in image or ("/pytorch:" in image and image.startswith("nvcr.io/")):
        return True
    if re.search(r"(?:-runtime|-slim|-base)|(?:^|/)python:|(?:^|/)(?:ubuntu|debian|alpine)(?::|$)", image):
        return False
    return None


def image_of(scene: Scene, group: int) -> tuple[str | None, Place | None]:
    """The image in which a command compiles, and its FROM: that of its own stage."""
    docker, install = scene.project.docker, scene.project.installs[group : group + 1]
    if docker is None or not install:
        return scene.image, scene.image_place
    last = docker.chain(docker.stages[install[0].stage])[-1]
    return (None if last.missing else last.image), Place(docker.file, last.line)


def compiler(scene: Scene, group: int) -> bool | None:
    docker = scene.project.docker
    return True if docker and CUDA_COMPILER.search(docker.text) else has_nvcc(image_of(scene, group)[0])


def cuda_of(scene: Scene, group: int) -> str | None:
    """The CUDA of the image's own nvcc; None where the Dockerfile installs one, or the name does not say."""
    docker, (image, _) = scene.project.docker, image_of(scene, group)
    base = known(image) if image and has_nvcc(image) and not (docker and CUDA_COMPILER.search(docker.text)) else None
    return base.cuda if base and base.cuda != "cpu" else None


def mismatch(scene: Scene, group: int, name: str) -> Finding | None:
    """nvcc of another major version than torch's CUDA."""
    has, torch = cuda_of(scene, group), scene.torch
    if (
        has is None
        or torch is None
        or torch.cuda in (None, "cpu")
        or has.partition(".")[0] == str(torch.cuda).partition(".")[0]
    ):
        return None
    image, place = image_of(scene, group)
    row = torch_row(torch.version)
    same = [each for each in (row["builds"] if row else []) if each.partition(".")[0] == has.partition(".")[0]]
    major = str(torch.cuda).partition(".")[0]
    other = f"nvidia/cuda:{torch.cuda}.x-devel-..." if image and "nvidia/cuda" in image else f"a -devel image of CUDA {major}"
    instead = f"FROM {other}" + (f", or torch {torch.version.partition('+')[0]}+cu{same[-1].replace('.', '')}" if same else "")
    text = f"{name} is compiled with the nvcc of CUDA {has}, and torch {torch.version} is built for CUDA {torch.cuda}"
    why = f"{image} has that nvcc; {torch.cuda_why}; torch's build tools stop where the major versions differ"
    return Finding("extension.build", "fail", text, place, why, instead)


def own(scene: Scene) -> Iterator[Finding]:
    """The project's own CUDAExtension, and DeepSpeed's, which are compiled while the image is built."""
    docker = scene.project.docker
    setup = scene.project.folder.text("setup.py") or ""
    for group, each in enumerate(scene.project.installs):
        if each.local and OWN.search(setup):
            status = "warn" if GUARDED.search(setup) else "fail"
            yield from _compiled(scene, group, each.place, "the project's own CUDAExtension", status)
    if docker and DEEPSPEED.search(docker.text):
        for want in scene.named("deepspeed"):
            yield from _compiled(scene, want.group, want.place, "deepspeed with DS_BUILD_OPS", "fail")


def _compiled(scene: Scene, group: int, place: Place, name: str, status: str) -> Iterator[Finding]:
    if compiler(scene, group) is False:
        image = image_of(scene, group)[0]
        text = f"{name} needs an image with nvcc (its name ends in -devel)"
        why = f"{image} has no nvcc, so that CUDA_HOME is not set; {'setup.py may build without it' if status == 'warn' else 'the build stops'}"
        yield Finding(
            "extension.build",
            status,
            text,
            place,
            why,
            "the -devel image of the same CUDA, at least for the stage that compiles",
        )
    elif wrong := mismatch(scene, group, name):
        yield wrong


def arches(scene: Scene) -> Iterator[Finding]:
    """Architectures that the image's nvcc does not know yet."""
    docker = scene.project.docker
    has = version(cuda_of(scene, len(scene.project.installs)))
    if docker is None or has is None:
        return
    first = {row["sm"]: str(row["first_cuda"]) for row in builds()["gpus"].values()}
    for match in ARCHES.finditer(docker.text):
        asked = {arch: first.get(round(float(arch) * 10)) for arch in re.findall(r"\d+\.\d", match[1])}
        new = {arch: needs for arch, needs in asked.items() if needs and has < (version(needs) or has)}
        if new:
            place = Place(docker.file, docker.text.count("\n", 0, match.start()) + 1)
            text = f"the nvcc of CUDA {has} does not know {', '.join(new)} of TORCH_CUDA_ARCH_LIST"
            why = "; ".join(f"{arch} needs CUDA {needs} or newer" for arch, needs in new.items())
            kept = ";".join(arch for arch in asked if arch not in new)
            yield Finding(
                "extension.arch", "fail", text, place, why, f'TORCH_CUDA_ARCH_LIST="{kept}", or an image with that CUDA'
            )
