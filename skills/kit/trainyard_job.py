"""The job file's keys, types and defaults: one struct a section, one description a key.

`deploy.py schema` prints these as JSON Schema; trainyard_request.py reads a document into `Job`.
`make kit` copies this file byte for byte into the src/ of each skill that uses it; edit it in skills/kit/ only.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, field
from trainyard_hyperpod import HyperPod
from trainyard_quantity import BYTES, CPU
from trainyard_section import Count, Text
from trainyard_section import Section as Section

OF_CPU, OF_BYTES = {"quantity": CPU}, {"quantity": BYTES}
"""Of a key whose text is a quantity: trainyard_request.py refuses what cannot be meant as one. A key whose default is auto takes auto."""


class Image(Section):
    """The container image: one that exists (`uri`), or one to build, test and push. Ignored on local."""

    uri: Annotated[Text | None, Meta(description="An existing image, best by digest: repository@sha256:...")] = None
    build: Annotated[Literal["auto"] | None, Meta(description="auto: built from `source`, tested, pushed.")] = None
    builder: Annotated[
        Literal["codebuild", "docker"], Meta(description="Where it is built: AWS CodeBuild, or this machine's Docker.")
    ] = "codebuild"
    repository: Annotated[Text | None, Meta(description="Repository in ECR; default: trainyard/<name>.")] = None
    region: Annotated[Text | None, Meta(description="Region of the repository; default: the environment's.")] = None
    dockerfile: Annotated[Text | None, Meta(description="Relative to source; default: Dockerfile, else generated.")] = None
    base: Annotated[Text | None, Meta(description="Base of a generated Dockerfile; default: chosen from a table.")] = None
    test: Annotated[Literal["quick", "standard", "full"], Meta(description="How much is tried in a built image.")] = "standard"
    tag: Annotated[Text, Meta(description="Another tag of a built image; auto: only the one that names its source.")] = "auto"


class Toleration(Section):
    """A Kubernetes toleration, in its own words."""

    key: str | None = None
    operator: Literal["Exists", "Equal"] | None = None
    value: str | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    tolerationSeconds: int | None = None


Id = Annotated[int, Meta(ge=0, le=2**31 - 1)]


class Security(Section):
    """As whom the pods run. Without it: as the image says."""

    run_as_user: Annotated[Id | None, Meta(description="User of the containers, a number; default: the image's.")] = None
    run_as_group: Annotated[Id | None, Meta(description="Group of the containers, a number; default: the image's.")] = None
    fs_group: Annotated[
        Id | None,
        Meta(
            description="Group that Kubernetes gives the volume to, where its driver can; default: 1000 on the run's own volume."
        ),
    ] = None


class Cluster(Section):
    """Where the job goes on Kubernetes. Ignored on local."""

    context: Annotated[Text | None, Meta(description="kubectl context; default: the current one.")] = None
    namespace: Annotated[Text | None, Meta(description="Kubernetes namespace; default: the context's.")] = None
    queue: Annotated[Text | None, Meta(description="Kueue local queue.")] = None
    priority: Annotated[Text | None, Meta(description="Priority class.")] = None
    node_selector: Annotated[dict[str, str], Meta(description="Node labels that the pods ask for.")] = field(
        default_factory=dict
    )
    tolerations: Annotated[list[Toleration], Meta(description="Taints that the pods accept.")] = field(default_factory=list)
    avoid_nodes: Annotated[list[Text], Meta(description="Names of nodes that no pod of the job goes to.")] = field(
        default_factory=list
    )
    service_account: Annotated[Text | None, Meta(description="Service account of the pods.")] = None
    image_pull_secrets: Annotated[list[Text], Meta(description="Secrets for a private registry.")] = field(default_factory=list)
    security: Security | None = None


class Limits(Section):
    """The most that a container may use. Some namespaces ask for it: a quota on limits, or a LimitRange whose default is too small."""

    cpu: Annotated[
        Text | None,
        Meta(description="Kubernetes quantity; default: no limit, as throttled data workers starve GPUs.", extra=OF_CPU),
    ] = None
    memory: Annotated[Text | None, Meta(description="Kubernetes quantity; default: what is asked for.", extra=OF_BYTES)] = None


class Resources(Section):
    """What one node gives to the job. Ignored on local."""

    instance_type: Annotated[
        Text | None, Meta(description="Instance type, such as p5.48xlarge; on hyperpod ml.p5.48xlarge.")
    ] = None
    cpu: Annotated[str, Meta(description="A Kubernetes quantity, or auto.", min_length=1, extra=OF_CPU)] = "auto"
    memory: Annotated[str, Meta(description="A Kubernetes quantity, or auto.", min_length=1, extra=OF_BYTES)] = "auto"
    shm: Annotated[str, Meta(description="Size of /dev/shm; a Kubernetes quantity, or auto.", min_length=1, extra=OF_BYTES)] = (
        "auto"
    )
    limits: Limits | None = None


class Storage(Section):
    """The volume for checkpoints: one to be made (`class`, `size`), or one that exists (`claim`). On local they lie in the run folder."""

    storage_class: Annotated[Text | None, Meta(description="Storage class of the volume.")] = field(name="class", default=None)
    size: Annotated[Text | None, Meta(description="Size of the volume, such as 500Gi.", extra=OF_BYTES)] = None
    claim: Annotated[Text | None, Meta(description="An existing PersistentVolumeClaim; it is used and never changed.")] = None


class Checkpoints(Section):
    """What is saved and kept; used where the training script gives no value of its own."""

    storage: Annotated[Storage | None, Meta(description="The volume; ignored on local.")] = None
    rolling_steps: Annotated[Count, Meta(description="Steps between two checkpoints.")] = 250
    keep_rolling: Annotated[Count, Meta(description="Newest rolling checkpoints kept.")] = 10
    keep_epochs: Annotated[Annotated[int, Meta(ge=0)], Meta(description="Newest end-of-epoch checkpoints kept.")] = 5


class Monitor(Section):
    """When a job counts as stalled or hung, how often it may be restarted, and how long a stop waits for it to save."""

    stall_factor: Annotated[float, Meta(gt=1, description="Stalled: no step for this many median step times.")] = 10.0
    hang: Annotated[
        Literal["restart", "report"],
        Meta(description="restart: a hang ends the attempt and counts as a restart; report: it is only reported."),
    ] = "restart"
    hang_after_s: Annotated[
        Annotated[float, Meta(ge=1, le=10_000_000)] | Literal["auto"],
        Meta(
            description="Seconds without a step (without output, if no step can be read) that make a hang; auto: at least 600."
        ),
    ] = "auto"
    max_restarts: Annotated[int, Meta(ge=0, description="Restarts of ranks and of the launcher together.")] = 3
    stop_grace_s: Annotated[float, Meta(ge=1, le=86400, description="Seconds that a stop leaves for saving.")] = 60.0
    pattern: Annotated[
        Annotated[str, Meta(min_length=1, max_length=1000)] | None,
        Meta(description="A regular expression for a log in no known format; its groups, step and loss say, are the metrics."),
    ] = None


class Budget(Section):
    """What the job may cost."""

    max_hours: Annotated[
        Annotated[float, Meta(gt=0, le=1_000_000)] | None,
        Meta(description="Hours of running, over all starts; then the run is stopped, as by `stop`."),
    ] = None
    max_usd: Annotated[
        Annotated[float, Meta(gt=0)] | None,
        Meta(description="The plan says how many hours this pays for; it does not stop the run. Ignored on local."),
    ] = None


class Notify(Section):
    """Who is called while `run` watches: for a stall, NaN, a node's fault, low goodput, the last restart, and how it ended."""

    command: Annotated[
        Annotated[list[Text], Meta(min_length=1)] | None,
        Meta(description="A program and its words, started without a shell; JSON on its stdin."),
    ] = None
    webhook: Annotated[
        Annotated[str, Meta(pattern="^[A-Za-z_][A-Za-z0-9_]*$")] | None,
        Meta(description="The caller's variable that holds the URL; the same JSON is posted there."),
    ] = None
    min_goodput: Annotated[
        Annotated[float, Meta(ge=0, le=1)] | None,
        Meta(description="Notify when a smaller share of the wall time than this is productive."),
    ] = None


