"""One cluster: brought up, asked, taken down."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.components.cluster import access, build, nodes
from tests.components.cluster import volumes as volumes_of
from tests.components.cluster.asking import ask
from tests.components.cluster.leftovers import marked
from tests.components.cluster.packages import install_packages
from tests.components.cluster.place import FOR_TESTS, Place, lock
from tests.components.cluster.steps import ClusterError, Step, part, run_steps

Manifest = dict[str, Any]
DOWN = Path(__file__).parent / "down.sh"
IMAGE = "local.test/python:3.11"
"""Debian's Python 3.11 with busybox. imagePullPolicy: IfNotPresent."""
TRAINER_IMAGE = "local.test/trainer:1"
"""The same with torch, trainyard and this checkout's training/ in /workspace."""
RAY_IMAGE = "local.test/ray:1"
"""The same with Ray."""


@dataclass
class Cluster:
    place: Place
    operators: tuple[str, ...] = build.OPERATORS
    real_node: bool = True
    nodes_a_type: int = 4
    seconds: dict[str, float] = field(default_factory=dict)
    """How long each step of `up` took."""

    def __post_init__(self) -> None:
        if unknown := set(self.operators) - set(build.OPERATORS):
            raise ValueError(f"no such operator: {', '.join(sorted(unknown))} (there are {', '.join(build.OPERATORS)})")
        if "trainer" in self.operators and "jobset" not in self.operators:
            raise ValueError("the trainer operator needs jobset")
        self.operators = tuple(name for name in build.OPERATORS if name in self.operators)  # jobset before trainer

    @property
    def kubeconfig(self) -> Path:
        """The administrator's."""
        return self.place.kubeconfig

    def components(self) -> tuple[str, ...]:
        return build.CONTROL_PLANE + (build.REAL_NODE if self.real_node else ()) + self.operators

    def steps(self) -> list[Step]:
        """kwok and its nodes, the operators and the real node side by side, once there is an API server."""
        steps = [
            Step("network", part(self.place, "network.sh")),
            Step("control-plane", part(self.place, "control-plane.sh"), ("network",)),
            Step("kwok", part(self.place, "kwok.sh"), ("control-plane",)),
            Step("fake nodes", self.make_fleet, ("kwok",)),
        ]
        if self.real_node:
            steps.append(Step("containerd", part(self.place, "containerd.sh"), ("network",)))
            steps.append(Step("kubelet", part(self.place, "kubelet.sh"), ("containerd", "control-plane")))
            steps.append(Step("dns and proxy", part(self.place, "dns-proxy.sh"), ("kubelet",)))
        for operator in self.operators:
            after = ("control-plane", *(["jobset"] if operator == "trainer" else []))
            steps.append(Step(operator, part(self.place, "operator.sh", operator), after))
        return steps

    def up(self) -> None:
        """Build what is missing, start everything, return when it is ready. On failure nothing is left running. Raises ClusterError."""
        if self.place.state.exists():
            raise ClusterError(f"{self.place.state} exists: a cluster runs there, or one was left there; take it down first")
        install_packages()
        build.build(self.components())
        try:
            self.seconds = run_steps(self.steps())
        except BaseException as error:
            if isinstance(error, ClusterError):
                error.add_note(self.last_words())
            self.down()
            raise

    def down(self) -> None:
        """Stop and remove everything that `up` made. Nothing to do where there is nothing."""
        subprocess.run([DOWN], check=True, env=self.place.environment(), stdin=subprocess.DEVNULL, timeout=180)
        deadline = time.monotonic() + 10
        while (left := marked(self.place)) and time.monotonic() < deadline:  # started, and killed before it was recorded
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)

    def make_fleet(self) -> None:
        self.apply(nodes.fleet(self.nodes_a_type))
        if self.nodes_a_type:
            self.kubectl("wait", "--for=condition=Ready", "nodes", "--selector=type=kwok", "--timeout=60s")

    def last_words(self, lines: int = 5) -> str:
        """The end of every log: the folder is gone when somebody reads the error."""
        logs = sorted((self.place.state / "log").glob("*.log"))
        return "\n".join(
            f"{log.name}: {line}" for log in logs for line in log.read_text(errors="replace").splitlines()[-lines:]
        )

    def kubectl(self, *words: str, user: Path | None = None, stdin: str | None = None, timeout_s: float = 120) -> str:
        """stdout of a kubectl call, as the administrator or with another kubeconfig. Raises CalledProcessError with `stderr`."""
        command = [build.kubectl(), f"--kubeconfig={user or self.kubeconfig}", *words]
        try:
            return subprocess.run(command, check=True, input=stdin, capture_output=True, text=True, timeout=timeout_s).stdout
        except subprocess.CalledProcessError as error:
            error.add_note(error.stderr)
            raise

    def apply(self, manifests: Sequence[Manifest], *words: str, user: Path | None = None) -> None:
        """Server-side, in one call."""
        if manifests:
            listed = {"apiVersion": "v1", "kind": "List", "items": list(manifests)}
            self.kubectl("apply", "--server-side", "--filename=-", *words, user=user, stdin=json.dumps(listed))

    def get(self, kind: str, name: str = "", *words: str, user: Path | None = None) -> Manifest:
        """One object, or without a name a list."""
        found = json.loads(self.kubectl("get", kind, *([name] if name else []), "--output=json", *words, user=user))
        assert isinstance(found, dict)
        return found

    def make_namespace(self, name: str, timeout_s: float = 30) -> None:
        """Returns when pods can be made in it: they need the default ServiceAccount, which the controller manager adds."""
        made = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        status, answer = ask(self.kubeconfig, "POST", "/api/v1/namespaces", made)
        if status != 201:
            raise ClusterError(f"namespace {name} was not made: {answer.get('message')}")
        deadline = time.monotonic() + timeout_s
        while not ask(self.kubeconfig, "GET", f"/api/v1/namespaces/{name}/serviceaccounts")[1].get("items"):
            if time.monotonic() > deadline:
                raise ClusterError(f"namespace {name} got no ServiceAccount within {timeout_s:.0f} s")
            time.sleep(0.05)

    def remove_namespace(self, name: str) -> None:
        """Returns at once: what is in it goes soon after."""
        status, answer = ask(self.kubeconfig, "DELETE", f"/api/v1/namespaces/{name}")
        if status not in (200, 202):
            raise ClusterError(f"namespace {name} was not removed: {answer.get('message')}")

    def user(
        self, name: str, namespace: str, *, rules: Sequence[access.Rule] = (), cluster_rules: Sequence[access.Rule] = ()
    ) -> Path:
        """See access.make_user."""
        return access.make_user(self, name, namespace, rules=rules, cluster_rules=cluster_rules)

    def make_volumes(self, namespace: str, count: int, size: str = "5Gi", *, local: bool = False) -> list[str]:
        """Volumes of the class `test-shared`, for claims of this namespace: folders of this machine that pods of the real node share.

        They hold no claim yet; the first `count` claims that ask for the class get them. They go with the namespace, their
        folders with the cluster. All belong to root; with `local` Kubernetes can give them to a group.
        """
        owner = {
            "apiVersion": "v1",
            "kind": "Namespace",
            "name": namespace,
            "uid": self.get("namespace", namespace)["metadata"]["uid"],
        }
        names = [f"{namespace}-{number}" for number in range(count)]
        for name in names:
            (self.place.state / "volumes" / name).mkdir(parents=True)
        kind = volumes_of.local_volume if local else volumes_of.shared_volume
        volumes = [kind(name, self.place.state / "volumes" / name, size, owner) for name in names]
        self.apply([volumes_of.SHARED_CLASS, *volumes])
        return names

    def make_claim(self, namespace: str, name: str) -> Path:
        """A claim on one of them, bound; the volume's folder."""
        self.apply([volumes_of.claim(name)], "--namespace", namespace)
        bound = "--for=jsonpath={.status.phase}=Bound"
        self.kubectl("wait", "pvc", name, "--namespace", namespace, bound, "--timeout=30s")
        return self.place.state / "volumes" / str(self.get("pvc", name, "--namespace", namespace)["spec"]["volumeName"])


