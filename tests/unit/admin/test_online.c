/*
 * `check --online` and `setup`: what Intercom's answers come to, with a server that says what it is
 * told to.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "admin/online_private.h"
#include "base/buf.h"
#include "base/error.h"
#include "conf/conf.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* One connection after the other, one request on each; the answer is always the same. */
struct server {
	int fd;
	uint16_t port;
	pthread_t thread;
	const char *answer; /* status line's rest, "\n", body; changed between requests only */
	char request[8192]; /* the last one */
};

struct rig {
	struct server server;
	struct conf *conf;
};

/* Whole when its body has as many bytes as its head says. */
static bool is_whole(const char *request)
{
	const char *body = strstr(request, "\r\n\r\n");
	const char *length = strcasestr(request, "content-length:");

	return body &&
		(!length ||
			strlen(body + 4) >= strtoul(length + strlen("content-length:"), NULL, 10));
}

static void serve(struct server *server, int fd)
{
	char head[300];
	size_t len = 0;
	ssize_t got = 1;

	server->request[0] = '\0';
	while (!is_whole(server->request) && got > 0) {
		got = read(fd, server->request + len, sizeof(server->request) - 1 - len);
		len += got > 0 ? (size_t)got : 0;
		server->request[len] = '\0';
	}
	if (len == 0 || !server->answer)
		return;
	const char *body = strchr(server->answer, '\n') + 1;
	(void)snprintf(head, sizeof(head),
		"HTTP/1.1 %.*s\r\nContent-Type: application/json\r\nX-Request-Id: req-7\r\n"
		"Content-Length: %zu\r\nConnection: close\r\n\r\n",
		(int)(body - 1 - server->answer), server->answer, strlen(body));
	(void)!send(fd, head, strlen(head), MSG_NOSIGNAL);
	(void)!send(fd, body, strlen(body), MSG_NOSIGNAL);
}

static void *run(void *context)
{
	struct server *server = context;
	int fd;

	while ((fd = accept(server->fd, NULL, NULL)) >= 0) {
		serve(server, fd);
		(void)close(fd);
	}
	return NULL;
}

static int setup(void **state)
{
	struct rig *rig = calloc(1, sizeof(*rig));
	struct sockaddr_in address = {
		.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t size = sizeof(address);
	struct conf_report report;
	char url[100];
	char token[] = "SUBRELAY_INTERCOM_ACCESS_TOKEN=tok";
	char *const environment[] = {url, token, NULL};

	assert_non_null(rig);
	rig->server.fd = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(bind(rig->server.fd, (struct sockaddr *)&address, size), 0);
	assert_int_equal(listen(rig->server.fd, 4), 0);
	assert_int_equal(getsockname(rig->server.fd, (struct sockaddr *)&address, &size), 0);
	assert_int_equal(pthread_create(&rig->server.thread, NULL, run, &rig->server), 0);
	(void)snprintf(url, sizeof(url), "SUBRELAY_INTERCOM_BASE_URL=http://127.0.0.1:%d",
		ntohs(address.sin_port));
	rig->conf = conf_load_for_map(NULL, environment, &report);
	conf_report_finish(&report);
	assert_non_null(rig->conf);
	*state = rig;
	return 0;
}

static int teardown(void **state)
{
	struct rig *rig = *state;

	(void)shutdown(rig->server.fd, SHUT_RDWR); /* ends accept */
	(void)pthread_join(rig->server.thread, NULL);
	(void)close(rig->server.fd);
	conf_unref(rig->conf);
	free(rig);
	return 0;
}

static const struct conf_workspace *workspace_of(const struct rig *rig)
{
	return &rig->conf->workspaces[0];
}

static void assert_holds(const char *text, const char *part)
{
	if (!strstr(text, part))
		fail_msg("'%s' is not in: %s", part, text);
}

/* ---- /me ---- */

static void test_me(void **state)
{
	struct rig *rig = *state;
	struct online_me me;
	struct error err = {0};

	rig->server.answer =
		"200 OK\n{\"type\":\"admin\",\"app\":{\"name\":\"Acme\",\"region\":\"EU\"}}";
	assert_true(online_ask_me(workspace_of(rig), &me, &err));
	assert_string_equal(me.app, "Acme");
	assert_string_equal(me.region, "EU");
	assert_holds(rig->server.request, "GET /me HTTP/1.1\r\n");
	assert_holds(rig->server.request, "Authorization: Bearer tok\r\n");
}

static void test_me_that_says_little(void **state)
{
	struct rig *rig = *state;
	struct online_me me;
	struct error err = {0};

	rig->server.answer = "200 OK\n{}";
	assert_true(online_ask_me(workspace_of(rig), &me, &err));
	assert_string_equal(me.app, "");
	assert_string_equal(me.region, "");
}

static void test_refusals_in_plain_words(void **state)
{
	static const struct {
		const char *answer;
		const char *words;
	} cases[] = {
		{"401 Unauthorized\n{\"errors\":[{\"code\":\"unauthorized\",\"message\":\"Access "
		 "Token Invalid\"}]}",
			"Intercom doesn't take the access token: 401 unauthorized: Access Token "
			"Invalid (request req-7)"},
		{"403 Forbidden\n{}", "the access token lacks a permission: 403 (request req-7)"},
		{"429 Too Many\n{}", "Intercom's rate limit is used up, try again in ten seconds"},
		{"500 Oh\n<html>", "Intercom is in trouble, or this isn't Intercom"},
		{"200 OK\n<html>hello</html>", "Intercom is in trouble, or this isn't Intercom"},
		{"404 Not Found\n{}", "Intercom refuses: 404"},
	};
	struct rig *rig = *state;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct online_me me;
		struct error err = {0};
		rig->server.answer = cases[i].answer;
		assert_false(online_ask_me(workspace_of(rig), &me, &err));
		assert_holds(err.text, cases[i].words);
	}
}

