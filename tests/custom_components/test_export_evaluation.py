"""The export of an evaluation: its records, and the program that posts them."""

from __future__ import annotations

import ast
import base64
import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tfx.orchestration.local import runner_utils

from custom_components.evaluator.verdict import LIVE
from custom_components.export_evaluation import program
from custom_components.export_evaluation.records import MAX_BYTES, flatten, pack
from pipeline.compiler import CODE_DIGEST, compile_pipeline
from pipeline.config_file import load
from pipeline.errors import UserError
from tests.custom_components.verdicts import choose, make_verdict
from tests.receiver import Receiver

VALUES = {"keras": 0.71, "xgboost": 0.73, LIVE: 0.7}
SLICES = {"UA": (600, {"keras": 0.72, "xgboost": None, LIVE: 0.7})}


def records() -> list[dict[str, Any]]:
    verdict = make_verdict(VALUES, refused={"keras": "too slow"}, slices=SLICES)
    return list(flatten(verdict, choose(VALUES)))


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "SECONDS_BEFORE_SECOND_TRY", 0.0)
    monkeypatch.delenv("EXPORT_TOKEN", raising=False)


def post(url: str, packed: str | None = None) -> int:
    given = packed or pack(iter(records()))
    return program.main(["--url", url, "--pipeline", "p", "--run", "run-1", "--records", given])


def test_there_is_a_record_for_each_model_metric_and_slice() -> None:
    found = {(r["model"], r["slice"]): r for r in records()}
    assert set(found) == {(m, s) for m in VALUES for s in ("all rows", "carrier UA")}
    best = found["xgboost", "all rows"]
    assert best == {
        **{"model": "xgboost", "live": False, "blessed": True, "champion": True},
        **{"metric": "auc", "slice": "all rows", "rows": 1000},
        **{"value": 0.73, "low": None, "high": None},
    }
    assert found["xgboost", "carrier UA"]["value"] is None
    assert found["keras", "carrier UA"]["rows"] == 600
    assert found["keras", "all rows"]["blessed"] is False
    assert found[LIVE, "all rows"]["blessed"] is None
    assert found[LIVE, "all rows"]["live"] is True


@given(st.lists(st.dictionaries(st.text(), st.text() | st.floats(allow_nan=False)), max_size=20))
def test_the_program_reads_what_is_packed(some: list[dict[str, Any]]) -> None:
    assert json.loads(gzip.decompress(base64.b64decode(pack(iter(some))))) == some


def test_more_than_an_argument_holds_is_a_sentence() -> None:
    many = ({"slice": f"{number * 7919 % 999_983:x}"} for number in range(MAX_BYTES))
    with pytest.raises(UserError, match=r"131,071 at most: leave out slices of evaluate\.slices"):
        pack(many)


def test_the_records_are_posted_with_their_origin(capsys: pytest.CaptureFixture[str]) -> None:
    with Receiver() as receiver:
        assert post(receiver.url) == 0
    (posted,) = receiver.requests
    assert json.loads(posted.body) == [{"pipeline": "p", "run": "run-1", **r} for r in records()]
    assert posted.headers["Content-Type"] == "application/json"
    assert posted.headers["Authorization"] is None
    assert "6 records posted to" in capsys.readouterr().out


def test_a_fault_of_the_other_side_is_tried_again_under_the_same_key() -> None:
    with Receiver(503, 429, 500) as receiver:
        assert post(receiver.url) == 0
    assert len(receiver.requests) == 4
    assert len({r.headers["Idempotency-Key"] for r in receiver.requests}) == 1
    with Receiver() as other:
        post(other.url, pack(iter([{"model": "other"}])))
    first, second = receiver.requests[0], other.requests[0]
    assert first.headers["Idempotency-Key"] != second.headers["Idempotency-Key"]


def test_it_gives_up_after_some_tries(capsys: pytest.CaptureFixture[str]) -> None:
    with Receiver(*[502] * program.TRIES) as receiver:
        assert post(receiver.url) == program.FAILED
    assert len(receiver.requests) == program.TRIES
    assert capsys.readouterr().err.splitlines()[-1].endswith("said by the receiver; given up")


