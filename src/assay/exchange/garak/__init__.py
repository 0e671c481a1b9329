"""Probes of garak as banks of their prompts, with what its detectors look for as a judge where that is words alone.

    imported = from_garak(Wanted(("encoding.InjectBase64",), name="decoding", licence="Apache-2.0", python="/venvs/garak/bin/python"))
    write_banks(imported, Path("decoding"))          # decoding.bank.json, decoding.strings.json, plan.yaml

garak runs once, under an interpreter of its own (`child.py`); nothing here imports it, and verifying a run on such a bank needs none of it.
"""

from assay.exchange.garak.making import GARAK, from_garak

__all__ = ["GARAK", "from_garak"]
