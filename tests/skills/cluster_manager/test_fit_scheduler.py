"""`fit` against the real kube-scheduler: in random situations both say the same.

Where `fit` says yes, pods made of its answer are all bound, without and with each pod pinned to the node that it names. Where it
says no, the same pods are tried in every zone, and in none all of them are bound. FIT_SEEDS=200 tries all that the project promises
(`make fit-scheduler`); FIT_REPORT=FILE keeps what came out.
"""

from __future__ import annotations

import os
import secrets
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from cm_api import Api
from fit_situations import Situation
from fit_world import Tried, job_pods, put_back, try_pods, verdicts, world

from tests.components.cluster.running import Cluster

SEEDS = range(int(os.environ.get("FIT_SEEDS", "16")))
SIDE_BY_SIDE = 50
"""Situations at once: each `fit` reads all their nodes and pods."""


@pytest.mark.timeout(1200)
def test_fit_and_the_scheduler_agree(cluster: Cluster, api: Api, tmp_path: Path) -> None:
    begun = time.monotonic()
    yes: Asked = {}
    no: Asked = {}
    for first in range(0, len(SEEDS), SIDE_BY_SIDE):
        with world(api, f"fit-{secrets.token_hex(2)}", SEEDS[first : first + SIDE_BY_SIDE]) as made:
            answers = verdicts(cluster.kubeconfig, made, tmp_path)
            said = {each.seed: (each, answer) for each, answer in zip(made, answers, strict=True)}
            fit = {seed: asked for seed, asked in said.items() if asked[1]["ok"]}
            rest = {seed: asked for seed, asked in said.items() if seed not in fit}
            problems = agree_on_yes(api, fit) + agree_on_no(api, rest)
        assert not problems, "\n".join(problems)
        yes, no = yes | fit, no | rest
    assert min(len(yes), len(no)) >= len(SEEDS) / 5, f"{len(yes)} fit, {len(no)} do not: the situations are one-sided"
    if path := os.environ.get("FIT_REPORT"):
        Path(path).write_text(report(yes, no, time.monotonic() - begun))


Asked = dict[int, tuple[Situation, dict[str, Any]]]


def agree_on_yes(api: Api, asked: Asked) -> list[str]:
    problems = []
    for round_, pinned in (("free", False), ("pinned", True)):
        sets = {seed: job_pods(each, answer, round_, answer["data"]["zone"], pinned) for seed, (each, answer) in asked.items()}
        tried = try_pods(api, sets, round_, expected=True)
        put_back(api, [each for each, _ in asked.values()])
        problems += [told(round_, *asked[seed], tried[seed]) for seed in asked if not tried[seed].all_scheduled]
        if not pinned:
            problems += [
                told("other nodes", *asked[seed], tried[seed]) for seed in asked if differs(asked[seed][1], tried[seed])
            ]
    return problems


def differs(answer: dict[str, Any], tried: Tried) -> bool:
    """Where there is just enough room, there is only one choice of nodes."""
    data = answer["data"]
    return tried.all_scheduled and data["room"] == len(data["nodes"]) and sorted(data["nodes"]) != sorted(map(str, tried.nodes))


def agree_on_no(api: Api, asked: Asked) -> list[str]:
    """A claim that binds to the zone of its first pod is tried once, and without a zone: the volume keeps the others there."""
    problems = []
    for number in range(3):
        zones: dict[int, str | None] = {}
        for seed, (each, _) in asked.items():
            if each.moves and number == 0:
                zones[seed] = None
            elif not each.moves and number < len(each.zones):
                zones[seed] = each.zones[number]
        round_ = f"zone{number}"
        sets = {seed: job_pods(*asked[seed], round_, zone, False) for seed, zone in zones.items()}
        moving = any(asked[seed][0].moves for seed in sets)
        tried = try_pods(api, sets, round_, expected=False, settle_s=5.0 if moving else 0.0)
        put_back(api, [asked[seed][0] for seed in sets])
        problems += [told(f"no, but {zones[seed]}", *asked[seed], one) for seed, one in tried.items() if one.all_scheduled]
    return problems


def told(what: str, each: Situation, answer: dict[str, Any], tried: Tried) -> str:
    data = {key: answer["data"][key] for key in ("fits", "nodes", "node_selector", "pod", "missing")}
    return f"seed {each.seed} ({what}): fit {data}; scheduler {tried}; job {each.job}"


def test_a_verdict_that_is_wrong_is_found(cluster: Cluster, api: Api, tmp_path: Path) -> None:
    """A yes taken for a no, and pods pinned to a node of which it was not said that they fit there."""
    with world(api, f"fit-{secrets.token_hex(2)}", range(8)) as made:
        answers = verdicts(cluster.kubeconfig, made, tmp_path)
        yes = {each.seed: (each, answer) for each, answer in zip(made, answers, strict=True) if answer["ok"] and not each.moves}
        assert yes
        found = agree_on_no(api, yes)
    assert len({problem.split()[1] for problem in found}) == len(yes), found
    answer = {"data": {"room": 2, "nodes": ["a", "b"]}}
    assert differs(answer, Tried(["a", "a"], None)) and not differs(answer, Tried(["b", "a"], None))
    assert not Tried(["a", None], None).all_scheduled and not Tried(["a"], "quota").all_scheduled


def report(yes: Asked, no: Asked, seconds: float) -> str:
    """A page to keep."""
    checks = [check for _, answer in no.values() for check in answer["checks"] if check["status"] == "fail"]
    causes = Counter(check["id"] for check in checks)
    told_of = {
        seed: [line for line in answer["data"]["missing"] if not line.startswith("room for")]
        for seed, (_, answer) in no.items()
    }
    kinds = {kind: sum(any(kind in line for line in each) for each in told_of.values()) for kind in KINDS}
    tight = sum(answer["data"]["room"] == len(answer["data"]["nodes"]) for _, answer in yes.values())
    pods = sum(each.job["nodes"] for each, _ in [*yes.values(), *no.values()])
    total = len(yes) + len(no)
    rows = [
        ("`fit` and the scheduler agree", f"{total} of {total}"),
        ("both yes; the pods are bound, and bound again when each is pinned to the node that `fit` names for it", len(yes)),
        ("of these with just enough room in the zone: the scheduler took exactly the nodes named", tight),
        ("of these by preemption: others were put out", sum("preempts" in answer["data"] for _, answer in yes.values())),
        ("both no; the pods were tried in each zone", len(no)),
        *((f"no, check `{cause}` failed (one situation may have several)", count) for cause, count in causes.most_common()),
        *((f"no, with the reason: {kind}", count) for kind, count in kinds.items()),
    ]
    head = f"{total} seeded random situations (tests/skills/cluster_manager/fit_situations.py) with {pods} pods, Kubernetes 1.36.3, {seconds:.0f} s."
    table = [f"| {what} | {count} |" for what, count in rows]
    return "\n".join(
        ["# fit against kube-scheduler", "", f"`make fit-scheduler`: {head}", "", "| | situations |", "|---|---|", *table, ""]
    )


KINDS = (
    "cordoned",
    "not Ready",
    "is not tolerated",
    "label kubernetes.io/",
    "nvidia.com/gpu",
    "vpc.amazonaws.com/efa",
    "aws.amazon.com/neuron",
    "cpu",
    "pods left",
    "the volume cannot be reached",
    "is not bound",
    "room by zone",
    "quota",
)
