"""The configuration: every problem told with its line, secrets from where they may be, reload."""

import os
import signal
import subprocess

import harness
from harness import check, equal, wait_until


def problems(t, text, environment=None):
    """What `subrelay check` says of a file; it must find something."""
    path = t.write("some.ini", text)
    result = subprocess.run([harness.PROGRAM, "check", "-c", path], capture_output=True, timeout=60,
                            env=harness.clean_environment(environment), check=False)
    equal(result.returncode, 1, f"exit code for {text!r}")
    return path, (result.stdout + result.stderr).decode()


def base(**more):
    lines = {"authorization": harness.AUTHORIZATION}
    lines.update(more)
    return "[revenuecat]\n" + "".join(f"{key} = {value}\n" for key, value in lines.items())


def test_check_accepts(t):
    daemon = t.daemon(start=False)
    daemon.cli("check")


def test_check_reports_file_and_line(t):
    cases = [
        (base() + "[server]\n\nlistn = 127.0.0.1:1\n", 5, "listen"),
        (base() + "[sevrer]\nlisten = 127.0.0.1:1\n", 3, "server"),
        (base() + "[server]\nlisten = nowhere\n", 4, "nowhere"),
        (base() + "[server]\nbody_max = 1 elephant\n", 4, "elephant"),
        (base() + "[server]\nrequest_timeout = 10\n", 4, "10"),
        (base() + "[delivery]\nworkers = 0\n", 4, "workers"),
        (base() + "[delivery]\nworkers = 100000\n", 4, "workers"),
        (base() + "[delivery]\nrate_limit = fast\n", 4, "fast"),
        (base() + "[intercom]\nregion = mars\n", 4, "mars"),
        (base() + "[intercom]\nmode = wet-run\n", 4, "wet-run"),
        (base() + "[intercom]\nbase_url = http://api.example.com\n", 4, "base_url"),
        (base() + "[event_names]\nrenewall = x\n", 4, "renewal"),
        (base() + "[attributes]\nexpires = x\n", 4, "expires"),
        (base(identify="name"), 3, "identify"),
        (base(anonymous="maybe"), 3, "maybe"),
        (base() + "[log]\nlevel = loud\n", 4, "loud"),
        (base() + "what is this\n", 3, ""),
    ]
    for text, line, word in cases:
        path, said = problems(t, text)
        check(f"{path}:{line}:" in said, f"no {path}:{line}: in what is said of {text!r}:\n{said}")
        check(word in said, f"no '{word}' in what is said of {text!r}:\n{said}")


def test_check_reports_all_at_once(t):
    path, said = problems(t, "[server]\nlistn = x\nbody_max = y\n[log]\nlevel = z\n[nowhere]\na = b\n"
                       "[revenuecat]\n")
    for line in (2, 3, 5, 6):
        check(f"{path}:{line}:" in said, f"no line {line} in:\n{said}")
    check("authorization" in said, f"the missing secret isn't told:\n{said}")
    check("did you mean" in said.lower(), said)


def test_missing_secret(t):
    for text in ("[revenuecat]\n", "[revenuecat]\nauthorization =\n"):
        said = problems(t, text)[1]
        check("authorization" in said, said)
    said = problems(t, "")[1]
    check("[revenuecat]" in said, f"no source at all:\n{said}")
    said = problems(t, base(sandbox="test"))[1]
    check("test" in said, f"a workspace that isn't there:\n{said}")


def test_missing_file(t):
    result = subprocess.run([harness.PROGRAM, "check", "-c", t.path("none.ini")], capture_output=True,
                            timeout=60, env=harness.clean_environment(), check=False)
    equal(result.returncode, 1)
    check(b"none.ini" in result.stdout + result.stderr, "doesn't name the file")


def test_serve_refuses_what_check_refuses(t):
    t.expect_log("level=error", "level=warn")
    daemon = t.daemon(start=False, config={"server.listn": "x"})
    daemon.launch()
    equal(daemon.wait_end(), 1, "exit code")
    check("subrelay.ini:" in daemon.stderr(), daemon.stderr())
    check(not os.path.exists(daemon.store), "it made a store all the same")


def test_secrets_never_show(t):
    secret = "a-secret-that-must-not-show"
    said = problems(t, f"[revenuecat]\nauthorization = {secret}\nauthorization_file = x\n")[1]
    check(secret not in said, said)
    said = problems(t, f"[intercom]\naccess_token = {secret}\nregion = mars\n")[1]
    check(secret not in said, said)
    standin = t.standin(token=secret)
    daemon = t.daemon(standin, config={"intercom.access_token": secret, "log.level": "debug"})
    daemon.accept(harness.renewal())
    standin.wait_events(1)
    daemon.stop()
    check(secret not in daemon.stderr() + daemon.stdout(), "the token is in the log")
    check(harness.AUTHORIZATION not in daemon.stderr() + daemon.stdout(), "the secret is in the log")


def test_environment_overrides(t):
    standin = t.standin()
    daemon = t.daemon(standin, config={"revenuecat.authorization": None,
                                       "intercom.access_token": "wrong"},
                      environment={"SUBRELAY_REVENUECAT_AUTHORIZATION": "from the environment",
                                   "SUBRELAY_INTERCOM_ACCESS_TOKEN": harness.TOKEN,
                                   "SUBRELAY_EVENT_NAMES_RENEWAL": "renewed"})
    daemon.accept(harness.renewal(), authorization="from the environment")
    equal(standin.wait_events(1)[0]["event_name"], "renewed")
    said = problems(t, base(), {"SUBRELAY_DELIVERY_WORKERS": "many"})[1]
    check("SUBRELAY_DELIVERY_WORKERS" in said, said)


