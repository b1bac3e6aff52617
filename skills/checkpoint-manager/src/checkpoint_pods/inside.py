"""What runs inside a container: the verbs of checkpoint_folder/verbs.py from sources that came over stdin, and files sent out as bytes.

call.py sends this file first. Standard library only; nothing is written to the container's disk. The answer is the line that
begins with MARK, for an image may print a greeting before it; the bytes of files follow that line.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import stat
import sys
import threading
import types
from typing import Any

MARK = "trainyard-pod: "
READ_BYTES = 1 << 20


def main(ask: dict[str, Any]) -> None:
    """Answer one request: {"sources": {module: text}, "verb": ..., "words": {...}}."""
    if sys.version_info < (3, 11):  # noqa: UP036 - the image's Python, not ours
        message = "python3 in this container is " + sys.version.split()[0] + "; 3.11 or newer is needed"
        return say({"error": {"code": "dependency", "message": message, "hint": "--python PROGRAM, or --claim with --image"}})
    threading.Thread(target=end_with_the_caller, daemon=True).start()
    sys.meta_path.insert(0, SentModules(ask["sources"]))
    stand_in = types.ModuleType("click")  # trainyard_shell derives its Program from it; no verb parses words here
    stand_in.Group = object  # type: ignore[attr-defined]
    sys.modules["click"] = stand_in
    import trainyard_shell as shell

    try:
        answer(ask["verb"], ask["words"])
    except shell.SkillError as error:
        checks = [vars(check) for check in error.checks]
        words = {"code": error.code, "message": str(error), "hint": error.hint, "retryable": error.retryable}
        say({"error": words, "data": error.data, "checks": checks})


def end_with_the_caller() -> None:
    """stdin stays open for as long as somebody listens: without this a verification that nobody wants any more reads on for hours."""
    if not os.read(sys.stdin.fileno(), 1):
        os._exit(1)


class SentModules(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports the modules that were sent along. What stands before a dot in their names is a package, as a folder is on a disk."""

    def __init__(self, sources: dict[str, str]) -> None:
        self.sources = sources
        self.packages = {name[:at] for name in sources for at, letter in enumerate(name) if letter == "."}

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        if name not in self.sources and name not in self.packages:
            return None
        spec = importlib.util.spec_from_loader(name, self, origin=_file_of(name), is_package=name in self.packages)
        if spec and name in self.sources:
            spec.has_location = True  # then the module has its `__file__`, which the kit asks for
        return spec

    def exec_module(self, module: types.ModuleType) -> None:
        name = module.__name__
        if name in self.sources:
            exec(compile(self.sources[name], _file_of(name), "exec"), module.__dict__)


def _file_of(name: str) -> str:
    return f"<trainyard>/{name.replace('.', '/')}.py"


def answer(verb: str, words: dict[str, Any]) -> None:
    from checkpoint_folder import verbs
    from checkpoint_folder.rollback import rollback

    if verb == "step":
        return send_step(**words)
    if verb == "files":
        return send_files(**words)
    known: dict[str, Any] = {"list": verbs.list_, "latest": verbs.latest, "verify": verbs.verify, "prune": verbs.prune}
    known["rollback"] = rollback
    result = known[verb](**words)
    checks = [vars(check) for check in result.checks]
    say({"result": {**vars(result), "checks": checks, "ok": result.is_ok()}})


def say(document: dict[str, Any]) -> None:
    sys.stdout.write("\n" + MARK + json.dumps(document) + "\n")
    sys.stdout.flush()


# --- files ---------------------------------------------------------------------------------------------------------


def send_step(folder: str, step: int | None, dry_run: bool) -> None:
    """manifest.json and every file it lists; `step` None: of the newest step that verifies."""
    import trainyard_shell as shell
    from checkpoint_folder.look import look
    from checkpoint_folder.verdict import newest_intact
    from checkpoint_format import ANY_RUN, MANIFEST, DamagedError, check_sizes, read_manifest

    found = look(folder)
    if step is None:
        best, _ = newest_intact(found.root, found.steps)
        if best is None:
            raise shell.SkillError(
                "not-found", f"no step in {found.root} verifies", hint=f"manage_checkpoints.py list {folder}"
            )
        name = best.name
    else:
        name = found.entry_of(step).name
    path = found.root / name
    try:
        manifest = read_manifest(path, None if step is None else ANY_RUN)
        check_sizes(path, manifest)
    except DamagedError as error:
        hint = f"manage_checkpoints.py latest {folder}"
        raise shell.SkillError("conflict", f"it is damaged there: {error}", hint=hint) from error
    except OSError as error:
        message = f"{name} cannot be read there: {error.strerror}"
        raise shell.SkillError("permission", message, hint=f"manage_checkpoints.py list {folder}") from error
    identity = {"name": name, "step": manifest["step"], "run_id": manifest.get("run_id"), "digest": manifest["digest"]}
    send(str(path), [MANIFEST, *sorted(manifest["files"])], identity, dry_run)


def send_files(folder: str, names: list[str], limit_bytes: int, dry_run: bool) -> None:
    """Those of the small files of a run folder that are there."""
    import trainyard_shell as shell

    if not os.path.isdir(folder):
        raise shell.SkillError("not-found", f"no folder {folder}", hint="give the run folder: /trainyard/NAME-RUNID")
    there = [name for name in names if _size(os.path.join(folder, name)) is not None]
    for name in there:
        if (_size(os.path.join(folder, name)) or 0) > limit_bytes:
            message = f"{name} has more than {limit_bytes >> 20} MiB"
            raise shell.SkillError("usage", message, hint="--max-mib N takes more, --files leaves it out")
    send(folder, there, {"missing": [name for name in names if name not in there]}, dry_run)


def _size(path: str) -> int | None:
    """Bytes of a regular file; None for anything else, links included: a name must not lead out of the folder."""
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None


def send(folder: str, names: list[str], more: dict[str, Any], dry_run: bool) -> None:
    """The line with names and sizes, then the bytes of one file after the other. A file that shrinks ends the stream short."""
    sizes = {name: _size(os.path.join(folder, name)) or 0 for name in names}
    say({"files": [{"name": name, "size": size} for name, size in sizes.items()], "dry_run": dry_run, **more})
    for name, left in () if dry_run else sizes.items():
        descriptor = os.open(os.path.join(folder, name), os.O_RDONLY | os.O_NOFOLLOW)
        with open(descriptor, "rb", buffering=0) as file:
            while left and (part := file.read(min(left, READ_BYTES))):
                sys.stdout.buffer.write(part)
                left -= len(part)
        if left:
            sys.exit(f"{name} became shorter while it was read")
    sys.stdout.buffer.flush()
