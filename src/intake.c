/*
 * From a request to the store's queue, and from the commit to the answer.
 */

#include "intake.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/json_out.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "conf/conf.h"
#include "event/event.h"
#include "store/store.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* RevenueCat comes back after 5 minutes whatever we say; others take the hint. */
#define RETRY_AFTER_S 30
/* Strangers may knock as often as they like, the log says so once in this time. */
#define REFUSAL_LOG_MS 1000

struct intake {
	struct store *store;
	const struct clock *clock;
	atomic_bool is_stopping;
	atomic_llong unauthorized;
	atomic_llong malformed;
	atomic_llong failed;
	atomic_llong refusal_logged_mono_ms;
	atomic_llong latest_offset_ms; /* wall less monotonic clock, the most that was seen */
	atomic_size_t in_hand;         /* between the store's queue and their answers */
};

/* A webhook between the queue and its answer. */
struct arrival {
	struct accept accept;
	struct intake *intake;
	struct conf *conf;
	struct event *event;
	void (*answer)(void *context, const struct intake_answer *answer);
	void *context;
};

struct intake *intake_create(struct store *store, const struct clock *clock)
{
	struct intake *intake = xcalloc(1, sizeof(*intake));

	intake->store = store;
	intake->clock = clock;
	atomic_init(&intake->refusal_logged_mono_ms, INT64_MIN / 2);
	atomic_init(&intake->latest_offset_ms, clock_wall_ms(clock) - clock_mono_ms(clock));
	return intake;
}

void intake_destroy(struct intake *intake)
{
	free(intake);
}

void intake_stop(struct intake *intake)
{
	atomic_store(&intake->is_stopping, true);
}

size_t intake_in_hand(const struct intake *intake)
{
	return atomic_load(&intake->in_hand);
}

void intake_count(const struct intake *intake, struct intake_counts *ret)
{
	ret->unauthorized = atomic_load(&intake->unauthorized);
	ret->malformed = atomic_load(&intake->malformed);
	ret->failed = atomic_load(&intake->failed);
}

/* ---- answers ---- */

/* {"key":"text"}, with a second pair when text_2 is given. */
static void answer_texts(void (*answer)(void *context, const struct intake_answer *answer),
	void *context, unsigned status, const char *key, const char *text, const char *key_2,
	const char *text_2)
{
	struct buf buf;
	struct json_out out;

	buf_init(&buf, 4096);
	json_out_init(&out, &buf);
	json_out_object(&out);
	json_out_key_text(&out, key, text);
	if (text_2 != NULL)
		json_out_key_text(&out, key_2, text_2);
	json_out_object_end(&out);
	answer(context,
		&(struct intake_answer){.status = status,
			.body = buf_text(&buf),
			.retry_after_s = status == 503 ? RETRY_AFTER_S : 0});
	buf_finish(&buf);
}

static void refuse(const struct intake_request *request, unsigned status, const char *why)
{
	answer_texts(request->answer, request->context, status, "error", why, NULL, NULL);
}

/* One line at most in a while: the count says how many there were. */
static void log_refusal(struct intake *intake, const struct intake_request *request,
	const char *message, const char *why, long long count)
{
	const long long now_ms = clock_mono_ms(intake->clock);
	long long last_ms = atomic_load(&intake->refusal_logged_mono_ms);

	if (now_ms - last_ms < REFUSAL_LOG_MS ||
		!atomic_compare_exchange_strong(&intake->refusal_logged_mono_ms, &last_ms, now_ms))
		return;
	log_warn(message, LOG_TEXT("source", request->section->name), LOG_TEXT("why", why),
		LOG_INT("total", count));
}

