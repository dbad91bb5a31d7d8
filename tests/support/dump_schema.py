"""Writes tests/support/schema/N.sql: a database of the schema that this build makes, with rows in every
table, as text. Run once for each version of the schema, when it is released:

    SUBRELAY_BUILD=build python3 tests/support/dump_schema.py

tests/integration/test_upgrade.py migrates each of them, and fails when a version has none.
"""

import os
import sqlite3
import sys
import tempfile

import harness

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "schema")


def fill(test):
    """Delivered, ignored, parked and waiting events, a transfer, attempts, a known contact."""
    standin = test.standin()
    daemon = test.daemon(standin)
    daemon.accept(harness.trial_started("ann"), harness.trial_converted("ann"),
                  harness.initial_purchase("bob"), harness.transfer(["bob"], ["cleo"]))
    daemon.post(harness.dashboard_test())
    daemon.wait_idle()
    standin.rule(path="/events", status=400, code="parameter_invalid", message="no", times=1)
    daemon.accept(harness.renewal("ann"))
    daemon.wait_status(parked=1)
    standin.options(down="refuse")
    daemon.accept(*[harness.renewal(user) for user in ("ann", "ann", "cleo", "dora")])
    harness.wait_until(lambda: "verdict=hold" in daemon.stderr(), 20)
    daemon.stop()
    return daemon.store


def main():
    folder = tempfile.mkdtemp(prefix="subrelay-schema-")
    test = harness.Test("dump", folder)
    store = sqlite3.connect(fill(test))
    version, = store.execute("PRAGMA user_version").fetchone()
    application_id, = store.execute("PRAGMA application_id").fetchone()
    path = os.path.join(FOLDER, f"{version}.sql")
    if os.path.exists(path):
        sys.exit(f"{path} is there already, and a released version never changes")
    os.makedirs(FOLDER, exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(f"-- A database that schema {version} made; see dump_schema.py.\n"
                   f"PRAGMA application_id = {application_id};\nPRAGMA user_version = {version};\n")
        file.writelines(line + "\n" for line in store.iterdump())
    for standin in test.standins:
        standin.stop()
    print(path)


if __name__ == "__main__":
    main()
