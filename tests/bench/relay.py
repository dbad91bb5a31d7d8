"""What the measuring programs share: a daemon that outlives restarts, and rows of a table."""

import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time

import harness

CONFIG = """[server]
listen = 127.0.0.1:{port}
[store]
path = {folder}/relay.db
{store}
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

    def start(self, intercom=1, store=""):
        path = os.path.join(self.folder, "bench.ini")
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(CONFIG.format(port=self.port, folder=self.folder, intercom=intercom,
                                     store=store))
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
        said = subprocess.run(command, check=True, capture_output=True, timeout=3600)
        result = json.loads(said.stdout)
        self.next_id = result["next_id"]
        return result


def median(values):
    return statistics.median(values)


def row(what, figure, wanted):
    print(f"{what:<58} {figure:<34} {wanted}", flush=True)