class Job(Section):
    """A Trainyard job file."""

    name: Annotated[str, Meta(description="Name of the run: a-z, 0-9 and -, starting with a letter, at most 40 characters.")]
    run: Annotated[str, Meta(description="The command, split like a shell would and run without one: torchrun SCRIPT ...")]
    target: Annotated[Text, Meta(description="Where it runs.")] = "local"
    """Which targets there are, the deployer knows: it has a file for each."""
    source: Annotated[Text, Meta(description="Project folder, relative to this file; the job's working directory.")] = "."
    python: Annotated[
        Text,
        Meta(
            description="Local only. An interpreter; auto: the activated one, a .venv of the project or above it, conda's, the caller's."
        ),
    ] = "auto"
    nodes: Annotated[Count, Meta(description="Machines.")] = 1
    procs_per_node: Annotated[
        Count | Literal["auto"], Meta(description="Processes per machine; auto: one per accelerator.")
    ] = "auto"
    image: Image | None = None
    engine: Annotated[
        Literal["pytorchjob", "trainjob", "hyperpodjob", "rayjob", "raycluster"] | None,
        Meta(description="What runs the job on a cluster; ignored on local."),
    ] = None
    cluster: Cluster | None = None
    resources: Resources | None = None
    network: Annotated[Literal["auto", "efa", "tcp"], Meta(description="efa fails rather than fall back to TCP.")] = "auto"
    checkpoints: Checkpoints = field(default_factory=Checkpoints)
    env: Annotated[dict[str, str], Meta(description="Environment of the job. Values are text: quote numbers.")] = field(
        default_factory=dict
    )
    secrets: Annotated[
        dict[str, str], Meta(description="VARIABLE: secret/key on a cluster; on local the caller's variable of that name.")
    ] = field(default_factory=dict)
    monitor: Monitor = field(default_factory=Monitor)
    notify: Notify | None = None
    hyperpod: HyperPod | None = None
    budget: Budget | None = None


