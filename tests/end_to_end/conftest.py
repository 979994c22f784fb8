import pytest
from sklearn import datasets

from tests.end_to_end.own_data import OwnData, first_day
from tests.end_to_end.project import SmallProject


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> SmallProject:
    """A project in which the pipeline has run once."""
    small = SmallProject.make(tmp_path_factory.mktemp("project"))
    with (small.folder / "configs/flights.toml").open("a") as file:
        file.write('\n[predict]\nfiles = ["data/small/span-02"]\n')
    done = small.run()
    assert done.returncode == 0, done.stdout + done.stderr
    (small.folder / "first_output.txt").write_text(done.stdout)
    return small


@pytest.fixture(scope="session")
def iris(tmp_path_factory: pytest.TempPathFactory) -> OwnData:
    """150 flowers of three species."""
    flowers = datasets.load_iris(as_frame=True)
    species = dict(enumerate(map(str, flowers.target_names)))
    frame = flowers.frame.rename(columns={"target": "species"}).replace({"species": species})
    return first_day(tmp_path_factory.mktemp("iris"), frame, "species")


@pytest.fixture(scope="session")
def diabetes(tmp_path_factory: pytest.TempPathFactory) -> OwnData:
    """442 patients, and how far their disease went in a year."""
    frame = datasets.load_diabetes(as_frame=True).frame.rename(columns={"target": "progression"})
    return first_day(tmp_path_factory.mktemp("diabetes"), frame, "progression")
