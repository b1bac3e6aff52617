"""build_image_codebuild.py, called as users do, on an account of AWS's stand-in."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.calling import SKILLS, Answer, call
from tests.components.aws.running import Aws
from tests.components.build_host.fixtures import BuildHost
from tests.training.forking import SkillPopen

PROGRAM = SKILLS / "image-builder" / "src" / "build_image_codebuild.py"
PROJECT = "trainyard-image-builder"
ACCOUNT = "123456789012"
BUCKET = f"trainyard-builds-{ACCOUNT}-us-east-1"


@dataclass
class CodeBuild:
    aws: Aws
    host: BuildHost
    folder: Path
    user: dict[str, str] = field(default_factory=dict)
    """Whose keys the programs have; empty: the root's."""

    def environment(self, **more: str) -> dict[str, str]:
        own = {"XDG_STATE_HOME": str(self.folder / "state"), "XDG_CACHE_HOME": str(self.folder / "cache")}
        return {**self.aws.environment, **own, **self.user, **more}

    def __call__(self, *words: object, env: Mapping[str, str] | None = None, **options: Any) -> Answer:
        return call(PROGRAM, *words, env=self.environment(**(env or {})), **{"timeout_s": 90, **options})

    def started(self, *words: object, program: Path = PROGRAM) -> SkillPopen:
        """In the background, its output in pipes."""
        command = [sys.executable, str(program), *map(str, words)]
        env = {**os.environ, **self.environment()}
        return SkillPopen(command, env=env, text=True, stdin=-3, stdout=-1, stderr=-1)

    def project(self, name: str = "net", files: Mapping[str, str] | None = None) -> Path:
        """A folder whose image is one small layer, and the repository that it is pushed to."""
        folder = self.folder / name
        for path, text in {"Dockerfile": "FROM scratch\nCOPY . /app\n", "train.py": "print(1)\n", **(files or {})}.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text)
        self.repository(f"trainyard/{name}")
        return folder

    def repository(
        self, name: str, mutability: str = "IMMUTABLE_WITH_EXCLUSION", free: tuple[str, ...] = ("latest", "cache-*")
    ) -> None:
        filters = [{"filterType": "WILDCARD", "filter": each} for each in free]
        more = {"imageTagMutabilityExclusionFilters": filters} if mutability.endswith("EXCLUSION") else {}
        registry = self.aws.client("ecr")
        with contextlib.suppress(registry.exceptions.RepositoryAlreadyExistsException):
            registry.create_repository(repositoryName=name, imageTagMutability=mutability, **more)

    def builds(self) -> list[dict[str, Any]]:
        """All builds of the project, the newest first."""
        client = self.aws.client("codebuild")
        ids = client.list_builds_for_project(projectName=PROJECT).get("ids") or []
        return list(client.batch_get_builds(ids=ids)["builds"]) if ids else []

    def digest(self, repository: str, tag: str) -> str:
        found = self.aws.client("ecr").describe_images(repositoryName=repository, imageIds=[{"imageTag": tag}])
        return str(found["imageDetails"][0]["imageDigest"])
