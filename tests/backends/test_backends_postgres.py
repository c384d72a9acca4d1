"""The PostgreSQL adapter keeps every promise of the port, on a real server; what cannot work it says."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from urllib.parse import quote
from uuid import uuid4

import psycopg
import pytest

from backends.backend_processes import eventually
from restive.backends import open_backend
from restive.backends.port import LOST, Announce, Append, Drop, Save, Trimmed
from restive.backends.postgres import PostgresBackend, schema
from restive.backends.postgres.location import parse
from restive.errors import BackendUnavailable, Conflict, SettingError
from restive.testing import BACKEND_CHECKS, run_check
from restive.testing.stores import Ear, at_once
from restive.testing.stream_checks import read_all

Factory = Callable[[str], PostgresBackend]
Admin = psycopg.Connection
PASSWORD = "hidden-7f3a"


@pytest.fixture
def factory(postgres_url: str) -> Factory:
    run = uuid4().hex
    return lambda store: PostgresBackend(postgres_url, name=f"{run}/{store}")


@pytest.fixture
def own(postgres_url: str) -> Iterator[str]:
    """The URL of a schema of the test's own, which is not there yet."""
    name = f"s{uuid4().hex}"
    yield f"{postgres_url}?schema={name}"
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        admin.execute(f"DROP SCHEMA IF EXISTS {name} CASCADE")


@pytest.fixture
def backend(own: str) -> Iterator[PostgresBackend]:
    backend = PostgresBackend(own, name="shop")
    yield backend
    backend.close()


@pytest.fixture
def admin(own: str) -> Iterator[Admin]:
    """Somebody who may do everything, in that schema."""
    location = parse(own)
    with psycopg.connect(**location.parameters, autocommit=True) as admin:
        admin.execute(f"SET search_path = {location.schema}")
        yield admin


def schema_of(url: str) -> str:
    return parse(url).schema


@pytest.mark.parametrize("check", BACKEND_CHECKS)
def test_postgres_conforms(check: str, factory: Factory):
    run_check(check, factory)


def test_a_url_opens_it(postgres_url: str):
    backend = open_backend(postgres_url.replace("postgresql://", "postgres://"), name="shop")
    assert isinstance(backend, PostgresBackend)
    backend.probe()
    assert PASSWORD not in repr(backend)
    backend.close()


def test_apps_of_one_schema_do_not_meet(own: str):
    backends = [PostgresBackend(own, name=name) for name in ("a", "a/b", "A", "", "a\0", "\ud800", "'; --")]
    ears = [Ear() for _ in backends]
    for n, (backend, ear) in enumerate(zip(backends, ears, strict=True)):
        backend.listen(ear)
        backend.append("s", [b"%d" % n])
        backend.save("r", b"%d" % n, version=0)
    for n, (backend, ear) in enumerate(zip(backends, ears, strict=True)):
        backend.announce(b"%d" % n)
        assert ear.until(b"%d" % n) == [b"%d" % n]
        assert backend.read("s").items == (b"%d" % n,)
        assert [record.value for record in backend.scan("")] == [b"%d" % n]
        backend.close()


# Addresses


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("postgresql://u:{}@host/db?nonsense=1", "no option 'nonsense'"),
        ("postgresql://u:{}%zz@host/db", "cannot be read"),
        ("postgresql://u:{}@[::1/db", "no URL of the form"),
        ("postgresql://u:{}@host:port/db?sslmode=require#x", "no #"),
        ("postgresql://u:{}@host/db?schema=", "small letters"),
        ("postgresql://u:{}@host/db?schema=A", "small letters"),
        ("postgresql://u:{}@host/db?schema=" + "a" * 64, "small letters"),
        ("postgresql://u:{}@host/db?schema=a%22%3B", "small letters"),
        ("postgresql://u:{}@host/db?listen=nowhere", "A PostgreSQL URL is"),
        (
            "postgresql://u:p@host/db?listen=" + quote("postgresql://u:{}@h/?schema=x", safe="{}"),
            "of its own",
        ),
        ("postgresql:host/{}", "A PostgreSQL URL is"),
    ],
)
def test_a_url_that_cannot_work_is_refused_without_its_password(url: str, says: str):
    with pytest.raises(SettingError, match=says) as caught:
        PostgresBackend(url.format(PASSWORD))
    assert PASSWORD not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://h1:1,h2:2/db", {"host": "h1,h2", "port": "1,2", "dbname": "db"}),
        ("postgresql:///db?host=/run/pg&schema=x", {"host": "/run/pg", "dbname": "db"}),
        ("postgresql://u:a%40%2Fb@h/db?connect_timeout=9", {"password": "a@/b", "connect_timeout": "9"}),
        ("postgres://h/?sslmode=verify-full&target_session_attrs=any", {"target_session_attrs": "any"}),
    ],
)
def test_a_url_says_what_libpq_says(url: str, expected: dict[str, str]):
    found = parse(url).parameters
    assert {name: found.get(name) for name in expected} == expected


