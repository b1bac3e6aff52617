"""What is a secret: by the name it goes by, or by the look of its value. One rule for all programs.

A value that is one stands in no file, argument, manifest, log or dry run: it is refused where a job is read, and hidden where text is
shown. A name alone decides only where it leaves no doubt: HF_HOME, MAX_TOKENS, --pad-token and SSL_CERT_FILE are no secrets, WANDB_KEY
is one. `make kit` copies this file byte for byte into the src/ of each skill that uses it; edit it in skills/kit/ only. Standard library
only, for local-runner's supervisor reads with it too.
"""

from __future__ import annotations

import re


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


# --- names ----------------------------------------------------------------------------------------------------------

WORD = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|[0-9]+")
CERTAIN = re.compile(
    r"PASSWORD|PASSWD|PASSPHRASE|PASSCODE|SECRET|CREDENTIAL|CONNECTIONSTRING|CONNSTR|BEARER"
    r"|(API|ACCESS|PRIVATE|SIGNING|ENCRYPTION|DECRYPTION|MASTER|AUTH|ACCOUNT|STORAGE|SSH|GPG|PGP|RSA|ECDSA|ED25519|SERVICE|LICENSE|DEPLOY"
    r"|HMAC|JWT|FERNET|CIPHER|SUBSCRIPTION|ADMIN|ROOT|CLIENT|SHARED|TLS|SSL|HF|HUGGINGFACE|WANDB|COMET|NEPTUNE|KAGGLE|MLFLOW|CLEARML"
    r"|OPENAI|ANTHROPIC|GEMINI|COHERE|MISTRAL|GROQ|NGC|NVIDIA|GITHUB|GITLAB|NPM|PYPI|STRIPE|SENDGRID|TWILIO|DATADOG|SENTRY|VAULT|REDIS"
    r"|MINIO|AZURE|AWS|GCP|GCS|GOOGLE)KEY(?!BOARD|WORD|FRAME|POINT|STROKE|PRESS|SPACE)"
)
"""In a name without its separators: these leave no doubt."""
LAST = {"PW", "TOKEN", "AUTH", "AUTHORIZATION", "CREDS", "CRED", "PAT", "COOKIE", "COOKIES", "JWT", "SAS", "KEYTAB", "NETRC"}
"""As the last word, or followed by what says where it counts (AFTER)."""
AFTER = re.compile(
    r"[0-9]+|PROD|PRODUCTION|DEV|STAGING|TEST|CI|RO|RW|READ|WRITE|READONLY|VALUE|BASE|B|ENC|HEADER|CONFIG|JSON|STRING"
)
REFERS = _set(
    "FILE FILES PATH PATHS DIR FOLDER NAME NAMES ENV VAR VARIABLE ARN HELPER HOST ENDPOINT TIMEOUT TTL EXPIRY EXPIRES EXPIRATION AGE"
    " SECONDS ENABLED DISABLED ENABLE DISABLE REQUIRED REQUIRE TYPE METHOD METHODS MODE PROVIDER VERSION LENGTH LEN SIZE COUNT LIMIT REF"
    " PREFIX SUFFIX ROTATION ROLE REGION BACKEND POLICY SCOPE SCOPES"
)
"""A name that ends so says where a secret is, or something about it."""
OF_TEXT = _set(
    "PAD PADDING EOS BOS UNK UNKNOWN SEP CLS MASK IMAGE VIDEO AUDIO SPECIAL STOP END START BEGIN NEXT FIRST LAST PER BY EACH MAX MIN NUM N"
    " EOT EOM EOD MULTI SINGLE NEW PREFIX SUFFIX MIDDLE FIM THINK PROMPT RESPONSE VISION PATCH WORD CONTEXT QUERY BLANK DUMMY TARGET SOURCE"
    " LANG LANGUAGE INPUT OUTPUT VOCAB SENTENCE IGNORE LABEL TEXT DECODER ENCODER SPEECH BOI EOI MEAN"
)
"""Tokens of a tokenizer."""
NO_PASSES = _set("FORWARD BACKWARD FIRST SECOND LAST SINGLE MULTI ONE TWO LOW HIGH BAND FUSION COMPILER OPT EVAL TRAIN")
NO_PASS_WORDS = _set("NPASS BYPASS COMPASS SURPASS ENCOMPASS OVERPASS UNDERPASS TRESPASS")
GIVES_TOKENS = _set("API AUTH ACCESS BEARER HF GITHUB GH GITLAB REFRESH DEPLOY NPM")
PLAIN_NAMES = frozenset({"PWD", "OLDPWD"})
"""The shell's own folders."""


