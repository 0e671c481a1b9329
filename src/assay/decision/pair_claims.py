"""Claims about paired differences: a language against the reference language, an attack against its placebo."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from assay.decision.codes import SAFE, UNSCORABLE, VIOLATION, Codes
from assay.decision.rate_claims import stream_label
from assay.plan import Stream
from assay.stats import BankTest, LevelParityTest, ParityTest, bank_sequence, difference_sequence, level_difference_sequence


class ParityClaim:
    """A stream's violation rate exceeds the reference's by at most `margin`, paired by item: a language against the reference language,
    or an attack against its placebo.
    """

    def __init__(
        self,
        requirement: str,
        stream: Stream,
        reference: Stream,
        margin: float,
        approve_level: float,
        halt_level: float,
    ) -> None:
        self.requirement = requirement
        self.stream, self.reference = stream, reference
        self.streams: tuple[Stream, ...] = (stream, reference)
        self.margin = margin
        self.approve_level, self.halt_level = approve_level, halt_level
        self._approve = ParityTest(margin, "approve", approve_level)
        self._halt = ParityTest(margin, "halt", halt_level)
        self.status = "open"
        self.at = -1
        self.n = self.unscorable = 0
        self.cautious = [0, 0, 0]  # D = 1, 0, -1 with what is unscorable held against the language
        self.lenient = [0, 0, 0]  # and held for it
        self.worse = self.better = 0
        self._approve_from = self._halt_from = 0  # pairs after which the tests need looking at again

    def needs(self, _: Stream) -> int:
        """The first trial of a stream that was not taken yet."""
        return self.n

    def advance(self, codes: Mapping[Stream, Codes], committed: int) -> None:
        """Take the pairs that are complete, in index order; `committed` counts all trials so far."""
        own, reference = codes[self.stream], codes[self.reference]
        end = min(own.end, reference.end)
        while self.n < end and self.status == "open":
            self._pair(own.data[self.n - own.base], reference.data[self.n - reference.base], committed)

    def _pair(self, own: int, reference: int, committed: int) -> None:
        self.n += 1
        self.unscorable += UNSCORABLE in (own, reference)
        cautious = (own != SAFE) - (reference == VIOLATION)
        lenient = (own == VIOLATION) - (reference != SAFE)
        self.cautious[1 - cautious] += 1
        self.lenient[1 - lenient] += 1
        plain = (own == VIOLATION) - (reference == VIOLATION)
        self.worse += plain == 1
        self.better += plain == -1
        if self.n > self._approve_from:
            spared = self._approve.pairs_before(*self.cautious)
            self._approve_from = self.n + spared
            if spared < 0:
                self.status, self.at = "approve", committed
                return
        if self.n > self._halt_from:
            spared = self._halt.pairs_before(*self.lenient)
            self._halt_from = self.n + spared
            if spared < 0:
                self.status, self.at = "halt", committed

    def state(self) -> list[Any]:
        """Everything that changes, for a checkpoint."""
        return [self.status, self.at, self.n, self.unscorable, self.worse, self.better, self.cautious.copy(), self.lenient.copy()]

    def restore(self, state: list[Any]) -> None:
        """Inverse of `state`."""
        self.status, self.at, self.n, self.unscorable, self.worse, self.better = state[:6]
        self.cautious, self.lenient = list(state[6]), list(state[7])

    @property
    def label(self) -> str:
        """For people."""
        against = {"placebo": "its placebo", "literal": "its literal rendering"}.get(self.reference.arm, self.reference.language)
        return stream_label(self.stream, f" against {against}")

    def fewest_trials(self) -> int:
        """Pairs that approving takes if all agree."""
        n = 1
        while not self._approve.rejects(0, n, 0):
            n += 1
        return n

    def interval(self) -> tuple[float, float]:
        """The confidence sequence of the two tests, for the difference of rates."""
        (w, e, b), (worse, equal, better) = self.lenient, self.cautious
        low, high = difference_sequence(w, e, b, self.halt_level)[0], difference_sequence(worse, equal, better, self.approve_level)[1]
        return float(low), float(high)

    def counts(self) -> dict[str, int]:
        """The numbers that the reason rests on."""
        return {"n": self.n, "worse": self.worse, "better": self.better, "unscorable": self.unscorable}


class SampledParityClaim(ParityClaim):
    """The same where every item is asked `samples` times: one difference of means per item.

    `cautious` and `lenient` count the items by difference, from `samples` down to -`samples`; `worse` and `better` count items.
    """

    def __init__(
        self, requirement: str, stream: Stream, reference: Stream, margin: float, approve_level: float, halt_level: float, samples: int
    ) -> None:
        super().__init__(requirement, stream, reference, margin, approve_level, halt_level)
        self._approve_means = LevelParityTest(margin, "approve", approve_level, samples)
        self._halt_means = LevelParityTest(margin, "halt", halt_level, samples)
        self.samples = samples
        self.cautious, self.lenient = [0] * (2 * samples + 1), [0] * (2 * samples + 1)
        self._item = [0, 0, 0]  # differences so far, cautious, lenient and plain, of the item that is not whole yet

    def _pair(self, own: int, reference: int, committed: int) -> None:
        self.n += 1
        self.unscorable += UNSCORABLE in (own, reference)
        self._item[0] += (own != SAFE) - (reference == VIOLATION)
        self._item[1] += (own == VIOLATION) - (reference != SAFE)
        self._item[2] += (own == VIOLATION) - (reference == VIOLATION)
        if self.n % self.samples:
            return
        self.cautious[self.samples - self._item[0]] += 1
        self.lenient[self.samples - self._item[1]] += 1
        self.worse += self._item[2] > 0
        self.better += self._item[2] < 0
        self._item = [0, 0, 0]
        if self._approve_means.rejects(self.cautious):
            self.status, self.at = "approve", committed
        elif self._halt_means.rejects(self.lenient):
            self.status, self.at = "halt", committed

    def fewest_trials(self) -> int:
        """Pairs of trials that approving takes if all agree."""
        return super().fewest_trials() * self.samples

    def interval(self) -> tuple[float, float]:
        """The confidence sequence of the two tests, for the difference of rates."""
        return level_difference_sequence(self.lenient, self.cautious, self.halt_level, self.approve_level)

    def counts(self) -> dict[str, int]:
        """The numbers that the reason rests on."""
        return {**super().counts(), "items": self.n // self.samples}

    def state(self) -> list[Any]:
        """Everything that changes, for a checkpoint."""
        return [*super().state(), self._item.copy()]

    def restore(self, state: list[Any]) -> None:
        """Inverse of `state`."""
        super().restore(state[:8])
        self._item = list(state[8])


class BankParityClaim(ParityClaim):
    """The same for a finite bank, drawn without replacement: `BankTest` on (D + 1) / 2 against (margin + 1) / 2."""

    def __init__(
        self, requirement: str, stream: Stream, reference: Stream, margin: float, approve_level: float, halt_level: float, size: int
    ) -> None:
        super().__init__(requirement, stream, reference, margin, approve_level, halt_level)
        self.size = size
        self._differences: tuple[bytearray, bytearray] = (bytearray(), bytearray())  # D + 1, cautious and lenient
        self._tests()

    def _tests(self) -> None:
        half = (1 + self.margin) / 2
        self._approve_bank = BankTest(self.size, half, "approve", self.approve_level)
        self._halt_bank = BankTest(self.size, half, "halt", self.halt_level)

    def _pair(self, own: int, reference: int, committed: int) -> None:
        self.n += 1
        self.unscorable += UNSCORABLE in (own, reference)
        cautious = (own != SAFE) - (reference == VIOLATION)
        lenient = (own == VIOLATION) - (reference != SAFE)
        self.cautious[1 - cautious] += 1
        self.lenient[1 - lenient] += 1
        plain = (own == VIOLATION) - (reference == VIOLATION)
        self.worse += plain == 1
        self.better += plain == -1
        self._differences[0].append(cautious + 1)
        self._differences[1].append(lenient + 1)
        self._approve_bank.add((cautious + 1) / 2)
        self._halt_bank.add((lenient + 1) / 2)
        if self._approve_bank.rejects:
            self.status, self.at = "approve", committed
        elif self._halt_bank.rejects:
            self.status, self.at = "halt", committed

    def fewest_trials(self) -> int:
        """Pairs that approving takes if all agree."""
        test = BankTest(self.size, (1 + self.margin) / 2, "approve", self.approve_level)
        n = 0
        while n < self.size and not test.rejects:
            test.add(0.5)
            n += 1
        return n

    def interval(self) -> tuple[float, float]:
        """The confidence sequence of the two tests, for the bank's own difference."""
        cautious, lenient = ([d / 2 for d in part] for part in self._differences)
        low, high = bank_sequence(self.size, lenient, cautious, self.halt_level, self.approve_level)
        return 2 * low - 1, 2 * high - 1

    def state(self) -> list[Any]:
        """Everything that changes, for a checkpoint."""
        return [*super().state(), self._differences[0].hex(), self._differences[1].hex()]

    def restore(self, state: list[Any]) -> None:
        """Inverse of `state`."""
        super().restore(state[:8])
        self._differences = (bytearray.fromhex(state[8]), bytearray.fromhex(state[9]))
        self._tests()
        self._approve_bank.add_many([d / 2 for d in self._differences[0]])
        self._halt_bank.add_many([d / 2 for d in self._differences[1]])
