"""A run that learned something bad goes on from an older checkpoint by one command, and keeps the newer ones aside."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tests.calling import SKILLS, call

DEPLOY = SKILLS / "training-job-deployer" / "src" / "deploy.py"
SCRIPT = """
import time
from pathlib import Path
import torch, trainyard
model = torch.nn.Linear(1, 1)
ck = trainyard.Checkpointer(model=model, total_steps=30)
step = ck.restore()
while step < 30:
    step += 1
    if step == 26 and not Path("corrected").exists():
        raise RuntimeError("the checkpoint is corrupt: " + str(step))
    time.sleep(0.1)  # for the writer beside it
    ck.step(step, loss=1.0 / step)
ck.close()
"""


def test_from_step_sets_newer_checkpoints_aside_and_the_run_ends(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(SCRIPT)
    keys = {
        "name": "toy",
        "run": "python train.py",
        "python": sys.executable,
        "monitor": {"max_restarts": 0},
        "checkpoints": {"rolling_steps": 5, "keep_rolling": 6},
    }
    (tmp_path / "job.yaml").write_text(json.dumps(keys))
    folder = tmp_path / ".trainyard" / "runs" / "toy"

    def deploy(verb: str, *words: object) -> tuple[int, dict]:
        done = call(DEPLOY, verb, tmp_path / "job.yaml", *words, cwd=tmp_path)
        print(f"{verb}: exit {done.code}\n{done.stderr}", file=sys.stderr)
        return done.code, done.document

    assert deploy("run", "--timeout", "120")[0] == 1
    code, told = deploy("why")
    assert code == 0 and told["data"]["restart"] == "RESTART_OLDER", told
    saved = sorted(int(path.name[5:]) for path in (folder / "checkpoints").glob("step_????????"))
    back = saved[-2]  # a busy disk leaves saves out
    assert told["data"]["older"]["steps"][0] == back and told["next"][-1].endswith(f"job.yaml --from-step {back}"), told
    code, plan = deploy("resume", "--from-step", back, "--dry-run")
    assert code == 0 and plan["data"]["rolls_back"] == {"step": back, "set_aside": [f"step_{saved[-1]:08}"]}
    assert deploy("resume", "--from-step", "13")[0] == 3, "no such checkpoint"
    assert len(list((folder / "checkpoints").glob("*.aside-*"))) == 0

    (tmp_path / "corrected").touch()
    code, ended = deploy("resume", "--from-step", back, "--timeout", "120")
    assert (code, ended["data"]["state"], ended["data"]["step"]) == (0, "finished", 30), ended
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    restored = [each["step"] for each in events if each["type"] == "restored"]
    assert restored == [0, back]
    assert len(list((folder / "checkpoints").glob("*.aside-*"))) == 1
    assert deploy("resume", "--from-step", back)[0] == 5, "a finished run has nothing left to do"
