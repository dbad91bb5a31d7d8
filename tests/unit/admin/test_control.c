/*
 * The control socket, over a real socket with a real store: what each verb answers, what a rude
 * peer gets, and whose socket it is.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "admin/client_private.h"
#include "admin/control.h"
#include "base/clock.h"
#include "base/error.h"
#include "conf/conf.h"
#include "deliver/dispatcher.h"
#include "event/event.h"
#include "intake.h"
#include "source/source.h"
#include "store/store.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define T0 INT64_C(1717400000000)

struct rig {
	char folder[64];
	char path[100]; /* of the socket */
	struct conf *conf;
	struct store *store;
	struct dispatcher *dispatcher;
	struct intake *intake;
	struct control *control;
};

/* ---- the rig ---- */

static void pass_new_work(void *context, int64_t destination_id, bool is_rewound)
{
	const struct rig *rig = context;

	if (rig->dispatcher)
		dispatcher_new_work(rig->dispatcher, destination_id, is_rewound);
}

static struct control_options options_of(const struct rig *rig)
{
	return (struct control_options){
		.path = rig->path,
		.store = rig->store,
		.dispatcher = rig->dispatcher,
		.intake = rig->intake,
		.clock = &clock_system,
		.started_at_ms = clock_wall_ms(&clock_system) - 5000,
	};
}

static void start_control(struct rig *rig)
{
	struct error err = {0};
	struct control_options options = options_of(rig);

	rig->control = control_create(&options, &err);
	if (!rig->control)
		fail_msg("%s", err.text);
}

static int setup(void **state)
{
	struct rig *rig = calloc(1, sizeof(*rig));
	char *const environment[] = {NULL};
	struct conf_report report;
	struct error err = {0};
	char path[100];

	assert_non_null(rig);
	(void)snprintf(rig->folder, sizeof(rig->folder), "/tmp/subrelay-test-control-XXXXXX");
	assert_non_null(mkdtemp(rig->folder));
	(void)snprintf(rig->path, sizeof(rig->path), "%s/sock", rig->folder);
	(void)snprintf(path, sizeof(path), "%s/db", rig->folder);
	rig->conf = conf_load_for_map(NULL, environment, &report);
	conf_report_finish(&report);
	assert_non_null(rig->conf);
	rig->store = store_open(
		&(struct store_options){
			.backend = &store_sqlite,
			.path = path,
			.clock = &clock_system,
			.keep_delivered_ms = INT64_MAX,
			.keep_parked_ms = INT64_MAX,
			.has_thread = true,
			.new_work = pass_new_work,
			.context = rig,
		},
		&err);
	if (!rig->store)
		fail_msg("%s", err.text);
	*state = rig;
	return 0;
}

static int setup_with_control(void **state)
{
	(void)setup(state);
	start_control(*state);
	return 0;
}

static int teardown(void **state)
{
	struct rig *rig = *state;
	char command[100];

	control_destroy(rig->control);
	store_close(rig->store);
	dispatcher_destroy(rig->dispatcher);
	intake_destroy(rig->intake);
	conf_unref(rig->conf);
	(void)snprintf(command, sizeof(command), "rm -r %s", rig->folder);
	int failed = system(command); /* NOLINT: a path of our own making */
	free(rig);
	return failed;
}

struct waiter {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool is_done;
};

static void wake(struct waiter *waiter)
{
	(void)pthread_mutex_lock(&waiter->lock);
	waiter->is_done = true;
	(void)pthread_cond_signal(&waiter->changed);
	(void)pthread_mutex_unlock(&waiter->lock);
}

static void wait_for(struct waiter *waiter)
{
	(void)pthread_mutex_lock(&waiter->lock);
	while (!waiter->is_done)
		(void)pthread_cond_wait(&waiter->changed, &waiter->lock);
	(void)pthread_mutex_unlock(&waiter->lock);
}

static void accept_done(struct accept *accept)
{
	wake(accept->context);
}

