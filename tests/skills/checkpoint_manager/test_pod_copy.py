"""What `copy` finds where it is to put a step, and what `fetch` will not take. The container's side runs here, as a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cluster_calls import SRC
from made_checkpoints import RUN_ID, tree, write_lock, write_step

OFFER_AND_LOOK = """
import json, subprocess, sys
sys.path.insert(0, sys.argv[1])
import trainyard_shell as shell
from pathlib import Path
from checkpoint_pods.call import BOOTSTRAP, Place, document_in, payload
from checkpoint_pods.copy_step import Identity, copied_before
data = payload("step", {"folder": sys.argv[2], "step": json.loads(sys.argv[4]), "dry_run": True})
container = subprocess.Popen(
    [sys.executable, "-c", BOOTSTRAP, str(len(data))], stdin=subprocess.PIPE, stdout=subprocess.PIPE
)
container.stdin.write(data)
container.stdin.flush()  # and left open: what runs in a container ends when its caller is gone
header = document_in(container.stdout.read().decode(), Place(None, "p", "c", "python3", 60.0, "--pod p"))
try:
    before = copied_before(Path(sys.argv[3]), Identity.of(header["name"], header))
    print(json.dumps({"before": before and {"changed": before.changed, **before.data}, "header": header}))
except shell.SkillError as error:
    print(json.dumps({"code": error.code, "message": str(error), "hint": error.hint, **error.data}))
"""
OTHER_RUN = "fedcba9876543210"


def looked(volume: Path, out: Path, step: int | None = None) -> dict[str, Any]:
    """What `copy volume STEP out` decides before it asks for a byte of a shard."""
    words = [sys.executable, "-c", OFFER_AND_LOOK, str(SRC), str(volume), str(out), json.dumps(step)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True)
    return dict(json.loads(done.stdout))


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    write_step(tmp_path / "volume", 400)
    write_lock(tmp_path / "volume", None)
    return tmp_path / "volume"


@pytest.mark.parametrize("step", [400, None])
def test_a_step_of_another_run_under_that_name_is_a_conflict_that_names_both(
    volume: Path, tmp_path: Path, step: int | None
) -> None:
    write_step(tmp_path / "out", 400, sealed_with={"run_id": OTHER_RUN})
    before = tree(tmp_path)
    refused = looked(volume, tmp_path / "out", step)
    assert refused["code"] == "conflict" and "another OUT_DIR" in refused["hint"]
    assert RUN_ID in refused["message"] and OTHER_RUN in refused["message"]
    assert (refused["there"]["run_id"], refused["offered"]["run_id"]) == (OTHER_RUN, RUN_ID)
    assert tree(tmp_path) == before


def test_the_same_step_saved_again_after_a_rollback_is_another_one(volume: Path, tmp_path: Path) -> None:
    write_step(tmp_path / "out", 400, sealed_with={"incarnation": 2})
    refused = looked(volume, tmp_path / "out")
    assert refused["code"] == "conflict" and refused["there"]["run_id"] == refused["offered"]["run_id"] == RUN_ID
    assert refused["there"]["manifest_sha256"] != refused["offered"]["manifest_sha256"]


def test_the_same_checkpoint_is_the_repeated_call_and_a_place_without_it_is_free(volume: Path, tmp_path: Path) -> None:
    assert looked(volume, tmp_path / "out")["before"] is None
    write_step(tmp_path / "out", 400)
    again = looked(volume, tmp_path / "out")["before"]
    assert (again["changed"], again["step"], again["run_id"]) == ([], 400, RUN_ID)


@pytest.mark.parametrize("name", ["state.json", "manifest.json"])
def test_a_copy_that_was_damaged_here_is_not_taken_for_a_copy(volume: Path, tmp_path: Path, name: str) -> None:
    (write_step(tmp_path / "out", 400) / name).write_text("{}")
    refused = looked(volume, tmp_path / "out")
    assert refused["code"] == "conflict" and name in refused["message"]


def fetch(out: Path, *words: str) -> dict[str, Any]:
    """Where no cluster can be reached: what is refused is refused before."""
    program = [sys.executable, str(SRC / "pod_checkpoints.py"), "fetch", "/trainyard/tiny", str(out), "--pod", "p"]
    environment = {**os.environ, "KUBECONFIG": str(out / "none")}
    done = subprocess.run([*program, *words], capture_output=True, text=True, timeout=60, env=environment)
    return dict(json.loads(done.stdout))


@pytest.mark.parametrize("name", ["run.json", "Run.JSON", "run.json.tmp", "runner-spec.json", "runner.lock", "report.html"])
def test_a_file_that_is_written_on_this_side_never_comes_from_a_pod(tmp_path: Path, name: str) -> None:
    refused = fetch(tmp_path, "--files", "steps.jsonl", "--files", name)["error"]
    assert refused["code"] == "usage" and name in refused["message"]


@pytest.mark.parametrize("name", ["steps.jsonl", "events.jsonl", "runner.json", "sample.txt", "my-eval.json"])
def test_a_file_of_the_jobs_is_asked_for(tmp_path: Path, name: str) -> None:
    assert "no usable kubeconfig" in fetch(tmp_path, "--files", name)["error"]["message"]


def test_without_a_list_only_the_jobs_own_files_are_asked_for() -> None:
    script = "import sys; sys.path.insert(0, sys.argv[1]); from checkpoint_pods import verbs; print(*verbs.names_or_raise(()))"
    words = [sys.executable, "-c", script, str(SRC)]
    asked = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60).stdout.split()
    assert asked == ["steps.jsonl", "events.jsonl", "runner.json", "sample.txt"]


MANIFEST = """
import json, sys
sys.path.insert(0, sys.argv[1])
from checkpoint_pods.helper import Wanted, helper_manifest
from checkpoint_pods.identity import Identity
claim = json.loads(sys.argv[2])
print(json.dumps(helper_manifest(Wanted(claim="c", node_selector={}, tolerations=[]), claim, "image", Identity())["metadata"]))
"""


def test_a_helper_pod_is_none_of_the_jobs_pods(tmp_path: Path) -> None:
    """Its run stands in annotations: what has the run's labels is waited for by scale and delete, and counted as a node."""
    run = {"trainyard.dev/run": "tiny", "trainyard.dev/run-id": RUN_ID}
    labels = {"app.kubernetes.io/managed-by": "trainyard", **run}
    claim = {"metadata": {"name": "c", "uid": "u", "labels": labels}}
    words = [sys.executable, "-c", MANIFEST, str(SRC), json.dumps(claim)]
    made = json.loads(subprocess.run(words, capture_output=True, text=True, check=True, timeout=60).stdout)
    own = {"trainyard.dev/helper": "checkpoints", "trainyard.dev/claim-uid": "u"}
    assert made["labels"] == {"app.kubernetes.io/managed-by": "trainyard", **own}
    assert made["annotations"] == run


