"""uv.lock: the versions that uv has chosen, as far as Linux and the extras in force take them."""

from __future__ import annotations

import re
import tomllib
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import trainyard_files
from asked.files import Folder, line_of
from asked.versions import specifiers
from asked.wants import Place, Want, applies
from packaging.utils import canonicalize_name

MAX_BYTES = 8 << 20
Package = dict[str, Any]


def lock(folder: Folder, extras: Iterable[str], python: str, name: str = "uv.lock") -> list[Want]:
    """Every package once, with its version and the index it comes from. What is no lock file is noted in the folder."""
    text = folder.text(name, MAX_BYTES)
    if text is None:
        return []
    try:
        trainyard_files.check_nesting(text.encode())
        packages = [each for each in tomllib.loads(text).get("package", []) if isinstance(each, dict)]
    except (tomllib.TOMLDecodeError, trainyard_files.Unusable, RecursionError, AttributeError, TypeError, ValueError) as error:
        folder.refuse(name, f"it is not TOML: {error}")
        return []
    lines = [number for number, line in enumerate(text.splitlines(), start=1) if line.strip() == "[[package]]"]
    places = {id(each): Place(name, line_of(text, "name", line)) for each, line in zip(packages, lines, strict=False)}
    taken = _taken(packages, set(extras), python)
    return [found for each in taken if (found := _want(each, places.get(id(each), Place(name, 1)))) is not None]


def _want(each: Package, place: Place) -> Want | None:
    name, version, source = each.get("name"), each.get("version"), each.get("source")
    source = source if isinstance(source, dict) else {}
    allowed = specifiers(f"=={version}")
    if (
        not isinstance(name, str)
        or not isinstance(version, str)
        or allowed is None
        or not re.fullmatch(r"[A-Za-z0-9._-]{1,200}", name)
    ):
        return None
    index, url = source.get("registry"), source.get("git") or source.get("url")
    if not isinstance(index, str | None) or {"virtual", "editable", "directory", "path"} & source.keys():
        return None
    indexes = (index,) if index and "://" in index else ()
    return Want(
        canonicalize_name(name), name, place, allowed, url=str(url) if url else None, indexes=indexes
    )  # no edit of a lock


def _taken(packages: list[Package], extras: set[str], python: str) -> list[Package]:
    """From the project itself along its dependencies; all packages where the file does not say which one that is."""
    roots = [
        each for each in packages if _source(each) & {"virtual", "editable"} and isinstance(each.get("dependencies"), list)
    ]
    roots = [each for each in roots if "." in each["source"].values()] or roots
    by_name: dict[str, list[Package]] = defaultdict(list)
    for each in packages:
        by_name[str(each.get("name"))].append(each)
    waiting: list[tuple[Package, tuple[str, ...]]] = [(each, tuple(extras)) for each in roots]
    taken: dict[int, Package] = {}
    seen: set[tuple[int, tuple[str, ...]]] = set()
    while waiting:
        package, wanted = waiting.pop()
        if (id(package), wanted) in seen:
            continue
        seen.add((id(package), wanted))
        taken[id(package)] = package
        more = package.get("optional-dependencies")
        lists = [package.get("dependencies"), *(more.get(extra) for extra in wanted if isinstance(more, dict))]
        for each in (row for rows in lists if isinstance(rows, list) for row in rows if isinstance(row, dict)):
            if _holds(each, python):
                more_of = each.get("extra")
                inner = tuple(sorted(map(str, more_of))) if isinstance(more_of, list) else ()
                waiting += [(found, inner) for found in by_name[str(each.get("name"))] if _is(found, each)]
    return list(taken.values()) if roots else packages


def _source(each: Package) -> set[str]:
    source = each.get("source")
    return set(source) if isinstance(source, dict) else set()


def _holds(row: Package, python: str) -> bool:
    marker = row.get("marker")
    return not isinstance(marker, str) or applies(Want("x", "x", Place("", 1), marker=marker), python)


def _is(package: Package, row: Package) -> bool:
    """A row names version and source only where the file has several of that name."""
    return all(row.get(key) is None or package.get(key) == row[key] for key in ("version", "source"))