class Pod(Section):
    """What one pod asks for, as the fit has worked it out."""

    cpu: str | None = None
    memory: str | None = None
    shm: str | None = None
    gpus: Annotated[int, Meta(ge=0)] = 0
    gpu_resource: str | None = None
    efa: Annotated[int, Meta(ge=0)] = 0


class Fit(Section):
    """Where the job fits, and what `auto` means there."""

    pod: Pod | None = None
    procs_per_node: Count | None = None
    instance_type: str | None = None
    node_selector: dict[str, str] = field(default_factory=dict)
    zone: str | None = None
    network: str | None = None


class Request(Job):
    """A job on its way through the skills: the job file's keys, and what was found out since."""

    run_id: Annotated[str | None, Meta(description="16 hex digits, the run's.")] = None
    start: Annotated[
        int, Meta(ge=0, description="Which of the user's starts this is: each has a budget of restarts of its own.")
    ] = 0
    claim: Annotated[str | None, Meta(description="The volume claim that the pods mount.")] = None
    fit: Fit | None = None
    network_env: Annotated[dict[str, str], Meta(description="Variables of the network, below the job's own.")] = field(
        default_factory=dict
    )


IGNORED_ON_LOCAL = ("image", "engine", "cluster", "resources", "network", "hyperpod")
RAY_ENGINES = ("rayjob", "raycluster")
RUNTIME = "0.1.0"
"""Version of the runtime `trainyard` that these skills go with: pyproject.toml's."""
