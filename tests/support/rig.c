/*
 * See rig.h. The stand-in is asked directly, with what would have been on the wire.
 */

#include "rig.h"

#include "base/error.h"
#include "base/json_memory.h"
#include "base/xalloc.h"
#include "event/attributes.h"

#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define START_MS 1700000000000
#define STORE_RETRY_MS 500

static const char INI[] = "[server]\n"
			  "listen = 127.0.0.1:0\n"
			  "[store]\n"
			  "path = %s/relay.db\n"
			  "[intercom]\n"
			  "access_token = token\n"
			  "base_url = http://127.0.0.1:1\n"
			  "[revenuecat]\n"
			  "authorization = Bearer demo\n"
			  "[delivery]\n"
			  "%s\n";

static void load_conf(struct rig *rig)
{
	char path[128];
	char *const environment[] = {NULL};
	struct conf_report report;
	char text[4096];

	(void)snprintf(path, sizeof(path), "%s/relay.ini", rig->folder);
	(void)snprintf(text, sizeof(text), INI, rig->folder, rig->ini);
	FILE *file = fopen(path, "w");
	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
	rig->conf = conf_load(path, environment, &report);
	for (size_t i = 0; i < report.count; i++)
		if (!report.problems[i].is_warning)
			print_message(
				"%s: %s\n", report.problems[i].where, report.problems[i].text);
	conf_report_finish(&report);
	assert_non_null(rig->conf);
}

static void new_work(void *context, int64_t destination_id, bool is_rewound)
{
	struct rig *rig = context;

	if (rig->dispatcher != NULL)
		dispatcher_new_work(rig->dispatcher, destination_id, is_rewound);
}

bool rig_start(struct rig *rig, struct error *err)
{
	rig->store = store_open(
		&(struct store_options){
			.backend = rig->backend != NULL ? rig->backend : &store_sqlite,
			.path = rig->conf->store.path,
			.clock = &rig->clock.clock,
			.keep_delivered_ms = rig->conf->store.keep_delivered_ms,
			.keep_parked_ms = rig->conf->store.keep_parked_ms,
			.new_work = new_work,
			.context = rig,
		},
		err);
	if (rig->store == NULL)
		return false;
	rig->intake = intake_create(rig->store, &rig->clock.clock);
	rig->dispatcher = dispatcher_create(&(struct dispatcher_options){.conf = rig->conf,
						    .store = rig->store,
						    .clock = &rig->clock.clock,
						    .seed = 1},
		err);
	if (rig->dispatcher == NULL) {
		rig_stop(rig);
		return false;
	}
	rig->feed = dispatcher_feed(rig->dispatcher);
	return true;
}

static void start(struct rig *rig)
{
	struct error err = {0};

	if (!rig_start(rig, &err))
		fail_msg("%s", err.text);
}

struct rig *rig_prepare(const char *ini, const struct standin_options *options)
{
	static const struct standin_options NONE;
	struct rig *rig = xcalloc(1, sizeof(*rig));

	json_memory_init(); /* as main does */
	clock_fake_init(&rig->clock, START_MS);
	/* In memory where that is to be had: days of retries sync the disk thousands of times. */
	(void)snprintf(rig->folder, sizeof(rig->folder), "%s/subrelay-rig-XXXXXX",
		access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	assert_non_null(mkdtemp(rig->folder));
	rig->ini = xstrdup(ini != NULL ? ini : "");
	rig->standin = standin_create(options != NULL ? options : &NONE);
	rig->answer_ms = 1;
	load_conf(rig);
	return rig;
}

struct rig *rig_create(const char *ini, const struct standin_options *options)
{
	struct rig *rig = rig_prepare(ini, options);

