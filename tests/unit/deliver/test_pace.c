/*
 * The pace against a simulated Intercom: fixed windows, whole seconds in its headers, latency,
 * other apps, clocks that disagree. A tick is one millisecond; a simulated minute takes a few of
 * them.
 */

#include "deliver/pace.h"

#include "base/backoff.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SLOTS_MAX 64
#define WINDOWS_MAX 400
#define SERVER_EPOCH_MS INT64_C(1763704800000) /* the server's wall clock at mono 0 */
#define MONO_AT_START INT64_C(5000)

struct world {
	/* the server */
	int64_t limit;
	int64_t window_ms;
	int64_t reset_late_ms; /* Reset = end of the window + this */
	int64_t epoch_ms;      /* its wall clock at mono 0 */
	int others_per_s;      /* calls of other apps */
	int hide_percent;      /* answers without rate headers */
	bool no_headers;
	bool no_date;
	bool no_reset_on_429;
	int64_t retry_after_s; /* on 429; 0: none */
	/* the wire and this side */
	int latency_ms;
	int jitter_ms;
	int slots;
	int64_t local_wall_error_ms;
	int64_t idle_from_ms, idle_to_ms; /* no work in between */
	int work_per_s;                   /* 0: an endless backlog */
	int lost_percent;                 /* calls that are never answered (break after 300 ms) */
	/* what is watched */
	int64_t total;
	int64_t too_many;
	int64_t sent_in_stop;
	int64_t window_count[WINDOWS_MAX];
	int64_t other_count[WINDOWS_MAX];
	int64_t tenths[WINDOWS_MAX][10];
	int64_t in_flight_max;
};

struct slot {
	bool busy;
	bool lost;
	bool counted;
	int64_t arrive_ms;
	int64_t answer_ms;
	struct pace_headers headers;
};

struct sim {
	struct world *world;
	struct pace *pace;
	struct rng rng;
	struct slot slots[SLOTS_MAX];
	int64_t origin_window; /* number of the first one */
	int64_t in_flight;
	int64_t must_wait_until_ms;
	int64_t work_done;
};

static int64_t server_wall_ms(const struct sim *sim, int64_t mono_ms)
{
	return sim->world->epoch_ms + mono_ms;
}

static size_t window_index(const struct sim *sim, int64_t mono_ms)
{
	int64_t window = server_wall_ms(sim, mono_ms) / sim->world->window_ms;
	int64_t index = window - sim->origin_window;
	assert_in_range(index, 0, WINDOWS_MAX - 1);
	return (size_t)index;
}

static void serve(struct sim *sim, struct slot *slot, int64_t now_ms)
{
	struct world *world = sim->world;
	size_t window = window_index(sim, now_ms);
	int64_t into_ms = server_wall_ms(sim, now_ms) % world->window_ms;
	int64_t used = ++world->window_count[window] + world->other_count[window];
	world->tenths[window][into_ms * 10 / world->window_ms]++;
	world->total++;
	int64_t end_ms = server_wall_ms(sim, now_ms) - into_ms + world->window_ms;
	bool too_many = used > world->limit;
	slot->headers = (struct pace_headers){
		.limit = world->limit,
		.remaining = too_many ? 0 : world->limit - used,
		.reset_s = (end_ms + world->reset_late_ms) / 1000,
		.date_s = world->no_date ? -1 : server_wall_ms(sim, now_ms) / 1000,
		.retry_after_s = -1,
		.too_many = too_many,
	};
	bool hidden = (int)rng_below(&sim->rng, 100) < world->hide_percent;
	if (too_many) {
		world->too_many++;
		if (world->retry_after_s > 0)
			slot->headers.retry_after_s = world->retry_after_s;
		hidden = world->no_reset_on_429;
	}
	if (world->no_headers || hidden)
		slot->headers.limit = slot->headers.remaining = slot->headers.reset_s = -1;
	slot->counted = true;
}

static void take_answers(struct sim *sim, int64_t now_ms)
{
	int64_t wall_ms = server_wall_ms(sim, now_ms) + sim->world->local_wall_error_ms;
	for (int i = 0; i < sim->world->slots; i++) {
		struct slot *slot = &sim->slots[i];
		if (!slot->busy)
			continue;
		if (!slot->counted && now_ms >= slot->arrive_ms)
			serve(sim, slot, now_ms);
		if (now_ms < slot->answer_ms)
			continue;
		slot->busy = false;
		sim->in_flight--;
		pace_answered(sim->pace, slot->lost ? NULL : &slot->headers, now_ms, wall_ms);
		if (!slot->lost && slot->headers.too_many && slot->headers.reset_s >= 0) {
			int64_t reset_ms = slot->headers.reset_s * 1000 - sim->world->epoch_ms;
			if (reset_ms > sim->must_wait_until_ms)
				sim->must_wait_until_ms = reset_ms;
		}
	}
}

