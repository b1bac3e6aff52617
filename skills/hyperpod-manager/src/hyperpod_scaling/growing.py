"""The one call that changes a group's count, with a token that the journal keeps: the same call after a kill adds nothing twice."""

from __future__ import annotations

import hashlib
import re
import time
from dataclasses import dataclass
from typing import Any

import trainyard_aws as aws
import trainyard_shell as shell

from hyperpod_api.calls import Document
from hyperpod_repair.picture import Picture
from hyperpod_repair.sending import SOFTWARE, Call, may_have_begun
from hyperpod_requests.journal import ACCEPTED, ASKED, PREPARING, Journal, Request, is_at_work, take_over, when
from hyperpod_scaling.group_back import specification
from hyperpod_waiting import follow
from hyperpod_waiting.follow import Followed, Watch
from hyperpod_waiting.progress import outcomes
from hyperpod_waiting.usable import DONE, FAILED

A_CALL = 50
"""Nodes that one BatchAddClusterNodes adds."""
TOKEN_S = 7.5 * 3600
"""AWS knows a token for eight hours."""
QUOTA = re.compile(r"limit '([^']{1,120})'")
ADD_REFUSALS = {
    "InstanceGroupNotFound": "the cluster has no such group",
    "InvalidInstanceGroupStatus": "the group is being changed: `wait` first",
    "IncompatibleAvailabilityZones": "the group has no subnet in that zone",
    "IncompatibleInstanceTypes": "the group has no such type",
}


def add_calls(cluster: str, group: str, more: int, token: str) -> list[Call]:
    parts = [min(A_CALL, more - first) for first in range(0, more, A_CALL)]
    return [
        {
            "ClusterName": cluster,
            "ClientToken": f"trainyard-{token}-{number}",
            "NodesToAdd": [{"InstanceGroupName": group, "IncrementTargetCountBy": part}],
        }
        for number, part in enumerate(parts)
    ]


