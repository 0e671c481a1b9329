"""A bundle, read as a run: what a report needs is in it, so the other party makes the report from the bundle alone.

run = BundleRun.read(Path("evidence.jsonl"))
run.bundle, run.opening().plan, run.trial(0).answer

Nothing is checked here but the form. `closed` checks that every byte is what was signed, and `verify_bundle` also that it is right.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from assay.catalog import Catalog
from assay.errors import AssayError, EvidenceError
from assay.evidence.bundle import FORMAT, HEAD, BundleReader
from assay.judges import Taken
from assay.ledger import canonical, digest
from assay.plan import Plan, Sealed
from assay.plan.policy import Policy
from assay.runs import Opening, Trial, read_leaf


class BundleRun:
    """One run, in memory. `bundle` is the digest of the bundle's bytes; `test_result` and `decision` are its last statements, unopened."""

    def __init__(
        self, path: Path, bundle: str, opening: Opening, taken: list[Taken], leaves: list[bytes], incidents: list[dict[str, str | int]],
        statements: tuple[Any, Any],
    ) -> None:  # fmt: skip
        self.path = path
        self.bundle = bundle
        self.test_result, self.decision = statements
        self._opening, self._taken, self._leaves, self._incidents = opening, taken, leaves, incidents

    @classmethod
    def read(cls, path: Path) -> BundleRun:
        """The whole bundle. Raises `EvidenceError`."""
        reader = BundleReader(path)
        try:
            return cls._read(path, reader)
        except (msgspec.ValidationError, ValueError, TypeError, KeyError) as e:
            raise EvidenceError(f"not a bundle: {str(e)[:200]}", where=f"{path}, line {reader.number}") from None
        except AssayError as e:
            raise EvidenceError(f"not a bundle: {e.what}", where=f"{path}, {e.where or f'line {reader.number}'}") from None

    @classmethod
    def _read(cls, path: Path, reader: BundleReader) -> BundleRun:
        found: dict[str, Any] = {kind: reader.section(kind) for kind in HEAD[:-1]}
        if found["assay-bundle"] != FORMAT:
            raise EvidenceError(f"the format is {str(found['assay-bundle'])[:80]!r}, not {FORMAT}")
        count = reader.section("trials", field="count")
        if not isinstance(count, int) or isinstance(count, bool) or not 0 <= count <= reader.left:
            raise EvidenceError(f"{str(count)[:80]!r} trials cannot follow")
        leaves = [reader.next_line() for _ in range(count)]
        opening = Opening(
            plan=msgspec.convert(found["plan"], Plan),
            catalog=Catalog.from_json(found["catalog"]),
            nonce=msgspec.convert(found["nonce"], str),
            target=msgspec.convert(found["target"], dict[str, str]),
            opened=msgspec.convert(found["opened"], dict[str, Any]),
            public_key=msgspec.convert(found["key"], dict[str, str]),
            seals=msgspec.convert(found["seals"], tuple[Sealed, ...]),
            policy=msgspec.convert(found["policy"], Policy | None),
        )
        taken = msgspec.convert(found["labels"], list[Taken])
        incidents = msgspec.convert(reader.section("incidents"), list[dict[str, str | int]])
        statements = reader.section("test-result"), reader.section("decision")
        if reader.left or not reader.ends_properly:
            raise EvidenceError("there is more after the decision, or its line does not end")
        for kind, value in (("plan", opening.plan.to_json()), ("labels", taken), ("seals", opening.seals), ("policy", opening.policy)):
            if canonical(msgspec.to_builtins(value)) != canonical(found[kind]):
                raise EvidenceError("it does not read back to itself", where=kind)
        return cls(path, reader.digest, opening, taken, leaves, incidents, statements)

    @property
    def digest(self) -> str:
        """See `ReadRun`."""
        return digest(self._opening.opened)

    def opening(self) -> Opening:
        """See `ReadRun`."""
        return self._opening

    def leaves(self, start: int = 0) -> Iterator[tuple[int, bytes]]:
        """See `ReadRun`."""
        return enumerate(self._leaves[start:], start)

    def trials(self, start: int = 0) -> Iterator[Trial]:
        """See `ReadRun`."""
        return (read_leaf(leaf) for leaf in self._leaves[start:])

    def trial(self, slot: int) -> Trial:
        """See `ReadRun`."""
        if not 0 <= slot < len(self._leaves):
            raise EvidenceError(f"the bundle has no trial {slot}", where=str(self.path))
        return read_leaf(self._leaves[slot])

    def taken(self) -> list[Taken]:
        """See `ReadRun`."""
        return self._taken

    def incidents(self) -> list[dict[str, str | int]]:
        """See `ReadRun`."""
        return self._incidents
