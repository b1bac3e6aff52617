"""Names of images, tags and repositories: what a registry takes, and the name that a folder gives."""

from __future__ import annotations

import re
from pathlib import Path

import trainyard_shell as shell

COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
NAME = re.compile(rf"{COMPONENT}(?:/{COMPONENT})*")
HOST = r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*|\[[0-9a-fA-F:]+\])(?::\d{1,5})?"
REPOSITORY = re.compile(rf"(?:{HOST}/)?{COMPONENT}(?:/{COMPONENT})*")
TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
REFERENCE = re.compile(rf"(?:{HOST}/)?{COMPONENT}(?:/{COMPONENT})*(?::{TAG.pattern})?(?:@sha256:[0-9a-f]{{64}})?")
MAX_NAME_CHARS = 255
"""The distribution specification's grammar; ECR takes the same names of 2 to 256 characters."""


def from_folder(folder: Path) -> str:
    """`My Training_Project!` -> my-training_project. Raises SkillError usage where nothing is left."""
    name = re.sub(r"[^a-z0-9._-]+", "-", folder.name.lower())
    name = (
        re.sub(r"([._-])[._-]*", lambda run: "-" if "-" in run[0] else run[1], name).strip("._-")[:MAX_NAME_CHARS].strip("._-")
    )
    if not NAME.fullmatch(name):
        message = f"the folder {shell.clean(folder.name, 80)!r} gives no name for an image"
        raise shell.SkillError("usage", message, hint="--image-name my-training")
    return name


def image_name(text: str) -> str:
    """Raises SkillError usage."""
    if not NAME.fullmatch(text) or len(text) > MAX_NAME_CHARS:
        message = f"--image-name {shell.clean(text, 80)!r} is not a name for an image: lower-case letters, digits, and . _ - / between them"
        raise shell.SkillError("usage", message, hint="--image-name my-training")
    return text


def tag(text: str) -> str:
    """Raises SkillError usage."""
    if not TAG.fullmatch(text):
        message = f"--image-tag {shell.clean(text, 80)!r} is not a tag: letters, digits, _ . -, at most 128 characters"
        raise shell.SkillError("usage", message, hint="--image-tag v1")
    return text


def repository(text: str) -> str:
    """A registry's repository without a tag. Raises SkillError usage."""
    if not REPOSITORY.fullmatch(text) or len(text) > MAX_NAME_CHARS:
        message = f"--push {shell.clean(text, 120)!r} is not a repository: HOST/NAME without a tag"
        raise shell.SkillError("usage", message, hint="--push 123456789012.dkr.ecr.us-east-1.amazonaws.com/my-training")
    return text


def reference(text: str) -> str:
    """An image with or without tag and digest. Raises SkillError usage."""
    if not REFERENCE.fullmatch(text) or len(text) > 2 * MAX_NAME_CHARS:
        message = f"{shell.clean(text, 120)!r} is not an image: NAME[:TAG][@sha256:DIGEST]"
        raise shell.SkillError("usage", message, hint="an image such as my-training:v1")
    return text
