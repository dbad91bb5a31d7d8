/*
 * The pace against two servers: an honest one, whose windows are counted as Intercom's are, and one
 * whose headers are any numbers at all. Bytes say how time passes and when answers come.
 *
 * What must be true: alone on an honest server no window gets more than its limit and the one call
 * that asks for the next window; whatever headers say, a call is never put off for longer than a
 * 429 may ask for, a 429 is obeyed, and a configured limit is kept.
 */

#include "deliver/pace.h"
#include "fuzz.h"

#define SLOTS 16
#define NEVER_LONGER_MS INT64_C(1400000) /* 900 s of Retry-After, a window's slot, a Reset */
#define EPOCH_S INT64_C(1780000000)
#define WINDOWS 4096
#define SENT_MAX 4096
#define STEPS_MAX 4000

struct call_out {
	bool is_out;
	int64_t answer_ms;
	struct pace_headers headers;
};

struct server {
	bool is_honest;
	int64_t limit;
	int64_t window_ms;
	int64_t late_s; /* how far Reset lies behind the window's end */
	int64_t used[WINDOWS];
};

struct field {
	struct pace pace;
	struct server server;
	struct fuzz_bytes *bytes;
	struct call_out calls[SLOTS];
	size_t out;
	int64_t now_ms;
	int64_t must_wait_until_ms;
	unsigned whole; /* answers in a row that had all their headers */
	int64_t sent_ms[SENT_MAX];
	size_t sent;
};

/* ---- the servers ---- */

static struct pace_headers honest_headers(struct field *field, int64_t at_ms)
{
	struct server *server = &field->server;
	int64_t window = at_ms / server->window_ms;
	int64_t end_s = EPOCH_S + (window + 1) * server->window_ms / 1000;

	if (window >= WINDOWS)
		window = WINDOWS - 1;
	int64_t used = ++server->used[window];
	/* One more is the probe; it may come too early once. */
	FUZZ_CHECK(window == WINDOWS - 1 || used <= server->limit + 1);
	return (struct pace_headers){
		.limit = server->limit,
		.remaining = used > server->limit ? 0 : server->limit - used,
		.reset_s = end_s + server->late_s,
		.date_s = EPOCH_S + at_ms / 1000,
		.retry_after_s = -1,
		.too_many = used > server->limit,
	};
}

static int64_t any_number(struct fuzz_bytes *bytes)
{
	unsigned how = fuzz_byte(bytes);
	int64_t number = fuzz_u16(bytes);

	switch (how % 6) {
	case 0: return -1;
	case 1: return 0;
	case 2: return number;
	case 3: return number % 64;
	case 4: return number * INT64_C(1500000);
	default: return INT64_C(100000000000);
	}
}

/* A moment in seconds near the server's, or anywhere. */
static int64_t any_moment(struct field *field)
{
	int64_t number = any_number(field->bytes);
	return number < 0 || number > 100000 ? number
					     : EPOCH_S + field->now_ms / 1000 + number % 700 - 50;
}

static struct pace_headers any_headers(struct field *field)
{
	return (struct pace_headers){
		.limit = any_number(field->bytes),
		.remaining = any_number(field->bytes),
		.reset_s = any_moment(field),
		.date_s = any_moment(field),
		.retry_after_s = any_number(field->bytes),
		.too_many = fuzz_below(field->bytes, 8) == 0,
	};
}

/* ---- calls ---- */

static void take_answer(struct field *field, struct call_out *call)
{
	/* Now and then the headers, or the whole answer, are missing. */
	unsigned mishap = fuzz_byte(field->bytes);
	struct pace_headers headers = call->headers;
	/* Before the first ones there is no limit that could be kept, windows of a length of
	 * their own must be seen to be learnt, and "now and then" is not "from now on". */
	bool may_be_missing = !field->server.is_honest ||
		(field->pace.known && field->server.window_ms == 10000 && field->whole >= 8);
	bool is_lost = may_be_missing && mishap == 255;

	if (may_be_missing && mishap > 250)
		headers.limit = headers.remaining = headers.reset_s = -1;
	field->whole = headers.reset_s < 0 || is_lost ? 0 : field->whole + 1;
	int64_t wall_ms = EPOCH_S * 1000 + field->now_ms;
	pace_answered(&field->pace, is_lost ? NULL : &headers, field->now_ms, wall_ms);
	call->is_out = false;
	field->out--;
	if (!is_lost && headers.too_many && headers.retry_after_s > 0) {
		int64_t span_s = headers.retry_after_s < 900 ? headers.retry_after_s : 900;
		int64_t until_ms = field->now_ms + span_s * 1000;
		if (until_ms > field->must_wait_until_ms)
			field->must_wait_until_ms = until_ms;
	}
}