def test_nobody_at_the_address_is_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    with Receiver() as receiver:
        pass
    assert post(receiver.url) == program.FAILED
    assert "it cannot be reached: [Errno" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("code", "token", "advice"),
    [
        (401, None, "(EXPORT_TOKEN is not set)"),
        (403, "t0ken", "(is EXPORT_TOKEN right?)"),
        (404, None, "(is export.url right?)"),
        (302, "t0ken", "(put the address that it leads to into export.url)"),
    ],
)
def test_a_refusal_is_said_at_once_with_what_to_do(
    code: int,
    token: str | None,
    advice: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if token:
        monkeypatch.setenv("EXPORT_TOKEN", token)
    with (
        Receiver() as elsewhere,
        Receiver(code, headers=[("Location", elsewhere.url)]) as receiver,
    ):
        assert post(receiver.url) == program.REFUSED
    assert (len(receiver.requests), len(elsewhere.requests)) == (1, 0)
    assert f"it answered {code}" in (said := capsys.readouterr().err)
    assert said.strip().endswith(advice)


def test_the_token_is_sent_and_never_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EXPORT_TOKEN", "receiver")  # which the receiver's answer repeats
    with Receiver(400) as receiver:
        post(receiver.url)
    assert receiver.requests[0].headers["Authorization"] == "Bearer receiver"
    assert "said by the ***" in capsys.readouterr().err


def test_the_program_needs_nothing_but_python() -> None:
    source = Path(program.__file__).read_text()
    imported = {
        alias.name.partition(".")[0]
        for statement in ast.walk(ast.parse(source))
        if isinstance(statement, ast.Import | ast.ImportFrom)
        for alias in statement.names
    }
    assert imported <= sys.stdlib_module_names
    done = subprocess.run(
        [sys.executable, "-I", "-c", source, "--help"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("usage: export")


def test_it_is_in_the_graph_where_an_address_is_given_and_its_key_knows_the_program(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def compiled(*settings: str) -> dict[str, tuple[str, str]]:
        ir = compile_pipeline(load(overrides=settings))
        specs = runner_utils.extract_local_deployment_config(ir).executor_specs
        nodes = {entry.pipeline_node.node_info.id: entry.pipeline_node for entry in ir.nodes}
        return {
            name: (
                str(specs[name]),
                node.parameters.parameters[CODE_DIGEST].field_value.string_value,
            )
            for name, node in nodes.items()
            if "Export" in name or name == "EvaluationRecords"
        }

    address = "export.url=https://warehouse.example.com/in"
    assert compiled() == {}
    before = compiled(address)
    assert set(before) == {"EvaluationRecords", "ExportEvaluation"}
    spec, digest = before["ExportEvaluation"]
    assert "python:3.12-slim" in spec
    other_image = compiled(address, "export.image=python:3.13-slim")["ExportEvaluation"]
    changed = tmp_path / "program.py"
    changed.write_text(Path(program.__file__).read_text() + "# changed")
    monkeypatch.setattr(program, "__file__", str(changed))
    other_program = compiled(address)["ExportEvaluation"]
    assert len({digest, other_image[1], other_program[1]}) == 3


@pytest.mark.parametrize("approval", ["auto", "manual"])
def test_what_goes_live_does_not_wait_for_the_export(approval: str) -> None:
    settings = ["export.url=https://warehouse.example.com", f"register.approval={approval}"]
    ir = compile_pipeline(load(overrides=settings))
    nodes = {entry.pipeline_node.node_info.id: entry.pipeline_node for entry in ir.nodes}
    last = {"Canary", "Pusher", "Registrar"} & set(nodes)
    assert last <= set(nodes["ExportEvaluation"].upstream_nodes)
    assert not nodes["ExportEvaluation"].downstream_nodes


def test_an_address_with_a_password_is_refused_and_not_repeated() -> None:
    with pytest.raises(UserError, match="put a token into EXPORT_TOKEN") as refused:
        load(overrides=["export.url=https://me:s3cret@warehouse.example.com"])
    assert "s3cret" not in str(refused.value)
