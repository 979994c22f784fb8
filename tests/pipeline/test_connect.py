"""Stores on real servers: how they are reached, and what is said where they are not."""

from __future__ import annotations

import json
import multiprocessing
import re
import socket
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from ml_metadata import errors
from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as pb

from pipeline import metadata, node
from pipeline.config_file import DEFAULT, load
from pipeline.errors import UnreachableError, UserError
from pipeline.node import State
from pipeline.store import connect, database, record
from tests import services
from tests.pipeline.toy import compile_toy


@pytest.fixture(autouse=True)
def tries_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connect, "PAUSES", ())


def refusal(url: str) -> str:
    with pytest.raises(UserError) as raised:
        connect.opened(connect.connection_to(url))
    message = str(raised.value)
    assert services.PASSWORD not in message
    assert message.startswith(url)
    may_pass = isinstance(raised.value, UnreachableError)
    assert may_pass == ("cannot be reached" in message)
    return message


def test_nodes_run_and_are_cached_on_a_server(server: services.Server, tmp_path: Path) -> None:
    connection = connect.connection_to(server.database())
    metadata.create_tables(connection)
    ir = compile_toy(str(tmp_path))
    for run_id, state in (("one", State.COMPLETE), ("two", State.CACHED)):
        bound = node.bind(ir, run_id, {})
        assert node.run_node(bound, "Source", connection=connection).state is state


def test_tables_and_types_are_made_once_where_many_tasks_begin_at_once(
    server: services.Server, tmp_path: Path
) -> None:
    # Without a lock, three of four fail, and some of the store's types are there twice.
    ir = compile_toy(str(tmp_path))
    url = server.database()
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(8)

    def begin() -> None:
        barrier.wait()
        connection = connect.connection_to(url)
        metadata.create_tables(connection)
        metadata.register_types(connection, ir)

    processes = [context.Process(target=begin) for _ in range(8)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 8
    name = url.rpartition("/")[2]
    assert server.sql("SELECT count(*) FROM MLMDEnv", database=name) == "1"
    assert server.sql("SELECT count(*) - count(DISTINCT name) FROM Type", database=name) == "0"
    kinds = connect.opened(connect.connection_to(url)).get_execution_types()
    assert {"tests.pipeline.toy.Left", "tests.pipeline.toy.Join"} <= {kind.name for kind in kinds}


@pytest.mark.parametrize(
    "text", ["a\\b 'c' \"d\"\n\\", "é € 😀 {} %s", "".join(map(chr, range(256, 9000)))]
)
def test_a_store_keeps_every_text(server: services.Server, text: str) -> None:
    # ML Metadata by itself: no backslash, and little more than 2,000 letters, on PostgreSQL.
    connection = connect.connection_to(server.database())
    metadata.create_tables(connection)
    metadata.create_tables(connection)
    store = connect.opened(connection)
    record.write(store, "run", {"text": text, "json": json.dumps({"inner": json.dumps([text])})})
    facts = record.read(connect.opened(connection), "run")
    assert facts["text"] == text
    assert json.loads(json.loads(facts["json"])["inner"]) == [text]


def test_what_a_store_holds_comes_by_number(server: services.Server) -> None:
    store = connect.opened(connect.connection_to(server.database()))
    kind = store.put_artifact_type(pb.ArtifactType(name="Rows"))
    ids = store.put_artifacts([pb.Artifact(type_id=kind, uri=str(n)) for n in range(4)])
    maker = store.put_execution_type(pb.ExecutionType(name="Maker"))
    (execution,) = store.put_executions([pb.Execution(type_id=maker)])
    output = pb.Event.OUTPUT
    events = [pb.Event(artifact_id=i, execution_id=execution, type=output) for i in ids[::-1]]
    store.put_events(events)
    # PostgreSQL writes a row that is changed anew, behind the others.
    store.put_artifacts([pb.Artifact(id=ids[0], type_id=kind, uri="changed")])
    assert [a.id for a in store.get_artifacts_by_id([ids[2], ids[0], ids[1]])] == ids[:3]
    assert [a.id for a in store.get_artifacts_by_type("Rows")] == ids
    assert [e.artifact_id for e in store.get_events_by_execution_ids([execution])] == ids


@pytest.mark.parametrize("password", ["wrong", ""])
def test_a_wrong_password_is_told(
    server: services.Server, monkeypatch: pytest.MonkeyPatch, password: str
) -> None:
    monkeypatch.setenv(connect.PASSWORD_VARIABLE, password)
    assert "password is wrong: set PIPELINE_STORE_PASSWORD" in refusal(server.database())


def test_a_database_that_is_not_there_is_told(
    server: services.Server, capfd: pytest.CaptureFixture[str]
) -> None:
    assert "there is no such database" in refusal(server.url("nowhere"))
    # Unquoted, a password with a space is taken for another setting, and that one is printed.
    assert "w:rd" not in capfd.readouterr().err


def test_a_database_of_somebody_else_is_told(server: services.Server) -> None:
    name = server.database().rpartition("/")[2] + "_of_others"
    server.sql(f"CREATE DATABASE {name}")
    assert "an administrator grants" in refusal(server.url(name))


def test_a_server_that_is_away_is_told(server: services.Server) -> None:
    url = server.database().replace(str(server.port), str(services.free_port()))
    assert "the server cannot be reached" in refusal(url)
    assert "the server cannot be reached" in refusal(url.replace("127.0.0.1", "no-such-host"))


def test_a_node_whose_store_is_away_fails_with_that_sentence(tmp_path: Path) -> None:
    url = f"mysql://me@127.0.0.1:{services.free_port()}/store"
    bound = node.bind(compile_toy(str(tmp_path)), "one", {})
    result = node.run_node(bound, "Source", connection=connect.connection_to(url))
    assert (result.state, result.defect) == (State.FAILED, False)
    assert "the server cannot be reached" in result.error
    assert not result.refused  # Another try may do.


def test_a_server_that_hangs_up_is_a_sentence(server: services.Server) -> None:
    url = server.database()
    store, name = connect.opened(connect.connection_to(url)), url.rpartition("/")[2]
    if server.scheme == "postgresql":
        ends = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname='{name}'"
        server.sql(ends)
    else:
        ask = f"SELECT id FROM information_schema.processlist WHERE db='{name}'"
        server.sql(*(f"KILL {number}" for number in server.sql(ask).split()))
    with pytest.raises(UnreachableError, match=r"the store does not answer: .+; try again"):
        store.get_contexts()


@pytest.mark.parametrize("error", [errors.InternalError, errors.UnavailableError])
def test_a_store_that_fails_while_it_is_asked_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[errors.StatusError]
) -> None:
    store = connect.opened(connect.connection_to(f"sqlite:///{tmp_path}/store.sqlite"))
    said = "Error when executing query: MySQL server has gone away query: SELECT 1"

    def fail(*_: object) -> None:
        raise error(said)

    monkeypatch.setattr(MetadataStore, "_pywrap_cc_call", fail)
    with pytest.raises(UnreachableError) as raised:
        store.get_contexts()
    place = f"{tmp_path}/store.sqlite"
    sentence = "the store does not answer: MySQL server has gone away; try again"
    assert str(raised.value) == f"{place}: {sentence}"


