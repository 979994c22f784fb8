"""The example's data is what its README and its schema say."""

import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import tensorflow_data_validation as tfdv

from pipeline.config import PROJECT

DATA = PROJECT / "data"
SPANS = sorted((DATA / "flights").glob("span-*"))


def readme_months() -> dict[str, list[str]]:
    rows = re.findall(r"^\| (\d\d|all) \| (.*) \|$", (DATA / "README.md").read_text(), re.MULTILINE)
    return {span: cells.split(" | ") for span, cells in rows}


def test_there_is_a_span_per_month() -> None:
    assert [span.name for span in SPANS] == [f"span-{month:02}" for month in range(1, 13)]
    assert sum(file.stat().st_size for span in SPANS for file in span.iterdir()) < 5_000_000


@pytest.mark.parametrize("span", SPANS, ids=lambda span: span.name)
def test_a_month_satisfies_the_schema_and_the_readme(span: Path) -> None:
    schema = tfdv.load_schema_text(str(DATA / "flights" / "schema.pbtxt"))
    rows = pq.read_table(span).to_pandas()
    assert list(rows.columns) == [feature.name for feature in schema.feature]
    options = tfdv.StatsOptions(schema=schema)
    statistics = tfdv.generate_statistics_from_dataframe(rows, options, n_jobs=1)
    anomalies = tfdv.validate_statistics(statistics, schema).anomaly_info
    assert {name: info.description for name, info in anomalies.items()} == {}

    month = span.name[-2:]
    assert set(rows["date"].str[:7]) == {f"2013-{month}"}
    scheduled, cancelled, diverted, count, late, no_weather = readme_months()[month]
    assert int(scheduled) - int(cancelled) - int(diverted) == int(count) == len(rows)
    assert late == f"{rows['late'].mean():.1%}"
    assert int(no_weather) == rows["temp"].isna().sum()


def test_the_readme_s_months_add_up() -> None:
    months = readme_months()
    total = months.pop("all")
    for at in (0, 1, 2, 3, 5):
        assert sum(int(cells[at]) for cells in months.values()) == int(total[at])
