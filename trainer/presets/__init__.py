"""Presets are YAML files in this folder and its sub-folders, one per data set; :func:`load` turns one plus overrides
into a

RunConfig. A preset can extend another; ``null`` takes a value (or a gate) of it back. ``revised`` lists settings that
it had before, the latest first, so that a study begun with them can go on.
"""

from __future__ import annotations

import difflib
import json
import pickle
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from trainer import families
from trainer.config import RunConfig
from trainer.errors import UsageError, one_line
from trainer.presets.strict_yaml import parse

FOLDER = Path(__file__).parent


def names() -> list[str]:
    """Names of the presets that ship with the package."""
    return sorted(_shipped(FOLDER))


def load(preset: str, overrides: Iterable[str] = (), settings: dict[str, Any] | None = None) -> RunConfig:
    """Build a configuration.

    Args:
        preset: a name from :func:`names`, or the path of a YAML file with the same keys.
        overrides: ``["optim.lr=0.01", ...]`` as a user writes them; later ones win.
        settings: ``{"optim.lr": 0.01}``, values set by a program; they win over overrides.

    Raises:
        UsageError: unknown preset or key, bad YAML, wrong type or impossible value.
    """
    tree = _read(preset)
    before = tree.get("family", families.DEFAULT)
    for key, value in [*map(_parse, overrides), *(settings or {}).items()]:
        _assign(tree, key, value)
    if isinstance(gates := tree.get("gates"), dict | None):  # null takes one back, as in a preset that extends another
        tree["gates"] = {name: gate for name, gate in (gates or {}).items() if gate is not None}
    family = tree.get("family", before)
    families.folder(family)
    try:
        return build(tree)
    except UsageError as error:
        if family == before:
            raise
        raise UsageError(
            f"{error}; preset {preset} is of family {before}: write one of family {family}, and give it as --preset"
            " FILE.yaml"
        ) from None


def revisions(preset: str) -> tuple[tuple[str, ...], ...]:
    """Overrides that give a preset as it is, and as it was before each of its revisions, the latest first."""
    listed: list[Any] = []
    _read(preset, listed=listed)
    found = [()]
    for number in range(1, len(listed) + 1):
        # what a later revision changed has that value in the earlier ones too, unless they say otherwise
        merged = {key: value for one in listed[:number] for key, value in one.items()}
        found.append(tuple(f"{key}={json.dumps(value, default=str)}" for key, value in merged.items()))
    return tuple(found)


def build(tree: dict[str, Any]) -> RunConfig:
    """Validate a plain tree by the settings of its family, with pydantic's report turned into one line."""
    kind = families.load(tree.get("family", families.DEFAULT)).Config
    try:
        return kind.model_validate(tree)
    except ValidationError as error:
        lines = [_explain(kind, item) for item in error.errors()]
        more = f" (and {len(lines) - 3} more)" if len(lines) > 3 else ""
        raise UsageError("; ".join(lines[:3]) + more) from None


@lru_cache
def _shipped(folder: Path) -> dict[str, Path]:
    return {path.stem: path for path in folder.rglob("*.yaml")}


@lru_cache(maxsize=256)
def _parsed(path: Path, mtime_ns: int, size: int) -> bytes:
    """The tree, pickled: every reader changes one of its own."""
    return pickle.dumps(parse(path.read_text(encoding="utf-8")))


def _read(
    preset: str, children: tuple[str, ...] = (), beside: Path | None = None, listed: list[Any] | None = None
) -> dict[str, Any]:
    """The tree of a preset and those it extends.

    Args:
        children: presets on the way to this one.
        beside: the folder of the file that extends this one; file names are looked for from there.
        listed: is given the revisions.
    """
    if preset.endswith((".yaml", ".yml")):
        path = Path(preset) if beside is None else beside / preset
        preset = str(path)
    else:
        path = _shipped(FOLDER).get(preset, FOLDER / f"{preset}.yaml")
    if not path.is_file():
        by = f"{children[-1]}: extends" if children else "preset"
        raise UsageError(f"{by} = {preset!r} is neither a preset nor a YAML file; {_nearest(Path(preset).stem)}")
    if preset in children:
        raise UsageError(f"preset {preset!r} extends itself: {' -> '.join([*children, preset])}")
    try:
        facts = path.stat()
        # a study resolves its preset for every run, and parsing is most of that
        tree = pickle.loads(_parsed(path, facts.st_mtime_ns, facts.st_size))
    except (yaml.YAMLError, ValueError) as error:  # ValueError: not UTF-8, or a tag that does not fit its value
        raise UsageError(f"{path}: not valid YAML: {one_line(error)}") from None
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None
    if not isinstance(tree, dict):
        raise UsageError(f"{path}: a preset is a mapping of keys to values, not {type(tree).__name__}")
    revised = tree.pop("revised", [])
    of_names = isinstance(revised, list) and all(
        isinstance(one, dict) and one and all(isinstance(key, str) for key in one) for one in revised
    )
    if not of_names:
        raise UsageError(
            f"{path}: revised = {revised!r} must list settings as they were, for example [{{optim.lr: 0.001}}]"
        )
    if listed is not None:
        listed += revised
    parent = tree.pop("extends", None)
    if parent is None:
        return tree
    if not isinstance(parent, str):
        raise UsageError(f"{path}: extends = {parent!r} must be the name of a preset")
    return _merge(_read(parent, (*children, preset), path.parent, listed), tree, str(path))


