"""`assay access admission`."""

from __future__ import annotations

from pathlib import Path

import click

from assay.cli.words import program, shell_path

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.option("--config", required=True, type=_FILE, help="The gate's file: its store, roles and administrators.")
@click.option("--listen", default="127.0.0.1:8444", show_default=True, metavar="HOST:PORT", help="Port 0 takes any free one.")
@click.option("--rules", "rules_path", type=_FILE, help="Namespaces' tiers, and which model an image carries (docs/deploy.md).")
@click.option(
    "--memory",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A folder that outlives it, for what it saw of releases and halts; the gate's own files unless given.",
)
@click.option("--certificate", type=_FILE, help="The certificate (PEM) for the webhook's name; the gate's own unless given.")
@click.option("--private-key", type=_FILE, help="Its key (PEM).")
@click.option("--client-ca", type=_FILE, help="Only callers with a certificate by this authority: the API server's.")
@click.option("--check", is_flag=True, help="Only read everything; serve nothing.")
def command(
    config: Path,
    listen: str,
    rules_path: Path | None,
    memory: Path | None,
    certificate: Path | None,
    private_key: Path | None,
    client_ca: Path | None,
    check: bool,
) -> None:
    """A Kubernetes validating admission webhook: what names a model without a release that serves its namespace is not deployed.

    HTTPS only, AdmissionReview v1. deploy/kubernetes has the manifests. Whatever cannot be read, known or remembered is denied.

    \b
    Examples:
      assay access admission --config gate.yaml --rules admission.yaml --listen 0.0.0.0:8444 --certificate tls.crt --private-key tls.key
    """
    from assay.access.admission.objects import AdmissionError, Rules, read_rules
    from assay.access.admission.server import Releases, Webhook, serve
    from assay.access.config import read_config
    from assay.access.store.base import open_store
    from assay.web.serving import check_tls
    from assay.web.serving import listen as listening

    loaded = read_config(config)
    if certificate is None and private_key is None and loaded.tls is not None:
        certificate, private_key = loaded.path(loaded.tls.certificate), loaded.path(loaded.tls.key)
    if certificate is None or private_key is None:
        raise AdmissionError("Kubernetes calls webhooks over HTTPS only", fix="Give --certificate and --private-key.")
    check_tls(certificate, private_key)
    host, _, port = listen.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise click.UsageError("--listen is HOST:PORT")
    rules = read_rules(rules_path) if rules_path else Rules()
    releases = Releases(loaded, open_store(loaded.store, Path(loaded.folder)), memory)
    releases.ready()
    if check:
        click.echo(f"All in order. Next:\n\n  {program()} access admission --config {shell_path(config)} --listen {listen}")
        return
    with listening(host.strip("[]"), int(port), secure=True) as socket:
        click.echo(f"Admission webhook at https://{host}:{socket.getsockname()[1]}/admit. Ctrl-C stops it, and then nothing is admitted.")
        click.echo("Next, put its address and its authority's certificate into deploy/kubernetes/admission.yaml and apply that.")
        serve(Webhook(releases, rules), [socket], certificate, private_key, client_ca)
