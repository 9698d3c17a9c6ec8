"""Takes secrets out of free text before it is recorded: bytes on disk count as told.

Exceptions quote what they choked on: a database URL with its password, a request's headers, a statement's parameters.
Every message passes here on its way into the journal, and so does every value of a tag, what we log, and an id that
holds a URL. Other ids do not: they are what the host calls its things, and looking takes a microsecond each.

A pattern finds what looks like a secret; what does not look like one stays. Each looks at a
bounded stretch only, and the text is cut before, so a hostile message costs milliseconds and no more.
"""

import re
from functools import cache, lru_cache

REDACTED = "[redacted]"

_NAME = (
    r"(?:password|passwd|passphrase|pwd|secret|token|credentials?|api[_-]?key|access[_-]?key|private[_-]?key|"
    r"auth(?:orization|entication)?|session(?:[_-]?id)?|cookie|csrf|xsrf|jwt|ssn|credit[_-]?card|card[_-]?number)"
    r"(?:[_.-][a-z0-9]{1,20}){0,3}(?![a-z])"
)
"""How a name ends that stands for a secret: `db_password`, `X-Api-Key`, `accessToken`, and not `author`."""
_VALUE = r"""(?!\[redacted\])(?:"(?:[^"\\]|\\.){0,4096}"?|'(?:[^'\\]|\\.){0,4096}'?|[^\s"'&,;)\]}<>]{1,4096})"""

_HINT = re.compile(
    "://|passw|passph|pwd|secret|token|credential|key|auth|session|cookie|csrf|xsrf|jwt|ssn|card|bearer|basic|akia|"
    "asia|gh[pousr]_|github_pat|glpat-|xox[abeprs]-|[spr]k[-_]|aiza|eyj|\\[parameters:"
)
"""What any of the shapes begins with, in small letters: most messages hold none of it, and cost this one look."""


_SAME_LETTERS = str.maketrans({"\u0130": "i", "\u0131": "i", "\u017f": "s"})
"""The letters that `re` takes for one of a - z, and `lower` does not."""
_EQUALS, _PAIRS = ("=",), (":", "=")
_KEYS = ("akia", "asia", "gh", "github_pat_", "glpat-", "xox", "sk", "pk", "rk", "aiza", "eyj")


@cache
def _shapes() -> tuple[tuple[tuple[str, ...], re.Pattern[str], str], ...]:
    """Each shape, what one of which it always holds in small letters, and what stands for it. Compiled when first
    needed, because that takes longer than most imports."""
    return (
        # scheme://user:password@host; a password may hold @ and /, though it should not
        (
            ("://",),
            re.compile(
                r"(?<=://)(?:[^\s/?#\"'<>@]{0,256}:(?!\d{1,5}(?:[/?#]|$))[^\s\"'<>]{0,2048}|[^\s/?#\"'<>]{0,256})@"
            ),
            f"{REDACTED}@",
        ),
        # Authorization: Basic dXNlcjpwdw==, and the same without the header's name where it holds a digit
        (
            ("authorization", "cookie"),
            re.compile(r"(?i)\b((?:proxy-)?authorization|(?:set-)?cookie)(['\"]?\s*[:=]\s*)[^\r\n]{1,4096}"),
            rf"\1\2{REDACTED}",
        ),
        (
            ("bearer", "basic"),
            re.compile(r"(?i)\b(bearer|basic)\s+(?=[A-Za-z._~+/=-]{0,64}\d)[\w.~+/=-]{8,4096}"),
            rf"\1 {REDACTED}",
        ),
        # {"password": "x"}, password=x, --api-key=x, password: x; never "unexpected token: x", which is about no secret
        (_PAIRS, re.compile(rf"(?i)({_NAME})(['\"]\s{{0,9}}[:=]\s{{0,9}}){_VALUE}"), rf"\1\2{REDACTED}"),
        (_EQUALS, re.compile(rf"(?i)({_NAME})(\s{{0,9}}=\s{{0,9}}){_VALUE}"), rf"\1\2{REDACTED}"),
        (
            (":",),
            re.compile(rf"(?i)\b(password|passwd|passphrase|api[ _-]?key|secret)(\s*:\s+){_VALUE}"),
            rf"\1\2{REDACTED}",
        ),
        # keys known by their shape: AWS, GitHub, GitLab, Slack, Stripe and the like, Google, JSON web tokens, PEM
        (
            _KEYS,
            re.compile(
                r"\b(?:(?:AKIA|ASIA)[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{20,255}|github_pat_\w{20,255}|glpat-[\w-]{16,255}|"
                r"xox[abeprs]-[\w-]{10,255}|(?:sk|pk|rk)[-_](?=[\w-]{0,64}\d)[\w-]{16,255}|AIza[\w-]{35}|"
                r"eyJ[\w-]{8,4096}\.[\w-]{4,4096}(?:\.[\w-]{0,4096})?)"
            ),
            REDACTED,
        ),
        (
            ("-----begin",),
            re.compile(r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----.*?(?:-----END [A-Z ]{0,40}-----|\Z)", re.DOTALL),
            REDACTED,
        ),
        # SQLAlchemy's errors quote the row that they could not write
        (
            ("[parameters: ",),
            re.compile(r"\[parameters: (?:.*?\](?=\s*(?:\n|\(Background|\Z))|.*\Z)", re.DOTALL),
            f"[parameters: {REDACTED}]",
        ),
    )


def _in_small_letters(text: str) -> str:
    """The text in the letters that a pattern without regard to case takes them for."""
    return (text if text.isascii() else text.translate(_SAME_LETTERS)).lower()


def redact(text: str) -> str:
    """The text with what looks like a secret replaced by `[redacted]`."""
    small = _in_small_letters(text)
    if not _HINT.search(small):
        return text
    for needed, shape, instead in _shapes():
        if any(one in small for one in needed):
            text = shape.sub(instead, text)
    return text


def redact_tag(key: str, value: str) -> str:
    """A tag's value; nothing of it where its key says that it is a secret, as `password` or `apiKey` do."""
    return REDACTED if _is_secret(key) else redact(value)


@lru_cache(maxsize=1024)
def _is_secret(key: str) -> bool:
    return re.search(_NAME, key, re.IGNORECASE) is not None
