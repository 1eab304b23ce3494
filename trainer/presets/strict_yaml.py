"""YAML as people expect it: ``on`` is a word, ``1e-3`` is a number, a key given twice is an error.

PyYAML reads YAML 1.1, where the key ``rate: {on: agg}`` becomes ``True``, ``lr: 1e-3`` a string, and a
repeated key silently wins. This loader takes the YAML 1.2 rules for booleans and floats instead.
"""

from __future__ import annotations

import re
from typing import Any

import yaml


# libyaml reads ten times faster where PyYAML was built with it
class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
    pass


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in rules if not tag.endswith((":bool", ":float", ":timestamp"))]
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)[eE][-+]?[0-9]+|[0-9]+\.[0-9]*|\.[0-9]+|\.inf|\.nan)$"),
    list("-+0123456789."),
)


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    keys = [loader.construct_object(key) for key, _ in node.value]
    for key in keys:
        if keys.count(key) > 1:
            raise yaml.YAMLError(f"key {key!r} is given twice{node.start_mark}")
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def parse(text: str) -> Any:
    """Read one document. Raises yaml.YAMLError with the place of the fault."""
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - derived from SafeLoader
    except (ValueError, IndexError, TypeError) as error:  # a tag that does not fit its value, such as !!int abc
        raise yaml.YAMLError(str(error)) from None
