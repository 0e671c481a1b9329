"""`assay access finding form|report|list|show|update|export|scenario`."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from assay.cli.keyplace import KEY_PLACE
from assay.cli.words import plain, program, shell_path

if TYPE_CHECKING:
    from assay.access.config import Config
    from assay.access.findings.finding import Finding, Viewer
    from assay.access.store.base import Snapshot, Store
    from assay.ledger import KeyPlace, PrivateKey

_PATH = click.Path(path_type=Path)
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_CONFIG = click.option("--config", required=True, type=_FILE, help="The gate's file.")
_KEY_HELP = "Your key: an administrator's, or that of a person of a grant. Without it you see what is disclosed."


@click.group()
def command() -> None:
    """Weaknesses that operators found: reported, triaged, under embargo, disclosed. See docs/access-findings.md.

    \b
    Examples:
      assay access finding form finding.yaml
      assay access finding report finding.yaml --config gate.yaml --grant power --person Ada --key ada.pem
      assay access finding update f-0123456789ab --config gate.yaml --key admin-1.pem --to triaged --why "seen again here"
      assay access finding export f-0123456789ab --config gate.yaml --key admin-1.pem --publisher "Example Lab" --namespace https://example.org
    """


@command.command()
@click.argument("out", type=_PATH)
def form(out: Path) -> None:
    """Write an empty form to OUT: general words only, never how it is done."""
    from assay.access.findings.form import FORM

    _write(out, FORM.encode())
    click.echo(f"Wrote {shell_path(out)}. Fill it in, in general words, then:\n")
    click.echo(f"  {program()} access finding report {shell_path(out)} --config GATE --grant ID --person NAME --key KEY")


@command.command()
@click.argument("path", type=_FILE)
@_CONFIG
@click.option("--grant", "grant_id", default="", help="The grant that you found it under.")
@click.option("--person", default="", help="Your name in it.")
@click.option("--key", type=KEY_PLACE, help="Your key in it; it signs the report.")
def report(path: Path, config: Path, grant_id: str, person: str, key: KeyPlace | None) -> None:
    """Report what the form PATH says; or take in a report that was signed elsewhere (a .json file, with nothing else given)."""
    from assay.access.findings.finding import KIND, FindingError, check_reporter, new_record
    from assay.access.findings.form import Reporter, read_form, read_record, report_of
    from assay.access.findings.steps import open_record
    from assay.access.grants.grant import open_all, thumbprint
    from assay.ledger import load_key

    loaded, store, snapshot = _gate(config)
    now = _now_ms()
    grants, _ = open_all(snapshot, loaded.admins, now)
    if path.suffix == ".json":
        record = read_record(path)
    else:
        if not (grant_id and person and key):
            raise click.UsageError("give --grant, --person and --key")
        grant = grants.get(grant_id)
        if grant is None:
            raise FindingError(
                f"there is no grant '{grant_id}' that holds", fix=f"See: {program()} access list --config {shell_path(config)}"
            )
        signing = load_key(key)
        who = Reporter(grant.id, grant.organisation, person, thumbprint(signing.public), grant.model, grant.digest)
        record = new_record(report_of(read_form(path), who, now), signing)
    finding = open_record(record, loaded.admins.public(), loaded.admins.threshold)
    if finding.steps or finding.pending:
        raise FindingError("this is more than a report", where=finding.report.id)
    check_reporter(finding.report, grants)
    store.put_record(KIND, finding.report.id, record, 0)
    click.echo(f"Reported as {finding.report.id}, under embargo until {_day(finding.embargo_until)}, TLP:{finding.tlp}.")
    click.echo("Its organisation and the gate's administrators see it. Next, an administrator triages it:\n")
    given = f"--config {shell_path(config)} --key ADMIN"
    click.echo(f"  {program()} access finding update {finding.report.id} {given} --to triaged --why WHY")


@command.command("list")
@_CONFIG
@click.option("--key", type=KEY_PLACE, help=_KEY_HELP)
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def list_(config: Path, key: KeyPlace | None, as_json: bool) -> int:
    """The findings that you may see. Exit code: 1 if, to an administrator, a record does not hold."""
    loaded, store, snapshot = _gate(config)
    viewer = _viewer(loaded, snapshot, key)
    findings, damaged = _findings(loaded, store, viewer)
    if as_json:
        click.echo(json.dumps({"findings": [_as_json(f) for f in findings], "damaged": damaged}, ensure_ascii=False, indent=2))
        return 1 if damaged else 0
    for f in findings:
        until = f"embargo until {_day(f.embargo_until)}" if _now_ms() < f.embargo_until else "no embargo"
        click.echo(f"{f.report.id}  {f.state:<10} TLP:{f.tlp:<13} {until:<26} {plain(f.report.organisation)}: {plain(f.report.title)}")
    for finding_id, why in damaged.items():
        click.echo(f"{plain(finding_id)}  does not hold: {plain(why)}", err=True)
    click.echo(f"{len(findings)} finding(s). Next, read one: {program()} access finding show ID --config {shell_path(config)} --key KEY")
    return 1 if damaged else 0


@command.command()
@click.argument("finding_id")
@_CONFIG
@click.option("--key", type=KEY_PLACE, help=_KEY_HELP)
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def show(finding_id: str, config: Path, key: KeyPlace | None, as_json: bool) -> None:
    """One finding, with all that was done."""
    loaded, store, snapshot = _gate(config)
    viewer = _viewer(loaded, snapshot, key)
    finding, _, _ = _one(loaded, store, viewer, finding_id)
    if as_json:
        click.echo(json.dumps(_as_json(finding), ensure_ascii=False, indent=2))
        return
    r = finding.report
    click.echo(f"{r.id}  {finding.state}, TLP:{finding.tlp}, embargo until {_day(finding.embargo_until)}\n{plain(r.title)}\n")
    click.echo("\n".join(plain(line) for line in r.description.split("\n")))
    click.echo(f"\nReported by {plain(r.person)}, {plain(r.organisation)}, grant {r.grant}, on {_day(r.at)}; model {r.model}, {r.digest}")
    if finding.severity:
        from assay.access.findings.finding import severity_of

        s = severity_of(finding.severity)
        click.echo(f"Severity {s.score} ({s.rating}), {s.vector}")
    for system in r.systems:
        fixed = finding.fixed.get(system.name)
        click.echo(
            plain(f"Affected: {system.vendor} {system.name} {', '.join(system.versions)}" + (f"; fixed in {fixed}" if fixed else ""))
        )
    for evidence in r.evidence:
        click.echo(f"Evidence: {evidence.kind} {evidence.digest}")
    for step, names in zip(finding.steps, finding.signers, strict=True):
        click.echo(f"  {step.number:>2}  {_day(step.at)}  {step.to:<10} {plain(', '.join(names))}: {plain(step.why)}")
    if finding.pending:
        click.echo(f"  waits: {finding.pending.to}, by {plain(', '.join(finding.pending_by))}: {plain(finding.pending.why)}")
    if viewer.administrator and not finding.steps:
        _doubt(loaded, snapshot, finding)
    click.echo(f"\nNext: {program()} access finding update {r.id} --config {shell_path(config)} --key KEY --to STATE --why WHY")


@command.command()
@click.argument("finding_id")
@_CONFIG
@click.option("--key", required=True, type=KEY_PLACE, help="An administrator's key; or the reporter's, to withdraw.")
@click.option("--to", default="", help="triaged, confirmed, fixed, disclosed, rejected or withdrawn.")
@click.option("--why", default="", help="Why, in general words; it is kept.")
@click.option("--embargo", default="", metavar="DAY", help="Another last day of the embargo.")
@click.option("--end-embargo", is_flag=True, help="The embargo ends now. Ending it early takes two administrators or more.")
@click.option("--tlp", type=click.Choice(["CLEAR", "GREEN", "AMBER", "AMBER+STRICT", "RED"]), help="Another mark.")
@click.option("--severity", help="Another CVSS v4.0 vector.")
@click.option("--fixed", multiple=True, metavar="SYSTEM=VERSION", help="In which version a system is fixed.")
@click.option("--adopt", is_flag=True, help="Take over what former administrators have signed; takes two or more.")
@click.option("--approve", "approves", is_flag=True, help="Sign the step that waits for another administrator.")
def update(
    finding_id: str, config: Path, key: KeyPlace, to: str, why: str, embargo: str, end_embargo: bool, tlp: str | None, severity: str | None,
    fixed: tuple[str, ...], adopt: bool, approves: bool,
) -> None:  # fmt: skip
    """Move a finding on, or change it: signed by you, kept with when and why."""
    from assay.access.findings.finding import KIND, severity_of
    from assay.access.findings.form import day_end_ms
    from assay.access.findings.steps import Change, approve, open_record, propose

    loaded, store, snapshot = _gate(config)
    admins, threshold, now = loaded.admins.public(), loaded.admins.threshold, _now_ms()
    signing = _load(key)
    finding, record, version = _one(loaded, store, _viewer_of(loaded, snapshot, signing), finding_id, adopting=adopt or approves)
    if approves:
        made = approve(record, finding, signing, admins, threshold, now)
    else:
        if embargo and end_embargo:
            raise click.UsageError("--embargo or --end-embargo")
        until = now if end_embargo else day_end_ms(embargo) if embargo else None
        pairs = {name: version for name, _, version in (pair.partition("=") for pair in fixed)}
        vector = severity_of(severity).vector if severity else severity
        change = Change(to, why, until, tlp, vector, pairs, adopt)  # type: ignore[arg-type]
        made = propose(record, finding, change, signing, admins, threshold, now)
    after = open_record(made, admins, threshold, adopting="pending" in made)
    store.put_record(KIND, finding_id, made, version)
    given = f"--config {shell_path(config)}"
    if after.pending:
        click.echo(f"{finding_id}: signed; it takes another administrator, who reads it and then approves:\n")
        click.echo(f"  {program()} access finding update {finding_id} {given} --key ANOTHER --approve")
        return
    click.echo(f"{finding_id}: {after.state}, TLP:{after.tlp}, embargo until {_day(after.embargo_until)}.")
    click.echo(f"\nNext: {program()} access finding show {finding_id} {given} --key KEY")


@command.command()
@click.argument("finding_id")
@_CONFIG
@click.option("--key", type=KEY_PLACE, help=_KEY_HELP)
@click.option("--format", "form_name", type=click.Choice(["csaf", "osv"]), default="csaf", show_default=True, help="CSAF 2.0 or OSV.")
@click.option("--publisher", default="", help="CSAF: who publishes it.")
@click.option("--namespace", default="", help="CSAF: an address of the publisher that stays.")
@click.option("--prefix", default="ASSAY", show_default=True, help="OSV: your database's prefix.")
@click.option("--out", type=_PATH, help="Where to; ID.csaf.json or ID.osv.json unless given.")
def export(
    finding_id: str, config: Path, key: KeyPlace | None, form_name: str, publisher: str, namespace: str, prefix: str, out: Path | None
) -> None:
    """A finding as an advisory. Exit code: 1 while its embargo, its state or its mark does not let it leave."""
    from assay.access.findings.csaf import Publisher, csaf_document
    from assay.access.findings.osv import osv_record

    loaded, store, snapshot = _gate(config)
    finding, _, _ = _one(loaded, store, _viewer(loaded, snapshot, key), finding_id)
    now = _now_ms()
    value = csaf_document(finding, Publisher(publisher, namespace), now) if form_name == "csaf" else osv_record(finding, prefix, now)
    out = out or Path(f"{finding_id}.{form_name}.json")
    _write(out, json.dumps(value, ensure_ascii=False, indent=2, sort_keys=True).encode() + b"\n")
    click.echo(f"Wrote {shell_path(out)}, TLP:{finding.tlp}, version {value.get('document', {}).get('tracking', {}).get('version', '-')}.")
    click.echo("Next, pass it on to those whom its mark allows; whoever reads CSAF names files by the advisory's id, in lower case.")


@command.command()
@click.argument("finding_id")
@_CONFIG
@click.option("--key", type=KEY_PLACE, help=_KEY_HELP)
@click.option("--hazard", required=True, help="The hazard that it belongs to, or the name of a new one.")
@click.option(
    "--plan", "plan_name", default="quick", show_default=True, help="The plan (a file or a built-in name) that gets the requirement."
)
@click.option("--max-rate", type=click.FloatRange(0, 1, min_open=True, max_open=True), help="The requirement's threshold, once agreed.")
@click.option("--out", required=True, type=_PATH, help="The folder to write.")
def scenario(finding_id: str, config: Path, key: KeyPlace | None, hazard: str, plan_name: str, max_rate: float | None, out: Path) -> None:
    """Drafts from a finding: a scenario for the catalogue and a requirement for a plan, with what is missing left out and named."""
    from assay.access.findings.finding import FindingError
    from assay.access.findings.scenario import drafts, write_drafts
    from assay.plan import plan_path

    loaded, store, snapshot = _gate(config)
    finding, _, _ = _one(loaded, store, _viewer(loaded, snapshot, key), finding_id)
    if _now_ms() < finding.embargo_until:
        click.echo("It is under embargo: keep the drafts to those who may see it.", err=True)
    if not hazard.replace("-", "").isalnum() or not hazard.isascii() or hazard != hazard.lower() or len(hazard) > 64:
        raise FindingError("a hazard's name has small letters, digits and hyphens", fix="--hazard secret-leakage")
    files, missing = drafts(finding, hazard, plan_path(plan_name).read_text(encoding="utf-8"), max_rate)
    write_drafts(files, out)
    click.echo(f"Wrote {len(files)} drafts to {shell_path(out)}. People still have to write:")
    for what in missing:
        click.echo(f"  - {what}")
    click.echo(f"\nThen, until both are content:\n\n  {program()} catalog lint --draft {shell_path(out)}")
    click.echo(f"  {program()} plan check {shell_path(out / 'plan.yaml')}")


def _gate(path: Path) -> tuple[Config, Store, Snapshot]:
    from assay.access.config import read_config
    from assay.access.store.base import open_store

    config = read_config(path)
    store = open_store(config.store, Path(config.folder))
    return config, store, store.snapshot()


def _load(key: KeyPlace) -> PrivateKey:
    from assay.ledger import load_key

    return load_key(key)


def _viewer(config: Config, snapshot: Snapshot, key: KeyPlace | None) -> Viewer:
    from assay.access.findings.finding import Viewer

    return _viewer_of(config, snapshot, _load(key)) if key else Viewer()


def _viewer_of(config: Config, snapshot: Snapshot, key: PrivateKey) -> Viewer:
    """Whose key it is: an administrator's, or of a person of a grant that holds."""
    from assay.access.findings.finding import Viewer
    from assay.access.grants.grant import open_all, thumbprint

    name = next((n for n, k in config.admins.public().items() if k == key.public), "")
    if name:
        return Viewer(administrator=name)
    own = thumbprint(key.public)
    grants, _ = open_all(snapshot, config.admins, _now_ms())
    return Viewer(organisation=next((g.organisation for g in grants.values() if own in {p.key for p in g.persons}), ""))


