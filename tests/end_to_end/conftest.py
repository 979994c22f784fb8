import pytest

from tests.end_to_end.project import SmallProject


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> SmallProject:
    """A project in which the pipeline has run once."""
    small = SmallProject.make(tmp_path_factory.mktemp("project"))
    done = small.run()
    assert done.returncode == 0, done.stdout + done.stderr
    (small.folder / "first_output.txt").write_text(done.stdout)
    return small
