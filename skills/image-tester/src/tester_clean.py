"""Containers whose caller has ended without its reaper: after a power cut, or where both were killed."""

from __future__ import annotations

import tester_owner
import trainyard_docker
import trainyard_shell as shell
from tester_container import remove


def clean(*, yes: bool, dry_run: bool) -> shell.Result:
    """Only those that carry this skill's label and whose owner is dead. Raises SkillError confirm, unreachable, dependency."""
    docker = trainyard_docker.find()
    found = tester_owner.leftovers(docker)
    dead = [each.id for each in found if each.state == "dead"]
    data = {
        "leftovers": [vars(each) for each in found if each.state == "dead"],
        "kept": [vars(each) for each in found if each.state != "dead"],
        "total": len(found),
    }
    if dry_run or not dead:
        return shell.Result(data=data, next=["test_image.py clean --yes"] if dead else [])
    shell.confirm(yes, data, what=f"remove {len(dead)} containers of tests whose caller has ended")
    remove(docker, dead)
    return shell.Result(data=data, changed=[f"container {each[:12]} removed" for each in dead])