/* Stores a webhook body; ' stands for ". */
static enum accept_status post(struct rig *rig, const char *body)
{
	struct waiter waiter = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false};
	const struct conf_source *section = &rig->conf->sources[0];
	struct error err = {0};
	char text[2048];

	(void)snprintf(text, sizeof(text), "%s", body);
	for (char *at = text; (at = strchr(at, '\''));)
		*at = '"';
	struct event *event =
		section->source->normalise(rig->conf, section, text, strlen(text), &err);
	if (!event)
		fail_msg("%s", err.text);
	struct accept accept = {
		.conf = rig->conf,
		.section = section,
		.event = event,
		.body = text,
		.body_len = strlen(text),
		.received_at_ms = clock_wall_ms(&clock_system),
		.done = accept_done,
		.context = &waiter,
	};
	store_accept(rig->store, &accept);
	wait_for(&waiter);
	event_destroy(event);
	return accept.status;
}

static void post_renewal(struct rig *rig, const char *id, const char *customer)
{
	char body[400];

	(void)snprintf(body, sizeof(body),
		"{'event':{'id':'%s','type':'RENEWAL','event_timestamp_ms':1717400000000,"
		"'app_user_id':'%s','store':'APP_STORE','product_id':'p'}}",
		id, customer);
	assert_int_equal(post(rig, body), ACCEPT_STORED);
}

static void finish_done(struct finish *finish)
{
	struct waiter *waiter = finish->context;

	finish_destroy(finish);
	wake(waiter);
}

/* What delivery would report of an event's only job: a call, and the outcome. */
static void settle(struct rig *rig, int64_t event_id, enum job_outcome outcome)
{
	struct waiter waiter = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false};
	struct error err = {0};
	struct lane_ref lane;
	size_t count = 0;
	int64_t destination_id;

	assert_true(store_destination(rig->store, "intercom~dry-run", &destination_id, &err));
	struct backend *reader = store_reader(rig->store, &err);
	assert_non_null(reader);
	assert_true(store_sqlite.lanes_after(reader, destination_id,
		(struct lane_ref){.event_id = event_id}, &lane, 1, &count, &err));
	assert_int_equal(count, 1);
	assert_int_equal(lane.event_id, event_id);
	store_reader_close(rig->store, reader);

	struct finish *finish = finish_create(destination_id, lane.contact_id);
	struct finish_job *job = finish_add_job(finish);
	job->event_id = event_id;
	job->is_main = true;
	job->outcome = outcome;
	(void)snprintf(job->reason, sizeof(job->reason), "400 parameter_invalid: no");
	(void)snprintf(job->request_id, sizeof(job->request_id), "req-1");
	finish_add_attempt(finish,
		&(struct attempt){
			.event_id = event_id,
			.at_ms = T0 + 61000,
			.contact_id = lane.contact_id,
			.call = "submit_event",
			.status = 400,
			.verdict = "park",
			.request_id = "req-1",
			.reason = "400 parameter_invalid: no",
			.elapsed_ms = 87,
		});
	finish->done = finish_done;
	finish->context = &waiter;
	store_finish(rig->store, finish);
	wait_for(&waiter);
}

/* ---- asking ---- */

/* ' stands for ". */
static json_t *parse(const char *text)
{
	char copy[1024];

	(void)snprintf(copy, sizeof(copy), "%s", text);
	for (char *at = copy; (at = strchr(at, '\''));)
		*at = '"';
	json_t *json = json_loads(copy, 0, NULL);
	assert_non_null(json);
	return json;
}

static json_t *ask(const struct rig *rig, const char *request)
{
	struct error err = {0};
	json_t *json = parse(request);
	json_t *rows = client_ask(rig->path, json, &err);

	json_decref(json);
	if (!rows)
		fail_msg("%s: %s", request, err.text);
	return rows;
}

static void assert_refused(const struct rig *rig, const char *request, const char *why)
{
	struct error err = {0};
	json_t *json = parse(request);

	assert_null(client_ask(rig->path, json, &err));
	json_decref(json);
	assert_string_equal(err.text, why);
}

