"""What to do about a failed build where CodeBuild's way differs from a Docker's here: no --network, no `docker login` of the caller's."""

from __future__ import annotations

from dataclasses import replace

from attempts.trying import Attempts
from trainyard_codebuild import Build

FIXES = {
    "network": "is the server's name right (FROM, an index)? A project in a VPC reaches the internet through a NAT gateway only;"
    " HTTPS_PROXY as --build-arg is for RUN, and FROM does not see it; else the same call again",
    "base-image": "correct the name or the tag of the image: `base_image_selector.py select FOLDER`; a private one has to be in ECR,"
    " where the project's role may pull it",
    "rate-limit": "the same image from public.ecr.aws/docker/library",
    "disk-full": "a larger --compute-type",
    "memory": "a larger --compute-type, or fewer jobs at once (MAX_JOBS)",
    "registry-login": "the project's role needs ecr:GetAuthorizationToken; an image of another registry has to be public",
    "missing-secret": "--secret id=NAME,secretsmanager=SECRET, and the same NAME in RUN --mount=type=secret,id=NAME",
    "builder-gone": "the same call again",
}
"""In the place of the class's own fix (assets/build_failures.yaml), by class."""


def for_codebuild(attempts: Attempts[Build]) -> Attempts[Build]:
    """With the fixes that can be done here."""
    for row in attempts.rows:
        row["fix"] = FIXES.get(row["class"], row["fix"])
    if attempts.cause is not None:
        attempts.cause = replace(attempts.cause, fix=FIXES.get(attempts.cause.kind, attempts.cause.fix))
    return attempts
