"""How a command writes to the audit log: a segment of its own, one record, signed and closed.

record = recorder(config, store)
record({"kind": "break-glass", ...})        # on disk when it returns
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from assay.access.config import Config
    from assay.access.safety.breakglass import Record
    from assay.access.store.base import Store


def recorder(config: Config, store: Store) -> Record:
    """What writes a record to the gate's audit log. It raises `AssayError` where that cannot be done."""

    def record(value: dict[str, Any]) -> None:
        import asyncio

        from assay.access.audit.log import AuditLog
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

        asyncio.run(write())

    return record
