"""A tool that plays samples and misbehaves on demand: each sample's id says how. Run by its path, as every worker."""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "src" / "assay" / "sources" / "child"))
from assaywire import Wire, digest, fail, score


def main() -> None:
    wire = Wire()
    print("what a tool prints goes nowhere near the messages")
    opening = wire.read()
    assert opening is not None
    options = opening["options"]
    if opening["task"] == "refused":
        fail(wire, "there is no such task\x1b[31m")
    kind, _, count = opening["task"].partition("*")
    for name in [f"{kind}-{i}" for i in range(int(count))] if count else opening["task"].split(","):
        asks = "" if not opening["listing"] else "   " if name == "empty" else f"What about {name}?"
        wire.send("sample", id=name, bank="", prompt=asks, digest=digest([name, options.get("edition", "1")]), unfit="")
    wire.send("ready", packages={"tool": options.get("version", "1.0")}, code={}, scorers=["grade"], notes=["a note"])
    answers: dict[int, dict[str, object]] = {}
    come = threading.Condition()
    places = threading.Semaphore(opening["parallel"])

    def ask(key: int, call: int, messages: list[dict[str, object]]) -> dict[str, object]:
        wire.send("ask", key=key, call=call, messages=messages, tools=[])
        with come:
            come.wait_for(lambda: call in answers)
            return answers.pop(call)

    def play(key: int, name: str, call: int) -> None:
        with places:
            play_now(key, name, call)

    def play_now(key: int, name: str, call: int) -> None:
        kind = name.partition("-")[0]
        if kind == "die" or (kind == "once" and not (mark := Path(options["folder"]) / name).exists() and mark.touch() is None):
            os._exit(9)
        if kind == "hang":
            time.sleep(60)
        if kind == "garbage":
            wire.send("nonsense")
        if kind == "silent":
            wire.send("played", key=key, failure="", scores={"grade": score("good")})
            return
        messages: list[dict[str, object]] = [{"role": "user", "content": f"What about {name}?"}]
        if kind == "long":
            messages[0]["content"] = "x" * 200_000
        if kind == "call":
            messages[0]["tool_calls"] = [5]
        if kind == "function":
            messages.append({"role": "assistant", "tool_calls": [{"function": "f"}]})
        if kind == "role":
            messages[0]["role"] = {"a": 1}
        if kind == "swarm":
            for again in range(500):
                wire.send("ask", key=key, call=call + again, messages=messages, tools=[])
            return
        said = ask(key, call, messages)
        if kind == "break" and "yes" in str(said["text"]):
            os._exit(9)
        for again in range(1, 50 if kind == "flood" else 1):
            said = ask(key, call + again, messages)
        if kind == "twice":
            more = [{"role": "assistant", "content": said["text"]}, {"role": "user", "content": "And now?"}]
            said = ask(key, call + 1, [*messages, *more])
        if kind == "slow":
            time.sleep(0.2)
        told = " ".join(name for name in os.environ if name.startswith("LC_")) if kind == "seen" else "as it was said"
        bad = "yes" in str(said["text"])
        odd = "the grade could not be read" if kind == "odd" else ""
        scores = {} if kind == "unscored" else {"grade": score("bad" if bad else "good", told, odd)}
        wire.send("played", key=key, failure="errored: ValueError\x1b[2J" if kind == "error" else "", scores=scores)

    number = 0
    while (order := wire.read()) is not None and order["do"] != "end":
        if order["do"] == "answer":
            with come:
                answers[order["call"]] = order
                come.notify_all()
        else:
            number += 100
            threading.Thread(target=play, args=(order["key"], order["sample"], number), daemon=True).start()
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
