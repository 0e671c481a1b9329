"""How a checked log is said: on a terminal and as JSON."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from assay.evidence.logcheck import Checked
    from assay.ledger.notes import NoteKey


def print_checked(found: Checked, now_ms: int, left: Sequence[str]) -> None:
    """For people: the checkpoint, its cosigners, every run with its end, findings, and what is left to trust."""
    from assay.cli.words import SYMBOL
    from assay.evidence.logcheck import days

    if found.head is not None:
        click.echo(f"{found.head.origin}: {found.head.size} entries, root {found.head.root.hex()}")
        for h in found.cosigners:
            click.echo(f"  ✓ cosigned by {h.key.name}, {when(h.at)}")
    for r in found.book.runs.values():
        end = f"no end, opened {days(now_ms - r.at)} ago: dropped, or still under way"
        if r.closings:
            last = r.closings[-1]
            again = f", closed {len(r.closings)} times" if len(r.closings) > 1 else ""
            end = f"{SYMBOL.get(last.verdict, last.verdict)} after {last.trials} trials ({last.ended}){again}"
        click.echo(f"  {'✓' if r.closings else '·'} {r.digest[7:23]}  entry {r.index:<5} {r.target[:40]}: {end}")
        if r.closings:
            first = found.registered.get(r.digest)
            click.echo(
                f"      {f'registered before its end: cosigned {when(first)}' if first else 'not shown to be registered before its end'}"
            )
    if found.beyond:
        click.echo(f"  {found.beyond} more entries lie beyond that checkpoint: they are not vouched for and not counted.")
    if found.torn:
        click.echo(f"  A last line of {found.torn} bytes was never acknowledged (a write was cut off or is under way): not read.")
    for finding in found.findings:
        click.echo(click.style(f"  ✕ {finding}", fg="red"))
    if found.findings:
        click.echo(f"\nThis does not hold: {len(found.findings)} finding(s).")
        return
    click.echo(f"\nEverything holds. Runs without an end: {len(found.open)}.\n\nWhat is left to trust:")
    for words in left:
        click.echo(f"  - {words}")


def left_to_trust(log_key: NoteKey | None, witnesses: Sequence[NoteKey], need: int, *, of_proof: bool) -> list[str]:
    """What a check that holds has not shown."""
    left = ["that every run was put into the log before its first trial: one that never was does not show"]
    left.append("that the decisions are right: `assay verify` recomputes each from its bundle")
    if not witnesses or not need:
        left.insert(0, "that the log shows others the same and was not rewritten: nobody's cosignature was asked for (--witness-key)")
    if log_key is None:
        left.insert(0, "that the log's key is the one in its own folder (--log-key)")
    if of_proof:
        left.append("that the log has no later decision on this run: a proof shows what is there, not what is not")
    return left


def print_json(found: Checked, now_ms: int) -> None:
    """For machines."""
    runs = [
        {
            "run": r.digest, "entry": r.index, "target": r.target, "plan": r.plan, "openedAt": r.at, "replays": r.replays,
            "age_s": max(0, now_ms - r.at) // 1000, "ended": bool(r.closings),
            "registrationCosignedAt": found.registered.get(r.digest),
            "closings": [{"entry": c.index, "at": c.at, "verdict": c.verdict, "trials": c.trials, "ended": c.ended} for c in r.closings],
        }
        for r in found.book.runs.values()
    ]  # fmt: skip
    value = {
        "ok": found.ok,
        "origin": found.head.origin if found.head else None,
        "size": found.head.size if found.head else None,
        "root": found.head.root.hex() if found.head else None,
        "cosigned": [{"name": h.key.name, "keyid": h.key.public.keyid, "at": h.at} for h in found.cosigners],
        "beyond": found.beyond,
        "torn": found.torn,
        "runs": runs,
        "findings": [{"check": f.check, "where": f.where, "what": f.what} for f in found.findings],
    }
    click.echo(json.dumps(value, ensure_ascii=False, indent=2))


def when(at_s: int) -> str:
    """A Unix time for people, UTC."""
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(at_s))