def test_what_a_store_refuses_keeps_its_kind(tmp_path: Path) -> None:
    store = connect.opened(connect.connection_to(f"sqlite:///{tmp_path}/store.sqlite"))
    with pytest.raises(errors.NotFoundError):
        store.get_context_type("none")


@contextmanager
def silent_server() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


@pytest.mark.parametrize("scheme", ["postgresql", "mysql"])
def test_a_server_that_says_nothing_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    monkeypatch.setattr(database, "SECONDS", 1.0)
    monkeypatch.setenv("PGCONNECT_TIMEOUT", "2")
    with silent_server() as port:
        assert "the server cannot be reached" in refusal(f"{scheme}://me@127.0.0.1:{port}/store")


def test_a_server_that_comes_back_is_reached(
    server: services.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = connect.connection_to(server.database())
    connection = connect.connection_to(server.url("later"))
    monkeypatch.setattr(connect, "PAUSES", (0.0,))
    monkeypatch.setattr(time, "sleep", lambda _: connection.CopyFrom(right))
    assert connect.opened(connection).get_artifacts() == []


def test_a_store_that_nothing_was_written_to_is_not_made_by_a_reader(
    server: services.Server, tmp_path: Path
) -> None:
    url = server.database()
    config = load(DEFAULT, [f"store.url={url}", f"root={tmp_path}"])
    with pytest.raises(UserError, match="there is no metadata store yet; run the pipeline first"):
        connect.existing(config)
    metadata.create_tables(connect.connection_to(url))
    assert connect.existing(config).get_artifacts() == []


def test_mysql_is_spoken_to_in_secret_where_the_url_says_so(
    mariadb_server: services.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(connect.PASSWORD_VARIABLE, "secret")
    url = mariadb_server.database()
    name = url.rpartition("/")[2]
    mariadb_server.sql("CREATE USER careful IDENTIFIED BY 'secret' REQUIRE SSL")
    mariadb_server.sql(f"GRANT ALL ON {name}.* TO careful")
    url = mariadb_server.url(name, user="careful")
    with pytest.raises(UserError):
        connect.opened(connect.connection_to(url))
    connection = connect.connection_to(f"{url}?ca={mariadb_server.certificate}")
    metadata.create_tables(connection)
    assert connect.opened(connection).get_artifacts() == []


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://me@host/store?sslmode=require", "speaks no TLS with PostgreSQL"),
        ("mysql://me@host/store?certificate=x", "unknown option certificate; there are: key, "),
    ],
)
def test_options_that_would_do_nothing_are_refused(url: str, said: str) -> None:
    with pytest.raises(UserError, match=re.escape(said)):
        connect.connection_to(url)


def test_the_password_comes_from_a_file_where_one_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "password"
    monkeypatch.setenv(connect.PASSWORD_FILE_VARIABLE, str(file))
    with pytest.raises(UserError, match="password cannot be read from there"):
        connect.connection_to("mysql://me@host/store")
    file.write_text("secret\n")
    assert connect.connection_to("mysql://me@host/store").mysql.password == "secret"
    assert connect.connection_to("mysql://me@host/store").mysql.port == 3306


def test_an_sqlite_file_that_is_something_else_is_told(tmp_path: Path) -> None:
    text = tmp_path / "notes.sqlite"
    text.write_text("a diary\n" * 1000)
    assert "this is no metadata store that can be read" in refusal_of_file(text)
    other = tmp_path / "other.sqlite"
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE Type (x)")
    assert "this is no metadata store that can be read" in refusal_of_file(other)


def refusal_of_file(file: Path) -> str:
    connection: pb.ConnectionConfig = connect.connection_to(f"sqlite://{file}")
    with pytest.raises(UserError) as raised:
        metadata.create_tables(connection)
    assert str(raised.value).startswith(f"{file}: ")
    return str(raised.value)
