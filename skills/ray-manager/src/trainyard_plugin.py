"""The command under `exec` of a kubeconfig's user, which prints a token or a certificate: run with a deadline, its words passed on.

`make kit` copies this file with trainyard_kube.py; edit it in skills/kit/ only. The protocol: Kubernetes' "client-go credential plugins".
Not the client library's own: that one waits for ever, and keeps what the command says to itself until it has ended.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import trainyard_shell as shell
from trainyard_files import Unusable, parse
from trainyard_output import to_stderr

Object = dict[str, Any]
DEADLINE_S = 60.0
ASKING_S = 300.0
"""On a terminal, where it may ask a person for a password or a code."""
DEADLINE = "TRAINYARD_EXEC_TIMEOUT_S"
END_S = 2.0
MAX_BYTES = 1 << 20
VERSIONS = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1", "client.authentication.k8s.io/v1alpha1")
HINT = (
    "run the command under `exec` of that user in the kubeconfig by hand: is it installed, are you signed in (aws sso login)?"
)


def check(settings: Object, where: str) -> None:
    """Raises Unusable, naming the field."""
    for name, kinds in (
        ("command", str),
        ("apiVersion", str),
        ("args", list),
        ("env", list),
        ("interactiveMode", str),
        ("installHint", str),
    ):
        if settings.get(name) is not None and not isinstance(settings[name], kinds):
            raise Unusable(f"{where}.{name} is not {'text' if kinds is str else 'a list'}")
    if not settings.get("command"):
        raise Unusable(f"{where} has no command")
    if settings.get("apiVersion") not in VERSIONS:
        raise Unusable(f"{where}.apiVersion is not one of {', '.join(VERSIONS)}")
    if not all(isinstance(word, str) and "\0" not in word for word in [settings["command"], *(settings.get("args") or [])]):
        raise Unusable(f"{where}.args are not all text")
    for each in settings.get("env") or []:
        if not isinstance(each, dict) or not all(
            isinstance(each.get(key), str) and "\0" not in each[key] for key in ("name", "value")
        ):
            raise Unusable(f"{where}.env is not a list of name and value")
        if not each["name"] or "=" in each["name"]:
            raise Unusable(f"{where}.env has a name that no variable has")


def credential(settings: Object, cluster: Object, folder: Path, where: str) -> Object:
    """The `status` that the command prints: token, or clientCertificateData and clientKeyData; expirationTimestamp.

    `folder`: of the kubeconfig, where a command with a slash in it is looked for. Raises SkillError credentials; Unusable.
    """
    check(settings, where)
    asks = settings.get("interactiveMode", "IfAvailable") != "Never" and sys.stdin is not None and sys.stdin.isatty()
    if settings.get("interactiveMode") == "Always" and not asks:
        raise _refused(where, settings, "it needs a terminal to ask a person, and there is none here (interactiveMode Always)")
    code, output, said = _run(settings, _environment(settings, cluster, asks), folder, where, asks)
    if code:
        raise _refused(where, settings, f"it ended with {code}" + (f": {said}" if said else " and said nothing"))
    try:
        return _status(parse(output), settings)
    except Unusable as error:
        raise _refused(
            where, settings, f"what it prints is not an ExecCredential: {error}" + (f"; it said: {said}" if said else "")
        ) from error


def expires_at(status: Object) -> float | None:
    """Seconds since 1970; None: it does not say."""
    try:
        time = datetime.fromisoformat(str(status["expirationTimestamp"]))
    except (KeyError, ValueError):
        return None
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()


def _environment(settings: Object, cluster: Object, asks: bool) -> dict[str, str]:
    spec: Object = {"interactive": asks}
    if settings.get("provideClusterInfo"):
        spec["cluster"] = {
            name: value for name, value in cluster.items() if name not in ("extensions", "certificate-authority")
        }
        own = next(
            (
                each
                for each in cluster.get("extensions") or []
                if isinstance(each, dict) and each.get("name") == "client.authentication.k8s.io/exec"
            ),
            {},
        )
        spec["cluster"]["config"] = own.get("extension")
    told = {"apiVersion": settings["apiVersion"], "kind": "ExecCredential", "spec": spec}
    extra = {each["name"]: each["value"] for each in settings.get("env") or []}
    return {**os.environ, **extra, "KUBERNETES_EXEC_INFO": json.dumps(told, default=str)}


def _run(settings: Object, environment: dict[str, str], folder: Path, where: str, asks: bool) -> tuple[int, bytes, str]:
    """(exit code, stdout, the end of stderr). On a terminal it stays in this process group, or it could not read from there."""
    command = settings["command"]
    words = [str(folder / command) if "/" in command else command, *(settings.get("args") or [])]
    limit_s = _limit_s(asks)
    try:
        process = subprocess.Popen(
            words,
            stdin=None if asks else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            start_new_session=not asks,
        )
    except (OSError, ValueError) as error:
        install = shell.clean(str(settings.get("installHint") or ""), 500)
        raise _refused(where, settings, f"it cannot be started: {error}" + (f"; {install}" if install else "")) from error
    assert process.stdout is not None and process.stderr is not None
    with process, process.stdout as stdout, process.stderr as stderr:
        try:
            output, said, in_time = _listened(process, stdout, stderr, time.monotonic() + limit_s)
        finally:
            _end(process, group=not asks)
        if len(output) > MAX_BYTES:
            raise _refused(where, settings, f"it printed more than {MAX_BYTES >> 20} MiB and was ended")
        if not in_time:
            words_said = f"; it said: {said}" if said else ""
            raise _refused(where, settings, f"it did not end within {limit_s:g} s ({DEADLINE}) and was ended{words_said}")
        return process.returncode, output, said


def _limit_s(asks: bool) -> float:
    told = os.environ.get(DEADLINE, "")
    try:
        return min(3600.0, max(0.1, float(told))) if told else ASKING_S if asks else DEADLINE_S
    except ValueError:
        raise shell.SkillError(
            "usage", f"{DEADLINE} is not a number of seconds: {shell.clean(told, 40)}", hint=f"{DEADLINE}=60"
        ) from None


def _listened(
    process: subprocess.Popen[bytes], stdout: IO[bytes], stderr: IO[bytes], deadline: float
) -> tuple[bytes, str, bool]:
    """(stdout, end of stderr, whether it ended in time). Its stderr is shown as it comes: a code for a browser is of use only then.

    What it left running may hold the pipes open: that is not waited for.
    """
    output, said, ended_at = bytearray(), bytearray(), None
    with selectors.DefaultSelector() as ready:
        for pipe, kept in ((stdout, output), (stderr, said)):
            ready.register(pipe, selectors.EVENT_READ, kept)
        while ready.get_map() and len(output) <= MAX_BYTES:
            now = time.monotonic()
            if process.poll() is not None:
                ended_at = ended_at or now
            if now >= deadline or (ended_at and now > ended_at + 0.5):
                break
            for key, _ in ready.select(0.1):
                part = os.read(key.fd, 65536)
                if not part:
                    ready.unregister(key.fileobj)
                key.data.extend(part)
                if key.data is said:
                    to_stderr(shell.clean(part.decode("utf-8", "replace")))
                    del said[:-4000]
    in_time = process.poll() is not None or _ends(process, deadline)
    return bytes(output), shell.clean(said.decode("utf-8", "replace").strip(), 500), in_time


def _ends(process: subprocess.Popen[bytes], deadline: float) -> bool:
    try:
        process.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        return False
    return True


def _end(process: subprocess.Popen[bytes], *, group: bool) -> None:
    """It and what it started; of one on a terminal only itself, for the group is ours."""
    if process.poll() is not None:
        return
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number) if group else process.send_signal(number)
        except ProcessLookupError:
            return
        if _ends(process, time.monotonic() + END_S):
            break
    if group:
        try:
            os.killpg(process.pid, signal.SIGKILL)  # children that outlived it
        except (ProcessLookupError, PermissionError):
            return


def _status(document: Any, settings: Object) -> Object:
    """Raises Unusable."""
    said = (document.get("kind"), document.get("apiVersion")) if isinstance(document, dict) else None
    if not isinstance(document, dict) or said != ("ExecCredential", settings["apiVersion"]):
        raise Unusable(f"its kind and apiVersion are not ExecCredential and {settings['apiVersion']}, as the kubeconfig says")
    status = document.get("status")
    if not isinstance(status, dict):
        raise Unusable("it has no status")
    names = ("token", "clientCertificateData", "clientKeyData")
    if not all(isinstance(status.get(name) or "", str) for name in names):
        raise Unusable("a field of its status is not text")
    if bool(status.get(names[1])) != bool(status.get(names[2])) or not any(status.get(name) for name in names):
        raise Unusable("its status has neither a token nor a certificate with its key")
    return status


def _refused(where: str, settings: Object, why: str) -> shell.SkillError:
    message = (
        f"{where}: the command {shell.clean(str(settings['command']), 100)!r} gave no credentials: {shell.clean(why, 700)}"
    )
    return shell.SkillError("credentials", message, hint=HINT)
