"""The API server goes away, says no, or forgets: the call goes on where it was, or ends with what to do."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from ptjob_call import KWOK, NOWHERE, OURS, RUN, Manager

from tests.components.cluster.door import door_to
from tests.components.cluster.running import Cluster

Rule = dict[str, Any]
JOBS: Rule = {"apiGroups": ["kubeflow.org"], "resources": ["pytorchjobs"]}
OTHER_JOBS: Rule = {
    "apiGroups": ["trainer.kubeflow.org", "sagemaker.amazonaws.com"],
    "resources": ["trainjobs", "hyperpodpytorchjobs"],
}
PODS: Rule = {"apiGroups": [""], "resources": ["pods"]}
LOGS: Rule = {"apiGroups": [""], "resources": ["pods/log"], "verbs": ["get"]}
ALL = ["get", "list", "watch", "create", "patch", "delete"]


def test_a_wait_goes_on_when_the_api_server_comes_back(manager: Manager, cluster: Cluster, tmp_path: Path) -> None:
    door, kubeconfig = door_to(cluster.kubeconfig, tmp_path)
    manager.create("ends", *KWOK, "--pod-annotation", "fake/complete-after=7s")
    waiting = Manager(kubeconfig, manager.namespace).start("wait", "ends", "--timeout", "60")
    time.sleep(3)
    assert waiting.poll() is None
    door.shut()
    time.sleep(3)
    assert waiting.poll() is None
    door.open()
    done = manager.answer(waiting)
    door.shut()
    assert (done.code, done.data["state"]) == (0, "finished")
    assert "waiting for it" in done.stderr


def test_a_wait_that_is_over_before_the_job_says_so_with_its_status(manager: Manager) -> None:
    manager.create("waits", *NOWHERE)
    done = manager("wait", "waits", "--timeout", "1")
    assert (done.code, done.error["retryable"], done.data["state"]) == (7, True, "pending")


def test_an_api_server_that_is_away_is_unreachable_and_not_a_bug(manager: Manager, cluster: Cluster, tmp_path: Path) -> None:
    door, kubeconfig = door_to(cluster.kubeconfig, tmp_path)
    door.shut()
    done = Manager(kubeconfig, manager.namespace)("status", "tiny")
    assert (done.code, done.error["code"], done.error["retryable"]) == (8, "unreachable", True)


VERBS = {
    "create pytorchjobs": ("create", "new", "--run-id", RUN, "--image", "any", "--", "torchrun", "t.py"),
    "list pods": ("status", "tiny"),
    "get pytorchjobs": ("status", "tiny"),
    "get pods/log": ("logs", "tiny"),
    "patch pytorchjobs": ("suspend", "tiny", *OURS, "--dry-run"),
    "watch pytorchjobs": ("wait", "tiny", "--timeout", "0.5"),
    "delete pytorchjobs": ("delete", "tiny", "--run-id", RUN, "--yes"),
}
"""What is lacking -> a call that needs it."""


def test_a_verb_that_is_not_allowed_prints_the_rule_it_needs(manager: Manager, cluster: Cluster) -> None:
    """The user may do all else; with the rule that is printed, the same call works."""
    manager.create("tiny", *KWOK)
    manager.until("running", "tiny")
    for number, (lacking, verb) in enumerate(VERBS.items()):
        action, resource = lacking.split()
        rules = [rule for rule in rules_without(action, resource) if rule["verbs"]]
        refused = Manager(cluster.user(f"limited-{number}", manager.namespace, rules=rules), manager.namespace)(*verb)
        assert (refused.code, refused.error["code"]) == (4, "permission"), lacking
        rule = json.loads(refused.error["hint"].partition("rule: ")[2])
        assert (rule["verbs"], rule["resources"]) == ([action], [resource])
        allowed = cluster.user(f"limited-{number}", manager.namespace, rules=[*rules, rule])
        assert Manager(allowed, manager.namespace)(*verb).code in (0, 7), lacking


def rules_without(action: str, resource: str) -> list[Rule]:
    rules = [{**JOBS, "verbs": ALL}, {**OTHER_JOBS, "verbs": ALL}, {**PODS, "verbs": ["list", "watch"]}, LOGS]
    return [
        {**rule, "verbs": [verb for verb in rule["verbs"] if (verb, rule["resources"]) != (action, [resource])]}
        for rule in rules
    ]


def test_events_that_may_not_be_read_are_named_and_the_status_is_told(manager: Manager, cluster: Cluster) -> None:
    manager.create("tiny", "--queue", "none", *NOWHERE)
    cluster.apply(
        [
            {
                "apiVersion": "v1",
                "kind": "ResourceQuota",
                "metadata": {"name": "none", "namespace": manager.namespace},
                "spec": {"hard": {"pods": "0"}},
            }
        ]
    )
    manager.create("refused", *NOWHERE)
    rules = [{**JOBS, "verbs": ALL}, {**OTHER_JOBS, "verbs": ALL}, {**PODS, "verbs": ["list"]}]
    user = cluster.user("blind", manager.namespace, rules=rules)
    seen = Manager(user, manager.namespace)("status", "refused")
    assert seen.code == 0 and "events" in seen.finding("events.unknown")["fix"]


def test_a_user_of_pytorchjobs_alone_gets_not_found_and_delete_stays_repeatable(manager: Manager, cluster: Cluster) -> None:
    user = cluster.user("alone", manager.namespace, rules=[{**JOBS, "verbs": ALL}, {**PODS, "verbs": ["list"]}])
    alone = Manager(user, manager.namespace)
    absent = alone("status", "tiny")
    assert absent.code == 3 and "trainjobs" in absent.error["message"]
    assert absent.data["unread"] == ["trainjobs", "hyperpodpytorchjobs"], "whether it is one of these, this user cannot know"
    assert {each["status"] for each in absent.document["checks"]} == {"unknown"}
    certain = alone("status", "tiny", "--engine", "pytorchjob")
    assert (certain.code, certain.data["unread"], certain.document["checks"]) == (3, [], [])
    assert alone.create("tiny", *NOWHERE).code == 0
    assert [alone("delete", "tiny", "--run-id", RUN, "--yes").code for _ in range(2)] == [0, 0]


def test_a_job_of_a_kind_that_may_not_be_read_is_not_said_to_be_absent(manager: Manager, cluster: Cluster) -> None:
    manager.create("hidden", "--engine", "trainjob", *NOWHERE)
    manager.until_found("node.selector", "hidden")
    user = cluster.user("alone", manager.namespace, rules=[{**JOBS, "verbs": ALL}, {**PODS, "verbs": ["list"]}])
    alone = Manager(user, manager.namespace)
    for verb, *words in (["status"], ["logs"], ["delete", "--yes"]):
        told_by_pods = alone(verb, "hidden", *OURS, *words)
        assert (told_by_pods.code, "trainjobs" in told_by_pods.error["hint"]) == (4, True), verb
    manager("suspend", "hidden", *OURS)
    deadline = time.monotonic() + 60
    while manager("status", "hidden").data["pods"]:
        assert time.monotonic() < deadline
    assert "trainjobs" in alone("status", "hidden", *OURS).data["unread"], "no pod says of which kind it is"
    assert "trainjobs" in alone("delete", "hidden", *OURS, "--yes").data["unread"]
    for verb, *words in (["status"], ["logs"], ["wait", "--timeout", "1"], ["delete", "--yes"]):
        named = alone(verb, "hidden", *OURS, "--engine", "trainjob", *words)
        assert (named.code, named.error["code"]) == (4, "permission"), verb
    assert manager("status", "hidden", *OURS).data["state"] == "suspended"


def test_a_cluster_other_than_the_runs_is_refused(manager: Manager) -> None:
    refused = manager("status", "tiny", "--cluster-id", "0" * 16)
    assert (refused.code, refused.error["code"]) == (5, "conflict")
