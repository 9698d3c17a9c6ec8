"""Makes the fields of a record such that they can be kept: valid text of bounded length, numbers of 64 bits."""

import math
from collections.abc import Callable
from typing import Any

from analytics_sdk.errors import JournalError
from analytics_sdk.events import RECORD_TYPES
from analytics_sdk.guard import ID_LIMIT, MESSAGE_LIMIT, TAGS_LIMIT, clean_text, text_of
from analytics_sdk.journal.record import MAX_PAYLOAD
from analytics_sdk.vocabulary import Kind

_TAG_LIMIT = 200
_INT64 = 1 << 63
_MESSAGE_INDEX = {
    kind: kinds.__struct_fields__.index("error_message")
    for kind, kinds in RECORD_TYPES.items()
    if "error_message" in kinds.__struct_fields__
}


def encode_cleaned(encode: Callable[[Any], bytes], kind: int, fields: tuple[Any, ...], usual_bytes: int) -> bytes:
    """The record encoded; one that is large, or that cannot be encoded as it is, is cleaned first.

    Raises:
        JournalError: it is too large even so.
        Exception: it cannot be encoded even so.
    """
    try:
        payload = encode(fields)
        if len(payload) <= usual_bytes:
            return payload
    except Exception:  # because msgspec refuses in many ways, and cleaning is the answer to all of them
        pass
    payload = encode(clean_fields(kind, fields))
    if len(payload) > MAX_PAYLOAD:
        raise JournalError(f"a record of {len(payload)} bytes is too large")
    return payload


def clean_fields(kind: int, fields: tuple[Any, ...]) -> tuple[Any, ...]:
    """The same record with every field cut and cleaned to what a journal and a database can hold."""
    message_at = _MESSAGE_INDEX.get(Kind(kind), -1)
    return tuple(_clean(value, MESSAGE_LIMIT if i == message_at else ID_LIMIT) for i, value in enumerate(fields))


def _clean(value: Any, limit: int) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return clean_text(value, limit)
    if isinstance(value, int):
        return max(-_INT64, min(_INT64 - 1, int(value)))
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        pairs = list(value.items())[:TAGS_LIMIT]
        return {text_of(key, 64): text_of(one, _TAG_LIMIT) for key, one in pairs}
    if isinstance(value, list | tuple):
        return [_clean(one, limit) for one in value[:64]]
    return text_of(value, limit)
