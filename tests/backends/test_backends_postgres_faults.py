"""PostgreSQL that is killed, wiped, paused and cut off: nothing acknowledged is lost, and silence is told."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from uuid import uuid4

import psycopg
import pytest

from backends.backend_processes import eventually
from engines.postgres_server import PostgresServer
from restive.backends.port import LOST, Append, Record, Save
from restive.backends.postgres import PostgresBackend, feed
from restive.backends.postgres.commits import Batch
from restive.backends.postgres.connection import PatientConnection
from restive.errors import BackendUnavailable
from restive.testing import ENGINE_CHECKS, run_engine_check
from restive.testing.stores import Ear

Admin = psycopg.Connection


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A server for these tests alone, who harm it."""
    server = PostgresServer()
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture
def backend(server: PostgresServer) -> Iterator[PostgresBackend]:
    backend = PostgresBackend(server.url, name=uuid4().hex)
    yield backend
    backend.close()


@pytest.fixture
def admin(server: PostgresServer) -> Iterator[Admin]:
    with psycopg.connect(server.url, autocommit=True) as admin:
        yield admin


@pytest.mark.parametrize("check", ENGINE_CHECKS)
def test_postgres_stands_it(check: str, server: PostgresServer):
    run_engine_check(check, server)


# Connections that are lost


def terminate(admin: Admin, where: str = "true") -> None:
    """End the backends' connections, as an administrator or a failing network may."""
    admin.execute(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
        f" WHERE application_name = 'restive' AND {where}"
    )


def test_a_listening_connection_that_is_killed(
    server: PostgresServer, backend: PostgresBackend, admin: Admin, caplog: pytest.LogCaptureFixture
):
    peer = PostgresBackend(server.url + "?application_name=peer", name=backend.name)
    caplog.set_level(logging.INFO, "restive.backends")
    ear = Ear()
    backend.listen(ear)
    for n in range(5):
        backend.announce(b"before %d" % n)
        ear.until(b"before %d" % n)
        terminate(admin, "query LIKE '%heard_1%'")
        peer.announce(b"unheard %d" % n)
        eventually(lambda n=n: ear.heard.count(LOST) == n + 1)
        peer.announce(b"after %d" % n)
        ear.until(b"after %d" % n)
        at = ear.heard.index(LOST)
        assert b"unheard %d" % n not in ear.heard[:at]
    peer.close()
    assert caplog.text.count("cannot be reached") == 5
    assert caplog.text.count("is back") == 5


def test_idle_connections_that_were_killed_cost_no_call(backend: PostgresBackend, admin: Admin):
    version = backend.save("r", b"x", version=0)
    backend.load("r")
    for _ in range(3):
        terminate(admin)
        assert backend.load("r") == Record("r", b"x", version)
        version = backend.save("r", b"x", version=version)


def test_a_call_whose_answer_is_lost_is_not_repeated(backend: PostgresBackend, admin: Admin):
    """The connection is killed while the call waits for a lock: it raises, and nothing is done twice."""
    end = backend.append("s", [b"0"])
    with psycopg.connect(admin.info.dsn, password=admin.info.password) as holder:
        holder.execute("SELECT * FROM restive.streams FOR UPDATE")
        raised: list[Exception] = []

        def append() -> None:
            try:
                backend.append("s", [b"1"])
            except BackendUnavailable as error:
                raised.append(error)

        thread = threading.Thread(target=append)
        thread.start()
        waiting = "wait_event_type = 'Lock'"
        eventually(lambda: admin.execute(f"SELECT 1 FROM pg_stat_activity WHERE {waiting}").fetchone())
        terminate(admin, waiting)
        holder.rollback()
        thread.join(10)
    assert len(raised) == 1
    assert backend.read("s", end).items in {(), (b"1",)}
    backend.append("s", [b"2"])
    assert backend.read("s", end).items in {(b"2",), (b"1", b"2")}


