"""Ids of executions: unique everywhere, and in the order of time."""

import os
import time
from _random import Random  # because `random` may be a file of the host's

_random = Random()
_seeded_in = os.getpid()


def new_execution_id() -> str:
    """A UUID version 7 (RFC 9562): 48 bits of Unix milliseconds, then random bits. Sorts by time.

    The bits are of a generator of our own. Asking the system would give up the interpreter's lock for a moment that is
    too short for a thread that waits for it, and start its waiting again, so that it would hardly ever get its turn.
    """
    global _seeded_in
    if _seeded_in != (pid := os.getpid()):  # a forked child, which would go on with its parent's numbers
        _random.seed()
        _seeded_in = pid
    at_ns = time.time_ns()
    # with the nanoseconds, because machines that were started from one snapshot have one generator
    value = (at_ns // 1_000_000) << 80 | _random.getrandbits(80) ^ at_ns
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
