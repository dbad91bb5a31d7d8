/*
 * The command line from the outside: exit codes, what goes to stdout and what to stderr.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "admin/cli.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define ARGUMENTS_MAX 16
#define TEXT_MAX 16384

struct cli {
	char folder[64];
	/* in it */
	char body[100];
	char conf[100];
	char absent[100];
	char socket[100];
	char stdout_path[100];
	char stderr_path[100];
	int code;
	char out[TEXT_MAX];
	char err[TEXT_MAX];
};

/* ---- running it ---- */

static void write_file(const char *path, const char *text)
{
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
	assert_int_equal(chmod(path, 0600), 0); /* `check` warns of open secrets */
}

static void read_back(int fd, char ret[TEXT_MAX])
{
	ssize_t got = pread(fd, ret, TEXT_MAX - 1, 0);

	assert_true(got >= 0);
	ret[got] = '\0';
}

/* Puts `fd` in the place of stream number `number`; returns the one that was there. */
static int exchange(int number, int fd)
{
	int before = dup(number);

	assert_true(before >= 0 && dup2(fd, number) == number);
	(void)close(fd);
	return before;
}

/* argv[0] is put in front of the words. `in` and `out` are paths; out NULL: cli->out is filled. */
static int run_with(struct cli *cli, const char *in, const char *out, const char *const *words)
{
	static char copies[ARGUMENTS_MAX][512];
	char *argv[ARGUMENTS_MAX + 1] = {NULL};
	int argc = 0;
	const char *out_path = out ? out : cli->stdout_path;

	for (const char *word = "subrelay"; word; word = words[argc - 1]) {
		assert_true(argc < ARGUMENTS_MAX);
		(void)snprintf(copies[argc], sizeof(copies[0]), "%s", word);
		argv[argc] = copies[argc];
		argc++;
	}
	(void)fflush(stdout);
	(void)fflush(stderr);
	int old_in = exchange(0, open(in, O_RDONLY));
	int old_out = exchange(1, open(out_path, O_RDWR | O_CREAT | (out ? 0 : O_TRUNC), 0600));
	int old_err = exchange(2, open(cli->stderr_path, O_RDWR | O_CREAT | O_TRUNC, 0600));
	cli->code = cli_main(argc, argv);
	(void)fflush(stdout);
	clearerr(stdout);
	(void)fflush(stderr);
	cli->out[0] = '\0';
	if (!out)
		read_back(1, cli->out);
	read_back(2, cli->err);
	(void)close(exchange(0, old_in));
	(void)close(exchange(1, old_out));
	(void)close(exchange(2, old_err));
	return cli->code;
}

#define WORDS(...) ((const char *const[]){__VA_ARGS__, NULL})
#define run(cli, ...) run_with((cli), "/dev/null", NULL, WORDS(__VA_ARGS__))
#define run_from(cli, in, ...) run_with((cli), (in), NULL, WORDS(__VA_ARGS__))
#define run_to(cli, out, ...) run_with((cli), "/dev/null", (out), WORDS(__VA_ARGS__))

static void assert_holds(const char *text, const char *part)
{
	if (!strstr(text, part))
		fail_msg("'%s' is not in: %s", part, text);
}

static void name_file(const struct cli *cli, const char *name, char ret[100])
{
	(void)snprintf(ret, 100, "%s/%s", cli->folder, name);
}

static int setup(void **state)
{
	struct cli *cli = calloc(1, sizeof(*cli));

	assert_non_null(cli);
	(void)snprintf(cli->folder, sizeof(cli->folder), "/tmp/subrelay-test-cli-XXXXXX");
	assert_non_null(mkdtemp(cli->folder));
	name_file(cli, "body.json", cli->body);
	name_file(cli, "conf.ini", cli->conf);
	name_file(cli, "absent", cli->absent);
	name_file(cli, "dead.sock", cli->socket);
	name_file(cli, "stdout", cli->stdout_path);
	name_file(cli, "stderr", cli->stderr_path);
	*state = cli;
	return 0;
}

static int teardown(void **state)
{
	struct cli *cli = *state;

	(void)unlink(cli->body);
	(void)unlink(cli->conf);
	(void)unlink(cli->socket);
	(void)unlink(cli->stdout_path);
	(void)unlink(cli->stderr_path);
	int failed = rmdir(cli->folder);
	free(cli);
	return failed;
}

/* ---- the overview ---- */

static const char *const VERBS[] = {
	"serve", "check", "setup", "map", "status", "events", "show", "retry"};
#define VERB_COUNT (sizeof(VERBS) / sizeof(VERBS[0]))

