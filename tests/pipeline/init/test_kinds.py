"""A column's kind is guessed from its values, and from its name where these leave it open."""

from __future__ import annotations

import uuid
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipeline.init.kinds import guess

RANDOM = np.random.default_rng(0)
ROWS = 600


@pytest.mark.parametrize(
    ("name", "column", "kind", "role"),
    [
        ("x", RANDOM.normal(size=ROWS), "number", "numeric"),
        ("income", np.exp(RANDOM.normal(8, 2, ROWS)), "number", "log"),
        ("hour", RANDOM.integers(0, 24, ROWS), "number", "cyclical"),
        ("wind_dir", RANDOM.uniform(0, 360, ROWS), "number", "cyclical"),
        ("hours_worked", RANDOM.integers(0, 90, ROWS), "number", "numeric"),
        ("zip_code", RANDOM.integers(100, 150, ROWS), "category", "categorical"),
        ("renovated", RANDOM.choice([0, 0, 0, 0, 1990, 2005], ROWS), "number", "numeric"),
        ("town", RANDOM.choice(["a", "b", "c"], ROWS), "category", "categorical"),
        ("seller", [f"s{i % 110}" for i in range(ROWS)], "category", "target_encoded"),
        ("street", [f"s{i % 290}" for i in range(ROWS)], "category", "target_encoded"),
        ("zip", [f"s{i % 350}" for i in range(ROWS)], "category", "hashed"),
        ("smokes", RANDOM.choice(["Y", "N"], ROWS), "boolean", "categorical"),
        ("flag", RANDOM.choice([0, 1], ROWS), "boolean", "numeric"),
        ("marked", ["x", None, None] * (ROWS // 3), "boolean", "categorical"),
        ("born", [f"19{i % 90 + 10}-03-{i % 27 + 1:02d}" for i in range(ROWS)], "date", "dates"),
        ("created_at", RANDOM.integers(10**9, 16 * 10**8, ROWS), "date", "dates"),
        ("name", [f"word{i} and other{i % 50} things" for i in range(ROWS)], "text", "text"),
        ("key", [str(uuid.UUID(int=i)) for i in range(ROWS)], "identifier", "keep"),
        ("code", [f"A{i}" for i in range(ROWS)], "identifier", "keep"),
        ("rownames", range(1, ROWS + 1), "identifier", "keep"),
        ("customer_id", RANDOM.integers(0, 10**6, ROWS), "identifier", "keep"),
        ("country", ["DE"] * ROWS, "constant", "keep"),
        ("nothing", [None] * ROWS, "constant", "keep"),
        ("price", [f"${i * 13 % 4001:,}" for i in range(ROWS)], "number", "keep"),
    ],
)
def test_a_kind_and_a_list_are_guessed(name: str, column: Any, kind: str, role: str) -> None:
    values = column.tolist() if isinstance(column, np.ndarray) else list(column)
    values = [str(v) if isinstance(v, np.str_) else v for v in values]
    array = pa.array(values, pa.float64() if values[0] is None and kind == "constant" else None)
    found = guess(name, array, None)
    assert (found.kind, found.role) == (kind, role), found.why
    assert found.why


def test_whole_numbers_whose_order_says_nothing_are_codes() -> None:
    codes = RANDOM.integers(1, 11, 5000)
    effect = np.array([0, 5, -3, 4, -4, 1, 6, -6, 3, -2, 0])[codes]
    found = guess("offer", pa.array(codes), effect + RANDOM.normal(size=5000))
    assert found.role == "categorical"
    rising = guess("offer", pa.array(codes), codes + RANDOM.normal(size=5000))
    assert rising.role == "numeric"
