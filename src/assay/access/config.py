"""The gate's file: what it serves, before what, to whom it listens, and whose word it takes. docs/access.md describes it.

    config = read_config(Path("gate.yaml"))
    config.models["m7"].upstream

Paths in it are relative to the file. Upstream keys are never in it: `key_variable` names the variable of the environment that has one.
"""

from __future__ import annotations

import os
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta, Struct

from assay.access.model import Id, Plain, TargetDigest
from assay.catalog import Located
from assay.errors import AssayError
from assay.evidence.roles import public_key
from assay.ledger import PublicKey

MAX_BYTES = 1 << 20
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


class GateError(AssayError):
    """The gate's file is not valid, or what it names is not there."""


class Tls(Struct, frozen=True, forbid_unknown_fields=True):
    """Certificate and key in PEM; with `client_ca`, clients may show certificates by it, to which tokens are bound (RFC 8705)."""

    certificate: Plain
    key: Plain
    client_ca: Annotated[str, Meta(max_length=300)] = ""


class Prices(Struct, frozen=True, forbid_unknown_fields=True):
    """Price of a million tokens, in the gate's currency."""

    prompt: Annotated[float, Meta(ge=0, le=10**6)] = 0.0
    answer: Annotated[float, Meta(ge=0, le=10**6)] = 0.0


class Served(Struct, frozen=True, forbid_unknown_fields=True):
    """A model behind the gate: its digest as releases have it, the upstream's base address (with /v1), and its name there."""

    digest: TargetDigest
    upstream: Plain
    upstream_model: Plain
    key_variable: Annotated[str, Meta(pattern=r"^([A-Z][A-Z0-9_]{0,63})?\Z")] = ""
    prices: Prices = Prices()
    longest_answer: Annotated[int, Meta(ge=1, le=10**6)] = 4096
    """Tokens that are reserved for an answer where the request bounds it by nothing smaller."""


class Audit(Struct, frozen=True, forbid_unknown_fields=True):
    """The audit log: its folder, the key that signs its checkpoints, and age recipients who may read contents (none: digests only)."""

    folder: Plain = "audit"
    key: Plain = "audit.pem"
    auditors: Annotated[tuple[Annotated[str, Meta(pattern=r"^age1[0-9a-z]{20,200}\Z")], ...], Meta(max_length=20)] = ()


class Authority(Struct, frozen=True, forbid_unknown_fields=True):
    """Whose releases count: the signed roles, the owners' key ids (the first time), and the file of what was seen."""

    roles: Plain
    owners: Annotated[tuple[Annotated[str, Meta(pattern=r"^[0-9a-f]{16,64}\Z")], ...], Meta(min_length=1, max_length=20)]
    state: Plain = "seen.json"


class Admins(Struct, frozen=True, forbid_unknown_fields=True):
    """Who administers grants: public keys in base64 by name, and how many must approve one (two at least)."""

    keys: Annotated[dict[Id, Plain], Meta(min_length=2, max_length=100)]
    threshold: Annotated[int, Meta(ge=2, le=10)] = 2

    def public(self) -> dict[str, PublicKey]:
        """The keys by name."""
        return {name: public_key(key) for name, key in self.keys.items()}


class Administration(Struct, frozen=True, forbid_unknown_fields=True):
    """The administration's own listener, which the gateway never shares: where, by which names it is called, whose keys may read.

    `auditors` may search the audit log, `viewers` see the rest; both are public keys in base64 by name. `scrapers` are networks (CIDR) from
    which metrics and health are read without a signature. The audit log is looked through for alerts every `alerts_every_s` seconds, with 0
    never.
    """

    listen: Annotated[str, Meta(pattern=r"^[^\s]{1,200}:[0-9]{1,5}\Z")] = "127.0.0.1:8471"
    hosts: Annotated[tuple[Plain, ...], Meta(min_length=1, max_length=50)] = ("127.0.0.1", "localhost")
    tls: Tls | None = None
    auditors: Annotated[dict[Id, Plain], Meta(max_length=100)] = {}
    viewers: Annotated[dict[Id, Plain], Meta(max_length=100)] = {}
    scrapers: Annotated[tuple[Annotated[str, Meta(max_length=50)], ...], Meta(max_length=20)] = ("127.0.0.0/8", "::1/128")
    alerts_every_s: Annotated[int, Meta(ge=0, le=86_400)] = 60

    @property
    def address(self) -> tuple[str, int]:
        """Host and port to listen on."""
        host, _, port = self.listen.rpartition(":")
        return host.strip("[]"), int(port)


class Tracing(Struct, frozen=True, forbid_unknown_fields=True):
    """OpenTelemetry: the OTLP/HTTP address that spans go to (empty: none), and whether the upstream gets `traceparent`."""

    endpoint: Annotated[str, Meta(max_length=300, pattern=r"^(https?://[!-~]+)?\Z")] = ""
    upstream: bool = False


class Bounds(Struct, frozen=True, forbid_unknown_fields=True):
    """What a request may cost the gate: bytes of a body, seconds of an answer and between its parts, live streams of a worker; and for how
    many seconds a client may take to send a request (`head_s`), or read nothing of an answer that waits for it (`slow_s`).
    """

    body_bytes: Annotated[int, Meta(ge=1024, le=256 << 20)] = 4 << 20
    answer_s: Annotated[float, Meta(gt=0, le=7200)] = 900.0
    idle_s: Annotated[float, Meta(gt=0, le=3600)] = 120.0
    streams: Annotated[int, Meta(ge=1, le=100_000)] = 1000
    head_s: Annotated[float, Meta(gt=0, le=3600)] = 60.0
    slow_s: Annotated[float, Meta(gt=0, le=3600)] = 60.0


