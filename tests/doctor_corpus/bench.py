"""Where one case is made: a working folder whose name gives nothing away, and the evidence folder that results."""

from __future__ import annotations

import json
import re
import shutil
import socket
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

TRAINERS = Path(__file__).parent / "trainers"
REPOSITORY = Path(__file__).resolve().parents[2]
HOLE = re.compile(r"^(?P<indent> *)# <(?P<name>[a-z]+)>\n", re.MULTILINE)
FORKED = re.compile(
    rb"^(?P<prefix>.*?) *File \"(?:<frozen runpy>|[^\"\n]*/forking_torchrun/\w+\.py)\", line \d+, in .*\n(?:(?P=prefix) {4}.*\n)*",
    re.MULTILINE,
)
"""Frames that only a rank has which was forked for speed."""
PACKAGES = str(next(Path(sys.prefix).glob("lib/python3*")))


class Bench:
    def __init__(self, work: Path, evidence: Path) -> None:
        self.work, self.evidence = work, evidence
        self.started = time.time()

    def script(self, style: str, name: str = "train.py", **holes: str) -> Path:
        """A trainer with its holes filled in: `# <step>` is replaced by holes["step"], at its indentation."""

        def fill(match: re.Match[str]) -> str:
            text = textwrap.dedent(holes.pop(match["name"], "")).strip("\n")
            return textwrap.indent(text, match["indent"]) + "\n" if text else ""

        text = HOLE.sub(fill, (TRAINERS / f"{style}.py").read_text())
        if holes:
            raise ValueError(f"{style}.py has no hole for {sorted(holes)}")
        path = self.work / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def write(self, name: str, text: str | bytes) -> Path:
        """A file of the evidence."""
        path = self.evidence / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(FORKED.sub(b"", text.encode() if isinstance(text, str) else text))
        return path

    def tell(self, **more: Any) -> None:
        """evidence.json."""
        blank = {"run": None, "run_id": None, "engine": None, "job": None, "namespace": None, "world_size": None}
        about = {"format": 1, "time": time.time(), **blank, "procs_per_node": None, "pods": [], "left_out": [], **more}
        self.write("evidence.json", json.dumps(about, indent=1))

    def keep_run(self, folder: Path, *, bare: bool = False) -> None:
        """A run folder as evidence; `bare`: the evidence is the run folder itself. Checkpoints stay away."""
        target = self.evidence if bare else self.evidence / "run"
        keep = shutil.ignore_patterns("checkpoints", "*.lock", "launch.key", "tensorboard", "profile")
        shutil.copytree(folder, target, ignore=keep, dirs_exist_ok=True)
        for log in target.rglob("*.log"):
            log.write_bytes(FORKED.sub(b"", log.read_bytes()))
        if not bare:
            runner = json.loads((folder / "runner.json").read_text())
            self.tell(run=runner["name"], run_id=runner["run_id"], engine="local", **self.ranks_of(folder))

    @staticmethod
    def ranks_of(folder: Path) -> dict[str, int]:
        """As the specification of a local run has it."""
        procs = int(json.loads((folder / "runner-spec.json").read_text()).get("procs", 1))
        return {"world_size": procs, "procs_per_node": procs}

    def keep_files(self, folder: Path) -> None:
        """What a job left in its run folder on a cluster's volume, beside its pods."""
        keep = shutil.ignore_patterns("checkpoints", "*.lock", "launch.key")
        shutil.copytree(folder, self.evidence / "run", ignore=keep, dirs_exist_ok=True)

    def in_container(self, log: bytes, host: str = "") -> bytes:
        """A log of this machine as a pod would have it: paths of an image, the pod's name."""
        swaps = {
            str(self.work): "/workspace",
            PACKAGES: "/usr/local/lib/python3.11",
            str(REPOSITORY / "training"): "/opt/trainyard",
        }
        swaps[str(Path(sys.prefix) / "bin")] = "/usr/local/bin"
        if host:
            swaps |= dict.fromkeys((socket.gethostname(), socket.getfqdn()), host)
        for ours, theirs in swaps.items():
            # A short host name such as `vm` stands in words too.
            log = re.sub(rb"(?<![\w-])" + re.escape(ours.encode()) + rb"(?![\w-])", theirs.encode(), log)
        return log

    def pods(
        self, logs: list[bytes], *, job: str = "pretrain", engine: str = "pytorchjob", procs: int = 2, **more: Any
    ) -> list[str]:
        """Each log as that of a pod on a node of its own; names of the pods."""
        names = [f"{job}-master-0", *(f"{job}-worker-{i}" for i in range(len(logs) - 1))]
        container = "node" if engine == "trainjob" else "pytorch"
        for name, log in zip(names, logs, strict=True):
            self.write(f"pods/{name}/{container}.log", self.in_container(log, name))
        pods = [
            {"name": name, "node": f"ip-10-1-{40 + i}-{17 + 3 * i}.ec2.internal", "node_rank": i}
            for i, name in enumerate(names)
        ]
        world = procs * len(logs)
        told = {"run": job, "engine": engine, "job": f"PyTorchJob/{job}", "namespace": "research", "world_size": world}
        self.tell(**{**told, "procs_per_node": procs, "pods": pods, **more})
        return names
