"""What is sent to a server: packages and the parameters of runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.cluster.remote import Package, moment
from pipeline.errors import UserError

PACKAGE = Package(
    """
pipelineInfo: {name: flights}
components:
  comp-exit-handler-1: {dag: {tasks: {init: {}, trainer: {}}}}
  comp-init: {}
root:
  dag: {tasks: {exit-handler-1: {}, finish: {}}}
  inputDefinitions:
    parameters:
      span: {parameterType: STRING, isOptional: true}
      note: {parameterType: STRING, isOptional: true}
      force: {parameterType: BOOLEAN, isOptional: true}
      rows: {parameterType: NUMBER_INTEGER, isOptional: true}
"""
)
NEEDY = Package("pipelineInfo: {name: a}\nroot: {inputDefinitions: {parameters: {data: {}}}}")


def test_a_package_knows_its_name_its_tasks_and_its_content() -> None:
    assert PACKAGE.name == "flights"
    assert sorted(PACKAGE.tasks) == ["finish", "init", "trainer"]
    assert PACKAGE.version != Package(PACKAGE.text + "\n").version
    assert PACKAGE.version == Package(PACKAGE.text).version


def test_parameters_get_the_type_that_the_package_declares() -> None:
    assert PACKAGE.parameters(["span=newest", "rows=7"])["span"] == "newest"
    words = ["span=3", "note=a=b", "force=true", "rows=7"]
    assert PACKAGE.parameters(words) == {"span": "3", "note": "a=b", "force": True, "rows": 7}


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("spam=3", "there is no parameter 'spam'; expected NAME=VALUE with one of force, note"),
        ("span", "no value is given"),
        ("span=march", "expected a span's number"),
        ("force=yes", "expected true or false"),
        ("rows=1.5", "expected a number"),
    ],
)
def test_a_parameter_that_is_wrong_is_refused(word: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        PACKAGE.parameters([word])


def test_a_parameter_that_is_needed_is_asked_for() -> None:
    with pytest.raises(UserError, match="The run needs data; give each as --param NAME=VALUE"):
        NEEDY.parameters([])


@given(st.text())
def test_any_word_is_a_parameter_or_refused_in_a_sentence(word: str) -> None:
    try:
        ((name, value),) = PACKAGE.parameters([word]).items()
    except UserError as error:
        assert str(error).startswith("--param")
    else:
        assert word.startswith(f"{name}=")
        assert isinstance(value, {"force": bool, "rows": int}.get(name, str))


@given(st.text(max_size=40))
def test_any_text_is_a_time_with_a_zone_or_refused(text: str) -> None:
    try:
        time = moment(text, "schedule.start", timezone="Europe/Berlin")
    except UserError as error:
        assert str(error).startswith("schedule.start is")
    else:
        assert time is not None
        assert time.tzinfo is not None


@pytest.mark.parametrize("text", ["", "[", "a: 1", "- 1", "root: {}\npipelineInfo: {name: a}"])
def test_a_file_that_is_no_package_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "package.yaml"
    file.write_text(text)
    with pytest.raises(UserError, match="is no package of a pipeline"):
        Package.read(file)
