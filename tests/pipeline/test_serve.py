"""The server of the live model, asked over HTTP."""

from __future__ import annotations

import http.client
import json
import re
import shutil
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import PROJECT
from pipeline.errors import UserError
from pipeline.features_config import Problem
from pipeline.files import storage
from pipeline.serve import page, server
from pipeline.serve.folder import MOST_CHOICES, Served, ServingFolder, choices
from tests import object_stores
from tests.models import tiny
from tests.models.spoken import CLASSES, spoken


class Client:
    def __init__(self, asked: server.Server) -> None:
        self.models = asked.models
        self.folder = Path(asked.models.location)
        self._port = asked.server_port

    def __call__(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """The status and what was answered."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
        try:
            sent = body if isinstance(body, bytes | None) else json.dumps(body).encode()
            connection.request(method, path, sent, headers)
            response = connection.getresponse()
            text = response.read()
            is_page = response.headers["Content-Type"].startswith("text/html")
            return response.status, text.decode() if is_page else json.loads(text)
        finally:
            connection.close()

    def predict(self, *rows: Any) -> Any:
        return self("POST", "/v1/models/late:predict", {"instances": list(rows)})


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two models that answer differently."""
    folder = tmp_path_factory.mktemp("models")
    return [tiny.save_model(folder / str(bias), bias=bias) for bias in (0.0, 1.0)]


@pytest.fixture
def ask(tmp_path: Path) -> Iterator[Client]:
    with server.Server(
        ("127.0.0.1", 0), "late", ServingFolder(str(tmp_path / "serving"))
    ) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield Client(running)
        running.shutdown()
        thread.join()


def push(model: Path, ask: Client, version: str) -> Path:
    folder = ask.folder / version
    shutil.copytree(model, folder)
    ask.models.refresh()
    return folder


def test_it_lives_but_is_not_ready_before_the_first_model_is_pushed(ask: Client) -> None:
    ask.models.refresh()
    assert ask("GET", "/healthz") == (200, {})
    nothing = (503, {"error": "no model has been pushed yet"})
    assert ask("GET", "/readyz") == nothing
    assert ask.predict(*tiny.RAW) == nothing


def test_it_answers_rows_as_the_bundle_does(ask: Client, models: list[Path]) -> None:
    push(models[0], ask, "7")
    assert ask("GET", "/readyz") == (200, {"version": "7"})
    status, answer = ask.predict(*tiny.RAW)
    assert (status, answer["model_version"]) == (200, "7")
    assert answer["predictions"] == pytest.approx(tiny.expected())
    assert ask.predict() == (200, {"predictions": [], "model_version": "7"})


def test_of_several_classes_it_answers_every_probability_and_names_the_classes(
    ask: Client,
) -> None:
    ask.models.served = Served("3", spoken(Problem.MULTICLASS))
    status, answer = ask.predict({"mass": 1, "island": "x", "year": 2})
    assert status == 200
    assert answer == {"predictions": [[0, 0, 1]], "classes": [*CLASSES], "model_version": "3"}


def test_in_a_regression_it_answers_values(ask: Client) -> None:
    ask.models.served = Served("3", spoken(Problem.REGRESSION))
    rows = [{"mass": mass, "island": "x", "year": 2} for mass in (1.5, 2)]
    assert ask.predict(*rows) == (200, {"predictions": [1.5, 2.0], "model_version": "3"})
    assert ask("GET", "/v1/models/late")[1]["model"]["problem"] == "regression"


def test_the_page_has_a_field_for_every_input_with_the_example_and_the_known_values(
    ask: Client,
) -> None:
    bundle = spoken(example={"mass": 35.96, "island": 'a"b', "year": 2})
    ask.models.served = Served("3", bundle, {"island": ('a"b', "<c>")})
    status, html = ask("GET", "/")
    fields = re.findall(r'<input name="(\w+)" value="([^"]*)"', html)
    assert status == 200
    assert fields == [("mass", "35.96"), ("island", "a&#34;b"), ("year", "2")]
    assert re.findall(r'<option value="(.*?)">', html) == ["a&#34;b", "&lt;c&gt;"]
    assert "<c>" not in html


def test_a_text_of_several_lines_keeps_them_in_the_form() -> None:
    bundle = spoken(example={"mass": 1.5, "island": "3 High St\nFlat 30", "year": 2})
    html = page.render("late", Served("3", bundle))
    (text,) = re.findall(r'<textarea name="island"[^>]*>\n([^<]*)</textarea>', html)
    assert text == "3 High St\nFlat 30"
    assert re.findall(r'<input name="(\w+)"', html) == ["mass", "year"]


def test_the_page_says_that_there_is_no_model_yet(ask: Client) -> None:
    status, html = ask("GET", "/")
    assert status == 503 and "No model has been pushed yet" in html


def test_words_of_a_model_do_not_end_the_script_that_holds_them() -> None:
    hostile = "</script><script>alert(1)"
    html = page.render("late", Served("3", spoken(label=hostile, classes=("no", hostile))))
    assert html.count("<script") == html.count("</script>") == 2


def test_known_values_are_those_of_the_vocabularies_where_they_are_few(tmp_path: Path) -> None:
    assets = tmp_path / "members" / "sklearn" / "transform" / "assets"
    assets.mkdir(parents=True)
    columns = {"few": ["a", "b"], "many": list(map(str, range(MOST_CHOICES + 1))), "text": ["two"]}
    for name, values in columns.items():
        (assets / name).write_text("\n".join(values))
    example = {"few": None, "many": "1", "text": "two words", "number": 1.0}
    inputs = {**dict.fromkeys(columns, "string"), "number": "float32"}
    model = spoken(inputs=inputs, example=example).manifest
    assert choices(tmp_path, model) == {"few": ("a", "b")}


def test_it_says_which_version_it_is_and_where_that_comes_from(
    ask: Client, models: list[Path]
) -> None:
    push(models[0], ask, "7")
    status, answer = ask("GET", "/v1/models/late")
    assert status == 200
    assert answer["model_version_status"][0]["version"] == "7"
    assert answer["model_version_status"][0]["state"] == "AVAILABLE"
    assert answer["model"]["inputs"] == {"temp": "float32", "carrier": "string"}
    assert "commit" in answer["model"]["provenance"]


def test_the_next_version_takes_over_and_a_higher_number_is_newer(
    ask: Client, models: list[Path]
) -> None:
    push(models[0], ask, "9")
    push(models[1], ask, "10")
    _, answer = ask.predict(*tiny.RAW)
    assert answer["model_version"] == "10"
    assert answer["predictions"] == pytest.approx(tiny.expected(bias=1.0))
    push(models[0], ask, ".pushing-11")
    assert ask.predict()[1]["model_version"] == "10"


@pytest.mark.parametrize("first", [True, False])
def test_a_damaged_version_is_not_served_and_the_one_before_is(
    ask: Client, models: list[Path], first: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = ask.folder / "2"
    if first:
        push(models[0], ask, "1")
    shutil.copytree(models[1], damaged)
    (damaged / "saved_model.pb").write_bytes(b"")
    if not first:
        shutil.copytree(models[0], ask.folder / "1")
    ask.models.refresh()
    ask.models.refresh()
    assert ask.predict()[1]["model_version"] == "1"
    assert capsys.readouterr().err.count("version 2 is not served") == 1


def test_a_version_whose_files_come_one_by_one_is_served_once_they_are_whole(
    ask: Client, models: list[Path]
) -> None:
    folder = ask.folder / "1"
    shutil.copytree(models[0], folder, ignore=shutil.ignore_patterns("variables"))
    ask.models.refresh()
    assert ask("GET", "/readyz")[0] == 503
    push(models[0] / "variables", ask, "1/variables")
    assert ask("GET", "/readyz") == (200, {"version": "1"})


def test_a_serving_folder_on_an_object_store_is_served(
    models: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    with object_stores.s3() as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        location = f"s3://{object_stores.BUCKET}/serving"
        served = ServingFolder(location)
        served.refresh()
        assert served.served is None
        for version, model in zip(["9", "10"], models, strict=True):
            storage.upload(model, f"{location}/{version}")
            served.refresh()
            assert served.served is not None and served.served.version == version
        assert served.served.bundle.predict(tiny.RAW) == pytest.approx(tiny.expected(bias=1.0))


def test_an_object_store_that_cannot_be_read_is_told_of_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(folder: str) -> list[storage.Entry]:
        raise UserError(f"{folder}: no credentials")

    monkeypatch.setattr(storage, "entries", fail)
    served = ServingFolder("s3://bucket/serving")
    served.refresh()
    served.refresh()
    assert capsys.readouterr().err.count("no credentials") == 1


def test_the_live_version_answers_on_while_its_volume_is_away(
    ask: Client, models: list[Path]
) -> None:
    push(models[0], ask, "1")
    shutil.rmtree(ask.folder)
    ask.models.refresh()
    assert ask.predict(tiny.RAW[0])[0] == 200


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"temp": 1.0}, "no column 'carrier'"),
        ({"temp": "warm", "carrier": "AA"}, "Row 2, column 'temp': 'warm' does not fit"),
    ],
)
def test_a_row_that_does_not_fit_is_refused_by_its_column(
    ask: Client, models: list[Path], row: dict[str, Any], words: str
) -> None:
    push(models[0], ask, "1")
    status, answer = ask.predict(tiny.RAW[0], row)
    assert status == 400 and words in answer["error"]


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/page", None, 404),
        ("GET", "/v1/models/other", None, 404),
        ("POST", "/v1/models/late", b"{}", 404),
        ("POST", "/v1/models/late:predict", b"{", 400),
        ("POST", "/v1/models/late:predict", [], 400),
        ("POST", "/v1/models/late:predict", {"instances": {"temp": 1}}, 400),
        ("POST", "/v1/models/late:predict", {"instances": [1]}, 400),
        ("POST", "/v1/models/late:predict", None, 400),
    ],
)
def test_what_is_no_question_is_refused_in_words(
    ask: Client, models: list[Path], method: str, path: str, body: Any, status: int
) -> None:
    push(models[0], ask, "1")
    got, answer = ask(method, path, body)
    assert got == status and answer["error"]


