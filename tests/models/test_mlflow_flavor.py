"""A bundle as an MLflow model, loaded where this project is not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import yaml
from mlflow.exceptions import MlflowException

from models import bundle, ensemble, manifest, mlflow_flavor, sklearn_model
from models.bundle import Bundle
from pipeline.config import PROJECT
from pipeline.errors import UserError
from pipeline.train_config import Framework, TrainConfig
from tests.models.tiny import RAW, save_model
from tests.models.transformed import Transformed

SMALL = TrainConfig.model_validate(
    {
        "validation_share": 0.3,
        "keras": {"epochs": 1},
        "pytorch": {"epochs": 1},
        "sklearn": {"trees": 3},
        "xgboost": {"trees": 3},
    }
)
ASK = """
import json, sys
import mlflow, pandas as pd
model = mlflow.pyfunc.load_model(sys.argv[1])
rows = pd.read_json(sys.argv[2], orient="records", dtype=json.loads(sys.argv[3]))
told = {
    "predictions": model.predict(rows).tolist(),
    "code": sys.modules["models"].__file__,
    "imported": [m for m in ("tfx", "tensorflow_transform", "apache_beam") if m in sys.modules],
}
print(json.dumps(told))
"""


def elsewhere(script: str, *arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs a script in a process that knows nothing of the project."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    return subprocess.run(
        [sys.executable, "-P", "-c", script, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )


def ask_elsewhere(model: Path, rows: pd.DataFrame, folder: Path) -> dict[str, object]:
    """What the model says to rows there, with the code that it came with."""
    file = folder / "rows.json"
    rows.to_json(file, orient="records")
    types = {name: str(kind) for name, kind in rows.dtypes.items() if kind.kind != "O"}
    done = elsewhere(ASK, str(model), str(file), json.dumps(types), folder=folder)
    told: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    assert str(model) in str(told["code"])
    return told


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("tiny") / "bundle")


@pytest.fixture(scope="module")
def saved(tiny: Path) -> Path:
    """The tiny bundle as MLflow's model."""
    mlflow_flavor.save(tiny, tiny.parent / "saved")
    return tiny.parent / "saved"


