"""Is a step intact? The one answer for everybody who asks: restore, retention, `verify`, `latest`, `list`. Standard library only.

Two depths. The cheap one (`checkpoint_format.read_manifest` and `check_sizes`, used by `scan`) reads manifests and sizes. The full one,
here, also reads state.json, the shards' headers and every byte. A restore asks for it in two parts, `open_step` and `verify_files`,
because each rank reads only some of the files; together they raise exactly where `judge` says "damaged".
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

IN_TRAINYARD = bool(__package__)
if IN_TRAINYARD:
    from trainyard import checkpoint_bytes as raw
    from trainyard import checkpoint_contents as contents
    from trainyard import checkpoint_format as fmt
else:  # a copy beside its siblings, in the checkpoint-manager skill
    import checkpoint_bytes as raw
    import checkpoint_contents as contents
    import checkpoint_format as fmt


@dataclass(frozen=True)
class Step:
    """A committed step whose parts fit together; the bytes of its tensors are compared by `verify_files`."""

    folder: Path
    manifest: dict[str, Any]
    state: dict[str, Any]
    blocks: dict[str, list[tuple[str, contents.Block]]]
    """key -> (file, block) of all blocks that make up the tensor."""


def open_step(folder: Path, owner: fmt.Owner | None = None) -> Step:
    """Everything but the bytes of the tensors. `owner` as for `read_manifest`. Raises DamagedError or OSError."""
    manifest = fmt.read_manifest(folder, owner)
    fmt.check_sizes(folder, manifest)
    state = _read_state(folder, manifest)
    blocks: dict[str, list[tuple[str, contents.Block]]] = {}
    for name in sorted(manifest["files"]):
        if name.endswith(".safetensors"):
            for key, block in _read_header(folder / name).items():
                blocks.setdefault(key, []).append((name, block))
    if set(blocks) != set(manifest["tensors"]):
        odd = min(set(blocks) ^ set(manifest["tensors"]))
        raise fmt.DamagedError(f"{folder.name}: the shards do not hold the tensors that the manifest lists ({fmt.quoted(odd)})")
    for key, entry in manifest["tensors"].items():
        if problem := contents.cover_problem([block for _, block in blocks[key]], entry["dtype"], tuple(entry["shape"])):
            raise fmt.DamagedError(f"{folder.name}: {fmt.quoted(key)}: {problem}")
    return Step(folder, manifest, state, blocks)


def verify_files(step: Step, names: Iterable[str]) -> None:
    """Read every byte of these files and compare with the manifest. Raises DamagedError or OSError."""
    for name in sorted(names):
        raw.verify_file(step.folder / name, step.manifest["files"][name])


def _read_state(folder: Path, manifest: dict[str, Any]) -> dict[str, Any]:
    data = raw.read_own(folder / fmt.STATE, fmt.MAX_STATE_BYTES)
    raw.verify_bytes(fmt.STATE, data, manifest["files"][fmt.STATE])
    try:
        state = raw.parse_json(data)
    except ValueError as error:
        raise fmt.DamagedError(f"{fmt.STATE}: {str(error)[:100]}") from error
    if problem := contents.state_problem(state, manifest):
        raise fmt.DamagedError(f"{fmt.STATE}: {problem}")
    return dict(state)


def _read_header(path: Path) -> dict[str, contents.Block]:
    with raw.open_own(path) as file, raw.naming(path):
        size = os.fstat(file.fileno()).st_size
        try:
            length = contents.header_length(file.read(8), size)
            return contents.blocks_of(raw.read_all(file, length), size)
        except ValueError as error:
            raise fmt.DamagedError(f"{path.name}: {str(error)[:100]}") from error


@dataclass(frozen=True)
class Judgement:
    """The answer for one step."""

    status: str
    """intact | damaged | unknown (not allowed, a disk that fails, or only sizes were compared: nothing is known about the bytes)"""
    problems: tuple[str, ...] = ()
    manifest: dict[str, Any] | None = None
    algorithm: str | None = None
    """The weakest digest that was compared: xxh3_128 or crc32; None when no byte was."""
    is_ours: bool = True
    """False: no checkpoint of this format, or a step of another run."""


def judge(folder: Path, owner: fmt.Owner | None = None, *, quick: bool = False) -> Judgement:
    """The full judgement of a step's folder; `quick` compares sizes only, so its best answer is unknown. Never raises.

    `owner` as for `read_manifest`.
    """
    try:
        manifest = fmt.read_manifest(folder, owner)
    except fmt.NotOursError as error:
        return Judgement("damaged", (str(error),), is_ours=False)
    except (fmt.DamagedError, OSError) as error:
        status, problem = _told(f"{folder.name}: ", error)
        return Judgement(status, (problem,))
    found = [_file(folder / name, entry, quick) for name, entry in sorted(manifest["files"].items())]
    answers = [(status, problem) for status, problem, _ in found if status != "intact"]
    if not answers:
        try:
            open_step(folder, owner)
        except (fmt.DamagedError, OSError) as error:
            answers = [_told("", error)]
    statuses = {status for status, _ in answers}
    status = "damaged" if "damaged" in statuses else "unknown" if statuses else "intact"
    problems = tuple(problem for kind in ("damaged", "unknown") for status_, problem in answers if status_ == kind)
    used = {algorithm for _, _, algorithm in found if algorithm}
    return Judgement(status, problems, manifest, min(used) if used else None)  # crc32 < xxh3_128: the weaker one is the claim


def _file(path: Path, entry: dict[str, Any], quick: bool) -> tuple[str, str, str | None]:
    """(status, problem, algorithm) of one file."""
    try:
        if not quick:
            return "intact", "", raw.verify_file(path, entry)
        fmt.check_sizes(path.parent, {"files": {path.name: entry}})
    except (fmt.DamagedError, OSError) as error:
        return *_told(f"{path.name}: ", error), None
    return "unknown", f"{path.name}: only its size was compared", None


def _told(where: str, error: Exception) -> tuple[str, str]:
    """(status, what to say) of what reading raised."""
    if isinstance(error, OSError):
        return "unknown", f"{where}cannot be read: {error.strerror or error}"
    return "unknown" if isinstance(error, raw.NotProvableError) else "damaged", str(error)
