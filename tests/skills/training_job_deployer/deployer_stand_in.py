"""A trainer without torch: writes what shared-docs/run-folder.md asks of a trainer, and goes on from its own checkpoint."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from pathlib import Path

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=3)
parser.add_argument("--until-told", action="store_true", help="wait before the last step for the file ../end")
parser.add_argument("--fail", action="store_true", help="exit 3 after one step, or none that is left")
parser.add_argument("--loss", type=float, default=4.0)
parser.add_argument("--fault", choices=["raise", "assert", "kill", "exit"], help="how it fails before the step --at")
parser.add_argument("--at", type=int, default=2)
parser.add_argument("--times", type=int, default=1000, help="in the first so many starts")
args = parser.parse_args()

folder, project = Path(os.environ["TRAINYARD_RUN_DIR"]), Path.cwd().parent
with (project / "starts.txt").open("a") as starts:
    starts.write(os.environ["TRAINYARD_RUN_ID"] + "\n")
checkpoint = Path(os.environ["TRAINYARD_CHECKPOINTS"]) / "stand-in.json"
checkpoint.parent.mkdir(exist_ok=True)
done = json.loads(checkpoint.read_text()) if checkpoint.exists() else {"step": 0, "incarnation": 0}
incarnation = done["incarnation"] + 1


def event(type: str, **fields: object) -> None:
    line = {"time": time.time(), "type": type, "source": "trainer", "incarnation": incarnation, **fields}
    with (folder / "events.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")


def fail() -> None:
    if args.fault == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if args.fault == "exit":
        os._exit(7)
    if args.fault == "assert":
        assert len([]) == 1, "the tokenizer and the model differ"
    raise ValueError("sample 17 has no labels")


event("start", process_started=time.time(), world_size=1, restart_count=0, total_steps=args.steps, pids=[os.getpid()],
      attempt=int(os.environ["TRAINYARD_ATTEMPT"]))  # fmt: skip
event("restored", step=done["step"], seconds=0.0, requested="latest", skipped=[])
event("training", step=done["step"])
for step in range(done["step"] + 1, args.steps + 1):
    if args.fault and step == args.at and len((project / "starts.txt").read_text().split()) <= args.times:
        fail()
    deadline = time.monotonic() + 120
    while args.until_told and step == args.steps and not (project / "end").exists():
        if time.monotonic() > deadline:
            sys.exit("nobody told me to end")
        time.sleep(0.02)
    line = {
        "step": step,
        "time": time.time(),
        "incarnation": incarnation,
        "loss": args.loss / step,
        "step_s": 0.01,
        "blocked_s": 0.0,
    }
    with (folder / "steps.jsonl").open("a") as steps:
        steps.write(json.dumps(line) + "\n")
    print(f"trainyard step={step} loss={args.loss / step:.5f}", flush=True)
    unfinished = checkpoint.with_suffix(".tmp")  # a kill may hit between any two of these lines
    unfinished.write_text(json.dumps({"step": step, "incarnation": incarnation}))
    unfinished.replace(checkpoint)
    event("committed", step=step, seconds=0.01, bytes=10, reasons=["rolling"])
    if args.fail:
        break
if args.fail:
    sys.exit(3)
event("closed", step=args.steps, finished=True)
(folder / "sample.txt").write_text("def main():\n")
print("environment", json.dumps({name: value for name, value in os.environ.items() if name.startswith("TRAINYARD_")}))
