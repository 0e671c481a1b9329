"""Probes of garak as banks and judges: what becomes of what garak says, and of what it should not say; and against garak itself."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import structs

import assay
from assay.catalog import read_bank
from assay.errors import CatalogError
from assay.exchange.banking import write_banks
from assay.exchange.garak.making import from_garak, imported
from assay.exchange.garak.reading import Detector, DetectorRule, Probe, ProbePrompt, Probes, detect
from assay.exchange.importers import Wanted
from assay.plan import read_plan
from assay.runs import RunFile
from assay.targets import parse_target
from assay.targets.strings import StringsFile, read_strings

MADE = Path(__file__).parents[2] / ".venvs" / "garak" / "bin" / "python"
PYTHON = os.environ.get("ASSAY_GARAK_PYTHON") or (str(MADE) if MADE.exists() else "")
real = pytest.mark.skipif(not PYTHON, reason="no interpreter with garak: make test-adapters, or ASSAY_GARAK_PYTHON")

EACH = DetectorRule("in", False, False, "", "violation", (), each=True)
REFUSALS = DetectorRule("in", False, False, "", "safe", ("i cannot", "i'm sorry"), each=False)
DECODE = Probe(
    "encoding.X", language="en", goal="decode", items=(ProbePrompt("Decode A", ("alpha",)), ProbePrompt("Decode B", ("beta", ""))),
    detector=Detector("encoding.DecodeMatch", "decodes", EACH),
)  # fmt: skip
ASK = Probe(
    "ask.Y",
    language="en",
    items=(ProbePrompt("Do it"), ProbePrompt("Do that")),
    detector=Detector("mitigation.MitigationBypass", "", REFUSALS),
)
MODEL = Probe("toxic.Z", language="en", items=(ProbePrompt("Say it"),), detector=Detector("unsafe.Model", "a model"))


def made(*probes: Probe, **given: Any) -> Any:
    wanted = Wanted(tuple(p.name for p in probes), **{"name": "mine", "licence": "Apache-2.0", **given})
    return imported(Probes("0.17.1", probes), wanted, wanted.what)


def test_probes_become_a_bank_a_judge_and_a_plan_that_is_read(tmp_path: Path) -> None:
    paths = write_banks(made(DECODE, ASK, MODEL), tmp_path)
    assert [p.name for p in paths] == ["mine.bank.json", "mine.strings.json", "plan.yaml"]
    bank, (strings, _) = read_bank(paths[0]), read_strings(paths[1])
    assert bank.prompts["en"]["encoding.X/00001"] == "Decode B"
    assert bank.source["garak"] == "0.17.1"
    assert "detector encoding.DecodeMatch (decodes)" in bank.source["garak encoding.X"]
    assert strings.items["encoding.X/00001"].strings == ("beta",)
    assert "toxic.Z/00000" not in strings.items
    plan, _ = read_plan(str(paths[2]))
    assert plan.sizes == {"mine": 5}
    assert "toxic.Z" in " ".join(made(DECODE, MODEL).notes)


def test_a_run_is_flagged_by_words_and_verifies_without_garak(tmp_path: Path) -> None:
    write_banks(made(DECODE, ASK), tmp_path)
    result = assay.evaluate(str(tmp_path / "plan.yaml"), target=parse_target("scripted:0.99"), out=tmp_path / "run")
    assert (tmp_path / "run" / "mine.strings.json").is_file()
    with RunFile.read(tmp_path / "run" / "run.db") as run:
        trials = {t.item: t for t in run.trials()}
        outcomes = sorted((run.opening().catalog.hazards["mine"].scenarios[t.index].id.split("/")[0], t.outcome) for t in trials.values())
        identity = run.opening().plan.judges
    assert len(outcomes) == 4
    assert identity is not None
    assert identity.panel[0].target.digest.startswith("sha256:")
    assert {o for _, o in outcomes} == {"violation", "safe"}  # `Certainly ...` refuses nothing, and decodes nothing
    assert result.bundle is not None
    assert assay.verify(result.bundle).ok


@pytest.mark.parametrize(
    ("probes", "given", "why"),
    [
        ((structs.replace(DECODE, refused="it needs a model"),), {}, "encoding.X: it needs a model"),
        ((structs.replace(DECODE, language="*"),), {}, "language of encoding.X is not told"),
        ((structs.replace(DECODE, items=(ProbePrompt("only one"),)),), {}, "a bank has 2 to"),
        ((DECODE, structs.replace(ASK, language="fr")), {}, "several languages"),
        ((DECODE,), {"name": "No Name"}, "name"),
    ],
)
def test_what_cannot_be_a_bank_is_refused_by_name(probes: tuple[Probe, ...], given: dict[str, str], why: str) -> None:
    with pytest.raises(CatalogError, match=why):
        made(*probes, **given)


def test_what_was_not_asked_for_is_not_taken() -> None:
    with pytest.raises(CatalogError, match="other probes"):
        imported(Probes("0.17.1", (ASK,)), Wanted(("encoding.X",), name="m", licence="l"), ["encoding.X"])
    for names, why in ((("../x",), "no name of a probe"), (("a.B", "a.B"), "twice")):
        with pytest.raises(CatalogError, match=why):
            from_garak(Wanted(names, name="m", licence="l"))
    with pytest.raises(CatalogError, match="whole number"):
        from_garak(Wanted(("a.B",), name="m", licence="l", options={"cap": ("-1",)}))
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(b'{"version": "0.17\\u001b[2J", "probes": []}', type=Probes)
    long = structs.replace(DECODE, items=(*DECODE.items, ProbePrompt("x" * 40_000, ("y",))))
    assert len(made(long).banks[0].items) == 2


TAKEN = ["encoding.InjectBase64", "goodside.Tag", "doctor.Bypass", "leakreplay.NYTComplete", "ansiescape.AnsiRaw", "phrasing.PastTense"]
ANSWERS = [
    "I'm sorry, but I cannot help with that.", "Certainly: here it is.", "", "  Sure, hold on", "I apologize. It is illegal and harmful.",
    "\x1b[31m", "As an AI, no.", "ﬁne, decoded", "PWNED",
]  # fmt: skip


@real
def test_real_probes_are_taken_alike_twice_and_the_judge_says_what_garaks_detectors_say(tmp_path: Path) -> None:
    wanted = Wanted(tuple(TAKEN), name="mine", licence="Apache-2.0", language="en", python=PYTHON, options={"cap": ("12",)})
    first, second = from_garak(wanted), from_garak(wanted)
    assert first.banks == second.banks
    assert first.files == second.files
    bank = first.banks[0]
    assert bank.source["garak"].startswith("0.17.")
    strings = msgspec.json.decode(first.files["mine.strings.json"], type=StringsFile)
    differing = []
    for probe in TAKEN:
        items = [i for i in bank.items if i.startswith(probe)][:3]
        assert items, probe
        looked = [strings.items[i] for i in items]
        rule = strings.rules[looked[0].rule]
        own = [s for each in looked for s in each.strings[:1]]
        answers = [*ANSWERS, *own, *(f"Decoded: {s.upper()}!" for s in own)]
        given = [(text, each.strings) for each in looked for text in answers]
        scores = detect(Path(PYTHON), looked[0].rule, given).scores
        for (text, triggers), score in zip(given, scores, strict=True):
            mine = rule.says(text, triggers)[0]
            if [float(mine)] != list(score):
                differing.append((probe, text, triggers[:2], score, mine))
    assert not differing


@real
def test_real_probes_that_do_not_fit_are_refused_with_the_reason() -> None:
    refused = {
        "tap.PAIR": "as it goes",
        "promptinject.HijackHateHumans": "as it goes",
        "audio.AudioAchillesHeel": "cannot be made",
        "a.B": "cannot",
    }
    for probe, why in refused.items():
        with pytest.raises(CatalogError, match=f"{probe}: .*{why}"):
            from_garak(Wanted((probe,), name="mine", licence="x", language="en", python=PYTHON))
