"""`stacks` of a run on a cluster: the same look in every pod, through exec.

py-spy reads another process with process_vm_readv, which the seccomp profile RuntimeDefault of older containerds refuses (decision 0030):
there the runtime's signal is what works. Without the right to exec nothing is read; the check says what else leads there.
"""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trainyard_shell as shell
from rank_stacks import look
from rank_stacks.verb import Seen, result

if TYPE_CHECKING:
    from cluster_run.named import Named
    from cluster_run.run import ClusterRun, RunPod

AT_ONCE, EXTRA_S = 16, 30.0
MAX_ANSWER = 64 << 20
START = "import sys; exec(compile(sys.stdin.buffer.read(int(sys.argv[2])), 'look', 'exec'))"
PYTHONS = ("python3", "python")


def stacks_in_pods(named: Named, interval_s: float, may_ask: bool) -> shell.Result:
    """Raises SkillError as `Named.find` does."""
    run = named.find()
    if not any(pod.runs for pod in run.pods):
        hint = f"diagnose_training.py collect {named.words} takes what is left"
        raise shell.SkillError("not-found", f"no pod of {run.name} runs", hint=hint)
    return result(look_in_pods(run, interval_s, may_ask), named.words, has_spy_here=False)


def look_in_pods(run: ClusterRun, interval_s: float, may_ask: bool, within_s: float = float("inf")) -> Seen:
    """Pods that could not be looked at within `within_s` seconds, or at all, are in `unread`. Where exec is forbidden in one pod it is
    in all of them: no other is asked."""
    until = time.monotonic() + within_s
    forbidden: list[str] = []

    def each(pod: RunPod) -> dict[str, Any] | shell.Check:
        return unread(run, pod, forbidden[0]) if forbidden else _look(run, pod, asked, until, forbidden)

    seen = Seen()
    seen.unread += [*run.unread]
    pods = [pod for pod in run.pods if pod.runs]
    asked = json.dumps({"run_id": None, "run_dir": None, "interval_s": interval_s, "may_ask": may_ask})
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for pod, found in zip(pods, pool.map(each, pods), strict=True):
            if isinstance(found, shell.Check):
                seen.unread.append(found)
            else:
                seen.add(found, pod.name)
    return seen


def _look(run: ClusterRun, pod: RunPod, asked: str, until: float, forbidden: list[str]) -> dict[str, Any] | shell.Check:
    from trainyard_exec import run_in_pod

    source = Path(look.__file__).read_bytes()
    why = "there is no Python in its image"
    for python in PYTHONS:
        words = [python, "-c", START, asked, str(len(source))]
        timeout_s = min(EXTRA_S, until - time.monotonic())
        if timeout_s <= 0:
            return unread(run, pod, "the time was over")
        try:
            ran = run_in_pod(run.cluster, pod.name, pod.main, words, stdin=source, timeout_s=timeout_s)
        except shell.SkillError as error:
            why = str(error)
            if error.code == "usage":  # that program is not in the image
                continue
            if error.code == "permission":
                forbidden.append(why)
            return unread(run, pod, why)
        if ran.exit_code == 0:
            try:
                return checked(json.loads(ran.stdout))
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                return unread(run, pod, f"it answers in another form: {error}")
        why = ran.stderr[-300:].decode(errors="replace")
    return unread(run, pod, why)


def checked(found: Any) -> dict[str, Any]:
    """What a pod says is data: its shape is held to before it is used. Raises ValueError, KeyError, TypeError."""
    rows = []
    for row in found["ranks"][: look.MAX_RANKS]:
        share = row.get("share")
        texts = {name: str(row[name]) for name in ("text", "spy", "wchan", "why") if name in row}
        rows.append(
            {"rank": int(row["rank"]), "pid": int(row["pid"]), "state": shell.clean(str(row["state"]), 20), **texts}
            | ({"share": float(share)} if share is not None else {})
        )
        if not 0 <= int(row["rank"]) < 1_000_000:
            raise ValueError("a rank that cannot be")
    return {"ranks": rows, "world_size": min(int(found["world_size"]), 1_000_000)}


def unread(run: ClusterRun, pod: RunPod, why: str) -> shell.Check:
    target = f"kubectl debug -n {run.cluster.namespace} {pod.name} -it --image=IMAGE_WITH_PY_SPY --target={pod.main} --profile=sysadmin"
    fix = f"{target}, then py-spy dump --pid; or `touch stacks/ask` in the run folder on the volume: ranks of the runtime then write stacks/ and flight/ there"
    return shell.Check(
        f"stacks.pod.{pod.name}", "unknown", f"pod {pod.name} was not looked at: {shell.clean(why, 300)}", None, fix
    )
