"""Writes the page of the executor's own run."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from tfx.dsl.components.base.base_executor import BaseExecutor
from tfx.types import artifact_utils
from tfx.types.artifact import Artifact

from custom_components.beforehand import gently
from pipeline import lineage
from pipeline.report import pages

_logger = logging.getLogger(__name__)


class Executor(BaseExecutor):
    """Asks the store for the run, and writes what it says."""

    @staticmethod
    def prepare() -> None:
        """Imports what draws, which takes a while; whoever runs the node may call it beforehand."""
        gently(_import_all)

    def Do(
        self,
        input_dict: dict[str, list[Artifact]],
        output_dict: dict[str, list[Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Writes index.html; what is wrong with it is for the page to say, and no error.

        The dictionaries' keys are the names in `component.ReportSpec`.

        Raises:
            UserError: If the store cannot be asked.
        """
        report = artifact_utils.get_single_instance(output_dict["report"])
        run = lineage.open(exec_properties["store"]).run(exec_properties["run"])
        text, error = pages.rendered(run)
        if error is not None:
            _logger.error("the report of run %s", run.id, exc_info=error)
        (Path(report.uri) / pages.REPORT_FILE).write_text(text, encoding="utf-8")
        report.set_string_custom_property("run", run.id)
        report.set_int_custom_property("complete", int(error is None))


def _import_all() -> None:
    import matplotlib.backends.backend_svg
    import matplotlib.figure  # noqa: F401
    import pandas  # noqa: F401

    import pipeline.report.page  # noqa: F401
