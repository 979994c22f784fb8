"""The driver of batch inference: finds the files, and what tells that one of them has changed."""

from __future__ import annotations

from tfx.dsl.components.base.base_driver import BaseDriver as DefinitionDriver
from tfx.orchestration import metadata
from tfx.orchestration.portable import data_types
from tfx.orchestration.portable.base_driver import BaseDriver
from tfx.proto.orchestration import driver_output_pb2

from custom_components.batch_predict.executor import FILES, READ
from custom_components.batch_predict.settings import ReadSettings
from custom_components.batch_predict.stamps import stamps

STAMPS = "stamps"
"""The parameter that holds each file's name, size and time of change."""


class Driver(DefinitionDriver, BaseDriver):
    """Puts what tells the files' contents into the parameters, which are part of the cache key.

    TFX knows drivers by the first of its bases where a pipeline is defined, and by the second where
    it is run.
    """

    def __init__(self, mlmd_connection: metadata.Metadata) -> None:
        """Takes the store."""
        DefinitionDriver.__init__(self, mlmd_connection)
        BaseDriver.__init__(self, mlmd_connection)

    def run(self, execution_info: data_types.ExecutionInfo) -> driver_output_pb2.DriverOutput:
        """See the class.

        Raises:
          UserError: a pattern names no file.
        """
        properties = execution_info.exec_properties
        read = ReadSettings.model_validate_json(properties[READ])
        output = driver_output_pb2.DriverOutput()
        output.exec_properties[STAMPS].string_value = stamps(
            properties[FILES].split("\n"), read.format
        )
        return output
