"""What only a HyperPodPyTorchJob has: its launcher's options, the operator's own keys, and exit codes as the launcher tells them."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from test_ptjob_manifest import SOURCE, build

POLICY = {"minReplicas": 1, "maxReplicas": 5, "replicaIncrementStep": 2}
RULE = {"name": "steps", "logPattern": r".*step=(\d+).*"}


def words_of(job: dict[str, Any]) -> list[str]:
    return list(job["spec"]["replicaSpecs"][0]["template"]["spec"]["containers"][0]["command"])


def test_the_launcher_gives_the_workers_longer_than_the_save_and_less_than_the_kubelet() -> None:
    job = build("hyperpodjob", grace_s=45.5)
    pod, words = job["spec"]["replicaSpecs"][0]["template"]["spec"], words_of(job)
    given_s = int(next(word for word in words if word.startswith("--shutdown-timeout=")).partition("=")[2])
    assert 45.5 + 20 < given_s < pod["terminationGracePeriodSeconds"]
    assert {"--shutdown-signal=SIGTERM", "--log-dir=/tmp/hyperpod", "--tee=3"} < set(words)
    assert pod["containers"][0]["ports"] == [{"name": "hyperpod-agent", "containerPort": 8080}]
    assert pod["shareProcessNamespace"], "as process 1 the launcher ignores SIGTERM until it is started"


def test_a_plain_program_gets_nothing_of_the_launchers() -> None:
    job = build("hyperpodjob", nodes=1, procs=1, command=("python3", "x.py"))
    pod = job["spec"]["replicaSpecs"][0]["template"]["spec"]
    assert words_of(job) == ["python3", "x.py"] and "shareProcessNamespace" not in pod


def test_the_operators_own_keys_are_passed_on() -> None:
    asked = {"elasticPolicy": POLICY, "runPolicy": {"cleanPodPolicy": "OnlyComplete"}, "spares": 1}
    spec = build("hyperpodjob", hyperpod=asked, queue="team")["spec"]
    assert spec["elasticPolicy"] == {**POLICY, "gracefulShutdownTimeoutInSeconds": 71}
    assert spec["runPolicy"] == {"jobMaxRetryCount": 3, "cleanPodPolicy": "OnlyComplete"}
    group = spec["replicaSpecs"][0]
    assert (group["replicas"], group["maxReplicas"], group["spares"]) == (3, 5, 1)
    given = build("hyperpodjob", hyperpod={"elasticPolicy": {**POLICY, "gracefulShutdownTimeoutInSeconds": 600}})
    assert given["spec"]["elasticPolicy"]["gracefulShutdownTimeoutInSeconds"] == 600
    assert "elasticPolicy" not in build("hyperpodjob")["spec"]


# (the section, what the refusal names)
WRONG = [
    ({"elasticPolicy": {"minReplicas": 1, "maxReplicas": 5}}, "elasticPolicy: needs one of"),
    ({"elasticPolicy": {**POLICY, "replicaDiscreteValues": [3]}}, "elasticPolicy: needs one of"),
    ({"elasticPolicy": {**POLICY, "minReplicas": 6}}, "elasticPolicy.minReplicas: 6 is more"),
    ({"elasticPolicy": {**POLICY, "minReplicas": 2}}, "elasticPolicy: nodes (3) is none of its sizes: 2, 4"),
    ({"elasticPolicy": {**POLICY, "gracefulShutdownTimeoutInSeconds": 45}}, "gracefulShutdownTimeoutInSeconds: 45 s is less"),
    (
        {"elasticPolicy": {"minReplicas": 1, "maxReplicas": 5, "replicaDiscreteValues": [3, 8]}},
        "replicaDiscreteValues: are not all between",
    ),
    ({"spares": 1}, "spares: needs cluster.queue"),
    ({"runPolicy": {"logMonitoringConfiguration": [RULE]}}, "Configuration[0]: judges nothing"),
    (
        {"runPolicy": {"logMonitoringConfiguration": [{**RULE, "logPattern": "(", "faultOnMatch": True}]}},
        "no regular expression",
    ),
    ({"runPolicy": {"logMonitoringConfiguration": [{**RULE, "metricThreshold": 3}]}}, "operator: and metricThreshold"),
    (
        {"runPolicy": {"logMonitoringConfiguration": [{**RULE, "logPattern": "x", "metricThreshold": 3, "operator": "lt"}]}},
        "logPattern: has no group",
    ),
    ({"runPolicy": {"logMonitoringConfiguration": [{**RULE, "faultOnMatch": True}] * 2}}, "[1].name: 'steps' is another"),
]


@pytest.mark.parametrize(("asked", "told"), WRONG, ids=[told for _, told in WRONG])
def test_a_contradiction_is_refused_with_its_path(asked: dict[str, Any], told: str) -> None:
    refused = build("hyperpodjob", hyperpod=asked)
    assert refused["error"] == "usage" and told in refused["message"] and refused["message"].startswith("$.hyperpod."), refused


def test_other_engines_refuse_the_operators_keys() -> None:
    assert "hyperpodjob alone" in build("pytorchjob", hyperpod={"spares": 0})["message"]


def in_skill(code: str) -> str:
    words = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(SOURCE)!r})\n{code}"]
    return subprocess.run(words, check=True, capture_output=True, text=True, timeout=60).stdout


def test_wait_statuses_are_told_as_exit_codes() -> None:
    """As hyperpod-elastic-agent 1.1.3 printed them."""
    told = in_skill("""
from trainyard_agent_codes import plain
for text in ("Local Rank 0 exited with code -36608 due to: Signal 36608 (<N/A>) received by PID 71",
             "exited with code -256 due to: Signal 256 (<N/A>)", "exited with code -1792 due to: Signal 1792 (<N/A>)",
             "exited with code -9 due to: Signal 9 (SIGKILL) received by PID 7", "failed (exitcode: -36608) local_rank: 0 (pid: 4)",
             "exited with code 3", "rank -36608 of nothing"):
    print(plain(text))
""").splitlines()
    assert told == [
        "Local Rank 0 exited with code 143 (an agreed stop)",
        "exited with code 1",
        "exited with code 7",
        "exited with code -9 due to: Signal 9 (SIGKILL) received by PID 7",
        "failed (exitcode: 143 (an agreed stop)) local_rank: 0 (pid: 4)",
        "exited with code 3",
        "rank -36608 of nothing",
    ]


def test_what_the_launcher_says_without_end_is_shown_once() -> None:
    shown = in_skill("""
from types import SimpleNamespace
import io
import ptjob_logs as logs
said = "2026-11-28T10:00:0%d.%d00000000Z E1128 torch/multiprocessing/api.py:900] failed (exitcode: -36608) local_rank: 0 (pid: 4)"
lines = ["2026-11-28T10:00:00.000000000Z trainyard step=1"] + [said % (n // 10, n % 10) for n in range(60)]
lines += ["2026-11-28T10:00:07.000000000Z trainyard step=2"]
class Stream(io.BytesIO):
    pass
query = {}
def open(method, path, asked, read_s):
    query.update(asked)
    return Stream("\\n".join(lines).encode())
cluster = SimpleNamespace(open=open, namespaced=lambda *words: "/".join(words))
job = SimpleNamespace(rank=lambda pod: 0, engine=SimpleNamespace(container="pytorch"))
got = logs.last_lines(cluster, job, {"metadata": {"name": "p"}}, 100)
print(len(got), [line.text for line in got if "step" in line.text], query["limitBytes"] > 0)
""")
    assert shown == "3 ['trainyard step=1', 'trainyard step=2'] True\n"