	start(rig);
	return rig;
}

void rig_stop(struct rig *rig)
{
	struct dispatcher *dispatcher = rig->dispatcher;

	store_close(rig->store);
	rig->dispatcher = NULL;
	dispatcher_destroy(dispatcher);
	intake_destroy(rig->intake);
	rig->store = NULL;
	rig->intake = NULL;
}

void rig_restart(struct rig *rig)
{
	rig_stop(rig);
	start(rig);
}

void rig_reload(struct rig *rig, const char *ini)
{
	struct conf *before = rig->conf;

	free(rig->ini);
	rig->ini = xstrdup(ini);
	load_conf(rig);
	dispatcher_reconfigure(rig->dispatcher, rig->conf);
	conf_unref(before);
}

static int remove_one(const char *path, const struct stat *stat, int flag, struct FTW *ftw)
{
	(void)stat;
	(void)flag;
	(void)ftw;
	return remove(path);
}

void rig_destroy(struct rig *rig)
{
	rig_stop(rig);
	standin_destroy(rig->standin);
	conf_unref(rig->conf);
	(void)nftw(rig->folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
	free(rig->ini);
	free(rig);
}

/* ---- webhooks ---- */

static const char *header(void *context, const char *name)
{
	(void)context;
	return strcasecmp(name, "Authorization") == 0 ? "Bearer demo" : NULL;
}

static void take_answer(void *context, const struct intake_answer *answer)
{
	struct rig *rig = context;

	rig->status = answer->status;
	rig->retry_after_s = answer->retry_after_s;
	(void)snprintf(rig->answer, sizeof(rig->answer), "%s", answer->body);
}

unsigned rig_post(struct rig *rig, const char *body)
{
	rig->status = 0;
	intake_receive(rig->intake,
		&(struct intake_request){.conf = rig->conf,
			.section = &rig->conf->sources[0],
			.header = header,
			.body = body,
			.body_len = strlen(body),
			.answer = take_answer,
			.context = rig});
	if (rig->status == 0)
		(void)store_run(rig->store); /* false, too, when the disk refuses it */
	assert_int_not_equal(rig->status, 0);
	return rig->status;
}

unsigned rig_post_event(struct rig *rig, const char *members, ...)
{
	char inner[4096];
	char body[4200];
	va_list args;

	va_start(args, members);
	(void)vsnprintf(inner, sizeof(inner), members, args);
	va_end(args);
	(void)snprintf(body, sizeof(body), "{\"api_version\":\"1.0\",\"event\":{%s}}", inner);
	for (char *c = body; *c != '\0'; c++)
		if (*c == '\'')
			*c = '"';
	return rig_post(rig, body);
}

void rig_set_clock(struct rig *rig, int64_t by_ms)
{
	rig->clock.wall_ms += by_ms;
	rig->wire_ahead_ms -= by_ms;
}

/* ---- the wire ---- */

static void copy_headers(struct reply *reply, const char *headers)
{
	for (const char *line = headers; *line != '\0';) {
		const char *end = strstr(line, "\r\n");
		const size_t len = end != NULL ? (size_t)(end - line) + 2 : strlen(line);

		reply_take_header(reply, line, len);
		line += len;
	}
}

static void ask_standin(struct rig *rig, struct errand *errand)
{
	struct standin_answer answer;
	char authorization[128];

	(void)snprintf(authorization, sizeof(authorization), "Bearer %s",
		errand->workspace->access_token.bytes);
	standin_answer_init(&answer);
	if (rig->at_intercom != NULL)
		rig->at_intercom(true);
	standin_handle(rig->standin, rig->clock.wall_ms + rig->wire_ahead_ms,
		&(struct standin_request){.method = errand->call.method,
			.path = buf_text(&errand->call.path),
			.authorization = authorization,
			.intercom_version = errand->workspace->api_version,
			.accept = "application/json",
			.content_type = "application/json",
			.body = errand->call.body.data,
			.body_len = errand->call.body.len},
		&answer);
	if (rig->at_intercom != NULL)
		rig->at_intercom(false);
	clock_fake_advance(&rig->clock, rig->answer_ms + answer.delay_ms);
	errand->reply.elapsed_ms = rig->answer_ms + answer.delay_ms;
	if (answer.drop != STANDIN_ANSWER) {
		errand->reply.wire = WIRE_BROKEN;
		(void)snprintf(
			errand->reply.wire_error, sizeof(errand->reply.wire_error), "dropped");
	} else {
		errand->reply.wire = WIRE_ANSWERED;
		errand->reply.status = answer.status;
		copy_headers(&errand->reply, buf_text(&answer.headers));
		(void)buf_add(&errand->reply.body, answer.body.data, answer.body.len);
		/* As the worker does: a 429 says so to the pace, too. */
		errand->reply.rate.too_many = answer.status == 429;
	}
	standin_answer_finish(&answer);
}

static void carry(struct rig *rig, struct errand *errand)
{
	rig->calls++;
	if (rig->is_unreachable) {
		clock_fake_advance(&rig->clock, rig->answer_ms);
		errand->reply.wire = WIRE_UNREACHABLE;
		(void)snprintf(errand->reply.wire_error, sizeof(errand->reply.wire_error),
			"connection refused");
	} else {
		ask_standin(rig, errand);
	}
	rig->feed.done(rig->feed.context, errand);
}

/* *ret_wake_ms: when something is due next. */
static bool step(struct rig *rig, int64_t *ret_wake_ms)
{
	bool did = store_run(rig->store);
	int64_t refill_ms = dispatcher_refill(rig->dispatcher);
	/* Work that needs no call is reported by the refill. */
	did |= store_run(rig->store);
	int64_t feed_ms;
	struct errand *errand = rig->feed.next(rig->feed.context, &feed_ms);

	if (errand == NULL) { /* it may have put lanes back to be read anew */
		did |= store_run(rig->store);
		refill_ms = dispatcher_refill(rig->dispatcher);
		errand = rig->feed.next(rig->feed.context, &feed_ms);
	}
	if (errand != NULL) {
		carry(rig, errand);
		did = true;
	}
	*ret_wake_ms = refill_ms < feed_ms ? refill_ms : feed_ms;
	/* What the disk refused is tried again by the writer, of its own accord. */
	if (*ret_wake_ms == INT64_MAX && rig_totals(rig).waiting > 0)
		*ret_wake_ms = rig->clock.mono_ms + STORE_RETRY_MS;
	return did || refill_ms <= rig->clock.mono_ms;
}

bool rig_step(struct rig *rig)
{
	int64_t wake_ms;

	return step(rig, &wake_ms);
}

void rig_run(struct rig *rig, int64_t span_ms)
{
	const int64_t end_ms = rig->clock.mono_ms + span_ms;

	while (rig->clock.mono_ms < end_ms) {
		int64_t wake_ms;

		if (step(rig, &wake_ms))
			continue;
		if (wake_ms > end_ms)
			wake_ms = end_ms;
		if (wake_ms > rig->clock.mono_ms)
			clock_fake_advance(&rig->clock, wake_ms - rig->clock.mono_ms);
	}
}

void rig_drain(struct rig *rig, int64_t span_ms)
{
	const int64_t end_ms = rig->clock.mono_ms + span_ms;

	while (rig_totals(rig).waiting > 0) {
		int64_t wake_ms;

		if (rig->clock.mono_ms > end_ms)
			fail_msg("%lld jobs still wait", (long long)rig_totals(rig).waiting);
		if (step(rig, &wake_ms))
			continue;
		if (wake_ms > rig->clock.mono_ms)
			clock_fake_advance(&rig->clock, wake_ms - rig->clock.mono_ms);
	}
}

/* ---- looking ---- */

struct totals rig_totals(struct rig *rig)
{
	struct totals totals;

	store_totals(rig->store, &totals);
	return totals;
}

char *rig_wanted(struct rig *rig, const char *identity)
{
	struct error err = {0};
	struct backend *reader = store_reader(rig->store, &err);
	struct stored_contact contact = {.destination_id = 1,
		.identity = identity,
		.is_email = strchr(identity, '@') != NULL};
	struct attributes set;
	struct arena arena;
	struct buf text;

	assert_non_null(reader);
	arena_init(&arena);
	attributes_init(&set);
	buf_init(&text, 65536);
	assert_true(store_ops(rig->store)->contact_load(reader, &contact, &arena, &err));
	if (contact.wanted[0] != '\0') {
		assert_true(attributes_decode(contact.wanted, strlen(contact.wanted), &set, &err));
		attributes_render(&set, &text);
	}
	attributes_finish(&set);
	arena_finish(&arena);
	store_reader_close(rig->store, reader);
	return buf_detach(&text);
}

static void note_state(void *context, const struct workspace_status *status)
{
	const char **state = context;

	*state = status->state;
}

const char *rig_workspace_state(struct rig *rig)
{
	const char *state = "";

	dispatcher_status(rig->dispatcher, note_state, &state);
	return state;
}
