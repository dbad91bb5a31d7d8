"""What the integration tests stand on: the daemon, the Intercom stand-in, RevenueCat events, TAP.

A test file holds functions test_*(t) and ends with `harness.main()`. Each runs with a directory of its
own, in which t.standin(…) and t.daemon(…) start processes; everything is ended by its process id when
the test is over, however it ends. A test fails when it raises, and also when

  * the daemon logged a warning or an error that no t.expect_log("part of the line") announced,
  * the daemon did not end with 0 on SIGTERM,
  * the stand-in noted a violation (something Intercom would refuse), unless t.expect_violations().

Nothing here waits for a fixed time: wait_until polls a condition up to a deadline.

    SUBRELAY_BUILD=build PYTHONPATH=tests/support python3 tests/integration/test_relay.py [PATTERN]

SUBRELAY_UNDER="valgrind …" runs daemon and commands under that; what it prints about them, and its own
exit code, fail the test (see make valgrind).
"""

import atexit
import ctypes
import fnmatch
import http.client
import inspect
import itertools
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
import uuid
import zlib

BUILD = os.path.abspath(os.environ.get("SUBRELAY_BUILD", "build"))
PROGRAM = os.path.join(BUILD, "subrelay")
UNDER = shlex.split(os.environ.get("SUBRELAY_UNDER", ""))
STANDIN = os.path.join(BUILD, "tests/support/standin")
LOAD = os.path.join(BUILD, "tests/bench/load")
AUTHORIZATION = "Bearer test-webhook-secret"
TOKEN = "test-access-token"
# Sanitizers and busy machines are slow: one factor for every deadline.
PATIENCE = float(os.environ.get("SUBRELAY_PATIENCE", "1"))
TEST_SECONDS_MAX = 150


def _is_instrumented():
    if UNDER:
        return True
    try:
        with open(PROGRAM, "rb") as file:
            program = file.read()
    except FileNotFoundError:
        return False
    return b"__asan_init" in program or b"__tsan_init" in program


# Run by valgrind or built with a sanitizer: what it takes of memory is not the program's.
INSTRUMENTED = _is_instrumented()


class Failure(AssertionError):
    """A test's expectation that did not hold."""


class Skip(Exception):
    """Raised by a test that can't run here; says why."""


def check(condition, what):
    if not condition:
        raise Failure(what() if callable(what) else what)


def equal(got, wanted, what="value"):
    if got != wanted:
        raise Failure(f"{what}:\n      got {got!r}\n   wanted {wanted!r}")


def wait_until(condition, timeout=15, what=None, every=0.01):
    """Polls until condition() is true and returns what it returned; Failure after `timeout` seconds."""
    deadline = time.monotonic() + timeout * PATIENCE
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > deadline:
            raise Failure(f"not within {timeout} s: {what or inspect.getsource(condition).strip()}")
        time.sleep(every)


# ---- processes: each is ended by its own id ----

_processes = []


def _forget(process):
    if process in _processes:
        _processes.remove(process)


def _end_all():
    for process in list(_processes):
        try:
            process.kill()
            process.wait(5)
        except (OSError, subprocess.SubprocessError):
            pass
    _processes.clear()


def _die_with_parent():
    """In the child: the kernel kills it should this process vanish without atexit."""
    try:
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    except (OSError, AttributeError):
        pass


def start_process(command, **more):
    process = subprocess.Popen(command, preexec_fn=_die_with_parent, **more)
    _processes.append(process)
    return process


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


# ---- HTTP ----

class Answer:
    def __init__(self, status, headers, body):
        self.status = status
        self.headers = headers
        self.body = body

    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"<{self.status} {self.body[:200]!r}>"


class Http:
    """Keep-alive HTTP to one port. One thread at a time."""

    def __init__(self, port, timeout=20, tls=None):
        if tls:
            self.connection = http.client.HTTPSConnection(
                "127.0.0.1", port, timeout=timeout * PATIENCE, context=tls)
        else:
            self.connection = http.client.HTTPConnection(
                "127.0.0.1", port, timeout=timeout * PATIENCE)

    def request(self, method, path, body=None, headers=None):
        try:
            self.connection.request(method, path, body=body, headers=headers or {})
            response = self.connection.getresponse()
            return Answer(response.status, response.headers, response.read())
        except (OSError, http.client.HTTPException):
            self.connection.close()
            raise

    def close(self):
        self.connection.close()


