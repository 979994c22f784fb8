"""Files behind artifacts, cut off and overwritten at random."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from custom_components.selection import Selection
from pipeline.errors import UserError
from pipeline.lineage import Artifact
from tests.pipeline.payloads import statistics
from tests.pipeline.test_lineage_payload import ANOMALY, SCHEMA, SELECTION, artifact


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Artifact, Path]]:
    """An artifact of each type, with its file, which tests may overwrite."""
    files = {
        "ExampleStatistics": "Split-train/FeatureStats.pb",
        "ExampleAnomalies": "Split-train/SchemaDiff.pb",
        "Schema": "schema.pbtxt",
        "ModelSelection": "selection.json",
    }
    root = tmp_path_factory.mktemp("written")
    made = {
        kind: artifact(root / kind, kind, {file: b""}, split_names='["train"]')
        for kind, file in files.items()
    }
    return {kind: (found, Path(found.uri, files[kind])) for kind, found in made.items()}


VALID = {
    "ExampleStatistics": statistics(
        numbers={"temp": (1.0, 2.0)}, texts={"carrier": {"UA": 3}}
    ).SerializeToString(),
    "ExampleAnomalies": ANOMALY.SerializeToString(),
    "Schema": SCHEMA.encode(),
    "ModelSelection": SELECTION.model_dump_json().encode(),
}


@given(
    kind=st.sampled_from(sorted(VALID)),
    place=st.integers(0, 1000),
    more=st.text(st.sampled_from("0123 {}[]:,\"'-nae."), max_size=5),
)
def test_whatever_was_cut_off_or_overwritten_is_understood_or_refused_in_words(
    written: dict[str, tuple[Artifact, Path]], kind: str, place: int, more: str
) -> None:
    found, file = written[kind]
    content = VALID[kind]
    place %= len(content)
    is_text = kind in ("Schema", "ModelSelection")
    rest = more.encode() + content[place + len(more) :] if is_text and more else b""
    file.write_bytes(content[:place] + rest)
    try:
        loaded = found.load()
    except UserError as error:
        assert str(file) in str(error)
    else:
        assert repr(loaded)
        if not isinstance(loaded, Selection):
            assert len(loaded.frame()) == len(loaded.facts())
            assert "<table>" in loaded._repr_html_()
