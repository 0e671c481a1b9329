"""Charts that answer questions, made from signed runs: each with its caption, one sentence for who cannot see it, and its numbers.

charts = charts_of(read_sources(paths), "en")
charts[0].question, charts[0].svg, charts[0].table.rows
absent_of(sources, "en")[0].reason          # why a chart is not there
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from assay.report.charts.chart import Absent, Chart, Table, Value
from assay.report.charts.checkpoints import checkpoints_chart
from assay.report.charts.cost import cost_charts
from assay.report.charts.drawing import warm_up
from assay.report.charts.effects import effects_chart
from assay.report.charts.funnel import funnel_chart
from assay.report.charts.growth import growth_chart
from assay.report.charts.headroom import headroom_chart
from assay.report.charts.lettering import Lettering, lifted
from assay.report.charts.making import Setting
from assay.report.charts.matrix import matrix_charts
from assay.report.charts.parity import parity_chart
from assay.report.charts.reading import Reading, read_all
from assay.report.charts.reliability import reliability_chart
from assay.report.charts.wording import Words
from assay.report.sources import Source

__all__ = ["Absent", "Chart", "Lettering", "Table", "Value", "absent_of", "all_of", "charts_of", "lifted", "warm_up"]


def charts_of(sources: Sequence[Source], language: str) -> tuple[Chart, ...]:
    """Every chart that these runs have data for, in the order of a report; `language` is an interface language.

    Of several runs each has its own charts, run by run, and the trend over all of them comes last.
    """
    return tuple(made for made in all_of(sources, language) if isinstance(made, Chart))


def absent_of(sources: Sequence[Source], language: str) -> tuple[Absent, ...]:
    """The charts that `charts_of` leaves out, and why. `all_of` gives both for the price of one."""
    return tuple(made for made in all_of(sources, language) if isinstance(made, Absent))


def all_of(sources: Sequence[Source], language: str) -> tuple[Chart | Absent, ...]:
    """Both in one pass, for who needs both."""
    setting = Setting(Words.of(language), many=len(sources) > 1)
    readings = read_all(sources)
    with ThreadPoolExecutor(len(readings) + 1) as pool:  # one run is counted while another is drawn
        trend = pool.submit(checkpoints_chart, readings, setting)
        each = pool.map(lambda reading: _of_one(reading, setting), readings)
        return (*(made for of_one in each for made in of_one), trend.result())


def _of_one(reading: Reading, setting: Setting) -> list[Chart | Absent]:
    source = reading.source
    return [
        *matrix_charts(source, setting),
        parity_chart(source, setting),
        reliability_chart(source, setting),
        growth_chart(reading, setting),
        effects_chart(source, setting),
        funnel_chart(reading, setting),
        headroom_chart(source, setting),
        *cost_charts(reading, setting),
    ]
