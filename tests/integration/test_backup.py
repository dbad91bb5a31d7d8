"""subrelay backup: a whole copy while webhooks come in, or no copy at all."""

import json
import os
import shutil
import signal
import socket
import sqlite3
import stat
import subprocess
import threading

import harness
from harness import check, equal, wait_until


def whole(path):
    """A good copy's event ids, and nothing lies beside it."""
    folder, name = os.path.split(path)
    equal([other for other in os.listdir(folder) if other.startswith(name)], [name], "files")
    equal(stat.S_IMODE(os.stat(path).st_mode), 0o600, "mode")
    store = sqlite3.connect(f"file:{path}?immutable=1", uri=True)
    equal(store.execute("PRAGMA integrity_check").fetchall(), [("ok",)])
    ids = {row[0] for row in store.execute("SELECT event_id FROM event")}
    waiting, = store.execute("SELECT waiting FROM totals").fetchone()
    equal(store.execute("SELECT count(*) FROM job").fetchone(), (waiting,), "its totals fit")
    store.close()
    return ids


def nothing(path):
    folder, name = os.path.split(path)
    equal([other for other in os.listdir(folder) if other.startswith(name)], [], "files")


class Load(threading.Thread):
    """Posts without a pause and notes what was answered 200, in order."""

    def __init__(self, daemon, number):
        super().__init__(daemon=True)
        self.target = daemon
        self.number = number
        self.ends = threading.Event()
        self.accepted = []
        self.odd = []

    def run(self):
        http = self.target.http()
        for count in range(10**9):
            if self.ends.is_set():
                break
            event = harness.renewal(f"user-{self.number}-{count % 50}")
            answer = http.request("POST", "/webhooks/revenuecat", json.dumps(event),
                                  {"Authorization": harness.AUTHORIZATION})
            if answer.status != 200:
                self.odd.append(answer)
                break
            self.accepted.append(event["event"]["id"])
        http.close()


def start_backup(daemon, path, *options):
    """The command, running; its stderr is a pipe."""
    return harness.start_process(
        [harness.PROGRAM, "backup", "--socket", daemon.socket, *options, path],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=harness.clean_environment(), cwd=daemon.directory)


def fill(daemon, megabytes):
    """Grows the store with large bodies, quickly."""
    for number in range(megabytes * 2):
        daemon.accept(harness.renewal(f"filler-{number}", subscriber_attributes={
            "$note": {"value": "x" * 500000}}))


def test_under_load(t):
    """Each holds all that was answered before the command began; the last one goes on delivering."""
    standin = t.standin(light=True)
    standin.options(down="refuse")
    t.expect_log("level=warn", "level=error")
    daemon = t.daemon(standin)
    senders = [Load(daemon, number) for number in range(8)]
    for sender in senders:
        sender.start()
    for number in range(8):
        goal = sum(len(sender.accepted) for sender in senders) + 300
        wait_until(lambda goal=goal: sum(len(s.accepted) for s in senders) >= goal, 40)
        before = [event for sender in senders for event in list(sender.accepted)]
        path = t.path(f"copy-{number}.db")
        said = daemon.cli_json("backup", path)
        ids = whole(path)
        missing = set(before) - ids
        equal(len(missing), 0, f"missing of {len(before)} in the copy")
        equal((said["file"], said["events"], said["bytes"]),
              (path, len(ids), os.path.getsize(path)), "what it says")
    for sender in senders:
        sender.ends.set()
    for sender in senders:
        sender.join(60)
        equal(sender.odd, [], "answers while backups were made")
    equal(daemon.stop(), 0, "exit code")

    standin.options(down=False)
    other = t.daemon(standin, start=False)
    shutil.copy(path, other.store)
    os.chmod(other.store, 0o600)
    other.start()
    equal(other.status()["accepted"], len(ids))
    other.wait_idle(timeout=60)
    equal(standin.totals()["events"], len(ids), "events that the copy delivered")
    equal(other.post(harness.renewal()).json(), {"status": "accepted"})


def test_what_is_there_is_not_replaced(t):
    daemon = t.daemon()
    path = t.write("copy.db", "something dear")
    said = daemon.cli("backup", path, ok=1)
    check("is there already" in said.stderr.decode(), said.stderr.decode())
    with open(path, encoding="utf-8") as file:
        equal(file.read(), "something dear")
    check(not os.path.exists(path + ".part"), "FILE.part is left behind")
    daemon.cli("backup", path, "--force")
    equal(whole(path), set())
    os.mkdir(t.path("folder"))
    daemon.cli("backup", t.path("folder"), ok=1)
    daemon.cli("backup", "--force", t.path("folder"), ok=1)
    daemon.cli("backup", t.path("no/such/folder/copy.db"), ok=1)
    daemon.cli("backup", ok=2)
    # A .part of one that was killed is no obstacle, and a link there is not followed.
    dear = t.write("dear", "something dear")
    os.symlink(dear, t.path("other.db.part"))
    daemon.cli("backup", t.path("other.db"))
    whole(t.path("other.db"))
    with open(dear, encoding="utf-8") as file:
        equal(file.read(), "something dear")


def test_without_a_daemon_it_says_what_to_do(t):
    daemon = t.daemon()
    equal(daemon.stop(), 0, "exit code")
    said = daemon.cli("backup", t.path("copy.db"), ok=1).stderr.decode()
    check("no daemon answers" in said and "plain copy" in said, said)
    nothing(t.path("copy.db"))


