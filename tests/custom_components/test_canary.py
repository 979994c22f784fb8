"""The canary on small bundles of both forms."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from tfx.types.artifact import Artifact
from tfx.types.channel import Channel
from tfx.types.standard_artifacts import InfraBlessing, Model, ModelBlessing, ModelEvaluation

from custom_components.canary import executor, forms, probe
from custom_components.canary.component import Canary
from custom_components.canary.executor import Executor, judge, run_probe
from custom_components.canary.report import (
    FILE,
    Answer,
    Answers,
    CanaryReport,
    Latency,
    ProbeResult,
)
from models import ensemble
from pipeline.config import PROJECT, CanaryConfig
from pipeline.errors import UserError
from tests.models.tiny import ROWS, SERIALIZED, expected, save_model, seal

CONFIG = CanaryConfig(tolerance=1e-5)


EXPECTED = expected()


def answers(*predictions: Answer | None, p95_ms: float = 2.0) -> ProbeResult:
    return ProbeResult(
        answers=Answers(
            load_seconds=1,
            predictions={"serving_default": list(predictions)},
            latency=Latency(p50_ms=1, p95_ms=p95_ms, rows_per_second=1000),
        )
    )


@pytest.fixture
def rows_file(tmp_path: Path) -> Path:
    file = tmp_path / "evaluation" / "canary.parquet"
    file.parent.mkdir()
    pq.write_table(
        pa.table({"example": SERIALIZED} | dict.fromkeys(("keras", "ensemble"), EXPECTED)), file
    )
    return file


@pytest.fixture
def fake_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program in the place of Python; what it does is for the test to write."""
    program = tmp_path / "python"
    program.touch(mode=0o755)
    monkeypatch.setattr(executor.sys, "executable", str(program))
    return program


def execute(model: Path, rows_file: Path, *, blessed: int = 1) -> tuple[Artifact, CanaryReport]:
    """The blessing that the node puts out for the model below `model`/Format-Serving."""
    inputs = {}
    for name, artifact_type, uri in (
        ("model", Model, model),
        ("evaluation", ModelEvaluation, rows_file.parent),
        ("model_blessing", ModelBlessing, model),
    ):
        artifact = artifact_type()
        artifact.uri = str(uri)
        inputs[name] = [artifact]
    inputs["model_blessing"][0].set_int_custom_property("blessed", blessed)
    blessing = InfraBlessing()
    blessing.uri = str(rows_file.parents[1] / "blessing")
    Path(blessing.uri).mkdir()
    Executor().Do(inputs, {"blessing": [blessing]}, {"canary": CONFIG.model_dump_json()})
    return blessing, CanaryReport.model_validate_json((Path(blessing.uri) / FILE).read_text())


def test_a_model_that_answers_as_it_was_judged_is_blessed_from_any_working_directory(
    tmp_path: Path, rows_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_model(tmp_path / "model" / "Format-Serving")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    blessing, report = execute(tmp_path / "model", rows_file)
    assert report.reason is None
    assert (report.blessed, report.rows) == (True, 4)
    assert report.max_difference is not None
    assert report.max_difference < 1e-6
    assert report.latency is not None
    assert 0 < report.latency.p50_ms <= report.latency.p95_ms
    assert report.latency.rows_per_second > 0
    assert (Path(blessing.uri) / "INFRA_BLESSED").is_file()
    assert blessing.get_int_custom_property("blessed") == 1
    assert blessing.get_int_custom_property("rows") == 4
    assert blessing.get_float_custom_property("p95_ms") == report.latency.p95_ms
    assert not blessing.has_custom_property("reason")


def test_a_model_that_only_works_where_it_was_trained_is_not_blessed(
    tmp_path: Path, rows_file: Path
) -> None:
    module = tf.Module()

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "examples")])
    def serving_default(examples: tf.Tensor) -> dict[str, tf.Tensor]:
        scores = tf.numpy_function(lambda e: np.ones(len(e), np.float32), [examples], tf.float32)
        return {"probability": scores[:, None]}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "temp")])
    def serving_raw(temp: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"probability": temp[:, None]}

    signatures = {"serving_default": serving_default, "serving_raw": serving_raw}
    tf.saved_model.save(module, str(tmp_path / "model" / "Format-Serving"), signatures)
    seal(tmp_path / "model" / "Format-Serving")
    blessing, report = execute(tmp_path / "model", rows_file)
    assert not report.blessed
    assert report.reason is not None
    assert report.reason.startswith("the model does not answer by serving_default")
    assert (Path(blessing.uri) / "INFRA_NOT_BLESSED").is_file()
    assert blessing.get_int_custom_property("blessed") == 0
    assert blessing.get_string_custom_property("reason") == report.reason


