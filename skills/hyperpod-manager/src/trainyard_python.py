"""Which Python runs a skill program: one that has the packages of the program's PEP 723 header.

Copied with trainyard_shell.py by `make kit`; edit it in skills/kit/ only. Standard library only.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import sys
import types

from trainyard_output import EXIT_CODES, print_document, to_stdout

MODULE_OF_PACKAGE = {"pyyaml": "yaml", "websocket-client": "websocket"}


def find_packages() -> None:
    """Re-execute once with a Python that has the packages, or end with error 8 and the command that brings them."""
    script = getattr(sys.modules.get("__main__"), "__file__", None)
    missing = _missing(_header_packages(script)) if script else []
    if not missing or not script:
        return
    home = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    candidates = [os.environ.get("TRAINYARD_PYTHON"), os.path.join(home, "trainyard", "venv", "bin", "python")]
    tried = os.environ.get("TRAINYARD_REEXECUTED")
    for python in candidates:
        if not tried and python and os.access(python, os.X_OK):
            os.environ["TRAINYARD_REEXECUTED"] = "1"
            os.execv(python, [python, script, *sys.argv[1:]])
    if {"-h", "--help"} & set(sys.argv[1:]):
        to_stdout(f"{__import__('__main__').__doc__ or script}\n")
    print_document(
        {
            "ok": False,
            "skill": os.path.basename(os.path.dirname(os.path.dirname(os.path.abspath(script)))),
            "verb": None,
            "error": {
                "code": "dependency",
                "message": f"{sys.executable} lacks {', '.join(missing)}",
                "hint": f"uv run {script} ..., or: {sys.executable} -m pip install {' '.join(missing)}, "
                "or ./install.sh in a checkout of Trainyard, or set TRAINYARD_PYTHON to a Python that has them",
                "retryable": False,
            },
            "data": {},
            "checks": [],
        }
    )
    sys.exit(EXIT_CODES["dependency"])


def claim_folders() -> None:
    """The folders beside the program are its packages, whatever a project on PYTHONPATH calls its own modules.

    They have no `__init__.py` (the skill format refuses it), and Python prefers any module of that name elsewhere to such a folder.
    """
    script, source = getattr(sys.modules.get("__main__"), "__file__", None), os.path.dirname(os.path.realpath(__file__))
    if script and os.path.dirname(os.path.realpath(script)) == source:
        for name in os.listdir(source):
            if name.isidentifier() and not name.startswith("_") and os.path.isdir(os.path.join(source, name)):
                package = types.ModuleType(name)
                package.__path__ = [os.path.join(source, name)]
                sys.modules.setdefault(name, package)


def _header_packages(script: str) -> list[str]:
    """Package names in the PEP 723 header of `script`, without those commented `# optional`; [] when it has none."""
    try:
        with open(script, encoding="utf-8") as file:
            head = file.read(4096)
    except OSError:
        return []
    block = re.search(r"^# /// script$(.*?)^# ///$", head, re.MULTILINE | re.DOTALL)
    listed = block[1].split("dependencies", 1)[-1] if block else ""
    return re.findall(r'"([A-Za-z0-9_.-]+)[^"\n]*"(?!.*# optional)', listed)


def _missing(packages: list[str]) -> list[str]:
    def module(name: str) -> str:
        return MODULE_OF_PACKAGE.get(name.lower(), name.lower().replace("-", "_"))

    return [name for name in packages if importlib.util.find_spec(module(name)) is None]


def remove_cut_bytecode() -> str:
    """A disk that was full when Python kept a module's bytecode: it wrote a part of it, and every later start fails to read that.

    Returns what to say about it.
    """
    source = os.path.dirname(os.path.realpath(sys.argv[0]))
    for folder, _, names in os.walk(source):
        for name in names if os.path.basename(folder) == "__pycache__" else []:  # of the folders in src/ too
            with contextlib.suppress(OSError):  # then the same call says the same
                os.unlink(os.path.join(folder, name))
    return f"bytecode in {source} was cut short, by a disk that was full once; it is removed, Python makes it again"
