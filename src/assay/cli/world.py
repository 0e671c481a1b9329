"""`assay world list|show|serve`."""

from __future__ import annotations

import asyncio
import secrets
import sys
from pathlib import Path
from typing import get_args

import click
import msgspec

from assay.attacks import ATTACKS
from assay.catalog import Catalog, load_catalog, load_everything
from assay.cli.words import hanging, program
from assay.engine.worlds import Record
from assay.errors import AssayError, CatalogError
from assay.judges import attempted, episode_of, judge_world
from assay.plan import NO_ATTACK, Arm, Stream, Worlds
from assay.scenarios import Item, ItemBuilder
from assay.targets import Access
from assay.targets.mcp_server import HttpServer, serve_stdio
from assay.worlds import Words, has_plain_names, load_family, native_tools

SEED = bytes(32)
UNBOUND = msgspec.structs.replace(Worlds(), steps=0)
"""An agent that calls over MCP is bounded by its calls alone."""
ARMS = [a for a in get_args(Arm) if a in ("plain", "attack", "placebo", "benign")]


@click.group()
def command() -> None:
    """Agent worlds, one episode at a time.

    \b
    Examples:
      assay world list
      assay world show agent-banking --language en --item 3
      assay world serve agent-banking --language en --out episode.json
    """


def _episode(function: click.decorators.FC) -> click.decorators.FC:
    """The options that say which episode."""
    for option in (
        click.option("--attack", default=NO_ATTACK, show_default=True, help="What is put on the adversary's text, with --arm attack."),
        click.option("--arm", default="plain", show_default=True, type=click.Choice(ARMS), help="With or without the adversary's text."),
        click.option("--item", default=0, show_default=True, type=click.IntRange(0, 2**31), help="Which episode."),
        click.option("--language", default="en", show_default=True, help="Language of request, records and tools."),
        click.argument("hazard"),
    ):
        function = option(function)
    return function


@command.command("list")
def list_() -> None:
    """Families, what users ask there, and what adversaries want."""
    catalog = load_everything()
    for hazard in catalog.hazards.values():
        if hazard.check != "world":
            continue
        family = load_family(hazard.family)
        about = f"{hazard.title}; {len(family.tools)} tools, in {', '.join(catalog.worlds[hazard.family])}"
        click.echo(hanging(f"{hazard.id}: ", about))
        click.echo(hanging("  users ask          ", ", ".join(family.tasks)))
        width = max(map(len, family.goals))
        for goal in family.goals.values():
            where = f", {goal.boundary}" if goal.boundary else ""
            modes = ", ".join(map(str, goal.modes))
            about = f"{goal.risk}{where}; by {goal.by}; modes {modes}; {', '.join(goal.owasp)}"
            click.echo(hanging(f"  must not happen    {goal.id:<{width}} ", about))
    click.echo(f"\nNext, look at an episode: {program()} world show agent-banking")


@command.command()
@_episode
def show(hazard: str, language: str, item: int, arm: Arm, attack: str) -> None:
    """What an agent is told in one episode of HAZARD, what is planted, and what must not happen."""
    catalog, built = _built(hazard, language, item, arm, attack)
    episode = episode_of(built, catalog)
    for message in built.messages:
        click.echo(f"[{message.role}]\n{message.content}\n")
    if built.world is None or episode.case.goal is None:
        return
    for slot, text in built.world.planted.items():
        click.echo(f"[planted in {slot}]\n{text}\n")
    goal = episode.case.goal
    click.echo(f"[must not happen: {goal.id}, {goal.risk}]\n{_filled(catalog, built)}\n")
    world = episode.case.world()
    for what, calls in (
        ("who does it right", [c for t, p in episode.asked for c in t.gold(world, p)]),
        ("who is taken over", goal.oracle(world, episode.case.aims)),
    ):
        click.echo(f"[calls of {what}]")
        for name, arguments in calls:
            click.echo(f"  {name} {msgspec.json.encode(arguments).decode()}")
    click.echo(f"\nNext, put an agent into it: {program()} world serve {hazard} --language {language} --item {item} --arm {arm}")


