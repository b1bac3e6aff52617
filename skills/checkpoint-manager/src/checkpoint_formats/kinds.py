"""What a file or folder is: a kind with the evidence for it, its parts, and the parts that should be there and are not.

A kind is said only where a format's own mark was found. What merely has a format's name is `unknown`, with `named_like`.
"""

from __future__ import annotations

from pathlib import Path

import trainyard_shell as shell
from checkpoint_folder.words import shown
from checkpoint_formats.file_kinds import recognise_file
from checkpoint_formats.folder_kinds import recognise_folder
from checkpoint_formats.found import Found


def recognise(path: Path) -> Found:
    """Look at a path: names, marks and headers; no tensor's bytes. SkillError when it is not there or cannot be read."""
    try:
        if path.is_dir():
            return recognise_folder(path)
        if path.is_file():
            return recognise_file(path)
        if not path.exists():
            hint = "give a checkpoint's file or folder"
            raise shell.SkillError("not-found", f"no file or folder {shown(str(path))}", hint=hint)
    except PermissionError as error:
        raise shell.SkillError("permission", f"{shown(str(error.filename))} cannot be read", hint="ls -ld it") from error
    except (OSError, ValueError) as error:  # a name too long, a NUL in it, a disk that fails
        raise shell.SkillError("not-found", f"{shown(str(path))} cannot be used: {error}", hint="check the path") from error
    raise shell.SkillError("usage", f"{shown(str(path))} is neither a file nor a folder", hint="give a checkpoint's path")
