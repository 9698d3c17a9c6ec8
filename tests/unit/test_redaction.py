"""Secrets stay out of what is recorded, and what is no secret stays in."""

import re
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import analytics_sdk
from analytics_sdk.guard import MESSAGE_LIMIT, message_of, tag_of
from analytics_sdk.redaction import REDACTED, _in_small_letters, _shapes, redact

SECRETS = [
    ("could not connect to postgresql://me:hunter2@db.example.com:5432/x", "hunter2", "@db.example.com:5432/x"),
    ("postgresql://me:p@ss/w0rd@db/x failed", "w0rd", "db/x failed"),
    ("redis://:s3cret@localhost", "s3cret", "localhost"),
    ("https://ghost@host/x", "ghost", "@host/x"),
    ("401 Authorization: Bearer abc123def456ghi", "abc123", "401 Authorization"),
    ("said Bearer abc123def456ghi to it", "abc123", "to it"),
    ("Authorization: Basic dXNlcjpwdw==\nHost: y", "dXNlcjpwdw", "Host: y"),
    ("Set-Cookie: sid=31337; path=/", "31337", "Set-Cookie"),
    ("{'password': 'hunter2', 'user': 'me'}", "hunter2", "'user': 'me'"),
    ('{"api_key": "abc\\"def", "n": 1}', "def", '"n": 1'),
    ("db_password=hunter2;x=1", "hunter2", "x=1"),
    ("https://x.example/?apikey=abc&page=2", "abc", "page=2"),
    ("AWS_SECRET_ACCESS_KEY = wJalrXUtnFEMI", "wJalr", "AWS_SECRET"),
    ("accessToken=abc, tries=3", "abc", "tries=3"),
    ("AUTHOR\u0130ZAT\u0130ON: Digest hunter2", "hunter2", "Z"),
    ("COOK\u0130E: sid=abc", "abc", "COOK"),
    ("COOK\u0130E: sid=31337", "31337", "COOK"),
    ("cree\u0301 par postgresql://me:hunter2@db/x", "hunter2", "@db/x"),
    ("ba\u017fic abc123def456 key", "abc123", "ba"),
    ("password: hunter2 is wrong", "hunter2", "is wrong"),
    ("key AKIAIOSFODNN7EXAMPLE refused", "AKIA", "refused"),
    ("ghp_abcdefghijklmnopqrstuvwxyz012345 expired", "ghp_", "expired"),
    ("glpat-abcdefghijklmnopqrst expired", "glpat", "expired"),
    ("xoxb-123456789012-abc expired", "xoxb", "expired"),
    ("sk-proj-abcdefghij0123456789 expired", "abcdefghij", "expired"),
    ("AIza" + "Sy0123456789-0123456789_0123456789ab"[:35] + " expired", "AIza", "expired"),
    ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc-_def expired", "eyJ", "expired"),
    ("-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----\nrest", "MIIE", "rest"),
    ("-----BEGIN PRIVATE KEY-----\nMIIE, and cut he", "MIIE", REDACTED),
    ("[SQL: INSERT]\n[parameters: ('a', 'x', [1, 2])]\n(Background on this error)", "'x'", "(Background"),
]
HARMLESS = [
    "timed out after 5 s waiting for #login",
    "KeyError: 'password'",
    'password authentication failed for user "bob"',
    "Unexpected token: }",
    "author=me, authority=you, tokenizer=abc, max_tokens=4096",
    "bearer certificate is missing",
    "Basic authentication failed",
    "https://example.com:8080/users/a@b and more",
    "see https://example.com/a?email=a@b.c",
    "the task sk-learn-pipeline-without-digits",
    "monkey=7",
]


@pytest.mark.parametrize(("text", "secret", "rest"), SECRETS, ids=[text[:24] for text, *_ in SECRETS])
def test_a_secret_is_taken_out_and_the_rest_stays(text: str, secret: str, rest: str) -> None:
    assert secret in text
    assert secret not in redact(text)
    assert rest in redact(text)
    assert REDACTED in redact(text)


@pytest.mark.parametrize("text", HARMLESS)
def test_what_is_no_secret_stays_as_it_is(text: str) -> None:
    assert redact(text) == text


