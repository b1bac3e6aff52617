"""Which Python trains a project on this machine, where nobody has named one.

Copied with trainyard_shell.py by `make kit`; edit it in skills/kit/ only. Standard library only.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import trainyard_calls

OWN_MARK = "made-by-trainyard"
"""In the environment that install.sh makes for the skills: a project's packages are not in it."""


def project_python(source: str, environ: Mapping[str, str], caller: str) -> str:
    """The activated environment's, else that of a .venv in the project's folder or above it, else conda's, else the caller's.

    `caller`: the Python that runs this program, which is no choice of the user where the command `trainyard` has found it.
    """
    return next(iter(_candidates(source, environ, caller)), caller)


def _candidates(source: str, environ: Mapping[str, str], caller: str) -> Iterator[str]:
    places = [environ.get("VIRTUAL_ENV"), *_venvs_above(Path(os.path.abspath(source))), environ.get("CONDA_PREFIX")]
    for place in places:
        python = os.path.join(place or "", "bin", "python")
        if place and _is_program(python) and not _is_of_skills(Path(place)):
            yield python
    if not trainyard_calls.command and not _is_of_skills(Path(caller).parents[1]):
        yield caller
    folders = [each for each in environ.get("PATH", "").split(os.pathsep) if not _is_of_skills(Path(each).parent)]
    if found := shutil.which("python3", path=os.pathsep.join(folders)):
        yield found


def _venvs_above(source: Path) -> list[str]:
    home = Path(os.path.expanduser("~"))
    above = [source, *source.parents]
    if home in above:
        above = above[: above.index(home)]
    return [str(folder / ".venv") for folder in above]


def _is_program(path: str) -> bool:
    return os.access(path, os.X_OK) and not os.path.isdir(path)


def _is_of_skills(prefix: Path) -> bool:
    return (prefix / OWN_MARK).exists()
