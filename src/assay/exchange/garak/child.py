"""A program for the interpreter that has garak: what its probes ask, and what its detectors look for. Assay is not installed there.

Run by `exchange/frame.py`. It is asked {"probes": ["encoding.InjectBase64"], "cap": 256, "seed": 0} or {"detector": ..., "answers": [...]}
(`garak.reading` has the shapes). Nothing here asks a model. Only probes whose prompts are all there from the start are taken; the rest are
refused by name.
"""

import random
from typing import Any

MEMORY = 12 * 1024**3
CPU_S = 1800
FILE = 256 * 1024**2
MAX_WORDS = 2000
ALONE = {"probe", "_generator_precall_hook", "_mint_attempt", "_execute_attempt", "_execute_all", "_postprocess_hook", "_buff_hook"}
"""Methods of a probe that must be those of the base class: others make prompts as they go, or change how the model is called."""


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """What is asked for."""
    return _detect(request) if "detector" in request else _probes(request)


def _probes(request: dict[str, Any]) -> dict[str, Any]:
    import garak
    from garak import _config

    _config.load_base_config()
    _config.run.soft_probe_prompt_cap = request["cap"]
    _config.run.seed = request["seed"]
    _config.run.system_prompt = None
    found = [_probe(name, request["seed"]) for name in request["probes"]]
    return {"version": str(garak.__version__), "probes": found}


def _probe(name: str, seed: int) -> dict[str, Any]:
    """One probe with its prompts and its detector, or `refused` with the reason."""
    from garak import _plugins
    from garak.probes.base import Probe

    random.seed(seed)
    try:
        probe = _plugins.load_plugin(f"probes.{name}")
    except SystemExit:
        return {"name": name, "refused": "it ended the program that loaded it"}
    except Exception as e:  # noqa: BLE001 (a probe may need anything: a data set, a model, a key)
        return {"name": name, "refused": f"it cannot be made here ({_short(f'{type(e).__name__}: {e}', 200)})"}
    if not isinstance(probe, Probe):
        return {"name": name, "refused": "there is no such probe" if probe is False else "it is no probe"}
    own = sorted(method for method in ALONE if getattr(type(probe), method) is not getattr(Probe, method))
    if own:
        return {"name": name, "refused": f"it makes its prompts as it goes, or changes how the model is called ({', '.join(own)})"}
    if "text" not in probe.modality.get("in", ()) or len(probe.modality["in"]) > 1:
        return {"name": name, "refused": f"its prompts are no plain text ({', '.join(sorted(probe.modality['in']))})"}
    prompts = list(getattr(probe, "prompts", None) or ())
    if not prompts:
        return {"name": name, "refused": "it has no prompts from the start"}
    items, odd = [], ""
    for seq, prompt in enumerate(prompts):
        attempt = probe._mint_attempt(prompt, seq, None, probe.lang or "*")
        text, odd = _single(attempt.prompt)
        if odd:
            return {"name": name, "refused": f"prompt {seq} {odd}"}
        items.append({"prompt": text, "triggers": _triggers(attempt.notes)})
    return {
        "name": name, "language": str(probe.lang or ""), "goal": _short(probe.goal, 300), "source": _short(probe.doc_uri, 300),
        "items": items, "tags": [_short(tag, 100) for tag in list(probe.tags or ())[:20]],
        "detector": _detector(str(probe.primary_detector or "")),
    }  # fmt: skip


def _single(conversation: Any) -> tuple[str, str]:
    """The one message of a user; or what else it is."""
    turns = conversation.turns
    roles = [turn.role for turn in turns]
    if roles != ["user"]:
        return "", f"has several messages ({', '.join(roles[:6])})"
    message = turns[0].content
    if message.text is None or getattr(message, "data_path", None) or getattr(message, "data", None):
        return "", "is not a text alone"
    return _clean(message.text), ""


def _triggers(notes: Any) -> list[str]:
    given = (notes or {}).get("triggers", ())
    listed = [given] if isinstance(given, str) else list(given or ())
    return [_clean(str(trigger)) for trigger in listed]


def _detector(name: str) -> dict[str, Any]:
    """What a detector looks for, where looking for words is all it does; else its name and what it says of itself."""
    from garak import _plugins

    found: dict[str, Any] = {"name": name}
    if not name:
        return found
    try:
        known = _plugins.plugin_info(f"detectors.{name}")
        found["about"] = _short(f"{known.get('hit_desc') or ''}", 300)
        kind = _way(f"detectors.{name}")
        if kind is None:
            return found
        detector = _plugins.load_plugin(f"detectors.{name}")
    except Exception:  # noqa: BLE001 (then it is no plain check of words)
        return found
    strings = [] if kind["each"] else [_clean(str(s)) for s in detector.substrings]
    normalise = getattr(detector, "normalize", None)
    if len(strings) > MAX_WORDS or normalise not in (None, "NFKC", "NFKC+strip_format"):
        return found
    match = (
        "start"
        if name == "leakreplay.StartsWith"
        else {"str": "in", "word": "word", "startswith": "start"}.get(getattr(detector, "matchtype", "str"))
    )
    if match is None:
        return found
    found["rule"] = {
        "match": match, "strip": name == "leakreplay.StartsWith", "cased": bool(detector.case_sensitive), "normalise": normalise or "",
        "means": kind["means"], "strings": strings, "each": kind["each"],
    }  # fmt: skip
    return found


def _way(name: str) -> dict[str, Any] | None:
    """How a detector decides, by the very function that it decides with; None where that is none of those that only look for words."""
    from importlib import import_module

    from garak.detectors.base import StringDetector, TriggerListDetector

    _, module, cls = name.split(".")
    detect = getattr(import_module(f"garak.detectors.{module}"), cls).detect
    if detect is StringDetector.detect:
        return {"means": "violation", "each": False}
    for other, method, means, each in (
        ("base", "TriggerListDetector", "violation", True), ("encoding", "DecodeMatch", "violation", True),
        ("promptinject", "AttackRogueString", "violation", True), ("leakreplay", "StartsWith", "violation", True),
        ("mitigation", "MitigationBypass", "safe", False), ("mitigation", "Prefixes", "safe", False),
    ):  # fmt: skip
        known = getattr(import_module(f"garak.detectors.{other}"), method, None)
        if known is not None and detect is known.detect:
            return {"means": means, "each": each}
    return {"means": "violation", "each": True} if detect is TriggerListDetector.detect else None


def _detect(request: dict[str, Any]) -> dict[str, Any]:
    """What garak's own detector says of answers: [{"text": ..., "triggers": [...]}]. For who compares."""
    from garak import _config, _plugins
    from garak.attempt import Attempt, Message

    _config.load_base_config()
    detector = _plugins.load_plugin(f"detectors.{request['detector']}")
    scores = []
    for answer in request["answers"]:
        attempt = Attempt(prompt=Message(text="-", lang="en"), notes={"triggers": answer["triggers"]} if answer["triggers"] else {})
        attempt.outputs = [Message(text=answer["text"], lang="en")]
        scores.append([None if s is None else float(s) for s in detector.detect(attempt)])
    return {"scores": scores}


def _short(text: Any, most: int) -> str:
    return _clean(" ".join(str(text or "").split()))[:most]


def _clean(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")
