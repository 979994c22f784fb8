"""The Registrar's driver: finds out, before the cache is asked, whether something waits."""

from __future__ import annotations

import json

from tfx.dsl.components.base.base_driver import BaseDriver as DefinitionDriver
from tfx.orchestration import metadata
from tfx.orchestration.portable import data_types
from tfx.orchestration.portable.base_driver import BaseDriver
from tfx.proto.orchestration import driver_output_pb2

from custom_components.registrar.reconcile import reconcile
from custom_components.registrar.record import waiting

WAITING = "waiting"
"""The parameter that holds the folders of the records that wait, as JSON."""


class Driver(DefinitionDriver, BaseDriver):
    """Puts what waits to be told into the parameters, which are part of the cache key.

    Where nothing waits, and nothing else changed, the node comes from the cache. Where MLflow was
    away in an earlier run, it is not: it tells what that run could not.

    TFX knows drivers by the first of its bases where a pipeline is defined, and by the second where
    it is run.
    """

    def __init__(self, mlmd_connection: metadata.Metadata) -> None:
        """Takes the store."""
        DefinitionDriver.__init__(self, mlmd_connection)
        BaseDriver.__init__(self, mlmd_connection)

    def run(self, execution_info: data_types.ExecutionInfo) -> driver_output_pb2.DriverOutput:
        """See the class."""
        with self._mlmd_connection as handle:
            reconcile(handle.store)
        root = execution_info.exec_properties["root"]
        output = driver_output_pb2.DriverOutput()
        output.exec_properties[WAITING].string_value = json.dumps(waiting(root))
        return output
