"""The interactive report: one signed run -> one HTML file in which every number leads to its transcripts, without a network.

write_explorer(read_source(Path("runs/v1")), Path("explorer.html"), language="ms")
"""

from assay.report.explorer.page import WORDS, explorer_parts, write_explorer

__all__ = ["WORDS", "explorer_parts", "write_explorer"]
