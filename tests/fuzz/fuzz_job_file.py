"""A job file of unknown origin: it becomes a job that is right in itself, or is refused in words. Nothing is started."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from tests.fuzz.documents import mutate_yaml

COVERED = [
    "job_file",
    "on_kubernetes.findings",
    "trainyard_hiding",
    "trainyard_launchers",
    "trainyard_mapping",
    "trainyard_request",
    "trainyard_secrets",
    "trainyard_yaml",
]
MEMORY_MB = 1500
SLOW_S = 5.0
"""Of processor time. A page of YAML takes milliseconds."""
SOURCES = Path(__file__).resolve().parents[2] / "skills" / "training-job-deployer" / "src"


def job(run: str = "torchrun train.py --steps 3", **keys: Any) -> bytes:
    return json.dumps({"name": "toy", "source": ".", "run": run, **keys}).encode()


def bomb(levels: int, form: str) -> bytes:
    lines = ["name: a", "run: python t.py", "z0: &z0 {k: 1}"]
    lines += [f"z{n}: &z{n}\n  {form.format(','.join([f'*z{n - 1}'] * 9))}" for n in range(1, levels)]
    return "\n".join(lines).encode()


SEEDS = [
    job(),
    job("accelerate launch --mixed_precision bf16 train.py", procs_per_node=2, env={"SEED": "1", "NPM_TOKEN": "x"}),
    job("env A=b python -m pkg.train --api-key x", monitor={"stall_factor": 3, "hang_after_s": "auto"}, python="auto"),
    job(
        target="eks",
        nodes=2,
        engine="trainjob",
        image={"uri": "repo@sha256:" + "0" * 64},
        cluster={"namespace": "ml", "tolerations": [{"key": "a", "operator": "Exists"}], "security": {"fs_group": 1000}},
        resources={"instance_type": "p5.48xlarge", "cpu": "4", "memory": "8Gi"},
        checkpoints={"storage": {"claim": "shared"}, "rolling_steps": 5},
        secrets={"HF_TOKEN": "hf/token"},
        budget={"max_usd": 5},
    ),
    job(target="hyperpod", engine="hyperpodjob", hyperpod={"spares": 1}, image={"build": "auto"}),
    b"name: toy\nrun: >-\n  torchrun train.py\n  --lr 1e-3\nenv: &e {A: b}\nsecrets: {<<: *e}\n",
    bomb(3, "<<: [{}]"),
    bomb(3, "[{}]"),
]
WORDS = [b"<<: *", b"<<: [*z1,*z1]", b"&a ", b"*a", b"- ", b"!!binary ", b"!!set ", b"!!timestamp ", b"2026-02-30", b"? ", b"|\n", b"0o7",
         b".inf", b".nan", b"\\x00", b"postgres://u:p@h", b"ghp_0123456789abcdef", b"Bearer 0123456789", b"9" * 70, b"\xe2\x80\xae"]  # fmt: skip


def mutate(data: bytes, random: Random) -> bytes:
    """A value becomes another one; or a merge or an alias is nested deeper, which no change of a value would do."""
    if random.random() < 0.1 or data.count(b"*") > 10:  # what explodes would explode in `mutate_yaml` too
        return bomb(random.randint(2, 12), random.choice(["<<: [{}]", "[{}]", "{{a: [{}]}}"]))
    return mutate_yaml(data, random)


def target() -> Callable[[bytes], None]:
    sys.path.insert(0, str(SOURCES))
    import trainyard_shell
    from job_file import reading

    folder = Path(tempfile.mkdtemp(prefix="trainyard-fuzz-"))
    os.chdir(folder)
    path = folder / "job.yaml"

    def read(data: bytes) -> None:
        path.write_bytes(data)
        began = time.process_time()
        try:
            found = reading.read(path)
            assert found.job.name and found.command.words
            json.dumps(found.job.env)
        except trainyard_shell.SkillError as error:
            assert error.code in ("usage", "not-found", "permission"), error.code
            json.dumps([vars(check) for check in error.checks])
        assert time.process_time() - began < SLOW_S, "a page of YAML took too long"

    return read