static int64_t number_in(const json_t *object, const char *key)
{
	const json_t *value = json_object_get(object, key);

	if (!json_is_integer(value))
		fail_msg("%s is no number", key);
	return json_integer_value(value);
}

static const char *text_in(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	if (!text)
		fail_msg("%s is no text", key);
	return text;
}

/* ---- status ---- */

static void test_status_of_an_idle_daemon(void **state)
{
	static const char *const zeros[] = {"received", "accepted", "duplicate", "ignored",
		"waiting", "delivered", "parked", "oldest_waiting_s", "unauthorized", "malformed",
		"failed"};
	json_t *rows = ask(*state, "{'verb':'status'}");
	const json_t *status = json_array_get(rows, 0);

	assert_int_equal(json_array_size(rows), 1);
	for (size_t i = 0; i < sizeof(zeros) / sizeof(zeros[0]); i++)
		assert_int_equal(number_in(status, zeros[i]), 0);
	assert_in_range(number_in(status, "uptime_s"), 5, 60);
	assert_string_equal(text_in(status, "version"), SUBRELAY_VERSION);
	assert_true(json_is_true(json_object_get(status, "store_ready")));
	assert_int_equal(json_array_size(json_object_get(status, "workspaces")), 0);
	json_decref(rows);
}

static void test_status_counts(void **state)
{
	struct rig *rig = *state;
	struct error err = {0};

	rig->dispatcher = dispatcher_create(
		&(struct dispatcher_options){
			.conf = rig->conf, .store = rig->store, .clock = &clock_system, .seed = 1},
		&err);
	assert_non_null(rig->dispatcher);
	rig->intake = intake_create(rig->store, &clock_system);
	start_control(rig);
	post_renewal(rig, "e-1", "ida");
	post_renewal(rig, "e-2", "ola");
	assert_int_equal(post(rig, "{'event':{'id':'e-3','type':'TEST','event_timestamp_ms':1}}"),
		ACCEPT_IGNORED);
	assert_int_equal(post(rig, "{'event':{'id':'e-3','type':'TEST','event_timestamp_ms':1}}"),
		ACCEPT_DUPLICATE);

	json_t *rows = ask(rig, "{'verb':'status'}");
	const json_t *status = json_array_get(rows, 0);
	const json_t *workspace = json_array_get(json_object_get(status, "workspaces"), 0);
	assert_int_equal(number_in(status, "received"), 4);
	assert_int_equal(number_in(status, "accepted"), 2);
	assert_int_equal(number_in(status, "ignored"), 1);
	assert_int_equal(number_in(status, "duplicate"), 1);
	assert_int_equal(number_in(status, "waiting"), 2);
	assert_int_equal(number_in(status, "unauthorized"), 0);
	assert_string_equal(text_in(workspace, "name"), "intercom");
	assert_string_equal(text_in(workspace, "mode"), "dry-run");
	assert_string_equal(text_in(workspace, "state"), "ok");
	assert_string_equal(text_in(workspace, "why"), "");
	assert_true(json_is_null(json_object_get(workspace, "since")));
	assert_int_equal(number_in(workspace, "in_flight"), 0);
	assert_int_equal(number_in(workspace, "resting"), 0);
	json_decref(rows);
}

/* ---- events ---- */

static void assert_listed(const struct rig *rig, const char *request, const char *ids)
{
	json_t *rows = ask(rig, request);
	char got[200] = "";

	for (size_t i = 0; i < json_array_size(rows); i++) {
		size_t len = strlen(got);
		(void)snprintf(got + len, sizeof(got) - len, "%s%s", i ? " " : "",
			text_in(json_array_get(rows, i), "event_id"));
	}
	assert_string_equal(got, ids);
	json_decref(rows);
}

