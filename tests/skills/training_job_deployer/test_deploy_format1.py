"""run.json of format 1, which kept the call that made a job as options: its request is what those options said."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from deployer_calls import ROOT
from deployer_cluster_calls import ClusterProject

from tests.recorded.recorder import expected

READ = """
import json, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from run_state import store
run = store.load(Path(sys.argv[2]))
print(json.dumps([run.format, run.stages["deploy"].request, run.stages["deploy"].document]))
"""


DIGEST_OF = """
import sys
sys.path.insert(0, sys.argv[1])
import trainyard_podjob_options as options
import trainyard_request
request = trainyard_request.read(sys.argv[2])
fields = options.of_request(request)
if request.engine in ("rayjob", "raycluster"):
    from ray_spec import RaySpec
    fields |= {"command": ()} if request.engine == "raycluster" else {}
    print(RaySpec(**fields, kind=request.engine, ray_version="2.60.0").digest)
else:
    from ptjob_request import JobRequest
    print(JobRequest(**fields, engine=request.engine).digest)
"""
DIGESTS = {
    "pytorchjob": "ffc11d1c836207333ca906f969aa5b7f",
    "trainjob": "aa5cf66ac524fc9344d2810d27853bac",
    "hyperpodjob": "0598464aa6d35a32aa5b6bac42cabd15",
    "rayjob": "276d030f6f363870d121be4a0715a12d",
    "raycluster": "6bcdf2b87156f567a7c8b181a42d2570",
}
"""Of the job of plans/cluster-two-nodes.json, as version 471ed46 wrote them."""


def format_1(project: ClusterProject) -> list[str]:
    """The run.json of a run that was submitted, as the version before wrote it; the words of its call."""
    run = project.run_json()
    words = ["create", "toy", "--run-id", run["run_id"], "--engine", "pytorchjob", "--image", run["job"]["image"]["uri"]]
    words += ["--nodes", "2", "--procs", "1", "--claim", run["stages"]["storage"]["result"]["claim"], "--context", "test"]
    words += ["--namespace", "ml", "--cluster-id", "c0ffee00c0ffee00", "--", "torchrun", "train.py", "--claim", "its-own"]
    run["format"] = 1
    for record in run["stages"].values():
        del record["document"]
    run["stages"]["deploy"]["request"] = words
    (project.run_dir / "run.json").write_text(json.dumps(run))
    return words


def read(project: ClusterProject) -> tuple[int, list[str], dict[str, Any]]:
    source = ROOT / "skills" / "training-job-deployer" / "src"
    words = [sys.executable, "-c", READ, str(source), str(project.run_dir)]
    format_, request, document = json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
    return format_, request, document


def test_its_request_is_that_of_the_version_now(eks: ClusterProject) -> None:
    assert eks.deploy("run", "--yes", "--detach").exit_code == 0
    now = eks.run_json()["stages"]["deploy"]
    format_1(eks)
    assert read(eks) == (2, now["request"], now["document"])


def test_a_run_of_that_format_is_watched_stopped_and_goes_on(eks: ClusterProject) -> None:
    assert eks.deploy("run", "--yes", "--detach").exit_code == 0
    format_1(eks)
    assert eks.deploy("status").data["state"] == "running"
    assert eks.deploy("stop").data["state"] == "stopped"
    eks.say(state="finished")
    ended = eks.deploy("resume")
    assert (ended.exit_code, ended.data["state"]) == (0, "finished"), ended.document
    run = eks.run_json()
    assert (run["format"], run["stages"]["deploy"]["document"]["start"]) == (2, 2)


@pytest.mark.parametrize("engine", DIGESTS)
def test_the_specification_of_its_job_is_still_the_same(engine: str, tmp_path: Path) -> None:
    """A job that the version before made is found again by its digest, and not refused as another specification."""
    request = expected("plans", "cluster-two-nodes")["dry run"]["document"]["data"]["request"]
    document = tmp_path / "request.json"
    document.write_text(json.dumps(request | {"engine": engine}))
    source = ROOT / "skills" / ("ray-manager" if engine.startswith("ray") else "pytorchjob-manager") / "src"
    words = [sys.executable, "-c", DIGEST_OF, str(source), str(document)]
    assert subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip() == DIGESTS[engine]
