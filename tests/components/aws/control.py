"""What tests may ask of the stand-in besides AWS's own calls: POST /_control/VERB with a JSON object."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

from tests.components.aws.ecr.cuts import Cut
from tests.components.aws.wire.failing import Failure
from tests.components.aws.wire.refused import Refused
from tests.components.aws.world import World

Verb = Callable[..., Any]
VERBS: dict[str, Verb] = {}


def verb(function: Verb) -> Verb:
    VERBS[function.__name__] = function
    return function


def answer(world: World, name: str, body: bytes) -> Any:
    """Raises Refused."""
    if name not in VERBS:
        raise Refused("ControlError", f"no verb {name}: there are {', '.join(sorted(VERBS))}", 404)
    try:
        return VERBS[name](world, **json.loads(body or b"{}"))
    except (TypeError, ValueError, KeyError) as error:
        raise Refused("ControlError", f"{name}: {error}", 400) from error


@verb
def reset(world: World) -> None:
    world.reset()


@verb
def actions(world: World) -> list[dict[str, Any]]:
    return [dataclasses.asdict(each) for each in world.actions]


@verb
def environment(world: World, variables: dict[str, str]) -> None:
    """What builds find besides CodeBuild's own variables."""
    world.build_environment.update(variables)


@verb
def tokens(world: World, **settings: float) -> None:
    """See Tokens: valid_s, valid_requests, expired_status, short_lived."""
    for name, value in settings.items():
        if name not in ("valid_s", "valid_requests", "expired_status", "short_lived"):
            raise ValueError(f"no setting {name}")
        setattr(world.tokens, name, value)


@verb
def cut(world: World, **cut: Any) -> None:
    """See Cut."""
    world.cuts.waiting.append(Cut(**cut))


@verb
def cuts_done(world: World) -> int:
    return world.cuts.done


@verb
def fail(world: World, **failure: Any) -> None:
    """See Failure: calls that are to fail."""
    world.failures.waiting.append(Failure(**failure))


@verb
def builds_fault(world: World, **fault: Any) -> None:
    """See Fault: what is to go wrong with the next builds."""
    world.codebuild.faults.add(**fault)


@verb
def limits(world: World, concurrent: int | None = None, minute_s: float | None = None) -> None:
    """See Limits; what is not given stays."""
    held = world.codebuild.limits
    held.concurrent = held.concurrent if concurrent is None else concurrent
    held.minute_s = held.minute_s if minute_s is None else minute_s