@pytest.fixture(scope="module", params=list(Framework))
def trained(
    request: pytest.FixtureRequest,
    transformed: Transformed,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A small model of each framework, trained on the table of the other tests."""
    if request.param is Framework.PYTORCH and find_spec("torch") is None:
        pytest.skip("PyTorch is not installed (make test EXTRAS=pytorch)")
    folder = tmp_path_factory.mktemp(request.param)
    return transformed.train(SMALL, folder, framework=request.param)


def test_every_framework_answers_elsewhere_as_its_bundle_does_here(
    trained: Path, table: pa.Table, tmp_path: Path
) -> None:
    mlflow_flavor.save(trained, tmp_path / "model")
    asked = Bundle.load(trained)
    numbers = [name for name, kind in asked.inputs.items() if kind.startswith("float")]
    rows = table.slice(0, 50).to_pandas()[list(asked.inputs)]
    rows = rows.astype(dict.fromkeys(numbers, float))
    told = ask_elsewhere(tmp_path / "model", rows, tmp_path)
    np.testing.assert_allclose(told["predictions"], asked.predict(rows), atol=1e-6)
    assert told["imported"] == []


def test_the_frameworks_own_flavour_loads_from_the_same_folder(
    trained: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    mlflow_flavor.save(trained, folder)
    flavors = set(yaml.safe_load((folder / "MLmodel").read_text())["flavors"])
    match manifest.read(trained).framework:
        case "keras":
            loaded = mlflow.tensorflow.load_model(str(folder))
            assert set(loaded.signatures) == {bundle.EXAMPLES_SIGNATURE, bundle.RAW_SIGNATURE}
        case "sklearn":
            assert hasattr(mlflow.sklearn.load_model(str(folder)), "predict_proba")
        case "xgboost":
            assert mlflow.xgboost.load_model(str(folder)).num_boosted_rounds() == 3
        case "pytorch":  # whose bundle holds weights, which MLflow's loader does not take
            assert flavors == {"python_function"}


def test_mlflow_trusts_the_types_that_the_bundle_trusts() -> None:
    assert set(mlflow_flavor.SKOPS_TYPES) == set(sklearn_model.TRUSTED)


def test_an_ensemble_answers_elsewhere(tiny: Path, tmp_path: Path) -> None:
    members = {"keras": tiny, "other": save_model(tmp_path / "other", bias=1.0)}
    ensemble.write(tmp_path / "both", members)
    mlflow_flavor.save(tmp_path / "both", tmp_path / "model")
    rows = pd.DataFrame(RAW).astype({"temp": float})
    told = ask_elsewhere(tmp_path / "model", rows, tmp_path)
    expected = Bundle.load(tmp_path / "both").predict(rows)
    np.testing.assert_allclose(told["predictions"], expected, atol=1e-6)


def test_the_signature_says_which_columns_a_row_may_lack(saved: Path, tmp_path: Path) -> None:
    schema = mlflow.models.get_model_info(str(saved)).signature.inputs
    assert {column.name: (column.type.name, column.required) for column in schema} == {
        "temp": ("double", False),
        "carrier": ("string", False),
    }
    whole = save_model(tmp_path / "whole", inputs={"temp": "int64", "carrier": "string"})
    columns = mlflow_flavor.signature(manifest.read(whole)).inputs
    assert [(c.type.name, c.required) for c in columns] == [("long", True), ("string", False)]


def test_a_column_that_may_be_missing_may_be_left_out(saved: Path, tiny: Path) -> None:
    model = mlflow.pyfunc.load_model(str(saved))
    given = pd.DataFrame({"temp": [0.5, None]})
    expected = Bundle.load(tiny).predict(given.assign(carrier=None))
    np.testing.assert_allclose(model.predict(given), expected)


def test_a_value_that_does_not_fit_is_refused(saved: Path) -> None:
    model = mlflow.pyfunc.load_model(str(saved))
    with pytest.raises(MlflowException, match="temp"):
        model.predict(pd.DataFrame({"temp": ["warm"], "carrier": ["AA"]}))


def test_the_input_example_can_be_asked(saved: Path, tiny: Path) -> None:
    model = mlflow.pyfunc.load_model(str(saved))
    expected = Bundle.load(tiny).predict([manifest.read(tiny).example])
    np.testing.assert_allclose(model.predict(model.input_example), expected)


def test_requirements_are_what_loading_takes_in_the_versions_of_here(saved: Path) -> None:
    lines = (saved / "requirements.txt").read_text().splitlines()
    names = {line.partition("==")[0] for line in lines}
    assert {"mlflow", "numpy", "pyarrow", "pydantic", "tensorflow"} <= names
    assert not names & {"tfx", "apache-beam", "tensorflow-transform", "ml-metadata"}
    assert all("==" in line for line in lines)


def test_nothing_in_the_folder_is_pickled(saved: Path) -> None:
    assert not [file for file in saved.rglob("*") if file.suffix in (".pkl", ".pickle", ".pth")]
    assert not list(saved.rglob("*.pyc"))


def test_a_changed_bundle_is_not_saved(tmp_path: Path) -> None:
    folder = save_model(tmp_path / "bundle")
    (folder / "saved_model.pb").write_bytes(b"other")
    with pytest.raises(UserError, match="was changed after it was written"):
        mlflow_flavor.save(folder, tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_a_model_that_was_changed_in_mlflow_is_not_loaded(tiny: Path, tmp_path: Path) -> None:
    mlflow_flavor.save(tiny, tmp_path / "model")
    file = tmp_path / "model/data/bundle/saved_model.pb"
    file.write_bytes(file.read_bytes() + b"more")
    with pytest.raises(UserError, match="was changed after it was written"):
        mlflow.pyfunc.load_model(str(tmp_path / "model"))


def test_the_code_beside_a_model_is_a_copy_of_the_projects(saved: Path) -> None:
    files = [file for file in (saved / "code").rglob("*") if file.is_file()]
    assert {file.relative_to(saved / "code").parts[0] for file in files} == {"models", "pipeline"}
    for file in files:
        assert file.read_bytes() == (PROJECT / file.relative_to(saved / "code")).read_bytes()