static void test_without_a_verb(void **state)
{
	struct cli *cli = *state;

	assert_int_equal(run(cli, NULL), CLI_USAGE);
	assert_string_equal(cli->out, "");
	assert_holds(cli->err, "usage: subrelay COMMAND");
}

static void test_overview(void **state)
{
	static const char *const words[] = {"--help", "-h", "help"};
	struct cli *cli = *state;

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		assert_int_equal(run(cli, words[i]), CLI_DONE);
		assert_string_equal(cli->err, "");
		for (size_t j = 0; j < VERB_COUNT; j++)
			assert_holds(cli->out, VERBS[j]);
	}
}

static void test_version(void **state)
{
	struct cli *cli = *state;

	assert_int_equal(run(cli, "--version"), CLI_DONE);
	assert_string_equal(cli->out, "subrelay " SUBRELAY_VERSION "\n");
	assert_string_equal(cli->err, "");
}

static void test_help_of_each_verb(void **state)
{
	struct cli *cli = *state;
	char usage[64];

	for (size_t i = 0; i < VERB_COUNT; i++) {
		(void)snprintf(usage, sizeof(usage), "usage: subrelay %s", VERBS[i]);
		assert_int_equal(run(cli, VERBS[i], "--help"), CLI_DONE);
		assert_string_equal(cli->err, "");
		assert_holds(cli->out, usage);
		assert_holds(cli->out, "example: subrelay ");
		assert_int_equal(run(cli, VERBS[i], "-h"), CLI_DONE);
		assert_holds(cli->out, usage);
		assert_int_equal(run(cli, "help", VERBS[i]), CLI_DONE);
		assert_holds(cli->out, usage);
	}
}

static void test_unknown_verbs(void **state)
{
	struct cli *cli = *state;

	assert_int_equal(run(cli, "staus"), CLI_USAGE);
	assert_holds(cli->err, "did you mean 'status'?");
	assert_int_equal(run(cli, "help", "retyr"), CLI_USAGE);
	assert_holds(cli->err, "did you mean 'retry'?");
	assert_int_equal(run(cli, "frobnicate"), CLI_USAGE);
	assert_null(strstr(cli->err, "did you mean"));
	assert_int_equal(run(cli, ""), CLI_USAGE);
	assert_int_equal(run(cli, "-c", "x", "serve"), CLI_USAGE);
	assert_holds(cli->err, "the command comes first");
	assert_string_equal(cli->out, "");
}

static void test_wrong_usage(void **state)
{
	static const struct {
		const char *words[6];
		const char *why;
	} cases[] = {
		{{"serve", "--colour"}, "there is no option --colour"},
		{{"serve", "-x"}, "there is no option -x"},
		{{"serve", "-c"}, "-c needs an argument"},
		{{"serve", "--config"}, "--config needs an argument"},
		{{"serve", "now"}, "'now' is one argument too many"},
		{{"check", "--online=yes"}, "--online takes no argument"},
		{{"setup", "all"}, "'all' is one argument too many"},
		{{"map", "one", "two"}, "'two' is one argument too many"},
		{{"status", "--jsn"}, "there is no option --jsn"},
		{{"events", "--limit", "0"}, "--limit must be a number from 1 to 10000, not '0'"},
		{{"events", "-n", "10001"}, "--limit must be a number"},
		{{"events", "-n", "ten"}, "--limit must be a number"},
		{{"events", "--before", "-1"}, "--before must be a number"},
		{{"events", "--since", "yesterday"}, "--since is a span"},
		{{"events", "--state", "lost"}, "--state is waiting, delivered, ignored or parked"},
		{{"events", "4711"}, "'4711' is one argument too many"},
		{{"show"}, "the ID of an event is missing"},
		{{"show", "1", "2"}, "'2' is one argument too many"},
		{{"retry"}, "either the ID of an event, or --all-parked"},
		{{"retry", "--all-parked", "1"}, "either the ID of an event, or --all-parked"},
	};
	struct cli *cli = *state;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const char *const *words = cases[i].words;
		int code = run(cli, words[0], words[1], words[2], words[3]);
		if (code != CLI_USAGE)
			fail_msg("%s %s: %d", words[0], words[1] ? words[1] : "", code);
		assert_string_equal(cli->out, "");
		assert_holds(cli->err, cases[i].why);
		assert_holds(cli->err, "usage: subrelay ");
		assert_holds(cli->err, " --help");
	}
}

static void test_a_full_disk_behind_stdout(void **state)
{
	struct cli *cli = *state;

	assert_int_equal(run_to(cli, "/dev/full", "--help"), CLI_FAILED);
	assert_holds(cli->err, "stdout can't be written");
}

