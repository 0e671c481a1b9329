"""`assay access rules list|show|check|test|explain`."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from assay.cli.words import plain, program, shell_path

if TYPE_CHECKING:
    from assay.access.config import Config
    from assay.access.model import Asked, Grant
    from assay.access.rules.facts import Standing

_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_SITE = click.option("--site", type=_FOLDER, help="A folder with rules of your own (policies: in the gate's file).")
VERDICTS = ("approve", "delay", "halt", "none")
ROUTES = ("chat.completions", "responses", "embeddings", "models")


@click.group()
def command() -> None:
    """The rules by which the door opens, in Cedar. docs/access-rules.md describes them.

    \b
    Examples:
      assay access rules list
      assay access rules test my-rules --mutate
      assay access rules explain --config gate.yaml --grant power --route responses --verdict delay
    """


@command.command("list")
@_SITE
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def list_(site: Path | None, as_json: bool) -> None:
    """Every rule: whether it permits or forbids, and what it says."""
    from assay.access.rules.decide import Rules
    from assay.access.rules.words import rule_lines

    rules = Rules.load(site)
    if as_json:
        import msgspec

        click.echo(json.dumps({"digest": rules.digest, "rules": msgspec.to_builtins(list(rules.rules.values()))}, indent=2))
        return
    for line in rule_lines(rules):
        click.echo(line)
    click.echo("\nWhat none of them permits is denied, and so is what one forbids, or what cannot be judged.")
    click.echo(f"Next, look at one: {program()} access rules show {next(iter(rules.rules))}")


@command.command()
@click.argument("rule")
@_SITE
def show(rule: str, site: Path | None) -> None:
    """RULE as it stands in its file, with the comment above it; `schema` for what rules may speak of."""
    from assay.access.rules.decide import LIBRARY, SCHEMA, Rules, RulesError, source

    rules = Rules.load(site)
    if rule == "schema":
        click.echo((LIBRARY / SCHEMA).read_text(encoding="utf-8"), nl=False)
        return
    found = rules.rules.get(rule)
    if found is None:
        raise RulesError(f"there is no rule '{rule}'", fix=f"One of: schema, {', '.join(rules.rules)}.")
    folder = LIBRARY if found.built_in or site is None else site
    text = source(found, (folder / found.file).read_text(encoding="utf-8"))
    click.echo("\n".join(plain(line) for line in text.splitlines()))
    click.echo(f"\nNext, what it does: {program()} access rules test")


@command.command()
@click.argument("folder", required=False, type=_FOLDER)
def check(folder: Path | None) -> None:
    """Whether the gate would open with the rules of FOLDER (of the built-in rules alone, without): valid, named, and only narrower."""
    from assay.access.rules.decide import Rules

    rules = Rules.load(folder)
    own = sum(not r.built_in for r in rules.rules.values())
    click.echo(f"In order: {len(rules.rules)} rules, {own} of them the site's. sha256:{rules.digest}")
    click.echo(f"Next, their tests: {program()} access rules test{' ' + shell_path(folder) if folder else ''}")


@command.command("test")
@click.argument("folder", required=False, type=_FOLDER)
@click.option("--mutate", is_flag=True, help="Also change each rule in turn; a test must notice every change.")
def test_command(folder: Path | None, mutate: bool) -> int:
    """Run the tests of FOLDER's rules (FOLDER/tests/*.yaml), or of the built-in ones. Exit 1 if one fails, or a rule has no test."""
    from assay.access.rules.check import mutants, read_tests, run_tests
    from assay.access.rules.decide import LIBRARY, Rules

    rules = Rules.load(folder)
    tests = read_tests((folder or LIBRARY) / "tests")
    report = run_tests(rules, tests)
    for failure in report.failures:
        click.echo("✕ " + "\n".join(plain(line) for line in failure.split("\n")))
    for rule in rules.rules.values():
        if rule.built_in is (folder is None):
            count = report.decided[rule.id]
            click.echo(
                f"{'✓' if count else '✕'} {rule.id:<28} decides {count} of {report.tests} tests" + ("" if count else ": it needs one")
            )
    untested = [r for r in report.untested if rules.rules[r].built_in is (folder is None)]
    unnoticed, made = [], 0
    if mutate and not report.failures:
        for mutant in mutants(rules, built_in=folder is None):
            made += 1
            if not run_tests(mutant.rules, tests).failures:
                unnoticed.append(f"{mutant.rule}, {mutant.what}")
        click.echo(f"{made} changes of a rule; a test noticed {made - len(unnoticed)}.")
        for what in unnoticed:
            click.echo(f"✕ no test notices: {plain(what)}")
    if report.failures or untested or unnoticed:
        click.echo(f"{len(report.failures)} of {report.tests} tests failed; {len(untested)} rules have none.", err=True)
        return 1
    click.echo(f"All {report.tests} tests passed, and every rule has one.")
    click.echo(f"Next, a request of your own: {program()} access rules explain --help")
    return 0


