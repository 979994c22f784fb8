"""PostgreSQL and MariaDB servers that the tests start for themselves, without a rest."""

from __future__ import annotations

import getpass
import itertools
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

USER, PASSWORD = "pipeline", "p@ss w:rd/'\"%"
"""A role that is no superuser, and a password that has to be quoted nearly everywhere."""


@dataclass(frozen=True)
class Server:
    """A database server at work; `sql` runs statements as its administrator."""

    scheme: str
    port: int
    sql: Callable[..., str]
    certificate: Path | None
    """Of the authority that vouches for the server, where it speaks TLS."""
    _count: Iterator[int]

    def database(self) -> str:
        """The URL of a new, empty database that belongs to USER."""
        name = f"store_{next(self._count)}"
        self.sql(f"CREATE DATABASE {name}")
        if self.scheme == "postgresql":
            self.sql(f"ALTER DATABASE {name} OWNER TO {USER}")
        else:
            self.sql(f"GRANT ALL ON {name}.* TO {USER}")
        return self.url(name)

    def url(self, database: str, *, user: str = USER) -> str:
        """The URL of a database of this server, whether it is there or not."""
        return f"{self.scheme}://{user}@127.0.0.1:{self.port}/{database}"


@contextmanager
def postgresql() -> Iterator[Server]:
    """A PostgreSQL server in a temporary folder."""
    newest = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: int(p.parent.name))
    programs = [_program(n, newest[::-1], "postgresql") for n in ("initdb", "postgres", "psql")]
    initdb, postgres, psql = programs
    owner = _owner("postgres")
    with _folder(owner) as folder:
        data, port = folder / "data", free_port()
        password_file = folder / "password"
        password_file.write_text("administrator")
        password_file.chmod(0o644)
        command = [initdb, "-D", str(data), "-U", "admin", f"--pwfile={password_file}"]
        command += ["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync"]
        _run(command, owner)
        environment = os.environ | {"PGPASSWORD": "administrator"}

        def sql(*statements: str, database: str = "postgres") -> str:
            command = [psql, "-h", "127.0.0.1", "-p", str(port), "-U", "admin", "-d", database]
            command += ["-v", "ON_ERROR_STOP=1", "-qtA"]
            command += [word for statement in statements for word in ("-c", statement)]
            return _run(command, environment=environment)

        settings = [f"port={port}", "listen_addresses=127.0.0.1", "fsync=off", "autovacuum=off"]
        settings += [f"unix_socket_directories={folder}", "max_connections=100"]
        command = [postgres, "-D", str(data), *(w for s in settings for w in ("-c", s))]
        with _serving(command, owner, folder, lambda: sql("SELECT 1"), stop=signal.SIGQUIT):
            sql(f"CREATE ROLE {USER} LOGIN PASSWORD {_quoted(PASSWORD)}")
            yield Server("postgresql", port, sql, None, itertools.count())


@contextmanager
def mariadb() -> Iterator[Server]:
    """A MariaDB server in a temporary folder."""
    folders = [Path("/usr/sbin")]
    package = "mariadb-server"
    install, server, client = (
        _program(n, folders, package) for n in ("mariadb-install-db", "mariadbd", "mariadb")
    )
    owner = _owner("mysql")
    with _folder(owner) as folder:
        data, port, administrator = folder / "data", free_port(), folder / "socket"
        command = [install, "--no-defaults", f"--datadir={data}", "--skip-name-resolve"]
        command += ["--skip-test-db", "--auth-root-authentication-method=normal"]
        _run(command, owner)

        def sql(*statements: str, database: str = "mysql") -> str:
            command = [client, "--no-defaults", "-u", "root", f"--socket={administrator}", "-N"]
            return _run([*command, "-D", database, "-e", ";".join(statements)])

        command = [server, "--no-defaults", f"--datadir={data}", f"--socket={administrator}"]
        command += [f"--port={port}", "--bind-address=127.0.0.1", "--skip-name-resolve"]
        command += [
            "--innodb-flush-log-at-trx-commit=0",
            "--innodb-log-file-size=8M",
            f"--pid-file={folder}/pid",
        ]
        _certificate(folder, owner)
        command += [f"--ssl-key={folder}/key.pem", f"--ssl-cert={folder}/certificate.pem"]
        with _serving(command, owner, folder, lambda: sql("SELECT 1"), stop=signal.SIGKILL):
            sql(f"CREATE USER {USER} IDENTIFIED BY {_quoted(PASSWORD)}")
            yield Server("mysql", port, sql, folder / "certificate.pem", itertools.count())


def _certificate(folder: Path, owner: str) -> None:
    command = [_program("openssl", [], "openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes"]
    command += ["-subj", "/CN=127.0.0.1", "-keyout", f"{folder}/key.pem"]
    _run([*command, "-out", f"{folder}/certificate.pem"], owner)


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _program(name: str, folders: Sequence[Path], package: str) -> str:
    """The path of a program; the test is skipped where it is not installed."""
    found = shutil.which(name, path=os.pathsep.join([*map(str, folders), os.environ["PATH"]]))
    if found is None:
        pytest.skip(f"{name} is not installed: `apt-get install {package}` brings it")
    return found


def _owner(name: str) -> str:
    """Who a server runs as: root may not, so its own user, or nobody."""
    if os.geteuid() != 0:
        return getpass.getuser()
    return name if any(entry.pw_name == name for entry in pwd.getpwall()) else "nobody"


@contextmanager
def _folder(owner: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="service-", ignore_cleanup_errors=True) as name:
        shutil.chown(name, owner)
        Path(name).chmod(0o755)
        yield Path(name)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _as(owner: str) -> dict[str, str | int | list[int]]:
    """Arguments of subprocess that make `owner` the user of a program."""
    if os.geteuid() != 0:
        return {}
    return {"user": owner, "group": pwd.getpwnam(owner).pw_gid, "extra_groups": []}


def _run(
    command: Sequence[str], owner: str | None = None, *, environment: dict[str, str] | None = None
) -> str:
    identity = _as(owner) if owner else {}
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd="/", env=environment, **identity
    )
    if done.returncode:
        raise RuntimeError(f"{command[0]}: {done.stdout}{done.stderr}")
    return done.stdout.strip()


@contextmanager
def _serving(
    command: Sequence[str],
    owner: str,
    folder: Path,
    answers: Callable[[], object],
    *,
    stop: signal.Signals,
) -> Iterator[None]:
    """A server that answers, and ends with the tests, even where they are killed."""
    if setpriv := shutil.which("setpriv"):
        command = [setpriv, "--pdeathsig", stop.name.removeprefix("SIG"), *command]
    log = folder / "log"
    with log.open("w") as output:
        server = subprocess.Popen(
            command, stdout=output, stderr=output, cwd="/", start_new_session=True, **_as(owner)
        )
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                answers()
                break
            except RuntimeError:
                if server.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(log.read_text()) from None
                time.sleep(0.05)
        yield
    finally:
        server.send_signal(stop)
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
