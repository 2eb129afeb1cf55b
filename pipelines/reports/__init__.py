"""Reports: what a run found, and one self-contained HTML file about it."""

from pipelines.reports.report import write_report
from pipelines.reports.results import Attention, ModelResults, RunResults

__all__ = ["Attention", "ModelResults", "RunResults", "write_report"]
