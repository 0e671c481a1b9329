"""`assay mcp new|check|serve|record`."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shutil
import stat
import sys
import time
from pathlib import Path

import click

from assay.cli.words import plain, program, shell_path
from assay.errors import AssayError

NEW = """\
# What an assistant may do with Assay. Only what stands here; everything else is refused. docs/mcp.md describes every key.
# Keep this file, and the plan files that it names, where the assistant cannot write.
assay: assistant-grants/1
name: assistant
expires: {expires}

runs: {runs}
plans: [quick]
targets: ["scripted:0.01"]      # as --target takes them; `plan` for the one that a plan names itself
may: [start, stop, verify, compare]     # and `transcripts`, to read what models said
read: [mine]                    # runs that it started; patterns such as "nightly-*" for others

each_run: {{calls: 2000, tokens: any, money: 0}}
each_day: {{runs: 5, calls: 10000, tokens: any, money: 0}}
at_once: 1
"""
TOKEN = "ASSAY_MCP_TOKEN"  # noqa: S105 (the name of the variable)
SHORTEST = 32


@click.group()
def command() -> None:
    """Assistants over the Model Context Protocol: they list, run, and read decisions, within grants that you write.

    Needs the extra `agents`.

    \b
    Examples:
      assay mcp new ~/.config/assay/assistant.yaml
      assay mcp check ~/.config/assay/assistant.yaml
      assay mcp serve ~/.config/assay/assistant.yaml
      assay mcp record ~/.config/assay/assistant.yaml
    """


@command.command()
@click.argument("path", type=click.Path(dir_okay=False, path_type=Path))
def new(path: Path) -> None:
    """Write grants to start from to PATH: the built-in quick plan against a stand-in, for thirty days."""
    expires = time.strftime("%Y-%m-%d", time.gmtime(time.time() + 30 * 86_400))
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(NEW.format(expires=expires, runs=json.dumps(str(Path("runs").absolute()))))
    except FileExistsError:
        raise AssayError("there is a file already", where=str(path), fix="Choose another path.") from None
    except OSError as e:
        raise AssayError(f"cannot write the grants: {e.strerror}", where=str(path)) from None
    click.echo(f"Wrote {shell_path(path)}. Edit it, then:\n\n  {program()} mcp check {shell_path(path)}")


@command.command()
@click.argument("grants", type=click.Path(path_type=Path))
def check(grants: Path) -> None:
    """Say what the GRANTS give, and whether every plan could be started."""
    from assay.assistant.acts import Assistant

    assistant = Assistant(grants)
    try:
        assistant.check()
        given, plans = assistant.granted(), assistant.list_plans()["plans"]
    finally:
        assistant.close()
    click.echo(f"{given['name']}, until {given['expires']}: may {', '.join(given['may']) or 'list and read only'}")
    click.echo(f"  runs      {plain(assistant.grants.runs)}; reads {plain(', '.join(given['read'])) or 'none'}")
    click.echo(f"  targets   {plain(', '.join(given['targets'])) or 'none'}")
    for name in ("each_run", "each_day", "left_today"):
        click.echo(f"  {name:<9} {', '.join(f'{k} {v}' for k, v in given[name].items())}")
    for plan in plans:
        wrong = plan.get("wrong") or plan.get("cannot_start")
        most = f"{plan['most_trials']:,} trials at most" if "most_trials" in plan else ""
        click.echo(f"  {'✕' if wrong else '✓'} {plain(plan['plan'])}  {plain((wrong or most).replace(chr(10), ' '))}")
        if "digest" in plan:
            click.echo(f"    {plan['digest']}")
    click.echo("\nNext, put this into the assistant's own settings:\n")
    click.echo(json.dumps(_settings(grants), indent=2))


@command.command()
@click.argument("grants", type=click.Path(path_type=Path))
@click.option("--http", "port", type=click.IntRange(0, 65535), metavar="PORT", help="Over HTTP on this machine, not over standard input.")
@click.option(
    "--token-file", type=click.Path(path_type=Path), help="With --http: the file of the bearer token; made there if there is none."
)
def serve(grants: Path, port: int | None, token_file: Path | None) -> int:
    """Serve an assistant within GRANTS, over standard input and output unless --http.

    Over HTTP every request bears a token: that of --token-file, or of ASSAY_MCP_TOKEN. Runs that were started go on when the server ends.

    \b
    Examples:
      assay mcp serve ~/.config/assay/assistant.yaml
      assay mcp serve assistant.yaml --http 8474 --token-file ~/.config/assay/mcp-token
    """
    from assay.assistant.server import installed

    if not installed():
        raise AssayError("an MCP server needs the extra 'agents'", fix="pip install 'assay[agents]'")
    from assay.assistant.acts import Assistant
    from assay.assistant.record import Record
    from assay.assistant.server import PATH, serve_http, serve_stdio
    from assay.assistant.tools import Tools

    token = _token(token_file) if port is not None else ""
    assistant = Assistant(grants)
    assistant.check()
    if assistant.grants.key:
        os.environ["ASSAY_KEY"] = assistant.grants.key
    tools = Tools(assistant, Record(assistant.state / "record.jsonl"))
    if port is None:
        asyncio.run(serve_stdio(tools))
        return 0
    from assay.web.serving import listen

    with listen("127.0.0.1", port) as socket:
        where = f"http://127.0.0.1:{socket.getsockname()[1]}{PATH}"
        click.echo(f"Serving '{assistant.grants.name}' at {where}; the token is in {shell_path(token_file) if token_file else TOKEN}.")
        click.echo("Ctrl-C ends the server, not the runs.")
        serve_http(tools, socket, token)
    return 0


@command.command()
@click.argument("grants", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def record(grants: Path, as_json: bool) -> int:
    """What the assistant of these GRANTS asked, what became of it, and whether the record holds. Exit code 1 if it does not."""
    import msgspec

    from assay.assistant.acts import state_folder
    from assay.assistant.grants import read_grants
    from assay.assistant.record import read_record

    path = state_folder(read_grants(grants)[0].name) / "record.jsonl"
    entries, wrong = read_record(path)
    ends = {e.of: e for e in entries if e.outcome}
    for entry in entries:
        if entry.outcome:
            continue
        end = ends.get(entry.n)
        if as_json:
            click.echo(msgspec.json.encode({"asked": entry, "ended": end}).decode())
            continue
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(entry.at / 1000))
        said = f"{end.outcome}{f': {end.why}' if end.why else ''}" if end else "no end: the server was stopped meanwhile"
        asked = plain(json.dumps(entry.arguments, ensure_ascii=False))[:200] if entry.arguments else ""
        click.echo(f"{when}  {plain(entry.tool):<15} {asked}  {plain(said.replace(chr(10), ' '))}")
    for line in wrong:
        click.echo(click.style(f"✕ {line}", fg="red"), err=as_json)
    if not entries and not as_json:
        click.echo("Nothing was asked yet.")
    return 1 if wrong else 0


def _settings(grants: Path) -> dict[str, dict[str, dict[str, str | list[str]]]]:
    """What most assistants' settings take: absolute paths, since they start the command from a folder and a PATH of their own."""
    this = Path(sys.argv[0])
    found = str(this.absolute()) if this.name == "assay" and this.is_file() else shutil.which("assay")
    start = [str(Path(found).absolute())] if found else [sys.executable, "-P", "-m", "assay"]
    return {"mcpServers": {"assay": {"command": start[0], "args": [*start[1:], "mcp", "serve", str(grants.absolute())]}}}


def _token(file: Path | None) -> str:
    """The bearer token, which must be hard to guess, and in a file for its owner only. Raises `AssayError`."""
    if file is None:
        token = os.environ.pop(TOKEN, "")
        where = TOKEN
    else:
        where = str(file)
        try:
            file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="ascii") as out:
                out.write(secrets.token_urlsafe(32) + "\n")
        except FileExistsError:
            pass
        except OSError as e:
            raise AssayError(f"cannot write the token: {e.strerror}", where=where) from None
        try:
            if stat.S_IMODE(file.stat().st_mode) & 0o077:
                raise AssayError("others can read the token", where=where, fix=f"chmod 600 {file}, and make another")
            token = file.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            raise AssayError("cannot read the token", where=where) from None
    if len(token) < SHORTEST or not token.isascii() or not token.isprintable() or " " in token:
        what = f"a token of {SHORTEST} characters or more is needed over HTTP"
        raise AssayError(what, where=where, fix="Give --token-file: a good one is made there.")
    return token
