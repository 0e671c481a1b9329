"""The last chapters: the access programme, limitations, independence, and the annexes with crosswalk, evidence, verification and tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from assay.catalog.crosswalk import read_framework
from assay.report.caveats import limitations
from assay.report.facts import Basis
from assay.report.frameworks import Status, resolve
from assay.report.heldout import bank_sentences
from assay.report.paper.about import About
from assay.report.paper.body import Words, cell
from assay.report.paper.document import Block, Bullets, Cell, Heading, Paragraph, Quote, Table
from assay.report.paper.numbers import Numbers
from assay.report.pieces import Figure, Reference, Stated, Text, say

TONES: dict[Status, str] = {"evidence": "approve", "against": "halt", "partial": "open", "gap": "open"}
DIGESTS = ("bundle", "root", "plan", "catalog", "target", "key")


def limits(runs: Sequence[Numbers], words: Words) -> Iterator[Block]:
    """What the runs cannot say."""
    yield Heading(1, words["limits"], "limits")
    yield Paragraph(say(words["limits_text"]))
    for name in ("aware", "contamination"):
        yield Paragraph(say(words[f"limits_{name}"]))
    said = {n.source.letter: (*limitations(n.tally), *bank_sentences(n.opening, n.source.run.incidents())) for n in runs}
    common = [s for s in said[runs[0].source.letter] if len(runs) > 1 and all(s in of_run for of_run in said.values())]
    if common:
        evidence_of_all = tuple(n.source.bundle for n in runs)
        yield Heading(2, words["limits_all"], "limits-all")
        yield Bullets(tuple((Figure(sentence, evidence_of_all),) for sentence in common))
    for n in runs:
        own = [s for s in said[n.source.letter] if s not in common]
        if own:
            yield Heading(2, words["limits_run"].replace("{letter}", n.source.letter), f"limits-{n.source.letter}")
            yield Bullets(tuple((n.figure(sentence),) for sentence in own))


def independence(runs: Sequence[Numbers], words: Words, about: About, *, told: bool) -> Iterator[Block]:
    """Whose keys signed, and what the authors say of their interests."""
    yield Heading(1, words["independence"], "independence")
    for n in runs:
        keyid = n.source.signed.keyid
        party = next((name for name, key in about.parties.items() if keyid.startswith(key)), "")
        if party:
            yield Paragraph(say(words["independence_party"], letter=n.letter, party=Reference(party)))
        else:
            yield Paragraph(say(words["independence_keys"], letter=n.letter, key=Reference(f"{keyid[:16]}…", code=True)))
    if not told:
        yield Paragraph(say(words["independence_none"]), "note")


def crosswalk(runs: Sequence[Numbers], bases: Mapping[str, Basis], words: Words, about: About) -> Iterator[Block]:
    """Clause tables of the frameworks that the authors chose."""
    if not about.frameworks:
        return
    yield Heading(1, words["annex_crosswalk"], "annex-crosswalk")
    yield Paragraph(say(words["annex_crosswalk_text"]))
    for name in about.frameworks:
        framework = read_framework(name)
        for n in runs:
            view = resolve(framework, bases[n.source.letter])
            rows = []
            for clause in view.clauses:
                tone = TONES[clause.status]
                status = Cell((Text(words[f"status_{clause.status}"], strong=True),), tone=tone)  # type: ignore[arg-type]
                rows.append((Cell((Reference(clause.id),)), Cell((Reference(clause.about),)), status))
            caption = say(words["annex_crosswalk_table"], framework=Reference(f"{framework.title} {framework.version}"), letter=n.letter)
            head = (words["col_clause"], words["col_about"], words["col_status"])
            yield Table(caption, head, tuple(rows), (1.6, 6, 1.6), f"table-{name}-{n.source.letter}")


def evidence(runs: Sequence[Numbers], words: Words) -> Iterator[Block]:
    """Every run's digests, whole."""
    yield Heading(1, words["annex_evidence"], "annex-evidence")
    yield Paragraph(say(words["annex_evidence_text"]))
    rows = []
    for n in runs:
        signed = n.source.signed
        digests = {
            "bundle": n.source.bundle, "root": signed.root, "plan": n.plan.digest, "catalog": n.plan.catalog,
            "target": n.opening.target.get("digest", "") or "–", "key": signed.keyid,
        }  # fmt: skip
        for place, name in enumerate(DIGESTS):
            first = () if place else (Cell((n.letter, Text(" "), n.model), rows=len(DIGESTS)),)
            rows.append((*first, cell(words[f"evidence_{name}"]), Cell((Reference(digests[name], code=True),))))
    head = (words["col_run"], words["col_what"], words["col_digest"])
    yield Table((Text(words["annex_evidence_table"]),), head, tuple(rows), (1.6, 2, 5.4), "table-evidence")


def verify(runs: Sequence[Numbers], words: Words, *, full: bool) -> Iterator[Block]:
    """Commands for whoever doubts."""
    yield Heading(1, words["annex_verify"], "annex-verify")
    yield Paragraph(say(words["annex_verify_text"]))
    names = " ".join(f"{n.source.letter}/evidence.jsonl" for n in runs)
    for text, command in (
        ("check", f"assay verify {runs[0].source.letter}/evidence.jsonl"),
        ("digest", f"sha256sum {names}"),
        ("again", f"assay report --paper {names}"),
    ):
        yield Paragraph(say(words[f"annex_verify_{text}"]))
        yield Quote(command)
    yield Paragraph(say(words["annex_verify_full"], full=words["annex_verify_full_yes" if full else "annex_verify_full_no"]))


def stated(said: Sequence[Stated], words: Words) -> Iterator[Block]:
    """What the authors say that no run shows."""
    yield Heading(1, words["annex_stated"], "annex-stated")
    yield Paragraph(say(words["annex_stated_text" if said else "annex_stated_none"]))
    if said:
        rows = tuple((Cell((one,)), Cell((Reference(one.source),))) for one in dict.fromkeys(said))
        yield Table((Text(words["annex_stated"]),), (words["col_statement"], words["col_source"]), rows, (5, 5), "table-stated")