def test_listen_says_where_to_listen():
    location = parse(
        "postgresql://pool:6432/db?listen=" + quote("postgresql://u:p%40@direct:5432/db", safe="")
    )
    assert location.listening is not None
    assert (location.listening["host"], location.listening["password"]) == ("direct", "p@")
    assert parse("postgresql://h/db?listen=poll").listening is None


def refused(url: str) -> str:
    """What every call says of a server that cannot be used."""
    backend = PostgresBackend(url, name="shop")
    said = set()
    for call in (backend.probe, lambda: backend.save("r", b"", version=0), lambda: backend.listen(Ear())):
        with pytest.raises(BackendUnavailable) as caught:
            call()
        said.add(str(caught.value))
    backend.close()
    (text,) = said
    assert PASSWORD not in text
    return text


def test_a_server_that_is_not_there(postgres_url: str):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        text = refused(f"postgresql://u:{PASSWORD}@127.0.0.1:{port}/db")
    assert f"127.0.0.1:{port}/db cannot be reached" in text
    assert "RESTIVE_BACKEND" in text


def test_a_wrong_password_and_a_database_that_is_not_there(postgres_url: str):
    right = parse(postgres_url).parameters
    place = f"127.0.0.1:{right['port']}"
    assert "password authentication failed" in refused(f"postgresql://postgres:{PASSWORD}@{place}/postgres")
    url = f"postgresql://postgres:{right['password']}@{place}/nonsense"
    text = refused(url)
    assert '"nonsense" does not exist' in text
    assert right["password"] not in text


# The schema, and who may do what


def test_the_schema_is_made_once_by_many(own: str):
    backends = [PostgresBackend(own, name="shop") for _ in range(6)]
    at_once(*(partial(backend.append, "s", [b"x"]) for backend in backends))
    assert backends[0].read("s").items == (b"x",) * 6
    for backend in backends:
        backend.close()


@pytest.fixture
def guest(own: str, admin: Admin) -> Iterator[str]:
    """The URL of a user with no right at all."""
    user = f"guest{uuid4().hex[:8]}"
    admin.execute(f"CREATE USER {user} PASSWORD '{PASSWORD}'")
    yield own.replace(own.partition("://")[2].partition("@")[0], f"{user}:{PASSWORD}")
    admin.execute(f"DROP OWNED BY {user}; DROP USER {user}")


def test_who_may_not_make_the_schema_is_told_how_it_is_made(guest: str, admin: Admin):
    name, user = schema_of(guest), parse(guest).parameters["user"]
    text = refused(guest)
    assert f"python -m restive.backends.postgres {name}" in text
    command = [sys.executable, "-m", "restive.backends.postgres", name]
    admin.execute(subprocess.run(command, capture_output=True, check=True).stdout)
    assert "permission denied" in refused(guest)
    admin.execute(f"GRANT USAGE ON SCHEMA {name} TO {user}")
    tables = f"ALL TABLES IN SCHEMA {name}"
    admin.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {tables} TO {user}")
    for check in BACKEND_CHECKS:
        if check.startswith(
            ("announcements-own", "streams-dropped", "keep-newest", "batches-in_order", "records-sc")
        ):
            run_check(check, lambda store: PostgresBackend(guest, name=store))


def test_a_schema_of_a_newer_restive_is_left_as_it_is(backend: PostgresBackend, admin: Admin):
    backend.probe()
    backend.close()
    admin.execute("UPDATE about SET version = %s", (schema.VERSION + 1,))
    with pytest.raises(BackendUnavailable, match=r"newer Restive.*Upgrade restive"):
        backend.probe()


def test_the_schema_of_another_application_is_left_as_it_is(own: str, admin: Admin):
    backend, name = PostgresBackend(own, name="shop"), schema_of(own)
    admin.execute(f"CREATE SCHEMA {name}")
    admin.execute("CREATE TABLE items (mine int)")
    with pytest.raises(BackendUnavailable, match=r"another application.*schema="):
        backend.probe()
    tables = admin.execute("SELECT tablename FROM pg_tables WHERE schemaname = %s", (name,)).fetchall()
    assert tables == [("items",)]


