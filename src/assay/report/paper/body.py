"""The chapters between the first page and the annexes: scope, systems, process, methods, results, agents, judges, cost, change."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from assay.decision import REGISTRATION, RequirementResult, percent
from assay.evidence.statements import subject
from assay.plan import LanguageParity, Stream
from assay.report.intervals import FixedDesign, fixed_design
from assay.report.paper.document import Block, Cell, Heading, Paragraph, Table
from assay.report.paper.front import Line, merged
from assay.report.paper.numbers import Numbers
from assay.report.pieces import Piece, Reference, Text, say
from assay.report.words import iso_day
from assay.report.worlds import make_worlds

Words = dict[str, str]
Charts = Callable[[str], Iterator[Block]]
"""The pictures of a section, by its name."""
KINDS = ("http", "embedded", "scripted", "recorded", "agent", "callable")
THRESHOLDS = ("max_rate", "margin")


def cell(*pieces: Piece | str, number: bool = False) -> Cell:
    """A table's cell."""
    return Cell(tuple(Text(p) if isinstance(p, str) else p for p in pieces), number)


def verdict_cell(n: Numbers, words: Words) -> Cell:
    """A verdict, in its tone."""
    return Cell((n.figure(words[f"verdict_{n.decision.verdict}"], strong=True),), tone=n.decision.verdict)


def scope(runs: Sequence[Numbers], words: Words) -> Iterator[Block]:
    """Which decisions there are, and on what."""
    yield Heading(1, words["scope"], "scope")
    all_of = tuple(n.source.bundle for n in runs)
    first = runs[0]
    facts = {
        "trials": sum(n.tally.trials for n in runs),
        "hazards": len({h for n in runs for h in n.plan.matrix.hazards}),
        "languages": len({t for n in runs for t in n.plan.matrix.languages}),
        "systems": len({str(sorted(n.opening.target.items())) for n in runs}),
        "runs": len(runs),
    }
    figures = {name: type(first.trials)(f"{value:,}", all_of) for name, value in facts.items()}
    yield Paragraph(say(words["scope_lead" if len(runs) > 1 else "scope_lead_one"], **figures), "lead")
    yield Table(
        (Text(words["scope_table"]),),
        tuple(words[f"col_{c}"] for c in ("run", "system", "plan", "decision", "trials", "decided", "when")),
        tuple(
            (
                cell(n.letter), cell(n.model), cell(n.figure(n.plan.name)), verdict_cell(n, words), cell(n.trials, number=True),
                cell(n.figure(n.decision.decided_at) if n.decision.decided_at >= 0 else words["not_decided"], number=True), cell(n.when),
            )
            for n in runs
        ),
        (1, 3.2, 2, 2.2, 1.6, 2, 2.6), "table-decisions",
    )  # fmt: skip
    yield Heading(2, words["scope_requirements"], "requirements")
    yield Paragraph(say(words["scope_requirements_text"]))
    for n in runs:
        yield Table(
            say(words["scope_requirements_table"], letter=n.letter, model=n.model),
            (words["col_requirement"], words["col_asks"], words["col_decision"], words["col_found"]),
            tuple(_requirement(n, r, words) for r in n.decision.requirements),
            (1.5, 3.2, 2.1, 3.2), f"table-requirements-{n.source.letter}",
        )  # fmt: skip


def _requirement(n: Numbers, result: RequirementResult, words: Words) -> tuple[Cell, ...]:
    asked = next((r for r in n.plan.requirements if r.id == result.id), None)
    kind = "registration" if result.kind == REGISTRATION else result.kind
    rate = next((getattr(asked, name) for name in THRESHOLDS if hasattr(asked, name)), None) if asked else None
    reference = asked.reference if isinstance(asked, LanguageParity) else ""
    template = words.get(f"asks_{kind}", "{rate}")
    asks = say(template, rate=n.figure(percent(rate) if rate is not None else "–"), reference=n.figure(reference))
    status = Cell((n.figure(words["undecided"] if result.status == "open" else words[f"verdict_{result.status}"]),), tone=result.status)  # type: ignore[arg-type]
    return cell(n.figure(result.id)), Cell(asks), status, cell(n.figure(result.reason))


