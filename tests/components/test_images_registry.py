"""The registry of the components: its login, its configuration, an image put there without an engine."""

from __future__ import annotations

import urllib.error
from pathlib import Path

import pytest

from tests.components.images import layers
from tests.components.images.pushing import push
from tests.components.images.registry import Registry, registry

pytestmark = pytest.mark.when_changed("tests/components/**/*")


@pytest.fixture
def layer(tmp_path: Path) -> layers.Layer:
    (tmp_path / "greeting").write_text("hello\n")
    return layers.of_file(tmp_path / "greeting", "greeting", tmp_path / "layer")


def code_of(registry: Registry, method: str, path: str) -> int:
    try:
        with registry.ask(method, path) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


def test_an_image_is_put_there_and_read_back(plain_registry: Registry, layer: layers.Layer) -> None:
    digest = push(plain_registry, "alone/image", "v1", [layer], {"Env": ["A=1"]})
    assert plain_registry.digest("alone/image", "v1") == digest
    assert plain_registry.tags("alone/image") == ["v1"]
    assert plain_registry.configuration("alone/image", digest)["config"] == {"Env": ["A=1"]}
    assert plain_registry.holds("alone/image", layer) and not plain_registry.holds("alone/other", layer)


def test_a_login_is_asked_for(images_possible: None, layer: layers.Layer) -> None:
    """As ECR's data plane does: 401 with `Basic realm="ecr"`; with the name and password the same call succeeds."""
    with registry(users={"AWS": "a-token"}) as private:
        push(private, "private/image", "v1", [layer], {})
        stranger = Registry(private.address, private.storage, private.log)
        with pytest.raises(urllib.error.HTTPError) as caught:
            stranger.digest("private/image", "v1")
        assert (caught.value.code, caught.value.headers["WWW-Authenticate"]) == (401, 'Basic realm="ecr"')
        wrong = Registry(private.address, private.storage, private.log, "AWS:other")
        assert code_of(wrong, "GET", "private/image/tags/list") == 401
        assert code_of(private, "GET", "private/image/tags/list") == 200


def test_its_configuration_can_be_the_tests_own(images_possible: None) -> None:
    with registry({"storage": {"maintenance": {"readonly": {"enabled": True}}}}) as frozen:
        assert code_of(frozen, "POST", "some/image/blobs/uploads/") == 405
    with registry() as open_to_all:
        assert code_of(open_to_all, "POST", "some/image/blobs/uploads/") == 202


def test_two_run_side_by_side_and_leave_nothing(images_possible: None) -> None:
    with registry() as one, registry() as other:
        assert one.address != other.address
        assert one.storage.parent.exists()
    assert not one.storage.parent.exists() and not other.storage.parent.exists()
