"""The options of a call, checked -> what is asked."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import trainyard_shell as shell
from tester_asked import MIB, Asked, Entry, entry_of, of_request, size_bytes
from tester_project import Declared, declared

PACKAGE = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,98}[A-Za-z0-9])?")
GPUS = re.compile(r"all|[1-9]\d{0,2}")
SHM_BYTES = 64 * MIB
"""Docker's own default."""
SHM_OF_A_POD = "1Gi"
"""The least that a job's pod gets where its shm is auto."""


def size(option: str, text: str, *, least_bytes: int) -> int:
    """Raises SkillError usage."""
    try:
        found = size_bytes(text)
    except ValueError as error:
        raise shell.SkillError("usage", f"{option}: {error}", hint=f"{option} 4Gi") from error
    if not least_bytes <= found <= 1 << 44:
        raise shell.SkillError(
            "usage", f"{option} {shell.clean(text, 40)}: at least {least_bytes // MIB} MiB", hint=f"{option} 4Gi"
        )
    return found


def asked_of(
    *,
    level: str,
    request: str | None,
    project: str | None,
    packages: tuple[str, ...],
    instance_type: str | None,
    driver: str | None,
    entry: str | None,
    model: str | None,
    shm: str | None,
    runtime: str | None,
    probe_s: float | None,
    step_s: float,
) -> Asked:
    """An option counts before the request. Raises SkillError usage, not-found."""
    told = _of_request(request) if request else {}
    reading = declared(project) if project else None
    found: list[Declared] = list(reading.found.values()) if reading else []
    found += [Declared(_package(name)) for name in packages]
    instance_type = instance_type or told.pop("instance_type", None)
    told.pop("instance_type", None)
    shm = shm or told.pop("shm", None)
    told.pop("shm", None)
    target = _target(instance_type) if instance_type else None
    efa = told.pop("efa", None)
    asked = Asked(
        level=level,
        packages=tuple(found),
        unread=tuple(reading.unread) if reading else (),
        target=target,
        efa=bool(target and target.efa) if efa is None else efa,
        driver=_driver(driver),
        model=model,
        shm_bytes=size("--shm", shm, least_bytes=MIB) if shm else SHM_BYTES,
        probe_s=probe_s,
        step_s=step_s,
        **told,
    )
    asked = dataclasses.replace(asked, entry=_entry(entry)) if entry else asked
    return dataclasses.replace(asked, runtime=runtime) if runtime else asked


def _of_request(path: str) -> dict[str, Any]:
    import trainyard_request

    request = trainyard_request.read(path)
    told = of_request(request)
    resources = request.resources
    fit = request.fit
    told["instance_type"] = (resources and resources.instance_type) or (fit and fit.instance_type)
    told["shm"] = resources.shm if resources and resources.shm != "auto" else (fit and fit.pod and fit.pod.shm) or SHM_OF_A_POD
    told["efa"] = {"efa": True, "tcp": False}.get(request.network)
    return told


def _entry(text: str) -> Entry:
    if "\0" in text or len(text) > 1000:
        raise shell.SkillError("usage", "--entry is not a valid path", hint="--entry train.py, relative to the image's WORKDIR")
    found = entry_of(text.split()) if text.strip() else None
    return found if found and (found.path or found.module) else Entry(path=text)


def _package(name: str) -> str:
    if not PACKAGE.fullmatch(name):
        raise shell.SkillError("usage", f"{shell.clean(name, 80)!r} is not a valid package name", hint="--package torch")
    return name


def _target(name: str) -> Any:
    from trainyard_gpus import target

    return target(name)


def _driver(text: str | None) -> str | None:
    if text is not None and not re.fullmatch(r"\d{3}(?:\.\d{1,3}){1,2}", text):
        raise shell.SkillError("usage", f"{shell.clean(text, 40)!r} is not a valid driver version", hint="--driver 580.65.06")
    return text


def gpus_of(text: str | None) -> str | None:
    if text is not None and not GPUS.fullmatch(text):
        raise shell.SkillError("usage", f"{shell.clean(text, 40)!r} is not a valid number of GPUs", hint="--gpus all")
    return text
