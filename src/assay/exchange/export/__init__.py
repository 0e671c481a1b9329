"""Export of runs in others' formats: one module a format, loaded when it is asked for. docs/exchange.md."""

from assay.exchange.export.rows import ExportedRun, ExportError, Heading, Row, read_exported
from assay.exchange.export.writing import FORMATS, Format, write_export

__all__ = ["FORMATS", "ExportError", "ExportedRun", "Format", "Heading", "Row", "read_exported", "write_export"]