def test_a_body_that_is_too_long_is_not_read(ask: Client, models: list[Path]) -> None:
    push(models[0], ask, "1")
    length = str(server.LARGEST_REQUEST + 1)
    headers = {"Content-Length": length}
    status, answer = ask("POST", "/v1/models/late:predict", None, **headers)
    assert status == 413 and "send fewer rows" in answer["error"]


def test_an_error_of_ours_does_not_reach_the_client(
    ask: Client, models: list[Path], monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    push(models[0], ask, "1")
    assert ask.models.served is not None

    def fail(rows: object) -> None:
        raise RuntimeError("a secret of the machine")

    monkeypatch.setattr(ask.models.served.bundle, "predict", fail)
    assert ask.predict(tiny.RAW[0]) == (500, {"error": "see the server's log"})
    assert "a secret of the machine" in capsys.readouterr().err


@given(
    st.binary()
    | st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["instances", "a"]), inner),
    ).map(lambda value: json.dumps(value).encode())
)
def test_any_body_is_rows_or_is_refused(body: bytes) -> None:
    try:
        rows = server._rows(body)
    except server.BadRequest:
        return
    assert json.loads(body)["instances"] == rows or "NaN" in body.decode()


def test_a_port_that_is_taken_is_said_in_words(tmp_path: Path, ask: Client) -> None:
    with pytest.raises(UserError, match="cannot listen there"):
        server.serve(str(tmp_path), "late", host="127.0.0.1", port=ask._port)


def test_the_command_serves_what_is_pushed_later_and_ends_when_it_is_told_to(
    tmp_path: Path, models: list[Path]
) -> None:
    command = [sys.executable, "-m", "pipeline", "serve", "--directory", str(tmp_path)]
    command += ["--port", "0"]
    with subprocess.Popen(command, cwd=PROJECT, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            url = process.stderr.readline().split(" ")[0]
            shutil.copytree(models[0], tmp_path / "1")
            assert any("version 1 is served" in line for line in process.stderr)
            body = json.dumps({"instances": tiny.RAW}).encode()
            with urllib.request.urlopen(f"{url}:predict", body) as response:
                answer = json.loads(response.read())
            assert answer["predictions"] == pytest.approx(tiny.expected())
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