def test_where_no_model_was_selected_none_is_loaded(
    tmp_path: Path, rows_file: Path, fake_python: Path
) -> None:
    fake_python.write_text("#!/bin/sh\nexit 3\n")
    blessing, report = execute(tmp_path / "model", rows_file, blessed=0)
    assert report.reason == "no model was selected to go live, so none was tried"
    assert blessing.get_int_custom_property("blessed") == 0


def test_a_crash_of_the_loading_process_is_a_reason_not_an_error(
    tmp_path: Path, rows_file: Path, fake_python: Path
) -> None:
    fake_python.write_text("#!/bin/sh\nkill -SEGV $$\n")
    seal(tmp_path / "model" / "Format-Serving")
    _, report = execute(tmp_path / "model", rows_file)
    assert report.reason == "the process that loaded the model was killed by SIGSEGV"


def test_a_model_that_takes_too_long_is_a_reason_not_an_error(
    tmp_path: Path, rows_file: Path, fake_python: Path
) -> None:
    fake_python.write_text("#!/bin/sh\nexec sleep 60\n")
    result = run_probe(tmp_path, rows_file, timeout=0.2)
    assert result.error == "the model did not load and answer within 0.2 s"


def test_a_defect_of_the_probe_is_an_error(
    tmp_path: Path, rows_file: Path, fake_python: Path
) -> None:
    fake_python.write_text("#!/bin/sh\nexit 3\n")
    with pytest.raises(RuntimeError, match="exit code 3"):
        run_probe(tmp_path, rows_file)


def test_both_signatures_are_asked(tmp_path: Path) -> None:
    result = probe.probe(save_model(tmp_path / "model", raw_carrier=True), SERIALIZED)
    assert result.answers is not None
    assert result.answers.predictions["serving_default"] == pytest.approx(EXPECTED)
    assert result.answers.predictions["serving_raw"] != pytest.approx(EXPECTED)
    report = judge(result, EXPECTED, CONFIG)
    assert not report.blessed
    assert report.reason is not None
    assert "by serving_raw" in report.reason
    assert "row 2" in report.reason


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("serving_raw", "the model has no signature serving_raw, only: serving_default"),
        ("serving_default", "the model has no signature serving_default, only: serving_raw"),
    ],
)
def test_a_missing_signature_is_named(tmp_path: Path, name: str, reason: str) -> None:
    assert probe.probe(save_model(tmp_path, without=name), SERIALIZED).error == reason


