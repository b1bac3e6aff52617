"""What a running build has: its folder, its role's session, its log, and from DOWNLOAD_SOURCE on source, buildspec and variables."""

from __future__ import annotations

import os
import re
from pathlib import Path

from tests.components.aws.codebuild import buildspec, environment, source
from tests.components.aws.codebuild.build import Build, PhaseFailed
from tests.components.aws.codebuild.logs import Log
from tests.components.aws.codebuild.role import Session
from tests.components.aws.codebuild.shell import Shell

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
BUILDSPEC_BYTES = 1 << 20


class Work:
    def __init__(self, build: Build, session: Session, folder: Path) -> None:
        self.build, self.session, self.folder = build, session, folder
        self.source, self.home, self.scripts = folder / "src", folder / "home", folder / "tmp"
        for each in (self.source, self.home, self.scripts):
            each.mkdir(parents=True)
        self.log = Log(session.client("logs"), build)
        self.spec: buildspec.Buildspec
        self.shell: Shell

    def download(self) -> None:
        """The phase DOWNLOAD_SOURCE. Raises PhaseFailed."""
        for line in ("Running on CodeBuild On-demand", "Waiting for agent ping", "Waiting for DOWNLOAD_SOURCE"):
            self.log.container(line)
        try:
            with self.build.phase("DOWNLOAD_SOURCE"):
                self.log.container("Phase is DOWNLOAD_SOURCE")
                source.fetch(self.build, self.session.client("s3"), self.source)
                self.log.container(f"CODEBUILD_SRC_DIR={self.source}")
                self.spec = self.read_buildspec()
                self.prepare()
        except PhaseFailed as failed:
            self.phase_line("DOWNLOAD_SOURCE", failed.status, failed.code, failed.message)
            raise
        self.phase_line("DOWNLOAD_SOURCE", "SUCCEEDED")

    def read_buildspec(self) -> buildspec.Buildspec:
        try:
            return buildspec.read(self.buildspec_text())
        except buildspec.BuildspecError as error:
            raise PhaseFailed("YAML_FILE_ERROR", str(error)) from error

    def buildspec_text(self) -> str:
        """The text itself, the ARN of an object of the same region, or a path in the source."""
        given = self.build.settings["source"].get("buildspec") or "buildspec.yml"
        if "\n" in given:
            self.log.container("YAML location is /codebuild/readonly/buildspec.yml")
            return str(given)
        if found := re.fullmatch(r"arn:aws[a-z-]*:s3:::([^/]+)/(.+)", given):
            answer = self.session.client("s3").get_object(Bucket=found[1], Key=found[2])
            return str(answer["Body"].read(BUILDSPEC_BYTES).decode())
        file = self.source / given
        self.log.container(f"YAML location is {file}")
        if not file.is_file() or not file.resolve().is_relative_to(self.source.resolve()):
            raise buildspec.BuildspecError("YAML file does not exist")
        return file.read_text()

    def prepare(self) -> None:
        """Variables and the shell."""
        self.log.container("Processing environment variables")
        values, self.log.masked = environment.variables(self.build, self.spec, self.session)
        variables = {"PATH": os.environ.get("PATH", PATH), **self.session.world.build_environment, **values}
        variables |= environment.own(self.build, self.session, self.source, self.home)
        self.log.container(f"Moving to directory {self.source}")
        counted = [(name.upper(), len(phase.commands)) for name, phase in self.spec.phases.items()]
        self.log.container(f"Phases found in YAML: {len(counted)}")
        for name, count in counted:
            self.log.container(f" {name}: {count} commands")
        self.shell = Shell(self.spec.shell, self.scripts, variables, self.source, self.log.line, self.check)
        self.variables = variables

    def check(self) -> None:
        """Called all the time while a command runs."""
        self.log.tick()
        self.build.check()

    def phase_line(self, phase: str, status: str, code: str = "", message: str = "") -> None:
        self.log.container(f"Phase complete: {phase} State: {status}")
        self.log.container(f"Phase context status code: {code} Message: {message}")

    def close(self) -> None:
        """Nothing that the build started lives on, and its log is whole."""
        if hasattr(self, "shell"):
            self.shell.end()
        self.log.close()
        self.session.world.credentials.pop(self.session.path, None)
