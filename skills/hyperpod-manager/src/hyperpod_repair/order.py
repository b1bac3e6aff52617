"""An order for nodes from its first look to its end: plan, refusals, a clean stop for our runs, one call a batch, and the wait."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import trainyard_aws as aws
import trainyard_shell as shell

from hyperpod_repair import plan, preparing, sending
from hyperpod_repair.chosen import chosen, refuse_changing
from hyperpod_repair.deeds import UNNAMED, Deed
from hyperpod_repair.earlier import Earlier, adopt
from hyperpod_repair.picture import Picture
from hyperpod_repair.plan import Leaving
from hyperpod_requests.journal import ACCEPTED, ASKED, Journal, Request
from hyperpod_waiting import follow
from hyperpod_waiting.follow import Followed, Watch
from hyperpod_waiting.usable import FAILED

MakeCalls = Callable[[list[dict[str, Any]], str], list[sending.Call]]
UNCLEAR = (UNNAMED, "InternalServerError")
"""Refusals after which a node may go all the same: it stays cordoned."""


@dataclass(frozen=True)
class Order:
    deed: Deed
    words: tuple[str, ...]
    forced: tuple[str, ...]
    yes: bool
    dry_run: bool
    wait: bool
    timeout_s: float
    make_calls: MakeCalls
    """From the journal's entries and the request's id: what the operation is sent."""
    members: dict[str, Any] = field(default_factory=dict)
    """Of the journal's request besides the nodes."""
    more: dict[str, Any] = field(default_factory=dict)
    """Of the plan."""


def carry_out(picture: Picture, order: Order) -> shell.Result:
    """Raises SkillError: not-found, conflict, confirm, permission, timeout; AwsError."""
    journal = Journal(picture.cluster.arn)
    earlier = adopt(picture, journal, order.deed, order.words)
    nodes = chosen(picture, earlier.new)
    refuse_changing(picture, nodes)
    going = plan.leaving(picture, nodes)
    runs = plan.runs_on(picture, going)
    calls = order.make_calls([each.entry for each in going], "TOKEN")
    data = plan.plan(picture, order.deed, going, runs, calls) | order.more | {"already_asked": earlier.told()}
    plan.refuse(picture, going, runs, order.deed, order.forced, data, earlier.names)
    if order.dry_run:
        return shell.Result(data, next=["the same command with --yes instead of --dry-run"])
    if going:
        what = (
            f"{order.deed.verb} {', '.join(plan.keys(going)[:5])}{' ...' if len(going) > 5 else ''} of {picture.cluster.name}"
        )
        shell.confirm(order.yes, data, what=what)
    return Done(picture, journal, order, earlier).do(going)


@dataclass
class Done:
    """What has been done so far, so that an error on the way leaves none of it unsaid."""

    picture: Picture
    journal: Journal
    order: Order
    earlier: Earlier
    changed: list[str] = field(default_factory=list)
    checks: list[shell.Check] = field(default_factory=list)
    stops: list[dict[str, Any]] = field(default_factory=list)
    lost: aws.AwsError | None = None
    """An answer that did not come: AWS may have taken the call."""

    def do(self, going: list[Leaving]) -> shell.Result:
        requests = list(self.earlier.requests)
        if going:
            ready = preparing.prepare(
                self.picture, self.journal, self.order.deed, going, self.order.forced, self.earlier, self.order.members
            )
            self.changed += ready.changed
            self.checks += ready.checks
            self.stops = [each.told() for each in ready.stops]
            self.send(ready.request)
            if ready.request["nodes"]:
                requests.append(ready.request)
        if not requests:
            return self.result([])
        if self.order.wait or (self.lost and not self.order.dry_run):
            return self.follow(requests)
        return self.result([Followed(each) for each in requests])

    # --- the calls -----------------------------------------------------------------------------------------------

    def send(self, request: Request) -> None:
        """Each call once. The journal says `asked` before the first byte is sent."""
        request["sent"] = self.order.make_calls(request["nodes"], request["id"])
        request["phase"] = ASKED
        self.journal.put(request)
        answer = sending.Answer()
        for call in request["sent"]:
            self._one(request, call, answer)
        self._after(request, answer)

    def _one(self, request: Request, call: sending.Call, answer: sending.Answer) -> None:
        ids = sending.ids_of(call)
        try:
            found = sending.send(self.picture.sagemaker, self.picture.cluster, self.order.deed, call)
        except aws.AwsError as error:
            if sending.may_have_begun(error):
                self.lost = error
                return
            if not answer.done and not self.lost and call is request["sent"][-1] and not answer.failed:
                preparing.undo(self.picture, self.journal, request)
                raise
            answer.failed |= {id: (error.reason, str(error)) for id in ids}
            return
        answer.done += found.done
        answer.failed |= found.failed

    def _after(self, request: Request, answer: sending.Answer) -> None:
        deed, cluster, region = self.order.deed, self.picture.cluster, self.picture.sagemaker.region
        self.changed += [f"{id}: {deed.verb} asked for" for id in answer.done]
        self.checks += sending.checks(deed, cluster, answer.failed, region)
        kept = []
        for entry in request["nodes"]:
            id = entry["instance_id"] or entry["logical_id"]
            if id not in answer.failed:
                kept.append(entry)
            elif answer.failed[id][0] not in UNCLEAR:
                follow.give_back(self.picture, entry)
            elif entry["cordoned"]:
                self.checks.append(
                    shell.Check(
                        f"cordon.{id}",
                        "warn",
                        f"{entry['node']} stays cordoned, because the request may still take effect",
                        None,
                        f"kubectl uncordon {entry['node']}",
                    )
                )
        request["nodes"] = kept
        request["phase"] = ASKED if self.lost else ACCEPTED
        self.journal.put(request) if kept else self.journal.close(request)

    # --- the end -------------------------------------------------------------------------------------------------

    def follow(self, requests: list[Request]) -> shell.Result:
        watch = Watch(self.picture, self.journal, [Followed(each) for each in requests], self.order.timeout_s)
        try:
            watch.run()
        except shell.SkillError as error:
            error.data |= {"changed": self.changed, "stops": self.stops}
            error.checks += self.checks
            raise
        if self.lost and all(one.state == FAILED and not one.begun for each in watch.followed for one in each.outcomes):
            hint = f"the same call again: it looks first. {self.lost.hint}"
            raise aws.AwsError(
                self.lost.code, self.lost.reason, f"{self.lost}; nothing shows that AWS took it", hint=hint, retryable=True
            )
        return self.result(watch.followed)

    def result(self, followed: list[Followed]) -> shell.Result:
        cluster, done = self.picture.cluster, all(each.outcomes for each in followed)
        data = {
            "cluster": cluster.name,
            "verb": self.order.deed.verb,
            "requests": follow.told(followed) if done else [],
            "stops": self.stops,
        }
        data |= {"asked": [entry["instance_id"] or entry["logical_id"] for each in followed for entry in each.request["nodes"]]}
        next = [self.picture.command("health", cluster.name)] if done else [self.picture.command("wait", cluster.name)]
        return shell.Result(data, self.checks + follow.checks(followed), self.changed, next)
