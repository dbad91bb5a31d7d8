/*
 * What the commands make of a daemon's answer: the input, after a byte that chooses the command, is
 * what comes over the control socket.
 *
 * What must be true: nothing of an answer steers the terminal, `--json` prints JSON, and the exit
 * code is one of those that are promised. Failing says why.
 */

#include "admin/cli.h"
#include "fuzz.h"

#include <jansson.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static char socket_path[64];
static int listen_fd = -1;

struct peer {
	const uint8_t *data;
	size_t size;
};

static void take_away(void)
{
	char *slash = strrchr(socket_path, '/');
	(void)unlink(socket_path);
	*slash = '\0';
	(void)rmdir(socket_path);
}

static void listen_once(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	char folder[] = "/tmp/subrelay-fuzz-client-XXXXXX";

	FUZZ_CHECK(mkdtemp(folder));
	(void)snprintf(socket_path, sizeof(socket_path), "%s/sock", folder);
	(void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", socket_path);
	listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	FUZZ_CHECK(listen_fd >= 0);
	FUZZ_CHECK(bind(listen_fd, (const struct sockaddr *)&address, sizeof(address)) == 0);
	FUZZ_CHECK(listen(listen_fd, 4) == 0);
	FUZZ_CHECK(atexit(take_away) == 0);
}

/* The daemon: hears one request and says what it was given. */
static void *serve(void *context)
{
	const struct peer *peer = context;
	char request[4096];
	size_t sent = 0;
	int fd = accept(listen_fd, NULL, NULL);

	FUZZ_CHECK(fd >= 0);
	ssize_t got = recv(fd, request, sizeof(request), 0); /* a line is one send */
	FUZZ_CHECK(got > 0 && request[got - 1] == '\n');
	while (sent < peer->size) {
		ssize_t put = send(fd, peer->data + sent, peer->size - sent, MSG_NOSIGNAL);
		if (put < 0)
			break; /* it has heard enough */
		sent += (size_t)put;
	}
	(void)close(fd);
	return NULL;
}

static const struct {
	const struct cli_command *command;
	const char *arguments[3];
	bool as_json;
} calls[] = {
	{&cmd_status, {NULL}, false},
	{&cmd_status, {"--json"}, true},
	{&cmd_events, {NULL}, false},
	{&cmd_events, {"--json"}, true},
	{&cmd_show, {"12"}, false},
	{&cmd_show, {"12", "--json"}, true},
	{&cmd_retry, {"12"}, false},
	{&cmd_retry, {"--all-parked", "--json"}, true},
};

static int run(size_t which)
{
	char arguments[6][80];
	char *argv[7] = {NULL};
	int argc = 0;

	(void)snprintf(arguments[argc++], 80, "%s", calls[which].command->name);
	(void)snprintf(arguments[argc++], 80, "--socket");
	(void)snprintf(arguments[argc++], 80, "%s", socket_path);
	for (size_t i = 0; i < 3 && calls[which].arguments[i]; i++)
		(void)snprintf(arguments[argc++], 80, "%s", calls[which].arguments[i]);
	for (int i = 0; i < argc; i++)
		argv[i] = arguments[i];
	return calls[which].command->run(argc, argv);
}

/* Control characters, those of eight bits included. */
static void check_harmless(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)text[i];
		unsigned char next = (unsigned char)text[i + 1]; /* there is a NUL */
		FUZZ_CHECK((c >= 0x20 || c == '\n') && c != 0x7f);
		FUZZ_CHECK(c != 0xc2 || next >= 0xa0);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_bytes bytes = {data, size};
	size_t which = fuzz_below(&bytes, sizeof(calls) / sizeof(calls[0]));
	struct peer peer = {bytes.at, bytes.left};
	FILE *real_out = stdout, *real_err = stderr;
	char *out = NULL, *err = NULL;
	size_t out_len = 0, err_len = 0;
	pthread_t thread;

	if (listen_fd < 0)
		listen_once();
	FUZZ_CHECK(pthread_create(&thread, NULL, serve, &peer) == 0);
	stdout = open_memstream(&out, &out_len);
	stderr = open_memstream(&err, &err_len);
	int code = stdout && stderr ? run(which) : CLI_USAGE;
	(void)fclose(stdout);
	(void)fclose(stderr);
	stdout = real_out;
	stderr = real_err;
	FUZZ_CHECK(pthread_join(thread, NULL) == 0);
	FUZZ_CHECK(code == CLI_DONE || code == CLI_FAILED);
	FUZZ_CHECK(code == CLI_DONE || (err_len > 0 && out_len == 0));
	check_harmless(err, err_len);
	if (!calls[which].as_json)
		check_harmless(out, out_len);
	if (calls[which].as_json && out_len > 1) {
		json_t *json = json_loadb(out, out_len, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
		FUZZ_CHECK(json);
		json_decref(json);
	}
	free(out);
	free(err);
	return 0;
}