def is_named(name: str) -> bool:
    """Whether what goes by this name is a secret: a variable, an option (`--api-key`), a key (`wandb.api_key`)."""
    words = [word.upper() for word in WORD.findall(name)]
    if not words or "_".join(words) in PLAIN_NAMES or words[-1] in REFERS:
        return False
    return CERTAIN.search("".join(words)) is not None or any(
        _ends(words[: at + 1], words[at + 1 :]) for at in range(len(words))
    )


def _ends(words: list[str], after: list[str]) -> bool:
    """Whether the last of `words` names the secret, and nothing behind it makes something else of it."""
    last, before = words[-1], words[-2] if len(words) > 1 else ""
    if not all(AFTER.fullmatch(word) for word in after):
        return False
    if last == "TOKENS":
        return before in GIVES_TOKENS
    if last.endswith("TOKEN"):
        return last in ("TOKEN", "APITOKEN", "AUTHTOKEN", "GHTOKEN", "HFTOKEN") and before not in OF_TEXT
    if last.endswith("PASS") and last not in NO_PASS_WORDS:
        return (last != "PASS" or before not in NO_PASSES) and not after
    return last in LAST or (last.endswith("PWD") and last != "OLDPWD")


# --- values ---------------------------------------------------------------------------------------------------------

TOKENS: tuple[tuple[str, str, str], ...] = (
    ("AKIA", r"(?<![A-Z0-9])AKIA[A-Z2-7]{16}(?![A-Z0-9])", "an AWS access key"),
    ("sk-", r"(?<![\w-])sk-(?:proj|ant|svcacct|or)-[\w-]{40,}", "an API key"),
    ("ghp_", r"(?<!\w)ghp_[A-Za-z0-9]{36}(?!\w)", "a GitHub token"),
    ("gho_", r"(?<!\w)gho_[A-Za-z0-9]{36}(?!\w)", "a GitHub token"),
    ("ghs_", r"(?<!\w)ghs_[A-Za-z0-9]{36}(?!\w)", "a GitHub token"),
    ("github_pat_", r"(?<!\w)github_pat_[A-Za-z0-9_]{50,}", "a GitHub token"),
    ("glpat-", r"(?<!\w)glpat-[\w-]{20,}", "a GitLab token"),
    ("hf_", r"hf_(?<!\whf_)[A-Za-z0-9]{34,}(?!\w)", "a Hugging Face token"),
    ("xox", r"xox(?<!\wxox)[abprs]-\d{8,}-[\w-]{20,}", "a Slack token"),
    ("pypi-Ag", r"(?<!\w)pypi-Ag[\w-]{50,}", "a PyPI token"),
    ("npm_", r"(?<!\w)npm_[A-Za-z0-9]{36}(?!\w)", "an npm token"),
    ("nvapi-", r"(?<![\w-])nvapi-[\w-]{40,}", "an NVIDIA key"),
)
"""A word, the form in a text of any length that it is part of, and its name. Patterns are ASCII, so that they are one for bytes and text."""
BEGINNINGS = (
    r"(?:AKIA|ASIA|gh[opsur]_|github_pat_|glpat-|hf_|npm_|gsk_|r8_|dckr_pat_|dop_v1_)[A-Za-z0-9]{12,}"
    r"|(?:xox[abeprs]-|pypi-Ag|nvapi-|hvs\.|AIza|ya29\.|(?:sk|rk|pk)[-_](?=[\w-]*[0-9]))[\w.-]{12,}"
)
"""A word that begins as such tokens do is one, even where it is shorter: `sk-2024...`, but not `sk-learn-experiment`, `hf_cache_folder`."""
IN_TEXT: tuple[tuple[re.Pattern[str], str], ...] = (
    *((re.compile(pattern, re.ASCII), what) for _, pattern, what in TOKENS),
    (re.compile(rf"(?<![\w.-])(?:{BEGINNINGS})(?!\w)", re.ASCII), "an access token"),
    (
        re.compile(r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY[^-]{0,20}-----(?:[\s\S]{0,20000}?-----END [A-Z ]{0,40}-----)?"),
        "a private key",
    ),
    (re.compile(r"(?<![\w-])eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*"), "a JSON web token"),
    (re.compile(r"(?<=://)[^/\s:@\"']{0,200}:(?!\*{3}@|\$)[^/\s@\"']{1,500}(?=@)"), "a URL with a password"),
    (re.compile(r"(?<=://)(?=[\w-]*[0-9])[\w-]{20,200}(?=@)"), "a URL with a token"),
    (re.compile(r"(?<=hooks\.slack\.com/)(?:services|workflows)/[\w/]{8,}"), "a webhook"),
    (re.compile(r"(?<=/api/webhooks/)\d{6,}/[\w-]{8,}"), "a webhook"),
    (re.compile(r"(?i)(?<=authorization:)\s*(?:\w+\s+)?[^\s\"'$]{3,}"), "an authorization"),
    (re.compile(r"(?i)\bbearer\s+(?=[\w.~+/=-]*[0-9])[\w.~+/=-]{8,}"), "an authorization"),
    (
        re.compile(r"(?i)(?<=[?&;])(?:sig|signature|x-amz-signature|x-amz-security-token|x-goog-signature)=[\w%+/=-]{8,}"),
        "a signed URL",
    ),
    (re.compile(r"(?i)\b(?:accountkey|sharedaccesskey|sharedaccesssignature)=[\w%+/=-]{8,}"), "a connection string"),
    (re.compile(r"(?i)(?<![\w.-])(?:password|passwd|pwd)\s?=\s?(?![\s$*{<(])[^\s;&\"'()\[\]{}]{3,}"), "a password"),
)
"""Wherever they stand in a text; group 0 is what is hidden."""
REFERENCE = re.compile(
    r"\$\w+|\$\{[^{}]*\}|\$\([\w.-]*\)|\{\{.*\}\}|arn:aws[\w-]*:\S+|\*+|<[^<>]*>|\[[A-Za-z_]+\]|\(hidden\)|sha256:[0-9a-f]{16}|VALUE"
)
SWITCH = re.compile(r"(?i)true|false|yes|no|on|off|none|null|auto|0|1|-1")
PATH = re.compile(r"(?:~|\.{1,2})?(?:/[\w.@-]+)+|[\w-]+\.(?:json|ya?ml|pem|crt|key|txt|toml|ini|cfg)")
BY_PATH = re.compile(r"CREDENTIAL|CRED|KEYTAB|NETRC|COOKIE|PRIVATE|SSH|TLS|SSL|CONFIG")
"""Names whose value is often the path of the file."""
RANDOM = re.compile(r"(?=[A-Za-z0-9+/=]*[0-9])(?=[A-Za-z0-9+/=]*[A-Za-z])[A-Za-z0-9+/=]{16,}")
DOUBTFUL = re.compile(r"KEY|SESSION|CERT|SIGNATURE|AUTH|TOKEN|TOKENS|SALT|DSN|PIN")
"""Words of names that mean a secret where the value is random besides."""
ADDRESS = re.compile(r"URL|URI|DSN|CONN|CONNECTION|BROKER|DATABASE")
USER_AND_PASSWORD = re.compile(r"[^/\s:@]{1,100}:[^/\s@]{1,200}@[\w.(\[-]")
WEBHOOK = re.compile(r"https?://[^/\s]+/.{6,}")


def is_secret(name: str, value: str) -> bool:
    """Whether this value under this name is a secret."""
    if not value or REFERENCE.fullmatch(value) or SWITCH.fullmatch(value):
        return False
    if kind_of(value):
        return True
    words = {word.upper() for word in WORD.findall(name)}
    if is_named(name):
        joined = "".join(words)
        is_count = "TOKEN" in joined and re.fullmatch(r"[0-9.]{1,9}", value)
        return not is_count and not (PATH.fullmatch(value) and BY_PATH.search("_".join(words)))
    if any(ADDRESS.fullmatch(word) for word in words) and USER_AND_PASSWORD.match(value):
        return True
    if "WEBHOOK" in words and WEBHOOK.fullmatch(value):
        return True
    is_doubtful = any(DOUBTFUL.fullmatch(word) for word in words) and not words & REFERS
    return is_doubtful and not PATH.fullmatch(value) and RANDOM.search(value) is not None


def kind_of(value: str) -> str | None:
    """What a value is by its look alone: "a GitHub token"; None where it may be anything."""
    return next((what for pattern, what in IN_TEXT if pattern.search(value)), None)
