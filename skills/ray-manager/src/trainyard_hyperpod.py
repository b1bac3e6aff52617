"""What HyperPod's training operator alone can do, as a section of the job file: in the operator's own words, for they are its API.

`contradictions` finds what the types cannot say. The operator and its launcher take most of it in silence: a rule whose pattern does
not compile is left out together with all others, and a threshold loses its decimals.
`make kit` copies this file byte for byte into the src/ of each skill that uses it; edit it in skills/kit/ only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from msgspec import Meta, field, to_builtins
from trainyard_section import Count, Number, Section, Text

ENGINE = "hyperpodjob"
Problem = tuple[str, str]
"""(path below $.hyperpod, what is wrong)."""


class ElasticPolicy(Section):
    """The operator changes the number of nodes as there is room; from version 1.2 on. Sizes are nodes."""

    minReplicas: Annotated[Count, Meta(description="Fewest nodes.")]
    maxReplicas: Annotated[Count, Meta(description="Most nodes.")]
    replicaIncrementStep: Annotated[Count | None, Meta(description="Sizes are minReplicas + N times this.")] = None
    replicaDiscreteValues: Annotated[list[Count] | None, Meta(description="The sizes themselves, such as [2, 4, 8].")] = None
    gracefulShutdownTimeoutInSeconds: Annotated[
        Count | None, Meta(description="How long a change of size waits for the save; default: monitor.stop_grace_s + 25.")
    ] = None
    scalingTimeoutInSeconds: Annotated[Number | None, Meta(description="How long it waits before it grows.")] = None
    faultyScaleDownTimeoutInSeconds: Annotated[
        Number | None, Meta(description="How long a faulty node is waited for before the job goes on without it.")
    ] = None


class RestartPolicy(Section):
    """When the whole job is started again in place of its processes."""

    numRestartBeforeFullJobRestart: Number | None = None
    evalPeriodSeconds: Number | None = None
    maxFullJobRestarts: Number | None = None
    scaleUpSnoozeTimeInSeconds: Number | None = None
    maxNumRepeatOffendersToAvoid: Number | None = None


class LogRule(Section):
    """A rule about the lines of local rank 0 of each node; a line is matched from its start (Python's re.match)."""

    name: Text
    logPattern: Text
    expectedStartCutOffInSeconds: Annotated[
        Count | None, Meta(description="Seconds: no match by then after the start means hanging.")
    ] = None
    expectedRecurringFrequencyInSeconds: Annotated[
        Count | None, Meta(description="Seconds: no match for this long after one means hanging.")
    ] = None
    metricThreshold: Annotated[int | None, Meta(description="A whole number; group 1 of the pattern is compared with it.")] = (
        None
    )
    operator: Literal["gt", "gteq", "lt", "lteq", "eq"] | None = None
    metricEvaluationDataPoints: Annotated[
        Count | None, Meta(description="This many matches beyond the threshold mean slow.")
    ] = None
    stopPattern: Annotated[Text | None, Meta(description="A line that ends the rule.")] = None
    faultOnMatch: Annotated[bool | None, Meta(description="A match is a fault.")] = None


class RunPolicy(Section):
    """How the operator restarts and clears up. `jobMaxRetryCount` is monitor.max_restarts."""

    cleanPodPolicy: Literal["All", "OnlyComplete", "None"] | None = None
    restartPolicy: RestartPolicy | None = None
    faultDeadlineSeconds: Number | None = None
    startupDeadlineSeconds: Number | None = None
    ttlSecondsAfterFinished: Annotated[Annotated[int, Meta(ge=-1)] | None, Meta(description="-1: for ever.")] = None
    logMonitoringConfiguration: list[LogRule] = field(default_factory=list)


class HyperPod(Section):
    """For engine hyperpodjob only; the keys are those of a HyperPodPyTorchJob."""

    elasticPolicy: ElasticPolicy | None = None
    runPolicy: RunPolicy | None = None
    spares: Annotated[Number, Meta(description="Nodes kept ready; needs cluster.queue.")] = 0


def contradictions(given: HyperPod, *, nodes: int, grace_s: float, queue: str | None) -> Iterator[Problem]:
    """What cannot be meant, each with the path of its key below $.hyperpod."""
    if given.spares and not queue:
        yield "spares", "needs cluster.queue: without Kueue the operator fails a job with spares"
    if given.elasticPolicy:
        yield from _of_sizes(given.elasticPolicy, nodes)
        graceful_s = given.elasticPolicy.gracefulShutdownTimeoutInSeconds
        if graceful_s is not None and graceful_s < grace_s:
            problem = f"{graceful_s} s is less than monitor.stop_grace_s ({grace_s:g} s), which the save may take"
            yield "elasticPolicy.gracefulShutdownTimeoutInSeconds", problem
    rules = given.runPolicy.logMonitoringConfiguration if given.runPolicy else []
    names = [rule.name for rule in rules]
    for number, rule in enumerate(rules):
        path = f"runPolicy.logMonitoringConfiguration[{number}]"
        if rule.name in names[:number]:
            yield f"{path}.name", f"{rule.name!r} is another rule's too"
        yield from ((f"{path}.{key}" if key else path, problem) for key, problem in _of_rule(rule))


def _of_sizes(policy: ElasticPolicy, nodes: int) -> Iterator[Problem]:
    low, high, values = policy.minReplicas, policy.maxReplicas, policy.replicaDiscreteValues
    if low > high:
        yield "elasticPolicy.minReplicas", f"{low} is more than maxReplicas ({high})"
    if (policy.replicaIncrementStep is None) == (values is None):
        yield "elasticPolicy", "needs one of replicaIncrementStep and replicaDiscreteValues, and not both"
        return
    if values is not None and (not values or sorted(set(values)) != values):
        yield "elasticPolicy.replicaDiscreteValues", "must be a list of sizes, from the smallest up, each once"
    elif values is not None and not low <= values[0] <= values[-1] <= high:
        yield "elasticPolicy.replicaDiscreteValues", f"are not all between minReplicas ({low}) and maxReplicas ({high})"
    elif low <= high and nodes not in sizes(to_builtins(policy)):
        told = ", ".join(map(str, sizes(to_builtins(policy))[:8]))
        yield "elasticPolicy", f"nodes ({nodes}) is none of its sizes: {told}"


def sizes(policy: dict[str, Any]) -> list[int]:
    """The numbers of nodes that an elasticPolicy allows, from the smallest up; the policy as it stands in a job."""
    if values := policy.get("replicaDiscreteValues"):
        return sorted(int(each) for each in values)
    return list(range(int(policy["minReplicas"]), int(policy["maxReplicas"]) + 1, int(policy.get("replicaIncrementStep") or 1)))


def _of_rule(rule: LogRule) -> Iterator[Problem]:
    """As hyperpod-elastic-agent 1.1.3 evaluates it."""
    groups = 0
    for key, pattern in (("logPattern", rule.logPattern), ("stopPattern", rule.stopPattern)):
        try:
            compiled = re.compile(pattern or "")
        except (re.error, RecursionError, OverflowError) as error:
            yield key, f"is no regular expression: {error}; the launcher would watch nothing at all"
            continue
        groups = compiled.groups if key == "logPattern" else groups
    if (rule.metricThreshold is None) != (rule.operator is None):
        yield "operator", "and metricThreshold go together"
    elif rule.metricThreshold is not None and not groups:
        yield "logPattern", "has no group (...) whose number metricThreshold could be compared with"
    if rule.metricEvaluationDataPoints is not None and rule.metricThreshold is None:
        yield "metricEvaluationDataPoints", "counts nothing without metricThreshold"
    times = (rule.expectedStartCutOffInSeconds, rule.expectedRecurringFrequencyInSeconds, rule.metricThreshold)
    if all(each is None for each in times) and not rule.faultOnMatch:
        yield "", "judges nothing: give a time, a threshold or faultOnMatch"
