"""The options of `create`, and what they make: a JobRequest."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

import click
import trainyard_shell as shell
from ptjob_request import ENGINES, JobRequest


class Seconds(click.FloatRange):
    """Seconds within bounds; FloatRange alone lets NaN through."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        seconds = float(super().convert(value, param, ctx))
        if seconds != seconds:
            self.fail(f"{value!r} is not a number of seconds", param, ctx)
        return seconds


class SecondsOrAuto(Seconds):
    """Seconds, or None for the word auto."""

    name = "auto|SECONDS"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return None if value in (None, "auto") else super().convert(value, param, ctx)


class RunId(click.types.StringParamType):
    """A run id; where it is missing, where to find it."""

    def get_missing_message(self, *_: Any, **__: Any) -> str:  # click 8.1 calls it with one argument, 8.2 with two
        return "`list` shows that of each job, and run.json of the run has it"


def _text(name: str, metavar: str, help: str, **more: Any) -> Callable[..., Any]:
    return click.option(name, metavar=metavar, help=help, **more)


OPTIONS = [
    click.option("--run-id", metavar="HEX", required=True, help="16 hex digits of the run; everything made carries it."),
    click.option("--image", metavar="URI", required=True, help="Best by digest: repository@sha256:..."),
    click.option("--nodes", default=1, show_default=True, type=click.IntRange(1), help="Pods, one a node."),
    click.option("--procs", default=1, show_default=True, type=click.IntRange(1), help="Processes (ranks) a node."),
    click.option("--engine", default="pytorchjob", show_default=True, type=click.Choice(ENGINES), help="Kind of the job."),
    _text("--claim", "PVC", "Volume claim, mounted at /trainyard: the run folder lies there."),
    _text("--env", "K=V", "Variable; may be repeated.", multiple=True),
    _text("--secret", "VAR=SECRET/KEY", "Variable from a Secret, by reference; may be repeated.", multiple=True),
    _text("--node-selector", "K=V", "Label of the nodes, for example the volume's zone; may be repeated.", multiple=True),
    _text("--toleration", "JSON", '{"key": ..., "operator": "Exists"}; may be repeated.', multiple=True),
    _text("--pod-annotation", "K=V", "Annotation of the pods; may be repeated.", multiple=True),
    _text("--cpu", "Q", "CPU request a pod: 4, 500m."),
    _text("--memory", "Q", "Memory request and limit a pod: 64Gi."),
    _text("--shm", "Q", "Size of /dev/shm.  [default: half of --memory; 8Gi with GPUs; 1Gi]"),
    click.option("--gpus", default=0, type=click.IntRange(0), help="GPUs a pod."),
    _text("--gpu-resource", "NAME", "Resource of the GPUs.", default="nvidia.com/gpu", show_default=True),
    click.option("--efa", default=0, type=click.IntRange(0), help="EFA interfaces a pod."),
    _text("--queue", "NAME", "Kueue's LocalQueue."),
    _text("--priority", "NAME", "PriorityClass."),
    _text("--service-account", "NAME", "ServiceAccount; without one the pods get no token."),
    _text("--image-pull-secret", "NAME", "May be repeated.", multiple=True),
    click.option("--max-restarts", default=3, show_default=True, type=click.IntRange(0, 1000), help="Of all ranks together."),
    click.option("--grace-s", default=60.0, show_default=True, type=Seconds(1, 86400), help="Seconds to save after SIGTERM."),
    click.option("--hang", default="restart", show_default=True, type=click.Choice(["restart", "report"]), help="What then."),
    click.option("--hang-after-s", default="auto", show_default=True, type=SecondsOrAuto(1, 1e7), help="Without a step."),
    _text("--spread-key", "LABEL", "Spread the pods over the values of this node label; kubernetes.io/hostname: one a node."),
    click.option("--min-nodes", type=click.IntRange(1), help="Elastic (pytorchjob): smallest number of nodes."),
    click.option("--max-nodes", type=click.IntRange(1), help="Elastic (pytorchjob): largest number of nodes."),
    _text("--runtime", "NAME", "trainjob: ClusterTrainingRuntime.", default="torch-distributed", show_default=True),
]


def create_options(function: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(OPTIONS):
        function = option(function)
    return function


def request_of(name: str, command: tuple[str, ...], values: dict[str, Any]) -> JobRequest:
    """Raises SkillError usage."""
    repeated = ("env", "secret", "node_selector", "toleration", "pod_annotation", "image_pull_secret")
    env, secrets, selectors, tolerations, annotations, pull_secrets = (values.pop(key) for key in repeated)
    return JobRequest(
        name=name,
        command=command,
        env=pairs("--env", env),
        secrets={variable: _reference(source) for variable, source in pairs("--secret", secrets).items()},
        node_selector=pairs("--node-selector", selectors),
        tolerations=tuple(_toleration(text) for text in tolerations),
        pod_annotations=pairs("--pod-annotation", annotations),
        image_pull_secrets=tuple(pull_secrets),
        **values,
    )


def pairs(option: str, words: Iterable[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise shell.SkillError("usage", f"{option} {shell.clean(word, 80)!r} is not K=V", hint=f"{option} NAME=VALUE")
        if found.setdefault(key, value) != value:
            raise shell.SkillError("usage", f"{option} {key} is given twice", hint="give it once")
    return found


def _reference(source: str) -> tuple[str, str]:
    name, slash, key = source.partition("/")
    if not (name and slash and key) or "/" in key:
        # Not repeated in the message: somebody may have put the secret itself here.
        raise shell.SkillError(
            "usage", "--secret wants VAR=SECRET/KEY, the names and not the value", hint="--secret HF_TOKEN=hf/token"
        )
    return name, key


def _toleration(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict) or not value.keys() <= {"key", "operator", "value", "effect", "tolerationSeconds"}:
        message = f"--toleration {shell.clean(text, 80)!r} is no toleration"
        raise shell.SkillError("usage", message, hint="""--toleration '{"key": "nvidia.com/gpu", "operator": "Exists"}'""")
    return value
