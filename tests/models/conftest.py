"""A small table with every kind of column, and a model trained on it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from models.bundle import Bundle
from pipeline.features_config import FeaturesConfig
from pipeline.train_config import TrainConfig
from tests.models.transformed import Transformed, transform

ROWS = 400
FEATURES = FeaturesConfig(
    label="late",
    numeric=("distance", "wind"),
    categorical=("carrier", "gate"),
    cyclical={"hour": 24, "angle": 360},
    keep=("date",),
)
_ALWAYS = "presence { min_fraction: 1 } shape { dim { size: 1 } }"
_MAYBE = "value_count { min: 1 max: 1 }"
SCHEMA = f"""
feature {{ name: "date" type: BYTES {_ALWAYS} }}
feature {{ name: "distance" type: INT {_ALWAYS} }}
feature {{ name: "wind" type: FLOAT {_MAYBE} }}
feature {{ name: "carrier" type: BYTES {_MAYBE} }}
feature {{ name: "gate" type: INT {_MAYBE} }}
feature {{ name: "hour" type: INT {_ALWAYS} }}
feature {{ name: "angle" type: FLOAT {_MAYBE} }}
feature {{ name: "late" type: INT {_ALWAYS} }}
"""
SETTINGS = TrainConfig.model_validate(
    {"seed": 7, "validation_share": 0.3, "keras": {"max_epochs": 2, "batch_size": 64}}
)


def make_table() -> pa.Table:
    """Every fifth wind, seventh carrier, eighth gate and ninth angle is missing."""
    rng = np.random.default_rng(0)
    number = np.arange(ROWS)
    hour = rng.integers(0, 24, ROWS)
    return pa.table(
        {
            "date": [f"2013-01-{day:02}" for day in 1 + number // 20],
            "distance": rng.integers(100, 3000, ROWS),
            "wind": pa.array(rng.normal(10, 3, ROWS), mask=number % 5 == 0),
            "carrier": pa.array(rng.choice(["UA", "AA", "B6"], ROWS), mask=number % 7 == 0),
            "gate": pa.array(rng.integers(1, 4, ROWS), mask=number % 8 == 0),
            "hour": hour,
            "angle": pa.array(rng.uniform(0, 360, ROWS), mask=number % 9 == 0),
            "late": (rng.uniform(0, 24, ROWS) < hour).astype(int),
        }
    )


@pytest.fixture(scope="session")
def table() -> pa.Table:
    return make_table()


@pytest.fixture(scope="session")
def transformed(table: pa.Table, tmp_path_factory: pytest.TempPathFactory) -> Transformed:
    folder = tmp_path_factory.mktemp("transformed")
    return transform(folder, table, schema=SCHEMA, features=FEATURES, split_by="date")


@pytest.fixture(scope="session")
def model_folder(transformed: Transformed, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return transformed.train(SETTINGS, tmp_path_factory.mktemp("trained"))


@pytest.fixture(scope="session")
def model(model_folder: Path) -> Bundle:
    return Bundle.load(model_folder)
