"""A program for the interpreter that has PyRIT: what its converters make of texts. Assay is not installed there.

Run by `exchange/frame.py`. It is asked {"converters": [{"name": "base64", "given": {}}], "texts": ["..."]} (`pyrit.making` has the
shapes). No model is asked. A converter that needs a model, gives something else than text, or cannot be made from plain values is refused
by name, with the reason.
"""

import asyncio
import inspect
import json
import re
from typing import Any

MEMORY = 8 * 1024**3
CPU_S = 1800
FILE = 64 * 1024**2
CLOSEST = 8


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """What every converter makes of every text."""
    import pyrit
    import pyrit.converter as converters

    return {
        "version": str(pyrit.__version__),
        "converters": [_convert(converters, each["name"], each["given"], request["texts"]) for each in request["converters"]],
    }


def _convert(converters: Any, name: str, given: dict[str, Any], texts: list[str]) -> dict[str, Any]:
    """What a converter makes of every text, or `refused` with the reason."""
    known = {_plain(n): n for n in converters.__all__ if n.endswith("Converter") and n != "Converter"}
    full = known.get(_plain(name)) or known.get(_plain(name) + "converter")
    if full is None:
        return {"refused": f"there is no such converter; there are {', '.join(sorted(known.values()))}"[:3000]}
    try:
        cls = getattr(converters, full)
    except Exception as e:  # noqa: BLE001 (some need packages of their own)
        return {"refused": f"it cannot be loaded here ({_line(e)})"}
    if inspect.isabstract(cls):
        return {"refused": "it is a base class"}
    if tuple(cls.SUPPORTED_OUTPUT_TYPES) != ("text",) or "text" not in cls.SUPPORTED_INPUT_TYPES:
        return {
            "refused": f"it makes {', '.join(cls.SUPPORTED_OUTPUT_TYPES)} of {', '.join(cls.SUPPORTED_INPUT_TYPES)}, and not text of text"
        }
    parameters = inspect.signature(cls.__init__).parameters
    if "converter_target" in parameters and cls.__init__ is not converters.Converter.__init__:  # whose own constructor takes one
        return {"refused": "it needs a model"}
    needed = [p.name for p in list(parameters.values())[1:] if p.default is p.empty and p.kind is p.KEYWORD_ONLY and p.name not in given]
    if needed:
        return {"refused": f"it needs {', '.join(needed)}: give {name}:{needed[0]}=..."}
    try:
        converter = cls(**given)
        identity = converter.get_identifier().model_dump(mode="json") if hasattr(converter, "get_identifier") else {}
        outputs = asyncio.run(_all(converter, texts))
        if asyncio.run(_all(cls(**given), texts)) != outputs:
            return {"refused": "it makes something else each time: give it a seed if it takes one, or leave it out"}
    except Exception as e:  # noqa: BLE001 (a converter may refuse its arguments, or a text, in any way)
        return {"refused": f"it fails ({_line(e)})"}
    return {"class": full, "identity": json.loads(json.dumps(_values(identity), default=str)), "texts": outputs}


async def _all(converter: Any, texts: list[str]) -> list[str]:
    made = []
    for text in texts:
        result = await converter.convert_async(prompt=text, input_type="text")
        if result.output_type != "text":
            raise ValueError(f"it made {result.output_type}")
        made.append(str(result.output_text).encode("utf-8", "replace").decode("utf-8"))
    return made


def _values(identity: Any) -> Any:
    """What identifies a converter: plain values, and no empty ones."""
    return {k: v for k, v in dict(identity).items() if v not in (None, "", [], {}, ())} if isinstance(identity, dict) else {}


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _line(e: Exception) -> str:
    return f"{type(e).__name__}: {' '.join(str(e).split())}"[:200]
