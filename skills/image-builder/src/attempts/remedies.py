"""What is tried after a failure: each remedy takes the recipe that failed and its cause, and gives another recipe, or None.

All of them change the build's own copy. What changed is shown as a diff; the user's files stay as they are.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import replace
from pathlib import Path

from attempts import edits
from attempts.causes import Cause
from attempts.system_packages import INSTALL
from build_recipe import Recipe
from dockerfiles.text import Instruction, json_words

JOBS = 2
AUTHORITY = "trainyard-ca"
AUTHORITY_FILES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "PIP_CERT", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS")
BUNDLES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")


def _with(recipe: Recipe, text: str | None, what: str) -> tuple[str, Recipe] | None:
    return (what, replace(recipe, dockerfile=text)) if text is not None and text != recipe.dockerfile else None


def fewer_jobs(recipe: Recipe, cause: Cause) -> tuple[str, Recipe] | None:
    """ARG, not ENV: it holds while the image is built and is not in it. The next time one job."""
    jobs = 1 if f"ARG MAX_JOBS={JOBS}\n" in recipe.dockerfile else JOBS
    lines = [f"ARG MAX_JOBS={jobs}", f"ARG CMAKE_BUILD_PARALLEL_LEVEL={jobs}", f"ARG MAKEFLAGS=-j{jobs}"]
    return _with(recipe, edits.before(recipe, cause.cut, lines), f"at most {jobs} compilations at once")


def more_patience(recipe: Recipe, cause: Cause) -> tuple[str, Recipe] | None:
    if "ARG PIP_RETRIES=" in recipe.dockerfile:
        return None
    lines = ["ARG PIP_RETRIES=7", "ARG PIP_DEFAULT_TIMEOUT=60", "ARG UV_HTTP_TIMEOUT=120"]
    return _with(recipe, edits.before(recipe, cause.cut, lines), "more retries and longer time-outs for pip and uv")


def from_ecr_public(recipe: Recipe, cause: Cause) -> tuple[str, Recipe] | None:
    """Docker Hub's official images are mirrored in ECR Public under docker/library."""
    text = recipe.dockerfile
    for image in recipe.bases:
        name = image.removeprefix("docker.io/").removeprefix("library/")
        if "/" not in name:
            text = re.sub(
                rf"(?im)^(\s*FROM\s+(?:--\S+\s+)*){re.escape(image)}(?=\s|$)",
                rf"\g<1>public.ecr.aws/docker/library/{name}",
                text,
            )
    return _with(recipe, text, "the same official images from their mirror in ECR Public")


def own_authority(recipe: Recipe, cause: Cause) -> tuple[str, Recipe] | None:
    """This machine's certificates as a secret of each RUN of the stage: they are in no layer."""
    bundle = authority_file()
    found = edits.failed(recipe, cause.cut)
    if bundle is None or found is None or any(AUTHORITY in each for each in recipe.secrets):
        return None
    stage, run = found
    text = recipe.dockerfile
    for each in reversed([each for each, _ in stage.body if each.keyword == "RUN" and each.line >= run.line]):
        text = _mounted(text, each)
    lines = [f"ARG {name}=/run/secrets/{AUTHORITY}" for name in AUTHORITY_FILES]
    with_lines = edits.before(replace(recipe, dockerfile=text), cause.cut, lines)
    if with_lines is None:
        return None
    secrets = (*recipe.secrets, f"id={AUTHORITY},src={bundle}")
    return f"the certificates of this machine ({bundle}) as a secret of the build", replace(
        recipe, dockerfile=with_lines, secrets=secrets
    )


def _mounted(text: str, each: Instruction) -> str:
    """The RUN with the secret, readable for whichever user runs it."""
    lines = text.split("\n")
    mount = f"RUN --mount=type=secret,id={AUTHORITY},mode=0444 "
    lines[each.line - 1] = re.sub(r"(?i)^\s*RUN\s+", lambda _: mount, lines[each.line - 1], count=1)
    return "\n".join(lines)


def authority_file() -> Path | None:
    """The certificates that this machine trusts."""
    named = [os.environ.get(name) for name in AUTHORITY_FILES]
    found = [Path(each) for each in (*named, *BUNDLES) if each and Path(each).is_file() and "," not in each]
    return found[0] if found else None


def install_git(recipe: Recipe, cause: Cause) -> tuple[str, Recipe] | None:
    return _installed(
        recipe, cause, INSTALL.format(apt="git ca-certificates", dnf="git", apk="git"), "git is installed before that step"
    )


def install_compiler(recipe: Recipe, cause: Cause) -> tuple[str, Recipe] | None:
    line = INSTALL.format(
        apt="build-essential cmake ninja-build",
        dnf="gcc gcc-c++ make cmake ninja-build python3-devel",
        apk="build-base cmake ninja python3-dev",
    )
    return _installed(recipe, cause, line, "compilers are installed before that step")


def _installed(recipe: Recipe, cause: Cause, line: str, what: str) -> tuple[str, Recipe] | None:
    if line in recipe.dockerfile:
        return None
    return _with(recipe, edits.before_as_root(recipe, cause.cut, [line]), what)


def as_root(recipe: Recipe, cause: Cause) -> tuple[str, Recipe] | None:
    """Only for an installer of the system's packages: what else is refused may be refused for a reason."""
    found = edits.failed(recipe, cause.cut)
    if found is None or not re.search(r"\b(?:apt-get|apt|dnf|yum|apk)\b", found[1].value):
        return None
    user = edits.user_at(*found)
    if user is None:
        return None
    lines = recipe.dockerfile.split("\n")[found[1].line - 1 : edits.last_line(found[1])]
    text = edits.replaced(recipe.dockerfile, found[1], ["USER root", *lines, f"USER {user}"])
    return _with(recipe, text, f"root installs the packages; the user {user} comes back behind it")


