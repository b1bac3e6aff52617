"""Why the API server said no: the exit code, the next command, and the Role rule where one would help.

`make kit` copies this file with trainyard_kube.py, which passes its names on; edit it in skills/kit/ only.
A 403 has many causes, and only one of them is a missing right: trainyard_denials.py tells them apart.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import trainyard_shell as shell
from trainyard_denials import Denial, denial_of

Object = dict[str, Any]
RULE_VERBS = {"GET": "get", "WATCH": "watch", "POST": "create", "PATCH": "patch", "DELETE": "delete", "PUT": "update"}
CODES = {400: "usage", 401: "credentials", 403: "permission", 404: "not-found", 409: "conflict", 410: "timeout", 422: "usage"}
HINTS = {
    "credentials": "the token has expired or is not known: sign in again (aws sso login, or what the kubeconfig's exec asks for)",
    "permission": "no reason is given: kubectl auth can-i shows what is allowed; else ask the cluster's administrator",
    "not-found": "kubectl get in the same namespace shows what is there; is the operator's CRD installed?",
    "conflict": "it exists, or somebody changed it at this moment: look with `status`, then repeat the call",
    "usage": "correct what the message names",
    "timeout": "the same call again",
    "unreachable": "the API server is overloaded or away: the same call again",
}


class ApiError(shell.SkillError):
    """The API server said no: `status` is the HTTP code, `reason` Kubernetes' own word (NotFound, AlreadyExists, Expired...).

    Left alone it ends the verb with the fitting exit code and a hint; catch it where a code or a `cause` means something else.
    """

    def __init__(self, status: int, reason: str, message: str, verb: str, path: str, retry_after_s: float = 0.0) -> None:
        self.status, self.reason, self.message, self.verb, self.path = status, reason, message, verb, path
        self.retry_after_s = retry_after_s
        self.signed_out = False
        """Credentials that this program has used with success are refused now: they may be renewed while somebody waits."""
        denial = denial_of(status, message)
        self.cause = denial.cause if denial else ""
        """A word of trainyard_denials.py: rbac, quota, terminating, webhook-denied...; empty where nothing is known."""
        code = denial.code if denial else CODES.get(status, "unreachable")
        words = f"cannot {self.rule['verbs'][0]} {self.rule['resources'][0]}"
        said = f"{denial.told}: " if denial and denial.told else ""
        retryable = status in (409, 410) or status >= 429
        super().__init__(code, f"{words}: {said}{message}", hint=self._hint(denial, code), retryable=retryable)

    def _hint(self, denial: Denial | None, code: str) -> str:
        if self.cause == "rbac":
            return f"a Role or ClusterRole needs this rule: {json.dumps(self.rule)}"
        return denial.hint if denial else HINTS[code]

    @property
    def rule(self) -> Object:
        """The Role rule that would allow this request."""
        parts = self.path.strip("/").split("/")
        group, rest = ("", parts[2:]) if parts[0] == "api" else (parts[1] if len(parts) > 1 else "", parts[3:])
        if rest[:1] == ["namespaces"] and len(rest) > 2:
            rest = rest[2:]
        verb = RULE_VERBS.get(self.verb, "get")
        if verb == "get" and len(rest) == 1:
            verb = "list"
        # A WebSocket begins with a GET, and from Kubernetes 1.35 on `create` is asked for too.
        verbs = ["get", "create"] if rest[2:3] == ["exec"] else [verb]
        return {"apiGroups": [group], "resources": ["/".join(rest[:1] + rest[2:3])], "verbs": verbs}


def may_return(error: shell.SkillError) -> bool:
    """Whether it is worth waiting: the API server is away, or credentials have ended that it took before."""
    return error.code == "unreachable" or (isinstance(error, ApiError) and error.signed_out)


def unknown(id: str, error: ApiError) -> shell.Check:
    """A check that could not be made: unknown, with the rule that would allow it where it is a rule that is missing. Never a pass."""
    if error.cause != "rbac":
        return shell.Check(id, "unknown", str(error), error.message, error.hint)
    summary = f"not allowed to {error.rule['verbs'][0]} {error.rule['resources'][0]}"
    return shell.Check(id, "unknown", summary, error.message, f"this rule allows it: {json.dumps(error.rule)}")


@contextmanager
def noted(id: str, checks: list[shell.Check], *, may_be_absent: bool = False) -> Iterator[None]:
    """What the caller may not read becomes an unknown check, and the work goes on. `may_be_absent`: so it does after 404."""
    try:
        yield
    except ApiError as error:
        if error.status == 403:
            checks.append(unknown(id, error))
        elif error.status != 404 or not may_be_absent:
            raise
