"""environment.yml and conda's words (`pytorch=2.4.*`, `pytorch::pytorch-cuda=12.1`) as requirements."""

from __future__ import annotations

import re
from typing import Any

import trainyard_yaml
import yaml
from asked.files import Folder, line_of
from asked.requirements import Requirements, of_lines
from asked.versions import specifiers
from asked.wants import Place, Want
from image_tables import table
from packaging.utils import canonicalize_name
from trainyard_files import Unusable

CONDA = frozenset({"conda"})
"""What `Want.options` of conda's own packages holds."""
SPEC = re.compile(r"(?:[a-z0-9_./-]+::)?(?P<name>[a-z0-9_][a-z0-9._-]*)\s*(?P<versions>[=<>!~ ].*)?", re.IGNORECASE | re.ASCII)


def conda_want(text: str, place: Place) -> Want | None:
    """One spec of conda; None for what is none (a URL, a file, an option)."""
    match = SPEC.fullmatch(text.strip())
    if not match:
        return None
    asked = match["name"]
    name = str(table("package_rules")["conda"]["names"].get(asked.lower(), asked))
    allowed = specifiers(_versions((match["versions"] or "").strip()))
    if allowed is None:
        return None
    return Want(canonicalize_name(name), asked, place, allowed, text=text, options=CONDA)


def on_index(each: Want) -> bool:
    """Whether pip's index has a package of this name that is the same; compilers, libraries and drivers are conda's alone."""
    rules = table("package_rules")["conda"]["only"]
    return each.options != CONDA or not any(re.fullmatch(rule, each.name) for rule in rules)


def _versions(text: str) -> str:
    """conda's `=1.2` is a prefix, `1.2` too, `==1.2` is exact; what follows a second `=` or a blank is the build."""
    found = []
    for part in filter(None, text.replace(" ", "").split(",")):
        match = re.fullmatch(r"(==|=|<=|>=|<|>|!=|~=)?([0-9][0-9a-z.+!]*)(\.?\*)?(?:=.*)?", part, re.IGNORECASE)
        if not match:
            continue
        operator, version, star = match.groups()
        prefix = operator in (None, "=") or bool(star)
        found.append(
            f"{'==' if operator in (None, '=') else operator}{version}{'.*' if prefix and operator in (None, '=', '==', '!=') else ''}"
        )
    return ",".join(found)


def read(folder: Folder, name: str) -> tuple[list[Want], Requirements]:
    """The packages of conda, and what its part for pip asks for. What is no environment is noted in the folder."""
    text = folder.text(name)
    if text is None:
        return [], Requirements()
    try:
        value = trainyard_yaml.load(text)
    except (Unusable, yaml.YAMLError) as error:
        folder.refuse(name, f"it is not YAML: {str(error)[:150]}")
        return [], Requirements()
    entries = value.get("dependencies") if isinstance(value, dict) else None
    if not isinstance(entries, list):
        folder.refuse(name, "it has no list `dependencies`")
        return [], Requirements()
    wants, lines = _entries(entries, text, name)
    return wants, of_lines(folder, lines)


def _entries(entries: list[Any], text: str, name: str) -> tuple[list[Want], list[tuple[str, Place]]]:
    wants: list[Want] = []
    pip: list[tuple[str, Place]] = []
    for entry in entries:
        if isinstance(entry, str) and (each := conda_want(entry, Place(name, line_of(text, entry)))):
            wants.append(each)
        elif isinstance(entry, dict) and isinstance(entry.get("pip"), list):
            start = line_of(text, "pip:")
            pip += [(str(line), Place(name, line_of(text, str(line), start))) for line in entry["pip"]]
    return wants, pip