static bool has_work(const struct sim *sim, int64_t now_ms)
{
	const struct world *world = sim->world;
	if (now_ms >= world->idle_from_ms && now_ms < world->idle_to_ms)
		return false;
	return world->work_per_s == 0 ||
		sim->work_done < (now_ms - MONO_AT_START) * world->work_per_s / 1000;
}

static void send_one(struct sim *sim, struct slot *slot, int64_t now_ms)
{
	struct world *world = sim->world;
	int64_t half_ms = world->latency_ms / 2;
	int64_t jitter_ms = (int64_t)rng_below(&sim->rng, (uint64_t)world->jitter_ms + 1);
	int64_t jitter_out_ms = (int64_t)rng_below(&sim->rng, (uint64_t)jitter_ms + 1);
	bool lost = (int)rng_below(&sim->rng, 100) < world->lost_percent;
	*slot = (struct slot){
		.busy = true,
		.lost = lost,
		.arrive_ms = now_ms + half_ms + jitter_out_ms,
		.answer_ms = lost ? now_ms + 300 + half_ms + jitter_ms
				  : now_ms + world->latency_ms + jitter_ms,
	};
	if (now_ms < sim->must_wait_until_ms)
		world->sent_in_stop++;
	pace_sent(sim->pace, now_ms);
	sim->work_done++;
	sim->in_flight++;
	if (sim->in_flight > world->in_flight_max)
		world->in_flight_max = sim->in_flight;
}

static void send_calls(struct sim *sim, int64_t now_ms)
{
	for (int i = 0; i < sim->world->slots; i++) {
		struct slot *slot = &sim->slots[i];
		if (slot->busy)
			continue;
		if (!has_work(sim, now_ms) || pace_next_ms(sim->pace, now_ms) > now_ms)
			return;
		send_one(sim, slot, now_ms);
	}
}

static void run_with(struct world *world, struct pace *pace, int64_t span_ms, uint64_t seed)
{
	struct sim *sim = calloc(1, sizeof(*sim));
	assert_non_null(sim);
	if (world->epoch_ms == 0)
		world->epoch_ms = SERVER_EPOCH_MS + 3456;
	if (world->slots == 0)
		world->slots = 32;
	sim->world = world;
	sim->pace = pace;
	rng_seed(&sim->rng, seed);
	sim->origin_window = server_wall_ms(sim, MONO_AT_START) / world->window_ms;
	int64_t others = 0;
	for (int64_t now_ms = MONO_AT_START; now_ms < MONO_AT_START + span_ms; now_ms++) {
		while (others < (now_ms - MONO_AT_START) * world->others_per_s / 1000) {
			world->other_count[window_index(sim, now_ms)]++;
			others++;
		}
		take_answers(sim, now_ms);
		send_calls(sim, now_ms);
	}
	free(sim);
}

static void run(struct world *world, int64_t span_ms)
{
	struct pace pace;
	pace_init(&pace, 0);
	run_with(world, &pace, span_ms, 1);
	assert_int_equal(world->sent_in_stop, 0);
}

/* Percent of the allowance used, from the third window to the last but one. */
static double used_percent(const struct world *world, int64_t span_ms, int64_t skip)
{
	int64_t last = span_ms / world->window_ms - 1;
	int64_t used = 0;
	assert_true(last > skip);
	for (int64_t i = skip; i < last; i++)
		used += world->window_count[i];
	return 100.0 * (double)used / (double)((last - skip) * world->limit);
}

static void assert_within_limit(const struct world *world)
{
	assert_int_equal(world->too_many, 0);
	for (size_t i = 0; i < WINDOWS_MAX; i++)
		assert_true(world->window_count[i] <= world->limit);
}

static int64_t largest_tenth(const struct world *world, size_t skip)
{
	int64_t largest = 0;
	for (size_t i = skip; i < WINDOWS_MAX; i++) {
		for (size_t j = 0; j < 10; j++)
			largest = world->tenths[i][j] > largest ? world->tenths[i][j] : largest;
	}
	return largest;
}