def test_an_old_server_is_refused(backend: PostgresBackend, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(schema, "OLDEST", 990000)
    with pytest.raises(BackendUnavailable, match="older than version 13"):
        backend.probe()


def test_a_schema_that_vanishes_is_made_again(own: str, backend: PostgresBackend, admin: Admin):
    ear = Ear()
    backend.listen(ear)
    version = backend.save("r", b"x", version=0)
    end = backend.append("s", [b"x"])
    admin.execute(f"DROP SCHEMA {schema_of(own)} CASCADE")
    assert backend.load("r") is None
    with pytest.raises(Conflict):
        backend.save("r", b"y", version=version)
    assert backend.save("r", b"z", version=0) > version
    backend.append("s", [b"y"])
    with pytest.raises(ValueError, match="deleted or wiped"):
        backend.read("s", end)
    backend.announce(b"after")
    eventually(lambda: LOST in ear.heard)
    backend.announce(b"later")
    ear.until(b"later")


def test_a_server_that_loses_what_is_acknowledged_is_warned_of(
    own: str, admin: Admin, caplog: pytest.LogCaptureFixture
):
    backend = PostgresBackend(own + "&options=-c%20synchronous_commit%3Doff", name="shop")
    backend.probe()
    backend.close()
    assert "synchronous_commit = off" in caplog.text
    caplog.clear()
    backend = PostgresBackend(own, name="shop")
    backend.probe()
    backend.close()
    assert not caplog.text


# A store that goes back in time: a failover that loses what was acknowledged, a snapshot that is restored


TABLES = ("streams", "items", "records")


def snapshot(admin: Admin) -> None:
    for table in TABLES:
        admin.execute(f"CREATE TABLE old_{table} AS TABLE {table}")


def roll_back(admin: Admin) -> None:
    with admin.transaction():
        for table in TABLES:
            admin.execute(f"DELETE FROM {table}")
            admin.execute(f"INSERT INTO {table} OVERRIDING SYSTEM VALUE TABLE old_{table}")


def test_offsets_of_lost_items_are_refused_whatever_took_their_place(backend: PostgresBackend, admin: Admin):
    ends = [backend.append("s", [b"%d" % n]) for n in range(3)]
    snapshot(admin)
    lost = [backend.append("s", [b"lost %d" % n]) for n in range(3)]
    roll_back(admin)
    for offset in lost:
        with pytest.raises(ValueError, match="behind the end"):
            backend.read("s", offset)
        with pytest.raises(Conflict):
            backend.append("s", [b"x"], after=offset)
    new = [backend.append("s", [b"new %d" % n]) for n in range(5)]
    for offset in lost:
        with pytest.raises(ValueError, match="the server has lost"):
            backend.read("s", offset)
    assert read_all(backend, "s", ends[1]) == [b"2", *(b"new %d" % n for n in range(5))]
    assert read_all(backend, "s", new[0]) == [b"new %d" % n for n in range(1, 5)]
    backend.append("s", [b"x"] * 3, keep=3)
    with pytest.raises(Trimmed):
        backend.read("s", ends[1])


def test_lost_offsets_at_the_start_of_what_is_kept_are_refused(backend: PostgresBackend, admin: Admin):
    backend.append("s", [b"0"])
    snapshot(admin)
    lost = backend.append("s", [b"lost"])
    roll_back(admin)
    kept = backend.append("s", [b"1"])
    backend.append("s", [b"2", b"3"], keep=2)
    assert backend.read("s", kept).items == (b"2", b"3")
    with pytest.raises(ValueError, match="the server has lost"):
        backend.read("s", lost)


def test_a_version_of_a_lost_save_fits_no_other(backend: PostgresBackend, admin: Admin):
    version = backend.save("r", b"0", version=0)
    snapshot(admin)
    lost = [version := backend.save("r", b"lost", version=version) for _ in range(5)]
    roll_back(admin)
    found = backend.load("r")
    assert found is not None
    assert found.value == b"0"
    new = [found.version]
    for _ in range(5):
        new.append(backend.save("r", b"new", version=new[-1]))
    assert not set(lost) & set(new)
    assert min(new[1:]) > max(lost)


# Batches


def test_a_conflict_undoes_its_batch_alone(backend: PostgresBackend):
    """Threads share a transaction; each batch writes before its deciding step."""
    backend.save("taken", b"", version=0)
    done: list[str] = []

    def batch(n: int) -> None:
        steps = [Save(f"a{n}", b"", None), Append("s", [b"%d" % n]), Announce(b"%d" % n)]
        steps.append(Save("taken" if n % 2 else f"b{n}", b""))
        for _ in range(5):
            try:
                backend.apply(steps)
                done.append(f"a{n}")
                break
            except Conflict:
                continue

    ear = Ear()
    backend.listen(ear)
    at_once(*(partial(batch, n) for n in range(16)))
    expected = {f"a{n}" for n in range(0, 16, 2)}
    assert set(done) == expected
    assert {record.name for record in backend.scan("a")} == expected
    assert sorted(map(int, read_all(backend, "s"))) == list(range(0, 16, 2))
    backend.announce(b"end")
    heard = ear.until(b"end")
    assert sorted(map(int, heard[:-1])) == list(range(0, 16, 2))


def test_batches_in_any_order_of_names_do_not_block_one_another(own: str):
    backends = [PostgresBackend(own, name="shop") for _ in range(4)]
    names = [f"n{n}" for n in range(6)]

    def run(number: int) -> None:
        order = names[number:] + names[:number]
        for _ in range(25):
            steps = [step for name in order for step in (Save(name, b"", None), Append(name, [b"x"]))]
            backends[number].apply([*steps, Announce(b"x")])

    at_once(*(partial(run, number) for number in range(4)))
    assert all(len(read_all(backends[0], name)) == 100 for name in names)
    locks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    with psycopg.connect(**parse(own).parameters) as admin:
        assert admin.execute(locks).fetchone() == (0,)
    for backend in backends:
        backend.close()


def test_a_long_stream_is_dropped_with_all_its_items(backend: PostgresBackend, admin: Admin):
    for _ in range(12):
        backend.append("long", [b"x"] * 1000)
    backend.append("short", [b"x"] * 10)
    backend.append("kept", [b"x"])
    assert backend.apply([Drop("long"), Append("long", [b"new"]), Drop("short")])[0] is None
    assert read_all(backend, "long") == [b"new"]
    assert admin.execute("SELECT count(*) FROM items").fetchone() == (2,)
    assert admin.execute("SELECT count(*) FROM dropped").fetchone() == (0,)


def test_what_is_trimmed_is_deleted(backend: PostgresBackend, admin: Admin):
    backend.append("s", [b"x"] * 12_000)
    backend.append("s", [b"y"], keep=10)
    assert backend.read("s").items == (b"x",) * 9 + (b"y",)
    for _ in range(5):
        backend.append("s", [b"z"])
    assert admin.execute("SELECT count(*) FROM items").fetchone() == (15,)


# Connections


def sessions(admin: Admin, url: str) -> int:
    name = parse(url).parameters["application_name"]
    row = admin.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s", (name,)
    ).fetchone()
    assert row is not None
    return row[0]