def raw_request(method, path, body=b"", headers=None):
    """The bytes of a request, for sockets of one's own."""
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1"]
    sent = {"Content-Length": str(len(body))} if body or method in ("POST", "PUT") else {}
    sent.update(headers or {})
    lines += [f"{name}: {value}" for name, value in sent.items() if value is not None]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


def webhook_request(body, path="/webhooks/revenuecat", headers=None):
    sent = {"Authorization": AUTHORIZATION, "Content-Type": "application/json"}
    sent.update(headers or {})
    return raw_request("POST", path, body, sent)


class RawConnection:
    """A socket: send bytes, read one answer, see the end."""

    def __init__(self, port, timeout=20):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout * PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.pending = b""

    def send(self, data):
        self.socket.sendall(data)

    def read_answer(self):
        """One answer with Content-Length; None when the connection ended before it."""
        while b"\r\n\r\n" not in self.pending:
            if not self._more():
                return None
        head, rest = self.pending.split(b"\r\n\r\n", 1)
        lines = head.decode("latin-1").split("\r\n")
        headers = http.client.HTTPMessage()
        for line in lines[1:]:
            name, _, value = line.partition(":")
            headers[name] = value.strip()
        length = int(headers.get("Content-Length", "0"))
        while len(rest) < length:
            if not self._more():
                return None
            rest = self.pending.split(b"\r\n\r\n", 1)[1]
        self.pending = rest[length:]
        return Answer(int(lines[0].split(" ")[1]), headers, rest[:length])

    def _more(self):
        try:
            data = self.socket.recv(65536)
        except ConnectionError:
            return False
        self.pending += data
        return bool(data)

    def is_closed(self):
        """Waits for the peer's end (or the socket's timeout, which raises)."""
        while self._more():
            pass
        return True

    def close(self):
        self.socket.close()


# ---- the Intercom stand-in ----

