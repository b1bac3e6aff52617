"""The job's own command up to its first step. What it prints proves nothing, and what this machine cannot give it is unknown and named."""

from __future__ import annotations

from pathlib import Path

import pytest
from tester_call import Images

STEP = """
    import json, os, time
    assert os.environ["TRAINYARD_RUN_ID"] and os.environ["TRAINYARD_CHECKPOINTS"].startswith(os.environ["TRAINYARD_RUN_DIR"])
    assert os.environ["MODE"] == "try" and os.environ["TRAINYARD_ROLLING_STEPS"] == "7"
    with open("beside.txt", "w") as file:  # a job may write where it stands
        file.write("x")
    with open(os.path.join(os.environ["TRAINYARD_RUN_DIR"], "steps.jsonl"), "w") as file:
        file.write(json.dumps({"step": 1, "loss": 2.5}) + "\\n")
    time.sleep(600)
    """
JOBS = {
    "step": STEP,
    "hoards": "held = []\nwhile True:\n    held.append(bytearray(16 << 20))\n",
    "short": "print('done')\n",
    "shouts": "print('trainyard step=1 loss=0.1')\nraise SystemExit(3)\n",
    "silent": "import time\nprint('trainyard step=1 loss=0.1', flush=True)\ntime.sleep(600)\n",
    "gpu": "raise RuntimeError('Found no NVIDIA driver on your system. Please check that you have an NVIDIA GPU')\n",
    "data": "open('/data/train.bin', 'rb')\n",
    "own": "open('/app/settings.yaml', 'rb')\n",
    "net": "import urllib.request\nurllib.request.urlopen('http://example.com/')\n",
    "secret": "import os\nos.environ['HF_TOKEN']\n",
    "other": "import os\nos.environ['MY_SETTING']\n",
    "wrong": "raise RuntimeError('a mistake of its own')\n",
}


@pytest.fixture(scope="module")
def jobs(images: Images) -> str:
    return images.image("jobs", {f"app/{name}.py": text for name, text in JOBS.items()}, "WORKDIR /app")


@pytest.mark.parametrize(
    ("script", "status", "needs"),
    [
        ("step", "pass", None),
        ("short", "warn", None),
        ("shouts", "fail", None),
        ("silent", "unknown", "time"),
        ("gpu", "unknown", "gpu"),
        ("data", "unknown", "data"),
        ("own", "fail", None),
        ("net", "unknown", "network"),
        ("secret", "unknown", "secret"),
        ("other", "fail", None),
        ("wrong", "fail", None),
    ],
)
def test_one_step_of_the_job(images: Images, jobs: str, tmp_path: Path, script: str, status: str, needs: str | None) -> None:
    """A step in steps.jsonl is a pass, exit 0 without one is not; a file of the image's own folder that is missing is a fail, another is data."""
    job = tmp_path / "job.yaml"
    more = "secrets: {HF_TOKEN: hf/token}\nenv: {MODE: try}\ncheckpoints: {rolling_steps: 7}\n"
    job.write_text(f"name: tiny\ntarget: eks\nrun: python {script}.py\n{more}")
    found = images.test(jobs, "--level", "full", "--request", job, "--step-timeout", 4, "--package", "pip")
    assert found.check("job.run")["status"] == status, found.check("job.run")
    assert [each["needs"] for each in found.data["unproven"] if each["id"] == "job.run"] == ([needs] if needs else [])


def test_a_job_without_enough_memory(images: Images, jobs: str, tmp_path: Path) -> None:
    """The kernel kills the job, a process behind the probe's own: the cause is memory all the same."""
    (tmp_path / "job.yaml").write_text("name: tiny\ntarget: eks\nrun: python hoards.py\n")
    found = images.test(jobs, "--level", "full", "--request", tmp_path / "job.yaml", "--memory", "256Mi", "--package", "pip")
    assert found.check("job.run")["status"] == "fail" and "want of memory" in found.check("job.run")["summary"]


def test_quick_starts_no_job(images: Images, jobs: str, tmp_path: Path) -> None:
    """Control: nothing of the job runs below level full."""
    (tmp_path / "job.yaml").write_text("name: tiny\ntarget: eks\nrun: python wrong.py\n")
    found = images.test(jobs, "--level", "quick", "--request", tmp_path / "job.yaml", "--package", "pip")
    assert found.code == 0
