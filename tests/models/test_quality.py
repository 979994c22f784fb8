"""Is the model worth having? It is held to gradient boosting on the same rows and columns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score

from custom_components.example_gen.settings import IngestSettings
from custom_components.example_gen.split import in_train
from models.bundle import Bundle
from pipeline.config import PROJECT
from pipeline.config_file import load
from pipeline.features_config import FeaturesConfig
from tests.models.transformed import transform

pytestmark = pytest.mark.e2e


def test_keras_is_as_good_as_gradient_boosting_on_days_that_neither_has_seen(tmp_path: Path):
    config = load(PROJECT / "configs" / "flights.toml")
    train, judge = _split(_rows(range(1, 4)), IngestSettings.of(config.data))
    labels = judge["late"].to_numpy()
    transformed = transform(
        tmp_path,
        train,
        schema=(PROJECT / "data" / "flights" / "schema.pbtxt").read_text(),
        features=config.features,
        split_by=config.data.split_by,
    )
    model = Bundle.load(transformed.train(config.train, tmp_path))
    keras_auc = roc_auc_score(labels, model.predict(judge))

    known = {column: pc.unique(train[column]) for column in config.features.categorical}
    boosting = HistGradientBoostingClassifier(random_state=0)
    boosting.fit(_matrix(train, config.features, known), train["late"].to_numpy())
    scores = boosting.predict_proba(_matrix(judge, config.features, known))[:, 1]
    assert keras_auc >= roc_auc_score(labels, scores) - 0.01


def _rows(spans: range) -> pa.Table:
    folders = [PROJECT / "data" / "flights" / f"span-{span:02}" for span in spans]
    return pa.concat_tables(pq.read_table(folder) for folder in folders)


def _split(rows: pa.Table, settings: IngestSettings) -> tuple[pa.Table, pa.Table]:
    """The train and eval rows, as ingest splits them."""
    groups = rows.select([settings.split_by])
    keys = groups.cast(pa.schema([(settings.split_by, pa.binary())])).combine_chunks()
    (batch,) = keys.to_batches()
    trains = pa.array(in_train(batch, pa.nulls(len(rows), pa.binary()), settings=settings))
    return rows.filter(trains), rows.filter(pc.invert(trains))


def _matrix(rows: pa.Table, features: FeaturesConfig, known: dict[str, pa.Array]) -> np.ndarray:
    """The raw columns as numbers; categories by their place among the `known` ones."""
    return np.column_stack(
        [
            pc.index_in(rows[column], known[column]).to_numpy().astype(float)
            if column in known
            else rows[column].to_numpy().astype(float)
            for column in features.inputs
        ]
    )
