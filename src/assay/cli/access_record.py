"""How a command writes to the audit log: a segment of its own, one record, signed and closed.

recorder(config, store)(record)             # on disk when it returns
recorded_first(config, store, record)       # before what opens: raises, and nothing is done
recorded_after(config, store, record)       # after what closes, which holds whatever becomes of its record
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from assay.cli.words import plain
from assay.errors import AssayError

if TYPE_CHECKING:
    from assay.access.config import Config
    from assay.access.safety.breakglass import Record
    from assay.access.store.base import Store

WHERE = "the gate's machine, where the audit log and its key are, or with the console"


def recorder(config: Config, store: Store) -> Record:
    """What writes a record to the gate's audit log. It raises `AssayError` where that cannot be done."""

    def record(value: dict[str, Any]) -> None:
        import asyncio

        from assay.access.audit.log import AuditLog
        from assay.access.audit.records import AuditError
        from assay.ledger import digest, load_key

        async def write() -> None:
            import msgspec

            key = load_key(config.path(config.audit.key))
            terms = digest(msgspec.to_builtins(config))
            log = AuditLog(config.path(config.audit.folder), "command", key, config.audit.auditors, spend=store.spend, config=terms)
            await log.start()
            try:
                await log.write(value)
            finally:
                await log.stop()

        try:
            asyncio.run(write())
        except OSError as e:
            raise AuditError(f"the audit log cannot be written: {e.strerror}", where=str(config.path(config.audit.folder))) from None

    return record


def recorded_first(config: Config, store: Store, value: dict[str, Any]) -> None:
    """Record what is about to open. Raises `AuditError`: then it may not be done."""
    from assay.access.audit.records import AuditError

    try:
        recorder(config, store)(value)
    except AssayError as e:
        raise AuditError(f"nothing was done, because it cannot be recorded: {e.what}", where=e.where, fix=f"Do it on {WHERE}.") from None


def recorded_after(config: Config, store: Store, value: dict[str, Any]) -> None:
    """Record what has closed something; where that cannot be, say so. It raises nothing."""
    try:
        recorder(config, store)(value)
    except Exception as e:  # noqa: BLE001 (whatever it is, what has closed stays closed, and that is what is to be said)
        why = e.what if isinstance(e, AssayError) else type(e).__name__
        click.echo(f"It holds, and is not in the audit log, which cannot be written from here: {plain(why)}", err=True)
        click.echo(f"What is done on {WHERE}, is recorded.", err=True)