static void assert_spread(const struct world *world)
{
	int64_t even = (world->limit + 9) / 10;
	int64_t most = 3 * even;
	assert_true(largest_tenth(world, 2) <= (most > 2 ? most : 2));
}

static void assert_uses(const struct world *world, int64_t span_ms, double percent)
{
	double used = used_percent(world, span_ms, 3);
	if (getenv("PACE_VERBOSE"))
		print_message(
			"limit %lld per %lld ms, reset +%lld, latency %d: %.2f %%, tenth %lld\n",
			(long long)world->limit, (long long)world->window_ms,
			(long long)world->reset_late_ms, world->latency_ms, used,
			(long long)largest_tenth(world, 2));
	if (used < percent)
		fail_msg("only %.2f %% of %lld per %lld ms used", used, (long long)world->limit,
			(long long)world->window_ms);
}

static void check_alone(struct world world, int64_t span_ms, double percent)
{
	run(&world, span_ms);
	assert_within_limit(&world);
	assert_spread(&world);
	assert_uses(&world, span_ms, percent);
}

/* Every shape of window at every phase against our start. */
static void alone_it_uses_the_allowance_and_no_more(void **state)
{
	(void)state;
	static const int64_t limits[] = {20, 83, 166, 167, 500, 1666, 1, 2, 3, 7, 19, 49, 50};
	static const int64_t lates[] = {2000, 0};
	for (size_t i = 0; i < sizeof(limits) / sizeof(*limits); i++) {
		for (size_t j = 0; j < 2; j++) {
			for (int64_t phase = 0; phase < 10000; phase += 1777) {
				struct world world = {
					.limit = limits[i],
					.window_ms = 10000,
					.reset_late_ms = lates[j],
					.epoch_ms = SERVER_EPOCH_MS + phase,
					.latency_ms = 150,
					.jitter_ms = limits[i] > 1000 ? 20 : 60,
				};
				check_alone(world, 120000, limits[i] >= 20 ? 95 : 90);
			}
		}
	}
}

static void short_windows_are_learnt(void **state)
{
	(void)state;
	static const int64_t lengths[] = {1000, 2000, 5000};
	static const int64_t limits[] = {20, 50, 100};
	for (size_t i = 0; i < 3; i++) {
		for (size_t j = 0; j < 3; j++) {
			for (int64_t late = 0; late <= 2000; late += 1000) {
				struct world world = {
					.limit = limits[j],
					.window_ms = lengths[i],
					.reset_late_ms = late,
					.latency_ms = 5,
					.jitter_ms = 2,
				};
				int64_t span_ms = lengths[i] * 60;
				run(&world, span_ms);
				assert_within_limit(&world);
				double used = used_percent(&world, span_ms, 10);
				if (getenv("PACE_VERBOSE"))
					print_message("W %lld limit %lld late %lld: %.2f\n",
						(long long)lengths[i], (long long)limits[j],
						(long long)late, used);
				assert_true(used >= 95);
			}
		}
	}
}

static void slow_and_disordered_answers_do_no_harm(void **state)
{
	(void)state;
	static const struct world worlds[] = {
		{.limit = 166, .latency_ms = 150, .jitter_ms = 400},
		{.limit = 166, .latency_ms = 800, .jitter_ms = 800},
		{.limit = 20, .latency_ms = 150, .jitter_ms = 2500},
		{.limit = 1666, .latency_ms = 150, .jitter_ms = 40},
		{.limit = 1666, .latency_ms = 300, .jitter_ms = 200, .slots = 64},
		{.limit = 83, .latency_ms = 150, .jitter_ms = 12000, .slots = 64},
	};
	static const double percents[] = {95, 95, 95, 95, 95, 60};
	for (size_t i = 0; i < sizeof(worlds) / sizeof(*worlds); i++) {
		struct world world = worlds[i];
		world.window_ms = 10000;
		world.reset_late_ms = 2000;
		run(&world, 200000);
		assert_within_limit(&world);
		assert_uses(&world, 200000, percents[i]);
	}
}

