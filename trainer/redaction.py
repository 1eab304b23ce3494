"""Takes secrets out of text before it is written anywhere.

A trial's process is not given the secrets it must not repeat: it gets keyed digests of them (:func:`marks`), finds what
matches, and blanks it. What looks like a secret by its form is blanked as well.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Iterable, Sequence
from typing import Any

HIDDEN = "[hidden]"
SHORTEST = 8
"""A shorter value cannot be told from a word, and its digest would give it away."""
_LONGEST_TEXT = 40_000
_FORMS = (
    (re.compile(r"(\w+://[^\s/:@]*:)[^\s/@]+(?=@)"), rf"\1{HIDDEN}"),  # scheme://user:password@host
    (re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"), HIDDEN),
    (re.compile(r"(?i)\b(bearer\s+)[\w.~+/=-]{8,}"), rf"\1{HIDDEN}"),
    (
        re.compile(
            r"(?i)((?:token|secret|passw(?:or)?d|api_?key|access_?key)['\"]?\s*[=:]\s*['\"]?)[^\s'\",;)}\]]{4,}"
        ),
        rf"\1{HIDDEN}",
    ),
)


def marks(values: Iterable[str]) -> dict[str, Any]:
    """What lets another process recognise these values without knowing them, as plain data."""
    salt = secrets.token_bytes(16)
    known = sorted({value for value in values if len(value) >= SHORTEST})
    return {"salt": salt.hex(), "digests": [[len(value), _digest(salt, value)] for value in known]}


def redact(text: str, known: dict[str, Any] | None = None, values: Sequence[str] = ()) -> str:
    """The text with every secret replaced.

    Args:
        known: from :func:`marks`.
        values: secrets themselves, where they are at hand.
    """
    if len(text) > _LONGEST_TEXT:
        half = _LONGEST_TEXT // 2
        text = f"{text[:half]}\n[...]\n{text[-half:]}"
    for value in sorted(values, key=len, reverse=True):
        if len(value) >= SHORTEST:
            text = text.replace(value, HIDDEN)
    if known and known["digests"]:
        text = _without_marked(text, bytes.fromhex(known["salt"]), known["digests"])
    for form, instead in _FORMS:
        text = form.sub(instead, text)
    return text


def _without_marked(text: str, salt: bytes, digests: list[list[Any]]) -> str:
    for length in sorted({length for length, _ in digests}, reverse=True):
        sought = {digest for size, digest in digests if size == length}
        start = 0
        while start + length <= len(text):
            if _digest(salt, text[start : start + length]) in sought:
                text = f"{text[:start]}{HIDDEN}{text[start + length :]}"
                start += len(HIDDEN)
            else:
                start += 1
    return text


def _digest(salt: bytes, value: str) -> str:
    return hashlib.blake2b(value.encode(errors="surrogateescape"), key=salt, digest_size=12).hexdigest()
