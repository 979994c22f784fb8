"""The fully custom style of component, by the example of an ExampleGen on Arrow.

A TFX component is three parts, and here each is a file to read:

- the **spec** (below) names the inputs, outputs and parameters, with their types;
- the **driver** (`driver.py`) runs first and decides what this execution is about: which span. What
  it writes into the parameters is part of the cache key;
- the **executor** (`executor.py`) does the work, unless the cache has it.

Take this style when a component needs more than a function of its inputs: a driver, another
component's interface (any component that takes Examples takes these), or several modules of code.
Where a function will do, see `custom_components/data_gate.py`.
"""

from __future__ import annotations

from typing import ClassVar

from tfx import types
from tfx.components.example_gen import component, utils
from tfx.dsl.components.base import executor_spec
from tfx.orchestration import data_types
from tfx.proto import example_gen_pb2, range_config_pb2
from tfx.types import component_spec, standard_artifacts, standard_component_specs

from custom_components.example_gen.driver import Driver
from custom_components.example_gen.executor import Executor
from custom_components.example_gen.settings import SETTINGS_KEY, TABLE_KEY, IngestSettings, Table
from custom_components.example_gen.split import SPLITS
from pipeline.errors import UserError


class TabularExampleGenSpec(standard_component_specs.FileBasedExampleGenSpec):
    """What a file-based ExampleGen takes and gives, and two parameters of our own."""

    PARAMETERS: ClassVar[dict[str, component_spec.ExecutionParameter]] = {
        **standard_component_specs.FileBasedExampleGenSpec.PARAMETERS,
        SETTINGS_KEY: component_spec.ExecutionParameter(type=str),
        TABLE_KEY: component_spec.ExecutionParameter(type=str),
    }


class TabularExampleGen(component.FileBasedExampleGen):
    """Ingests one span of CSV or Parquet files, or of what a database answers to a query.

    Its output `examples` is what every ExampleGen gives: gzipped TFRecords of tf.Example in a train
    and an eval split, with the custom properties `span`, `rows_train`, `rows_eval` and
    `rows_dropped`. A missing value is a feature without a value. Columns that are not in the table
    are not read.
    """

    SPEC_CLASS = TabularExampleGenSpec
    DRIVER_CLASS = Driver

    def __init__(
        self,
        input_base: str,
        pattern: str,
        *,
        settings: IngestSettings,
        table: Table,
        range_config: range_config_pb2.RangeConfig | data_types.RuntimeParameter | None = None,
    ):
        """Describes the component.

        Args:
            input_base: folder of the data, as the executor finds it; with a query, where its rows
                are kept.
            pattern: files of one span below it, {SPAN} or {SPAN:WIDTH} standing for its number;
                without that, there is span 1 alone.
            settings: how files are read and split, and what happens to rows that do not fit.
            table: the columns to ingest.
            range_config: which span, as a static range of one; by default the latest.

        Raises:
            UserError: if the split's column is not ingested, or is a float in split_by.
        """
        _check_split(settings, table)
        weights = zip(SPLITS, (settings.train_buckets, settings.eval_buckets), strict=True)
        output_config = example_gen_pb2.Output(
            split_config=example_gen_pb2.SplitConfig(
                splits=[
                    example_gen_pb2.SplitConfig.Split(name=split, hash_buckets=buckets)
                    for split, buckets in weights
                ]
            )
        )
        spec = TabularExampleGenSpec(
            input_base=input_base,
            input_config=utils.make_default_input_config(pattern),
            output_config=output_config,
            output_data_format=example_gen_pb2.FORMAT_TF_EXAMPLE,
            output_file_format=example_gen_pb2.FORMAT_TFRECORDS_GZIP,
            range_config=range_config,
            examples=types.Channel(type=standard_artifacts.Examples),
            **{SETTINGS_KEY: settings.model_dump_json(), TABLE_KEY: table.model_dump_json()},
        )
        # Past FileBasedExampleGen's own __init__, which makes its own spec. The class's executor is
        # a Beam one, as it must be by name; this one needs no Beam.
        super(component.FileBasedExampleGen, self).__init__(
            spec=spec, custom_executor_spec=executor_spec.ExecutorClassSpec(Executor)
        )


def _check_split(settings: IngestSettings, table: Table) -> None:
    if settings.split_time and settings.split_time not in table.columns:
        raise UserError(
            f"data.split_time: {settings.split_time!r} is not an ingested column, expected one."
        )
    if settings.split_by is None:
        return
    kind = table.columns.get(settings.split_by)
    if kind is None or kind == "float":
        raise UserError(
            f"data.split_by: {settings.split_by!r} "
            + ("is not an ingested column" if kind is None else "is a float column")
            + ", expected an ingested column of strings or integers."
        )
