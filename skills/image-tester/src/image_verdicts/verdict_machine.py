"""The libraries of the network, and what the container gives: user, folders, memory that is shared, disk, the runtime."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from typing import Any

from image_verdicts.verdict_of import Scene, Verdict, failed, of, passed, warned
from trainyard_shell import Check

LARGE_IMAGE_BYTES = 40 << 30
"""HyperPod's root volume has 100 GB; an image takes its packed and its unpacked size while it is pulled."""


def standard(scene: Scene) -> Iterator[Verdict]:
    """nccl, libfabric, ofi_nccl, user, shm, disk, image.size, trainyard, model.config."""
    yield _nccl(scene)
    for name, title in (("libfabric", "libfabric"), ("ofi_nccl", "aws-ofi-nccl")):
        yield _efa(scene, name, title)
    yield of(scene, "user", "user", lambda found: _user(scene, found))
    yield of(scene, "shm", "shm", lambda found: passed("shm", f"/dev/shm has {int(found.get('size_bytes') or 0) >> 20} MiB"))
    yield of(scene, "disk", "disk", lambda found: passed("disk", f"{found.get('temporary')} takes temporary files"))
    yield _size(scene)
    yield of(scene, "trainyard", "trainyard", lambda found: _runtime(scene, found))
    if scene.asked.model:
        yield of(scene, "model", "model.config", _model)


def _nccl(scene: Scene) -> Verdict:
    cuda = scene.answers.data("torch").get("cuda")
    verdict = of(
        scene, "nccl", "nccl", lambda found: passed("nccl", f"NCCL {found.get('version')} loads", str(found.get("path")))
    )
    if not cuda and verdict.check.status == "fail":
        return Verdict(
            Check("nccl", "warn", f"{verdict.check.summary}; torch is a CPU build", verdict.check.evidence, verdict.check.fix)
        )
    if cuda and verdict.check.status == "skipped":
        return failed(
            "nccl",
            f"{verdict.check.summary}, and torch is built for CUDA {cuda}",
            "pip install torch with its nvidia-nccl package",
        )
    return verdict


def _efa(scene: Scene, name: str, title: str) -> Verdict:
    verdict = of(scene, name, name, lambda found: _loads(scene, name, title, found))
    if scene.asked.efa and verdict.check.status == "skipped":
        return failed(
            name,
            f"{title} is not in the image, and the job goes over EFA",
            "AWS's base image, or the EFA installer in the Dockerfile",
        )
    if not scene.asked.efa and verdict.check.status == "fail":
        return Verdict(
            Check(
                name,
                "warn",
                f"{verdict.check.summary}; the job does not go over EFA",
                verdict.check.evidence,
                verdict.check.fix,
            )
        )
    return verdict


def _loads(scene: Scene, name: str, title: str, found: dict[str, Any]) -> Verdict:
    path = str(found.get("path"))
    if scene.asked.efa and found.get("by_name") is False:
        folder = posixpath.dirname(path)
        summary = f"{title} is in {folder}, where the loader does not look: NCCL asks for it by its name, and would do without"
        return failed(name, summary, f"ENV LD_LIBRARY_PATH={folder}:$LD_LIBRARY_PATH", path)
    return passed(name, f"{title} {found.get('version') or '(version not written)'} loads", path)


def _user(scene: Scene, found: dict[str, Any]) -> Verdict:
    who = f"user {found.get('uid')}" + (f" ({found['name']})" if found.get("name") else "")
    folder, home = found.get("folder"), found.get("home")
    if not found.get("folder_exists") or not found.get("folder_readable"):
        return failed(
            "user", f"the working directory {folder} is not there for {who}", "WORKDIR, and COPY --chown, in the Dockerfile"
        )
    if not found.get("name"):
        return warned(
            "user",
            f"{who} has no entry in /etc/passwd; what asks for its name fails",
            f"RUN useradd --uid {found.get('uid')} --create-home trainer",
        )
    if not home or not found.get("home_writable"):
        return warned(
            "user",
            f"{who} cannot write its home {home or '(HOME is not set)'}; caches go there",
            "ENV HOME=/tmp, or a user with a home",
        )
    return passed("user", f"{who}, home {home}, working directory {folder}")


def _size(scene: Scene) -> Verdict:
    size = scene.image.size_bytes
    if size > LARGE_IMAGE_BYTES:
        return warned(
            "image.size",
            f"{size / 2**30:.1f} GiB unpacked: a node of 100 GB may not take it",
            "a -runtime base image, or a multi-stage build",
        )
    return passed("image.size", f"{size / 2**30:.2f} GiB unpacked")


def _runtime(scene: Scene, found: dict[str, Any]) -> Verdict:
    version, wanted = str(found.get("version")), scene.asked.runtime
    if version != wanted:
        return failed(
            "trainyard",
            f"trainyard {version} is in the image, these skills go with {wanted}",
            "install the wheel of this release (`make wheel`)",
        )
    return passed("trainyard", f"trainyard {version} imports")


def _model(found: dict[str, Any]) -> Verdict:
    said = f"{found.get('path')}: {found.get('model_type')}"
    if found.get("read_by") != "transformers":
        return warned(
            "model.config",
            f"{said}; read as JSON only, for transformers is not in the image",
            "install transformers, if the job reads it",
        )
    return passed("model.config", f"{said}, {found.get('class')}")
