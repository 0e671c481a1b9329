"""Several signed runs side by side, in words and as a page: what rose, what fell, what cannot be told, and how sure that is.

view = comparison_view(read_sources(paths), margin=0.05, error=0.05, floor=0.01)
render_comparison(view, "ms")                      # one HTML page
sentences(view, words_in("en"))                    # at most ten, every number a figure bound to its bundles
"""

from assay.report.comparison.render import render_comparison, words_in
from assay.report.comparison.sentences import control, sentences
from assay.report.comparison.view import ComparisonView, comparison_view
from assay.report.observed import observed_of, observed_trials

__all__ = ["ComparisonView", "comparison_view", "control", "observed_of", "observed_trials", "render_comparison", "sentences", "words_in"]