class Standin:
    """build/tests/support/standin. Options: token, limit, window_ms, reset_offset_ms, delay_ms,
    no_headers, strict_attributes, light."""

    def __init__(self, **options):
        command = [STANDIN, "--port", "0"]
        for name, value in options.items():
            flag = "--" + name.replace("_", "-")
            if value is True:
                command.append(flag)
            elif value is not None and value is not False:
                command += [flag, str(value)]
        self.process = start_process(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.port = self._read_port("listening on")
        self.control_port = self._read_port("control on")
        self.url = f"http://127.0.0.1:{self.port}"
        self.http = Http(self.control_port)

    def _read_port(self, words):
        line = self.process.stdout.readline().decode()
        check(line.startswith(words), f"the stand-in said {line!r}")
        return int(line.rsplit(":", 1)[1])

    def control(self, method, what, value=None):
        body = None if value is None else json.dumps(value)
        answer = self.http.request(method, "/_standin/" + what, body)
        check(answer.status == 200, lambda: f"stand-in, {what}: {answer!r}")
        return answer.json()

    def rule(self, **rule):
        """One scripted fault: see standin_add_rules in tests/support/standin.h."""
        self.control("POST", "rules", rule)

    def clear_rules(self):
        self.control("DELETE", "rules")

    def contact(self, **preset):
        """Presets or changes a contact; returns its id."""
        return self.control("POST", "contact", preset)["id"]

    def attribute(self, name, data_type):
        self.control("POST", "attribute", {"name": name, "data_type": data_type})

    def options(self, **options):
        self.control("POST", "options", options)

    def reset(self):
        self.control("POST", "reset", {})

    def state(self):
        return self.control("GET", "state")

    def totals(self):
        return self.control("GET", "totals")

    def events(self, external_id=None):
        return [e for e in self.state()["events"]
                if external_id is None or e["external_id"] == external_id]

    def calls(self, *kinds, external_id=None):
        return [c for c in self.state()["calls"]
                if (not kinds or c["kind"] in kinds)
                and (external_id is None or c["external_id"] == external_id)]

    def attributes(self, external_id):
        """A contact's custom attributes; None when there is no such contact."""
        for contact in self.state()["contacts"]:
            if contact["external_id"] == external_id:
                return contact["custom_attributes"]
        return None

    def wait_events(self, count, timeout=20):
        """Until that many distinct events came; returns all of them."""
        try:
            wait_until(lambda: self.totals()["events"] >= count, timeout)
        except Failure:
            raise Failure(f"{self.totals()['events']} of {count} events came") from None
        events = self.state()["events"]
        equal(len(events), count, "number of events")
        return events

    def stop(self):
        self.http.close()
        if self.process.poll() is None:
            self.process.stdin.close()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(10)
        self.process.stdout.close()
        _forget(self.process)


# ---- the daemon ----

def _open_private(path, flags):
    return os.open(path, flags, 0o600)


_LEVEL = re.compile(r"\blevel=(warn|error)\b")
_SANITIZER = re.compile(r"AddressSanitizer|LeakSanitizer|ThreadSanitizer|runtime error:|Assertion .* failed"
                        r"|^==\d+== ")


def clean_environment(more=None):
    """The environment without anything that would steer a daemon or its journal output."""
    environment = {name: value for name, value in os.environ.items()
                   if not name.startswith(("SUBRELAY_", "LISTEN_"))
                   and name not in ("NOTIFY_SOCKET", "JOURNAL_STREAM", "CREDENTIALS_DIRECTORY",
                                    "WATCHDOG_USEC", "WATCHDOG_PID")}
    environment.update(more or {})
    return environment


class Daemon:
    """A subrelay with a configuration of its own.

    Keys are given as {"section.key": value}; a section with a name is "intercom.test.base_url"; None
    takes a default away. What is written besides is good for a fast test: tiny retry delays, a live
    workspace at the stand-in.
    """

    def __init__(self, test, standin=None, config=None, environment=None, name="subrelay"):
        self.test = test
        self.directory = os.path.join(test.directory, name)
        os.makedirs(self.directory, exist_ok=True)
        self.file = os.path.join(self.directory, "subrelay.ini")
        self.socket = os.path.join(self.directory, "control.sock")
        self.store = os.path.join(self.directory, "subrelay.db")
        self.stderr_file = os.path.join(self.directory, "stderr.log")
        self.stdout_file = os.path.join(self.directory, "stdout.log")
        self.port = free_port()
        self.environment = environment or {}
        self.tls = None
        self.process = None
        self.connection = None
        self.allowed_ends = {0}
        self.config = {
            "server.listen": f"127.0.0.1:{self.port}",
            "store.path": self.store,
            "control.socket": self.socket,
            "revenuecat.authorization": AUTHORIZATION,
            "delivery.retry_base": "20ms",
            "delivery.retry_cap": "200ms",
        }
        if standin:
            self.config["intercom.base_url"] = standin.url
            self.config["intercom.access_token"] = TOKEN
        self.config.update(config or {})
        self.write_config()

    def set(self, **values):
        """Changes keys (dots written as __: delivery__retry_base) and writes the file anew."""
        self.config.update({name.replace("__", "."): value for name, value in values.items()})
        self.write_config()

    def write_config(self):
        sections = {}
        for name, value in self.config.items():
            section, key = name.rsplit(".", 1)
            if value is not None:
                sections.setdefault(section, []).append(f"{key} = {value}")
        text = "".join(f"[{section}]\n" + "\n".join(lines) + "\n\n"
                       for section, lines in sections.items())
        # Secrets stand in it, so nobody else may read it.
        with open(self.file, "w", encoding="utf-8", opener=_open_private) as file:
            file.write(text)

    # -- life --

    def launch(self, command=None, **more):
        """Starts the process and does not wait for anything."""
        check(self.process is None or self.process.poll() is not None, "the daemon runs already")
        with open(self.stdout_file, "ab") as out, open(self.stderr_file, "ab") as err:
            self.process = start_process(
                command or [*UNDER, PROGRAM, "serve", "-c", self.file], stdin=subprocess.DEVNULL,
                stdout=out, stderr=err, cwd=self.directory,
                env=clean_environment(self.environment), **more)
        return self

    def start(self, **more):
        """Starts it and waits until /readyz says 200."""
        self.launch(**more)
        self.wait_ready()
        return self

    def wait_ready(self, timeout=20):
        def ready():
            check(self.process.poll() is None, lambda: "the daemon ended while starting with "
                  f"{self.process.returncode}:\n{self.stderr_tail()}")
            try:
                connection = Http(self.port, timeout=5, tls=self.tls)
                try:
                    return connection.request("GET", "/readyz").status == 200
                finally:
                    connection.close()
            except (OSError, http.client.HTTPException):
                return False
        wait_until(ready, timeout, "the daemon is ready")

    def signal(self, number):
        self.process.send_signal(number)

    def wait_end(self, timeout=30):
        try:
            return self.process.wait(timeout * PATIENCE)
        except subprocess.TimeoutExpired:
            raise Failure(f"the daemon did not end within {timeout} s") from None
        finally:
            if self.process.returncode is not None:
                _forget(self.process)

    def stop(self, timeout=30):
        """SIGTERM; returns the exit code."""
        self.disconnect()
        if self.is_running():
            self.signal(signal.SIGTERM)
        return self.wait_end(timeout)

    def kill(self):
        """kill -9."""
        self.disconnect()
        if self.is_running():
            self.process.kill()
        self.process.wait(30)
        _forget(self.process)

    def restart(self):
        self.stop()
        return self.start()

    def is_running(self):
        return self.process is not None and self.process.poll() is None

    def freeze(self):
        """SIGSTOP, and waits until the kernel says that it stands still."""
        self.signal(signal.SIGSTOP)

        def stopped():
            with open(f"/proc/{self.process.pid}/stat", encoding="ascii") as file:
                return file.read().rsplit(")", 1)[1].split()[0] in "Tt"
        wait_until(stopped, 5, "the daemon stands still")

    def thaw(self):
        self.signal(signal.SIGCONT)

    def rss_kb(self):
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as file:
            return int(re.search(r"VmRSS:\s+(\d+)", file.read()).group(1))

    # -- HTTP --

    def http(self, timeout=20):
        """A connection of one's own (for other threads, or to close it)."""
        return Http(self.port, timeout, self.tls)

    def raw(self, timeout=20):
        return RawConnection(self.port, timeout)

    def disconnect(self):
        if self.connection:
            self.connection.close()
            self.connection = None

    def request(self, method, path, body=None, headers=None):
        """Over the daemon's kept connection, opened anew should it have been closed meanwhile."""
        if not self.connection:
            self.connection = self.http()
        try:
            return self.connection.request(method, path, body, headers)
        except (ConnectionError, http.client.HTTPException):
            return self.connection.request(method, path, body, headers)

    def get(self, path):
        return self.request("GET", path)

    def post(self, event, path="/webhooks/revenuecat", authorization=AUTHORIZATION, headers=None):
        """A webhook: an event (dict) or raw bytes."""
        body = event if isinstance(event, bytes) else json.dumps(event).encode()
        sent = {"Content-Type": "application/json"}
        if authorization is not None:
            sent["Authorization"] = authorization
        sent.update(headers or {})
        return self.request("POST", path, body, sent)

    def accept(self, *events, **more):
        """Posts each and wants 200 accepted."""
        for event in events:
            answer = self.post(event, **more)
            check(answer.status == 200, lambda: f"answer to an event: {answer!r}")
            equal(answer.json(), {"status": "accepted"}, "answer to an event")

    # -- commands --

    def cli(self, *arguments, ok=True, stdin=None, socket_only=False, environment=None):
        """subrelay VERB … -c FILE; wants exit code 0 unless ok is another code, or None for any."""
        where = ["--socket", self.socket] if socket_only else ["-c", self.file]
        result = subprocess.run(
            [*UNDER, PROGRAM, arguments[0], *where, *arguments[1:]], input=stdin, capture_output=True,
            timeout=60 * PATIENCE, env=clean_environment(environment or self.environment),
            cwd=self.directory, check=False)
        wanted = 0 if ok is True else ok
        check(wanted is None or result.returncode == wanted,
              lambda: f"subrelay {' '.join(arguments)} ended with {result.returncode}, not {wanted}:\n"
              f"{result.stdout.decode()}{result.stderr.decode()}")
        return result

    def cli_json(self, *arguments, **more):
        return json.loads(self.cli(*arguments, "--json", **more).stdout)

    @staticmethod
    def cli_help():
        return subprocess.run([PROGRAM, "--help"], capture_output=True, timeout=60 * PATIENCE,
                              env=clean_environment(), check=True).stdout

    def status(self):
        return self.cli_json("status")

    def workspace(self, name=""):
        """The status of one workspace."""
        for workspace in self.status()["workspaces"]:
            if workspace["name"] in (name, "intercom" if not name else "intercom." + name):
                return workspace
        raise Failure(f"status tells nothing of workspace '{name}'")

    def wait_status(self, timeout=20, **wanted):
        """Until these numbers of `status` are as wanted."""
        def as_wanted():
            status = self.status()
            return all(status[name] == value for name, value in wanted.items()) and status
        try:
            return wait_until(as_wanted, timeout, every=0.05)
        except Failure:
            raise Failure(f"status never was {wanted}: {self.status()}") from None

    def wait_idle(self, timeout=30):
        """Until nothing waits for delivery."""
        return self.wait_status(timeout, waiting=0)

    # -- log --

    def stderr(self):
        try:
            with open(self.stderr_file, encoding="utf-8", errors="replace") as file:
                return file.read()
        except FileNotFoundError:
            return ""

    def stdout(self):
        with open(self.stdout_file, encoding="utf-8", errors="replace") as file:
            return file.read()

    def stderr_tail(self, lines=30):
        return "\n".join(self.stderr().splitlines()[-lines:])

    def wait_log(self, text, timeout=15):
        wait_until(lambda: text in self.stderr(), timeout, f"the log says '{text}'")

    def expect_log(self, *texts):
        """Warnings and errors that contain one of these are no failure of this test."""
        self.test.expect_log(*texts)

    def complaints(self):
        """Lines at level warn or error that were not expected, and a sanitizer's words."""
        return [line for line in self.stderr().splitlines()
                if _SANITIZER.search(line)
                or (_LEVEL.search(line) and not any(t in line for t in self.test.expected_log))]


class SocketUnit:
    """What systemd does for subrelay.socket and the service's Type=notify: it holds the listening socket
    over all restarts, passes it as descriptor 3 with LISTEN_PID the daemon's own id, and hears
    READY and STOPPING."""

    _BECOMES = ("import os, sys; os.dup2(int(sys.argv[1]), 3); os.set_inheritable(3, True); "
                "os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1'); "
                "os.execv(sys.argv[2], sys.argv[2:])")

    def __init__(self, test, daemon, backlog=4096):
        self.daemon = daemon
        self.listener = socket.socket()
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(backlog)
        daemon.port = self.listener.getsockname()[1]
        path = test.path("notify")
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notify.bind(path)
        self.notify.settimeout(20 * PATIENCE)
        daemon.environment = {**daemon.environment, "NOTIFY_SOCKET": path}

    def launch(self):
        fd = self.listener.fileno()
        self.daemon.launch([sys.executable, "-c", self._BECOMES, str(fd), PROGRAM, "serve", "-c",
                            self.daemon.file], pass_fds=(fd,))

    def wait_told(self, word):
        """Until the daemon said it, such as READY=1."""
        try:
            while word not in self.notify.recv(4096).decode().split("\n"):
                pass
        except TimeoutError:
            raise Failure(f"the daemon never said {word}:\n{self.daemon.stderr_tail()}") from None

    def start(self):
        self.launch()
        self.wait_told("READY=1")

    def restart(self, kill=False):
        """As `systemctl restart` does, or as Restart=always after a kill -9."""
        if kill:
            self.daemon.kill()
        else:
            equal(self.daemon.stop(), 0, "exit code")
            self.wait_told("STOPPING=1")
        self.start()

    def close(self):
        self.listener.close()
        self.notify.close()


# ---- RevenueCat events, of our own writing ----

_ticks = itertools.count()
_EPOCH_MS = (int(time.time()) - 20 * 86400) // 60 * 60 * 1000
DAY_MS = 86400 * 1000


def next_ms():
    """Event times: a minute apart, whole seconds, in the last weeks."""
    return _EPOCH_MS + next(_ticks) * 60 * 1000


def _digits(text, modulus):
    return zlib.crc32(text.encode()) % modulus


def event(kind, user="u1", at=None, **fields):
    """A webhook body with everything that a subscription event has. `fields` change or (with ...)
    remove what is there; `at` is event_timestamp_ms."""
    at = next_ms() if at is None else at
    inner = {
        "type": kind,
        "id": str(uuid.uuid4()).upper(),
        "event_timestamp_ms": at,
        "app_id": "app0123456789",
        "app_user_id": user,
        "original_app_user_id": user,
        "aliases": [user],
        "subscriber_attributes": {},
        "product_id": "reader_monthly",
        "period_type": "NORMAL",
        "purchased_at_ms": at - 2000,
        "expiration_at_ms": at - 2000 + 30 * DAY_MS,
        "environment": "PRODUCTION",
        "entitlement_ids": ["premium"],
        "entitlement_id": None,
        "presented_offering_id": None,
        "transaction_id": f"4000{_digits(user + str(at), 10**9):011d}",
        "original_transaction_id": f"4000{_digits(user, 10**9):011d}",
        "is_family_share": False,
        "country_code": "NL",
        "store": "APP_STORE",
        "currency": "EUR",
        "price": 0,
        "price_in_purchased_currency": 0,
        "tax_percentage": 0.1736,
        "commission_percentage": 0.2479,
        "takehome_percentage": 0.7,
        "offer_code": None,
        "renewal_number": 1,
        "metadata": None,
    }
    inner.update(fields)
    return {"api_version": "1.0",
            "event": {name: value for name, value in inner.items() if value is not ...}}


def initial_purchase(user="u1", **fields):
    return event("INITIAL_PURCHASE", user, **{"price": 10.5, **fields})


def trial_started(user="u1", **fields):
    return event("INITIAL_PURCHASE", user, **{"period_type": "TRIAL", **fields})


def trial_converted(user="u1", **fields):
    return event("RENEWAL", user, **{"is_trial_conversion": True, "price": 10.5, **fields})


def renewal(user="u1", **fields):
    return event("RENEWAL", user, **{"is_trial_conversion": False, "price": 10.5, **fields})


def cancellation(user="u1", reason="UNSUBSCRIBE", **fields):
    return event("CANCELLATION", user, **{"cancel_reason": reason, **fields})


def uncancellation(user="u1", **fields):
    return event("UNCANCELLATION", user, **fields)


def expiration(user="u1", reason="UNSUBSCRIBE", at=None, **fields):
    at = next_ms() if at is None else at
    return event("EXPIRATION", user, at, **{
        "expiration_reason": reason, "purchased_at_ms": at - 30 * DAY_MS,
        "expiration_at_ms": at - 5000, **fields})


def billing_issue(user="u1", **fields):
    return event("BILLING_ISSUE", user, **{"grace_period_expiration_at_ms": None, **fields})


def product_change(user="u1", **fields):
    return event("PRODUCT_CHANGE", user, **{"new_product_id": "reader_yearly", **fields})


def one_time_purchase(user="u1", **fields):
    return event("NON_RENEWING_PURCHASE", user, **{
        "product_id": "reader_single_issue", "expiration_at_ms": None, "price": 2.5, **fields})


def transfer(users_from, users_to, at=None, **fields):
    at = next_ms() if at is None else at
    inner = {"type": "TRANSFER", "id": str(uuid.uuid4()).upper(), "event_timestamp_ms": at,
             "app_id": "app0123456789", "store": "APP_STORE", "environment": "PRODUCTION",
             "transferred_from": users_from, "transferred_to": users_to}
    inner.update(fields)
    return {"api_version": "1.0", "event": inner}


def dashboard_test(**fields):
    """What the dashboard's button sends."""
    return event("TEST", "test_user", **{"environment": "SANDBOX", "entitlement_ids": None, **fields})


# ---- TAP ----

class Test:
    """What a test function gets."""

    def __init__(self, name, directory):
        self.name = name
        self.directory = directory
        self.daemons = []
        self.standins = []
        self.expected_log = []
        self.violations_expected = False

    def path(self, name):
        return os.path.join(self.directory, name)

    def write(self, name, content, mode=None):
        with open(self.path(name), "wb") as file:
            file.write(content if isinstance(content, bytes) else content.encode())
        if mode is not None:
            os.chmod(self.path(name), mode)
        return self.path(name)

    def standin(self, **options):
        standin = Standin(**{"token": TOKEN, **options})
        self.standins.append(standin)
        return standin

    def daemon(self, standin=None, config=None, start=True, **more):
        daemon = Daemon(self, standin, config, name=f"daemon{len(self.daemons) + 1}", **more)
        self.daemons.append(daemon)
        return daemon.start() if start else daemon

    def both(self, config=None, **options):
        """A stand-in and a running daemon that delivers to it."""
        standin = self.standin(**options)
        return standin, self.daemon(standin, config)

    def expect_log(self, *texts):
        self.expected_log += texts

    def expect_violations(self):
        self.violations_expected = True

    def _end(self):
        """Ends what still runs, and returns what is wrong with how it ran."""
        problems = []
        for daemon in self.daemons:
            if daemon.is_running():
                daemon.thaw()
                code = daemon.stop()
                if code not in daemon.allowed_ends:
                    problems.append(f"the daemon ended with {code} on SIGTERM")
            problems += [f"not expected in the log: {line}" for line in daemon.complaints()]
        for standin in self.standins:
            if standin.process.poll() is None and not self.violations_expected:
                standin.options(down=False)
                problems += [f"Intercom would refuse: {text}"
                             for text in standin.state()["violations"]]
            standin.stop()
        return problems

    def _abandon(self):
        for daemon in self.daemons:
            daemon.disconnect()
            if daemon.is_running():
                daemon.kill()
        for standin in self.standins:
            standin.stop()

    def _tails(self):
        return "".join(f"--- {daemon.stderr_file}\n{daemon.stderr_tail()}\n"
                       for daemon in self.daemons)


def _out_of_time(_number, _frame):
    raise Failure(f"the test took longer than {TEST_SECONDS_MAX} s")


def _run_one(name, function):
    """Returns None, the words of the failure, or a Skip."""
    directory = tempfile.mkdtemp(prefix="subrelay-integration-")
    test = Test(name, directory)
    signal.alarm(int(TEST_SECONDS_MAX * PATIENCE))
    try:
        function(test)
        problems = test._end()
        check(not problems, lambda: "\n".join(problems[:20]))
    except Skip as reason:
        signal.alarm(0)
        test._abandon()
        shutil.rmtree(directory, ignore_errors=True)
        return reason
    except Exception:  # whatever it is, the next test is to run
        signal.alarm(0)
        words = traceback.format_exc()
        try:
            test._abandon()
            words += test._tails()
        except Exception:
            words += traceback.format_exc()
        return words + f"--- kept: {directory}\n"
    finally:
        signal.alarm(0)
    shutil.rmtree(directory, ignore_errors=True)
    return None


def _exit_on_signal(number, _frame):
    sys.exit(128 + number)


def main():
    """Runs the test_* functions of the calling script."""
    signal.signal(signal.SIGTERM, _exit_on_signal)
    signal.signal(signal.SIGALRM, _out_of_time)
    script = sys.modules["__main__"]
    tests = [(name, function) for name, function in vars(script).items()
             if name.startswith("test_") and inspect.isfunction(function)
             and function.__module__ == "__main__"]
    patterns = sys.argv[1:]
    if patterns:
        tests = [(name, function) for name, function in tests
                 if any(fnmatch.fnmatch(name, f"*{pattern}*") for pattern in patterns)]
    print(f"1..{len(tests)}", flush=True)
    failed = 0
    for number, (name, function) in enumerate(tests, 1):
        began = time.monotonic()
        words = _run_one(name, function)
        took = time.monotonic() - began
        skipped = f" # SKIP {words}" if isinstance(words, Skip) else ""
        if words and not skipped:
            failed += 1
            sys.stderr.write(f"\n{name}: {words}")
            sys.stderr.flush()
        word = "not ok" if words and not skipped else "ok"
        print(f"{word} {number} - {name} ({took:.1f} s){skipped}", flush=True)
    _end_all()
    sys.exit(1 if failed else 0)


atexit.register(_end_all)