def systems(runs: Sequence[Numbers], words: Words) -> Iterator[Block]:
    """What was tested, by digest, and how it was reached."""
    yield Heading(1, words["systems"], "systems")
    yield Paragraph(say(words["systems_text"]))
    rows = []
    for n in runs:
        kind = n.opening.target.get("kind", "")
        digest_kind, digest = next(iter(subject(n.opening.target)[0]["digest"].items()))
        what = words["identity_weights" if digest_kind == "sha256" else "identity_record"]
        identity = (Text(f"{what}: "), Reference(f"sha256:{digest[:16]}…", code=True))
        rows.append((
            cell(n.letter), cell(n.model), Cell(identity), cell(n.figure(words[f"access_{kind}" if kind in KINDS else "access_other"])),
            cell(n.when),
        ))  # fmt: skip
    head = tuple(words[f"col_{c}"] for c in ("run", "system", "identity", "access", "window"))
    yield Table((Text(words["systems_table"]),), head, tuple(rows), (0.8, 2.6, 3.6, 2.6, 2.4), "table-systems")
    for item in merged(words, runs, _names):
        yield Paragraph(item)


def _names(n: Numbers) -> Iterator[Line]:
    names = len(n.tally.models)
    key = "systems_one_name" if names == 1 else "systems_many_names" if names else "systems_no_name"
    yield Line(key, {"names": n.figure(names)} if names > 1 else {}, n.letter)


def process(runs: Sequence[Numbers], words: Words) -> Iterator[Block]:
    """How the decision came about."""
    yield Heading(1, words["process"], "process")
    for n in runs:
        opened = n.figure(iso_day(n.source.signed.opened_at))
        digest = Reference(f"{n.plan.digest[:23]}…", code=True)
        yield Paragraph(say(words["process_registered"], letter=n.letter, plan=n.figure(n.plan.name), digest=digest, opened=opened))
    parties: list[Piece] = []
    for item in merged(words, runs, _parties):
        parties += [*item, Text(" ")]
    yield Paragraph(say(words["process_seed"], parties=tuple(parties)))
    yield Paragraph(say(words["process_sequential"]))
    yield Paragraph(say(words["process_threevalued"]))
    for item in merged(words, runs, _policy):
        yield Paragraph(item)


def _parties(n: Numbers) -> Iterator[Line]:
    seals = n.opening.seals
    if seals:
        names = n.figure(", ".join(s.seal.party for s in seals))
        yield Line("process_parties", {"count": n.figure(len(seals)), "names": names}, n.letter)
    else:
        yield Line("process_single", {}, n.letter)


def _policy(n: Numbers) -> Iterator[Line]:
    policy = n.opening.policy
    if policy is None:
        yield Line("process_no_policy", {}, n.letter)
    else:
        yield Line("process_policy", {"policy": n.figure(f"{policy.id} {policy.version}")}, n.letter)


def methods(runs: Sequence[Numbers], words: Words) -> Iterator[Block]:
    """Items, attacks, arms, judges."""
    yield Heading(1, words["methods"], "methods")
    for item in merged(words, runs, _methods):
        yield Paragraph(item)
    if any(n.plan.matrix.placebo for n in runs):
        yield Paragraph(say(words["methods_placebo"]))
    if any(n.plan.matrix.benign for n in runs):
        yield Paragraph(say(words["methods_benign"]))


def _methods(n: Numbers) -> Iterator[Line]:
    m, catalog, plan = n.plan.matrix, n.catalog, n.plan
    scenarios = sum(len(catalog.hazards[h].scenarios) for h in m.hazards)
    counts = {"scenarios": n.figure(scenarios), "hazards": n.figure(len(m.hazards)), "languages": n.figure(len(m.languages))}
    yield Line("methods_items", counts, n.letter)
    if m.attacks:
        yield Line("methods_attacks", {"attacks": n.figure(", ".join(m.attacks))}, n.letter)
    else:
        yield Line("methods_no_attacks", {}, n.letter)
    if plan.judges is not None and plan.judges.hazards:
        counts = {"judges": n.figure(len(plan.judges.panel)), "hazards": n.figure(len(plan.judges.hazards))}
        yield Line("methods_judged", counts, n.letter)
    elif all(catalog.hazards[h].check != "none" for h in m.hazards):
        yield Line("methods_verifiable", {}, n.letter)
    if plan.worlds is not None:
        yield Line("methods_worlds", {"families": n.figure(len(plan.worlds.hazards))}, n.letter)


