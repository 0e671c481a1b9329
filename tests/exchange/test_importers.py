"""Importers by entry point: what others write is a command."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from assay.catalog import read_bank
from assay.cli.importing import command
from assay.errors import AssayError
from assay.exchange.banking import Imported, Row, banked
from assay.exchange.importers import Importer, Option, Wanted, importer_points, load_importer


def from_mine(wanted: Wanted) -> Imported:
    rows = [Row(wanted.language or "en", str(i), f"{wanted.one('tone', 'plain')} {text}") for i, text in enumerate(wanted.what)]
    return banked(rows, name=wanted.name, title="Mine", licence=wanted.licence, source={"mine": "1.0"})


MINE = Importer(from_mine, about="My prompts.\n\nMore of it.", what="TEXT...", options=(Option("tone", "How it sounds."),))
NONE = "no importer"


@pytest.fixture(autouse=True)
def _installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def points(group: str) -> list[EntryPoint]:
        here = "tests.exchange.test_importers"
        values = {"mine": f"{here}:MINE", "odd": f"{here}:NONE", "gone": "no_such_package:X", "garak": f"{here}:MINE"}
        own = EntryPoint("garak", "assay.exchange.garak:GARAK", group)
        return [*(EntryPoint(name, value, group) for name, value in values.items()), own]

    monkeypatch.setattr("assay.exchange.importers.entry_points", points)


def called(*given: str) -> Result:
    return CliRunner().invoke(command, list(given), standalone_mode=False)


def test_an_installed_importer_is_a_command_with_its_own_options(tmp_path: Path) -> None:
    assert "How it sounds." in called("mine", "--help").output
    done = called("mine", "first", "second", "--name", "mine", "--licence", "CC0-1.0", "--tone", "kind", "--out", str(tmp_path))
    assert done.exception is None, done.output
    bank = read_bank(tmp_path / "mine.bank.json")
    assert bank.prompts == {"en": {"0": "kind first", "1": "kind second"}}
    twice = called("mine", "x", "y", "--name", "m", "--licence", "l", "--tone", "a", "--tone", "b", "--out", str(tmp_path))
    assert "--tone is given 2 times" in str(twice.exception)


def test_the_list_names_importers_and_loads_none_of_them() -> None:
    listed = called("--help").output
    assert all(name in listed for name in ("mine", "odd", "gone", "garak", "moonshot"))


def test_what_is_no_importer_is_one_message_and_nobody_takes_the_name_of_ours() -> None:
    assert importer_points()["garak"].value == "assay.exchange.garak:GARAK"
    for name, why in (("odd", "is no assay.exchange.importers.Importer"), ("gone", "cannot be loaded")):
        with pytest.raises(AssayError, match=why):
            load_importer(importer_points()[name])