def test_environment_of_a_named_section(t):
    live, test = t.standin(), t.standin(token="token of the test workspace")
    daemon = t.daemon(live, config={"revenuecat.sandbox": "test", "intercom.test.base_url": test.url},
                      environment={"SUBRELAY_INTERCOM_TEST_ACCESS_TOKEN": "token of the test workspace"})
    daemon.accept(harness.renewal(environment="SANDBOX"))
    test.wait_events(1)


def test_secrets_from_files(t):
    standin = t.standin()
    secret = t.write("authorization", "from a file\n", 0o600)
    credentials = t.path("credentials")
    os.mkdir(credentials)
    t.write("credentials/intercom-token", harness.TOKEN + "\n", 0o600)
    daemon = t.daemon(standin, config={
        "revenuecat.authorization": None, "revenuecat.authorization_file": secret,
        "intercom.access_token": None, "intercom.access_token_file": "intercom-token"},
        environment={"CREDENTIALS_DIRECTORY": credentials})
    equal(daemon.post(harness.renewal(), authorization="from a file\n".strip()).status, 200)
    standin.wait_events(1)
    said = problems(t, "[revenuecat]\nauthorization_file = /no/such/file\n")[1]
    check("/no/such/file" in said and "some.ini:2:" in said, said)


def test_reload(t):
    standin, daemon = t.both()
    daemon.accept(harness.renewal())
    standin.wait_events(1)
    daemon.set(event_names__renewal="renewed_again", revenuecat__authorization="another")
    daemon.signal(signal.SIGHUP)
    wait_until(lambda: daemon.post(b"{}", authorization="another").status == 400, 15, "is reloaded")
    equal(daemon.post(harness.renewal()).status, 401, "the old secret")
    daemon.accept(harness.renewal(), authorization="another")
    equal([e["event_name"] for e in standin.wait_events(2)], ["rc_renewal_event", "renewed_again"])
    t.expect_log("level=warn")


def test_reload_of_a_bad_file_keeps_the_old_one(t):
    t.expect_log("level=error", "level=warn")
    standin, daemon = t.both()
    daemon.set(event_names__renewal="never_to_be_seen", server__no_such_key="x")
    daemon.signal(signal.SIGHUP)
    daemon.wait_log("subrelay.ini:")
    check("no_such_key" in daemon.stderr(), daemon.stderr_tail())
    daemon.accept(harness.renewal())
    equal(standin.wait_events(1)[0]["event_name"], "rc_renewal_event")
    check(daemon.is_running(), "it ended")


def test_reload_does_not_open_the_door(t):
    """The file says loopback, but what is listened on is still what the start opened."""
    t.expect_log("lets anybody in", "not reloaded", "a webhook was refused")
    daemon = t.daemon()
    daemon.stop()
    daemon.set(server__listen=f"0.0.0.0:{daemon.port}")
    daemon.start()
    daemon.set(server__listen=f"127.0.0.1:{daemon.port}", revenuecat__allow_unauthenticated="yes")
    daemon.signal(signal.SIGHUP)
    daemon.wait_log("not reloaded")
    equal(daemon.post(harness.renewal(), authorization=None).status, 401)


def test_reload_under_load(t):
    t.expect_log("level=warn")
    standin, daemon = t.both()
    for number in range(60):
        if number % 3 == 0:
            daemon.signal(signal.SIGHUP)
        daemon.accept(harness.renewal(f"user-{number}"))
    standin.wait_events(60)
    equal(daemon.wait_idle()["parked"], 0)


def test_new_token_by_reload_resumes(t):
    t.expect_log("level=error", "level=warn")
    standin = t.standin(token="the new token")
    daemon = t.daemon(standin)
    daemon.accept(harness.renewal())
    wait_until(lambda: "401" in (daemon.workspace().get("why") or ""), what="is held")
    daemon.set(intercom__access_token="the new token")
    daemon.signal(signal.SIGHUP)
    standin.wait_events(1, timeout=40)


def test_unauthenticated_needs_loopback(t):
    said = problems(t, "[server]\nlisten = 0.0.0.0:1\n[revenuecat]\nallow_unauthenticated = yes\n")[1]
    check("allow_unauthenticated" in said or "loopback" in said, said)
    daemon = t.daemon(config={"revenuecat.authorization": None, "revenuecat.allow_unauthenticated": "yes"})
    daemon.accept(harness.renewal(), authorization=None)
    t.expect_log("level=warn")


def test_setup_and_check_online(t):
    standin = t.standin(strict_attributes=True)
    daemon = t.daemon(standin, start=False)
    daemon.cli("setup")
    equal(set(standin.state()["attributes"]),
          {"latest_store", "latest_entitlement", "expires_at", "subscription_status"})
    daemon.cli("setup")  # nothing left to do
    daemon.cli("check", "--online")
    standin.options(token="another")
    result = daemon.cli("check", "--online", ok=1)
    check(b"401" in result.stdout + result.stderr, result)


def test_usage(t):
    del t

    def run(*arguments):
        return subprocess.run([harness.PROGRAM, *arguments], capture_output=True, timeout=60,
                              env=harness.clean_environment(), check=False)
    for arguments in ((), ("no-such-verb",), ("serve", "--no-such-option"), ("show",),
                      ("serve", "-c"), ("retry",)):
        result = run(*arguments)
        equal(result.returncode, 2, f"exit code of {arguments}")
        check(result.stderr, f"{arguments}: stderr says nothing")
    for verb in ("serve", "check", "setup", "map", "status", "events", "show", "retry"):
        result = run(verb, "--help")
        equal(result.returncode, 0, f"exit code of {verb} --help")
        check(verb.encode() in result.stdout, result.stdout)
    check(run("--version").stdout.strip(), "no version")
    equal(run("status", "--socket", "/nonexistent/socket").returncode, 1)


if __name__ == "__main__":
    harness.main()
