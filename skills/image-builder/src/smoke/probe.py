"""Runs inside the container, as the argument of `python3 -c MARK NAME...`: standard library only, one line of JSON for each step.

MARK is drawn for each call: what the image prints by itself, a greeting or a module, is no step.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time

IMPORT_S, REDUCE_S = 120, 180
RANK = """
import os, torch, torch.distributed as dist
dist.init_process_group("gloo")
value = torch.tensor([float(dist.get_rank() + 1)])
dist.all_reduce(value)
print("SUM", int(value.item()), flush=True)
dist.destroy_process_group()
"""


def say(step: str, ok: bool, **more: object) -> None:
    print(sys.argv[1] + json.dumps({"step": step, "ok": ok, **more}), flush=True)


def run(words: list[str], timeout_s: float, cwd: str | None = None) -> tuple[int | None, str]:
    """(exit code or None after the time limit, output)"""
    try:
        done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=timeout_s, cwd=cwd)
    except subprocess.TimeoutExpired as error:
        return None, (error.stdout or b"").decode("utf-8", "replace")
    return done.returncode, done.stdout.decode("utf-8", "replace")


def imports(name: str) -> bool:
    code = "import importlib, sys; m = importlib.import_module(sys.argv[1]); print('VERSION', getattr(m, '__version__', ''))"
    began = time.monotonic()
    exit_code, said = run([sys.executable, "-c", code, name], IMPORT_S)
    version = said.rpartition("VERSION ")[2].strip() if exit_code == 0 else None
    say(
        "import",
        exit_code == 0,
        name=name,
        version=version,
        seconds=round(time.monotonic() - began, 2),
        said=said[-1500:],
        exit_code=exit_code,
    )
    return exit_code == 0


def all_reduce() -> None:
    with tempfile.TemporaryDirectory() as place:
        path = os.path.join(place, "rank.py")
        with open(path, "w") as file:
            file.write(RANK)
        words = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", path]
        exit_code, said = run(words, REDUCE_S, place)
    say("all-reduce", exit_code == 0 and said.count("SUM 3") == 2, said=said[-1500:], exit_code=exit_code)


def main(names: list[str]) -> None:
    say("start", True, python=sys.version.split()[0], uid=os.getuid(), workdir=os.getcwd(), executable=sys.executable)
    found = [imports(name) for name in names]
    if names and names[0] == "torch" and found[0]:
        all_reduce()


main(sys.argv[2:])