static void test_events(void **state)
{
	struct rig *rig = *state;

	assert_listed(rig, "{'verb':'events'}", "");
	post_renewal(rig, "e-1", "ida");
	post_renewal(rig, "e-2", "ola");
	(void)post(rig, "{'event':{'id':'e-3','type':'TEST','event_timestamp_ms':1}}");
	post_renewal(rig, "e-4", "ida");
	settle(rig, 1, JOB_DONE);
	settle(rig, 2, JOB_PARKED);

	assert_listed(rig, "{'verb':'events'}", "e-4 e-3 e-2 e-1");
	assert_listed(rig, "{'verb':'events','limit':2}", "e-4 e-3");
	assert_listed(rig, "{'verb':'events','limit':2,'before':3}", "e-2 e-1");
	assert_listed(rig, "{'verb':'events','state':'delivered'}", "e-1");
	assert_listed(rig, "{'verb':'events','state':'parked'}", "e-2");
	assert_listed(rig, "{'verb':'events','state':'ignored'}", "e-3");
	assert_listed(rig, "{'verb':'events','state':'waiting'}", "e-4");
	assert_listed(rig, "{'verb':'events','customer':'ida'}", "e-4 e-1");
	assert_listed(rig, "{'verb':'events','type':'TEST'}", "e-3");
	assert_listed(rig, "{'verb':'events','source':'revenuecat.ios'}", "");
	assert_listed(rig, "{'verb':'events','since_ms':9999999999999}", "");
	assert_refused(rig, "{'verb':'events','state':'lost'}", "there is no state lost");
	assert_refused(rig, "{'verb':'events','limit':0}", "the limit must be from 1 to 10000");
}

static void test_a_row_of_events(void **state)
{
	struct rig *rig = *state;

	post_renewal(rig, "e-1", "ida");
	settle(rig, 1, JOB_PARKED);
	json_t *rows = ask(rig, "{'verb':'events'}");
	const json_t *row = json_array_get(rows, 0);
	assert_int_equal(number_in(row, "id"), 1);
	assert_string_equal(text_in(row, "source"), "revenuecat");
	assert_string_equal(text_in(row, "type"), "RENEWAL");
	assert_string_equal(text_in(row, "customer"), "ida");
	assert_string_equal(text_in(row, "state"), "parked");
	assert_string_equal(text_in(row, "reason"), "400 parameter_invalid: no");
	assert_string_equal(text_in(row, "request_id"), "req-1");
	assert_string_equal(text_in(row, "event_at"), "2024-06-03T07:33:20.000Z");
	assert_int_equal(strlen(text_in(row, "received_at")), 24);
	json_decref(rows);
}

/* ---- show ---- */

static void test_show_what_waits(void **state)
{
	struct rig *rig = *state;

	(void)post(rig,
		"{\n  'event': {'id':'77','type':'RENEWAL',\r\n'event_timestamp_ms':1717400000000,"
		"'app_user_id':'ida','store':'APP_STORE','price':9.99,'note':'a\\nb'}}\n");
	/* By the store's number, and by the provider's id. */
	json_t *rows = ask(rig, "{'verb':'show','id':'1'}");
	json_t *same = ask(rig, "{'verb':'show','id':'77'}");
	assert_true(json_equal(rows, same));
	json_decref(same);

	const json_t *event = json_array_get(rows, 0);
	const json_t *body = json_object_get(json_object_get(event, "body"), "event");
	const json_t *deliveries = json_object_get(event, "deliveries");
	const json_t *delivery = json_array_get(deliveries, 0);
	assert_string_equal(text_in(event, "event_id"), "77");
	assert_string_equal(text_in(event, "state"), "waiting");
	assert_string_equal(text_in(body, "note"), "a\nb");
	assert_int_equal(json_array_size(deliveries), 1);
	assert_string_equal(text_in(delivery, "workspace"), "intercom~dry-run");
	assert_string_equal(text_in(delivery, "user_id"), "ida");
	assert_true(json_is_null(json_object_get(delivery, "intercom_id")));
	assert_string_equal(text_in(delivery, "state"), "waiting");
	assert_string_equal(text_in(delivery, "event_name"), "rc_renewal_event");
	assert_int_equal(number_in(delivery, "created_at"), T0 / 1000);
	assert_string_equal(text_in(json_object_get(delivery, "metadata"), "store"), "APP_STORE");
	assert_true(json_is_true(json_object_get(delivery, "touches")));
	assert_string_equal(
		text_in(json_object_get(delivery, "wanted"), "subscription_status"), "active");
	assert_int_equal(json_object_size(json_object_get(delivery, "sent")), 0);
	assert_true(json_is_null(json_object_get(delivery, "parked_at")));
	assert_int_equal(json_array_size(json_object_get(event, "attempts")), 0);
	json_decref(rows);
}

