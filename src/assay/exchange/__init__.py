"""Import of others' test sets as banks, each with its licence and where it came from."""

from assay.exchange.ailuminate import from_ailuminate
from assay.exchange.banking import Imported, write_banks
from assay.exchange.moonshot import from_moonshot
from assay.exchange.tables import from_table
from assay.exchange.trajectories import from_sg_kr

__all__ = ["Imported", "from_ailuminate", "from_moonshot", "from_sg_kr", "from_table", "write_banks"]