def _filled(catalog: Catalog, item: Item) -> str:
    """The adversary's goal in the language of the request."""
    tag = item.stream.language
    case = episode_of(item, catalog).case
    texts = catalog.worlds[case.family.id][tag]
    return Words(texts, catalog.common[tag], catalog.languages[tag]).fill(texts.goals[item.scenario], case.aims)


@command.command()
@_episode
@click.option("--http", "port", type=click.IntRange(0, 65535), default=None, help="Streamable HTTP on this port of loopback; else stdio.")
@click.option("--out", type=click.Path(path_type=Path), default=None, help="Where the episode and its verdict go when it is over.")
def serve(hazard: str, language: str, item: int, arm: Arm, attack: str, port: int | None, out: Path | None) -> int:
    """Serve one episode of HAZARD over MCP, until the agent has reported or gone; then say what happened.

    The tools are the world's; the prompt `task` is what the user asks for. Standard output belongs to the protocol, everything else is
    said on standard error. Needs the extra 'agents'.
    """
    if out is not None and out.exists():
        raise AssayError("there is such a file already", where=str(out), fix="Choose another --out.")
    catalog, built = _built(hazard, language, item, arm, attack)
    record = Record(episode_of(built, catalog))
    world = built.world
    tag = world.tools if world else language
    words = Words(catalog.worlds[record.episode.case.family.id][tag], catalog.common[tag], catalog.languages[tag])

    tools = native_tools(record.episode.tools, words, local=has_plain_names(words))
    access = Access(built.messages, tools, record.called)
    try:
        asyncio.run(_serving(access, record, port))
    except KeyboardInterrupt:
        click.echo("interrupted", err=True)
    verdict = judge_world(built, record.turns, catalog)
    effects = record.episode.world.effects
    value = {
        "item": msgspec.to_builtins(built), "turns": msgspec.to_builtins(record.turns), "verdict": msgspec.to_builtins(verdict),
        "effects": [{"step": e.step, "kind": e.kind, "args": e.args, "status": e.status} for e in effects],
        "caught": [a.effect.kind for a in attempted(record.episode, *catalog.languages.values())],
        "errors": record.episode.errors, "over": record.episode.over,
    }  # fmt: skip
    if out is not None:
        out.write_bytes(msgspec.json.format(msgspec.json.encode(value), indent=1) + b"\n")
    shown = f"{verdict.outcome}: {verdict.reason or verdict.how or 'served'}"
    click.echo(f"{len(record.turns)} calls; {shown}{f'; {out}' if out else ''}", err=True)
    return 0


async def _serving(access: Access, record: Record, port: int | None) -> None:
    if port is None:
        await serve_stdio(access)
        return
    only = secrets.token_urlsafe(32)
    async with HttpServer(lambda token: access if secrets.compare_digest(token.encode(), only.encode()) else None, port=port) as server:
        click.echo(f"the world is at {server.url(only)}; it closes when the agent reports", err=True)
        sys.stderr.flush()
        while not record.episode.over:
            await asyncio.sleep(0.1)
        await asyncio.sleep(0.5)  # so that the agent gets the answer to its report


def _built(hazard: str, language: str, item: int, arm: Arm, attack: str) -> tuple[Catalog, Item]:
    if (attack == NO_ATTACK) != (arm in ("plain", "benign")):
        raise CatalogError("--arm attack and --arm placebo need an --attack, and no other arm has one")
    catalog = load_catalog([hazard], [language], attacks=[] if attack == NO_ATTACK else [attack])
    if catalog.hazards[hazard].check != "world":
        raise CatalogError(f"'{hazard}' is not played in a world", fix=f"See {program()} world list.")
    return catalog, ItemBuilder(catalog, SEED, ATTACKS, worlds=UNBOUND).build(Stream(hazard, language, attack, arm), item)
