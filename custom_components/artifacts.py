"""Artifact types and properties of our own, for what TFX's standard ones have no word for."""

from typing import ClassVar

from tfx.types.artifact import Artifact, Property, PropertyType


class GateReport(Artifact):
    """What the data gate found in one span: a folder with the report of `gate_report`.

    An artifact type is a name in the metadata store and the properties that may be asked for. The
    rest, as with TFX's own types, is a folder whose content its producer and its readers agree on.
    """

    TYPE_NAME = "GateReport"
    PROPERTIES: ClassVar = {
        "span": Property(type=PropertyType.INT),
        "findings": Property(type=PropertyType.INT),
    }


class ModelSelection(Artifact):
    """Which model goes live and why: a folder with `selection.Selection` as selection.json.

    Custom properties: `selected` (1 or 0), `winner` (its name, or empty), `reason`.
    """

    TYPE_NAME = "ModelSelection"


class Registration(Artifact):
    """What is told to MLflow of a run: a folder with registration.json and what came of it.

    Custom properties: `registered` (1 once MLflow has it), `model_version`, `model_name`.
    """

    TYPE_NAME = "Registration"


class Report(Artifact):
    """The page of a run, for people: a folder with index.html, which needs no other file.

    Custom properties: `run` (the run's id), `complete` (0 where the page could not be made, and
    says so).
    """

    TYPE_NAME = "Report"


class Predictions(Artifact):
    """What a model says of raw rows: a folder with predictions.parquet, the rows and these.

    Custom properties: `rows`, `model_version` (which is in every row as well), `source_model_uri`
    (of the pushed model); `reason` where there are none.
    """

    TYPE_NAME = "Predictions"
