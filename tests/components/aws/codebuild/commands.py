"""The phases that run commands, and which of them follows a failure.

https://docs.aws.amazon.com/codebuild/latest/userguide/view-build-details-phases.html
"""

from __future__ import annotations

import re

from tests.components.aws.codebuild import artifacts
from tests.components.aws.codebuild.build import PhaseFailed
from tests.components.aws.codebuild.buildspec import PHASES, Phase
from tests.components.aws.codebuild.work import Work


def run_phases(job: Work) -> str:
    """From INSTALL to UPLOAD_ARTIFACTS; the build's status. Raises Interrupted."""
    status, goes_on = "SUCCEEDED", True
    for name in PHASES:
        if not goes_on:
            break
        try:
            run_phase(job, name)
        except PhaseFailed as failed:
            status = failed.status
            job.variables["CODEBUILD_BUILD_SUCCEEDING"] = "0"
            job.shell.run("export CODEBUILD_BUILD_SUCCEEDING=0")
            goes_on = goes_on_after(job, name)
    export(job)
    try:
        upload(job)
    except PhaseFailed as failed:
        status = failed.status
    return status


def goes_on_after(job: Work, name: str) -> bool:
    """Whether the next phase runs after this one failed: POST_BUILD does after BUILD, unless the buildspec says otherwise."""
    following = job.spec.phases.get(name, Phase()).on_failure
    if following.next == "RETRY" and re.search(following.pattern, "\n".join(job.log.recent)):
        job.build.retry_limit = following.times
    if following.next:
        return following.next == "CONTINUE"
    return name in ("build", "post_build")


def run_phase(job: Work, name: str) -> None:
    shown, phase = name.upper(), job.spec.phases.get(name, Phase())
    job.log.container(f"Entering phase {shown}")
    job.log.recent.clear()
    try:
        with job.build.phase(shown):
            try:
                run_commands(job, phase.commands)
            finally:
                run_commands(job, phase.finally_commands)
    except PhaseFailed as failed:
        job.phase_line(shown, failed.status, failed.code, failed.message)
        raise
    job.phase_line(shown, "SUCCEEDED")


def run_commands(job: Work, commands: tuple[str, ...]) -> None:
    """Raises PhaseFailed at the first that fails."""
    for command in commands:
        job.build.check()
        job.log.container(f"Running command {command}")
        if not job.spec.one_shell:
            job.shell.end()
            job.shell.environment, job.shell.cwd = dict(job.variables), job.source
        code = job.shell.run(command)
        job.log.line("")
        if code:
            job.log.container(f"Command did not exit successfully {command} exit status {code}")
            message = f"Error while executing command: {command}. Reason: exit status {code}"
            raise PhaseFailed("COMMAND_EXECUTION_ERROR", message)


def export(job: Work) -> None:
    """The variables that the buildspec exports, as the shell last had them."""
    found = job.shell.environment
    names = [name for name in job.spec.exported if name in found and not name.startswith("AWS_")]
    secret = {*job.spec.parameters, *job.spec.secrets}
    values = [{"name": name, "value": found[name]} for name in names if name not in secret]
    job.build.update(exportedEnvironmentVariables=values)


def upload(job: Work) -> None:
    """The phase UPLOAD_ARTIFACTS, which comes after a failure too."""
    try:
        with job.build.phase("UPLOAD_ARTIFACTS"):
            artifacts.upload(job.build, job.spec.artifacts, job.session.client("s3"), job.source, job.log)
    except PhaseFailed as failed:
        job.phase_line("UPLOAD_ARTIFACTS", failed.status, failed.code, failed.message)
        raise
    job.phase_line("UPLOAD_ARTIFACTS", "SUCCEEDED")