static void test_show_what_is_parked(void **state)
{
	struct rig *rig = *state;

	post_renewal(rig, "e-1", "ida");
	settle(rig, 1, JOB_PARKED);
	json_t *rows = ask(rig, "{'verb':'show','id':'e-1'}");
	const json_t *event = json_array_get(rows, 0);
	const json_t *delivery = json_array_get(json_object_get(event, "deliveries"), 0);
	const json_t *attempt = json_array_get(json_object_get(event, "attempts"), 0);
	assert_string_equal(text_in(delivery, "state"), "parked");
	assert_string_equal(text_in(delivery, "reason"), "400 parameter_invalid: no");
	assert_string_equal(text_in(delivery, "request_id"), "req-1");
	assert_int_equal(strlen(text_in(delivery, "parked_at")), 24);
	assert_string_equal(text_in(attempt, "at"), "2024-06-03T07:34:21.000Z");
	assert_string_equal(text_in(attempt, "call"), "submit_event");
	assert_int_equal(number_in(attempt, "status"), 400);
	assert_string_equal(text_in(attempt, "verdict"), "park");
	assert_string_equal(text_in(attempt, "request_id"), "req-1");
	assert_int_equal(number_in(attempt, "elapsed_ms"), 87);
	json_decref(rows);
}

static void test_show_nothing(void **state)
{
	assert_refused(*state, "{'verb':'show','id':'12'}", "there is no event 12");
	assert_refused(*state, "{'verb':'show','id':''}", "there is no event ");
	assert_refused(*state, "{'verb':'show','id':'-1'}", "there is no event -1");
	assert_refused(*state, "{'verb':'show'}", "which event?");
	assert_refused(*state, "{'verb':'show','id':12}", "which event?");
}

/* ---- retry ---- */

static int64_t retried(const struct rig *rig, const char *request)
{
	json_t *rows = ask(rig, request);
	int64_t count = number_in(json_array_get(rows, 0), "count");

	json_decref(rows);
	return count;
}

static void test_retry(void **state)
{
	struct rig *rig = *state;

	post_renewal(rig, "e-1", "ida");
	post_renewal(rig, "e-2", "ola");
	post_renewal(rig, "e-3", "per");
	post_renewal(rig, "e-4", "eva");
	for (int64_t id = 1; id <= 3; id++)
		settle(rig, id, JOB_PARKED);
	settle(rig, 4, JOB_DONE);

	assert_int_equal(retried(rig, "{'verb':'retry','id':'e-2'}"), 1);
	assert_listed(rig, "{'verb':'events','state':'waiting'}", "e-2");
	assert_refused(rig, "{'verb':'retry','id':'e-2'}", "event e-2 is waiting, not parked");
	assert_refused(rig, "{'verb':'retry','id':'4'}", "event 4 is delivered, not parked");
	assert_refused(rig, "{'verb':'retry','id':'e-9'}", "there is no event e-9");
	assert_refused(rig, "{'verb':'retry'}", "which event?");
	assert_refused(rig, "{'verb':'retry','all':false}", "which event?");
	assert_int_equal(retried(rig, "{'verb':'retry','all':true}"), 2);
	assert_listed(rig, "{'verb':'events','state':'waiting'}", "e-3 e-2 e-1");
	assert_int_equal(retried(rig, "{'verb':'retry','all':true}"), 0);
}

/* ---- the wire ---- */

