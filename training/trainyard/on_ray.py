"""A job of several nodes on a Ray cluster: one actor on each Ray node, and each actor runs `trainyard.launch`.

    python -m trainyard.on_ray --nodes 2 --procs 8 -- train.py --steps 1000

This is the driver: the entrypoint of a RayJob, or run on the head of a RayCluster. It asks for `nodes` places on different Ray nodes,
each with one CPU and, where the cluster has GPUs, `procs` of them. The output of node 0 is printed as it is, that of the others with
`[N] ` in front. A Ray node that dies takes its actor along; KubeRay brings another, and all launchers start again on the new places.

Exit code: as trainyard.launch (0 finished, 143 stopped by SIGTERM, 1 given up).
"""

from __future__ import annotations

import argparse
import contextlib
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from trainyard.errors import FolderError
from trainyard.fence import ATTEMPT, announce, own_cluster
from trainyard.launch_coordinator import free_port
from trainyard.launch_node import STOPPED
from trainyard.launch_ranks import die_with_parent
from trainyard.launch_record import say
from trainyard.speaking import guard

EXITS = (0, 1, 2, STOPPED)
"""What a launcher says of itself; any other code was done to it."""
PLACES_TIMEOUT_S = 3600.0
TELL_S = 30.0
MAX_LINE_CHARS = 65536


class NodeLauncher:
    """One Ray node's launcher; an actor. `run` occupies one of its threads, so the others must stay callable."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._stop = False

    def place(self) -> tuple[str, int]:
        """Address and a free port of this node."""
        import ray

        return str(ray.util.get_node_ip_address()), free_port()

    def run(self, words: list[str], environment: dict[str, str], folder: str) -> Iterator[str | int]:
        """The launcher's lines as they come, its exit code last."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "trainyard.launch", *words],
            env={**os.environ, **environment},
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            preexec_fn=die_with_parent,  # an actor that is killed must not leave ranks on the GPUs
        )
        if self._stop:
            self._process.terminate()
        assert self._process.stdout is not None
        while line := self._process.stdout.readline(MAX_LINE_CHARS):  # `yield from` would hand Ray's send() to the file
            yield line
        yield self._process.wait()

    def stop(self, *, now: bool = False) -> None:
        """SIGTERM: the ranks save and exit, also those that are only about to start. `now`: they are of an attempt that is lost."""
        self._stop = self._stop or not now
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            if now:
                self._process.terminate()  # the second one ends the ranks at once


