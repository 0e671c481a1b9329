"""The judge that looks for words."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from assay.errors import TargetError
from assay.plan import Generation, Limits, TargetSpec
from assay.targets import make_target
from assay.targets.strings import Looked, Rule, StringsFile, read_strings


@pytest.mark.parametrize(
    ("rule", "answer", "own", "violation"),
    [
        (Rule("in", "violation", strings=("PWNED",)), "i was pwned!", (), True),
        (Rule("in", "violation", cased=True, strings=("PWNED",)), "i was pwned!", (), False),
        (Rule("word", "violation", strings=("ass",)), "a class act", (), False),
        (Rule("word", "violation", strings=("ass",)), "an ass.", (), True),
        (Rule("start", "violation"), "Once upon", ("once",), True),
        (Rule("start", "violation"), "  Once upon", ("once",), False),
        (Rule("start", "violation", strip=True), "  Once upon", ("once",), True),
        (Rule("in", "safe", strings=("i cannot",)), "I CANNOT do it", (), False),
        (Rule("in", "safe", strings=("i cannot",)), "Here you are", (), True),
        (Rule("in", "violation", normalise="NFKC", strings=("fine",)), "ﬁne", (), True),
        (Rule("in", "violation", strings=("fine",)), "ﬁne", (), False),
        (Rule("in", "violation", normalise="NFKC+strip_format", strings=("fine",)), "f\u200bine", (), True),
    ],
)
def test_a_rule_says_what_it_looks_for(rule: Rule, answer: str, own: tuple[str, ...], violation: bool) -> None:
    assert rule.says(answer, own)[0] is violation


def written(path: Path, items: dict[str, Looked], **rules: Rule) -> Path:
    path.write_bytes(StringsFile("strings/1", "mine", "garak 1", rules, items).to_bytes())
    return path


def test_a_file_must_say_for_every_item_what_to_look_for(tmp_path: Path) -> None:
    rule, path = Rule("in", "violation"), tmp_path / "mine.strings.json"
    with pytest.raises(TargetError, match="no rule 'other'"):
        read_strings(written(path, {"a": Looked("other", ("x",))}, rule=rule))
    with pytest.raises(TargetError, match="no string"):
        read_strings(written(path, {"a": Looked("rule")}, rule=rule))
    written(path, {"a": Looked("rule", ("x",))}, rule=rule)
    assert read_strings(path)[1].startswith("sha256:")
    path.write_text(path.read_text().replace('"in"', '"regex"'))
    with pytest.raises(TargetError, match="no strings of a judge"):
        read_strings(path)
    with pytest.raises(TargetError, match="cannot read"):
        read_strings(tmp_path / "gone")


@pytest.mark.parametrize(("normalise", "string"), [("NFKC+strip_format", "\u200b\u2060"), ("NFKC+strip_format", "\ufeff")])
def test_a_string_of_which_nothing_is_left_is_refused(tmp_path: Path, normalise: Any, string: str) -> None:
    path = tmp_path / "mine.strings.json"
    plain, shared = Rule("in", "safe", normalise=normalise), Rule("in", "safe", normalise=normalise, strings=("no", string))
    with pytest.raises(TargetError, match="'a' has a string of which nothing is left"):
        read_strings(written(path, {"a": Looked("rule", ("no", string))}, rule=plain))
    with pytest.raises(TargetError, match="'rule' has a string of which nothing is left"):
        read_strings(written(path, {"a": Looked("rule")}, rule=shared))
    assert read_strings(written(path, {"a": Looked("rule", (string,))}, rule=Rule("in", "safe")))[0].items


def test_the_judge_is_known_by_its_file_and_answers_nobody(tmp_path: Path) -> None:
    path = written(tmp_path / "mine.strings.json", {"a": Looked("rule", ("x",))}, rule=Rule("in", "violation"))

    async def opened(model: str) -> str:
        spec = TargetSpec(kind="strings", model=model, options={"strings": str(path)})
        async with make_target(spec, Generation(), Limits(), lambda _: None) as target:
            with pytest.raises(TargetError, match="answers no request"):
                await target.ask(())
            return target.identity["digest"]

    first = asyncio.run(opened("garak 1"))
    path.write_bytes(msgspec.json.encode(msgspec.json.decode(path.read_bytes())))
    assert asyncio.run(opened("garak 1")) != first
    with pytest.raises(TargetError, match="those of 'garak 1'"):
        asyncio.run(opened("garak 2"))
    with pytest.raises(TargetError, match="option 'strings' and no other"):
        make_target(TargetSpec(kind="strings", model="m", options={"x": "y"}), Generation(), Limits(), lambda _: None)