/* ---- map ---- */

static const char BODY[] =
	"{\"event\":{\"id\":\"e-1\",\"type\":\"RENEWAL\",\"event_timestamp_ms\":1717400000000,"
	"\"app_user_id\":\"ida\",\"store\":\"APP_STORE\"}}";

static void test_map(void **state)
{
	struct cli *cli = *state;
	const char *body = cli->body;

	write_file(cli->body, BODY);
	assert_int_equal(run(cli, "map", "-c", "/dev/null", body), CLI_DONE);
	assert_string_equal(cli->err, "");
	assert_holds(cli->out, "\"event_name\": \"rc_renewal_event\"");

	/* From stdin, named or not; options behind the file. */
	assert_int_equal(run_from(cli, body, "map", "-c", "/dev/null"), CLI_DONE);
	assert_holds(cli->out, "\"event_name\": \"rc_renewal_event\"");
	assert_int_equal(run_from(cli, body, "map", "-", "-c/dev/null"), CLI_DONE);
	assert_holds(cli->out, "\"event_name\": \"rc_renewal_event\"");
}

static void test_map_by_a_configuration(void **state)
{
	struct cli *cli = *state;
	const char *body = cli->body;
	const char *conf = cli->conf;

	write_file(cli->body, BODY);
	write_file(cli->conf,
		"[revenuecat]\n[revenuecat.ios]\nidentify = email\n"
		"[event_names]\nrenewal = Renewed\n");
	assert_int_equal(run(cli, "map", "-c", conf, body), CLI_DONE);
	assert_holds(cli->out, "\"event_name\": \"Renewed\"");
	assert_int_equal(run(cli, "map", "-c", conf, "-s", "revenuecat.ios", body), CLI_DONE);
	assert_holds(cli->out, "\"ignored\": ");
	assert_int_equal(run(cli, "map", "-c", conf, "-s", "stripe", body), CLI_FAILED);
	assert_holds(cli->err, "no section [stripe] is configured");
	assert_holds(cli->err, "there are: revenuecat revenuecat.ios");
}

static void test_map_fails(void **state)
{
	struct cli *cli = *state;
	const char *body = cli->body;
	const char *conf = cli->conf;

	write_file(cli->body, "{\"event\":17}");
	assert_int_equal(run(cli, "map", "-c", "/dev/null", body), CLI_FAILED);
	assert_string_equal(cli->err, "subrelay map: there is no event object\n");
	assert_string_equal(cli->out, "");
	assert_int_equal(run(cli, "map", "-c", "/dev/null", cli->absent), CLI_FAILED);
	assert_holds(cli->err, "can't be read: No such file");
	assert_int_equal(run(cli, "map", "-c", cli->absent, body), CLI_FAILED);
	assert_holds(cli->err, "absent");
	assert_int_equal(run(cli, "map", "-c", "/dev/null", cli->folder), CLI_FAILED);
	assert_holds(cli->err, "Is a directory");

	write_file(cli->conf, "[server]\nbody_max = 1k\n");
	FILE *big = fopen(body, "w");
	assert_non_null(big);
	assert_true(fprintf(big, "{\"event\":\"%*s\"}", 2000, "") > 0);
	assert_int_equal(fclose(big), 0);
	assert_int_equal(run(cli, "map", "-c", conf, body), CLI_FAILED);
	assert_holds(cli->err, "is longer than 1024 bytes");

	write_file(cli->conf, "[server]\nbody_mix = 1k\n");
	assert_int_equal(run(cli, "map", "-c", conf, body), CLI_FAILED);
	assert_holds(cli->err, "conf.ini:2: ");
}

/* ---- check and setup, as far as they need no network ---- */

static void test_check(void **state)
{
	struct cli *cli = *state;
	const char *conf = cli->conf;

	write_file(cli->conf, "[revenuecat]\nauthorization = Bearer x\n");
	assert_int_equal(run(cli, "check", "-c", conf), CLI_DONE);
	assert_string_equal(cli->err, "");
	assert_holds(cli->out, "conf.ini: ok, 1 source, [intercom] mode dry-run\n");

	assert_int_equal(run(cli, "check", "--online", "-c", conf), CLI_FAILED);
	assert_holds(cli->err, "--online needs an access_token");
	assert_int_equal(run(cli, "setup", "-c", conf), CLI_FAILED);
	assert_holds(cli->err, "[intercom] is in dry-run mode: left alone");

	write_file(cli->conf, "[revenuecat]\nauthorisation = x\n\n[server]\nlisten = 80\n");
	assert_int_equal(run(cli, "check", "-c", conf), CLI_FAILED);
	assert_string_equal(cli->out, "");
	assert_holds(cli->err, "conf.ini:2: ");
	assert_holds(cli->err, "conf.ini:5: ");
	assert_int_equal(run(cli, "setup", "-c", conf), CLI_FAILED);
	assert_holds(cli->err, "conf.ini:2: ");
	assert_int_equal(run(cli, "check", "-c", cli->absent), CLI_FAILED);
	assert_holds(cli->err, "absent");
}