static void take_answers(struct field *field)
{
	for (size_t i = 0; i < SLOTS; i++)
		if (field->calls[i].is_out && field->calls[i].answer_ms <= field->now_ms)
			take_answer(field, &field->calls[i]);
}

/* In any ten seconds, with a little that was missed being caught up. */
static void check_fixed(const struct field *field)
{
	int64_t fixed = field->pace.fixed_per_10s;
	size_t count = 0;

	for (size_t i = field->sent; i > 0 && field->sent_ms[i - 1] > field->now_ms - 10000; i--)
		count++;
	FUZZ_CHECK(fixed == 0 || (int64_t)count <= fixed + fixed * 6 / 100 + 2);
}

static void send_one(struct field *field)
{
	struct call_out *call = field->calls;
	unsigned latency_ms = fuzz_byte(field->bytes);

	while (call->is_out)
		call++;
	FUZZ_CHECK(field->now_ms >= field->must_wait_until_ms);
	pace_sent(&field->pace, field->now_ms);
	if (field->sent < SENT_MAX)
		field->sent_ms[field->sent++] = field->now_ms;
	check_fixed(field);
	/* Half of the way there, half of it back. */
	call->headers = field->server.is_honest
		? honest_headers(field, field->now_ms + latency_ms / 2)
		: any_headers(field);
	call->answer_ms = field->now_ms + latency_ms;
	call->is_out = true;
	field->out++;
}

static void step(struct field *field)
{
	static const int64_t spans_ms[] = {
		1, 3, 10, 40, 100, 250, 1000, 2500, 5000, 10000, 11000, 30000, 61000, 0, 0, 0};
	unsigned what = fuzz_byte(field->bytes);

	field->now_ms += spans_ms[what % 16];
	take_answers(field);
	int64_t next_ms = pace_next_ms(&field->pace, field->now_ms);
	FUZZ_CHECK(next_ms >= field->now_ms || field->server.is_honest);
	if (field->out == 0)
		FUZZ_CHECK(next_ms - field->now_ms <= NEVER_LONGER_MS);
	(void)pace_is_limiting(&field->pace, field->now_ms);
	if (what & 16 && next_ms < field->now_ms + 30000)
		field->now_ms = next_ms > field->now_ms ? next_ms : field->now_ms;
	for (unsigned burst = 1 + (what >> 5) * 2; burst > 0 && field->out < SLOTS; burst--) {
		take_answers(field);
		if (field->out < SLOTS &&
			pace_next_ms(&field->pace, field->now_ms) <= field->now_ms)
			send_one(field);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const int64_t windows_ms[] = {10000, 10000, 1000, 60000};
	struct fuzz_bytes bytes = {data, size};
	struct field *field = calloc(1, sizeof(*field));

	FUZZ_CHECK(field);
	unsigned what = fuzz_byte(&bytes);
	field->bytes = &bytes;
	field->now_ms = 5000 + fuzz_u16(&bytes);
	field->must_wait_until_ms = INT64_MIN;
	field->server.is_honest = what & 1;
	field->server.window_ms = windows_ms[what >> 1 & 3];
	field->server.late_s = what >> 3 & 3;
	field->server.limit = 1 + fuzz_byte(&bytes);
	int64_t fixed = what & 32 ? 1 + fuzz_byte(&bytes) : 0;
	/* More than the server takes would be run into before the first answer tells. */
	if (field->server.is_honest &&
		fixed * field->server.window_ms / 10000 >= field->server.limit)
		fixed = 0;
	pace_init(&field->pace, fixed);
	for (unsigned i = 0; bytes.left > 0 && i < STEPS_MAX; i++)
		step(field);
	free(field);
	return 0;
}