def test_disk_full_leaves_no_file(t):
    daemon = t.daemon()
    fill(daemon, 5)
    path = t.path("copy.db")
    t.expect_log("a backup failed")
    # As a full disk, to the one process: files end at 1 MiB, and the signal for it is ignored.
    words = subprocess.run(
        ["sh", "-c", "trap '' XFSZ; ulimit -f 1024; exec \"$@\"", "sh", harness.PROGRAM, "backup",
         "--socket", daemon.socket, path], capture_output=True, timeout=60 * harness.PATIENCE,
        env=harness.clean_environment(), check=False)
    equal(words.returncode, 1, "exit code")
    check("File too large" in words.stderr.decode(), words.stderr.decode())
    nothing(path)
    daemon.cli("backup", path)
    equal(len(whole(path)), 10)


class HalfDaemon:
    """A control socket that begins to answer a backup, and then waits to be told how it goes on."""

    def __init__(self, t, name):
        self.path = t.path(name)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen(1)
        self.listener.settimeout(20 * harness.PATIENCE)
        self.directory = t.directory
        self.socket = self.path
        self.peer = None

    def begin(self):
        self.peer = self.listener.accept()[0]
        self.peer.recv(4096)
        self.peer.sendall(b'{"bytes":1000000}\n{"at":0,"size":8192}\n' + bytes(8192))

    def end(self, words=b""):
        self.peer.sendall(words)
        self.peer.close()


def half_backup(half, path):
    """The command in the middle of its work."""
    process = start_backup(half, path)
    half.begin()
    wait_until(lambda: os.path.exists(path + ".part") and os.path.getsize(path + ".part") == 8192, 20)
    return process


def check_failed(process, path, *words):
    said = process.communicate(timeout=60 * harness.PATIENCE)[1].decode()
    equal(process.returncode, 1, f"exit code: {said}")
    for word in words:
        check(word in said, said)
    nothing(path)


def test_interrupted_leaves_no_file(t):
    half = HalfDaemon(t, "half.sock")
    path = t.path("copy.db")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        process = half_backup(half, path)
        process.send_signal(number)
        check_failed(process, path, "interrupted")
    # After a kill -9 there is a .part, which nobody takes for a copy, and the next one replaces it.
    process = half_backup(half, path)
    process.kill()
    process.communicate(timeout=60)
    check(os.path.exists(path + ".part") and not os.path.exists(path), "files after kill -9")
    daemon = t.daemon()
    daemon.accept(harness.renewal())
    daemon.cli("backup", path)
    equal(len(whole(path)), 1)


def test_what_breaks_off_or_is_not_whole_leaves_no_file(t):
    half = HalfDaemon(t, "half.sock")
    path = t.path("copy.db")
    for end, words in ((b"", "broke off"), (b'{"at":8192,"size":8192}\nab', "broke off"),
                       (b'{"ok":false,"error":"the disk is sad"}\n', "the disk is sad"),
                       (b'{"at":-1,"size":8192}\n', "can't be understood"),
                       (b'{"at":999999,"size":8192}\n', "can't be understood"),
                       (b'{"at":0,"size":99999999999}\n', "can't be understood"),
                       (b"rubbish\n", "can't be understood"),
                       (b'{"ok":true}\n', "no SQLite database")):
        process = half_backup(half, path)
        half.end(end)
        check_failed(process, path, words)


def stuck_peer(daemon):
    """Asks for a backup, and takes only the beginning."""
    peer = socket.socket(socket.AF_UNIX)
    peer.settimeout(40 * harness.PATIENCE)
    peer.connect(daemon.socket)
    peer.sendall(b'{"verb":"backup"}\n')
    check(b'"bytes"' in peer.recv(100), "no backup began")
    return peer


def rest(peer):
    data = b""
    while True:
        try:
            more = peer.recv(1 << 20)
        except ConnectionError:
            more = b""
        if not more:
            return data
        data += more


def test_the_daemon_stops_or_dies_meanwhile(t):
    t.expect_log("a backup failed")
    daemon = t.daemon()
    fill(daemon, 5)
    for end in (daemon.stop, daemon.kill):
        peer = stuck_peer(daemon)
        end()
        check(b'"ok":true' not in rest(peer), "it says that the copy is whole")
        daemon.start()
    equal(daemon.status()["accepted"], 10)


def test_one_that_stands_still_holds_up_nobody(t):
    """Other commands and webhooks go on; a second backup is refused; what hangs is dropped after
    10 s."""
    t.expect_log("a backup failed")
    standin, daemon = t.both()
    fill(daemon, 5)
    peer = stuck_peer(daemon)
    daemon.accept(*[harness.renewal(f"user-{n}") for n in range(50)])
    daemon.wait_idle()
    said = daemon.cli("backup", t.path("second.db"), ok=1).stderr.decode()
    check("another backup is being made" in said, said)
    nothing(t.path("second.db"))
    daemon.wait_log("nobody takes the copy", timeout=30)
    check(b'"ok":true' not in rest(peer), "it says that the copy is whole")
    wait_until(lambda: daemon.cli("backup", t.path("third.db"), ok=None).returncode == 0, 20)
    equal(len(whole(t.path("third.db"))), 60)
    del standin


if __name__ == "__main__":
    harness.main()