@command.command()
@click.option("--config", "config_path", type=_FILE, help="The gate's file: grant, decision, halts and rules as they are now.")
@click.option("--grant", "grant_id", help="The id of a grant in the gate's store; with --config.")
@click.option("--file", "file", type=_FILE, help="Or a grant's file, whether or not it was approved.")
@click.option("--example", is_flag=True, help="Or the grant of the built-in tests, at a time within its hours.")
@_SITE
@click.option("--person", help="The name of a person of the grant; the first unless given.")
@click.option("--route", type=click.Choice(ROUTES), help="The grant's first unless given.")
@click.option("--tool", "tools", multiple=True, help="A function that the request declares.")
@click.option("--system", help="The system that is tested; the grant's first unless given.")
@click.option("--network", help="The caller's address; one of the grant's first network unless given.")
@click.option("--model", help="The model's name in the request; the grant's unless given.")
@click.option("--digest", help="The digest of what is served; by --config, or the grant's.")
@click.option("--at", help="When, like 2026-11-30T10:00:00+08:00; now unless given.")
@click.option("--stream", is_flag=True, help="A stream is asked for.")
@click.option("--logprobs", is_flag=True, help="Token probabilities are asked for.")
@click.option("--reasoning", is_flag=True, help="Hidden reasoning is asked for.")
@click.option("--verdict", type=click.Choice(VERDICTS), help="The decision on the model; by --config unless given.")
@click.option("--halted/--not-halted", default=None, help="Whether a halt covers the grant; by --config unless given.")
@click.option("--parent-alive/--parent-dead", default=None, help="Whether the grant's parent holds; by --config unless given.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def explain(
    config_path: Path | None, grant_id: str | None, file: Path | None, example: bool, site: Path | None, person: str | None,
    route: str | None, tools: tuple[str, ...], system: str | None, network: str | None, model: str | None, digest: str | None,
    at: str | None, stream: bool, logprobs: bool, reasoning: bool, verdict: Standing | None, halted: bool | None,
    parent_alive: bool | None, as_json: bool,
) -> int:  # fmt: skip
    """Which rules decide on a request that nobody has made, and why. Exit 0 if it is allowed, 1 if it is denied."""
    from assay.access.config import read_config
    from assay.access.rules.decide import Rules
    from assay.access.rules.words import asked_words, explained

    if [file is not None, grant_id is not None, example].count(True) != 1 or (grant_id is not None and config_path is None):
        raise click.UsageError("give --config and --grant, or --file, or --example")
    config = read_config(config_path) if config_path else None
    if config is not None and config.policies and site is None:
        site = config.path(config.policies)
    known: tuple[Standing, bool, bool]
    if config is not None and grant_id is not None:
        when = _time(at)
        grant, known = _standing(config, grant_id, person, when)
        served = config.models[grant.model].digest if grant.model in config.models else ""
    else:
        if verdict is None:
            raise click.UsageError("give the --verdict: a grant alone has none")
        grant, when = _grant(file, at)
        known = (verdict, False, False)
        served = config.models[grant.model].digest if config and grant.model in config.models else grant.digest
    asked = _asked(
        grant, person, route, tools, system, network, model, served if digest is None else digest, when, stream, logprobs, reasoning
    )
    given: tuple[Standing, bool, bool] = (
        verdict or known[0], known[1] if halted is None else halted, known[2] if parent_alive is None else parent_alive,
    )  # fmt: skip
    rules = Rules.load(site)
    ruled = rules.decide(asked, *given)
    if as_json:
        said: dict[str, Any] = {"allowed": ruled.allowed, "rules": ruled.rules, "errors": ruled.errors, "valid_until": ruled.valid_until}
        click.echo(json.dumps(said | {"verdict": given[0], "halted": given[1], "each": rules.each(asked, *given)}, indent=2))
        return 0 if ruled.allowed else 1
    for line in asked_words(asked):
        click.echo(plain(line))
    click.echo(f"The decision is {given[0]}; {'halted' if given[1] else 'not halted'}.\n")
    for line in explained(rules, asked, *given):
        click.echo(plain(line))
    click.echo(f"\nNext, a rule's text: {program()} access rules show {ruled.rules[0] if ruled.rules[0] in rules.rules else 'RULE'}")
    return 0 if ruled.allowed else 1