def managed_python(recipe: Recipe, cause: Cause) -> tuple[str, Recipe] | None:
    """PEP 668 guards a system that people work on; an image is made of nothing else than this Dockerfile."""
    if "ARG PIP_BREAK_SYSTEM_PACKAGES=" in recipe.dockerfile:
        return None
    text = edits.before(recipe, cause.cut, ["ARG PIP_BREAK_SYSTEM_PACKAGES=1", "ARG UV_BREAK_SYSTEM_PACKAGES=1"])
    return _with(recipe, text, "pip may install into the image's own Python")


def system_python(recipe: Recipe, cause: Cause) -> tuple[str, Recipe] | None:
    """ARG, not ENV: it holds while the image is built and is not in it."""
    if "ARG UV_SYSTEM_PYTHON=" in recipe.dockerfile:
        return None
    return _with(recipe, edits.before(recipe, cause.cut, ["ARG UV_SYSTEM_PYTHON=1"]), "uv installs into the image's own Python")


def without_isolation(recipe: Recipe, cause: Cause) -> tuple[str, Recipe] | None:
    """pip's setting is named after the option --no-build-isolation: 0 means that the isolation is off."""
    found = edits.failed(recipe, cause.cut)
    if "ARG PIP_NO_BUILD_ISOLATION=" in recipe.dockerfile or found is None or "--no-build-isolation" in found[1].value:
        return None
    text = edits.before(recipe, cause.cut, ["ARG PIP_NO_BUILD_ISOLATION=0"])
    return _with(recipe, text, "the package is built with what is installed, torch above all (--no-build-isolation)")


def devel_image(recipe: Recipe, cause: Cause) -> tuple[str, Recipe] | None:
    """pytorch/pytorch has nvcc under the tag that ends in -devel."""
    text = re.sub(
        r"(?im)^(\s*FROM\s+(?:--\S+\s+)*(?:docker\.io/)?pytorch/pytorch:\S+)-runtime(?=\s|$)", r"\1-devel", recipe.dockerfile
    )
    return _with(recipe, text, "the -devel image of the same version, which has nvcc")


def without_link(recipe: Recipe, cause: Cause) -> tuple[str, Recipe] | None:
    """COPY --link only changes how layers are cached."""
    lines = recipe.dockerfile.split("\n")
    for stage in recipe.parsed.stages:
        for each, _ in stage.body:
            if each.keyword in ("COPY", "ADD") and "link" in each.flags:
                lines[each.line - 1] = re.sub(r"\s--link(?:=\S+)?(?=\s)", "", lines[each.line - 1], count=1)
    return _with(recipe, "\n".join(lines), "COPY without --link")


def without_heredocs(recipe: Recipe, cause: Cause) -> tuple[str, Recipe] | None:
    """`RUN <<EOF` as a list of words, which every builder knows; a heredoc with more around it stays."""
    text = recipe.dockerfile
    for stage in reversed(recipe.parsed.stages):
        if any(each.keyword == "SHELL" for each, _ in stage.body):
            continue
        for each, _ in reversed(stage.body):
            words = _shell_words(each) if each.keyword == "RUN" and each.heredocs else None
            if words is not None:
                flags = "".join(f"--{name}={value} " for name, said in each.flags.items() for value in said.split("\n"))
                text = edits.replaced(text, each, [f"RUN {flags}{json.dumps(words)}"])
    return _with(recipe, text, "RUN with a heredoc as RUN with a list of words")


def _shell_words(each: Instruction) -> list[str] | None:
    if len(each.heredocs) != 1 or json_words(each.value) is not None:
        return None
    here = each.heredocs[0]
    program = re.fullmatch(
        r"((?:/bin/)?(?:ba)?sh(?: -[a-z]+)*)?\s*<<-?\s*['\"]?" + re.escape(here.name) + r"['\"]?", each.value.strip()
    )
    if program is None or here.body.startswith("#!"):
        return None
    if not program[1]:
        return ["/bin/sh", "-c", here.body]
    # The heredoc is the shell's input, and there `$X` was filled by the builder unless the name was quoted.
    return [*program[1].split(), "-c", here.body] if not here.expand or "$" not in here.body else None


def fix_conflicts(recipe: Recipe, cause: Cause) -> tuple[str, Recipe] | None:
    """What `conflict_analyzer.py check --fix` would change."""
    import datetime

    from asked.files import Folder
    from conflicts import fix
    from conflicts.answer import judged
    from conflicts.scene import scene
    from image_project import read_project

    folder = Folder(recipe.folder)
    name = None if recipe.generated else recipe.dockerfile_name
    found = scene(read_project(folder, name), None, None, datetime.date.today())
    bad = [each for each in judged(found) if each.status == "fail"]
    changes = fix.edited(folder, (edit for each in bad for edit in each.edits))
    text = recipe.dockerfile
    files = dict(recipe.files)
    for changed, (_, after) in changes.files.items():
        if changed == recipe.dockerfile_name:
            text = after if text == changes.files[changed][0] else text
        else:
            files[changed] = after.encode()
    if text == recipe.dockerfile and files == dict(recipe.files):
        return None
    told = ", ".join(sorted({each.id for each in bad if changes.made.intersection(each.edits)}))
    return f"what conflict_analyzer.py can correct: {told}", replace(
        recipe, dockerfile=text, files=tuple(sorted(files.items()))
    )