static void test_nobody_there(void **state)
{
	struct rig *rig = *state;
	struct conf_workspace workspace = *workspace_of(rig);
	char url[] = "http://127.0.0.1:1";
	struct online_me me;
	struct error err = {0};

	workspace.base_url = url;
	assert_false(online_ask_me(&workspace, &me, &err));
	assert_holds(err.text, "http://127.0.0.1:1 can't be asked: unreachable: ");
}

/* Even where the daemon only pretends. */
static void test_asks_also_in_a_dry_run(void **state)
{
	struct rig *rig = *state;
	struct conf_workspace workspace = *workspace_of(rig);
	struct online_me me;
	struct error err = {0};

	workspace.mode = CONF_MODE_DRY_RUN;
	rig->server.answer = "401 Unauthorized\n{}";
	assert_false(online_ask_me(&workspace, &me, &err));
	assert_holds(err.text, "401");
}

/* ---- attributes ---- */

static struct online_attribute *find(
	struct online_attribute *attributes, size_t count, const char *name)
{
	for (size_t i = 0; i < count; i++) {
		if (strcmp(attributes[i].name, name) == 0)
			return &attributes[i];
	}
	fail_msg("%s is not among them", name);
	return NULL;
}

static void test_what_will_be_written(void **state)
{
	static const char *const types[][2] = {{"latest_store", "string"},
		{"latest_entitlement", "string"}, {"expires_at", "datetime"},
		{"subscription_status", "string"}};
	struct rig *rig = *state;
	struct online_attribute attributes[ONLINE_ATTRIBUTES_MAX];
	size_t count = online_attributes(rig->conf, attributes);

	assert_int_equal(count, 4);
	for (size_t i = 0; i < count; i++) {
		const struct online_attribute *attribute = find(attributes, count, types[i][0]);
		assert_string_equal(attribute->data_type, types[i][1]);
		assert_string_not_equal(attribute->description, "");
	}
}

/* Each field of a row as Intercom has it; the others are as they should be. */
#define ROW(name, type, more) \
	"{\"name\":\"" name "\",\"data_type\":\"" type "\",\"custom\":true" more "}"