def _time(at: str | None) -> int:
    from assay.access.rules.check import time_of

    if at is None:
        return time.time_ns() // 1_000_000
    try:
        return time_of(at)
    except (ValueError, OverflowError) as e:
        raise click.UsageError(f"--at: {e}") from None


def _grant(path: Path | None, at: str | None) -> tuple[Grant, int]:
    """The grant of a file, or the example, and the time at which it is asked."""
    from assay.access.model import Grant
    from assay.access.rules.check import BASE, asked_of, located, read_base
    from assay.access.rules.decide import LIBRARY

    if path is not None:
        return located(path).convert(Grant), _time(at)
    asked, _ = asked_of(*read_base(LIBRARY / "tests" / BASE))
    return asked.grant, asked.at if at is None else _time(at)


def _standing(config: Config, grant_id: str, person: str | None, when: int) -> tuple[Grant, tuple[Standing, bool, bool]]:
    """The grant, the decision on its model, whether it is halted and its parent holds, as a gate with this file would have it."""
    import asyncio

    from assay.access.gate.teeth import Teeth, View
    from assay.access.rules.decide import RulesError
    from assay.access.store.base import open_store

    async def view() -> View:
        store = open_store(config.store, Path(config.folder))
        teeth = Teeth(config, store)
        try:
            await teeth.start(lambda: None)
            return teeth.view
        finally:
            await teeth.stop()
            store.close()

    now = asyncio.run(view())
    grant = now.grants.get(grant_id)
    if grant is None:
        why = now.refused.get(grant_id, "there is none of this id")
        raise RulesError(f"no grant '{grant_id}' holds: {why}", fix="Without a grant nothing is asked of the rules; it is denied before.")
    name = person or grant.persons[0].name
    return grant, (now.verdict(grant.model, when), bool(now.halted(grant, name)), not grant.parent or grant.parent in now.grants)


def _asked(
    grant: Grant, person: str | None, route: Any, tools: tuple[str, ...], system: str | None, network: str | None, model: str | None,
    digest: str, at: int, stream: bool, logprobs: bool, reasoning: bool,
) -> Asked:  # fmt: skip
    from ipaddress import ip_network

    from assay.access.model import Asked, Person

    who = next((p for p in grant.persons if p.name == person), Person(person, "") if person else grant.persons[0])
    if network is None:
        try:
            network = str(next(iter(ip_network(grant.networks[0]).hosts())))
        except (ValueError, StopIteration):
            network = ""
    if system is None:
        system = next((s for s in grant.systems if s != "*"), "")
    asked_model = grant.model if model is None else model
    return Asked(grant, who, route or grant.routes[0], tools, stream, logprobs, network, system, at, asked_model, digest, reasoning)
