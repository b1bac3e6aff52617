"""One rule says what a secret is, for names, values, words of a command and text; what a training job needs is not taken for one."""

from __future__ import annotations

import shlex
import time

import pytest
from trainyard_hiding import hidden, hidden_variables, hidden_words, in_words
from trainyard_secrets import is_named, is_secret


def words_of(text: str) -> list[str]:
    return text.split()


SECRET_NAMES = words_of("""
NPM_TOKEN VAULT_TOKEN DB_PASSWD SSH_PRIVATE_KEY APIKEY API_KEY HF_TOKEN HF_TOKEN_2 NPM_TOKEN_PROD HUGGING_FACE_HUB_TOKEN TOKEN token
WANDB_API_KEY WANDB_KEY COMET_API_KEY NEPTUNE_API_TOKEN OPENAI_KEY NGC_API_KEY KAGGLE_KEY LICENSE_KEY SIGNING_KEY TLS_KEY MASTER_KEY
GITHUB_PAT GH_TOKEN GITLAB_TOKEN CI_JOB_TOKEN SLACK_BOT_TOKEN API_TOKENS PGPASSWORD MYSQL_PWD DB_PASS SSHPASS PASSPHRASE secret
AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN AZURE_STORAGE_KEY AZURE_STORAGE_CONNECTION_STRING CLIENT_SECRET SAS_TOKEN
COOKIE SESSION_COOKIE AUTH NPM_AUTH BASIC_AUTH DOCKER_AUTH_CONFIG AUTHORIZATION JWT CREDS GOOGLE_CREDENTIALS
apiKey authToken dbPassword --hub-token --api-key wandb.api_key +hub.token X-Api-Key
""")
PLAIN_NAMES = words_of("""
CLIENT_KEYBOARD SHARED_KEYPOINTS API_KEY_FILE NPASS
TOKENIZERS_PARALLELISM TOKENIZER TOKENIZER_PATH MAX_TOKENS MAX_TOKEN NUM_TOKENS TOKEN_COUNT TOKENS_PER_BATCH TOKEN_TYPE_IDS --pad-token
--eos_token --image-token --max-tokens --token-level-loss KEYBOARD KEY KEYS SORT_KEY PROMPT_KEY --input-key MONKEY_PATCH AUTHOR AUTHORS
AUTH_MODE SECRET_NAME PASSWORD_FILE TOKEN_FILE AWS_WEB_IDENTITY_TOKEN_FILE SSL_CERT_FILE AWS_REGION AWS_PROFILE HF_HOME
HF_HUB_ENABLE_HF_TRANSFER WANDB_PROJECT WANDB_MODE GITHUB_SHA NCCL_DEBUG NCCL_SOCKET_IFNAME FI_PROVIDER PWD OLDPWD PASS_THROUGH
FORWARD_PASS COMPASS PATH PATTERN PATIENCE --patience PATCH_SIZE PIN_MEMORY SESSION_NAME CERTAINTY CREDIT SEED LD_PRELOAD
""")
SECRET_VALUES = {
    "an AWS key": "AKIAIOSFODNN7EXAMPLE",
    "GitHub": "ghp_" + "a1" * 18,
    "Hugging Face": "hf_" + "aB3" * 12,
    "a short one": "hf_abcdefghijklmnop",
    "OpenAI": "sk-proj-abc123def456ghi789",
    "JWT": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abc",
    "a URL": "postgres://user:pw@host/db",
    "a URL without a user": "redis://:pw@host:6379",
    "a DSN": "https://0123456789abcdef0123456789abcdef@o1.ingest.sentry.io/1",
    "PEM": "-----BEGIN RSA PRIVATE KEY-----\nMIIB",
    "a bearer": "Bearer abcdef123456",
    "a webhook": "https://hooks.slack.com/services/T00/B00/abcd1234",
    "Azure": "DefaultEndpointsProtocol=https;AccountName=a;AccountKey=abcdefgh12==;",
    "libpq": "host=h user=u password=abc",
    "a signed URL": "https://b.s3.amazonaws.com/k?X-Amz-Signature=0123456789abcdef",
}
PLAIN_VALUES = [
    *(
        "run-2024-01-15-llama",
        "sk-learn-experiment-number-one",
        "repo@sha256:" + "a1" * 32,
        "s3://bucket/key",
        "basic training",
    ),
    *(
        "ssh://git@github.com/a/b",
        "http://host:8080/a@b",
        "sqlite:///x.db",
        "torch==2.15.0+cu130",
        "0,1,2,3,4,5,6,7",
        "/data/hf_cache",
    ),
    *("hf_datasets_cache", "pypi-mirror-internal", "sk-learn", "npm_config_registry"),
]
UNDER_NAMES = [
    ("DB_DSN", "user:pw@tcp(host:1)/db", True),
    ("WEBHOOK_URL", "https://chat.example/x/abcdef123", True),
    ("STATE_KEY", "a1b2c3d4e5f6a7b8c9d0", True),
    ("DB_PASSWORD", "12345678", True),
    ("HF_TOKEN", "", False),
    ("HF_TOKEN", "$HF_TOKEN", False),
    ("HF_TOKEN", "$(HF_TOKEN)", False),
    ("USE_AUTH", "true", False),
    ("MY_TOKEN", "4096", False),
    ("USER_TOKEN", "<|user|>", False),
    ("GOOGLE_APPLICATION_CREDENTIALS", "/secrets/key.json", False),
    ("SSH_PRIVATE_KEY", "/root/.ssh/id_rsa", False),
    ("CACHE_KEY", "llama-2024-01-15-v2", False),
    ("DATABASE_URL", "postgresql://host/db", False),
]
COMMANDS = [
    *(
        "python t.py --api-key SEKRET",
        "python t.py --api-key=SEKRET",
        "python t.py wandb.api_key=SEKRET",
        "env HF_TOKEN=SEKRET python t.py",
    ),
    *(
        "bash -c 'export HF_TOKEN=SEKRET; python t.py'",
        "bash -c 'python t.py --token SEKRET'",
        "python t.py --env=HF_TOKEN=SEKRET",
    ),
    *("curl -H 'Authorization: Bearer SEKRET'", "curl -H 'X-Api-Key: SEKRET'", "python t.py --db postgres://u:SEKRET@h"),
    *("python t.py ghp_SEKRET1111222233334444", "python t.py -e HF_TOKEN=SEKRET", "python t.py --hf_token SEKRET"),
]
PLAIN_COMMANDS = [
    "torchrun t.py --pad-token '<pad>' --max-tokens 4096 --tokenizer gpt2 --lr 1e-3 name=run-12",
    "python -c 'import os; api_key=os.environ[\"WANDB_API_KEY\"]'",
    "python t.py --token $HF_TOKEN --use-auth-token True --token-file /x/y --author bob",
    "torchrun t.py data.prompt_key=prompt model.pad_token=x --ask-password --steps 5",
]


