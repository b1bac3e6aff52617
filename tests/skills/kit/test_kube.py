"""trainyard_kube.py: what goes wrong between here and an API server becomes the right exit code and a next command."""

from __future__ import annotations

import base64
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trainyard_kube as kube
import trainyard_shell as shell
from api_stand_in import StandIn, kubeconfig, page, stand_in, status

from tests.components.cluster.running import Cluster

# A Cluster keeps its connections until the program ends; here there are many in one process.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

Use = Callable[[Path], None]


@pytest.fixture
def script(tmp_path: Path, use: Use) -> Iterator[StandIn]:
    with stand_in() as made:
        use(kubeconfig(tmp_path / "config", made.address))
        yield made


def refused(where: kube.Where, path: str = "/api/v1/nodes") -> shell.SkillError:
    with pytest.raises(shell.SkillError) as caught:
        kube.connect(where).get(path)
    return caught.value


# --- against the real API server -------------------------------------------------------------------------------------


def test_a_forbidden_read_is_exit_4_and_prints_the_rule(cluster: Cluster, namespace: str, use: Use) -> None:
    rules = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}]
    use(cluster.user("reader", namespace, rules=rules))
    reader = kube.connect(kube.Where())
    assert reader.namespace == namespace and reader.list(reader.namespaced("v1", "pods")) == []
    with pytest.raises(kube.ApiError) as caught:
        reader.delete(reader.namespaced("kubeflow.org/v1", "pytorchjobs", "tiny"), "uid")
    rule = {"apiGroups": ["kubeflow.org"], "resources": ["pytorchjobs"], "verbs": ["delete"]}
    assert shell.EXIT_CODES[caught.value.code] == 4 and json.dumps(rule) in caught.value.hint
    with pytest.raises(kube.ApiError) as caught:
        reader.list("/apis/storage.k8s.io/v1/storageclasses")
    check = kube.unknown("storage.classes", caught.value)
    assert check.status == "unknown" and '"storageclasses"' in str(check.fix) and '"list"' in str(check.fix)
    # The printed rule is the one that helps.
    wide = [caught.value.rule]
    use(cluster.user("wider", namespace, cluster_rules=wide))
    assert isinstance(kube.connect(kube.Where()).list("/apis/storage.k8s.io/v1/storageclasses"), list)


def test_a_token_that_is_not_known_any_more_is_exit_4_and_asks_to_sign_in(
    cluster: Cluster, namespace: str, tmp_path: Path, use: Use
) -> None:
    config = json.loads(cluster.user("late", namespace).read_text())
    config["users"][0]["user"]["token"] = config["users"][0]["user"]["token"][:-4] + "AAAA"
    (tmp_path / "config").write_text(json.dumps(config))
    use(tmp_path / "config")
    error = refused(kube.Where())
    assert error.code == "credentials" and "sign in again" in error.hint


def test_a_context_that_is_not_there_and_one_that_leads_elsewhere(
    cluster: Cluster, api: kube.Cluster, tmp_path: Path, use: Use
) -> None:
    assert refused(kube.Where(context="absent")).code == "not-found"
    same = kube.connect(kube.Where(cluster_id=api.identity()["cluster_id"]))
    assert same.id == api.id
    error = refused(kube.Where(cluster_id="0123456789abcdef"))
    assert shell.EXIT_CODES[error.code] == 5 and api.id in str(error)
    use(kubeconfig(tmp_path / "config", api.server))  # the address alone is not the cluster
    assert refused(kube.Where(cluster_id=api.id)).code == "conflict"
    use(tmp_path / "absent")
    assert refused(kube.Where()).code == "not-found"


def test_what_is_there_and_what_is_not(api: kube.Cluster) -> None:
    path = api.namespaced("v1", "configmaps")
    assert api.find(path + "/absent") is None
    with pytest.raises(kube.ApiError) as caught:
        api.get(path + "/absent")
    assert caught.value.code == "not-found"
    body = {"metadata": {"name": "one", "labels": kube.labels("tiny", "0123456789abcdef")}}
    assert api.create(path, body, dry_run=True)["metadata"]["name"] == "one" and api.find(path + "/one") is None
    made = api.create(path, body)
    assert kube.owner(made) == "0123456789abcdef"
    with pytest.raises(kube.ApiError) as caught:
        api.create(path, body)
    assert shell.EXIT_CODES[caught.value.code] == 5
    with pytest.raises(kube.ApiError) as caught:
        api.create(path, {"metadata": {"name": "Not A Name"}})
    assert shell.EXIT_CODES[caught.value.code] == 2