@given(
    st.from_regex(r"[a-z]{1,12}", fullmatch=True),
    st.text(st.characters(codec="utf-8", exclude_characters=" \"'<>", exclude_categories=("Z", "C")), min_size=1),
    st.text(max_size=40),
)
def test_no_password_of_a_url_survives(user: str, password: str, before: str) -> None:
    """Whatever the password is made of, also of what ought to be escaped."""
    unlikely = f"{password[:200]}~~q7~~"
    assert unlikely not in redact(f"{before} postgresql://{user}:{unlikely}@db.example.com/x is down")


@given(st.text())
def test_redacting_twice_changes_nothing_more(text: str) -> None:
    assert redact(redact(text)) == redact(text)


PIECES = ["a", "a_", "password", "://", "://a:", "password=", "eyJ", "Bearer ", "[parameters: ", '"password":', "sk-"]


@pytest.mark.parametrize("piece", [*PIECES, "token  ", "-----BEGIN PRIVATE KEY-----", "secret-"])
def test_a_hostile_message_comes_to_an_end(piece: str) -> None:
    """A pattern that backtracks without bounds would keep this test, and the host, for years."""
    message = message_of(piece * 100_000)
    assert len(message) <= MESSAGE_LIMIT
    assert redact(redact(message)) == redact(message)


@pytest.mark.parametrize("key", ["password", "dbPassword", "x-api-key", "accessToken", "SESSION_ID", "auth"])
def test_a_tag_that_is_called_a_secret_is_one(key: str) -> None:
    assert tag_of(key, "hunter2") == REDACTED


@pytest.mark.parametrize("key", ["tenant", "author", "monkey", "tokens", "keyboard"])
def test_another_tag_is_none(key: str) -> None:
    assert tag_of(key, "acme") == "acme"


def test_no_byte_on_disk_holds_a_secret_of_a_message_or_a_tag(tmp_path: Path) -> None:
    """By every way in which a message comes: exception, result, `fail`, attempt, hooks; in journals and in the sink."""
    from analytics_sdk.integration import get_analytics_integration

    system = analytics_sdk.configure(sink=f"sqlite:///{tmp_path}/a.db", flush_interval_seconds=3600)
    secret = "hunter2"
    message = f"no way to postgresql://me:{secret}@db/x"

    class Result:
        success = False
        error = message

    @analytics_sdk.track_step(node_id="{url}", tags={"password": "{word}", "url": "{url}"})
    def step(word: str, url: str) -> Result:
        with analytics_sdk.recovery_attempt("again", tags={"token": word}) as attempt:
            attempt.fail(message)
        return Result()

    @analytics_sdk.track_workflow(tags={"secret": "{word}"})
    def flow(word: str) -> None:
        step(word, f"https://me:{word}@host/")
        with analytics_sdk.track_step(node_id="inline", tags={"api_key": word}) as open_step:
            open_step.fail(message)
        raise RuntimeError(message)

    with pytest.raises(RuntimeError):
        flow(secret)
    hooks = get_analytics_integration()
    execution_id = hooks.on_execution_start("w")
    hooks.on_execution_complete(execution_id, "w", 0.0, 1.0, 1.0, "failed", 0, 1, error_message=message)

    def places_with(text: str) -> list[str]:
        return [str(file) for file in tmp_path.rglob("*") if file.is_file() and text.encode() in file.read_bytes()]

    assert places_with("no way to postgresql"), "the messages themselves are there"
    assert places_with(secret) == []
    assert system.metrics_collector.flush()
    assert any(place.endswith((".db", ".db-wal")) for place in places_with("no way to postgresql"))
    assert places_with(secret) == []


ODD_LETTERS = "\u0130\u0131\u017f\u212a"


@pytest.mark.parametrize("number", range(len(_shapes())))
@given(data=st.data())
@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
def test_a_shape_is_found_only_where_a_text_holds_what_it_needs(number: int, data: st.DataObject) -> None:
    """So that those it is not looked for in need no look."""
    needed, shape, _ = _shapes()[number]
    text = data.draw(st.from_regex(shape, alphabet=bytes(range(128)).decode() + ODD_LETTERS))
    assert any(one in _in_small_letters(text) for one in needed)


def test_every_letter_that_a_pattern_takes_for_another_is_known() -> None:
    """Else a name that is spelled with it would not be looked for."""
    everything = "".join(map(chr, [*range(128, 0xD800), *range(0xE000, sys.maxunicode + 1)]))
    assert set(re.findall("(?i)[a-z]", everything)) == set(ODD_LETTERS)
    for letter, plain in zip(ODD_LETTERS, "iisk", strict=True):
        assert _in_small_letters(letter) == plain
        assert re.fullmatch(plain, letter, re.IGNORECASE)
