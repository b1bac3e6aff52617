"""A library that loads in the place of another and can do nothing: same name, same symbols, same versions of them.

Every function returns 100, which is no version and no success to any of NVIDIA's libraries.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from pathlib import Path

from tests.components.images.small_torch.elf import symbols

RETURN_100 = " mov $100,%eax\n ret\n"
NO_EXECUTABLE_STACK = '.section .note.GNU-stack,"",@progbits\n'


def assembly(names: Iterable[str]) -> str:
    labels = "".join(f".globl {name}\n.type {name},@function\n{name}:\n" for name in names)
    return ".text\n" + (labels + RETURN_100 if labels else "") + NO_EXECUTABLE_STACK


def version_script(versions: dict[str, str]) -> str:
    """For the linker: which symbols belong to which version node."""
    nodes: dict[str, list[str]] = {}
    for name, version in versions.items():
        if version:
            nodes.setdefault(version, []).append(name)
    return "".join(f"{node} {{ global: {'; '.join(names)}; }};\n" for node, names in nodes.items())


def make(library: Path, folder: Path, asked: frozenset[str] | None = None) -> Path:
    """Make `folder`/<the library's name>, with those symbols that somebody asks for, or with all. Raises CalledProcessError."""
    offered = symbols(library).offered
    kept = {name: offered[name] for name in sorted(offered) if asked is None or name in asked}
    stub = folder / library.name
    source, script = stub.with_suffix(".s"), stub.with_suffix(".map")
    source.write_text(assembly(kept))
    command = ["gcc", "-shared", "-nostdlib", f"-Wl,-soname,{library.name}", "-o", str(stub), str(source)]
    if nodes := version_script(kept):
        script.write_text(nodes)
        command.append(f"-Wl,--version-script,{script}")
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    source.unlink()
    script.unlink(missing_ok=True)
    return stub
