"""A task of TFX's on Vertex: the executor works on folders, Vertex hears of the bucket."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tfx.types.standard_artifacts import Model

from pipeline.cluster import vertex_task
from pipeline.cluster.vertex_task import on_mounted_buckets

SEEN: dict[str, Any] = {}


class Executor:
    """Copies its input, and says where it is."""

    def Do(self, inputs: dict[str, Any], outputs: dict[str, Any], properties: Any) -> None:
        """Does it."""
        (given,), (made,) = inputs["given"], outputs["made"]
        text = (Path(given.uri) / "file").read_text()
        (Path(made.uri) / "file").write_text(text)
        made.set_string_custom_property("where", made.uri)
        made.set_int_custom_property("span", 3)
        SEEN.update(properties)


def model(uri: str) -> Model:
    artifact = Model()
    artifact.uri = uri
    return artifact


def test_executors_work_on_folders_and_their_artifacts_are_in_the_bucket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vertex_task, "MOUNT", f"{tmp_path}/")
    (tmp_path / "bucket/in").mkdir(parents=True)
    (tmp_path / "bucket/in/file").write_text("content")
    given, made = model("gs://bucket/in"), model("gs://bucket/out")
    properties = {"directory": "gs://bucket/serving", "rows": 3, "text": "see gs://bucket"}
    on_mounted_buckets(Executor)().Do({"given": [given]}, {"made": [made]}, properties)
    assert (tmp_path / "bucket/out/file").read_text() == "content"
    assert (given.uri, made.uri) == ("gs://bucket/in", "gs://bucket/out")
    assert made.get_string_custom_property("where") == "gs://bucket/out"
    assert made.get_int_custom_property("span") == 3
    assert {
        "directory": f"{tmp_path}/bucket/serving",
        "rows": 3,
        "text": "see gs://bucket",
    } == SEEN
