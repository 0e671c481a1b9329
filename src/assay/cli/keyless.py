"""The options by which `assay verify` checks a keyless signature, and what it prints of one.

@keyless_options
def command(..., **sigstore): asked = keyless_of(**sigstore)
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from assay.evidence import Report
    from assay.evidence.keyless import Keyless

_PATH = click.Path(path_type=Path)


def keyless_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The four options, which go together."""
    for option in (
        click.option("--sigstore-root", type=_PATH, help="Sigstore's trusted root (JSON), since nothing is fetched."),
        click.option("--sigstore-issuer", default="", metavar="URL", help="The OpenID Connect issuer whose word for that counts."),
        click.option("--sigstore-identity", default="", metavar="WHO", help="Who must have signed it, as in the certificate."),
        click.option("--sigstore-bundle", type=_PATH, help="A keyless signature over BUNDLE; goes with the next three."),
    ):
        command = option(command)
    return command


def keyless_of(
    sigstore_bundle: Path | None, sigstore_identity: str, sigstore_issuer: str, sigstore_root: Path | None
) -> Keyless | None:  # fmt: skip
    """What was asked for; None if nothing was. Raises `click.UsageError` for half of it."""
    if not (sigstore_bundle or sigstore_identity or sigstore_issuer or sigstore_root):
        return None
    if not (sigstore_bundle and sigstore_identity and sigstore_issuer and sigstore_root):
        raise click.UsageError("--sigstore-bundle, --sigstore-identity, --sigstore-issuer and --sigstore-root go together")
    from assay.evidence.keyless import Keyless

    return Keyless(sigstore_bundle, sigstore_identity, sigstore_issuer, sigstore_root)


def report_keyless(report: Report, evidence: Path, asked: Keyless) -> None:
    """Check a keyless signature over the evidence, and say what that leaves to trust."""
    from assay.evidence.keyless import check_keyless

    found = check_keyless(evidence, asked)
    if found.finding:
        report.failed("keyless signature", str(asked.bundle), found.finding)
        return
    report.passed("keyless signature", found.words)
    believed = f"that {asked.issuer} vouches for {asked.identity} rightly, and that the authorities and logs in {asked.root} do their part"
    report.trusted = (*report.trusted, believed)