def test_only_the_object_that_was_looked_at_is_deleted(api: kube.Cluster) -> None:
    path = api.namespaced("v1", "configmaps")
    first = api.create(path, {"metadata": {"name": "one"}})
    with pytest.raises(kube.ApiError) as caught:
        api.delete(path + "/one", "00000000-0000-0000-0000-000000000000")
    assert caught.value.code == "conflict" and api.find(path + "/one") is not None
    api.delete(path + "/one", first["metadata"]["uid"])
    assert api.find(path + "/one") is None and api.delete(path + "/one", first["metadata"]["uid"]) is None


def test_only_the_object_that_was_looked_at_is_changed(api: kube.Cluster) -> None:
    path = api.namespaced("v1", "configmaps")
    first = api.create(path, {"metadata": {"name": "one"}})["metadata"]["uid"]
    change = [{"op": "add", "path": "/data", "value": {"a": "b"}}]
    assert api.amend(path + "/one", first, change)["data"] == {"a": "b"}
    with pytest.raises(shell.SkillError) as caught:  # it is the one, and cannot be changed so
        api.amend(path + "/one", first, [{"op": "remove", "path": "/data/absent"}])
    assert caught.value.code == "usage"
    api.delete(path + "/one", first)
    for there in (False, True):
        if there:
            api.create(path, {"metadata": {"name": "one"}})
        for dry_run in (True, False):
            with pytest.raises(shell.SkillError, match="configmaps/one was deleted or replaced") as caught:
                api.amend(path + "/one", first, change, dry_run=dry_run)
            assert caught.value.code == "conflict"
    assert "data" not in api.get(path + "/one")


def test_a_list_goes_through_all_pages_of_the_real_server(api: kube.Cluster) -> None:
    path = api.namespaced("v1", "configmaps")
    for number in range(5):
        api.create(path, {"metadata": {"name": f"page-{number}", "labels": {"paged": "yes"}}})
    before = api.requests
    found = api.list(path, page=2, labelSelector="paged=yes")
    assert [each["metadata"]["name"] for each in found] == [f"page-{number}" for number in range(5)]
    assert api.requests - before == 3


# --- against nobody: what the kubeconfig says is wrong -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (["no-such-program-for-tokens"], "no-such-program-for-tokens"),
        ([sys.executable, "-c", "import sys; sys.exit('sign in first')"], "sign in first"),
        ([sys.executable, "-c", "print('{}')"], "apiVersion"),
    ],
)
def test_a_command_that_gives_no_token_is_exit_4_and_its_words_are_told(
    tmp_path: Path, use: Use, command: list[str], told: str
) -> None:
    config = kubeconfig(tmp_path / "config", "http://127.0.0.1:9")
    document = json.loads(config.read_text())
    plugin = {"apiVersion": "client.authentication.k8s.io/v1", "command": command[0], "args": command[1:]}
    document["users"][0]["user"] = {"exec": plugin}
    config.write_text(json.dumps(document))
    use(config)
    error = refused(kube.Where())
    assert (shell.EXIT_CODES[error.code], told in str(error)) == (4, True), str(error)


# --- against a server that is in trouble -----------------------------------------------------------------------------


def test_pages_ask_for_a_limit_and_pass_the_token_on(script: StandIn) -> None:
    script.answers = [(200, {}, page(["a"], token="t/1")), (200, {}, page(["b"]))]
    api = kube.connect(kube.Where())
    assert [each["metadata"]["name"] for each in api.list("/api/v1/pods", labelSelector="a=b")] == ["a", "b"]
    assert script.asked == [
        "/api/v1/pods?limit=500&labelSelector=a%3Db",
        "/api/v1/pods?limit=500&labelSelector=a%3Db&continue=t%2F1",
    ]


