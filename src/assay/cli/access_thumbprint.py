"""`assay access thumbprint`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from assay.cli.keyplace import KEY_PLACE
from assay.errors import AssayError

if TYPE_CHECKING:
    from assay.ledger import KeyPlace

MAX_BYTES = 65_536


@click.command()
@click.option("--key", type=KEY_PLACE, help="Your key: a PEM file, or a PKCS#11 URI.")
@click.option("--certificate", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Your client certificate (PEM).")
def command(key: KeyPlace | None, certificate: Path | None) -> None:
    """What a grant names for a person: the thumbprint of their key, or of their client certificate. It is no secret.

    \b
    Examples:
      assay access thumbprint --key aisyah.pem
      assay access thumbprint --certificate aisyah-client.pem
    """
    from assay.access.credentials.dpop import certificate_thumbprint, thumbprint
    from assay.ledger import load_key

    if (key is None) == (certificate is None):
        raise AssayError("either a key or a certificate", fix="Give --key or --certificate.")
    if key is not None:
        click.echo(thumbprint(load_key(key).public))
    elif certificate is not None:
        click.echo(certificate_thumbprint(_der(certificate)))
    click.echo("\nTell this to whoever proposes your grant (persons: key:). Then: assay access connect --help", err=True)


def _der(path: Path) -> bytes:
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    try:
        with path.open("rb") as file:
            found = x509.load_pem_x509_certificate(file.read(MAX_BYTES))
    except (OSError, ValueError):
        raise AssayError("not a certificate in PEM", where=str(path)) from None
    return found.public_bytes(Encoding.DER)
