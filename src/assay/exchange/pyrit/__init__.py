"""Converters of PyRIT as attacks that stand in a bank: what each left of every prompt.

    imported = from_pyrit(Wanted(("words.bank.json",), options={"converter": ("base64", "caesar:caesar_offset=3")}, python=...))
    write_banks(imported, Path("attacked"))          # words-pyrit.bank.json, with the attacks pyrit-base64 and pyrit-caesar

An attack is evidence here and not code: the converted texts are content, digested with the bank and paired with the plain ones item by
item, so an auditor rebuilds every item without PyRIT. PyRIT runs three times, under an interpreter of its own (`child.py`); nothing here
imports it.
"""

from assay.exchange.pyrit.making import PYRIT, from_pyrit

__all__ = ["PYRIT", "from_pyrit"]
