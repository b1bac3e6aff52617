"""Train a small language model on this machine, kill one of its ranks in mid-run, and see it recover.

    python training/recipes/tiny-lm/demo.py              takes about two minutes
    python training/recipes/tiny-lm/demo.py my/job.yaml  the same with another job file

Everything goes through one program, skills/training-job-deployer/src/deploy.py; the kill is a real SIGKILL. It ends with 0
only if the rank was killed, the job finished all the same, and the model learned. Standard library only.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
DEPLOY = HERE.parents[2] / "skills" / "training-job-deployer" / "src" / "deploy.py"
KILL_FROM, KILL_UNTIL = 0.45, 0.9
"""Share of the steps after which the rank is killed; not at a half, where a checkpoint may just have been saved."""
GOOD_LOSS_NATS = 2.3
"""A model that knows nothing has 5.5 nats a byte, one that knows the letters' frequencies about 3.3."""
DEADLINE_S = 1800.0
POLL_S = 0.1


class DemoError(Exception):
    """The demo did not show what it promises; the text says why."""


def main() -> int:
    job = Path(sys.argv[1] if len(sys.argv) > 1 else HERE / "job.yaml")
    try:
        demonstrate(job)
    except DemoError as error:
        print(f"\ndemo failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopping the job ...", file=sys.stderr)
        deploy("stop", job)
        return 130
    return 0


def demonstrate(job: Path) -> None:
    plan = answer(deploy("plan", job), "the plan")
    data = plan["data"]
    print(f"{data['name']}: {data['command']}")
    print(f"  {data['processes']} processes, in {data['source']}")
    print(f"  run folder {data['run_dir']}\n")
    run_dir, old_run_id = Path(data["run_dir"]), data["run_id"]
    running = start(job)
    try:
        killed = kill_one_rank(run_dir, old_run_id, running)
        output, _ = running.communicate(timeout=DEADLINE_S)
    except subprocess.TimeoutExpired as error:
        raise DemoError(f"the job did not end within {DEADLINE_S:.0f} s; {told('stop', job)}") from error
    finally:
        if running.poll() is None:
            running.send_signal(signal.SIGINT)
    document = answer(output, "the run")
    if not killed:
        raise DemoError("no rank was killed: the run ended before there was a checkpoint and enough steps")
    report = answer(deploy("report", job), "the report")["data"]
    show(report["summary"], document["data"], run_dir)
    verdict(report["summary"])


# --- deploy.py ----------------------------------------------------------------------------------------------------


def start(job: Path) -> subprocess.Popen[str]:
    """`deploy.py run`: its progress goes to our stderr, its one JSON document to us."""
    command = [sys.executable, str(DEPLOY), "run", str(job), "--fresh", "--json"]
    print("$ " + told("run", job, "--fresh"))
    sys.stdout.flush()
    # a process group of its own: Ctrl-C reaches us, and we stop the job
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, process_group=0)


def deploy(verb: str, job: Path) -> str:
    command = [sys.executable, str(DEPLOY), verb, str(job), "--json"]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, timeout=300).stdout


def answer(output: str, what: str) -> dict[str, Any]:
    """The document, or a DemoError with what it says went wrong."""
    try:
        document: dict[str, Any] = json.loads(output)
    except ValueError as error:
        raise DemoError(f"{what} gave no answer") from error
    if document["ok"]:
        return document
    reasons = [f"{check['id']}: {check['summary']}" for check in document["checks"] if check["status"] == "fail"]
    error = document.get("error") or {}
    lines = [str(error.get("message") or "; ".join(reasons)), *document["data"].get("log_tail", [])[-8:]]
    if error.get("hint"):
        lines.append(f"next: {error['hint']}")
    raise DemoError(f"{what}: " + "\n  ".join(lines))


def told(verb: str, job: Path, *more: str) -> str:
    return " ".join(["python", os.path.relpath(DEPLOY), verb, os.path.relpath(job), *more])


