"""Put a new file or folder into its place: whole or not at all, and never over something that is there."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import trainyard_shell as shell
from checkpoint_folder.words import shown
from trainyard_files import sync_folder


def check_free(out: Path) -> None:
    """SkillError unless `out` does not exist and the folder it goes into does."""
    if os.path.lexists(out):
        raise shell.SkillError(
            "conflict", f"{shown(str(out))} exists", hint="give a name that is not there; nothing is overwritten"
        )
    if not out.parent.is_dir():
        raise shell.SkillError("not-found", f"no folder {shown(str(out.parent))}", hint=f"mkdir -p {shown(str(out.parent))}")


@contextlib.contextmanager
def placed(out: Path, *, folder: bool) -> Iterator[Path]:
    """A temporary path beside `out` to write to; on success it becomes `out`, on failure it goes. SkillError for what the disk says."""
    check_free(out)
    temporary = out.parent / f".{out.name}.{os.getpid()}.tmp"
    try:
        if folder:
            temporary.mkdir()
        yield temporary
        _publish(temporary, out, folder)
        sync_folder(out.parent)
    except OSError as error:
        raise shell.cannot_write(
            shown(str(out)), error, "free space, or give another place; nothing was left behind"
        ) from error
    finally:
        if folder:
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            temporary.unlink(missing_ok=True)


def _publish(temporary: Path, out: Path, folder: bool) -> None:
    if folder:
        sync_folder(temporary)
        check_free(out)  # rename would replace an empty folder
        temporary.rename(out)
        return
    try:
        os.link(temporary, out)  # unlike rename it refuses a name that exists
    except FileExistsError:
        check_free(out)
    except OSError:  # a file system without hard links
        check_free(out)
        temporary.rename(out)