class Config(Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file. `hosts` are the names (and ports, where not the usual) by which it may be called; any other is refused.

    `canary_secret` is a file of its own for canaries (none: the gate's `secret`, whose rotation then ends what old marks can tell).
    `store` is a path (SQLite) or a postgresql:// address. `secret` is a file with 64 hex digits, which all workers share. Nothing is served
    if the store was not heard of for `lease_s` seconds.
    """

    assay: Literal["gate/1"]
    listen: Annotated[str, Meta(pattern=r"^[^\s]{1,200}:[0-9]{1,5}\Z")]
    hosts: Annotated[tuple[Plain, ...], Meta(min_length=1, max_length=50)]
    models: Annotated[dict[Id, Served], Meta(min_length=1, max_length=100)]
    authority: Authority
    admins: Admins
    administration: Administration = Administration()
    store: Plain = "gate.db"
    secret: Plain = "gate.secret"  # noqa: S105 (the name of a file)
    audit: Audit = Audit()
    tls: Tls | None = None
    workers: Annotated[int, Meta(ge=1, le=64)] = 1
    lease_s: Annotated[float, Meta(ge=0.2, le=60)] = 2.0
    token_s: Annotated[int, Meta(ge=10, le=3600)] = 300
    currency: Annotated[str, Meta(pattern=r"^[A-Z]{3}\Z")] = "USD"
    bounds: Bounds = Bounds()
    tracing: Tracing = Tracing()
    policies: Annotated[str, Meta(max_length=300)] = ""
    checks: Annotated[tuple[Id, ...], Meta(max_length=20)] = ()
    check_settings: Annotated[str, Meta(max_length=300)] = ""
    canary_secret: Annotated[str, Meta(max_length=300)] = ""
    folder: Annotated[str, Meta(max_length=4096)] = ""

    def path(self, name: str) -> Path:
        """A path of the file, seen from the file's folder."""
        return Path(self.folder) / name

    @property
    def address(self) -> tuple[str, int]:
        """Host and port to listen on."""
        host, _, port = self.listen.rpartition(":")
        return host.strip("[]"), int(port)

    def upstream_key(self, model: str) -> str:
        """The upstream's key from the environment, which only this process has; empty where none is wanted. Raises `GateError`."""
        name = self.models[model].key_variable
        if name and not os.environ.get(name):
            raise GateError(f"the variable {name} has no key for '{model}'", fix=f"Set {name} in the environment of the gate alone.")
        return os.environ.get(name, "") if name else ""


def read_config(path: Path) -> Config:
    """The gate's file, checked. Raises `GateError`."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as e:
        raise GateError(f"cannot read the gate's file: {e.strerror}", where=str(path)) from None
    if len(data) > MAX_BYTES:
        raise GateError(f"larger than {MAX_BYTES:,} bytes", where=str(path))
    located = Located(data.decode("utf-8", errors="replace"), where=str(path), error=GateError)
    config = located.convert(Config)
    for what, at in _problems(config):
        raise located.fail(what, at)
    return msgspec.structs.replace(config, folder=str(path.resolve().parent))


def _problems(config: Config) -> list[tuple[str, str]]:
    found = []
    if config.tls is None and config.address[0] not in LOOPBACK:
        found.append(("without TLS the gate listens on this machine only", ".listen"))
    for name, served in config.models.items():
        try:
            parts = urlsplit(served.upstream)
            port = parts.port
        except ValueError:
            parts, port = urlsplit(""), None
        bad = parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query or parts.fragment
        if bad or port == 0:
            found.append(("an upstream is an http(s) address without user, query and fragment", f".models.{name}.upstream"))
        elif parts.scheme == "http" and parts.hostname not in LOOPBACK:
            found.append(("an upstream on another machine is reached over https", f".models.{name}.upstream"))
    reading = config.administration
    if reading.tls is None and reading.address[0] not in LOOPBACK:
        found.append(("without TLS the administration listens on this machine only", ".administration.listen"))
    if reading.listen == config.listen:
        found.append(("the administration has a listener of its own", ".administration.listen"))
    for network in reading.scrapers:
        try:
            ip_network(network)
        except ValueError:
            found.append((f"'{network}' is no network", ".administration.scrapers"))
    try:
        keys = [k.keyid for k in config.admins.public().values()]
        readers = [public_key(k).keyid for k in (*reading.auditors.values(), *reading.viewers.values())]
    except AssayError as e:
        return [*found, (e.what, ".admins.keys")]
    names = [*config.admins.keys, *reading.auditors, *reading.viewers]
    if len(set(readers) | set(keys)) < len(readers) + len(set(keys)) or len(set(names)) < len(names):
        found.append(("administrators, auditors and viewers have names and keys of their own", ".administration"))
    if len(set(keys)) < len(keys):
        found.append(("two administrators have the same key", ".admins.keys"))
    if config.admins.threshold > len(keys):
        found.append((f"{config.admins.threshold} approvals of {len(keys)} administrators", ".admins.threshold"))
    return found
