"""A request is read within bounds, and every mistake in it is named by its key; what is said beside it counts before it."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SKILLS = Path(__file__).resolve().parents[3] / "skills"
PROGRAMS = {
    "pytorchjob-manager": [SKILLS / "pytorchjob-manager/src/manage_pytorchjob.py", "create", "--dry-run", "--request", "-"],
    "ray-manager": [SKILLS / "ray-manager/src/manage_ray.py", "create", "--dry-run", "--request", "-"],
    "checkpoint-manager": [SKILLS / "checkpoint-manager/src/manage_volumes.py", "ensure-volume", "--dry-run", "--request", "-"],
    "cluster-manager": [SKILLS / "cluster-manager/src/manage_cluster.py", "fit", "-"],
    "local-runner": [SKILLS / "local-runner/src/run_local.py", "submit", "--run-dir", "DIR", "--dry-run", "--request", "-"],
}
GOOD: dict[str, Any] = {
    "name": "tiny",
    "run": "torchrun tell.py --steps 3",
    "target": "eks",
    "image": {"uri": "repo@sha256:" + "0" * 64},
    "run_id": "0123456789abcdef",
    "procs_per_node": 2,
}
BAD = {
    "not JSON": (b"name: tiny", "no request"),
    "a list": (b"[]", "$: expected a mapping"),
    "deep": (b"[" * 100_000, "no request"),
    "long": (b'{"name": "' + b"x" * 2_000_000 + b'"}', "longer than"),
    "an unknown key": (json.dumps(GOOD | {"node": 2}).encode(), "$.node: unknown key; did you mean nodes?"),
    "a wrong answer": (json.dumps(GOOD | {"fit": {"pod": {"gpus": -1}}}).encode(), "$.fit.pod.gpus"),
    "an open quote": (json.dumps(GOOD | {"run": "torchrun 'train.py"}).encode(), "$.run"),
    "no word": (json.dumps(GOOD | {"run": " "}).encode(), "$.run"),
    "a tenth of a byte": (json.dumps(GOOD | {"resources": {"memory": "100m"}}).encode(), "$.resources.memory: '100m'"),
    "64 bytes": (json.dumps(GOOD | {"checkpoints": {"storage": {"size": "64"}}}).encode(), "$.checkpoints.storage.size: '64'"),
    "half a character": (json.dumps(GOOD | {"name": "\ud800"}).encode(), "half of a surrogate pair"),
    "a secret variable": (json.dumps(GOOD | {"env": {"NPM_TOKEN": "SEKRET"}}).encode(), "$.env.NPM_TOKEN: looks like a secret"),
    "a secret in a word": (json.dumps(GOOD | {"run": "torchrun t.py --api-key SEKRET"}).encode(), "$.run: '--api-key' carries"),
    "a wrong type": (json.dumps(GOOD | {"nodes": "two"}).encode(), "$.nodes"),
}


KEYS = {
    "--namespace": "cluster.namespace",
    "--context": "cluster.context",
    "--node-selector": "cluster.node_selector",
    "--toleration": "cluster.tolerations",
    "--avoid-node": "cluster.avoid_nodes",
    "--service-account": "cluster.service_account",
    "--image-pull-secret": "cluster.image_pull_secrets",
    "--run-as-user": "cluster.security.run_as_user",
    "--image": "image.uri",
    "--cpu": "resources.cpu",
    "--memory": "resources.memory",
    "--limit-cpu": "resources.limits.cpu",
    "--limit-memory": "resources.limits.memory",
    "--claim": "checkpoints.storage",
    "--storage-class": "checkpoints.storage.class",
    "--size": "checkpoints.storage.size",
}
ADVISING = ["kit/trainyard_*.py", "pytorchjob-manager/src/ptjob_*.py", "ray-manager/src/ray_*.py"]
ADVISING += ["cluster-manager/src/job_fit/*.py", "checkpoint-manager/src/checkpoint_volumes/*.py"]
NOT_ADVICE = re.compile(r"kubectl |aws |\.py |docker |^-[-a-zA-Z]*$|^create ")
"""Commands, and the names of options themselves."""


def advice_without_its_key(source: str) -> list[str]:
    """Texts to users that name an option of ours and not the job file's key for it. Help texts of options are left out."""
    tree = ast.parse(source)
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    other = [word.value for call in calls for word in call.keywords if word.arg == "help"]
    other += [word for call in calls if getattr(call.func, "id", "") == "text" for word in call.args]
    other += [node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)]  # docstrings
    left_out = {id(node) for node in other}
    texts = [node for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    found = []
    for node in texts:
        if id(node) in left_out or NOT_ADVICE.search(node.value):
            continue
        for option, key in KEYS.items():
            if re.search(rf"(?<![-\w]){option}(?![-\w])", node.value) and key not in node.value:
                found.append(node.value)
    return found


def call(skill: str, document: bytes, *words: str, cwd: Path) -> tuple[int, dict[str, Any]]:
    command = [sys.executable, *(str(word).replace("DIR", str(cwd / "run")) for word in PROGRAMS[skill]), *words]
    environment = {**os.environ, "KUBECONFIG": "/nonexistent"}
    done = subprocess.run(command, input=document, capture_output=True, timeout=60, cwd=cwd, env=environment)
    return done.returncode, json.loads(done.stdout)


@pytest.mark.parametrize("skill", PROGRAMS)
def test_every_mistake_in_a_request_is_named_before_anything_is_asked(skill: str, tmp_path: Path) -> None:
    for what, (document, words) in BAD.items():
        if words == "$.run" and skill in ("checkpoint-manager", "cluster-manager"):
            continue  # a volume and a place do not depend on the command
        code, answer = call(skill, document, cwd=tmp_path)
        assert (code, words in answer["error"]["message"]) == (2, True), f"{what}: {answer}"
        assert "SEKRET" not in json.dumps(answer)
    both = json.dumps(GOOD | {"node": 2, "nodes": "two"}).encode()
    assert [check["id"] for check in call(skill, both, cwd=tmp_path)[1]["checks"]] == ["$.node", "$.nodes"]


@pytest.mark.parametrize("skill", ["pytorchjob-manager", "ray-manager", "checkpoint-manager", "cluster-manager"])
def test_control_a_good_request_comes_as_far_as_the_cluster(skill: str, tmp_path: Path) -> None:
    document = GOOD | ({"engine": "rayjob"} if skill == "ray-manager" else {})
    code, answer = call(skill, json.dumps(document).encode(), cwd=tmp_path)
    assert code != 2 and "kubeconfig" in answer["error"]["message"]


@pytest.mark.parametrize("skill", ["pytorchjob-manager", "ray-manager", "local-runner"])
def test_what_an_option_refuses_is_refused_in_a_request_too(skill: str, tmp_path: Path) -> None:
    document = GOOD | {"monitor": {"max_restarts": 100_000}} | ({"engine": "rayjob"} if skill == "ray-manager" else {})
    code, answer = call(skill, json.dumps(document).encode(), cwd=tmp_path)
    assert (code, "100000" in answer["error"]["message"]) == (2, True), answer


@pytest.mark.parametrize("skill", ["pytorchjob-manager", "ray-manager", "checkpoint-manager"])
def test_another_name_beside_a_request_or_no_run_id_in_it_is_refused(skill: str, tmp_path: Path) -> None:
    document = GOOD | ({"engine": "rayjob"} if skill == "ray-manager" else {})
    assert "tiny" in call(skill, json.dumps(document).encode(), "other", cwd=tmp_path)[1]["error"]["message"]
    del document["run_id"]
    assert "--run-id" in call(skill, json.dumps(document).encode(), cwd=tmp_path)[1]["error"]["message"]


def test_a_run_on_this_machine_is_what_the_request_says_and_before_it_the_options(tmp_path: Path) -> None:
    (tmp_path / "tell.py").touch()
    request = GOOD | {"source": str(tmp_path), "env": {"SEED": "7", "TEXT": "a b"}, "checkpoints": {"rolling_steps": 20}}
    code, answer = call("local-runner", json.dumps(request).encode(), "--procs", "3", "--env", "SEED=8", cwd=tmp_path)
    assert code == 0, answer
    environment = answer["data"]["environment"]
    assert (environment["SEED"], environment["TEXT"], environment["TRAINYARD_ROLLING_STEPS"]) == ("8", "a b", "20")
    assert answer["data"]["arguments"][-3:] == ["tell.py", "--steps", "3"]
    assert "--nproc-per-node=3" in answer["data"]["arguments"] or environment.get("PET_NPROC_PER_NODE") == "3"


def test_advice_names_the_keys_of_the_job_file() -> None:
    """The deployer passes on what the programs advise, to somebody who wrote a job file and no options."""
    assert not [pattern for pattern in ADVISING if not any(SKILLS.glob(pattern))], "files have moved"
    files = [path for pattern in ADVISING for path in sorted(SKILLS.glob(pattern)) if not path.stem.endswith("_options")]
    found = {path.name: wrong for path in files if (wrong := advice_without_its_key(path.read_text()))}
    assert found == {}


def test_control_advice_in_options_alone_is_found() -> None:
    assert advice_without_its_key('check(fix="a larger --memory")') == ["a larger --memory"]
    assert not advice_without_its_key('check(fix="a larger resources.memory (--memory)")')
