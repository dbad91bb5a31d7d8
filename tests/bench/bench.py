"""Measures the real binary against the stand-in, both on this machine's cores, and prints a table.

Each figure is one run of its own (start, load, stop) with the log at `warn`; the load generator and the
stand-in share the cores with the daemon. Rates that matter are run three times, the median is shown.
Everything is loopback, bounded in number, and ended by its process id.
"""

import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time

import harness

WAITING = int(os.environ.get("BENCH_WAITING", "1000000"))
RUNS = int(os.environ.get("BENCH_RUNS", "3"))

CONFIG = """[server]
listen = 127.0.0.1:{port}
[store]
path = {folder}/relay.db
[intercom]
access_token = token
base_url = http://127.0.0.1:{intercom}
[revenuecat]
authorization = Bearer demo
[control]
socket = {folder}/control.sock
[log]
level = error
"""


class Relay:
    """A daemon whose store outlives restarts, and whose Intercom may be away (port 1)."""

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="subrelay-bench-")
        self.port = harness.free_port()
        self.process = None
        self.next_id = 1

    def start(self, intercom=1):
        path = os.path.join(self.folder, "bench.ini")
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(CONFIG.format(port=self.port, folder=self.folder, intercom=intercom))
        log = open(os.path.join(self.folder, "log"), "a")
        began = time.monotonic()
        self.process = harness.start_process(
            [harness.PROGRAM, "serve", "-c", path], stderr=log, env=harness.clean_environment())
        harness.wait_until(self.is_ready, 30, "the daemon is ready", every=0.005)
        return time.monotonic() - began

    def is_ready(self):
        try:
            return harness.Http(self.port, timeout=5).request("GET", "/readyz").status == 200
        except OSError:
            return False

    def stop(self):
        self.process.terminate()
        self.process.wait(60)

    def kill(self):
        self.process.kill()
        self.process.wait(60)

    def finish(self):
        if self.process.poll() is None:
            self.stop()
        shutil.rmtree(self.folder)

    def rss_mib(self):
        with open(f"/proc/{self.process.pid}/status") as file:
            for line in file:
                if line.startswith("VmRSS:"):
                    return int(line.split()[1]) / 1024
        return 0.0

    def status(self):
        said = subprocess.run(
            [harness.PROGRAM, "status", "--json", "--socket",
             os.path.join(self.folder, "control.sock")],
            check=True, capture_output=True, timeout=30)
        return json.loads(said.stdout)

    def load(self, **options):
        command = [harness.LOAD, "--port", str(self.port), "--start-id", str(self.next_id)]
        for key, value in options.items():
            command += ["--" + key.replace("_", "-"), str(value)]
        said = subprocess.run(command, check=True, capture_output=True, timeout=600)
        result = json.loads(said.stdout)
        self.next_id = result["next_id"]
        return result


def median(values):
    return statistics.median(values)


def row(what, figure, wanted):
    print(f"{what:<58} {figure:<34} {wanted}", flush=True)


def ingest():
    idle, rates, p99s = [], [], []
    for _ in range(RUNS):
        relay = Relay()
        relay.start()
        idle.append(relay.rss_mib())
        result = relay.load(connections=64, requests=60000)
        rates.append(result["acks_per_s"])
        p99s.append(result["p99_ms"])
        relay.finish()
    row("resident, idle and empty", f"{median(idle):.1f} MiB", "< 12 MiB")
    row("durable ingest, 64 connections, distinct customers",
        f"{median(rates):,.0f}/s, p99 {median(p99s):.1f} ms", ">= 11,000/s, p99 < 20 ms")
    return median(rates)


def drain(count, what, wanted, limit=None, **standin_options):
    relay = Relay()
    relay.start()
    relay.load(connections=64, requests=count)
    relay.stop()
    standin = harness.Standin(light=True, **standin_options)
    began = time.monotonic()
    relay.start(standin.port)
    # From the first call on: what the start took is not the drain's.
    harness.wait_until(lambda: standin.totals()["calls"] > 0, 30, "a call", every=0.005)
    first = standin.totals()["calls"]
    began = time.monotonic()
    harness.wait_until(
        lambda: relay.status()["waiting"] == 0
        or (limit is not None and time.monotonic() - began > limit),
        300, "the backlog is gone", every=0.05)
    took = time.monotonic() - began
    calls = standin.totals()["calls"] - first
    row(what, f"{calls / 2 / took:,.0f} events/s, {calls / took:,.0f} calls/s", wanted)
    relay.finish()
    standin.stop()


def both():
    rates, left = [], []
    for _ in range(RUNS):
        relay = Relay()
        standin = harness.Standin(light=True)
        relay.start(standin.port)
        result = relay.load(connections=64, seconds=5)
        left.append(relay.status()["waiting"])
        rates.append(result["acks_per_s"])
        relay.finish()
        standin.stop()
    row("in and out at once, two calls per event",
        f"{median(rates):,.0f} events/s, {median(left):,.0f} left over",
        ">= 6,000/s, no backlog growing")


def waiting(empty_rate):
    relay = Relay()
    relay.start()
    filled = relay.load(connections=64, requests=WAITING)
    row(f"filling the store with {WAITING:,} waiting events",
        f"{filled['acks_per_s']:,.0f}/s, p99 {filled['p99_ms']:.1f} ms", "")
    result = relay.load(connections=64, requests=60000)
    row(f"ingest while {WAITING:,} wait",
        f"{result['acks_per_s']:,.0f}/s = {100 * result['acks_per_s'] / empty_rate:.0f} %"
        f", p99 {result['p99_ms']:.1f} ms", ">= 60 % of the empty store's")
    row(f"resident while {WAITING:,} wait", f"{relay.rss_mib():.1f} MiB", "< 64 MiB")
    relay.kill()
    took = relay.start()
    row(f"kill -9 to ready with {WAITING:,} waiting", f"{took * 1000:.0f} ms", "< 1,000 ms")
    relay.finish()


def calls_per_event():
    standin = harness.Standin()
    relay = Relay()
    relay.start(standin.port)

    def cost(*events):
        before = standin.totals()["calls"]
        http = harness.Http(relay.port)
        for event in events:
            body = json.dumps(event).encode()
            answer = http.request("POST", "/webhooks/revenuecat", body,
                                  {"Authorization": "Bearer demo"})
            harness.equal(answer.status, 200)
        harness.wait_until(lambda: relay.status()["waiting"] == 0, 30, "delivered")
        return standin.totals()["calls"] - before

    new = cost(harness.initial_purchase())
    changed = cost(harness.cancellation())
    unchanged = cost(harness.event("PRODUCT_CHANGE"))
    row("calls: new customer / changed / unchanged", f"{new} / {changed} / {unchanged}", "2 / 2 / 1")
    relay.finish()
    standin.stop()


def main():
    print(f"{os.cpu_count()} cores, load and Intercom's stand-in on the same ones")
    row("", "measured", "wanted")
    empty_rate = ingest()
    drain(60000, "ordered drain, Intercom answers at once", ">= 7,000 events/s")
    drain(4000, "ordered drain, 150 ms answers, 32 connections",
          f">= {0.95 * 32 / 0.15:.0f} calls/s (95 % of 32 / 0.15 s)", limit=20, delay_ms=150)
    both()
    calls_per_event()
    if WAITING > 0:
        waiting(empty_rate)


main()