static int connect_to(const struct rig *rig)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	(void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", rig->path);
	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

/* Reads to the end, compares and closes. */
static void assert_answered(int fd, const char *wanted)
{
	char answer[4096];
	size_t len = 0;
	ssize_t got;

	while (len < sizeof(answer) - 1 &&
		(got = read(fd, answer + len, sizeof(answer) - 1 - len)) > 0)
		len += (size_t)got;
	answer[len] = '\0';
	(void)close(fd);
	assert_string_equal(answer, wanted);
}

static void put(int fd, const char *text, size_t len)
{
	/* A refused request may be cut off while it is sent. */
	(void)!send(fd, text, len, MSG_NOSIGNAL);
}

static void test_requests_that_are_none(void **state)
{
	static const struct {
		const char *request;
		const char *answer;
	} cases[] = {
		{"\n", "{\"ok\":false,\"error\":\"the request is not a JSON object\"}\n"},
		{"status\n", "{\"ok\":false,\"error\":\"the request is not a JSON object\"}\n"},
		{"[]\n", "{\"ok\":false,\"error\":\"the request is not a JSON object\"}\n"},
		{"{\"verb\":\"a\",\"verb\":\"b\"}\n",
			"{\"ok\":false,\"error\":\"the request is not a JSON object\"}\n"},
		{"{}\n", "{\"ok\":false,\"error\":\"the request has no verb\"}\n"},
		{"{\"verb\":1}\n", "{\"ok\":false,\"error\":\"the request has no verb\"}\n"},
		{"{\"verb\":\"sing\"}\n",
			"{\"ok\":false,\"error\":\"this daemon (version " SUBRELAY_VERSION
			") doesn't know the verb\"}\n"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int fd = connect_to(*state);
		put(fd, cases[i].request, strlen(cases[i].request));
		assert_answered(fd, cases[i].answer);
	}
}

static void test_request_without_an_end(void **state)
{
	int fd = connect_to(*state);

	put(fd, "{\"verb\":", 8);
	(void)shutdown(fd, SHUT_WR);
	assert_answered(fd, "{\"ok\":false,\"error\":\"the request ends before its line does\"}\n");
}

static void test_request_in_pieces(void **state)
{
	static const char request[] = "{\"verb\":\"events\"}\n";
	int fd = connect_to(*state);

	for (size_t i = 0; i < sizeof(request) - 1; i++)
		put(fd, &request[i], 1);
	assert_answered(fd, "{\"ok\":true}\n");
}

static void test_request_too_long(void **state)
{
	static char request[70000];
	int fd = connect_to(*state);

	memset(request, ' ', sizeof(request));
	put(fd, request, sizeof(request));
	assert_answered(fd, "{\"ok\":false,\"error\":\"the request is over 65536 bytes\"}\n");
}

/* Takes its 5 seconds. */
static void test_request_that_never_comes(void **state)
{
	struct rig *rig = *state;
	int64_t began_ms = clock_mono_ms(&clock_system);
	int fd = connect_to(rig);

	put(fd, "{\"verb\":", 8);
	assert_answered(
		fd, "{\"ok\":false,\"error\":\"the request didn't come whole within 5 s\"}\n");
	assert_true(clock_mono_ms(&clock_system) - began_ms >= 5000);
	assert_listed(rig, "{'verb':'events'}", "");
}

/* Whoever hangs around doesn't hold up the daemon's end. */
static void test_stopping_with_a_peer_on_the_line(void **state)
{
	struct rig *rig = *state;
	int64_t began_ms = clock_mono_ms(&clock_system);
	int fd = connect_to(rig);
	int queued = connect_to(rig);

	put(fd, "{", 1);
	control_destroy(rig->control);
	rig->control = NULL;
	assert_true(clock_mono_ms(&clock_system) - began_ms < 4000);
	assert_int_not_equal(access(rig->path, F_OK), 0);
	(void)close(fd);
	(void)close(queued);
}

/* A peer that hangs up instead of reading is nobody's trouble. */
static void test_peer_that_hangs_up(void **state)
{
	struct rig *rig = *state;

	for (int i = 0; i < 20; i++) {
		int fd = connect_to(rig);
		put(fd, "{\"verb\":\"status\"}\n", i % 2 ? 18 : 5);
		(void)close(fd);
	}
	assert_listed(rig, "{'verb':'events'}", "");
}

/* ---- the socket ---- */

static void test_mode(void **state)
{
	const struct rig *rig = *state;
	struct stat status;

	assert_int_equal(lstat(rig->path, &status), 0);
	assert_true(S_ISSOCK(status.st_mode));
	assert_int_equal(status.st_mode & 07777, 0660);
}

static void assert_not_created(const struct rig *rig, const char *path, const char *why)
{
	struct control_options options = options_of(rig);
	struct error err = {0};

	options.path = path;
	assert_null(control_create(&options, &err));
	if (!strstr(err.text, why))
		fail_msg("%s instead of %s", err.text, why);
}

static void test_another_daemon(void **state)
{
	struct rig *rig = *state;

	assert_not_created(rig, rig->path, "another daemon answers there");
	assert_listed(rig, "{'verb':'events'}", ""); /* the first one still does */
}

static void test_a_dead_daemons_socket(void **state)
{
	struct rig *rig = *state;
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	(void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", rig->path);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	(void)close(fd);
	start_control(rig);
	assert_listed(rig, "{'verb':'events'}", "");
}

static void test_paths_that_wont_do(void **state)
{
	struct rig *rig = *state;
	char path[300];

	int fd = open(rig->path, O_CREAT | O_WRONLY, 0600);
	assert_true(fd >= 0);
	(void)close(fd);
	assert_not_created(rig, rig->path, "something is there that is no socket");
	assert_int_equal(access(rig->path, F_OK), 0);

	(void)snprintf(path, sizeof(path), "%s/absent/sock", rig->folder);
	assert_not_created(rig, path, "No such file or directory (its folder isn't there)");

	memset(path, 'x', sizeof(path) - 1);
	path[sizeof(path) - 1] = '\0';
	assert_not_created(rig, path, "the path is over 107 bytes");
}

/* What somebody else put in its place meanwhile stays. */
static void test_leaves_what_is_not_its_own(void **state)
{
	struct rig *rig = *state;

	assert_int_equal(unlink(rig->path), 0);
	int fd = open(rig->path, O_CREAT | O_WRONLY, 0600);
	assert_true(fd >= 0);
	(void)close(fd);
	control_destroy(rig->control);
	rig->control = NULL;
	assert_int_equal(access(rig->path, F_OK), 0);
}

#define WITH_CONTROL(test) cmocka_unit_test_setup_teardown(test, setup_with_control, teardown)
#define WITHOUT_CONTROL(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_CONTROL(test_status_of_an_idle_daemon),
		WITHOUT_CONTROL(test_status_counts),
		WITH_CONTROL(test_events),
		WITH_CONTROL(test_a_row_of_events),
		WITH_CONTROL(test_show_what_waits),
		WITH_CONTROL(test_show_what_is_parked),
		WITH_CONTROL(test_show_nothing),
		WITH_CONTROL(test_retry),
		WITH_CONTROL(test_requests_that_are_none),
		WITH_CONTROL(test_request_without_an_end),
		WITH_CONTROL(test_request_in_pieces),
		WITH_CONTROL(test_request_too_long),
		WITH_CONTROL(test_request_that_never_comes),
		WITH_CONTROL(test_stopping_with_a_peer_on_the_line),
		WITH_CONTROL(test_peer_that_hangs_up),
		WITH_CONTROL(test_mode),
		WITH_CONTROL(test_another_daemon),
		WITHOUT_CONTROL(test_a_dead_daemons_socket),
		WITHOUT_CONTROL(test_paths_that_wont_do),
		WITH_CONTROL(test_leaves_what_is_not_its_own),
	};
	return cmocka_run_group_tests_name("control", tests, NULL, NULL);
}