def test_what_another_transaction_holds_is_waited_for_and_named(backend: PostgresBackend, admin: Admin):
    backend.append("held", [b"0"])
    with psycopg.connect(admin.info.dsn, password=admin.info.password) as holder:
        holder.execute("SELECT * FROM restive.streams FOR UPDATE")
        with pytest.raises(BackendUnavailable, match="another transaction holds"):
            backend.append("held", [b"1"])
        batches = [Batch([Append(name, [b"1"])], True) for name in ("held", "free")]
        backend._writing.do(batches, True)  # in one transaction, as threads that call at once
        holder.rollback()
    assert [type(batch.error) for batch in batches] == [BackendUnavailable, type(None)]
    assert backend.read("free").next == batches[1].results[0]
    backend.append("held", [b"2"])
    assert backend.read("held").items == (b"0", b"2")


def test_no_caller_gets_the_answer_of_a_call_that_was_given_up(server: PostgresServer, admin: Admin):
    """One that timed out, and one that was interrupted, while their answers were on the way."""
    backend = PostgresBackend(server.url, name=uuid4().hex, patience=0.3)
    for n in range(3):
        backend.save(f"r{n}", b"%d" % n, version=0)
    line = backend._readers._idle[-1]
    with pytest.raises(BackendUnavailable, match=r"no answer for 0\.3 s"):
        line.call(lambda connection: connection.execute("SELECT 'wrong', 1, pg_sleep(0.6)"))
    assert backend.load("r1") == backend.scan("r1")[0]

    def interrupted(connection: PatientConnection) -> None:
        connection.pgconn.send_query(b"SELECT 'wrong'::bytea, 1")
        raise KeyboardInterrupt

    for each in (backend._readers._idle[-1], backend._writer):
        with pytest.raises(KeyboardInterrupt):
            each.call(interrupted)
    for n in range(3):
        found = backend.load(f"r{n}")
        assert found is not None
        assert found.value == b"%d" % n
        backend.save(f"r{n}", b"x", version=found.version)
    backend.close()


def test_a_server_that_is_gone_and_back_is_said_once(
    server: PostgresServer, backend: PostgresBackend, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO, "restive.backends")
    ear = Ear()
    backend.listen(ear)
    version = backend.save("r", b"x", version=0)
    server.kill()
    for _ in range(2):
        for call in (backend.probe, lambda: backend.save("r", b"y", version=version)):
            with pytest.raises(BackendUnavailable, match=r"cannot be reached.*RESTIVE_BACKEND") as caught:
                call()
            assert server.password not in str(caught.value)
    server.start()
    eventually(lambda: LOST in ear.heard)
    assert backend.load("r") == Record("r", b"x", version)
    assert backend.save("r", b"y", version=version) > version
    eventually(lambda: "is back" in caplog.text)
    assert caplog.text.count("cannot be reached") == 1
    assert caplog.text.count("is back") == 1
    assert server.password not in caplog.text


def test_a_paused_server_is_given_up_by_every_call(server: PostgresServer):
    backend = PostgresBackend(server.url, name=uuid4().hex, patience=0.5)
    version = backend.save("r", b"x", version=0)
    backend.load("r")
    server.pause()
    try:
        for call in (
            lambda: backend.load("r"),
            backend.probe,
            lambda: backend.append("s", [b"x"]),
            lambda: backend.announce(b"x"),
            lambda: backend.listen(Ear()),
        ):
            with pytest.raises(BackendUnavailable, match="cannot be reached"):
                call()
    finally:
        server.resume()
    found = backend.load("r")
    assert found is not None
    assert (found.value, found.version) == (b"x", version)
    backend.close()


# What others write


