"""Which tests come first, and with `-n N` which process runs them: tests of one cluster stay in one process, which starts it."""

from __future__ import annotations

from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from tests.components.cluster import build
from tests.components.cluster.fixtures import COMPONENTS
from tests.components.images import fixtures as images

ON_ONE_CLUSTER = (
    (
        "tests/components/test_cluster",
        "tests/e2e/test_cluster_",
        "tests/skills/monitor_cluster/test_monitor_on_",
        "tests/skills/monitor_cluster/test_evidence_of_",
    ),
    (
        "tests/e2e/test_transcripts.py",
        "tests/infrastructure/",
        "tests/skills/checkpoint_manager/test_pod_",
        "tests/skills/checkpoint_manager/test_volume_",
        "tests/skills/cluster_manager/",
        "tests/skills/hyperpod_manager/test_hyperpod_on_",
        "tests/skills/kit/",
        "tests/skills/pytorchjob_manager/",
        "tests/skills/ray_manager/",
    ),
)
"""Where tests use the cluster. With several processes each row stays in one of them, which starts one cluster; both take as long."""
LONG = "tests/training/exact/"


def row_of(nodeid: str) -> int | None:
    return next((row for row, places in enumerate(ON_ONE_CLUSTER) if nodeid.startswith(places)), None)


def turn(item: pytest.Item) -> int:
    """What takes longest comes first, so that no process is left alone with it at the end; what may have to be built first, last."""
    row = row_of(item.nodeid)
    if row is not None:
        return row
    return len(ON_ONE_CLUSTER) + (2 if images.uses(item) else not item.nodeid.startswith(LONG))


def scope_of(nodeid: str) -> str:
    row = row_of(nodeid)
    return f"cluster {row}" if row is not None else nodeid.partition("::")[0]


class ByFile(LoadScopeScheduling):
    """A file's tests stay together. A cluster's are given out once its components are built: a process that waits does nothing."""

    # Not --dist loadgroup: xdist 3.8 marks a test's group in its node id, which pytest 9.2 no longer takes.
    def _split_scope(self, nodeid: str) -> str:
        return scope_of(nodeid)

    def _assign_work_unit(self, node: Any) -> None:
        put_off(self.workqueue, built=not build.missing(COMPONENTS))
        super()._assign_work_unit(node)


def put_off(queue: Any, *, built: bool) -> None:
    """The clusters' units to the front of an OrderedDict of units, in their order, or to its end while something is missing."""
    rows = sorted(scope for scope in queue if scope.startswith("cluster "))
    for scope in rows if not built else reversed(rows):
        queue.move_to_end(scope, last=not built)
