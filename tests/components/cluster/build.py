"""Which components there are, which of them the cache lacks, and building those."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from tests.components.cluster.packages import install_packages
from tests.components.cluster.place import FOR_PEOPLE, Place, cache

FOLDER = Path(__file__).parent

CONTROL_PLANE = ("kubectl", "etcd", "control-plane", "kwok")
REAL_NODE = ("kubelet", "kube-proxy", "coredns", "images", "ray-site")
OPERATORS = ("training", "jobset", "trainer", "kuberay")
FIRST = ("kubectl", "kwok", "etcd", "training", "jobset", "trainer")
BUILT_IN_ORDER = (*FIRST, "control-plane", "kubelet", "kube-proxy", "coredns", "images", "kuberay", "ray-site")
"""kubectl renders the operators' manifests; the small programs compile client-go, which the large ones share."""
FOUND_ON_THE_MACHINE = {"kubectl": "kubectl", "etcd": "etcd"}


def versions() -> dict[str, str]:
    """Component -> the version in its folder's name."""
    said = dict(re.findall(r"^(\w+)=(\S+)$", (FOLDER / "versions.env").read_text(), re.MULTILINE))
    kubernetes = dict.fromkeys(("kubectl", "control-plane", "kubelet", "kube-proxy"), said["KUBERNETES"])
    alone = {name: said[name.upper()] for name in ("etcd", "kwok", "coredns", "images", *OPERATORS)}
    return {**kubernetes, **alone, "ray-site": said["RAY"]}


def folder(component: str) -> Path:
    return cache() / f"{component}@{versions()[component]}"


def asset(program: str) -> str | None:
    """A program from KUBEBUILDER_ASSETS; for kubectl also from PATH."""
    places = os.environ.get("KUBEBUILDER_ASSETS") or "/nonexistent"
    return shutil.which(program, path=places) or (shutil.which("kubectl") if program == "kubectl" else None)


def kubectl() -> str:
    return asset("kubectl") or str(folder("kubectl") / "kubectl")


def missing(components: Iterable[str]) -> list[str]:
    """Those that the cache lacks, in the order in which they are built fastest."""
    wanted = set(components)
    return [
        component
        for component in BUILT_IN_ORDER
        if component in wanted
        and not (folder(component) / ".done").exists()
        and not (component in FOUND_ON_THE_MACHINE and asset(FOUND_ON_THE_MACHINE[component]))
    ]


def build(components: Iterable[str]) -> None:
    """Build what is missing; says on stderr what it built, and how long that took. Raises CalledProcessError."""
    wanted = list(components)
    if not missing(wanted):
        return
    cache().mkdir(parents=True, exist_ok=True)
    with (cache() / "build.lock").open("w") as alone:
        fcntl.flock(alone, fcntl.LOCK_EX)  # until another session's build is done
        build_alone(missing(wanted))


def build_alone(absent: list[str]) -> None:
    print(f"building {', '.join(absent)} into {cache()}", file=sys.stderr, flush=True)
    install_packages()
    subprocess.run([FOLDER / "build.sh", *absent], check=True, env=Place(FOR_PEOPLE).environment(), stdout=sys.stderr)