def test_without_notify_it_asks_and_says_so(
    backend: PostgresBackend, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    """As behind a pool that gives LISTEN to one server connection and the waiting to none."""
    execute = PatientConnection.execute

    def deaf(connection: PatientConnection, query, *rest, **options):
        return execute(connection, "SELECT 1" if "LISTEN" in str(query) else query, *rest, **options)

    monkeypatch.setattr(PatientConnection, "execute", deaf)
    monkeypatch.setattr(feed, "HEARTBEAT", 0.1)
    ear = Ear()
    backend.listen(ear)
    for n in range(feed.UNHERALDED + 2):
        backend.announce(b"%d" % n)
        ear.until(b"%d" % n)
    assert LOST not in ear.heard
    assert caplog.text.count("NOTIFY does not arrive") == 1
    assert "listen=" in caplog.text


def test_polling_hears_all(server: PostgresServer):
    backend = PostgresBackend(server.url + "?listen=poll", name=uuid4().hex)
    ear = Ear()
    backend.listen(ear)
    sent = [b"%d" % n for n in range(50)]
    for payload in sent:
        backend.announce(payload)
    assert ear.until(b"49") == sent
    backend.close()


def test_announcements_that_are_gone_become_lost(
    backend: PostgresBackend, admin: Admin, monkeypatch: pytest.MonkeyPatch
):
    ear = Ear()
    backend.listen(ear)
    backend.announce(b"first")
    ear.until(b"first")
    app = (backend.name.encode(),)
    with admin.transaction():
        admin.execute("UPDATE restive.apps SET heard = heard + 3 WHERE app = %b", app)
        admin.execute("DELETE FROM restive.announcements WHERE app = %b", app)
    backend.announce(b"second")
    ear.until(b"second")
    assert ear.heard == [b"first", LOST, b"second"]
    with admin.transaction():
        admin.execute("DELETE FROM restive.apps WHERE app = %b", app)
        admin.execute("DELETE FROM restive.announcements WHERE app = %b", app)
    backend.announce(b"third")
    ear.until(b"third")
    assert ear.heard.count(LOST) >= 2
    with admin.transaction():
        admin.execute("UPDATE restive.apps SET heard = heard - 1 WHERE app = %b", app)
        admin.execute("DELETE FROM restive.announcements WHERE app = %b", app)
    lost = ear.heard.count(LOST)
    eventually(lambda: ear.heard.count(LOST) == lost + 1)


def test_who_is_behind_what_is_pruned_gets_lost(backend: PostgresBackend, admin: Admin):
    heard, go_on = Ear(), threading.Event()

    def slow(payload: bytes | None) -> None:
        heard(payload)
        go_on.wait(30)

    backend.listen(slow)
    backend.announce(b"first")
    heard.until(b"first")
    admin.execute(
        "SELECT restive.announce_1(%b, %s, array_agg(n::text::bytea)) FROM generate_series(1, 12000) n",
        (backend.name.encode(), backend._listening._channel),
    )
    backend.announce(b"last")
    go_on.set()
    heard.until(b"last")
    assert heard.heard[:2] == [b"first", LOST]
    assert heard.heard[2] == b"%d" % (12_000 - len(heard.heard) + 4)
    rows = admin.execute(
        "SELECT count(*) FROM restive.announcements WHERE app = %b", (backend.name.encode(),)
    )
    assert rows.fetchone() < (10_300,)


def test_a_foreign_notification_harms_nobody(backend: PostgresBackend, admin: Admin):
    ear = Ear()
    backend.listen(ear)
    for payload in ("", "nonsense", "99999999999999999999", "x" * 7000):
        admin.execute("SELECT pg_notify(%s, %s)", (backend._listening._channel, payload))
    backend.announce(b"heard")
    assert ear.until(b"heard") == [b"heard"]
    assert LOST not in ear.heard


def test_a_foreign_record_is_a_clear_error(backend: PostgresBackend, admin: Admin):
    backend.apply([Save("a", b"1"), Save("z", b"2")])
    row = (backend.name.encode(), b"\xff\xfe")
    admin.execute("INSERT INTO restive.records VALUES (%b, %b, 1, '')", row)
    with pytest.raises(BackendUnavailable, match="not Restive's"):
        backend.scan("")
    assert [record.name for record in backend.scan("a")] == ["a"]


def test_items_that_somebody_deleted_are_not_skipped(backend: PostgresBackend, admin: Admin):
    end = backend.append("s", [b"%d" % n for n in range(10)])
    admin.execute(
        "DELETE FROM restive.items WHERE stream = (SELECT max(id) FROM restive.streams) AND position = 5"
    )
    with pytest.raises(BackendUnavailable, match="lost items"):
        backend.read("s")
    assert backend.read("s", limit=5).items == (b"0", b"1", b"2", b"3", b"4")
    assert backend.read("s", end).up_to_date
