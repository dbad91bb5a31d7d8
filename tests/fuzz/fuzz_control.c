/*
 * Requests to the control socket: a line that may be anything, to a daemon that knows some events.
 *
 * What must be true: the answer is lines of JSON objects, and only the last says how it went.
 */

#include "admin/control_private.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/error.h"
#include "conf/conf.h"
#include "event/event.h"
#include "fuzz.h"
#include "source/source.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

static struct daemon {
	char folder[64];
	struct conf *conf;
	struct store *store;
	struct backend *reader;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	size_t done; /* lock */
} daemon_state = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static void note_done(void)
{
	(void)pthread_mutex_lock(&daemon_state.lock);
	daemon_state.done++;
	(void)pthread_cond_signal(&daemon_state.changed);
	(void)pthread_mutex_unlock(&daemon_state.lock);
}

static void wait_until_done(size_t count)
{
	(void)pthread_mutex_lock(&daemon_state.lock);
	while (daemon_state.done < count)
		(void)pthread_cond_wait(&daemon_state.changed, &daemon_state.lock);
	daemon_state.done = 0;
	(void)pthread_mutex_unlock(&daemon_state.lock);
}

static void accept_done(struct accept *accept)
{
	FUZZ_CHECK(accept->status != ACCEPT_FAILED);
	note_done();
}

static void finish_done(struct finish *finish)
{
	finish_destroy(finish);
	note_done();
}

static void post(const char *body)
{
	const struct conf_source *section = &daemon_state.conf->sources[0];
	struct error err = {0};
	struct event *event =
		section->source->normalise(daemon_state.conf, section, body, strlen(body), &err);
	struct accept accept = {
		.conf = daemon_state.conf,
		.section = section,
		.event = event,
		.body = body,
		.body_len = strlen(body),
		.received_at_ms = INT64_C(1717400000123),
		.done = accept_done,
	};

	FUZZ_CHECK(event);
	event_settle_time(event, accept.received_at_ms);
	store_accept(daemon_state.store, &accept);
	wait_until_done(1);
	event_destroy(event);
}

/* Parked after a call that was refused. */
static void park(int64_t event_id)
{
	struct error err = {0};
	int64_t destination_id;
	FUZZ_CHECK(
		store_destination(daemon_state.store, "intercom~dry-run", &destination_id, &err));
	struct finish *finish = finish_create(destination_id, 1);
	struct finish_job *job = finish_add_job(finish);

	job->event_id = event_id;
	job->is_main = true;
	job->outcome = JOB_PARKED;
	(void)snprintf(job->reason, sizeof(job->reason), "400 parameter_invalid: no");
	finish_add_attempt(finish,
		&(struct attempt){
			.event_id = event_id,
			.at_ms = INT64_C(1717400001000),
			.contact_id = 1,
			.call = "submit_event",
			.status = 400,
			.verdict = "park",
			.request_id = "req-1",
			.reason = "400 parameter_invalid: no",
		});
	finish->done = finish_done;
	store_finish(daemon_state.store, finish);
	wait_until_done(1);
}

static void take_away(void)
{
	store_reader_close(daemon_state.store, daemon_state.reader);
	store_close(daemon_state.store);
	conf_unref(daemon_state.conf);
	DIR *folder = opendir(daemon_state.folder);
	for (const struct dirent *entry; folder && (entry = readdir(folder));)
		(void)unlinkat(dirfd(folder), entry->d_name, 0); /* not "." and ".." */
	if (folder)
		(void)closedir(folder);
	(void)rmdir(daemon_state.folder);
}

static void start(void)
{
	struct conf_report report;
	struct error err = {0};
	char path[100];

	(void)snprintf(daemon_state.folder, sizeof(daemon_state.folder),
		"/tmp/subrelay-fuzz-control-XXXXXX");
	FUZZ_CHECK(mkdtemp(daemon_state.folder));
	(void)snprintf(path, sizeof(path), "%s/db", daemon_state.folder);
	daemon_state.conf = conf_load_for_map(NULL, NULL, &report);
	FUZZ_CHECK(daemon_state.conf);
	conf_report_finish(&report);
	daemon_state.store = store_open(
		&(struct store_options){
			.backend = &store_sqlite,
			.path = path,
			.clock = &clock_system,
			.keep_delivered_ms = INT64_MAX,
			.keep_parked_ms = INT64_MAX,
			.has_thread = true,
		},
		&err);
	FUZZ_CHECK(daemon_state.store);
	FUZZ_CHECK(atexit(take_away) == 0);
	post("{\"event\":{\"id\":\"e-1\",\"type\":\"RENEWAL\",\"event_timestamp_ms\":1717400000000,"
	     "\"app_user_id\":\"ann\",\"store\":\"APP_STORE\",\"product_id\":\"p\"}}");
	post("{\"event\":{\"id\":\"2\",\"type\":\"TEST\",\"event_timestamp_ms\":1717400000000,"
	     "\"app_user_id\":\"b\\u001b[2J\\u009b\"}}");
	post("{\"event\":{\"id\":\"e-3\",\"type\":\"CANCELLATION\",\n\"event_timestamp_ms\":null,"
	     "\"event_timestamp_ms\":1717400000001,\"app_user_id\":\"ann\",\"x\":\"\\u0000\"}}");
	park(1);
	daemon_state.reader = store_reader(daemon_state.store, &err);
	FUZZ_CHECK(daemon_state.reader);
}

static void check_answer(const struct buf *answer)
{
	const char *line = buf_text(answer);
	bool is_over = false;

	FUZZ_CHECK(!answer->overflowed && strlen(line) == answer->len);
	while (*line) {
		const char *end = strchr(line, '\n');
		FUZZ_CHECK(end && !is_over);
		json_t *row = json_loadb(line, (size_t)(end - line), JSON_ALLOW_NUL, NULL);
		FUZZ_CHECK(json_is_object(row));
		const json_t *ok = json_object_get(row, "ok");
		is_over = ok != NULL;
		if (json_is_false(ok))
			FUZZ_CHECK(json_string_length(json_object_get(row, "error")) > 0);
		json_decref(row);
		line = end + 1;
	}
	FUZZ_CHECK(is_over);
}

static bool nothing_to_take(void *context, struct error *err)
{
	(void)context;
	return error_set(err, "there is no connection");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf line, answer;

	if (!daemon_state.store)
		start();
	const struct control_options options = {
		.store = daemon_state.store,
		.clock = &clock_system,
		.started_at_ms = INT64_C(1717400000000),
	};
	struct control_taker taker = {.take = nothing_to_take};
	const uint8_t *end = size ? memchr(data, '\n', size) : NULL;
	buf_init(&line, CONTROL_REQUEST_MAX);
	buf_init(&answer, CONTROL_ANSWER_MAX);
	(void)buf_add(&line, size ? (const void *)data : "", end ? (size_t)(end - data) : size);
	control_answer(&options, daemon_state.reader, &taker, &line, &answer);
	check_answer(&answer);
	buf_finish(&line);
	buf_finish(&answer);
	return 0;
}
