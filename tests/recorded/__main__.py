"""`python -m tests.recorded local|cluster`: record anew. Then look at what differs, and give its reason in differences.md."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.components.cluster.running import temporary_cluster
from tests.recorded.cluster import prepared
from tests.recorded.recorder import ENGINES, Project, help_of, manifests_of, names, plan_of, programs, write


def of_this_machine(folder: Path) -> Iterator[tuple[str, str, Any]]:
    project = Project(folder)
    for name in names("local", "wrong"):
        yield "plans", name, plan_of(project, name)
    for name, program in programs().items():
        yield "help", name, help_of(project, program)


def of_a_cluster(folder: Path) -> Iterator[tuple[str, str, Any]]:
    with temporary_cluster(real_node=False) as cluster:
        project = prepared(cluster, folder)
        for name in names("cluster"):
            yield "plans", name, plan_of(project, name)
            for engine in ENGINES:
                yield f"manifests/{engine}", name, manifests_of(project, name, engine)
        for name in ("wrong-placeholder", "wrong-too-large"):
            yield "plans-on-a-cluster", name, plan_of(project, name)


def main() -> None:
    recording = {"local": of_this_machine, "cluster": of_a_cluster}[sys.argv[1]]
    with tempfile.TemporaryDirectory() as folder:
        for kind, name, recorded in recording(Path(folder)):
            write(kind, name, recorded)
            print(kind, name, flush=True)


if __name__ == "__main__":
    main()
