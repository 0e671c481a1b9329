"""How the reports' pages are made from their templates: everything escaped, no name that is not there, the same whitespace.

environment = page_environment(Path(__file__).parent)
environment.get_template("template.html").render(view=view)
"""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assay.report.text import visible

if TYPE_CHECKING:
    from jinja2 import BytecodeCache, Environment


def page_environment(folder: Path, *, shown: bool = True, compiled: BytecodeCache | None = None) -> Environment:
    """The templates of a folder. Every string that they print passes `visible`, unless `shown` is false because its maker saw to that;
    markup of our own passes as it is. `compiled` keeps what was compiled.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(folder), autoescape=True, undefined=StrictUndefined, finalize=_shown if shown else None,
        bytecode_cache=compiled, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip


def content_policy(css: str) -> str:
    """The Content-Security-Policy: nothing may load or run but the style with this hash."""
    hashed = base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{hashed}'; base-uri 'none'; form-action 'none'"


def _shown(value: Any) -> Any:
    return visible(value) if type(value) is str else value
