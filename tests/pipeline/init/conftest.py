from pathlib import Path

import pytest

from tests.pipeline.init import tables


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    return tables.write(tmp_path, tables.shop(), "shop.csv")
