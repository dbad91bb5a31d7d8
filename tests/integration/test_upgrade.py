"""Files of older versions are brought up to date in place; what isn't ours, isn't whole or comes from the
future is refused in words, and left as it is.

tests/support/schema/N.sql is a database that schema N made, with rows in every table; see
dump_schema.py beside it, which has to be run once for each version.
"""

import hashlib
import os
import sqlite3
import struct

import harness
from harness import check, equal

DUMPS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support/schema")


def versions():
    return sorted(int(name[:-4]) for name in os.listdir(DUMPS) if name.endswith(".sql"))


def load(version, path):
    """The database that this version made."""
    with open(os.path.join(DUMPS, f"{version}.sql"), encoding="utf-8") as file:
        store = sqlite3.connect(path)
        store.executescript("PRAGMA page_size = 8192;" + file.read())
        store.close()


def pragma(path, name):
    store = sqlite3.connect(path)
    try:
        return store.execute(f"PRAGMA {name}").fetchone()[0]
    finally:
        store.close()


def tables(store):
    return [row[0] for row in store.execute(
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")]


def shape(path):
    """Tables with their columns, and indexes with theirs."""
    store = sqlite3.connect(path)
    columns = {table: [row[1:] for row in store.execute(f"PRAGMA table_info({table})")]
               for table in tables(store)}
    indexes = {row[0]: [column[2] for column in store.execute(f"PRAGMA index_info({row[0]})")]
               for row in store.execute("SELECT name FROM sqlite_schema WHERE type = 'index'")}
    store.close()
    return columns, indexes


def fresh_store(t):
    """The path of a database that this build made, with nothing in it."""
    daemon = t.daemon()
    equal(daemon.stop(), 0, "exit code")
    return daemon.store


def files(daemon):
    """The files of its store, the lock apart, and a hash of each."""
    found = {}
    for name in sorted(os.listdir(daemon.directory)):
        path = os.path.join(daemon.directory, name)
        if name.startswith("subrelay.db") and not name.endswith("-lock") and os.path.isfile(path):
            with open(path, "rb") as file:
                found[name] = hashlib.sha256(file.read()).hexdigest()
    return found


def check_refused(t, make, *words):
    """It ends with 1 and says these words, and every byte is as it was."""
    t.expect_log("level=error")
    daemon = t.daemon(start=False)
    make(daemon.store)
    before = files(daemon)
    daemon.launch()
    equal(daemon.wait_end(), 1, f"exit code:\n{daemon.stderr_tail()}")
    for word in (daemon.store, *words):
        check(word in daemon.stderr(), lambda word=word: f"'{word}' is missing in:\n{daemon.stderr()}")
    equal(files(daemon), before, "the files after it was refused")


def test_every_version_has_its_dump(t):
    newest = pragma(fresh_store(t), "user_version")
    equal(versions(), list(range(1, newest + 1)),
          "tests/support/schema: run tests/support/dump_schema.py for the new version")
    for version in versions():
        path = t.path(f"{version}.db")
        load(version, path)
        equal(pragma(path, "user_version"), version)
        store = sqlite3.connect(path)
        empty = [table for table in tables(store)
                 if not store.execute(f"SELECT count(*) FROM {table}").fetchone()[0]]
        store.close()
        equal(empty, [], f"tables of {version}.sql without a row")


def test_each_version_is_migrated_in_place(t):
    t.expect_log("level=warn", "level=error")
    fresh = fresh_store(t)
    for version in versions():
        standin = t.standin()
        daemon = t.daemon(standin, start=False, config={"store.keep_delivered": "forever"})
        load(version, daemon.store)
        store = sqlite3.connect(daemon.store)
        bodies = dict(store.execute("SELECT event_id, body FROM event"))
        waiting = dict(store.execute("SELECT event_id, count(*) FROM job GROUP BY event_id"))
        parked = [row[0] for row in store.execute("SELECT event_id FROM parked")]
        names = ("received", "accepted", "duplicate", "ignored", "delivered", "parked", "waiting")
        totals, = store.execute(f"SELECT {', '.join(names)} FROM totals")
        store.close()

        standin.options(down="refuse")
        daemon.start()
        status = daemon.status()
        equal([status[name] for name in names], list(totals), f"totals of a {version}")
        listed = daemon.cli_json("events", "--limit", "10000")
        equal({row["event_id"] for row in listed}, set(bodies), "events")
        equal({row["id"] for row in listed if row["state"] == "waiting"}, set(waiting), "what waits")
        equal([row["id"] for row in listed if row["state"] == "parked"], parked, "what is parked")
        for event_id, body in bodies.items():
            equal(daemon.post(body.encode() if isinstance(body, str) else body).json(),
                  {"status": "duplicate"}, f"the same again: {event_id}")
        standin.options(down=False)
        daemon.wait_status(waiting=0, timeout=60)
        equal(daemon.status()["parked"], len(parked))
        daemon.cli("retry", "--all-parked")
        daemon.accept(harness.renewal("ann"))
        daemon.wait_status(waiting=0, parked=0, timeout=60)
        equal(len(standin.events()), len(waiting) + len(parked) + 1, "events that arrived")
        equal(daemon.stop(), 0, "exit code")

        equal(shape(daemon.store), shape(fresh), f"tables of a migrated {version}")
        equal(pragma(daemon.store, "user_version"), pragma(fresh, "user_version"))
        equal(pragma(daemon.store, "integrity_check"), "ok")


def test_one_from_the_future_is_refused(t):
    newest = pragma(fresh_store(t), "user_version")

    def make(path):
        load(newest, path)
        store = sqlite3.connect(path)
        store.execute(f"PRAGMA application_id = {0x73756272}")
        store.execute(f"PRAGMA user_version = {newest + 1}")
        store.close()

    def make_wal(path):
        make(path)
        store = sqlite3.connect(path)
        store.execute("PRAGMA journal_mode = WAL")
        store.close()

    def make_killed(path):
        """Which version it is stands in the log alone, as after a kill -9."""
        load(newest, path + "-other")
        store = sqlite3.connect(path + "-other")
        store.execute("PRAGMA journal_mode = WAL")
        store.execute("PRAGMA wal_autocheckpoint = 0")
        store.execute(f"PRAGMA application_id = {0x73756272}")
        store.execute(f"PRAGMA user_version = {newest + 1}")
        for end in ("", "-wal", "-shm"):
            with open(path + "-other" + end, "rb") as old, open(path + end, "wb") as new:
                new.write(old.read())
        store.close()
        os.remove(path + "-other")
    for how in (make, make_wal):
        check_refused(t, how, f"schema {newest + 1}", f"knows schema {newest}",
                      "newer", "left as it is")
    daemon = t.daemon(start=False)
    make_killed(daemon.store)
    before = files(daemon)
    daemon.launch()
    equal(daemon.wait_end(), 1, "exit code")
    check(f"schema {newest + 1}" in daemon.stderr(), daemon.stderr())
    for name in ("subrelay.db", "subrelay.db-wal"):  # -shm is memory, in a file
        equal(files(daemon)[name], before[name], name)


def somebody_elses(path, *statements):
    store = sqlite3.connect(path)
    for statement in statements:
        store.execute(statement)
    store.commit()
    store.close()


def test_other_databases_are_refused(t):
    check_refused(t, lambda path: somebody_elses(path, "CREATE TABLE song (title TEXT)"),
                  "not one of subrelay's", "left as it is")
    check_refused(t, lambda path: somebody_elses(
        path, "CREATE TABLE song (title TEXT)", "PRAGMA user_version = 1"), "not one of subrelay's")
    check_refused(t, lambda path: somebody_elses(
        path, "CREATE TABLE song (title TEXT)", "PRAGMA journal_mode = WAL"), "not one of subrelay's")
    check_refused(t, lambda path: somebody_elses(
        path, "CREATE TABLE event (id TEXT)", "PRAGMA application_id = 4711"), "not one of subrelay's")


def write(path, data):
    with open(path, "wb") as file:
        file.write(data)


def test_what_is_no_database_is_refused(t):
    check_refused(t, lambda path: write(path, b"this is no database, it only looks like a file\n" * 200),
                  "no SQLite database")
    check_refused(t, lambda path: write(path, b"SQLite"), "no SQLite database")
    check_refused(t, os.mkdir, "a directory")
    check_refused(t, os.mkfifo, "not a file")

    def empty_with_log(path):
        write(path, b"")
        write(path + "-wal", b"\x37\x7f\x06\x82" + bytes(5000))
    check_refused(t, empty_with_log, "empty", "-wal")


def test_an_empty_file_is_a_new_one(t):
    """It is what a kill in the first moment of all leaves."""
    daemon = t.daemon(start=False)
    write(daemon.store, b"")
    daemon.start()
    daemon.accept(harness.renewal())
    equal(daemon.stop(), 0, "exit code")
    equal(pragma(daemon.store, "application_id"), 0x73756272)


def test_damaged_ones_are_refused(t):
    whole = t.path("whole.db")
    load(versions()[-1], whole)
    with open(whole, "rb") as file:
        data = file.read()
    check_refused(t, lambda path: write(path, data[:len(data) // 2]), "damaged", "backup")
    check_refused(t, lambda path: write(path, data[:8192 + 100]), "damaged", "backup")
    check_refused(t, lambda path: write(path, data[:100] + os.urandom(8092) + data[8192:]), "damaged")


def answers(daemon):
    try:
        return daemon.get("/healthz").status == 200
    except OSError:
        return False


def test_garbage_in_any_page_is_no_crash(t):
    """Each page in turn is rubbish. It may refuse to start, and what it can't store it answers with 503;
    but it never dies of it, and never says 200 to what it then doesn't have."""
    t.expect_log("level=warn", "level=error")
    whole = t.path("whole.db")
    load(versions()[-1], whole)
    with open(whole, "rb") as file:
        data = file.read()
    size = struct.unpack(">H", data[16:18])[0]
    refused = served = failed = 0  # to start; 200; 503
    daemon = t.daemon(start=False, config={"store.keep_delivered": "forever"})
    daemon.allowed_ends = {0, 1}
    for page in range(1, len(data) // size):
        rubbish = bytes((page * 31 + i * 7) % 251 for i in range(size))
        write(daemon.store, data[:page * size] + rubbish + data[(page + 1) * size:])
        daemon.launch()
        harness.wait_until(lambda: not daemon.is_running() or os.path.exists(daemon.socket), 20)
        if daemon.is_running():
            harness.wait_until(lambda: not daemon.is_running() or answers(daemon), 20)
        if not daemon.is_running():
            equal(daemon.wait_end(), 1, f"exit code with page {page + 1} damaged")
            refused += 1
            continue
        event = harness.renewal("ann")
        answer = daemon.post(event)
        check(answer.status in (200, 503), lambda: f"page {page + 1}: {answer!r}")
        served += answer.status == 200
        failed += answer.status == 503
        daemon.cli("status", ok=None)
        daemon.cli("events", ok=None)
        equal(daemon.stop(), 0, f"exit code with page {page + 1} damaged")
        if answer.status == 200:
            store = sqlite3.connect(daemon.store)
            equal(store.execute("SELECT event_id FROM event, totals WHERE event.id = last_event_id"
                                ).fetchone(), (event["event"]["id"],), "it was answered 200")
            store.close()
    check(refused + served + failed > 10, f"refused {refused}, served {served}, failed {failed}")
    check(served > 0, "none was served: too little is tried")


if __name__ == "__main__":
    harness.main()