static void test_compare(void **state)
{
	struct rig *rig = *state;
	struct online_attribute attributes[ONLINE_ATTRIBUTES_MAX];
	size_t count = online_attributes(rig->conf, attributes);
	struct error err = {0};

	rig->server.answer =
		"200 OK\n{\"data\":["
		"{\"name\":\"latest_entitlement\",\"data_type\":\"string\",\"custom\":false}," ROW(
			"latest_store", "string",
			",\"api_writable\":true,\"archived\":false") "," ROW("expires_at", "date",
			"") "," ROW("subscription_status", "integer", "") ",7]}";
	assert_true(online_compare(workspace_of(rig), attributes, count, &err));
	assert_holds(rig->server.request,
		"GET /data_attributes?model=contact&include_archived=true HTTP/1.1\r\n");
	assert_int_equal(find(attributes, count, "latest_store")->standing, ONLINE_USABLE);
	assert_string_equal(find(attributes, count, "latest_store")->text, "");
	assert_int_equal(find(attributes, count, "expires_at")->standing, ONLINE_USABLE);
	/* One of Intercom's own of that name is another thing. */
	assert_int_equal(find(attributes, count, "latest_entitlement")->standing, ONLINE_MISSING);
	assert_int_equal(find(attributes, count, "subscription_status")->standing, ONLINE_UNUSABLE);
	assert_holds(find(attributes, count, "subscription_status")->text,
		"its type there is integer, and string is written");

	rig->server.answer = "200 OK\n{\"data\":[" ROW(
		"latest_store", "string", ",\"archived\":true") "," ROW("expires_at", "integer",
		"") "," ROW("subscription_status", "string", ",\"api_writable\":false") "]}";
	assert_true(online_compare(workspace_of(rig), attributes, count, &err));
	assert_int_equal(find(attributes, count, "latest_store")->standing, ONLINE_UNUSABLE);
	assert_holds(find(attributes, count, "latest_store")->text, "archived");
	assert_int_equal(find(attributes, count, "expires_at")->standing, ONLINE_USABLE);
	assert_holds(find(attributes, count, "expires_at")->text, "an integer");
	assert_int_equal(find(attributes, count, "subscription_status")->standing, ONLINE_UNUSABLE);
	assert_holds(find(attributes, count, "subscription_status")->text, "can't be written");
}

static void test_compare_fails(void **state)
{
	static const char *const answers[] = {"200 OK\n{}", "200 OK\n[]", "403 Forbidden\n{}"};
	struct rig *rig = *state;
	struct online_attribute attributes[ONLINE_ATTRIBUTES_MAX];
	size_t count = online_attributes(rig->conf, attributes);

	for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
		struct error err = {0};
		rig->server.answer = answers[i];
		assert_false(online_compare(workspace_of(rig), attributes, count, &err));
		assert_true(error_is_set(&err));
	}
}

static void test_create(void **state)
{
	struct rig *rig = *state;
	struct online_attribute attributes[ONLINE_ATTRIBUTES_MAX];
	size_t count = online_attributes(rig->conf, attributes);
	struct error err = {0};

	rig->server.answer = "200 OK\n{\"type\":\"data_attribute\",\"id\":1}";
	assert_true(online_create(workspace_of(rig), find(attributes, count, "expires_at"), &err));
	assert_holds(rig->server.request, "POST /data_attributes HTTP/1.1\r\n");
	assert_holds(rig->server.request,
		"{\"name\":\"expires_at\",\"model\":\"contact\",\"data_type\":\"datetime\","
		"\"description\":\"When ");

	rig->server.answer = "400 Bad\n{\"errors\":[{\"code\":\"parameter_invalid\","
			     "\"message\":\"You already have 'x' in your company data\"}]}";
	assert_false(online_create(workspace_of(rig), &attributes[0], &err));
	assert_holds(err.text, "You already have 'x' in your company data (request req-7)");
}

#define WITH_RIG(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_RIG(test_me),
		WITH_RIG(test_me_that_says_little),
		WITH_RIG(test_refusals_in_plain_words),
		WITH_RIG(test_nobody_there),
		WITH_RIG(test_asks_also_in_a_dry_run),
		WITH_RIG(test_what_will_be_written),
		WITH_RIG(test_compare),
		WITH_RIG(test_compare_fails),
		WITH_RIG(test_create),
	};
	return cmocka_run_group_tests_name("online", tests, NULL, NULL);
}
