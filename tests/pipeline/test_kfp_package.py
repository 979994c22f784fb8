# Annotations are not postponed: kfp reads a component's as types.

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kfp import dsl

from pipeline.cluster import kfp_package
from pipeline.errors import UserError
from tests.pipeline.packages import compiled, making, python, taking


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"spam": 1}, "no parameter 'spam'; there are: span"),
        ({}, "parameter span has no default"),
        ({"span": "three"}, "parameter span is 'three'; expected a NUMBER_INTEGER"),
        ({"span": True}, "parameter span is True; expected a NUMBER_INTEGER"),
    ],
)
def test_wrong_parameters_are_told(
    tmp_path: Path, parameters: dict[str, object], message: str
) -> None:
    def define(span: int) -> None:
        taking("show", "")(given=f"{span}")

    with pytest.raises(UserError, match=message):
        kfp_package.read(compiled(define, tmp_path), parameters)


def test_loops_conditions_and_importers_are_refused(tmp_path: Path) -> None:
    def loop() -> None:
        with dsl.ParallelFor(["a", "b"]) as item:
            taking("show", "")(given=item)

    def condition(span: str = "") -> None:
        with dsl.If(span == "1"):
            python("one", "")()

    def importer() -> None:
        dsl.importer(artifact_uri="gs://bucket/model", artifact_class=dsl.Model)

    for define, message in [(loop, "loop"), (condition, "condition"), (importer, "no container")]:
        with pytest.raises(UserError, match=message):
            kfp_package.read(compiled(define, tmp_path), {})


def test_tasks_come_after_those_that_they_wait_for_out_of_every_graph(tmp_path: Path) -> None:
    @dsl.pipeline
    def inner(given: str = "x") -> str:
        last = taking("last", "")(given=given)
        python("first", "")()
        return making("made", "")().after(last).output  # type: ignore[no-any-return]

    def define() -> None:
        before = python("before", "")()
        taking("after", "")(given=inner().after(before).output)

    tasks = {task.id: task for task in kfp_package.read(compiled(define, tmp_path), {}).tasks}

    assert {name: set(task.needs) for name, task in tasks.items()} == {
        "before": set(),
        "first": {"before"},
        "last": {"before"},
        "made": {"before", "last"},
        "after": {"first", "last", "made"},
    }
    order = list(tasks)
    assert (order[0], order[-1]) == ("before", "after")
    assert tasks["last"].parameters["given"] == kfp_package.Constant("x")
    assert tasks["after"].parameters["given"] == kfp_package.Output("made", "made")


def test_two_steps_of_one_name_in_two_graphs_are_two_tasks(tmp_path: Path) -> None:
    @dsl.pipeline
    def inner() -> None:
        python("step", "")()

    def define() -> None:
        inner()
        inner()

    tasks = kfp_package.read(compiled(define, tmp_path), {}).tasks
    assert [task.id for task in tasks] == ["step", "inner-2.step"]


def test_a_file_that_is_no_package_is_told(tmp_path: Path) -> None:
    file = tmp_path / "package.yaml"
    for text in ("{a: [", "a: 1", "- 1", "", "\0"):
        file.write_text(text)
        with pytest.raises(UserError, match="is no KFP package"):
            kfp_package.read(file, {})


@given(
    value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_a_value_in_a_placeholder_is_read_back_as_it_was(value: object) -> None:
    text = kfp_package.filled("<{{$.x}}>", {"{{$.x}}": value})
    inside = text[1:-1]
    assert (inside if isinstance(value, str) else json.loads(inside)) == value


@given(text=st.text(), kind=st.sampled_from(["STRING", "BOOLEAN", "NUMBER_INTEGER", "STRUCT"]))
def test_any_text_in_an_output_is_a_value_or_a_value_error(text: str, kind: str) -> None:
    expected = {"STRING": str, "BOOLEAN": bool, "NUMBER_INTEGER": int, "STRUCT": dict}[kind]
    try:
        value = kfp_package.parsed(text, kind)
    except ValueError:
        return
    assert type(value) is expected
