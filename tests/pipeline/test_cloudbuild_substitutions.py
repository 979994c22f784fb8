"""Cloud Build's substitutions; bash itself says what its expansions give."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from pipeline.cloudbuild import substitutions
from pipeline.cloudbuild.substitutions import Substitutions, expand
from pipeline.errors import UserError

VALUES = {"_A": "one", "_B": "$_A-two", "PROJECT_ID": "p1", "_EMPTY": ""}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$_A", "one"),
        ("${_A}x", "onex"),
        ("$_Ax", "onex"),
        ("$_A_", None),
        ("$$_A", "$_A"),
        ("$$$_A", "$one"),
        ("$$$$", "$$"),
        ("cost: 5$", "cost: 5$"),
        ("$(date) $1 ${lower} $-", "$(date) $1 ${lower} $-"),
        ("${PROJECT_ID}/$_B", "p1/one-two"),
        ("${COMMIT_SHA}.", "."),
        ("${_EMPTY:-${_A^}}", "One"),
        ("${_A:+yes}${_EMPTY:+no}", "yes"),
        ("${#_A}", "3"),
    ],
)
def test_references_are_replaced_as_cloud_build_does(text: str, expected: str | None) -> None:
    made = Substitutions(VALUES)
    if expected is None:
        with pytest.raises(UserError, match=r"\$_A_ is not among the substitutions"):
            made.apply(text)
    else:
        assert made.apply(text) == expected


def test_without_dynamic_substitutions_values_and_expansions_stay_as_they_are() -> None:
    made = Substitutions(VALUES, dynamic=False)
    assert made.apply("$_B ${_A^^} ${_A}") == "$_A-two ${_A^^} one"


def test_it_is_remembered_who_was_asked_for() -> None:
    made = Substitutions(VALUES)
    made.apply("${_B} $$_EMPTY")
    assert made.used == {"_A", "_B"}


def test_a_name_that_is_neither_own_nor_built_in_is_refused_even_where_loose() -> None:
    for loose in (False, True):
        with pytest.raises(UserError, match=r"\$HOME is no substitution.*\$\$HOME"):
            Substitutions({}, loose=loose).apply("$HOME/x")


def test_an_unknown_name_of_ones_own_is_nothing_where_loose() -> None:
    assert Substitutions({}, loose=True).apply("<$_X>") == "<>"


def test_values_that_go_round_are_refused_with_the_way() -> None:
    with pytest.raises(UserError, match="_A → _B → _C → _A"):
        Substitutions({"_A": "$_B", "_B": "${_C}", "_C": "x$_A"}).apply("$_A")


@pytest.mark.parametrize(
    "text", ["${_A:=x}", "${_A@Q}", "${_A!}", "${#_A:1}", "${_A:x}", "${_A:?}"]
)
def test_an_expansion_that_is_not_known_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="is not known"):
        Substitutions(VALUES).apply(text)


def test_a_brace_that_is_not_closed_is_refused() -> None:
    with pytest.raises(UserError, match="brace"):
        Substitutions(VALUES).apply("${_A:-x")


def test_given_values_may_hold_commas_and_equals() -> None:
    given_ = substitutions.parse(["_A=1,2,_B=x=y", "COMMIT_SHA=abc"])
    assert given_ == {"_A": "1,2", "_B": "x=y", "COMMIT_SHA": "abc"}


@pytest.mark.parametrize("text", ["_A", "a=1", "HOME=1", "=1"])
def test_what_is_no_substitution_cannot_be_given(text: str) -> None:
    with pytest.raises(UserError, match="--substitutions"):
        substitutions.parse([text])


@given(st.text(alphabet="$_A{}:-x#%/ ab", max_size=30))
def test_any_text_is_expanded_or_refused_in_words(text: str) -> None:
    try:
        made = expand(text, lambda name: "v", dynamic=True)
    except UserError:
        return
    assert isinstance(made, str)


@given(st.text(max_size=40))
def test_a_text_whose_dollars_are_doubled_comes_out_as_it_was(text: str) -> None:
    assert Substitutions({}).apply(text.replace("$", "$$")) == text


PATTERNS = st.lists(
    st.sampled_from(["a", "B", "-", ".", "*", "?", "[ab]", "[!a]", "[^1-9]", r"\*", r"\/"]),
    max_size=3,
).map("".join)
WORDS = st.text(alphabet="zY-_", max_size=3)
OPERATIONS = st.one_of(
    st.tuples(st.sampled_from([":-", ":+"]), WORDS),
    st.tuples(st.sampled_from(["#", "##", "%", "%%", "/", "//", "^", "^^", ",", ",,"]), PATTERNS),
    st.tuples(st.sampled_from(["/", "//", "/#", "/%"]), PATTERNS, st.just("/"), WORDS),
    st.tuples(st.sampled_from([":0", ":2", ":9", ": -2", ":(-3)"]), st.sampled_from(["", ":2"])),
).map("".join)


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not there to compare with")
@settings(max_examples=30, deadline=None, phases=[Phase.generate])
@given(st.lists(st.tuples(st.text(alphabet="abB1-./", max_size=7), OPERATIONS), min_size=9))
def test_expansions_give_what_bash_gives(cases: list[tuple[str, str]]) -> None:
    lines = [f"V='{value}'; printf '%s\\n' \"${{V{operation}}}\"" for value, operation in cases]
    script = "\n".join(["LC_ALL=C; shopt -u patsub_replacement 2>/dev/null", *lines])
    said = subprocess.run(["bash"], input=script, capture_output=True, text=True, check=True)
    ours = [expand(f"${{V{o}}}", lambda _, value=v: value, dynamic=True) for v, o in cases]  # type: ignore[misc]
    assert ours == said.stdout.splitlines(), said.stderr
