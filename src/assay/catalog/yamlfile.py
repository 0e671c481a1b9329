"""YAML into typed values, with the line of whatever is wrong.

plan = load_yaml(text, Plan, where="plan.yaml", error=PlanError)
"""

from __future__ import annotations

import re
from typing import Any, TypeVar

import msgspec
import yaml

from assay.errors import AssayError

T = TypeVar("T")
MAX_BYTES = 2 * 1024 * 1024
MAX_DEPTH = 32
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_PATH = re.compile(r" - at `(?:key in )?\$(.*?)`$")
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+|\.\.\.)\]")


class Located:
    """A parsed document that knows the line of every path in it."""

    def __init__(self, text: str, *, where: str, error: type[AssayError]) -> None:
        self.where = where
        self.error = error
        if len(text.encode("utf-8", "replace")) > MAX_BYTES:
            raise error(f"larger than {MAX_BYTES:,} bytes", where=where)
        if _may_be_deep(text) and _too_deep(text):
            raise error("nested too deeply", where=where)
        loader = _Loader(text)
        try:
            self._root: yaml.Node | None = loader.get_single_node()
            if self._root is None:
                raise error("the file is empty", where=where)
            self._check(self._root, set(), 0)
            self.data: Any = loader.construct_document(self._root)
        except yaml.MarkedYAMLError as e:
            mark = e.problem_mark or e.context_mark
            line = f":{mark.line + 1}" if mark else ""
            raise error(f"not valid YAML: {e.problem or e.context}", where=f"{where}{line}") from None
        except (yaml.YAMLError, ValueError, RecursionError) as e:
            raise error(f"not valid YAML: {str(e).splitlines()[0]}", where=where) from None
        finally:
            loader.dispose()

    def _check(self, node: yaml.Node, seen: set[int], depth: int) -> None:
        """No aliases (they can blow a small file up), no duplicate keys, bounded depth."""
        line = node.start_mark.line + 1
        if id(node) in seen:
            raise self.error("anchors and aliases are not used here", where=f"{self.where}:{line}")
        if depth > MAX_DEPTH:
            raise self.error("nested too deeply", where=f"{self.where}:{line}")
        seen.add(id(node))
        if isinstance(node, yaml.MappingNode):
            keys: set[str] = set()
            for key, value in node.value:
                if not isinstance(key, yaml.ScalarNode):
                    raise self.error("a key must be plain text", where=f"{self.where}:{key.start_mark.line + 1}")
                if key.value in keys:
                    raise self.error(f"the key '{key.value}' stands twice", where=f"{self.where}:{key.start_mark.line + 1}")
                keys.add(key.value)
                self._check(value, seen, depth + 1)
        elif isinstance(node, yaml.SequenceNode):
            for value in node.value:
                self._check(value, seen, depth + 1)

    def line(self, path: str) -> int:
        """The line (from 1) of a path like `.requirements[0].max_rate`; the nearest enclosing one if it is not there."""
        node = self._root
        best = node.start_mark.line + 1 if node else 1
        for name, index in _STEP.findall(path):
            step: yaml.Node | None = None
            if isinstance(node, yaml.MappingNode) and name:
                for key, value in node.value:
                    if key.value == name:
                        step, best = value, key.start_mark.line + 1
            elif isinstance(node, yaml.SequenceNode) and index.isdigit() and int(index) < len(node.value):
                step = node.value[int(index)]
                best = step.start_mark.line + 1
            if step is None:
                break
            node = step
        return best

    def fail(self, what: str, path: str = "", fix: str = "") -> AssayError:
        """An error that names file, line and field."""
        field = f" {path.lstrip('.')}" if path else ""
        return self.error(what, where=f"{self.where}:{self.line(path)}{field}", fix=fix)

    def convert(self, kind: type[T]) -> T:
        """The document as `kind` (msgspec). Raises the error with the line of the first thing that does not fit."""
        try:
            return msgspec.convert(self.data, kind, strict=True)
        except (msgspec.ValidationError, ValueError) as e:
            message = str(e)
            found = _PATH.search(message)
            path = found.group(1) if found else ""
            unknown = re.search(r"unknown field `(.+?)`", message)
            if unknown:
                path += f".{unknown.group(1)}"
            raise self.fail(_plain(_PATH.sub("", message)), path) from None


def _may_be_deep(text: str) -> bool:
    """Whether a text could be nested thousandfold: by brackets, or by a line's beginning."""
    return text.count("[") + text.count("{") > 5000 or re.search(r"(?m)^[ \t?-]{500}", text) is not None


def _too_deep(text: str) -> bool:
    """Whether it is, without composing it: the C library calls itself at every level, and the process dies where its stack ends."""
    depth = 0
    try:
        for event in yaml.parse(text, Loader=_Loader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_DEPTH:
                return True
    except yaml.YAMLError:
        return False  # said with its line when it is composed, which stops at the same place
    return False


def _plain(message: str) -> str:
    message = message.replace("Object contains unknown field", "unknown key").replace("Object missing required field", "missing key")
    return message[0].lower() + message[1:]


def load_yaml(text: str, kind: type[T], *, where: str, error: type[AssayError]) -> T:
    """Parse and convert in one go."""
    return Located(text, where=where, error=error).convert(kind)
