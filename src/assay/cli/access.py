"""`assay access ...`: the door. One module per sub-command, loaded when it is called."""

from __future__ import annotations

from importlib import import_module

import click

from assay.cli.nearest import require_command

COMMANDS: dict[str, tuple[str, str]] = {
    "new": ("access_new", "Make a gate: its file, its secret, its audit key."),
    "serve": ("access_serve", "Serve the models, to those who have grants, as decisions and halts allow."),
    "grant": ("access_grants", "Propose a grant: checked, signed by a first administrator, pending until others approve."),
    "approve": ("access_grants:approve", "Add another administrator's approval to a grant."),
    "sub-grant": ("access_grants:sub_grant", "Give a part of a grant to a contractor: narrower, with keys of its own."),
    "list": ("access_list", "Every grant: state, who, what, until when, how much is used; and the halts in force."),
    "show": ("access_list:show", "All of a grant: terms, approvals, use, sub-grants."),
    "halt": ("access_halts", "Halt at once: everything, or what fits the attributes that are given."),
    "lift": ("access_halts:lift", "Lift a halt."),
    "revoke": ("access_halts:revoke", "Revoke a grant for ever, with its sub-grants."),
    "release": ("access_release", "Give the gate a release: an approval, a delay or a halt of a model that it serves."),
    "roles": ("access_release:roles", "Give the gate a later version of the authority's roles."),
    "finding": ("access_findings", "Weaknesses that operators found: report, triage, disclose, pass on."),
    "admission": ("access_admission", "A Kubernetes admission webhook: nothing unreleased is deployed."),
    "connect": ("access_connect", "A local endpoint for any OpenAI client; it holds your key and proves every request to the gate."),
    "secret": ("access_secret", "The gate's secret, by which its tokens are sealed: make one, rotate it."),
    "thumbprint": ("access_thumbprint", "What a grant names for a person: the thumbprint of their key or certificate."),
    "audit": ("access_audit", "The audit log: search, verify, export, who saw what of which model, for what purpose."),
    "alerts": ("access_alerts", "What is unusual in the audit log: scan, list, close."),
    "canary": ("access_canary", "Which grant a leaked text came from."),
    "break-glass": ("access_breakglass", "An exception for an hour at most, reviewed afterwards by another."),
    "rules": ("access_rules", "The rules by which the door opens: list, show, check, test, explain."),
    "admin": ("access_console:admin", "Serve the administration's API, on a listener of its own."),
    "console": ("access_console", "A page on your machine that shows the gate and acts on it; it holds your key."),
}
"""Sub-command: its module in `assay.cli` (whose `command` it is, or what stands after a colon), and its summary."""


class _Commands(click.Group):
    """Knows every sub-command's name and summary; imports its module when it is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(f"assay.cli.{module}"), attribute or "command")
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        require_command(ctx, self, args[0])
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])


@click.command(cls=_Commands)
def command() -> None:
    """The door: operators reach a model early, by grant and by decision, and it shuts at once. docs/access.md tells it in order.

    \b
    Examples:
      assay access grant power.yaml --config gate.yaml --key admin-1.pem     propose; a second administrator approves
      assay access approve power --config gate.yaml --key admin-2.pem
      assay access list --config gate.yaml
      assay access halt --jurisdiction SG --reason "directive 7" --config gate.yaml --key admin-1.pem
    """
