"""A recipe -> the command line of a builder. Lists of words: nothing is quoted, no shell reads them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from build_recipe import Recipe
from builders.engines import Engine

PROVENANCE = (0, 10)
"""buildx that adds a provenance attestation, and with it an index around the image; its digest would be the index's."""


@dataclass(frozen=True)
class Output:
    """Where the image goes: a repository, a file, or with neither the docker store."""

    name: str
    tag: str
    push: str | None = None
    archive: Path | None = None

    @property
    def reference(self) -> str:
        return f"{self.push or self.name}:{self.tag}"


@dataclass(frozen=True)
class Caches:
    """`--cache-from` and `--cache-to`, in BuildKit's words; `--no-cache`."""

    sources: tuple[str, ...] = ()
    goals: tuple[str, ...] = ()
    none: bool = False


ENVIRONMENT = {"DOCKER_BUILDKIT": "1", "BUILDKIT_PROGRESS": "plain", "NO_COLOR": "1"}


def command(
    engine: Engine, recipe: Recipe, output: Output, caches: Caches, place: Path, context: Path, archive: Path | None
) -> list[str]:
    """`place` holds Dockerfile and ignore file and takes the builder's notes; `archive` is where the file is written before it is whole."""
    if engine.kind == "buildctl":
        return [engine.program, *_buildctl(recipe, output, caches, place, context, archive)]
    words = [engine.program, "buildx", "build"] if engine.kind == "buildx" else [engine.program, "build"]
    words += ["--progress=plain", "--file", str(place / "Dockerfile"), "--tag", output.reference]
    words += _docker_options(recipe, caches)
    if engine.kind == "buildx":
        words += ["--metadata-file", str(place / "metadata.json"), *_buildx_output(engine, output, archive)]
    else:
        words += ["--iidfile", str(place / "image-id")]
    return [*words, str(context)]


def _docker_options(recipe: Recipe, caches: Caches) -> list[str]:
    words: list[str] = []
    for name, value in recipe.build_args:
        words += ["--build-arg", f"{name}={value}"]
    for secret in recipe.secrets:
        words += ["--secret", secret]
    for option in recipe.options:
        words.append(f"--{option}")
    words += ["--target", recipe.target] if recipe.target else []
    words += ["--platform", recipe.platform] if recipe.platform else []
    words += ["--no-cache"] if caches.none else []
    for source in caches.sources:
        words += ["--cache-from", source]
    for goal in caches.goals:
        words += ["--cache-to", goal]
    return words


def _buildx_output(engine: Engine, output: Output, archive: Path | None) -> list[str]:
    if output.push:
        return ["--provenance=false", "--push"]
    if engine.loads and archive is None:
        return []
    # A builder in a container hands the image to the daemon as a file, which the daemon unpacks at once: not worth compressing.
    return ["--output", f"type=docker,dest={archive}" if archive else "type=docker,compression=uncompressed"]


def _buildctl(recipe: Recipe, output: Output, caches: Caches, place: Path, context: Path, archive: Path | None) -> list[str]:
    words = [
        "build",
        "--progress=plain",
        "--frontend",
        "dockerfile.v0",
        "--local",
        f"context={context}",
        "--local",
        f"dockerfile={place}",
    ]
    words += ["--opt", "filename=Dockerfile", "--metadata-file", str(place / "metadata.json")]
    for name, value in recipe.build_args:
        words += ["--opt", f"build-arg:{name}={value}"]
    for secret in recipe.secrets:
        words += ["--secret", secret]
    words += ["--opt", f"target={recipe.target}"] if recipe.target else []
    words += ["--opt", f"platform={recipe.platform}"] if recipe.platform else []
    words += ["--no-cache"] if caches.none else []
    for source in caches.sources:
        words += ["--import-cache", source]
    for goal in caches.goals:
        words += ["--export-cache", goal]
    kind = (
        f"type=image,name={output.reference},push=true"
        if output.push
        else f"type=docker,name={output.reference},dest={archive}"
    )
    return [*words, "--output", kind]
