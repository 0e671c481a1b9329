"""One tree of errors. Each says what was wrong, where, and what to do; the command line prints that and exits as documented.

raise PlanError("max_rate must be between 0 and 1, not 1.4", where="plan.yaml:12 requirements[0].max_rate")
"""

from __future__ import annotations


class AssayError(Exception):
    """What every room raises when it cannot go on. `exit_code` is 2 (bad input or surroundings) unless a subclass says otherwise."""

    exit_code = 2

    def __init__(self, what: str, *, where: str = "", fix: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.fix = fix

    def __str__(self) -> str:
        lines = [f"{self.where}: {self.what}" if self.where else self.what]
        if self.fix:
            lines.append(self.fix)
        return "\n".join(lines)


class PlanError(AssayError):
    """The plan file is not valid."""


class CatalogError(AssayError):
    """The content is not valid, or the plan names content that is not there."""


class SealedBankError(CatalogError):
    """A sealed bank cannot be opened, is not what it commits to, or its exposures do not let it be used."""


class CommitmentError(SealedBankError):
    """An opened bank is not what it commits to, or its ciphertext was changed."""

    exit_code = 1


class TargetError(AssayError):
    """The target cannot be used at all: unreachable, refused the key, or does not speak the protocol."""


class TargetGoneError(TargetError):
    """The target has ended for good in this process: another process may open it anew."""


class ModelError(AssayError):
    """The embedded model's weights or runtime cannot be had, or are not the pinned ones."""


class RunFileError(AssayError):
    """The run file is damaged, locked, full, or belongs to another plan."""


class SigningKeyError(AssayError):
    """A signing key is missing or malformed."""


class IdentityError(AssayError):
    """A model's signature, a provider's statement or a fingerprint cannot be made, read or compared."""


class EvidenceError(AssayError):
    """A bundle cannot be read at all. Findings inside a readable bundle are not raised but listed."""
