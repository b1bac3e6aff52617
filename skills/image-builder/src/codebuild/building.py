"""The verb `build`: each folder read and its build followed to the image, several at once, and one answer; as build_image.py gives it."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import build_several
import trainyard_aws
import trainyard_shell as shell
from attempts.trying import Attempts, Ran, attempted
from build_context import hashes
from build_recipe import Recipe
from build_source import Source
from builders.logs import BuildLog
from builders.workspace import of_recipe, workspace
from codebuild import compute, fixes, one, outcome, packages, packing, repository
from codebuild.answer import answer
from codebuild.looking import INTERRUPTED, PROGRAM
from codebuild.one import Place
from codebuild.options import Options
from codebuild.order import Ended, Order
from codebuild.plan import plan
from codebuild.repository import Repository
from trainyard_codebuild import Build

AT_ONCE = 8
AGENT = "[Container] "
"""Before the lines of CodeBuild's agent: phases and commands, whose text a diagnosis would take for the builder's."""
NAMESPACE = "trainyard"
"""Of repositories in ECR: builds of the project that setup-codebuild.sh makes may push to all in it."""


def build_all(folders: Sequence[str], options: Options) -> shell.Result:
    """Raises SkillError; with several folders those that fail are rows of the answer."""
    options.account.open_meanwhile()
    sources = [build_several.read(each, options) for each in folders]
    orders = [_order(source, options, len(sources) > 1) for source in sources]
    build_several.refuse_twice([each.reference for each in orders])
    if options.dry_run:
        return plan(orders)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # says that the builds go on, as at Ctrl-C
    written = build_several.written(sources, options)
    for order in orders:
        build_several.show(order.source, order.checks)
    found = answer(_together(orders))
    found.changed = [*written, *found.changed]
    return found


def _order(source: Source, options: Options, several: bool) -> Order:
    name, tag = build_several.named(source, options)
    found, missing = _repository(options, *_repository_name(options, name))
    base = compute.largest(source.recipe.bases)
    platform = source.recipe.platform or "linux/amd64"
    more_gb = source.listing.size_bytes / 1e9 + packages.large_gb(source, base)
    machine = compute.choose(platform, options.compute_type, base, more_gb)
    wait_s = options.timeout_s + options.queue_s + 300
    place = Place(
        account=options.account,
        project=options.project,
        bucket=options.bucket,
        repository=found,
        queue_s=options.queue_s,
        wait_s=wait_s,
    )
    return Order(source, name, tag, place, machine, options, more_gb, f"[{name}] " if several else "", missing)


def _repository(options: Options, host: str, name: str) -> tuple[Repository, tuple[shell.Check, ...]]:
    """A plan may come before its repository, which somebody makes before the build."""
    try:
        found = repository.find(options.account, name)
        if host and not trainyard_aws.same_registry(host, found.host):
            message = f"--push {options.push} is in another registry than {found.uri}, the one of these keys and this region"
            raise shell.SkillError("usage", message, hint="--region of that registry, or the keys of its account")
        return found, ()
    except shell.SkillError as error:
        if not options.dry_run or error.code != "not-found":
            raise
        return Repository(name, name, "MUTABLE", ()), (shell.Check("registry.repository", "warn", str(error), fix=error.hint),)


def _repository_name(options: Options, name: str) -> tuple[str, str]:
    """Host and name. `--push` takes a name, or the whole of it as in build_image.py: the registry's host before it."""
    if options.push is None:
        return "", f"{NAMESPACE}/{name}"
    host, _, rest = options.push.partition("/")
    return (host, rest) if rest and re.search(r"[.:]", host) else ("", options.push)


def _together(orders: list[Order]) -> list[Ended]:
    """A build that cannot go on does not end the others. Ctrl-C ends the waiting; the builds go on."""

    def work(order: Order) -> Ended:
        try:
            return build(order)
        except shell.SkillError as error:
            return Ended(order, Attempts(), [], [], error=error)

    if len(orders) == 1:
        return [work(orders[0])]
    try:
        return build_several.together(work, orders, AT_ONCE, INTERRUPTED.set, waits=False)
    except KeyboardInterrupt:
        hint = f"{PROGRAM} list --project {orders[0].place.project} shows them; the same call finds them again"
        raise shell.SkillError("timeout", "interrupted; the builds go on", hint=hint, retryable=True) from None


def build(order: Order) -> Ended:
    """What is there already, or up to so many attempts."""
    there = order.already()
    if there is not None:
        shell.progress(f"{order.prefix}{order.reference} was built from this source before, by {there.id}; nothing to do")
        return Ended(order, Attempts(image=there), [there.id], [], reused=there)
    ended = Ended(order, Attempts(), [], [])
    try:
        _follow(order, ended)
    except shell.SkillError as error:  # with what was made and started until then
        ended.error = error
    return ended


def _follow(order: Order, ended: Ended) -> None:
    if order.options.no_wait:
        with workspace() as place:
            ended.started = _start(order, order.source.recipe, place, ended)
        return
    with workspace() as place, BuildLog(order.name, prefix=order.prefix, quiet=order.options.quiet) as log:
        ended.log = log.path
        ended.attempts = fixes.for_codebuild(
            attempted(order.source.recipe, lambda recipe: _attempt(order, recipe, place, log, ended), order.options.attempts)
        )


def _start(order: Order, recipe: Recipe, place: Path, ended: Ended) -> Build:
    listing = of_recipe(recipe, order.source.recipe, order.source.listing)
    known = order.source.known if listing is order.source.listing else hashes.known(listing)
    source, changed = one.send(order.place, packing.packer(recipe, listing, known, place), packing.key(recipe))
    started, is_new = one.start(order.place, order.ask(recipe), source, order.machine)
    ended.builds.append(started.id)
    ended.changed += [*changed, *([f"build {started.id}"] if is_new else [])]
    return started


def _attempt(order: Order, recipe: Recipe, place: Path, log: BuildLog, ended: Ended) -> Ran[Build]:
    """Raises SkillError conflict where somebody stopped it."""
    log.lines.clear()
    began = time.monotonic()
    started = _start(order, recipe, place, ended)
    done, check = one.finish(order.place, started.id, log.take)
    if done.status == "STOPPED":
        message = f"{done.id} was stopped in phase {_last_phase(done)}"
        raise shell.SkillError(
            "conflict", message, hint="the same call builds it anew", data=outcome.view(done), checks=[check]
        )
    if done.status != "SUCCEEDED":
        log.take(f"{done.id} {done.status}: {done.failure() or 'CodeBuild gives no reason'}")
    image = done if done.status == "SUCCEEDED" else None
    lines = [line for line in log.lines if not line.startswith(AGENT)]
    seconds = max(done.seconds, round(time.monotonic() - began, 1))  # it may have run before it was found
    return Ran(image, lines, seconds, done.status == "TIMED_OUT")


def _last_phase(build: Build) -> str:
    stopped = [each["phase"] for each in build.phases() if each["status"] == "STOPPED"]
    return str(stopped[0] if stopped else build.phase)
