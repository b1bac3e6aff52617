"""The plumbing of every skill program: one JSON document on stdout, one exit code, one way to say no.

`make kit` copies this file byte for byte into the src/ of each skill that uses it; edit it in skills/kit/ only.
The contract it implements is told in shared-docs/contract.md. It imports click and the standard library, nothing else.

    import trainyard_shell as shell          # first: looks for the packages that the script's PEP 723 header names
    import click

    @shell.program("local-runner")
    def cli() -> None: ...

    @cli.command(epilog=shell.examples("run_local.py status .trainyard/runs/tiny-lm"))
    @click.argument("run_dir")
    def status(run_dir: str) -> shell.Result:
        return shell.Result(data={...})

    if __name__ == "__main__":
        cli()
"""

from __future__ import annotations

import errno
import json
import os
import sys
import time

import trainyard_python
from trainyard_output import EXIT_CODES as EXIT_CODES
from trainyard_output import clean as clean
from trainyard_output import end_without_stdout, print_document, shown, to_stderr, to_stdout
from trainyard_output import visible as visible

DISK_TROUBLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ESTALE, errno.ENOMEM, errno.EMFILE, errno.ENFILE)

trainyard_python.find_packages()  # the one exception to "nothing runs at import"
trainyard_python.claim_folders()
os.environ.pop("TRAINYARD_REEXECUTED", None)

import click
import trainyard_calls
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


# --- what a verb returns or raises -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Check:
    """One question and its answer. `unknown` is never a pass."""

    id: str
    status: str
    """pass | warn | fail | unknown | skipped"""
    summary: str
    evidence: str | None = None
    fix: str | None = None


@dataclass
class Result:
    """What a verb returns. `ok` None means: no check failed and none is unknown."""

    data: dict[str, Any] = field(default_factory=dict)
    checks: list[Check] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    next: list[str] = field(default_factory=list)
    truncated: bool = False
    ok: bool | None = None

    def is_ok(self) -> bool:
        if self.ok is not None:
            return self.ok
        return all(check.status not in ("fail", "unknown") for check in self.checks)


class SkillError(Exception):
    """The verb could not answer. `code` is a key of EXIT_CODES, `hint` the next command."""

    def __init__(
        self,
        code: str,
        message: str,
        *,
        hint: str = "",
        retryable: bool = False,
        data: dict[str, Any] | None = None,
        checks: list[Check] | None = None,
    ) -> None:
        super().__init__(message)
        assert code in EXIT_CODES, code
        self.code, self.hint, self.retryable = code, hint, retryable
        self.data, self.checks = data or {}, checks or []


def cannot_write(path: object, error: OSError, hint: str) -> SkillError:
    """Exit 8 where the disk is full or fails, exit 4 where nobody may write; the path is in the message."""
    code = "unreachable" if error.errno in DISK_TROUBLE else "permission"
    return SkillError(code, f"{path} cannot be written: {error.strerror or error}", hint=hint)


# --- talking to the user -----------------------------------------------------------------------------------------


def progress(text: str) -> None:
    """A line for the person who waits; stderr, never stdout."""
    to_stderr(clean(text) + "\n")


def emit(type: str, **fields: Any) -> None:
    """One line of a stream (`logs --follow`, `watch`): a JSON object with a `type`; plain words on a terminal.

    Raises SystemExit where stdout cannot be written: a thread that emits must hand it on.
    """
    words = str(fields["line"]) if "line" in fields else f"{type} " + " ".join(f"{k}={v}" for k, v in fields.items())
    to_stdout((visible(words) if wants_table(sys.argv[1:]) else json.dumps(shown({"type": type, **fields}))) + "\n")


def confirm(yes: bool, plan: dict[str, Any], *, what: str, hint: str = "the same command with --yes") -> None:
    """Destroying needs `--yes`; without it the plan is the answer and the exit code is 6."""
    if not yes:
        raise SkillError("confirm", f"this would {what}; nothing was done", hint=hint, data=plan)