def results(runs: Sequence[Numbers], words: Words, charts: Charts) -> Iterator[Block]:
    """Rates by hazard and by language, with an interval where one holds."""
    yield Heading(1, words["results"], "results")
    yield Paragraph(say(words["results_text"]))
    if any(n.judged for n in runs):
        yield Paragraph(say(words["results_flagged"]), "note")
    for n in runs:
        total, worst = n.total(), n.worst
        if worst is not None:
            counts = n.tally.streams[worst]
            yield Paragraph(say(
                words["results_worst"], letter=n.letter, rate=n.rate(counts.violations, counts.n), violations=n.figure(counts.violations),
                trials=n.figure(counts.n), cell=n.cell(worst),
            ))  # fmt: skip
        elif total.n:
            yield Paragraph(say(words["results_none"], letter=n.letter, trials=n.figure(total.n)))
        twins = n.total(n.harmless)
        if twins.n:
            yield Paragraph(say(words["results_refused"], letter=n.letter, trials=n.figure(twins.n), refused=n.figure(twins.violations)))
    yield from charts("results")
    yield _rates(runs, words, "hazard")
    yield _rates(runs, words, "language")


def _rates(runs: Sequence[Numbers], words: Words, by: str) -> Table:
    """One row for each hazard or language of each run."""
    rows = []
    for n in runs:
        groups: dict[str, list[Stream]] = {}
        for stream in n.hazardous:
            groups.setdefault(getattr(stream, by), []).append(stream)
        for key, streams in groups.items():
            total = n.total(streams)
            name = n.catalog.hazards[key].title if by == "hazard" else n.catalog.languages[key].name
            rows.append((
                cell(n.letter), cell(n.figure(name)), cell(n.figure(total.n), number=True), cell(n.figure(total.violations), number=True),
                cell(n.rate(total.violations, total.n), number=True),
                cell(n.between(*total.interval) if total.interval else Text("–"), number=True),
                cell(n.figure(total.unscorable), number=True),
            ))  # fmt: skip
    head = ("run", by, "trials", "violations", "rate", "interval", "unscorable")
    caption = (Text(words[f"results_{by}_table"]),)
    return Table(caption, tuple(words[f"col_{c}"] for c in head), tuple(rows), (0.8, 3, 1.4, 1.6, 1.2, 2.4, 1.6), f"table-{by}")


def agents(runs: Sequence[Numbers], words: Words, charts: Charts) -> Iterator[Block]:
    """What attacks change, and what agents did in worlds."""
    yield Heading(1, words["agents"], "agents")
    worlds = [(n, view) for n in runs if (view := make_worlds(n.source.run, n.tally)) is not None]
    for n, view in worlds:
        totals = {name: sum(getattr(f, name) for f in view.funnels) for name in ("n", "met", "blocked", "completed")}
        yield Paragraph(say(
            words["agents_met"], letter=n.letter, met=n.figure(totals["met"]), episodes=n.figure(totals["n"]),
            blocked=n.figure(totals["blocked"]), completed=n.figure(totals["completed"]),
        ))  # fmt: skip
    yield Paragraph(say(words["agents_blocked" if worlds else "agents_none"]))
    if not any(n.plan.matrix.attacks and n.plan.matrix.placebo for n in runs):
        yield Paragraph(say(words["agents_attack_none"]))
    yield from charts("agents")


def judges(runs: Sequence[Numbers], words: Words, charts: Charts) -> Iterator[Block]:
    """How far judges agree with people."""
    yield Heading(1, words["judges"], "judges")
    judged = any(n.plan.judges is not None and n.plan.judges.hazards for n in runs)
    yield Paragraph(say(words["judges_text" if judged else "judges_none"]))
    yield from charts("judges")


def cost(runs: Sequence[Numbers], words: Words, charts: Charts) -> Iterator[Block]:
    """Calls, tokens, time, and what a fixed design would have taken."""
    yield Heading(1, words["cost"], "cost")
    for n in runs:
        t = n.tally
        told = t.prompt_tokens + t.answer_tokens > 0
        pieces = say(
            words["cost_run" if told else "cost_no_tokens"], letter=n.letter, trials=n.trials, attempts=n.figure(t.attempts),
            failed=n.figure(t.failed_calls), duration=n.duration, prompt=n.figure(t.prompt_tokens), completion=n.figure(t.answer_tokens),
        )  # fmt: skip
        fixed = fixed_design(t)
        if fixed.total:
            pieces += (Text(" "), *_designed(n, fixed, words))
        yield Paragraph(pieces)
    yield from charts("cost")


def _designed(n: Numbers, fixed: FixedDesign, words: Words) -> tuple[Piece, ...]:
    return say(words["cost_fixed"], level=n.figure(fixed.level), power=n.figure(fixed.power), fixed=n.figure(fixed.total))


def change(runs: Sequence[Numbers], words: Words, compared: Sequence[Block], charts: Charts) -> Iterator[Block]:
    """What differs between the runs, in words."""
    yield Heading(1, words["change"], "change")
    yield Paragraph(say(words["change_text" if len(runs) > 1 else "change_none"]))
    yield from compared
    yield from charts("change")
