"""The process that fuzzes: libFuzzer (by way of atheris) owns it, ends it, and writes the input that broke it.

python -m tests.fuzz.driver MODULE FLAGS...         `__main__.py` is the door for people
"""

from __future__ import annotations

import sys
from random import Random
from typing import Any

from tests.fuzz.targets import Target, load

FORBIDDEN = ("subprocess.Popen", "os.exec", "os.posix_spawn", "os.system", "os.fork", "os.remove", "os.rmdir", "shutil.rmtree")
OWN_FILES = "/trainyard-fuzz-"


def forbid(event: str, words: tuple[Any, ...]) -> None:
    """Damaged input may name any program, host or file: none is started, asked or removed, whatever the code under test does."""
    if event in ("os.remove", "os.rmdir", "shutil.rmtree"):
        if OWN_FILES not in str(words[0]):
            raise PermissionError(f"{event} of {words[0]!r} while fuzzing")
    elif event in FORBIDDEN:
        raise PermissionError(f"{event} while fuzzing")
    elif event in ("socket.connect", "socket.getaddrinfo"):
        raise ConnectionRefusedError(111, f"{event} while fuzzing")


def mutator(target: Target) -> Any:
    """Half of the changes are the target's own, which keep to its grammar; half are of bytes."""
    import atheris

    def change(data: bytes, max_size: int, seed: int) -> bytes:
        random = Random(seed)
        if target.mutate and random.random() < 0.5:
            return target.mutate(data, random)[:max_size]
        return bytes(atheris.Mutate(data, max_size))

    return change


def main(module: str, flags: list[str]) -> None:
    import atheris

    target = load(module)
    with atheris.instrument_imports(include=target.covered):
        run = target.make()
    extra = {"custom_mutator": mutator(target)} if target.mutate else {}
    atheris.Setup([target.name, *flags], run, **extra)
    sys.addaudithook(forbid)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
