#!/usr/bin/env python3
"""The documents say what the program does: manual pages, units, README, against what they are about.

Nothing here knows an option, a command or a path by name: keys and defaults are read from
config/subrelay.ini, commands from `subrelay --help`, what is installed from `make install`.
"""

import os
import re
import subprocess
import sys
import tempfile

BUILD = os.environ.get("SUBRELAY_BUILD", "build")
PROGRAM = os.path.join(BUILD, "subrelay")
SAMPLE = "config/subrelay.ini"
MAN_8 = "src/man/subrelay.8"
MAN_5 = "src/man/subrelay.ini.5"

TESTS = []


def test(function):
    TESTS.append(function)
    return function


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def run(*command, **kwargs):
    """stdout of a command that must work."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, timeout=300, check=False, **kwargs)
    assert done.returncode == 0, \
        f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
    return done.stdout


def sample_options():
    """(section, key) -> default, of the sample file; '' for none. Options stand behind ';'."""
    options = {}
    section = None
    for line in read(SAMPLE).splitlines():
        header = re.fullmatch(r"\[([\w.-]+)\]", line)
        option = re.fullmatch(r";? ?([a-z]\w*) *= *(.*?) *", line)
        if header:
            section = header.group(1)
        elif option:
            options[section, option.group(1)] = option.group(2)
    return options


def manual_options():
    """The same, of the manual page: '.It Cm KEY No = Li DEFAULT' below '.Ss [SECTION]'."""
    options = {}
    section = None
    for line in read(MAN_5).splitlines():
        header = re.fullmatch(r"\.Ss \[([\w.-]+)\]", line)
        item = re.fullmatch(r"\.It Cm (\w+) No =(?: Li (.*))?", line)
        if header:
            section = header.group(1)
        elif item:
            options[section, item.group(1)] = item.group(2) or ""
    return options


def differences(one, other):
    return sorted(f"[{section}] {key}" for section, key in set(one) - set(other))


def commands():
    """Name -> the line about it, of `subrelay --help`: the indented lines."""
    found = re.findall(r"^ {2,}([a-z]+) +(\S.*)$", run(PROGRAM, "--help"), re.MULTILINE)
    assert found, "subrelay --help lists no commands"
    return dict(found)


def manual_commands():
    """Name -> source of its entry in subrelay.8: '.It Cm NAME …' below '.Sh COMMANDS'. What stands
    before the list is said of each."""
    section = read(MAN_8).split("\n.Sh COMMANDS\n")[1].split("\n.Sh ")[0]
    common, *parts = re.split(r"^\.It Cm (\w+)(.*)$", section, flags=re.MULTILINE)
    return {parts[i]: common + parts[i + 1] + parts[i + 2] for i in range(0, len(parts), 3)}


@test
def every_option_is_in_the_manual():
    sample = sample_options()
    assert len(sample) > 10, f"only {len(sample)} options were found in {SAMPLE}"
    assert not differences(sample, manual_options()), \
        f"{SAMPLE} has them, {MAN_5} doesn't: {differences(sample, manual_options())}"


@test
def every_option_of_the_manual_is_in_the_sample():
    assert not differences(manual_options(), sample_options()), \
        f"{MAN_5} has them, {SAMPLE} doesn't: {differences(manual_options(), sample_options())}"


@test
def defaults_are_the_same():
    manual = manual_options()
    wrong = [f"[{section}] {key}: '{default}' in {SAMPLE}, '{manual[section, key]}' in {MAN_5}"
             for (section, key), default in sample_options().items()
             if manual.get((section, key), default) != default]
    assert not wrong, "\n".join(wrong)


@test
def every_command_is_in_the_manual():
    there, wanted = set(manual_commands()), set(commands())
    assert wanted <= there, f"not in {MAN_8}: {sorted(wanted - there)}"
    assert there <= wanted, f"in {MAN_8}, but not a command: {sorted(there - wanted)}"


@test
def every_option_of_a_command_is_in_the_manual():
    manual = manual_commands()
    missing = []
    for name in commands():
        text = run(PROGRAM, name, "--help")
        usage = text.splitlines()[0]
        long = set(re.findall(r"--([a-z][a-z-]*)", text)) - {"help"}
        short = set(re.findall(r"\[-([a-zA-Z])\b", usage))
        for option in long:
            if not re.search(rf"Fl (Fl |\\-|-){re.escape(option)}\b", manual.get(name, "")):
                missing.append(f"{name} --{option}")
        for option in short:
            if not re.search(rf"Fl {option}\b", manual.get(name, "")):
                missing.append(f"{name} -{option}")
    assert not missing, f"not in {MAN_8}: {sorted(missing)}"


def install(root):
    environment = {key: value for key, value in os.environ.items()
                   if key not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "MAKEOVERRIDES")}
    variables = {"DESTDIR": root, "BUILD": BUILD, "PREFIX": "/opt/here", "SYSCONFDIR": "/opt/etc"}
    run("make", "--no-print-directory", "install",
        *(f"{key}={value}" for key, value in variables.items()), env=environment)
    return sorted(os.path.relpath(os.path.join(folder, name), root)
                  for folder, _, names in os.walk(root) for name in names)


@test
def install_puts_everything_in_place():
    with tempfile.TemporaryDirectory() as root:
        installed = install(root)
        for source in [SAMPLE, MAN_5, MAN_8, *(f"systemd/{n}" for n in os.listdir("systemd"))]:
            places = [path for path in installed
                      if os.path.basename(path) == os.path.basename(source)]
            assert len(places) == 1, f"{source} was installed as {places}"
            mode = os.stat(os.path.join(root, places[0])).st_mode & 0o777
            assert mode == 0o644, f"{places[0]} has mode {mode:o}"
        for page in (MAN_5, MAN_8):
            chapter = page.rsplit(".", 1)[1]
            assert f"opt/here/share/man/man{chapter}/{os.path.basename(page)}" in installed
        assert "opt/etc/subrelay/subrelay.ini" in installed
        program = os.path.join(root, "opt/here/bin/subrelay")
        assert os.access(program, os.X_OK), f"{program} can't be executed"
        run(program, "--version")


@test
def installed_units_name_what_was_installed():
    with tempfile.TemporaryDirectory() as root:
        units = [path for path in install(root) if path.endswith((".service", ".socket"))]
        assert units, "no units were installed"
        for unit in units:
            text = read(os.path.join(root, unit))
            left = re.findall(r"@[A-Z]+@", text)
            assert not left, f"{unit} still has {left}"
            for line in re.findall(r"^ExecStart=(.*)$", text, re.MULTILINE):
                for word in line.split():
                    assert not word.startswith("/") or os.path.exists(root + word), \
                        f"{unit}: ExecStart names {word}, which isn't installed"


@test
def install_leaves_a_configuration_alone():
    with tempfile.TemporaryDirectory() as root:
        path = next(p for p in install(root) if os.path.basename(p) == os.path.basename(SAMPLE))
        with open(os.path.join(root, path), "w", encoding="utf-8") as file:
            file.write("# mine\n")
        install(root)
        assert read(os.path.join(root, path)) == "# mine\n", f"{path} was overwritten"


@test
def credentials_of_the_unit_are_secrets_of_the_configuration():
    """LoadCredential=NAME:…/NAME, each known to the manual, and each with a fallback, so that the
    service starts without the file."""
    unit = read("systemd/subrelay.service")
    loaded = re.findall(r"^LoadCredential=(\w+):(\S+)$", unit, re.MULTILINE)
    fallbacks = re.findall(r"^SetCredential=(\w+):", unit, re.MULTILINE)
    assert loaded
    assert [name for name, _ in loaded] == fallbacks
    for name, path in loaded:
        assert os.path.basename(path) == name, f"{path} is handed over as {name}"
        assert name in read(MAN_5), f"{MAN_5} doesn't name {name}"


@test
def links_of_the_readme_lead_somewhere():
    text = read("README.md")
    anchors = {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
               for title in re.findall(r"^#+ (.*)$", text, re.MULTILINE)}
    dead = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        if (path and not os.path.exists(path)) or (not path and anchor not in anchors):
            dead.append(target)
    assert not dead, f"README.md links to what isn't there: {dead}"


@test
def commands_of_the_readme_exist():
    """`subrelay COMMAND` in the text, and lines of the examples that begin with it."""
    text = read("README.md")
    used = set(re.findall(r"`(?:build/|sudo )?subrelay ([a-z]+)", text))
    for example in re.findall(r"^```\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        used |= set(re.findall(r"^(?:\$ )?(?:sudo )?(?:build/)?subrelay ([a-z]+)",
                               example, re.MULTILINE))
    assert used, "README.md uses no command"
    assert used <= set(commands()), f"README.md uses {sorted(used - set(commands()))}"


def main():
    failed = 0
    for number, function in enumerate(TESTS, 1):
        name = function.__name__.replace("_", " ")
        try:
            function()
            print(f"ok {number} - {name}", flush=True)
        except Exception as error:  # each test stands alone
            failed += 1
            print(f"not ok {number} - {name}", flush=True)
            print(f"{name}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
    print(f"1..{len(TESTS)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
