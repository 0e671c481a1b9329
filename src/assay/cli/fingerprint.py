"""`assay model fingerprint` and `assay model compare`."""

from __future__ import annotations

import json
import secrets
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from assay.cli.words import plain, program, shell_path

if TYPE_CHECKING:
    from assay.runs.fingerprint import Fingerprint

CANNOT = (
    "What this cannot show: a provider can know the probes and answer them with another model than everything else; a change smaller than "
    "what so few answers can tell passes as the same; and the same weights behind another system prompt or other decoding look different."
)


@click.command()
@click.option(
    "--target", "target_text", required=True, metavar="T", help="As for assay run: embedded:MODEL, http(s)://HOST/v1#MODEL[@KEY]."
)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The fingerprint's file.")
@click.option("--samples", default=8, show_default=True, type=click.IntRange(1, 64), help="Answers a probe.")
@click.option(
    "--temperature",
    default=1.0,
    show_default=True,
    type=click.FloatRange(0, 2),
    help="Of decoding; at 0, answers must be equal.",
)
@click.option("--max-tokens", default=24, show_default=True, type=click.IntRange(1, 512), help="An answer's length.")
@click.option("--seed", type=click.IntRange(0, 2**53), help="Of decoding; drawn unless given. Two fingerprints that are compared need two.")
@click.option("--concurrency", default=4, show_default=True, type=click.IntRange(1, 256), help="Calls at a time.")
def fingerprint(target_text: str, out: Path, samples: int, temperature: float, max_tokens: int, seed: int | None, concurrency: int) -> None:
    """Ask a target the fixed probes, harmless and short, in eight languages, and keep the answers.

    Kept before a release, it lets anybody ask later whether the same model still answers: assay model compare.
    """
    import asyncio

    import msgspec

    from assay.catalog.probes import read_probes
    from assay.engine.fingerprint import LIMITS, decoding, take_fingerprint
    from assay.runs.fingerprint import write_fingerprint
    from assay.targets import make_target, parse_target

    how = decoding(secrets.randbits(52) if seed is None else seed, temperature=temperature, max_tokens=max_tokens)
    spec, limits = parse_target(target_text), msgspec.structs.replace(LIMITS, concurrency=concurrency)
    probes = read_probes()
    total, live = len(probes) * samples, sys.stderr.isatty()

    def told(done: int) -> None:
        if live:
            click.echo(f"\r{done} of {total} answers", err=True, nl=done == total)

    async def go() -> Fingerprint:
        async with make_target(spec, how, limits, lambda line: click.echo(line, err=True)) as target:
            return await take_fingerprint(target, probes, how, samples=samples, clock=_now_ms, concurrency=concurrency, told=told)

    taken = asyncio.run(go())
    write_fingerprint(out, taken)
    click.echo(f"{shell_path(out)}: {taken.calls} answers to {len(probes)} probes, {(taken.ended - taken.began) / 1000:.0f} s")
    click.echo(f"  {taken.digest}")
    said = ", ".join([*taken.models, *taken.systems]) or "nothing"
    click.echo(f"  the endpoint says of itself: {plain(said)}")
    click.echo("\nNext, when it matters whether it is still the same model, take another and compare them:\n")
    click.echo(f"  {program()} model compare {shell_path(out)} NOW.json")


@click.command()
@click.argument("approved", type=click.Path(path_type=Path))
@click.argument("shown", type=click.Path(path_type=Path))
@click.option("--level", default=0.01, show_default=True, help="The chance that the same model is called different.")
@click.option("--digest", default="", metavar="SHA256", help="The digest under which APPROVED was kept, as in a release.")
@click.option("--json", "as_json", is_flag=True, help="The outcome as JSON.")
def compare(approved: Path, shown: Path, level: float, digest: str, as_json: bool) -> int:
    """Whether two fingerprints come from the same model: a two-sample test of their answers, by permutations within probes.

    Exit code: 0 the same as far as was seen, 1 different, 2 they cannot be compared.
    """
    from assay.evidence.identity import check_fingerprint
    from assay.runs.fingerprint import read_fingerprint

    a, b = read_fingerprint(approved), read_fingerprint(shown)
    found = check_fingerprint(a, b, level=level, digest=digest)
    code = 0 if found.verdict == "same" else 1
    if as_json:
        facts = {
            "verdict": found.verdict,
            "level": level,
            "p_value": found.equality.p_value if found.equality else None,
            "statistic": found.equality.statistic if found.equality else None,
            "each": dict(zip((p.probe.id for p in a.asked), found.equality.each, strict=True)) if found.equality else None,
            "mismatched": list(found.mismatched),
            "findings": [{"check": f.check, "where": f.where, "what": f.what} for f in found.findings],
            "notes": list(found.notes),
        }
        click.echo(json.dumps(facts, ensure_ascii=False, indent=2))
        return code
    if code:
        click.echo("✕ Different: these answers do not come from one model, asked in one way.")
    else:
        click.echo("✓ The same, as far as was seen.")
    click.echo(f"  {found.why}")
    for finding in found.findings:
        if finding.where != "answers":
            click.echo(click.style(f"  ✕ {plain(str(finding))}", fg="red"))
    if found.mismatched:
        click.echo(f"  always another answer to: {', '.join(found.mismatched)}")
    for note in found.notes:
        click.echo(f"  · {note}")
    click.echo(f"\n{CANNOT}")
    if code:
        click.echo("\nNext, ask the provider what changed, and run the plan again: an approval holds for the model that was tested.")
    else:
        click.echo("\nNext, keep both files; more answers (--samples) show smaller changes.")
    return code


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
