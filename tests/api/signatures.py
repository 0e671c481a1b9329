"""The public names and their signatures as text, so that a change of what others build on is a deliberate one.

python -m tests.api.signatures > tests/api/signatures.txt        after a change that was meant, beside its line in CHANGELOG.md
"""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable, Iterator

import assay


def lines() -> Iterator[str]:
    """One line for each function, class, field and public member."""
    for name in sorted(assay.__all__):
        value = getattr(assay, name)
        if inspect.isclass(value):
            yield from _of_class(name, value)
        elif callable(value):
            yield from _of_function(f"{'async ' if inspect.iscoroutinefunction(value) else ''}def {name}", value)
        else:
            yield f"{name}: {type(value).__name__}"


def _of_function(name: str, value: Callable[..., object], margin: str = "") -> Iterator[str]:
    """A parameter a line."""
    signature = inspect.signature(value)
    yield f"{margin}{name}() -> {signature.return_annotation}"
    for parameter in signature.parameters.values():
        if parameter.name != "self":
            kind = "*, " if parameter.kind is parameter.KEYWORD_ONLY else ""
            default = "" if parameter.default is parameter.empty else f" = {re.sub(' at 0x[0-9a-f]+', '', repr(parameter.default))}"
            yield f"{margin}    {kind}{parameter.name}: {parameter.annotation}{default}"


def _of_class(name: str, value: type) -> Iterator[str]:
    bases = [b.__name__ for b in value.__bases__ if b is not object]
    yield f"class {name}({', '.join(bases)})"
    fields = (
        [f.name for f in dataclasses.fields(value)] if dataclasses.is_dataclass(value) else list(getattr(value, "__struct_fields__", ()))
    )
    for field in fields:
        yield f"    {field}: {value.__annotations__[field]}"
    for member, found in sorted(vars(value).items()):
        if member in fields or (member.startswith("_") and member not in ("__init__", "_repr_html_")):
            continue
        if isinstance(found, property):
            yield f"    {member}: property -> {inspect.signature(found.fget).return_annotation}"  # type: ignore[arg-type]
        elif inspect.isfunction(found) and not (member == "__init__" and fields):
            yield from _of_function(f"def {member}", found, "    ")
        elif isinstance(found, int) and not isinstance(found, bool):
            yield f"    {member} = {found}"


if __name__ == "__main__":
    print("\n".join(lines()))