def test_a_name_tells_a_secret_and_a_tokenizer_has_none() -> None:
    assert [name for name in SECRET_NAMES if not is_named(name)] == []
    assert [name for name in PLAIN_NAMES if is_named(name)] == []


def test_a_value_that_looks_like_a_secret_is_one_whatever_its_name() -> None:
    assert [what for what, value in SECRET_VALUES.items() if not is_secret("NOTE", value)] == []
    assert [value for value in PLAIN_VALUES if is_secret("NOTE", value)] == []
    assert [(name, value) for name, value, wanted in UNDER_NAMES if is_secret(name, value) != wanted] == []


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_that_carries_a_secret_is_found_and_hidden(line: str) -> None:
    words = shlex.split(line)
    assert in_words(words) and "SEKRET" not in " ".join([*in_words(words), *hidden_words(words)])
    assert "SEKRET" not in hidden(line)


@pytest.mark.parametrize("line", PLAIN_COMMANDS)
def test_a_command_without_one_stays_as_it_is(line: str) -> None:
    words = shlex.split(line)
    assert (in_words(words), hidden_words(words), hidden(line)) == ([], words, line)


@pytest.mark.parametrize(
    "text",
    [
        "--secret wants VAR=SECRET/KEY, the names and not the value",
        "--token is missing; --api-key takes a value",
        "token: 5, loss: 2.5",
        "looks like a secret; name it under `secrets:` instead",
        "/jobs/api_key.yaml: $.env.HF_TOKEN: looks like a secret",
    ],
)
def test_prose_about_secrets_stays_readable(text: str) -> None:
    assert hidden(text) == text


def test_variables_are_shown_without_their_secrets() -> None:
    assert hidden_variables({"SEED": "1", "NPM_TOKEN": "x", "NOTE": "hf_abcdefghijklmnop"}) == {
        "SEED": "1",
        "NPM_TOKEN": "***",
        "NOTE": "***",
    }


def test_the_time_grows_with_the_text_and_nothing_else() -> None:
    pieces = [
        "a",
        "a=",
        "ab=",
        "eyJ",
        "://a:",
        "Bearer ",
        "-----BEGIN ",
        "password=",
        "--ab ",
        "A_",
        "basic basic:",
        "authorization: ",
    ]
    texts = [piece * (30_000 // len(piece)) for piece in pieces]
    began = time.process_time()
    for text in texts:
        hidden(text)
        in_words([text])
        is_secret(text[:1000], text)
    assert time.process_time() - began < 5, "half a second; what is quadratic takes minutes"
