"""One shell for all commands of a build: variables, functions and the folder stay from one to the next."""

from __future__ import annotations

import contextlib
import os
import secrets
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.components.aws.processes import die_with_parent

TICK_S = 0.05
ENDS_WITHIN_S = 2.0
"""How long a stopped build has between SIGTERM and SIGKILL."""
# Works in dash too, which is sh on Debian and Ubuntu: no read -d, and descriptors of one digit. The commands cannot read the
# list of scripts, which is on 3, and write where they like: 9 stays the log.
DRIVER = """\
exec 3<&0 9>&1 </dev/null
while IFS= read -r CODEBUILD_SCRIPT <&3; do
  . "$CODEBUILD_SCRIPT"
  CODEBUILD_LAST_EXIT=$?
  env -0 >"$CODEBUILD_SCRIPT.env"
  printf '\\001%s %d\\001\\n' "{nonce}" "$CODEBUILD_LAST_EXIT" >&9
done
"""


class Shell:
    """`log` gets every line of output; `check` is called again and again and raises to interrupt."""

    def __init__(
        self,
        program: str,
        folder: Path,
        environment: dict[str, str],
        cwd: Path,
        log: Callable[[str], None],
        check: Callable[[], None],
    ) -> None:
        self.program, self.folder, self.cwd, self.log, self.check = program, folder, cwd, log, check
        self.environment = environment
        """Of the shell, after its last command: what is exported."""
        self.nonce = secrets.token_hex(8)
        self.count = 0
        self.process: subprocess.Popen[bytes] | None = None

    def run(self, command: str) -> int:
        """Exit status of the command. A command that ends the shell itself (`exit 3`) has that status, and the next gets a new one.

        Raises what `check` raises, with everything of the build killed.
        """
        process = self.started()
        self.count += 1
        script = self.folder / f"script-{self.count}.sh"
        script.write_text(command + "\n")
        assert process.stdin is not None
        try:
            process.stdin.write(f"{script}\n".encode())
            process.stdin.flush()
        except BrokenPipeError:
            pass  # a shell that was killed: its status is read below
        code = self.follow(process)
        written = script.with_name(script.name + ".env")
        if written.exists():
            self.environment = dict(pairs(written.read_bytes()))
            self.cwd = Path(self.environment.get("PWD", self.cwd))
        return code

    def started(self) -> subprocess.Popen[bytes]:
        if self.process is None or self.process.poll() is not None:
            self.end()
            self.process = subprocess.Popen(
                [self.program, "-c", DRIVER.format(nonce=self.nonce)],
                cwd=self.cwd,
                env=self.environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=die_with_parent,
            )
        return self.process

    def follow(self, process: subprocess.Popen[bytes]) -> int:
        """Log the output until the mark of the command's end, or the shell's."""
        mark = f"\x01{self.nonce} ".encode()
        left = b""
        for piece in self.output(process):
            left += piece
            before, found, after = left.partition(mark)
            if found and b"\x01\n" in after:
                self.lines(before + b"\n" if before and not before.endswith(b"\n") else before)
                return int(after.partition(b"\x01")[0])
            *whole, last = left.split(b"\n")
            if not found:
                self.lines(b"".join(line + b"\n" for line in whole))
                left = last
        self.lines(left)
        return process.wait()

    def output(self, process: subprocess.Popen[bytes]) -> Iterator[bytes]:
        """What comes, until the shell has ended; what it started in the background may hold its output open."""
        assert process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while True:
                ended = process.poll() is not None
                if selector.select(0 if ended else TICK_S):
                    piece = os.read(process.stdout.fileno(), 1 << 16)
                    if not piece:
                        return
                    yield piece
                elif ended:
                    return
                self.interruptible()

    def interruptible(self) -> None:
        try:
            self.check()
        except BaseException:
            self.end()
            raise

    def lines(self, text: bytes) -> None:
        for line in text.decode(errors="replace").splitlines():
            self.log(line)

    def end(self) -> None:
        """Nothing that the commands started lives on."""
        process, self.process = self.process, None
        if process is None:
            return
        send(process.pid, signal.SIGTERM)
        deadline = time.monotonic() + ENDS_WITHIN_S
        while group_lives(process.pid) and time.monotonic() < deadline:
            process.poll()
            time.sleep(0.02)
        send(process.pid, signal.SIGKILL)
        process.wait(timeout=10)
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):
                pipe.close()


def send(group: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, number)


def group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def pairs(environ: bytes) -> Iterator[tuple[str, str]]:
    """Of `env -0`, without the driver's own."""
    for each in environ.decode(errors="surrogateescape").split("\0"):
        name, equals, value = each.partition("=")
        if equals and not name.startswith("CODEBUILD_SCRIPT"):
            yield name, value