static void missing_headers_and_lost_answers_do_no_harm(void **state)
{
	(void)state;
	static const struct world worlds[] = {
		{.limit = 1666, .latency_ms = 150, .hide_percent = 20},
		{.limit = 83, .latency_ms = 150, .hide_percent = 50},
		{.limit = 20, .latency_ms = 150, .hide_percent = 30},
		{.limit = 166, .latency_ms = 150, .lost_percent = 20},
		{.limit = 20, .latency_ms = 150, .lost_percent = 30, .jitter_ms = 100},
	};
	for (size_t i = 0; i < sizeof(worlds) / sizeof(*worlds); i++) {
		struct world world = worlds[i];
		world.window_ms = 10000;
		world.reset_late_ms = 2000;
		run(&world, 200000);
		assert_within_limit(&world);
		assert_uses(&world, 200000, 90);
	}
}

static void clocks_may_disagree(void **state)
{
	(void)state;
	static const int64_t errors_ms[] = {3600000, -3600000, 4000, -4000, 700, -86400000};
	for (size_t i = 0; i < sizeof(errors_ms) / sizeof(*errors_ms); i++) {
		for (int no_date = 0; no_date < 2; no_date++) {
			struct world world = {
				.limit = 166,
				.window_ms = 10000,
				.reset_late_ms = 2000,
				.latency_ms = 150,
				.jitter_ms = 30,
				.local_wall_error_ms = errors_ms[i],
				.no_date = no_date,
			};
			check_alone(world, 150000, 95);
		}
	}
}

static void pauses_do_not_confuse_it(void **state)
{
	(void)state;
	for (int64_t pause_ms = 500; pause_ms < 60000; pause_ms = pause_ms * 3 / 2) {
		for (int64_t from_ms = 40000; from_ms < 52000; from_ms += 1900) {
			struct world world = {
				.limit = 83,
				.window_ms = 10000,
				.reset_late_ms = 2000,
				.latency_ms = 150,
				.jitter_ms = 30,
				.idle_from_ms = from_ms,
				.idle_to_ms = from_ms + pause_ms,
			};
			run(&world, 180000);
			assert_within_limit(&world);
			int64_t last = 0;
			for (size_t i = 13; i < 16; i++)
				last += world.window_count[i];
			assert_true(last >= 83 * 3 * 95 / 100);
		}
	}
}

/* Light work is not slowed down by more than its slot. */
static void light_work_passes(void **state)
{
	(void)state;
	struct world world = {
		.limit = 1666,
		.window_ms = 10000,
		.reset_late_ms = 2000,
		.latency_ms = 150,
		.work_per_s = 20,
	};
	run(&world, 100000);
	assert_within_limit(&world);
	assert_true(world.total >= 20 * 100 - 15);
}

static void other_apps_share_the_allowance(void **state)
{
	(void)state;
	static const int rates[] = {20, 80, 120, 160};
	for (size_t i = 0; i < sizeof(rates) / sizeof(*rates); i++) {
		struct world world = {
			.limit = 1666,
			.window_ms = 10000,
			.reset_late_ms = 2000,
			.latency_ms = 150,
			.jitter_ms = 10,
			.others_per_s = rates[i],
		};
		run(&world, 200000);
		int64_t used = 0;
		for (size_t w = 3; w < 19; w++)
			used += world.window_count[w] + world.other_count[w];
		if (getenv("PACE_VERBOSE"))
			print_message("others %d/s: %.2f %% used together, %lld 429s of %lld\n",
				rates[i], 100.0 * (double)used / (16.0 * 1666),
				(long long)world.too_many, (long long)world.total);
		assert_true(used >= 16 * 1666 * 95 / 100);
		assert_true(world.too_many <= 16); /* not more than one a window */
	}
}

/* Others take all of it: calls stop until Reset, and go on. */
static void hogs_are_waited_out(void **state)
{
	(void)state;
	struct world world = {
		.limit = 166,
		.window_ms = 10000,
		.reset_late_ms = 2000,
		.latency_ms = 150,
		.others_per_s = 60,
	};
	run(&world, 200000);
	assert_true(world.total > 100);
	assert_true(world.too_many <= 20); /* one a window */
}

static void without_headers_there_is_no_limit(void **state)
{
	(void)state;
	struct world world = {
		.limit = 1000000, .window_ms = 10000, .latency_ms = 100, .no_headers = true};
	run(&world, 20000);
	assert_int_equal(world.in_flight_max, 32);
	assert_true(world.total > 32 * 190);
}