def wait_until(
    ready: Callable[[], Any],
    *,
    timeout_s: float,
    interval_s: float = 0.5,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Any:
    """The first true value of `ready()`, or None after `timeout_s` seconds."""
    deadline = clock() + timeout_s
    while True:
        value = ready()
        if value or clock() >= deadline:
            return value or None
        sleep(min(interval_s, max(0.0, deadline - clock())))


def examples(*lines: str) -> str:
    """The epilog of a verb: at least two command lines, printed as they are."""
    shown_as = trainyard_calls.as_typed if trainyard_calls.command else str
    return "\b\nExamples:\n" + "\n".join(f"  {shown_as(line)}" for line in lines)


# --- the shell around the verbs ----------------------------------------------------------------------------------


def program(skill: str) -> Callable[[Callable[..., None]], Program]:
    """Decorator: the click group of a skill program, whose verbs return Result or raise SkillError."""

    def decorate(function: Callable[..., None]) -> Program:
        return Program(name=os.path.basename(sys.argv[0]), callback=function, help=function.__doc__, skill=skill)

    return decorate


class Program(click.Group):
    """A click group that turns whatever happens into one document and one exit code."""

    def __init__(self, *args: Any, skill: str, **kwargs: Any) -> None:
        super().__init__(*args, context_settings={"help_option_names": ["-h", "--help"]}, **kwargs)
        self.skill = skill

    def command(  # type: ignore[override]
        self, *args: Any, **kwargs: Any
    ) -> Callable[[Callable[..., Any]], click.Command]:
        """`@cli.command(...)` as in click, plus `--json` and `--format` on every verb."""
        add: Callable[[Callable[..., Any]], click.Command] = super().command(*args, **kwargs)

        def decorate(function: Callable[..., Any]) -> click.Command:
            verb = add(function)
            verb.params.append(click.Option(["--json", "as_json"], is_flag=True, expose_value=False, help="JSON."))
            choice = click.Choice(["json", "table"])
            verb.params.append(
                click.Option(["--format"], type=choice, expose_value=False, help="Default: table on a terminal, else json.")
            )
            return verb

        return decorate

    def main(self, args: Any = None, **kwargs: Any) -> Any:  # type: ignore[override]
        words = list(sys.argv[1:] if args is None else args)
        kwargs["standalone_mode"] = False
        verb = next((word for word in words if word in self.commands), None)
        if trainyard_calls.command:
            kwargs["prog_name"] = self.name = trainyard_calls.as_typed(self.name or "")
        document, code = self._run(words, verb, kwargs)
        if not document:  # click has printed the help
            sys.exit(0)
        if trainyard_calls.command or wants_table(words):
            document = trainyard_calls.typed(document)
        try:
            if wants_table(words):
                from trainyard_tables import print_tables

                print_tables(shown(document))
            else:
                print_document(document, code)
        except OSError as error:
            end_without_stdout(error, code)
        sys.exit(code)

    def _run(self, words: list[str], verb: str | None, kwargs: dict[str, Any]) -> tuple[dict[str, Any], int]:
        try:
            if not words:
                raise SkillError("usage", f"no verb; there are {', '.join(self.commands)}", hint=f"{self.name} --help")
            result = super().main(words, **kwargs)
            if result == 0 and asks_for_help(words):
                return {}, 0
            assert isinstance(result, Result), f"{verb} returned {type(result).__name__}, not a Result"
            return self._answer(verb, result)
        except SkillError as error:
            return self._refusal(verb, error), EXIT_CODES[error.code]
        except click.ClickException as error:
            script = self.name or ""
            hint = f"{script} {verb or ''}".rstrip() + " --help"
            return self._refusal(verb, SkillError("usage", error.format_message(), hint=hint)), EXIT_CODES["usage"]
        except (click.Abort, KeyboardInterrupt) as stopped:
            if "marshal data" in str(stopped.__cause__):  # an EOFError, which click takes for the end of somebody's input
                message = trainyard_python.remove_cut_bytecode()
                return self._refusal(verb, SkillError("dependency", message, hint="the same call", retryable=True)), 8
            return self._refusal(verb, SkillError("timeout", "interrupted", hint="the same call", retryable=True)), 7
        except Exception as error:  # the last line of defence: a bug of ours must still be one document
            if isinstance(error, OSError) and asks_for_help(words):  # click prints the help before any verb begins
                end_without_stdout(error, 1)
            import traceback

            to_stderr(visible(traceback.format_exc()))
            message = clean(f"{type(error).__name__}: {error}")
            return self._refusal(verb, SkillError("internal", message, hint="report this with the traceback above")), 70

    def _answer(self, verb: str | None, result: Result) -> tuple[dict[str, Any], int]:
        ok = result.is_ok()
        document = {
            "ok": ok,
            "skill": self.skill,
            "verb": verb,
            "data": result.data,
            "checks": [vars(check) for check in result.checks],
            "changed": result.changed,
            "next": result.next,
            "truncated": result.truncated,
        }
        return document, 0 if ok else 1

    def _refusal(self, verb: str | None, error: SkillError) -> dict[str, Any]:
        from trainyard_hiding import hidden  # a message may repeat a word of the call

        return {
            "ok": False,
            "skill": self.skill,
            "verb": verb,
            "error": {
                "code": error.code,
                "message": hidden(clean(str(error))),
                "hint": error.hint,
                "retryable": error.retryable,
            },
            "data": error.data,
            "checks": [vars(check) for check in error.checks],
        }


def own_words(words: list[str]) -> list[str]:
    """Without what follows `--`: that belongs to somebody else's program."""
    return words[: words.index("--")] if "--" in words else words


def asks_for_help(words: list[str]) -> bool:
    return bool({"-h", "--help"} & set(own_words(words)))


def wants_table(words: list[str]) -> bool:
    words = own_words(words)
    if "--json" in words or "--format=json" in words:
        return False
    for option, value in zip(words, [*words[1:], ""], strict=False):
        if option == "--format":
            return value == "table"
    return "--format=table" in words or sys.stdout.isatty()
