"""A forked Python is to itself and to others as one that was started."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.training.forking import SkillPopen, forked_run, forking, skill_run

PROBE = """
import json, os, random, signal, sys, threading
import torch
proc = lambda name: open(f"/proc/self/{name}", "rb").read().rstrip(b"\\0").decode().split("\\0")
print(json.dumps({
    "argv": sys.argv, "path": sys.path[0], "cwd": os.getcwd(), "name": __name__, "main": sys.modules["__main__"].__dict__ is globals(),
    "environ": dict(os.environ), "shown words": proc("cmdline"), "shown environ": sorted(proc("environ")),
    "signals": [str(signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE, signal.SIGCHLD)],
    "threads": threading.active_count(), "torch threads": torch.get_num_threads(), "files": sorted(os.listdir("/proc/self/fd")),
    "streams": [[s.encoding, s.errors, s.line_buffering, s.write_through] for s in (sys.stdout, sys.stderr)],
    "session": os.getsid(0) == os.getpid(), "parent": os.getppid(),
    "random": [random.random(), torch.rand(()).item()],
}), flush=True)
"""
ENDS = {
    "well": "print('end')",
    "with a code": "import sys; sys.exit(300)",
    "with words": "import sys; sys.exit('words')",
    "by an error": "raise ValueError('no')",
    "by a signal": "import os; os.kill(os.getpid(), 15)",
    "with its threads and what it left for the end": "import atexit, threading, time; atexit.register(print, 'last')\n"
    "threading.Thread(target=lambda: (time.sleep(0.2), print('thread'))).start(); print('first')",
}


def started_run(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, **options)


@pytest.mark.parametrize("words", [["probe.py", "a b"], ["-u", "probe.py"], ["-m", "probe", "c"]], ids=" ".join)
def test_it_finds_what_a_started_one_finds(words: list[str], tmp_path: Path) -> None:
    (tmp_path / "probe.py").write_text(PROBE)
    env = {**os.environ, "OMP_NUM_THREADS": "1", "ONE": "more=1"}
    found = []
    for run in (started_run, forked_run):
        done = run([sys.executable, *words], cwd=tmp_path, env=env, timeout=120)
        assert done.returncode == 0, done.stderr
        found.append(json.loads(done.stdout))
    drawn, parents = [each.pop("random") for each in found], [each.pop("parent") for each in found]
    assert found[0] == found[1]
    assert drawn[0] != drawn[1] and parents[0] == os.getpid()


@pytest.mark.parametrize("how", ENDS)
def test_it_ends_as_a_started_one_ends(how: str) -> None:
    ends = []
    for run in (started_run, forked_run):
        done = run([sys.executable, "-c", ENDS[how]], timeout=120)
        ends.append((done.returncode, done.stdout, done.stderr.splitlines()[-1:]))
    assert ends[0] == ends[1]


@pytest.mark.parametrize("begin", [started_run, forked_run])
def test_forked_ranks_are_children_of_the_launcher_with_a_session_each(
    begin: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    (tmp_path / "probe.py").write_text(PROBE)
    env = {**os.environ, **forking(), "OMP_NUM_THREADS": "1"}
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = begin([*launcher, "probe.py"], cwd=tmp_path, env=env, timeout=120)
    assert done.returncode == 0, done.stderr
    ranks = [json.loads(line) for line in done.stdout.splitlines()]
    assert sorted(rank["environ"]["RANK"] for rank in ranks) == ["0", "1"]
    for rank in ranks:
        assert rank["shown words"] == [sys.executable, "-u", "probe.py"]
        assert rank["shown environ"] == sorted(f"{name}={value}" for name, value in rank["environ"].items())
        assert rank["session"] and rank["threads"] == 1
    assert len({rank["parent"] for rank in ranks}) == 1 and ranks[0]["random"] != ranks[1]["random"]


SKILL_PROBE = (
    PROBE.replace("import torch\n", "")
    .replace('"torch threads": torch.get_num_threads(), ', "")
    .replace(", torch.rand(()).item()", "")
)
WHERE = """
from kubernetes.config import kube_config
print(kube_config.KUBE_CONFIG_DEFAULT_LOCATION, flush=True)
"""


def program(folder: Path, text: str) -> Path:
    path = folder / "src" / "probe.py"
    path.parent.mkdir()
    path.write_text(text)
    return path


def test_a_forked_skill_program_finds_what_a_started_one_finds(tmp_path: Path) -> None:
    command = [sys.executable, str(program(tmp_path, SKILL_PROBE)), "a b"]
    env = {**os.environ, "KUBECONFIG": "/one/more"}
    found = [json.loads(run(command, cwd=tmp_path, env=env, timeout=120).stdout) for run in (started_run, skill_run)]
    drawn, _ = [each.pop("random") for each in found], [each.pop("parent") for each in found]
    assert found[0] == found[1] and drawn[0] != drawn[1]


def test_a_forked_skill_program_reads_its_own_kubeconfig(tmp_path: Path) -> None:
    command = [sys.executable, str(program(tmp_path, WHERE))]
    for path in ("/one", "/two"):
        done = skill_run(command, env={**os.environ, "KUBECONFIG": path}, timeout=120)
        assert done.stdout == f"{path}\n", done.stderr


@pytest.mark.parametrize(
    "options",
    [
        {"env": {**os.environ, "PYTHONPATH": "/somewhere"}},
        {"env": {**os.environ, "PYTHONHASHSEED": "0"}},
        {"env": {**os.environ, "LD_PRELOAD": ""}},
        {"pass_fds": (2,)},
        {"preexec_fn": os.setsid},
        {"executable": sys.executable},
    ],
    ids=["PYTHONPATH", "PYTHONHASHSEED", "LD_PRELOAD", "pass_fds", "preexec_fn", "executable"],
)
def test_what_only_a_start_can_do_is_a_start(options: dict[str, Any], tmp_path: Path) -> None:
    command = [sys.executable, str(program(tmp_path, "print('end')"))]
    starts = []
    for more in (options, {}):
        with SkillPopen(command, stdout=subprocess.PIPE, **more) as process:
            starts.append((process.is_warm, process.communicate()[0], process.returncode))
    assert starts == [(False, b"end\n", 0), (True, b"end\n", 0)]
