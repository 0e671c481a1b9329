"""What the door's administrative commands share: the gate's file, its store, and whose key it is."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from assay.cli.keyplace import KEY_PLACE
from assay.cli.words import plain

if TYPE_CHECKING:
    from assay.access.config import Config
    from assay.access.model import Grant
    from assay.access.store.base import Snapshot, Store
    from assay.ledger import KeyPlace, PrivateKey


def config_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """`--config`, the gate's file."""
    kind = click.Path(exists=True, dir_okay=False, path_type=Path)
    option = click.option("--config", "config_path", type=kind, default=Path("gate.yaml"), show_default=True, help="The gate's file.")
    return option(function)


def key_option(help_: str) -> Callable[[Any], Any]:
    """`--key`, a signing key."""
    return click.option("--key", "key_place", required=True, type=KEY_PLACE, help=help_)


@contextmanager
def opened(config_path: Path) -> Iterator[tuple[Config, Store]]:
    """The gate's file and its store, closed at the end."""
    from assay.access.config import read_config
    from assay.access.store.base import open_store

    config = read_config(config_path)
    store = open_store(config.store, Path(config.folder))
    try:
        yield config, store
    finally:
        store.close()


def admin(config: Config, place: KeyPlace) -> tuple[str, PrivateKey]:
    """The administrator's name and key. Raises `GateError` for a key that is no administrator's."""
    from assay.access.config import GateError
    from assay.ledger import load_key

    key = load_key(place)
    for name, public in config.admins.public().items():
        if public.keyid == key.public.keyid:
            return name, key
    raise GateError(f"the key {key.public.keyid[:16]}... is no administrator's", where="admins.keys", fix="Use one of theirs: --key")


def recalled(config: Config, snapshot: Snapshot) -> Snapshot:
    """A snapshot of the store as the gate of this machine takes it, with what the store has lost. Raises `StoreError`."""
    from assay.access.grants.remembered import REMEMBERED, Remembered

    return Remembered(config.path(REMEMBERED)).recall(snapshot)


def now_ms() -> int:
    """Unix time in milliseconds."""
    return time.time_ns() // 1_000_000


def day(ms: int) -> str:
    """A time as people read it; one that no calendar has, as it stands."""
    try:
        return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")
    except (ValueError, OverflowError, OSError):
        return f"{ms} ms"


def terms(grant: Grant) -> list[str]:
    """What is granted, in a few lines."""
    quotas = "; ".join(f"{q.requests:,} requests, {q.tokens:,} tokens, {q.money / 1e6:,.2f} money a {q.window}" for q in grant.quotas)
    hours = "; ".join(f"days {','.join(map(str, h.days))} {_clock(h.start)}-{_clock(h.end)} {h.zone}" for h in grant.hours) or "any"
    lines = [
        f"who       {grant.organisation} ({grant.sector}, {grant.jurisdiction}): {', '.join(p.name for p in grant.persons)}",
        f"purpose   {grant.purpose}",
        f"model     {grant.model}, {grant.digest[:23]}..., as {grant.tier}, {grant.level}",
        f"may       {', '.join(grant.routes)}; tools: {', '.join(grant.tools) or 'none'}; systems: {', '.join(grant.systems) or 'none'}",
        f"from      {', '.join(grant.networks)}; hours: {hours}",
        f"how much  {quotas}; {grant.per_person_a_minute:,} requests a minute for each person",
        f"until     {day(grant.expires)} (from {day(grant.starts)})",
        f"terms     {grant.digest_of_terms}",
    ]
    if grant.parent:
        lines.insert(0, f"parent    {grant.parent}")
    return [plain(line) for line in lines]


def _clock(minute: int) -> str:
    return f"{minute // 60:02d}:{minute % 60:02d}"