def test_close_leaves_no_connection_and_few_are_used(own: str, admin: Admin):
    url = f"{own}&application_name={uuid4().hex}"
    backend = PostgresBackend(url, name="shop")
    assert sessions(admin, url) == 0
    backend.listen(Ear())
    at_once(
        *(partial(backend.load, "r") for _ in range(8)), *(partial(backend.append, "s", []) for _ in range(8))
    )
    assert 3 <= sessions(admin, url) <= 6
    backend.close()
    eventually(lambda: sessions(admin, url) == 0)
    backend.probe()
    assert sessions(admin, url) == 1
    backend.close()


FORK = """
import os, sys, threading
from restive.backends.postgres import PostgresBackend
url = sys.argv[1]
backend = PostgresBackend(url, name="shop")
heard, woken = [], threading.Condition()
def listen(payload):
    with woken:
        heard.append(payload)
        woken.notify_all()
def until(payload):
    with woken:
        assert woken.wait_for(lambda: payload in heard, 15), heard
def sessions():
    lines = [backend._writer, *backend._readers._lines]
    connections = [line._connection for line in lines] + [backend._listening._feed._connection]
    return {connection.info.backend_pid for connection in connections if connection is not None}
backend.listen(listen)
backend.append("s", [b"parent"])
backend.load("r")
before = sessions()
child = os.fork()
if child == 0:
    heard.clear()
    try:
        assert "0 listeners" in repr(backend)
        backend.listen(listen)
        backend.append("s", [b"child"])
        assert backend.read("s").items == (b"parent", b"child")
        backend.announce(b"from the child")
        until(b"from the child")
        backend.load("r")
        assert len(sessions()) == 3 and not sessions() & before
        backend.close()
    except BaseException as error:
        print("child", repr(error), flush=True)
        os._exit(1)
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
until(b"from the child")
backend.announce(b"from the parent")
until(b"from the parent")
assert None not in heard, heard
backend.append("s", [b"parent"])
print(len(backend.read("s").items), sessions() == before)
backend.close()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_forked_child_opens_its_own_and_harms_none_of_the_parent(own: str):
    ended = subprocess.run(
        [sys.executable, "-c", FORK, own], capture_output=True, text=True, timeout=40, check=False
    )
    assert (ended.returncode, ended.stdout) == (0, "3 True\n"), ended.stdout + ended.stderr
    assert "Warning" not in ended.stderr