# --- the kill -----------------------------------------------------------------------------------------------------


def kill_one_rank(run_dir: Path, old_run_id: str | None, running: subprocess.Popen[str]) -> bool:
    """Waits for the middle of the run and a committed checkpoint, then kills the last rank. False: the run ended first."""
    deadline = time.monotonic() + DEADLINE_S
    while running.poll() is None and time.monotonic() < deadline:
        time.sleep(POLL_S)
        run_id = read_run_id(run_dir)
        if run_id is None or run_id == old_run_id:
            continue
        events, steps = read_lines(run_dir / "events.jsonl"), read_lines(run_dir / "steps.jsonl")
        begun = next((event for event in reversed(events) if event.get("type") == "start"), None)
        saved = [event["step"] for event in events if event.get("type") == "committed"]
        if not (begun and steps and saved):
            continue
        done = steps[-1]["step"] / begun["total_steps"]
        if done > KILL_UNTIL:
            raise DemoError(f"no rank was killed: the run was at {done:.0%} before there was a checkpoint")
        if done >= KILL_FROM:
            return kill(begun["pids"][-1], run_id, steps[-1]["step"], saved[-1])
    return False


def kill(pid: int, run_id: str, step: int, saved: int) -> bool:
    """SIGKILL, if that process is really ours: a number alone may by now be somebody else's."""
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        if f"TRAINYARD_RUN_ID={run_id}".encode() not in environment:
            raise DemoError(f"process {pid} is not a rank of this run")
        os.kill(pid, signal.SIGKILL)
    except (FileNotFoundError, ProcessLookupError) as error:
        raise DemoError(f"the rank with pid {pid} was gone before it could be killed") from error
    print(
        f"\n*** killed a rank (pid {pid}) with SIGKILL at step {step}; the newest checkpoint is of step {saved} ***\n",
        flush=True,
    )
    return True


def read_run_id(run_dir: Path) -> str | None:
    try:
        return str(json.loads((run_dir / "run.json").read_text())["run_id"])
    except (OSError, ValueError, KeyError):
        return None


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Complete lines of a .jsonl file; a last line without a newline is still being written."""
    try:
        return [json.loads(line) for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
    except (OSError, ValueError):
        return []


# --- the end ------------------------------------------------------------------------------------------------------


def show(summary: dict[str, Any], run: dict[str, Any], run_dir: Path) -> None:
    waits = summary["death_to_new_step_s"]
    rows = {
        "steps": f"{summary['steps']}",
        "first loss": f"{summary['first_loss']:.2f} nats a byte",
        "last loss": f"{summary['last_loss']:.2f} nats a byte",
        "kills survived": f"{summary['kills_survived']}",
        "steps repeated": f"{summary['steps_repeated']}",
        "from death to the next new step": f"{', '.join(f'{seconds:.1f}' for seconds in waits) or '-'} s",
        "goodput": f"{summary['goodput']:.0%} of {summary['wall_s']:.0f} s",
    }
    print()
    for name, value in rows.items():
        print(f"  {name:32} {value}")
    print()
    for name in ("report", "tensorboard", "checkpoints"):
        if run.get(name):
            print(f"  {name:12} {run[name]}")
    sample = run_dir / "sample.txt"
    if sample.exists():
        print(f"  {'sample':12} {sample}\n")
        print("\n".join(f"    {line}" for line in sample.read_text(encoding="utf-8").splitlines()[:12]))


def verdict(summary: dict[str, Any]) -> None:
    if summary["kills_survived"] < 1:
        raise DemoError("the report counts no kill that the run survived")
    if not summary["last_loss"] < GOOD_LOSS_NATS:
        raise DemoError(f"the last loss is {summary['last_loss']:.2f}, not below {GOOD_LOSS_NATS} nats a byte")


if __name__ == "__main__":
    sys.exit(main())