static void one_at_a_time_until_the_first_answer(void **state)
{
	(void)state;
	struct pace pace;
	pace_init(&pace, 0);
	assert_true(pace_next_ms(&pace, 100) <= 100);
	pace_sent(&pace, 100);
	assert_true(pace_next_ms(&pace, 5000) == INT64_MAX);
	assert_false(pace_is_limiting(&pace, 5000));
	pace_answered(&pace, NULL, 5000, 0); /* broken: nothing is known yet */
	assert_true(pace_next_ms(&pace, 5000) <= 5000);
	pace_sent(&pace, 5000);
	assert_true(pace_next_ms(&pace, 5000) == INT64_MAX);
	struct pace_headers none = {-1, -1, -1, -1, -1, false};
	pace_answered(&pace, &none, 5001, 0);
	for (int i = 0; i < 100; i++) {
		assert_true(pace_next_ms(&pace, 5001) <= 5001);
		pace_sent(&pace, 5001);
	}
	/* They appear after all. */
	struct pace_headers some = {83, 10, 1000012, 1000000, -1, false};
	pace_answered(&pace, &some, 5002, 1000000000);
	assert_true(pace_next_ms(&pace, 5002) > 5002);
	assert_true(pace_is_limiting(&pace, 5002));
}

static const struct pace_headers nothing = {-1, -1, -1, -1, -1, false};

static void check_stop(struct pace_headers headers, int64_t until_ms)
{
	struct pace pace;
	pace_init(&pace, 0);
	pace_sent(&pace, 1000);
	struct pace_headers fine = {100, 99, 2000010, 2000000, -1, false};
	pace_answered(&pace, &fine, 1000, 2000000000);
	pace_sent(&pace, pace_next_ms(&pace, 1000));
	headers.too_many = true;
	pace_answered(&pace, &headers, 2000, 2000001000);
	assert_int_equal(pace_next_ms(&pace, 2000), until_ms);
	assert_true(pace_is_limiting(&pace, 2000));
	assert_int_equal(pace_next_ms(&pace, until_ms), until_ms);
	assert_false(pace_is_limiting(&pace, until_ms));
}

static void a_429_waits_for_reset(void **state)
{
	(void)state;
	struct pace_headers headers = nothing;
	/* Neither: Reset of the window that is known. */
	check_stop(headers, 11000);
	/* Reset, by Date. */
	headers = (struct pace_headers){100, 0, 2000013, 2000003, -1, true};
	check_stop(headers, 12000);
	/* Reset, by the wall clock. */
	headers.date_s = -1;
	check_stop(headers, 14000);
	/* Retry-After, the later of the two. */
	headers = nothing;
	headers.retry_after_s = 30;
	check_stop(headers, 32000);
	headers = (struct pace_headers){100, 0, 2000013, 2000003, 3, true};
	check_stop(headers, 12000);
	headers.retry_after_s = 17;
	check_stop(headers, 19000);
}

/* Three are left, two go out; the later one's answer is lost, and then the earlier one's comes, which
 * knows nothing of it: one is left, not two. */
static void an_answer_may_not_know_of_a_lost_one(void **state)
{
	(void)state;
	struct pace pace;
	struct pace_headers headers = {3, 3, 2000012, 2000000, -1, false};

	pace_init(&pace, 0);
	pace_sent(&pace, 1000);
	pace_answered(&pace, &headers, 1100, 2000000000);
	pace_sent(&pace, 1200);
	pace_sent(&pace, 1300);
	pace_answered(&pace, NULL, 1400, 2000000000);
	headers.remaining = 2;
	pace_answered(&pace, &headers, 1500, 2000000000);
	assert_int_equal(pace.remaining, 1);
	/* The next answer was made after all of that. */
	pace_sent(&pace, 5000);
	headers.remaining = 0;
	pace_answered(&pace, &headers, 5100, 2000004000);
	assert_int_equal(pace.remaining, 0);
	pace_sent(&pace, 13000);
	headers = (struct pace_headers){3, 2, 2000022, 2000012, -1, false};
	pace_answered(&pace, &headers, 13100, 2000012000);
	assert_int_equal(pace.remaining, 2);
}

static void a_429_out_of_the_blue_waits_ten_seconds(void **state)
{
	(void)state;
	struct pace pace;
	pace_init(&pace, 0);
	pace_sent(&pace, 1000);
	struct pace_headers headers = nothing;
	headers.too_many = true;
	pace_answered(&pace, &headers, 1100, 0);
	assert_int_equal(pace_next_ms(&pace, 1100), 11100);
	assert_true(pace_next_ms(&pace, 11100) == 11100);
}

