"""Files of a context that look like secrets: by name, and by what is in them. Nobody who pulls the image should read them."""

from __future__ import annotations

import re

from trainyard_secrets import TOKENS

MAX_SCANNED_BYTES = 1 << 20
ENVIRONMENT = "an environment file"
SETTING = re.compile(rb"(?m)^[ \t]*(?:export[ \t]+)?\w+[ \t]*[=:][ \t]*(?![\"']{2}[ \t\r]*$)[^\s#]")
"""A line of an environment file that gives a value."""
BINARY_BYTES, LOOKED_AT = 64 << 10, 8000
"""Of a file with a NUL in its first 8,000 bytes (git's rule for what is no text) less is read: weights and pictures hold no tokens."""
NAMES = (
    (
        re.compile(r"\.env(?:[.-](?!example$|sample$|template$|dist$|defaults?$).+)?|(?!example|sample|template)[\w.-]+\.env"),
        ENVIRONMENT,
    ),
    (re.compile(r"id_(?:rsa|dsa|ecdsa|ed25519)(?:_sk)?"), "a private SSH key"),
    (re.compile(r"\.netrc|_netrc|\.git-credentials|\.pgpass|\.htpasswd|kaggle\.json"), "a file of passwords"),
    (re.compile(r".+\.(?:p12|pfx|jks|kdbx)"), "a store of keys"),
)
PATHS = (
    (re.compile(r"(?:.*/)?\.aws/credentials"), "AWS credentials"),
    (re.compile(r"(?:.*/)?\.docker/config\.json"), "registry logins"),
    (re.compile(r"(?:.*/)?\.kube/config"), "a kubeconfig"),
    (re.compile(r"(?:.*/)?\.(?:cache/)?huggingface/(?:token|stored_tokens)"), "a Hugging Face token"),
)
BODY = rb"[\w+/=.-]"
CONTENT: tuple[tuple[bytes, re.Pattern[bytes], str], ...] = (
    *((word.encode(), re.compile(pattern.encode()), what) for word, pattern, what in TOKENS),
    (
        b"PRIVATE KEY",
        re.compile(rb"-----BEGIN [A-Z ]{0,30}PRIVATE KEY(?: BLOCK)?-----\s+(?:[\w-]+: [^\n]*\n|\s)*[A-Za-z0-9+/=\s]{64}"),
        "a private key",
    ),
    (
        b"aws_secret",
        re.compile(rb"(?i)aws_secret(?:_access)?_key[\"']?\s*[=:]\s*[\"']?(?=[\w/+]*\d)[A-Za-z0-9/+]{40}(?![\w/+=])"),
        "an AWS secret key",
    ),
    (b"_authToken", re.compile(rb"_authToken\s*=\s*[\w-]{20,}"), "an npm token"),
    (b'"private_key"', re.compile(rb"\"private_key\"\s*:\s*\"-----BEGIN"), "a service account's key"),
    (b"WANDB_API_KEY", re.compile(rb"WANDB_API_KEY\s*[=:]\s*[\"']?[0-9a-f]{40}"), "a Weights & Biases key"),
    (b"client-key-data", re.compile(rb"client-key-data:\s*[A-Za-z0-9+/=]{64}"), "a kubeconfig"),
)
"""A word, what it is part of, and its name. Three letters come by chance: their patterns begin with them, which is searched faster."""
RARE = (b"K", b"x", b"-", b"_")
"""Each word has one of them. They are rare in text, the first most."""


def _finders(words: list[bytes]) -> list[re.Pattern[bytes]]:
    """Patterns that find the words, each from its rarest letter on: memchr skips what lies between."""
    found = []
    for letter in RARE:
        cut = [word.partition(letter) for word in words if letter in word]
        words = [word for word in words if letter not in word]
        branches = b"|".join(b"(?<=%b)%b" % (re.escape(before + letter), re.escape(after)) for before, _, after in cut)
        found.append(re.compile(letter + b"(?:" + branches + b")"))
    assert not words, f"none of {RARE} is in {words}"
    return found


WORDS = _finders([word for word, _, _ in CONTENT])


def by_name(path: str) -> str | None:
    """What a file of this name holds; None: nothing that the name betrays."""
    name = path.rpartition("/")[2]
    return next((what for pattern, what in NAMES if pattern.fullmatch(name)), None) or next(
        (what for pattern, what in PATHS if pattern.fullmatch(path)), None
    )


def holds_values(content: bytes) -> bool:
    """Whether an environment file says anything: one with names alone is a template."""
    return SETTING.search(content) is not None


def by_content(head: bytes) -> str | None:
    """What the first bytes of a file hold. The plain words are looked for first, in a fifth of the time that one search each takes."""
    if b"\0" in head[:LOOKED_AT]:
        head = head[:BINARY_BYTES]
    if not any(each.search(head) for each in WORDS):
        return None
    return next((what for word, pattern, what in CONTENT if word in head and _real(pattern, head)), None)


def _real(pattern: re.Pattern[bytes], head: bytes) -> bool:
    """Whether one hit is no placeholder: `hf_xxxxxxxx...` has few different characters, and AWS's own examples say what they are."""
    return any(len(set(hit[0])) > 5 and not hit[0].endswith(b"EXAMPLE") for hit in pattern.finditer(head))