/* ---- the control verbs without a daemon ---- */

static void test_no_daemon(void **state)
{
	static const char *const verbs[][2] = {{"status", NULL}, {"events", NULL}, {"show", "1"},
		{"retry", "1"}, {"retry", "--all-parked"}};
	struct cli *cli = *state;
	const char *path = cli->absent;
	char wanted[300];

	(void)snprintf(wanted, sizeof(wanted),
		"no daemon answers on %s (is it running? is -c the right file?)", path);
	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
		assert_int_equal(run(cli, verbs[i][0], "--socket", path, verbs[i][1]), CLI_FAILED);
		assert_holds(cli->err, wanted);
		assert_string_equal(cli->out, "");
	}
}

static void test_a_dead_daemons_socket(void **state)
{
	struct cli *cli = *state;
	const char *path = cli->socket;
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	(void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	(void)close(fd);
	assert_int_equal(run(cli, "status", "--socket", path), CLI_FAILED);
	assert_holds(cli->err, "no daemon answers on ");
}

/* Where it is looked for: --socket, the environment, the file whatever else is in it, the default.
 */
static void test_finding_the_socket(void **state)
{
	struct cli *cli = *state;
	const char *conf = cli->conf;

	write_file(cli->conf,
		"nonsense\n[server]\nsocket = /no/not-this\n"
		"[control]\n; socket = /no/nor-this\n  socket  =  /no/this-one  \n[wrong\n");
	assert_int_equal(run(cli, "status", "-c", conf), CLI_FAILED);
	assert_holds(cli->err, "answers on /no/this-one (");

	assert_int_equal(setenv("SUBRELAY_CONTROL_SOCKET", "/no/environment", 1), 0);
	assert_int_equal(run(cli, "status", "-c", conf), CLI_FAILED);
	assert_holds(cli->err, "answers on /no/environment (");
	assert_int_equal(run(cli, "status", "-c", conf, "--socket=/no/option"), CLI_FAILED);
	assert_holds(cli->err, "answers on /no/option (");
	assert_int_equal(unsetenv("SUBRELAY_CONTROL_SOCKET"), 0);

	write_file(cli->conf, "[server]\nsocket = /no/not-this\n");
	assert_int_equal(run(cli, "status", "-c", conf), CLI_FAILED);
	assert_holds(cli->err, "/run/subrelay/control.sock");
	assert_int_equal(run(cli, "status", "-c", cli->absent), CLI_FAILED);
	assert_holds(cli->err,
		"absent can't be read: No such file or directory; trying "
		"/run/subrelay/control.sock");
}

static void test_a_path_too_long(void **state)
{
	struct cli *cli = *state;
	char path[300];

	memset(path, 'x', sizeof(path) - 1);
	path[sizeof(path) - 1] = '\0';
	assert_int_equal(run(cli, "status", "--socket", path), CLI_FAILED);
	assert_holds(cli->err, "too long for a socket's path");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_without_a_verb, setup, teardown),
		cmocka_unit_test_setup_teardown(test_overview, setup, teardown),
		cmocka_unit_test_setup_teardown(test_version, setup, teardown),
		cmocka_unit_test_setup_teardown(test_help_of_each_verb, setup, teardown),
		cmocka_unit_test_setup_teardown(test_unknown_verbs, setup, teardown),
		cmocka_unit_test_setup_teardown(test_wrong_usage, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_full_disk_behind_stdout, setup, teardown),
		cmocka_unit_test_setup_teardown(test_map, setup, teardown),
		cmocka_unit_test_setup_teardown(test_map_by_a_configuration, setup, teardown),
		cmocka_unit_test_setup_teardown(test_map_fails, setup, teardown),
		cmocka_unit_test_setup_teardown(test_check, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_daemon, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_dead_daemons_socket, setup, teardown),
		cmocka_unit_test_setup_teardown(test_finding_the_socket, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_path_too_long, setup, teardown),
	};
	(void)unsetenv("SUBRELAY_CONTROL_SOCKET");
	return cmocka_run_group_tests_name("cli", tests, NULL, NULL);
}
