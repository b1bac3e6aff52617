"""Waiting for requests: looks again and again, says what has changed, and ends with each node done, failed, or the time over."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import trainyard_shell as shell

from hyperpod_repair.chosen import STEADY
from hyperpod_repair.deeds import DEEDS
from hyperpod_repair.leaving import uncordon
from hyperpod_repair.picture import Picture
from hyperpod_requests.journal import ACCEPTED, ASKED, PREPARING, Journal, Request, is_at_work, when
from hyperpod_waiting.causes import causes
from hyperpod_waiting.progress import by_id, outcomes
from hyperpod_waiting.usable import DONE, FAILED, UNKNOWN, WAITING, Outcome

FIRST_S, GROWTH, LONGEST_S = 0.5, 1.15, 15.0
NO_TRACE_S = 45.0
"""After that a request whose answer was lost, and of which nothing shows, was not taken."""


@dataclass
class Followed:
    request: Request
    outcomes: list[Outcome] = field(default_factory=list)

    @property
    def waits(self) -> bool:
        return any(each.state == WAITING for each in self.outcomes)


@dataclass
class Watch:
    picture: Picture
    journal: Journal
    followed: list[Followed]
    timeout_s: float
    _said: dict[str, str] = field(default_factory=dict)

    def run(self) -> Picture:
        """Until nothing waits. Raises SkillError timeout with what is known; AwsError for what another look does not mend."""
        began, pause = time.monotonic(), FIRST_S
        while True:
            self.refresh()
            self.look(time.monotonic() - began)
            if not any(each.waits for each in self.followed):
                break
            left = self.timeout_s - (time.monotonic() - began)
            if left <= 0:
                raise self.timed_out()
            time.sleep(min(pause, max(0.05, left)))
            pause = min(pause * GROWTH, LONGEST_S)
        self.end()
        return self.picture

    def refresh(self) -> None:
        try:
            self.picture = self.picture.again()
        except shell.SkillError as error:
            if not error.retryable:
                raise
            self.say("look", f"no answer, looking again: {error}")

    def look(self, waited_s: float) -> None:
        for each in self.followed:
            each.outcomes = outcomes(self.picture, each.request)
            self._judge_phase(each, waited_s)
            self._remember(each)
            for number, outcome in enumerate(each.outcomes):
                self.say(f"{each.request['id']}.{number}", outcome.text)

    def _judge_phase(self, each: Followed, waited_s: float) -> None:
        request = each.request
        if request["phase"] == PREPARING and not is_at_work(request):
            words = "the call that prepared it was killed before anything was sent"
            each.outcomes = [Outcome(FAILED, f"{words}; {one.text}", False) for one in each.outcomes]
        elif request["phase"] == ASKED and any(one.begun for one in each.outcomes):
            request["phase"] = ACCEPTED
            self.journal.put(request)
        elif request["phase"] == ASKED and waited_s > min(NO_TRACE_S, self.timeout_s / 2) and not is_at_work(request):
            words = "its answer was lost, and nothing shows that AWS took it"
            each.outcomes = [Outcome(FAILED, f"{words}; {one.text}", False) for one in each.outcomes]

    def _remember(self, each: Followed) -> None:
        """A node that was seen to go, and is Running again under its old id, was rolled back."""
        if each.request["verb"] == "scale" and each.outcomes[0].begun and not each.request.get("went"):
            each.request["went"] = True
            self.journal.put(each.request)
        if each.request["verb"] == "reboot":
            self._remember_down(each.request)
        if each.request["verb"] not in ("replace", "delete"):
            return
        changed = False
        for number, (entry, outcome) in enumerate(zip(each.request["nodes"], each.outcomes, strict=True)):
            if outcome.state != WAITING or each.request["phase"] != ACCEPTED:
                continue
            if outcome.begun and not entry.get("went"):
                entry["went"] = changed = True
            elif not outcome.begun and (entry.get("went") or self._failed_since(each.request, entry)):
                found = causes(self.picture, each.request["asked_at"], [entry["group"]])
                words = f"it was rolled back: {outcome.text}{'; ' if found else ''}{found[0] if found else ''}"
                each.outcomes[number] = Outcome(FAILED, words)
        if changed:
            self.journal.put(each.request)

    def _remember_down(self, request: Request) -> None:
        """Nodes that were seen to be down: where no boot id tells it, that proves a reboot."""
        for entry in request["nodes"]:
            node = by_id(self.picture, entry.get("instance_id"))
            if node and node.instance and node.instance.status not in STEADY and not entry.get("went"):
                entry["went"] = True
                self.journal.put(request)

    def _failed_since(self, request: Request, entry: dict[str, Any]) -> bool:
        id = str(entry.get("instance_id"))
        return any(id in line for line in causes(self.picture, request["asked_at"], [entry["group"]], level=("Error",)))

    def say(self, about: str, text: str) -> None:
        if self._said.get(about) != text:
            self._said[about] = text
            shell.progress(text)

    # --- the end -------------------------------------------------------------------------------------------------

    def end(self) -> None:
        """What is over is closed, and the nodes that stay are given back to the scheduler."""
        for each in self.followed:
            deed = DEEDS.get(each.request["verb"])
            for entry, outcome in zip(each.request["nodes"], each.outcomes, strict=False):
                is_back = outcome.state == DONE or (outcome.state == UNKNOWN and not self.picture.unread)
                if deed and (deed.comes_back or not outcome.begun) and (is_back or not outcome.begun):
                    give_back(self.picture, entry)
            self.journal.close(each.request)

    def timed_out(self) -> shell.SkillError:
        waiting = [one.text for each in self.followed for one in each.outcomes if one.state == WAITING]
        groups = {entry["group"] for each in self.followed for entry in each.request["nodes"]} | {
            str(each.request["group"]) for each in self.followed if each.request.get("group")
        }
        since = min(each.request["asked_at"] for each in self.followed)
        why = causes(self.picture, since, groups)
        for each in self.followed:
            if each.request["verb"] != "scale" and not any(one.begun for one in each.outcomes):
                self.journal.close(each.request)  # nothing ever showed: the same call may ask again
        words = f"; AWS says: {why[0]}" if why else "; no event says why"
        message = f"not within {self.timeout_s:.0f} s: {'; '.join(waiting[:3])}{words}"
        hint = self.picture.command("wait", self.picture.cluster.name)
        return shell.SkillError(
            "timeout", message, hint=hint, retryable=True, data={"requests": told(self.followed), "events": why}
        )


def give_back(picture: Picture, entry: dict[str, Any]) -> None:
    """Uncordons a node that we had cordoned. Raises ApiError."""
    if entry.get("cordoned") and entry.get("node") and picture.kubernetes:
        uncordon(picture.kubernetes, str(entry["node"]))
        entry["cordoned"] = False


def told(followed: list[Followed]) -> list[dict[str, Any]]:
    return [
        {
            "verb": each.request["verb"],
            "asked_at": when(each.request),
            "nodes": [
                {
                    "was": entry.get("instance_id") or entry.get("logical_id") or entry.get("group") or "cluster",
                    "is": outcome.instance_id,
                    "node": outcome.node,
                    "state": outcome.state,
                    "what": outcome.text,
                }
                for entry, outcome in zip(each.request["nodes"] or [each.request], each.outcomes, strict=False)
            ],
        }
        for each in followed
    ]


def checks(followed: list[Followed]) -> list[shell.Check]:
    status = {DONE: "pass", FAILED: "fail", WAITING: "unknown", UNKNOWN: "unknown"}
    found = []
    for each in followed:
        for row, outcome in zip(told([each])[0]["nodes"], each.outcomes, strict=False):
            fix = None if outcome.state == DONE else "look at `events` and `health`; the same call again asks anew"
            found.append(
                shell.Check(
                    f"{each.request['verb']}.{row['was']}", status[outcome.state], shell.clean(outcome.text, 600), None, fix
                )
            )
    return found
