"""The kubeconfig, or a pod's mounted token: addresses and credentials for trainyard_kube.py, or why there are none.

`make kit` copies this file with trainyard_kube.py; edit it in skills/kit/ only. Merging files, tokens and certificates are the
kubernetes client's business.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import trainyard_shell as shell

Object = dict[str, Any]


def load(configuration: Any, name: str | None) -> Object:
    """Fill the client's `configuration`; the context that is used, {} inside a pod. Makes no request.

    A current context that leads nowhere is no harm where another is named. Raises SkillError: not-found, credentials.
    """
    import yaml
    from kubernetes.config.config_exception import ConfigException

    try:
        return _from_files(configuration, name)
    except (ConfigException, TypeError, yaml.YAMLError) as error:  # TypeError: a kubeconfig that is no mapping
        if name is None and _from_pod(configuration):
            return {}
        hint = "kubectl config get-contexts lists what there is; aws eks update-kubeconfig --name CLUSTER adds one"
        raise shell.SkillError("not-found", f"no usable kubeconfig: {shell.clean(str(error), 300)}", hint=hint) from error


def _from_files(configuration: Any, name: str | None) -> Object:
    from kubernetes.config import kube_config as files
    from kubernetes.config.config_exception import ConfigException

    merged = files.KubeConfigMerger(files.KUBE_CONFIG_DEFAULT_LOCATION).config
    if merged is None:
        raise ConfigException(f"no file {files.KUBE_CONFIG_DEFAULT_LOCATION}")
    loader = files.KubeConfigLoader(merged, active_context=name, config_base_path=None)
    with _heard() as said:
        loader.load_and_set(configuration)
    context: Object = loader.current_context
    if said and not configuration.api_key and not configuration.cert_file:
        raise _no_token(context, said)
    return context


def _no_token(context: Object, said: list[str]) -> shell.SkillError:
    message = f"the user of context {context.get('name')} got no token: {shell.clean('; '.join(said), 300)}"
    hint = "run the command under `exec` of that user in the kubeconfig by hand: is it installed, are you signed in (aws sso login)?"
    return shell.SkillError("credentials", message, hint=hint)


@contextmanager
def _heard() -> Iterator[list[str]]:
    """What the client logs as an error: where the command that gives a token fails, it goes on without one."""
    said: list[str] = []

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record.getMessage())

    ear = Ear(logging.ERROR)
    logging.getLogger().addHandler(ear)
    try:
        yield said
    finally:
        logging.getLogger().removeHandler(ear)


def _from_pod(configuration: Any) -> bool:
    """Inside a pod there is no kubeconfig but a mounted token."""
    from kubernetes import config

    try:
        config.load_incluster_config(client_configuration=configuration)
    except config.ConfigException:
        return False
    return True
