"""Every call passes here: it is recorded, and refused where the caller's policies do not allow it."""

from __future__ import annotations

from tests.components.aws.iam.caller import Caller
from tests.components.aws.world import ACCOUNT, Action, World


def allow(world: World, caller: Caller, action: str, resource: str) -> None:
    """Raises Refused (AccessDeniedException)."""
    world.actions.append(Action(f"arn:aws:iam::{ACCOUNT}:root", action, resource, True))
