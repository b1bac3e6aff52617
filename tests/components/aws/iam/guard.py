"""Every call passes here: it is recorded, and refused where the caller's policies do not allow it."""

from __future__ import annotations

from collections.abc import Iterable

from tests.components.aws.iam.asked import Need
from tests.components.aws.iam.caller import Caller
from tests.components.aws.iam.policy import ALLOWED, DENIED, decide
from tests.components.aws.iam.principals import principal
from tests.components.aws.wire.refused import Refused
from tests.components.aws.world import ACCOUNT, Action, World

ALWAYS_ALLOWED = {"sts:GetCallerIdentity", "sts:GetSessionToken"}


def allow(world: World, caller: Caller, action: str, resource: str) -> None:
    """Raises Refused (AccessDeniedException)."""
    allow_all(world, caller, [Need(action, resource)])


def allow_all(world: World, caller: Caller, needs: Iterable[Need]) -> None:
    """Raises Refused (AccessDeniedException) for the first that is not allowed; those before it are recorded too."""
    for need in needs:
        verdict = verdict_on(world, caller, need)
        who = principal(world, caller.key)
        world.actions.append(Action(who.arn, caller.key, need.action, need.resource, verdict == ALLOWED))
        if verdict != ALLOWED:
            raise Refused("AccessDeniedException", denial(who.arn, need, verdict))


def verdict_on(world: World, caller: Caller, need: Need) -> str:
    who = principal(world, caller.key)
    if who.root or need.action in ALWAYS_ALLOWED:
        return ALLOWED
    context = {
        "aws:RequestedRegion": caller.region,
        "aws:PrincipalArn": who.arn,
        "aws:PrincipalAccount": ACCOUNT,
        "aws:ResourceAccount": ACCOUNT,
        "aws:SecureTransport": "true",  # as if it were HTTPS, which it would be
        **need.context,
    }
    return decide(who.statements, need.action, (need.resource, *need.other_names), context)


def denial(arn: str, need: Need, verdict: str) -> str:
    """AWS's words: https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html"""
    reason = (
        "with an explicit deny in an identity-based policy"
        if verdict == DENIED
        else f"because no identity-based policy allows the {need.action} action"
    )
    return f"User: {arn} is not authorized to perform: {need.action} on resource: {need.resource} {reason}"