def test_a_list_that_expires_on_the_way_is_no_shorter_list(script: StandIn) -> None:
    script.answers = [(200, {}, page(["a"], token="t")), (410, {}, status(410, "Expired", "too old"))]
    with pytest.raises(kube.ApiError) as caught:
        kube.connect(kube.Where()).list("/api/v1/pods")
    assert shell.EXIT_CODES[caught.value.code] == 7 and caught.value.retryable


def test_429_with_retry_after_is_waited_for_twice(script: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    busy = (429, {"retry-after": "1"}, status(429, "TooManyRequests", "slow down"))
    script.answers = [busy, (200, {}, page(["a"]))]
    assert len(kube.connect(kube.Where()).list("/api/v1/pods")) == 1
    assert "asks for patience" in capsys.readouterr().err
    script.answers = [busy, busy, busy]
    error = refused(kube.Where())
    assert shell.EXIT_CODES[error.code] == 8 and error.retryable and len(script.asked) == 5


@pytest.mark.parametrize(
    ("code", "exit_code"), [(400, 2), (401, 4), (403, 4), (404, 3), (409, 5), (422, 2), (500, 8), (503, 8)]
)
def test_every_refusal_has_its_exit_code_and_a_hint(script: StandIn, code: int, exit_code: int) -> None:
    script.answers = [(code, {}, status(code, "Reason", "because \x1b[31mof this"))]
    error = refused(kube.Where())
    assert shell.EXIT_CODES[error.code] == exit_code and error.hint
    assert "because of this" in str(error)


def test_an_answer_that_is_no_json_is_still_an_error_with_a_code(script: StandIn) -> None:
    script.answers = [(502, {}, "bad gateway")]
    assert shell.EXIT_CODES[refused(kube.Where()).code] == 8


@pytest.mark.parametrize("announced", ["100000", "20"], ids=["breaks off", "is cut"])
def test_an_answer_that_does_not_come_whole_is_exit_8_and_can_be_asked_for_again(script: StandIn, announced: str) -> None:
    script.answers = [(200, {"content-length": announced}, page(["a", "b"])), (200, {}, page(["a", "b"]))]
    error = refused(kube.Where())
    assert shell.EXIT_CODES[error.code] == 8 and error.retryable and "answer" in str(error)
    assert len(kube.connect(kube.Where()).list("/api/v1/nodes")) == 2


def test_a_refusal_whose_words_break_off_is_still_that_refusal(script: StandIn) -> None:
    script.answers = [(403, {"content-length": "100000"}, status(403, "Forbidden", "not you"))]
    assert shell.EXIT_CODES[refused(kube.Where()).code] == 4


def test_a_server_that_is_away_is_exit_8_and_says_what_to_look_at(tmp_path: Path, use: Use) -> None:
    use(kubeconfig(tmp_path / "config", "http://127.0.0.1:9"))
    error = refused(kube.Where())
    assert shell.EXIT_CODES[error.code] == 8 and error.retryable and "kubectl cluster-info" in error.hint


@pytest.mark.parametrize(
    ("text", "code"),
    [("a: [", "usage"), ("no mapping", "usage"), ("{}", "not-found"), ("", "not-found")],
    ids=["no yaml", "text", "nothing in it", "empty"],
)
def test_a_kubeconfig_that_is_none_is_told_as_the_users_file(text: str, code: str, tmp_path: Path, use: Use) -> None:
    (tmp_path / "config").write_text(text)
    use(tmp_path / "config")
    error = refused(kube.Where())
    assert (error.code == code and "kubeconfig" in str(error)) or str(tmp_path / "config") in str(error)


PEM = base64.b64encode(b"-----BEGIN CERTIFICATE-----").decode()
# (fields of the cluster, of the user, of the context; what the refusal names)
FIELDS: list[tuple[dict[str, Any], dict[str, Any], dict[str, Any], str]] = [
    ({"server": "https://127.0{name: u"}, {}, {}, "clusters[here].cluster.server"),
    ({"server": "https://127.0.0.1:99999"}, {}, {}, "clusters[here].cluster.server"),
    ({"server": 7}, {}, {}, "clusters[here].cluster.server is not text"),
    ({"server": None}, {}, {}, "clusters[here].cluster.server"),
    ({"certificate-authority-data": "LS0t"}, {}, {}, "certificate-authority-data holds no certificate"),
    ({"certificate-authority-data": "LS-10t"}, {}, {}, "certificate-authority-data"),
    ({"certificate-authority": "/nowhere/ca"}, {}, {}, "/nowhere/ca"),
    ({"certificate-authority": "."}, {}, {}, "a folder"),
    ({"insecure-skip-tls-verify": "abc"}, {}, {}, "insecure-skip-tls-verify"),
    ({"proxy-url": "::::"}, {}, {}, "proxy-url"),
    ({}, {"client-certificate-data": PEM, "client-key-data": "L"}, {}, "client-key-data is not base64"),
    ({}, {"token": None, "tokenFile": "gone"}, {}, "users[me].user.tokenFile"),
    ({}, {"token": 12345}, {}, "users[me].user.token is not text"),
    ({}, {"token": "two\nlines"}, {}, "characters that no token has"),
    ({}, {"token": None, "username": "me", "password": 7}, {}, "users[me].user.password"),
    ({}, {}, {"namespace": 7}, "contexts[here].namespace is not text"),
]


def test_each_field_of_a_kubeconfig_that_cannot_be_used_is_named(tmp_path: Path, use: Use) -> None:
    for cluster, user, context, told in FIELDS:
        config = kubeconfig(tmp_path / "config", "https://127.0.0.1:9")
        document = json.loads(config.read_text())
        document["clusters"][0]["cluster"] |= cluster
        document["users"][0]["user"] |= user
        document["contexts"][0]["context"] |= context
        config.write_text(json.dumps(document))
        use(config)
        error = refused(kube.Where())
        assert (error.code, told in str(error)) == ("usage", True), (cluster, user, context, str(error))
        assert "12345" not in str(error) and "two" not in str(error), "a token is not printed"


def test_a_kubeconfig_of_another_kind_is_refused_before_anything_is_built_from_it(tmp_path: Path, use: Use) -> None:
    bomb = "z0: &z0 {k: 1}\n" + "".join(f"z{i}: &z{i} {{<<: [{', '.join([f'*z{i - 1}'] * 9)}]}}\n" for i in range(1, 10))
    texts = {"latin": "a: \u00e4".encode("latin-1"), "deep": b"[" * 100_000, "bomb": bomb.encode(), "rows": b"users: {a: 1}"}
    for name, raw in texts.items():
        (tmp_path / name).write_bytes(raw)
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name in (*texts, "folder", "pipe"):
        use(tmp_path / name)
        error = refused(kube.Where())
        assert (error.code, str(tmp_path / name) in str(error)) == ("usage", True), str(error)


def test_the_line_end_of_a_token_file_is_no_part_of_the_token(script: StandIn, tmp_path: Path) -> None:
    document = json.loads((tmp_path / "config").read_text())
    document["users"][0]["user"] = {"tokenFile": "token"}
    (tmp_path / "config").write_text(json.dumps(document))
    (tmp_path / "token").write_text("abc\n")
    script.answers = [(200, {}, page(["a"]))]
    assert len(kube.connect(kube.Where()).list("/api/v1/pods")) == 1


def test_an_empty_variable_means_the_usual_file(tmp_path: Path, use: Use, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".kube").mkdir()
    kubeconfig(tmp_path / ".kube" / "config", "http://127.0.0.1:9")
    use("")  # type: ignore[arg-type]  # what the client has read from KUBECONFIG=""
    assert kube.connect(kube.Where()).server == "http://127.0.0.1:9"


@pytest.mark.parametrize("name", ["", "a/b", "../x", "A", "a" * 64, "a b", "-a"])
def test_names_are_checked_before_they_become_a_path(name: str) -> None:
    with pytest.raises(shell.SkillError) as caught:
        kube.name_or_raise("namespace", name, kube.DNS_LABEL)
    assert caught.value.code == "usage"