@dataclass
class Growth:
    picture: Picture
    journal: Journal
    group: str
    timeout_s: float

    # --- what was asked before -----------------------------------------------------------------------------------

    def earlier(self, count: int | None, add: int | None) -> Request | None:
        """The same wish, asked by a call that did not see its end. Raises SkillError conflict for another wish that is not over."""
        for request in self.journal.open_requests():
            if request["verb"] != "scale" or request.get("group") != self.group:
                continue
            if is_at_work(request) and request["phase"] != ACCEPTED:
                raise self._conflict(f"process {request['pid']} has been changing this group since {when(request)}")
            if request["phase"] == PREPARING:
                self.journal.close(request)
            elif (add is not None and request.get("add") == add) or (count is not None and request.get("target") == count):
                return request
            elif request["phase"] == ASKED or outcomes(self.picture, request)[0].state not in (DONE, FAILED):
                raise self._conflict(
                    f"{self.group} is on its way from {request['before']} to {request['target']} nodes since {when(request)}"
                )
            else:
                self.journal.close(request)
        return None

    def _conflict(self, message: str) -> shell.SkillError:
        return shell.SkillError(
            "conflict", message, hint=self.picture.command("wait", self.picture.cluster.name), retryable=True
        )

    def go_on(self, request: Request, *, wait: bool) -> shell.Result:
        """Sends the same bytes again only where AWS takes them for the same call: by its token, or an absolute count."""
        shell.progress(f"this was asked for at {when(request)}: going on with that; to have more, --count")
        take_over(request)
        begun = outcomes(self.picture, request)[0].begun
        young = time.time() - request["asked_at"] < TOKEN_S
        if request["phase"] == ASKED and (request["operation"] == "batch_add_cluster_nodes" or not begun) and young:
            anew = (
                [specification(self.picture.sagemaker, self.picture.cluster, self.group, request["target"])]
                if not request["sent"]
                else None
            )
            return self._send(request, wait=wait, calls=anew)
        return self._followed(request, [], [], wait=wait)

    # --- asking --------------------------------------------------------------------------------------------------

    def ask(self, operation: str, calls: list[Call], *, before: int, target: int, add: int | None, wait: bool) -> shell.Result:
        ids = [each.id for each in self.picture.instances if each.group == self.group and each.id]
        members: Document = {
            "group": self.group,
            "operation": operation,
            "before": before,
            "target": target,
            "add": add,
            "ids_before": ids,
        }
        request = self.journal.open("scale", nodes=[], **members)
        if operation == "batch_add_cluster_nodes":
            calls = add_calls(self.picture.cluster.name, self.group, target - before, token(self.picture.cluster.arn, request))
        request |= {"sent": plain(calls), "phase": ASKED, "logical_ids": []}
        self.journal.put(request)
        return self._send(request, wait=wait, calls=calls)

    def _send(self, request: Request, *, wait: bool, calls: list[Call] | None = None) -> shell.Result:
        checks: list[shell.Check] = []
        done = 0
        for call in calls or request["sent"]:
            try:
                done += self._sent(request, call, checks)
            except aws.AwsError as error:
                if may_have_begun(error):
                    return self._lost(request, error, checks)
                if not done:
                    self.journal.close(request)
                    raise self._refused(error) from error
                checks.append(shell.Check("scale.refused", "fail", str(error), None, error.hint))
                request["target"] = request["before"] + done
                break
        if request["operation"] == "batch_add_cluster_nodes":
            request["target"] = request["before"] + done
        request["phase"] = ACCEPTED
        self.journal.put(request) if done else self.journal.close(request)
        changed = [f"{self.group}: {request['before']} -> {request['target']} nodes asked for"] if done else []
        return self._followed(request, changed, checks, wait=wait and bool(done))

    def _sent(self, request: Request, call: Call, checks: list[shell.Check]) -> int:
        """After a lost answer the cluster is looked at, and a call with a token is sent once more: AWS answers it with the same nodes."""
        try:
            return self._one(request, call, checks)
        except aws.AwsError as error:
            if not may_have_begun(error) or "ClientToken" not in call:
                raise
            self.picture = self.picture.again()
            now = self.picture.cluster.groups[self.group].get("TargetCount")
            shell.progress(
                f"no answer ({error.reason}); {self.group} wants {now} nodes now; the same call again, with its token"
            )
            return self._one(request, call, checks)

    def _one(self, request: Request, call: Call, checks: list[shell.Check]) -> int:
        """How many nodes the answer says were taken. Raises AwsError."""
        cluster, sagemaker = self.picture.cluster, self.picture.sagemaker
        with sagemaker.asking(f"change {self.group} of {cluster.name}", cluster.arn):
            answer = getattr(sagemaker.writing, request["operation"])(**call)
        if request["operation"] == "update_cluster":
            return 1
        ids = [each["NodeLogicalId"] for each in answer.get("Successful") or []]
        request["logical_ids"] = list(dict.fromkeys([*request["logical_ids"], *ids]))
        self.journal.put(request)
        wanted = sum(each["IncrementTargetCountBy"] for each in call["NodesToAdd"])
        for each in answer.get("Failed") or []:
            code = str(each["ErrorCode"])
            words = f"{each['FailedCount']} nodes of {each['InstanceGroupName']} were not added: {ADD_REFUSALS.get(code, code)}"
            checks.append(shell.Check("scale.failed", "fail", words, shell.clean(f"{code}: {each.get('Message') or ''}", 400)))
        told = len(ids) + sum(int(each["FailedCount"]) for each in answer.get("Failed") or [])
        if told < wanted:
            checks.append(
                shell.Check(
                    "scale.unnamed",
                    "fail",
                    f"of {wanted} nodes the answer names {told}",
                    None,
                    self.picture.command("wait", cluster.name),
                )
            )
        return len(ids)

    def _refused(self, error: aws.AwsError) -> aws.AwsError:
        name = self.picture.cluster.name
        if error.reason == "ResourceLimitExceeded":
            quota = QUOTA.search(str(error))
            named = f"quota '{quota[1]}'" if quota else "quota that the message names"
            hint = f"Service Quotas, Amazon SageMaker: ask for more of the {named}; aws service-quotas list-service-quotas --service-code sagemaker"
            return aws.AwsError("conflict", error.reason, str(error), hint=hint)
        if error.reason == "ConflictException":
            return aws.AwsError(
                "conflict",
                error.reason,
                f"{error}; it is {self.picture.cluster.status}",
                hint=self.picture.command("wait", name),
                retryable=True,
            )
        if error.reason == "ValidationException":
            return aws.AwsError(error.code, error.reason, str(error), hint=f"{error.hint}; {SOFTWARE.format(name=name)}")
        return error

    def _lost(self, request: Request, error: aws.AwsError, checks: list[shell.Check]) -> shell.Result:
        """The answer did not come. Nothing is sent again before the state has been read."""
        watch = Watch(self.picture, self.journal, [Followed(request)], self.timeout_s)
        watch.run()
        one = watch.followed[0].outcomes[0]
        if one.state == FAILED and not one.begun:
            hint = f"the same call again: it looks first, and adds nothing twice. {error.hint}"
            raise aws.AwsError(error.code, error.reason, f"{error}; nothing shows that AWS took it", hint=hint, retryable=True)
        return self._result(watch.followed, [f"{self.group}: {request['before']} -> {request['target']} nodes"], checks)

    # --- the end -------------------------------------------------------------------------------------------------

    def _followed(self, request: Request, changed: list[str], checks: list[shell.Check], *, wait: bool) -> shell.Result:
        followed = [Followed(request)]
        if wait:
            try:
                Watch(self.picture, self.journal, followed, self.timeout_s).run()
            except shell.SkillError as error:
                error.data |= {"changed": changed}
                error.checks += checks
                raise
        return self._result(followed, changed, checks)

    def _result(self, followed: list[Followed], changed: list[str], checks: list[shell.Check]) -> shell.Result:
        request, name = followed[0].request, self.picture.cluster.name
        data: dict[str, Any] = {"cluster": name, "group": self.group, "before": request["before"], "target": request["target"]}
        data |= {
            "logical_ids": request.get("logical_ids") or [],
            "requests": follow.told(followed) if followed[0].outcomes else [],
        }
        verb = "nodes" if followed[0].outcomes else "wait"
        return shell.Result(data, checks + follow.checks(followed), changed, [self.picture.command(verb, name)])


def token(arn: str, request: Request) -> str:
    """Of this very request: the same numbers an hour later are another one."""
    words = f"{arn} {request['group']} {request['before']} {request['target']} {request['id']} {request['asked_at']}"
    return hashlib.sha256(words.encode()).hexdigest()[:24]


def plain(calls: list[Call]) -> list[Call]:
    """Without dates, which JSON has not; they are made anew from the cluster where the call is."""
    return calls if all("NodesToAdd" in call for call in calls) else []