@contextmanager
def session_cluster() -> Iterator[Cluster]:
    """What the tests of a session share: a temporary cluster, or with TRAINYARD_TEST_CLUSTER=N the one that runs at place N."""
    number = os.environ.get("TRAINYARD_TEST_CLUSTER")
    if number is None:
        with temporary_cluster() as cluster:
            yield cluster
        return
    cluster = Cluster(Place(int(number)))
    if not cluster.kubeconfig.exists():
        raise ClusterError(f"TRAINYARD_TEST_CLUSTER={number}, and no cluster runs there: python -m tests.components.cluster up")
    yield cluster


@contextmanager
def temporary_cluster(
    *, operators: tuple[str, ...] = build.OPERATORS, real_node: bool = True, nodes_a_type: int = 4
) -> Iterator[Cluster]:
    """A cluster at the first free place of the tests. What a killed session left there is taken down first."""
    with ExitStack() as stack:
        for number in FOR_TESTS:
            if (held := lock(Place(number))) is not None:
                stack.enter_context(held)
                break
        else:
            raise ClusterError(f"all places for test clusters are taken ({FOR_TESTS.start} to {FOR_TESTS.stop - 1})")
        cluster = Cluster(Place(number), operators, real_node, nodes_a_type)
        cluster.down()
        cluster.up()
        try:
            yield cluster
        finally:
            cluster.down()