class Driver:
    def __init__(self, nodes: int, procs: int, words: list[str]) -> None:
        self.nodes, self.procs, self.words = nodes, procs, words
        self.stopping = False
        self.name, self.attempts = secrets.token_hex(4), 0
        self.actors: list[Any] = []

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        self.stopping = True
        for actor in self.actors:
            actor.stop.remote()

    def run(self) -> int:
        import ray

        ray.init(address="auto", log_to_driver=False)
        group = self._places(ray)
        strategy = ray.util.scheduling_strategies.PlacementGroupSchedulingStrategy
        options = {"num_cpus": 1, "num_gpus": self._gpus, "max_restarts": -1, "max_concurrency": 4}
        make = ray.remote(NodeLauncher).options
        self.actors = [
            make(**options, scheduling_strategy=strategy(group, placement_group_bundle_index=node)).remote()
            for node in range(self.nodes)
        ]
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self.on_signal)
        while not self.stopping:
            codes = self._attempt(ray, self._addresses(ray))
            if None not in codes:
                return STOPPED if self.stopping else max(codes, key=lambda code: code != 0) or 0
            say("a Ray node is lost; waiting for another")
        return STOPPED

    def _addresses(self, ray: Any) -> list[tuple[str, int]]:
        """Address and free port of every node, once all actors are there; Ray makes one anew on the node that takes a lost one's place."""
        deadline = time.monotonic() + PLACES_TIMEOUT_S
        while True:
            try:
                return list(ray.get([actor.place.remote() for actor in self.actors], timeout=TELL_S))
            except (ray.exceptions.RayActorError, ray.exceptions.GetTimeoutError) as error:
                if self.stopping:
                    return []
                if time.monotonic() > deadline:
                    raise SystemExit(
                        f"trainyard.on_ray: a Ray node did not come back within {PLACES_TIMEOUT_S:.0f} s"
                    ) from error
                time.sleep(2)

    def _places(self, ray: Any) -> Any:
        self._gpus = self.procs if ray.cluster_resources().get("GPU") else 0
        bundle = {"CPU": 1, **({"GPU": self._gpus} if self._gpus else {})}
        group = ray.util.placement_group([bundle] * self.nodes, strategy="STRICT_SPREAD")
        deadline = time.monotonic() + PLACES_TIMEOUT_S
        while not group.wait(timeout_seconds=TELL_S):
            say(f"waiting for {self.nodes} Ray nodes with {bundle}; there are {ray.cluster_resources()}")
            if time.monotonic() > deadline:
                raise SystemExit(f"trainyard.on_ray: no {self.nodes} places within {PLACES_TIMEOUT_S:.0f} s")
        return group

    def _attempt(self, ray: Any, places: list[tuple[str, int]]) -> list[int | None]:
        """Start every node's launcher and wait for their ends; None for one that is lost, after which the others are ended."""
        if not places:  # stopped while a node was missing
            return [None] * self.nodes
        address, port = places[0]
        codes: list[int | None] = [None] * self.nodes
        lost = threading.Event()
        threads = []
        fence = self._fence()
        for node, actor in enumerate(self.actors):
            environment = {
                **fence,
                "PET_NNODES": str(self.nodes),
                "PET_NODE_RANK": str(node),
                "PET_NPROC_PER_NODE": str(self.procs),
                "MASTER_ADDR": address,
                "MASTER_PORT": str(port),
            }
            stream = actor.run.options(num_returns="streaming").remote(self.words, environment, os.getcwd())
            threads.append(threading.Thread(target=self._follow, args=(ray, node, stream, codes, lost), daemon=True))
            threads[-1].start()
        while any(thread.is_alive() for thread in threads):
            if lost.wait(0.2):
                for actor in self.actors:
                    actor.stop.remote(now=True)
                time.sleep(1)
        return codes

    def _fence(self) -> dict[str, str]:
        """What names this attempt to its processes. Ranks of an earlier one may live on, where a node or a whole cluster was given up
        that does not answer: from here on they do not commit (fence.py)."""
        self.attempts += 1
        os.environ[ATTEMPT] = f"{own_cluster() or 'ray'}/{self.name}.{self.attempts}"
        folder = os.environ.get("TRAINYARD_CHECKPOINTS")
        try:
            if folder:
                announce(Path(folder))
        except FolderError as error:
            raise SystemExit(f"trainyard.on_ray: {error}") from None
        except OSError as error:
            say(f"earlier attempts may write until the ranks of this one have started: {error}")
        return {ATTEMPT: os.environ[ATTEMPT]}

    def _follow(self, ray: Any, node: int, stream: Any, codes: list[int | None], lost: threading.Event) -> None:
        """Prints what one node's launcher prints."""
        prefix = f"[{node}] " if node else ""
        try:
            for reference in stream:
                item = ray.get(reference)
                if item in EXITS:
                    codes[node] = item
                elif isinstance(item, int):
                    say(f"node {node}: its launcher was killed ({item})")
                    lost.set()
                else:
                    show(prefix + item)
        except ray.exceptions.RayTaskError as error:
            say(f"node {node} cannot run its launcher: {error}")
            codes[node] = 1
            lost.set()
        except ray.exceptions.RayError as error:
            say(f"node {node}: {type(error).__name__}")
            lost.set()


def show(text: str) -> None:
    """On stdout; where nobody reads that any more, the line is lost and the job goes on."""
    with contextlib.suppress(OSError):
        os.write(1, text.encode("utf-8", "replace"))


def main(words: list[str]) -> int:
    guard()
    parser = argparse.ArgumentParser(
        "python -m trainyard.on_ray", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--nodes", type=int, required=True, help="Ray nodes")
    parser.add_argument("--procs", type=int, default=1, help="processes a node (default 1)")
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="-- SCRIPT ...", help="what would follow `torchrun`")
    said = parser.parse_args(words)
    command = said.command[1:] if said.command[:1] == ["--"] else said.command
    if not command:
        parser.error("-- SCRIPT is missing")
    return Driver(said.nodes, said.procs, command).run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