def _merge(base: dict[str, Any], update: dict[str, Any], where: str) -> dict[str, Any]:
    for key, value in update.items():
        if key == "gates" and value is None:
            base[key] = {}
            continue
        if key == "gates":
            _require_gates(value, where)
            _require_gates(base.get(key, {}), where)
            # a gate that is taken back is gone; anywhere else null means "no value", which the field resolves
            kept = {
                name: _merge(base.get(key, {}).get(name) or {}, gate, where)
                for name, gate in value.items()
                if gate is not None
            }
            base[key] = {name: gate for name, gate in base.get(key, {}).items() if name not in value} | kept
            continue
        base[key] = (
            _merge(base[key], value, where) if isinstance(value, dict) and isinstance(base.get(key), dict) else value
        )
    return base


def _require_gates(gates: Any, where: str) -> None:
    wrong = (
        gates
        if not isinstance(gates, dict)
        else next((gate for gate in gates.values() if not isinstance(gate, dict | None)), None)
    )
    if wrong is not None:
        raise UsageError(
            f"{where}: gates = {gates!r} must map the names of gates to their rules, for example gates: {{quick:"
            " {epoch: 5, rank_agg_min: 2}}"
        )


def _parse(text: str) -> tuple[str, Any]:
    key, sign, value = text.partition("=")
    if not sign or not key.strip():
        several = "; several values of an option are one word, as --seeds 0,4,7" if text.isdigit() else ""
        raise UsageError(f"override {text!r}: write key=value, for example optim.lr=0.001{several}")
    try:
        return key.strip(), parse(value)
    except (yaml.YAMLError, ValueError):
        raise UsageError(f"override {text!r}: the value is not valid YAML") from None


def _assign(tree: dict[str, Any], dotted: str, value: Any) -> None:
    *path, leaf = dotted.split(".")
    node = tree
    for part in path:
        if not isinstance(node.get(part), dict):
            node[part] = {}
        node = node[part]
    node[leaf] = value


def _explain(kind: type[RunConfig], item: Any) -> str:
    location = [str(part) for part in item["loc"]]
    key = ".".join(location) or "configuration"
    if item["type"] == "extra_forbidden":
        parent = _node_at(kind, location[:-1])
        known = sorted(parent.model_fields) if parent else []
        return f"{key}: unknown key{_near(location[-1], known)}; known here: {', '.join(known)}"
    if item["type"] == "model_type" and (node := _node_at(kind, location)):
        own = list(node.model_fields)
        return f"{key} = {item['input']!r}: holds settings of its own ({', '.join(own)}); write {{{own[0]}: ...}}"
    message = item["msg"].removeprefix("Value error, ")
    if item["type"] == "value_error":
        return f"{key}: {message}" if location else message
    return f"{key} = {item['input']!r}: {message[0].lower()}{message[1:]}"


def _node_at(kind: type[RunConfig], location: list[str]) -> type[BaseModel] | None:
    """The config class a path of keys leads to."""
    node: Any = kind
    for part in location:
        if not (isinstance(node, type) and issubclass(node, BaseModel)):
            return None
        if part not in node.model_fields:
            continue  # the name of a gate, or the place in a list: the class was reached with the step before
        annotation = node.model_fields[part].annotation
        node = next((c for c in _named(annotation) if isinstance(c, type) and issubclass(c, BaseModel)), None)
    return node


def _named(annotation: Any) -> Iterator[Any]:
    """An annotation and all that it is made of."""
    yield annotation
    for part in get_args(annotation):
        yield from _named(part)


def _nearest(word: str) -> str:
    """The three presets with the most similar names."""
    close = difflib.get_close_matches(word, names(), n=3, cutoff=0.0)
    return f"did you mean {close[0]}? Also near: {', '.join(close[1:])}"


def _near(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean {close[0]}?)" if close else ""