def _findings(config: Config, store: Store, viewer: Viewer) -> tuple[list[Finding], dict[str, str]]:
    from assay.access.findings.finding import KIND, visible
    from assay.access.findings.steps import open_record
    from assay.errors import AssayError

    out, damaged = [], {}
    for finding_id, (_, record) in store.records(KIND).items():
        try:
            finding = open_record(record, config.admins.public(), config.admins.threshold)
            if finding.report.id != finding_id:
                raise AssayError("kept under the id of another")
        except AssayError as e:
            if viewer.administrator:  # nobody else is told that there is one
                damaged[finding_id] = e.what
            continue
        if visible(finding, viewer, _now_ms()):
            out.append(finding)
    return out, damaged


def _one(config: Config, store: Store, viewer: Viewer, finding_id: str, *, adopting: bool = False) -> tuple[Finding, dict[str, Any], int]:
    """A finding that this viewer may see; one that they may not is as good as not there."""
    from assay.access.findings.finding import KIND, FindingError, visible
    from assay.access.findings.steps import open_record

    version, record = store.records(KIND).get(finding_id, (0, {}))
    if version:
        try:
            finding = open_record(record, config.admins.public(), config.admins.threshold, adopting=adopting and bool(viewer.administrator))
        except FindingError:
            if viewer.administrator:
                raise
        else:
            if finding.report.id == finding_id and visible(finding, viewer, _now_ms()):
                return finding, record, version
    raise FindingError(f"there is no finding '{finding_id[:40]}' that you may see", fix="Say who you are: --key KEY")


def _doubt(config: Config, snapshot: Snapshot, finding: Finding) -> None:
    from assay.access.findings.finding import UntrustedFindingError, check_reporter
    from assay.access.grants.grant import open_all

    try:
        check_reporter(finding.report, open_all(snapshot, config.admins, finding.report.at)[0])
    except UntrustedFindingError as e:
        click.echo(f"\nLook twice before you triage it: {plain(e.what)}.", err=True)


def _as_json(finding: Finding) -> dict[str, Any]:
    import msgspec

    value: dict[str, Any] = msgspec.to_builtins(finding)
    return value


def _day(at: int) -> str:
    from assay.evidence.releasemake import rfc3339

    return rfc3339(at)[:10]


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _write(path: Path, data: bytes) -> None:
    from assay.access.findings.finding import FindingError

    try:
        with path.open("xb") as file:
            file.write(data)
    except FileExistsError:
        raise FindingError("there is a file already", where=str(path), fix="Choose another path.") from None
    except OSError as e:
        raise FindingError(f"cannot write: {e.strerror}", where=str(path)) from None
