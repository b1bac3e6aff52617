"""One test with the local Docker: image, plan, container, verdicts."""

from __future__ import annotations

import time
from dataclasses import dataclass

import tester_answer
import tester_bundle
import tester_container
import tester_owner
import trainyard_docker
import trainyard_shell as shell
from image_verdicts import verdict_container
from image_verdicts.verdict_of import Scene
from tester_answer import Answers
from tester_asked import Asked
from tester_bundle import Plan
from tester_container import Limits, Ran
from tester_inspect import LOCAL_ARCH, Image, image_of
from tester_plan import plan_of
from tester_verdict import answer, inside
from trainyard_docker import Docker

NOT_THERE = ("executable file not found", "no such file or directory")


@dataclass(frozen=True, kw_only=True)
class Room:
    """The limits that somebody gave; a time limit of None is the plan's own."""

    memory_bytes: int
    pids: int
    timeout_s: float | None
    network: bool
    gpus: str | None


def would(name: str, asked: Asked, room: Room) -> shell.Result:
    """The words of `docker create` and the probes; nothing is started. Raises SkillError as `test`."""
    docker = trainyard_docker.find()
    image = image_of(docker, name)
    plan = plan_of(asked, image)
    limits = limits_of(asked, room, plan)
    create = [docker.program, *tester_container.words(image.id, asked.pythons[0], limits, tester_owner.labels("TOKEN"))]
    probes = [{"id": each.id, "items": len(each.items), "limit_s": each.limit_s} for each in plan.probes]
    return shell.Result(
        data={"image": name, "level": asked.level, "would_call": create, "probes": probes, "timeout_s": limits.timeout_s}
    )


def test(name: str, asked: Asked, room: Room) -> shell.Result:
    """The whole of `run`. Raises SkillError: not-found, usage, dependency, unreachable, permission."""
    since = time.monotonic()
    docker = trainyard_docker.find()
    image = image_of(docker, name)
    plan = plan_of(asked, image)
    limits = limits_of(asked, room, plan)
    shell.progress(f"testing {name} at level {asked.level}: {len(plan.probes)} probes, at most {limits.timeout_s:.0f} s")
    ran, answers = _run(docker, image, asked.pythons, plan, limits)
    scene = Scene(asked, image, answers)
    daemon_arch = LOCAL_ARCH.get(docker.arch, docker.arch)
    outside = [verdict_container.platform(scene, daemon_arch), *verdict_container.container(scene, ran)]
    more = {"unsigned_lines": answers.unsigned, "project_lines_not_understood": list(asked.unread)[:20]}
    return answer(scene, [*outside, *inside(scene)], seconds=time.monotonic() - since, more=more)


def limits_of(asked: Asked, room: Room, plan: Plan) -> Limits:
    return Limits(
        memory_bytes=room.memory_bytes,
        pids=room.pids,
        shm_bytes=asked.shm_bytes,
        timeout_s=room.timeout_s or plan.limit_s(),
        network=room.network,
        gpus=room.gpus,
        read_only=not (asked.command and asked.at_least("full")),  # the job may write where the cluster lets it
    )


def _run(docker: Docker, image: Image, pythons: tuple[str, ...], plan: Plan, limits: Limits) -> tuple[Ran, Answers]:
    """With the first Python that is there."""
    text = tester_bundle.text(plan)
    for python in pythons:
        ran = tester_container.run(docker, image.id, python, text, limits)
        answers = tester_answer.read(ran.output, plan)
        said = f"{ran.error} {ran.state.error}".lower()
        if answers.begin or not any(each in said for each in NOT_THERE):
            break
    return ran, answers
