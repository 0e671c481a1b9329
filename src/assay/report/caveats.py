"""What a run cannot say: the open points of the first page, and the limitations."""

from __future__ import annotations

from collections.abc import Iterator

from assay.catalog.content import Provenance
from assay.decision.audited_claims import AuditedRateClaim
from assay.decision.judged_claims import JudgedRateClaim
from assay.evidence import replay_of
from assay.judges.check_error import check_errors
from assay.plan import RECORDED, SOURCE, LanguageParity, Plan, streams
from assay.report.tally import Tally
from assay.report.words import attack_words, count_text, language_of, listed, rate_text


def unknowns(tally: Tally) -> tuple[str, ...]:
    """What is not known after this run, most important first, in sentences."""
    return tuple(_unknowns(tally))


def _unknowns(tally: Tally) -> Iterator[str]:
    claims = tally.gate.claims
    still_open = sum(c.status == "open" for c in claims)
    if still_open and tally.gate.verdict == "halt":
        yield (
            f"{still_open} of {count_text(len(claims), 'claim', 'claims')} were still undecided when the halt was final. "
            "They may hold or not."
        )
    elif still_open:
        yield f"{still_open} of {count_text(len(claims), 'claim', 'claims')} are undecided. They may hold or not."
    empty = sum(c.n == 0 for c in tally.streams.values())
    if empty:
        yield f"{empty} of {count_text(len(tally.streams), 'cell', 'cells')} (every arm counted) had no trials at all."
    awaiting = sum(c.awaiting for c in claims if isinstance(c, JudgedRateClaim | AuditedRateClaim))
    if awaiting:
        waiting = count_text(awaiting, "flagged answer waits", "flagged answers wait")
        yield f"{waiting} for a person's label. Each counts against the decision."
    if tally.unscorable:
        share = rate_text(tally.unscorable / tally.trials)
        yield (
            f"{count_text(tally.unscorable, 'answer', 'answers')} ({share}) could not be scored. "
            "They count against approving and are never taken as safe."
        )
    if unreviewed(tally):
        yield "Native speakers have not yet reviewed all test texts, so a difference between languages may come from the wording."
    if tally.opening.plan.matrix.attacks:
        if _strategies(tally):
            yield "How another adversary would fare. Those here adapt to the answers within their calls; the true rates may be higher."
        else:
            yield "How an adversary who adapts to the answers would fare. The attacks here are fixed, so the true rates may be higher."
    else:
        yield "How the target behaves under attack. This plan has no attacks."
    yield "Anything outside the matrix: other hazards, other languages, longer conversations, and agents with tools of their own."


def _strategies(tally: Tally) -> list[str]:
    """The plan's attacks that go by the answers."""
    kinds = tally.opening.catalog.kinds
    return [a for a in tally.opening.plan.matrix.attacks if a in kinds and kinds[a].family == "strategy"]


def _attack_sentence(tally: Tally) -> str:
    attacks, adapting = tally.opening.plan.matrix.attacks, _strategies(tally)
    if not attacks:
        return "The plan has no attacks, so every rate is a lower bound on what an adversary would reach."
    if not adapting:
        return (
            "The attacks are static. They do not learn from the answers, so every rate under attack is a lower bound on what an "
            "adversary who adapts would reach."
        )
    others = "" if len(adapting) == len(attacks) else " The other attacks are static."
    return (
        f"These attacks adapt to the answers, within their calls: {listed([attack_words(a) for a in adapting], most=20)}.{others} "
        "Every rate under attack is a lower bound on what an adversary with more calls or other means would reach."
    )


def unreviewed_share(tally: Tally, tag: str) -> float:
    """The share of a language's trials whose scenario nobody has reviewed: per hazard, as scenarios are drawn evenly."""
    catalog, trials, doubtful = tally.opening.catalog, 0, 0.0
    for stream, counts in tally.streams.items():
        if stream.language == tag and counts.n:
            texts = catalog.texts[stream.hazard][tag]
            trials += counts.n
            if stream.hazard in catalog.sealed:  # nobody outside can review what is sealed
                doubtful += counts.n
                continue
            doubtful += counts.n * len(texts.unreviewed) / max(1, len(texts.texts))
    return doubtful / trials if trials else 1.0


def unreviewed(tally: Tally) -> dict[str, list[str]]:
    """Languages whose texts have no review by a native speaker: what is unreviewed, by tag."""
    catalog = tally.opening.catalog
    out: dict[str, list[str]] = {}
    for tag in tally.opening.plan.matrix.languages:
        parts: list[tuple[str, Provenance]] = [("words and phrases", catalog.languages[tag].provenance)]
        parts.append(("attacks", catalog.attacks[tag].provenance))
        missing = [name for name, provenance in parts if provenance.review.strip().casefold() in ("", "none", "no")]
        doubtful = [h for h in tally.opening.plan.matrix.hazards if h in catalog.sealed or catalog.texts[h][tag].unreviewed]
        missing += [catalog.hazards[h].title for h in doubtful]
        if missing:
            out[tag] = missing
    return out


def limitations(tally: Tally) -> tuple[str, ...]:
    """The limits of the method and of this run, in sentences."""
    return tuple(_limitations(tally))