OF_REQUEST = """
import json, sys
sys.path.insert(0, sys.argv[1])
from checkpoint_pods.helper import helper_manifest
from checkpoint_pods.identity import of_the_job
from checkpoint_pods.place import Target, of_request
asked = dict(pod=None, container=None, claim=None, image=None, python="python3", timeout_s=60.0, run_as_user=json.loads(sys.argv[3]), run_as_group=None, fs_group=None)
lists = dict(node_selector=(), toleration=(), image_pull_secret=())
wanted = Target(**of_request(sys.argv[2], {**asked, **lists})).wanted(writes=True)
claim = {"metadata": {"name": "c", "uid": "u"}}
print(json.dumps(helper_manifest(wanted, claim, "image", of_the_job(wanted.who, json.loads(sys.argv[4]), claim))["spec"]["securityContext"]))
"""


SECCOMP = {"seccompProfile": {"type": "RuntimeDefault"}}
AS_1000 = {"runAsUser": 1000, "runAsNonRoot": True}
A_POD = {
    "spec": {"securityContext": {"runAsUser": 1000, "fsGroup": 5, "fsGroupChangePolicy": "OnRootMismatch"}, "containers": []}
}


@pytest.mark.parametrize(
    ("of_job", "said", "pod", "expected"),
    [
        ({"run_as_user": 0}, None, A_POD, {"runAsUser": 0, "supplementalGroups": [5]}),
        (
            {"run_as_user": 1000, "run_as_group": 7, "fs_group": 9},
            None,
            None,
            {**AS_1000, "runAsGroup": 7, "supplementalGroups": [9]},
        ),
        ({"run_as_user": 9}, 1000, None, AS_1000),
        (None, None, A_POD, {**AS_1000, "supplementalGroups": [5]}),
        (None, None, None, {}),
    ],
    ids=["the request's before the pod's", "groups", "what is said before the request's", "the pod's", "the image's"],
)
def test_a_helper_pod_is_the_jobs_user(
    tmp_path: Path, of_job: dict[str, int] | None, said: int | None, pod: dict[str, Any] | None, expected: dict[str, Any]
) -> None:
    """Another one may not remove what the job has written. It never gives the volume to a group."""
    job: dict[str, Any] = {"name": "tiny", "run": "torchrun train.py", "image": {"uri": "a:1"}, "claim": "c"}
    path = tmp_path / "request.json"
    path.write_text(json.dumps(job | ({} if of_job is None else {"cluster": {"security": of_job}})))
    words = [sys.executable, "-c", OF_REQUEST, str(SRC), str(path), json.dumps(said), json.dumps(pod)]
    made = json.loads(subprocess.run(words, capture_output=True, text=True, check=True, timeout=60).stdout)
    assert made == expected | SECCOMP
