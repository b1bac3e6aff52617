"""As whom a helper pod runs: the job's user and groups, for another user may not read or remove what the job has written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import trainyard_kube as kube
import trainyard_shell as shell

OWN_GROUP = 1000
"""To which the pods of a run give the run's own volume, unless they are told otherwise (decision 0026)."""
NOT_ROOT = 1000
"""Where the namespace refuses root and nobody says who the job is: the first user of most images."""


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Numbers; None is the image's, of `fs_group` no group."""

    user: int | None = None
    group: int | None = None
    fs_group: int | None = None

    def context(self) -> kube.Object:
        """The securityContext of a pod. It is in the volume's group and gives the volume to nobody: a look changes no owner."""
        named = {"runAsUser": self.user, "runAsGroup": self.group}
        context: kube.Object = {key: id for key, id in named.items() if id is not None}
        if self.user:
            context["runAsNonRoot"] = True
        if self.fs_group is not None:
            context["supplementalGroups"] = [self.fs_group]
        return {**context, "seccompProfile": {"type": "RuntimeDefault"}}


def of_the_job(said: Identity, pod: kube.Object | None, claim: kube.Object) -> Identity:
    """What was said, else what the job's pod says, else what a run's own volume gets."""
    spec = pod["spec"] if pod else {}
    contexts = [spec.get("securityContext") or {}]
    contexts += [each.get("securityContext") or {} for each in (spec.get("containers") or [])[:1]]
    found = {key: value for context in contexts for key, value in context.items()}
    group = OWN_GROUP if pod is None and kube.owner(claim) else None
    return Identity(
        user=_first(said.user, found.get("runAsUser")),
        group=_first(said.group, found.get("runAsGroup")),
        fs_group=_first(said.fs_group, found.get("fsGroup"), group),
    )


def _first(*ids: int | None) -> int | None:
    return next((id for id in ids if id is not None), None)


def instead_of_root(error: kube.ApiError, who: Identity) -> Identity:
    """Who else the pod may be, where the refusal is a word against root: PodSecurity's, or another policy's. Raises SkillError, or the error."""
    if error.status not in (400, 403, 422) or "runAsNonRoot" not in error.message:
        raise error
    if who.user is not None:
        message = (
            f"the namespace refuses pods of root, and the helper pod shall be user {who.user}, as the job: {error.message}"
        )
        hint = "--run-as-user N: that user can read the files that everybody, or their group, may read; or use a namespace that allows root"
        raise shell.SkillError("permission", shell.clean(message, 600), hint=hint) from error
    shell.progress(f"the namespace refuses pods of root: the helper pod is user {NOT_ROOT}; --run-as-user names another")
    return replace(who, user=NOT_ROOT)


@contextmanager
def telling_who(who: Identity) -> Iterator[None]:
    """What a helper pod may not read or write, with what can be done about it."""
    try:
        yield
    except shell.SkillError as error:
        if error.code != "permission" or isinstance(error, kube.ApiError) or not who.user:
            raise
        hint = (
            f"the helper pod was user {who.user}: give --run-as-user of the owner, or --run-as-group or --fs-group of a group with access; "
            "if the namespace refuses root, files that only root may read must first be given to the job's user (chown)"
        )
        raise shell.SkillError(error.code, str(error), hint=hint, data=error.data, checks=error.checks) from error