def _limitations(tally: Tally) -> Iterator[str]:
    plan = tally.opening.plan
    yield _attack_sentence(tally)
    yield _review_sentence(tally)
    many = len(tally.streams)
    yield (
        f"The budget is {count_text(plan.budget.calls, 'trial', 'trials')} over {count_text(many, 'stream', 'streams')}, "
        f"about {plan.budget.calls / many:.0f} a stream. {_floor_sentence(plan)} "
        "A cell with few trials has a wide interval; a rate of 0% there is weak evidence."
    )
    yield (
        "The checks are programs. They see a protected value or a marker in plain sight, backwards, in rot13, with signs for letters, "
        "with digits spelled as words, in any digit system, in a Caesar shift, Braille or a spelling alphabet, between markup, and inside "
        "base64, base32, hexadecimal, binary, decimal codes, Morse, URL, HTML, Unicode and quoted-printable escapes. "
        "A leak in another form, such as a hint, a value in pieces or a code of the answer's own, is not seen."
    )
    yield from _check_errors(tally)
    if plan.judges:
        yield (
            "How much a judge misses was counted on other answers than these. The decision assumes that it misses as much here, in the "
            "same language and arm; a target whose violations look otherwise is not covered. People's labels count as the truth."
        )
    yield (
        "The response kind rests on lists of refusal phrases in each language. A refusal in other words is counted as a deflection, "
        "and on the benign arm as unscorable."
    )
    yield (
        "The intervals of the requirements are those of the tests that decide, and hold at every number of trials. Those of the maps and "
        "of the attack effects are for display: they hold for a number of trials that is fixed beforehand."
    )
    population = f"the finite bank of {plan.bank.size:,} items a cell" if plan.bank else "the items that the scenarios can produce"
    yield (
        f"The error rates hold for {population} under this plan. "
        "They do not cover requests of another sort, and a new run of the same plan spends its error rates again."
    )
    if plan.target.kind == RECORDED:
        yield (
            "No model was asked in this run. The answers were recorded by another harness; its log says when and by which model, and "
            "nobody signed it. What the model was shown beside the request (a system message, tools and their results) is not in the "
            "transcripts."
        )
    elif plan.judges and any(judge.target.kind == SOURCE for judge in plan.judges.panel):
        yield (
            "Another tool played the samples and scored them. What it showed the target and what the target said are in the transcripts; "
            "the scores are its word, which flags and decides nothing alone. What is decided holds for these samples."
        )
    elif plan.drift is None:
        yield "Whether the target changed while the run lasted was not tested: the plan has no drift test."
    if any(isinstance(r, LanguageParity) for r in plan.requirements):
        yield "Parity compares the same item in two languages. Part of a gap may come from the texts and not from the target."
    if tally.opening.policy is None:
        yield "The run was opened under no policy: what it had to show is the plan's own word, and a release cannot approve on it."
    parties = [sealed.seal.party for sealed in tally.opening.seals]
    if parties:
        yield (
            f"The items come from a nonce that {listed(parties, most=20)} tossed together, so none chose it unless all acted as one. "
            "That no other run of this plan was made and dropped is not proven by it."
        )
    else:
        yield (
            "The seed comes from a single party, the evaluator. Nothing here proves that its nonce was drawn at random, or that no other "
            "run of this plan was made and dropped."
        )
    if tally.cached:
        cached = count_text(tally.cached, "answer was", "answers were")
        yield f"{cached} taken from a cache of answers that the target once gave to the same requests."
    if replay_of(tally.opening.opened):
        yield "No target was called: the answers are those of an earlier run, judged again."
    yield ("The identity of the target is attested, not proven. That the answers came from the named target is the evaluator's word.")


def _check_errors(tally: Tally) -> Iterator[str]:
    """What `make bench-judges` measured, for the checks that this plan uses."""
    used = {tally.opening.catalog.hazards[h].check for h in tally.opening.plan.matrix.hazards}
    found = [
        f"{check} missed {rate_text(error.missed_share)} of the violations "
        f"and raised a false alarm on {rate_text(error.false_alarm_share)} of the other answers"
        for check, error in check_errors().items()
        if check in used
    ]
    if found:
        yield f"How these checks err on answers that were made to be hard, in ways we chose (make bench-judges): {'; '.join(found)}."


def _floor_sentence(plan: Plan) -> str:
    arms = dict.fromkeys(s.arm for s in streams(plan))
    given = [f"{plan.exploration.floor(arm):,} on the {arm} arm" for arm in arms if plan.exploration.floor(arm)]
    if not given:
        return "The plan sets no exploration floor, so some cells may have no trials."
    return f"The exploration floor is {listed(given)}, per stream."


def _review_sentence(tally: Tally) -> str:
    missing = unreviewed(tally)
    if not missing:
        return "According to their provenance, all texts were reviewed. How well they read in every region is not measured."
    names = [f"{language_of(tally.opening.catalog, tag)} {rate_text(unreviewed_share(tally, tag))}" for tag in missing]
    return (
        f"Texts are not yet reviewed by native speakers in {count_text(len(names), 'language', 'languages')}; so much of the evidence "
        f"rests on unreviewed text: {listed(names, most=20)}. The provenance recorded with the texts says so. "
        "Unnatural wording can move a rate in either direction."
    )