def test_a_damaged_saved_model_is_a_reason(tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").write_bytes(b"x")
    error = probe.probe(tmp_path, SERIALIZED).error
    assert error is not None
    assert error.startswith("the model cannot be loaded: ")


def test_a_folder_that_is_no_model_is_a_reason(tmp_path: Path) -> None:
    error = probe.probe(tmp_path, SERIALIZED).error
    assert error == f"{tmp_path} holds no bundle: expected bundle.json there."


def test_missing_values_are_sent_to_tensorflow_as_a_client_would_send_them(tmp_path: Path) -> None:
    columns = forms.SavedModelForm(save_model(tmp_path)).columns(ROWS)
    assert set(columns) == {"temp", "carrier"}
    np.testing.assert_array_equal(columns["temp"].numpy(), [0.5, -2.0, np.nan, 1.0])
    assert columns["carrier"].numpy().tolist() == [b"AA", b"UA", b"AA", b""]


def save_ensemble(folder: Path, **broken: Any) -> Path:
    """A bundle that is no SavedModel; its mean is what each member says, if none is broken."""
    members = {
        "keras": save_model(folder.parent / "keras"),
        "xgboost": save_model(folder.parent / "xgboost", framework="xgboost", **broken),
    }
    ensemble.write(folder, members)
    return folder


def test_a_bundle_that_is_no_saved_model_is_tried_as_its_servers_ask_it(
    tmp_path: Path, rows_file: Path
) -> None:
    save_ensemble(tmp_path / "model" / "Format-Serving")
    blessing, report = execute(tmp_path / "model", rows_file)
    assert report.reason is None
    assert (report.blessed, report.rows) == (True, 4)
    assert report.max_difference is not None
    assert report.max_difference < 1e-6
    assert report.latency is not None
    assert 0 < report.latency.p50_ms <= report.latency.p95_ms
    assert blessing.get_int_custom_property("blessed") == 1


def test_both_methods_of_a_bundle_are_asked(tmp_path: Path) -> None:
    result = probe.probe(save_ensemble(tmp_path / "model", raw_carrier=True), SERIALIZED)
    assert result.answers is not None
    assert result.answers.predictions["predict_examples"] == pytest.approx(EXPECTED)
    assert result.answers.predictions["predict"] != pytest.approx(EXPECTED)
    report = judge(result, EXPECTED, CONFIG)
    assert not report.blessed
    assert report.reason is not None
    assert "by predict, where" in report.reason


@pytest.mark.parametrize("save", [save_model, save_ensemble])
def test_a_bundle_that_was_changed_is_refused_before_it_is_loaded(
    tmp_path: Path, rows_file: Path, fake_python: Path, save: Callable[[Path], Path]
) -> None:
    fake_python.write_text("#!/bin/sh\nexit 3\n")
    folder = save(tmp_path / "model" / "Format-Serving")
    changed = next(folder.rglob("saved_model.pb"))
    changed.write_bytes(b"x")
    blessing, report = execute(tmp_path / "model", rows_file)
    assert not report.blessed
    assert report.reason == (
        f"{changed} was changed after it was written. Do not use it: take the bundle again from "
        "where it was made."
    )
    assert blessing.get_string_custom_property("reason") == report.reason


def test_the_evaluation_of_another_model_is_refused_in_words(
    tmp_path: Path, rows_file: Path
) -> None:
    save_model(tmp_path / "model" / "Format-Serving", framework="xgboost")
    with pytest.raises(UserError, match="has no predictions of 'xgboost'"):
        execute(tmp_path / "model", rows_file)


def test_a_bundle_is_tried_without_tfx(tmp_path: Path) -> None:
    folder = save_ensemble(tmp_path / "model")
    code = (
        "import sys; from pathlib import Path; from custom_components.canary.probe import probe; "
        f"result = probe(Path({str(folder)!r}), {SERIALIZED!r}); assert result.answers, result; "
        "sys.exit('tfx' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=PROJECT, check=False).returncode == 0


def test_a_difference_within_tolerance_is_blessed() -> None:
    report = judge(answers(0.500004, 0.25), [0.5, 0.25], CONFIG)
    assert (report.blessed, report.max_difference) == (True, pytest.approx(4e-6))


def test_every_class_of_an_answer_is_compared() -> None:
    judged = [[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]]
    assert judge(answers(*judged), judged, CONFIG).blessed
    report = judge(answers(judged[0], [0.1, 0.2, 0.7]), judged, CONFIG)
    assert (report.blessed, report.max_difference) == (False, pytest.approx(0.1))
    assert report.reason and "answers [0.1, 0.2, 0.7] to row 1" in report.reason
    assert not judge(answers(judged[0], [0.1, 0.9]), judged, CONFIG).blessed


def test_values_may_differ_by_a_share_of_the_largest() -> None:
    judged = [1_200_000.0, 3.0]
    report = judge(answers(1_200_001.0, 3.01), judged, CONFIG, relative=True)
    assert (report.blessed, report.max_difference) == (True, pytest.approx(1 / 1_200_000))
    report = judge(answers(1_200_100.0, 3.0), judged, CONFIG, relative=True)
    assert not report.blessed
    assert report.reason and "by 1e-05 of the largest answer" in report.reason
    assert judge(answers(0.0), [0.0], CONFIG, relative=True).blessed


def test_a_difference_above_tolerance_is_not_blessed_and_names_the_row() -> None:
    report = judge(answers(0.5, 0.26), [0.5, 0.25], CONFIG)
    assert not report.blessed
    assert report.max_difference == pytest.approx(0.01)
    assert report.reason == (
        "the model answers 0.26 to row 1 of canary.parquet by serving_default, where the evaluator "
        "saw 0.25: they may differ by 1e-05 (canary.tolerance)"
    )


def test_a_model_that_says_nan_is_not_blessed() -> None:
    report = judge(answers(0.5, None), [0.5, 0.25], CONFIG)
    assert (report.blessed, report.max_difference) == (False, None)


def test_latency_is_judged_only_where_a_bound_is_set() -> None:
    slow = answers(0.5, p95_ms=80)
    assert judge(slow, [0.5], CONFIG).blessed
    report = judge(slow, [0.5], CanaryConfig(max_latency_ms=50))
    assert not report.blessed
    assert report.reason == (
        "the model takes 80.0 ms for one row (95th percentile), above 50 (canary.max_latency_ms)"
    )


def test_the_node_takes_its_section_of_the_configuration_alone() -> None:
    canary = Canary(
        Channel(type=Model),
        Channel(type=ModelEvaluation),
        model_blessing=Channel(type=ModelBlessing),
        canary=CONFIG,
    )
    assert canary.id == "Canary"
    assert canary.exec_properties == {"canary": CONFIG.model_dump_json()}
    assert canary.outputs["blessing"].type is InfraBlessing
