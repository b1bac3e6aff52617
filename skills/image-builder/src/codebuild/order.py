"""One image that is to be built on CodeBuild, and how that ended."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import build_several
import trainyard_shell as shell
from attempts.trying import Attempts
from build_recipe import Recipe
from build_source import Source
from codebuild import one, packing
from codebuild.ask import Ask
from codebuild.compute import Machine
from codebuild.one import Place
from codebuild.options import Options
from trainyard_codebuild import Build


@dataclass(frozen=True)
class Order:
    """One image: its source, its name, where it is built."""

    source: Source
    name: str
    tag: str
    place: Place
    machine: Machine
    options: Options
    more_gb: float
    """What comes to the base image: the context and large packages, unpacked."""
    prefix: str = ""
    found: tuple[shell.Check, ...] = ()

    @property
    def checks(self) -> list[shell.Check]:
        return build_several.told(self.prefix, [*build_several.checks(self.source), *self.found])

    @property
    def image(self) -> str:
        return self.place.repository.uri

    @property
    def reference(self) -> str:
        return f"{self.image}:{self.tag}"

    def already(self) -> Build | None:
        """The build that has made this image before. A tag that is asked for has to be the image's own. Raises as `one.already`."""
        return one.already(self.place, self.ask(self.source.recipe), any_tag=self.options.tag == "auto")

    def ask(self, recipe: Recipe) -> Ask:
        minutes = min(2160, max(5, int(-(-self.options.timeout_s // 60))))
        queued = min(480, max(5, int(-(-self.options.queue_s // 60))))
        return Ask(
            name=self.name,
            tag=self.tag,
            dockerfile=packing.DOCKERFILE,
            platform=recipe.platform or "linux/amd64",
            target=recipe.target,
            build_args=tuple(f"{name}={value}" for name, value in recipe.build_args),
            no_cache=self.options.no_cache,
            secrets=packing.secret_words(recipe),
            kept_secrets=self.options.secrets,
            source_digest=self.source.recipe.source_digest,
            timeout_minutes=minutes,
            queued_minutes=queued,
        )


@dataclass
class Ended:
    """How one order ended."""

    order: Order
    attempts: Attempts[Build]
    builds: list[str]
    changed: list[str]
    log: Path | None = None
    reused: Build | None = None
    error: shell.SkillError | None = None
    started: Build | None = None
    """With --no-wait: the build that was left running."""