/* A 429 that says less than usual, again and again: it never storms. */
static void poor_429s_are_obeyed(void **state)
{
	(void)state;
	for (int with_retry_after = 0; with_retry_after < 2; with_retry_after++) {
		struct world world = {
			.limit = 50,
			.window_ms = 10000,
			.reset_late_ms = 2000,
			.latency_ms = 150,
			.others_per_s = 8,
			.no_reset_on_429 = true,
			.retry_after_s = with_retry_after ? 3 : 0,
		};
		run(&world, 200000);
		assert_true(world.too_many <= 20);
		assert_true(world.total > 100);
	}
}

/* The headers came with the 429 alone: its caution is over when a call was taken. */
static void a_429_and_no_headers_after_it_is_no_crawl(void **state)
{
	(void)state;
	struct pace pace;
	pace_init(&pace, 0);
	pace_sent(&pace, 1000);
	struct pace_headers headers = {100, 0, 2000010, 2000000, -1, true};
	pace_answered(&pace, &headers, 1000, 2000000000);
	int64_t now_ms = 1000;
	for (int i = 0; i < 100; i++) {
		now_ms = pace_next_ms(&pace, now_ms);
		pace_sent(&pace, now_ms);
		pace_answered(&pace, &nothing, now_ms, 2000000000 + now_ms);
	}
	assert_in_range(now_ms, 11000 + 9000, 11000 + 13000);
}

/* Also where Intercom would allow far more: not the first call of each window, not after a 429. */
static void a_small_configured_limit_is_a_ceiling_as_well(void **state)
{
	(void)state;
	for (int with_429 = 0; with_429 < 2; with_429++) {
		struct world world = {.limit = 1666,
			.window_ms = 10000,
			.reset_late_ms = 2000,
			.latency_ms = 150};
		struct pace pace;
		pace_init(&pace, 2);
		if (with_429) {
			pace_sent(&pace, 0);
			pace_answered(&pace,
				&(struct pace_headers){
					.limit = 1666,
					.remaining = 1665,
					.reset_s = SERVER_EPOCH_MS / 1000 + 2,
					.date_s = SERVER_EPOCH_MS / 1000,
					.retry_after_s = -1,
					.too_many = true,
				},
				10, SERVER_EPOCH_MS);
		}
		run_with(&world, &pace, 100000, 1);
		assert_in_range(world.total, 18, 21);
	}
}

static void a_configured_limit_is_a_ceiling(void **state)
{
	(void)state;
	for (int with_headers = 0; with_headers < 2; with_headers++) {
		struct world world = {
			.limit = 1666,
			.window_ms = 10000,
			.reset_late_ms = 2000,
			.latency_ms = 150,
			.no_headers = !with_headers,
		};
		struct pace pace;
		pace_init(&pace, 200);
		run_with(&world, &pace, 100000, 1);
		assert_in_range(world.total, 1950, 2010);
		assert_true(largest_tenth(&world, 0) <= 22);
	}
	/* Set too high: the headers still count. */
	struct world world = {
		.limit = 83, .window_ms = 10000, .reset_late_ms = 2000, .latency_ms = 150};
	struct pace pace;
	pace_init(&pace, 5000);
	run_with(&world, &pace, 100000, 1);
	/* Until the first answer nothing is known but the configured limit. */
	assert_true(world.too_many <= 32);
	assert_true(used_percent(&world, 100000, 3) >= 95);
}

/* Neither a window that begins nor what follows a 429 brings the next call closer than that. */
static void a_configured_limit_spaces_calls_whatever_the_headers_say(void **state)
{
	(void)state;
	struct pace pace;
	int64_t at_ms = 1000;
	pace_init(&pace, 5);
	for (int i = 0; i < 20; i++) {
		struct pace_headers headers = {
			1666, 1600, 2000012 + i / 3 * 10, 2000000 + i / 3 * 10, -1, i % 5 == 4};
		pace_sent(&pace, at_ms);
		pace_answered(&pace, &headers, at_ms + 30, 2000000000 + i / 3 * 10000);
		const int64_t next_ms = pace_next_ms(&pace, at_ms + 30);
		assert_true(next_ms - at_ms >= 2000 - 50); /* one that is late is caught up */
		at_ms = next_ms;
	}
}

