"""Damage to a file, as hypothesis draws it: cut, doubled, swapped, of another type, of another encoding."""

from __future__ import annotations

import json
from typing import Any

import torch
from hypothesis import strategies as st

OTHER = (["x"], {"x": 1}, "x", -1, 1.5, True, 10**30)
"""Values that replace one of another type."""


@st.composite
def damaged(draw: st.DrawFn, raw: bytes, types: bool = True) -> tuple[str, bytes]:
    """The kind of damage, and the file's bytes with it. ``types``: its lines are JSON objects."""
    kinds = [
        "cut",
        "head lost",
        "line lost",
        "doubled",
        "swapped",
        "bytes",
        "encoding",
        *(["type"] * 4 if types else []),
    ]
    kind = draw(st.sampled_from(kinds))
    lines = raw.splitlines(keepends=True)
    at = draw(st.integers(0, len(lines) - 1))
    if kind == "cut":
        return kind, raw[: draw(st.integers(0, len(raw) - 1))]
    if kind == "head lost":
        return kind, b"".join(lines[at:])
    if kind == "line lost":
        return kind, b"".join(lines[:at] + lines[at + 1 :])
    if kind == "doubled":
        return kind, b"".join(lines[: at + 1] + lines[at:])
    if kind == "swapped":
        other = draw(st.integers(0, len(lines) - 1))
        lines[at], lines[other] = lines[other], lines[at]
        return kind, b"".join(lines)
    if kind == "bytes":
        where = draw(st.integers(0, len(raw) - 1))
        return (
            kind,
            raw[:where]
            + draw(st.sampled_from([b"\xff", b"\0", b"\xe9", b"}", b"NaN", b"1e999", b"\n", b"\r"]))
            + raw[where + 1 :],
        )
    if kind == "encoding":
        text = raw.decode()
        made = draw(st.sampled_from(["utf-16", "utf-8-sig", "utf-32", "crlf", "cr", "latin-1", "compressed"]))
        ends = {
            "crlf": raw.replace(b"\n", b"\r\n"),
            "cr": raw.replace(b"\n", b"\r"),
            "compressed": b"\x1f\x8b" + raw[::3],
        }
        return f"{kind} {made}", ends[made] if made in ends else text.encode(made, errors="replace")
    if len(lines) > 1 and lines[0].strip() == b"{":  # one object over many lines
        tree = json.loads(raw)
        _retype(draw, tree)
        return kind, json.dumps(tree, indent=2).encode() + b"\n"
    tree = json.loads(lines[at])
    _retype(draw, tree)
    lines[at] = json.dumps(tree).encode() + b"\n"
    return kind, b"".join(lines)


def _retype(draw: st.DrawFn, tree: dict[str, Any]) -> None:
    """Give a value somewhere in a tree another type; numbers stay no numbers, since a wrong number looks like a right
    one."""
    node: Any = tree
    while True:
        key = draw(st.sampled_from(sorted(node) if isinstance(node, dict) else range(len(node))))
        value = node[key]
        if isinstance(value, dict | list) and value and draw(st.integers(0, 3)):
            node = value
            continue
        number = isinstance(value, int | float) and not isinstance(value, bool)
        others = [one for one in OTHER if type(one) is not type(value) and not (number and type(one) in (int, float))]
        if value is None:
            others = [["x"], {"x": 1}]
        node[key] = draw(st.sampled_from(others))
        return


def retyped(draw: Any, state: dict[str, Any], lost: bool) -> None:
    """Give something in a checkpoint's tree another type or shape, or take it away; changed numbers look like right
    ones."""
    node: Any = state
    while True:
        key = draw(st.sampled_from(sorted(node, key=str) if isinstance(node, dict) else range(len(node))))
        if isinstance(node[key], dict | list) and node[key] and draw(st.integers(0, 3)):
            node = node[key]
            continue
        if (
            lost and isinstance(node, dict) and not isinstance(key, int)
        ):  # by number: a parameter that has not been trained has no state
            del node[key]
        else:
            node[key] = draw(st.sampled_from(["x", ["x"], {"x": 1}, torch.zeros(3, 7, 2)]))
        return
