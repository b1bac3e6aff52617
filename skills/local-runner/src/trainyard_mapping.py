"""A job file (YAML) or a request on stdin (JSON), read within bounds into a plain mapping: what is no mapping is refused in words.

trainyard_request.py makes structs of it. `make kit` copies this file byte for byte; edit it in skills/kit/ only.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import trainyard_shell as shell
import trainyard_yaml
import yaml
from trainyard_files import Unusable, parse

MAX_BYTES = 1_000_000


class StrictLoader(yaml.SafeLoader):
    """SafeLoader that refuses a key that stands twice in one mapping: YAML would keep the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: dict[str, int] = {}
        for key_node, _ in node.value:
            if isinstance(key_node, yaml.ScalarNode) and key_node.tag != "tag:yaml.org,2002:merge":
                line = key_node.start_mark.line + 1
                if key_node.value in seen:
                    problem = f"the key {key_node.value!r} stands twice, first in line {seen[key_node.value]}"
                    raise yaml.constructor.ConstructorError(None, None, problem, key_node.start_mark)
                seen[key_node.value] = line
        return super().construct_mapping(node, deep)


def read_mapping(path: Path) -> dict[str, Any]:
    """The mapping in the YAML file at `path`.

    Raises SkillError: not-found (no such file), permission, usage (not a YAML mapping, with line and column).
    """
    value = _parse(path)
    if value is None:
        raise shell.SkillError("usage", f"{path} is empty", hint="a job file needs at least `name:` and `run:`")
    if not isinstance(value, dict):
        raise shell.SkillError("usage", f"$: expected a mapping (key: value) in {path}, got a {type(value).__name__}")
    return value


def _parse(path: Path) -> Any:
    try:
        if path.is_dir():
            raise shell.SkillError("usage", f"{path} is a folder", hint=f"name the job file, such as {path / 'job.yaml'}")
        return trainyard_yaml.read(path, limit_bytes=MAX_BYTES, loader=StrictLoader)
    except FileNotFoundError as error:
        raise shell.SkillError("not-found", f"no job file {path}", hint="give the path of a job file (YAML)") from error
    except PermissionError as error:
        raise shell.SkillError("permission", f"the job file {path} may not be read") from error
    except OSError as error:
        raise shell.SkillError("usage", f"{path}: {error.strerror}") from error
    except Unusable as error:
        raise shell.SkillError(
            "usage", f"not a job file: {shell.clean(str(error), 400)}", hint="a job file is a page of YAML"
        ) from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = error.problem or error.context or "not YAML"
        if "'\\t'" in problem:
            problem = "a tab; YAML indents with spaces only"
        raise shell.SkillError("usage", f"{path}{where}: {problem}", hint="correct the file and repeat the call") from error
    except yaml.YAMLError as error:
        raise shell.SkillError("usage", f"{path} is not YAML: {error}") from error


def read_stdin() -> Any:
    """The JSON value on stdin. Raises SkillError usage."""
    raw = sys.stdin.buffer.read(MAX_BYTES + 1)
    try:
        if len(raw) > MAX_BYTES:
            raise Unusable(f"it is longer than {MAX_BYTES} bytes")
        value = parse(raw)
        json.dumps(value, ensure_ascii=False).encode()
        return value
    except UnicodeEncodeError as error:
        raise shell.SkillError("usage", "stdin holds no request: half of a surrogate pair, which is not a character") from error
    except Unusable as error:
        raise shell.SkillError("usage", f"stdin holds no request: {error}", hint="a JSON document, as in run.json") from error