static void a_reload_keeps_what_was_learnt(void **state)
{
	(void)state;
	struct pace pace;
	pace_init(&pace, 0);
	pace_sent(&pace, 1000);
	struct pace_headers fine = {100, 99, 2000010, 2000000, -1, false};
	pace_answered(&pace, &fine, 1000, 2000000000);
	pace_set_limit(&pace, 10);
	assert_true(pace.known);
	assert_int_equal(pace.remaining, 99);
	pace_sent(&pace, pace_next_ms(&pace, 1000));
	assert_in_range(pace_next_ms(&pace, 1000), 1900, 2100);
}

/* The server's clock is set, its window length changes: it may stumble once, and finds its feet. */
static void it_adapts_when_the_windows_change(void **state)
{
	(void)state;
	struct pace pace;
	pace_init(&pace, 0);
	struct world before = {
		.limit = 166, .window_ms = 10000, .reset_late_ms = 2000, .latency_ms = 50};
	run_with(&before, &pace, 60000, 1);
	static const struct world changed[] = {
		{.limit = 166, .window_ms = 10000, .epoch_ms = SERVER_EPOCH_MS + 2345678},
		{.limit = 166, .window_ms = 10000, .epoch_ms = SERVER_EPOCH_MS + 8123},
		{.limit = 166, .window_ms = 10000, .epoch_ms = SERVER_EPOCH_MS - 2345678},
		{.limit = 40, .window_ms = 2000},
		{.limit = 1000, .window_ms = 60000},
		{.limit = 1666, .window_ms = 10000},
		{.limit = 20, .window_ms = 10000},
	};
	for (size_t i = 0; i < sizeof(changed) / sizeof(*changed); i++) {
		struct pace copy = pace;
		/* The simulation starts its clock anew, and so must the pace. */
		int64_t shift_ms = 60000;
		copy.in_flight = 0;
		copy.next_mono_us -= shift_ms * 1000;
		copy.reset_mono_ms -= shift_ms;
		copy.window_start_mono_ms -= shift_ms;
		copy.seen_mono_ms -= shift_ms;
		copy.alive_mono_ms -= shift_ms;
		copy.phase_ms += shift_ms;
		copy.probe_mono_ms -= shift_ms;
		struct world world = changed[i];
		if (world.epoch_ms == 0)
			world.epoch_ms = SERVER_EPOCH_MS + 3456 + shift_ms;
		world.reset_late_ms = 2000;
		world.latency_ms = 50;
		int64_t span_ms = world.window_ms * 20;
		run_with(&world, &copy, span_ms, 2);
		double used = used_percent(&world, span_ms, 6);
		if (getenv("PACE_VERBOSE"))
			print_message("change %zu: %.2f %%, %lld 429s\n", i, used,
				(long long)world.too_many);
		assert_true(world.too_many <= 40);
		assert_true(used >= 95);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(alone_it_uses_the_allowance_and_no_more),
		cmocka_unit_test(short_windows_are_learnt),
		cmocka_unit_test(slow_and_disordered_answers_do_no_harm),
		cmocka_unit_test(missing_headers_and_lost_answers_do_no_harm),
		cmocka_unit_test(clocks_may_disagree),
		cmocka_unit_test(pauses_do_not_confuse_it),
		cmocka_unit_test(light_work_passes),
		cmocka_unit_test(other_apps_share_the_allowance),
		cmocka_unit_test(hogs_are_waited_out),
		cmocka_unit_test(without_headers_there_is_no_limit),
		cmocka_unit_test(one_at_a_time_until_the_first_answer),
		cmocka_unit_test(a_429_waits_for_reset),
		cmocka_unit_test(an_answer_may_not_know_of_a_lost_one),
		cmocka_unit_test(a_429_out_of_the_blue_waits_ten_seconds),
		cmocka_unit_test(poor_429s_are_obeyed),
		cmocka_unit_test(a_429_and_no_headers_after_it_is_no_crawl),
		cmocka_unit_test(a_configured_limit_is_a_ceiling),
		cmocka_unit_test(a_small_configured_limit_is_a_ceiling_as_well),
		cmocka_unit_test(a_configured_limit_spaces_calls_whatever_the_headers_say),
		cmocka_unit_test(a_reload_keeps_what_was_learnt),
		cmocka_unit_test(it_adapts_when_the_windows_change),
	};
	return cmocka_run_group_tests_name("pace", tests, NULL, NULL);
}