static void answer_accepted(struct accept *accept)
{
	static const char *const WORDS[] = {[ACCEPT_STORED] = "accepted",
		[ACCEPT_DUPLICATE] = "duplicate",
		[ACCEPT_IGNORED] = "ignored",
		[ACCEPT_FAILED] = "failed"};
	struct arrival *arrival = accept->context;
	struct intake *intake = arrival->intake;
	const struct event *event = arrival->event;

	log_debug("webhook", LOG_TEXT("source", event->source), LOG_TEXT("event", event->id),
		LOG_TEXT("type", event->type), LOG_TEXT("result", WORDS[accept->status]),
		LOG_TEXT("reason", accept->reason));
	switch (accept->status) {
	case ACCEPT_STORED:
	case ACCEPT_DUPLICATE:
		answer_texts(arrival->answer, arrival->context, 200, "status",
			WORDS[accept->status], NULL, NULL);
		break;
	case ACCEPT_IGNORED:
		answer_texts(arrival->answer, arrival->context, 200, "status",
			WORDS[accept->status], "reason", accept->reason);
		break;
	case ACCEPT_FAILED:
		/* What the disk said is for the log (the store writes it), not for strangers. */
		atomic_fetch_add(&intake->failed, 1);
		answer_texts(arrival->answer, arrival->context, 503, "error",
			"the event could not be stored; send it again", NULL, NULL);
		break;
	}
	event_destroy(arrival->event);
	conf_unref(arrival->conf);
	free(arrival);
	atomic_fetch_sub(&intake->in_hand, 1);
}

/* ---- the way in ---- */

static struct source_request credentials_of(const struct intake_request *request, int64_t now_ms)
{
	return (struct source_request){
		.header = request->header,
		.context = request->context,
		.body = request->body,
		.body_len = request->body_len,
		.now_ms = now_ms,
	};
}

static void count_unauthorized(
	struct intake *intake, const struct intake_request *request, const struct error *err)
{
	log_refusal(intake, request, "a webhook was refused", err->text,
		atomic_fetch_add(&intake->unauthorized, 1) + 1);
}

bool intake_screen(struct intake *intake, const struct intake_request *request)
{
	const struct source *source = request->section->source;
	const struct source_request credentials =
		credentials_of(request, clock_wall_ms(intake->clock));
	struct error err = {0};

	if (!source->screen || source->screen(request->section, &credentials, &err))
		return true;
	count_unauthorized(intake, request, &err);
	return false;
}

static bool verify(struct intake *intake, const struct intake_request *request, int64_t now_ms)
{
	const struct source_request credentials = credentials_of(request, now_ms);
	struct error err = {0};

	if (request->section->source->verify(request->section, &credentials, &err))
		return true;
	count_unauthorized(intake, request, &err);
	/* Which part was wrong is for the log alone. */
	refuse(request, 401, "not authorized");
	return false;
}

/*
 * The latest date that this process has seen, moved on by the monotonic clock. A billing system's date
 * is doubted when it lies far ahead of ours; with a clock that was set back by days every honest one
 * does, and would be given a date before what is known of the customer.
 */
static int64_t latest_date_ms(struct intake *intake, int64_t now_ms)
{
	const int64_t mono_ms = clock_mono_ms(intake->clock);
	long long latest_ms = atomic_load(&intake->latest_offset_ms);

	while (now_ms - mono_ms > latest_ms &&
		!atomic_compare_exchange_weak(
			&intake->latest_offset_ms, &latest_ms, now_ms - mono_ms))
		continue;
	return mono_ms + atomic_load(&intake->latest_offset_ms);
}

void intake_receive(struct intake *intake, const struct intake_request *request)
{
	const int64_t now_ms = clock_wall_ms(intake->clock);
	struct error err = {0};

	if (atomic_load(&intake->is_stopping)) {
		atomic_fetch_add(&intake->failed, 1);
		refuse(request, 503, "the daemon is stopping; send it again");
		return;
	}
	if (!verify(intake, request, now_ms))
		return;

	struct event *event = request->section->source->normalise(
		request->conf, request->section, request->body, request->body_len, &err);
	if (event == NULL) {
		log_refusal(intake, request, "a webhook could not be understood", err.text,
			atomic_fetch_add(&intake->malformed, 1) + 1);
		refuse(request, 400, err.text);
		return;
	}
	event_settle_time(event, latest_date_ms(intake, now_ms));

	struct arrival *arrival = xcalloc(1, sizeof(*arrival));
	*arrival = (struct arrival){
		.accept = {.conf = request->conf,
			.section = request->section,
			.event = event,
			.body = request->body,
			.body_len = request->body_len,
			.received_at_ms = now_ms,
			.done = answer_accepted,
			.context = arrival},
		.intake = intake,
		.conf = conf_ref(request->conf),
		.event = event,
		.answer = request->answer,
		.context = request->context,
	};
	atomic_fetch_add(&intake->in_hand, 1);
	store_accept(intake->store, &arrival->accept);
}
