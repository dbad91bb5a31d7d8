/*
 * The writer: a queue, one thread, one transaction a round.
 *
 * A round takes everything that waits (up to BATCH_MAX), executes it in one transaction, commits,
 * and then tells each requester. While the disk syncs, the next round gathers: under load the
 * rounds grow by themselves, without load a request is alone in its round and waits for nothing.
 *
 * A round that fails as a whole is run again one request at a time, so that one request that cannot
 * be stored (whatever the reason) does not fail its neighbours; when the disk itself refuses, the
 * first few failures end the round, and at once when not even a transaction can be begun.
 *
 * What must stay true: `done` is called once for every request, and with success only after commit
 * returned true. A finish is never given up: it stays at the head of the queue until it is in, and
 * those that had to stay keep their order. Every commit that added work is followed by its notice,
 * before another transaction can be rolled back.
 */

#include "calendar.h"
#include "store_private.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/xalloc.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define BATCH_MAX 512
#define PURGE_EVERY_MS 60000
/* Events looked at in one slice of purging: what it takes is what a round may have to wait. */
#define PURGE_LIMIT 200
/* While it is due and nothing else is to be done, a slice this often. */
#define PURGE_PAUSE_MS 20
/* After a failed round, what must not be given up is tried again this often. */
#define RETRY_MS 500
/* is_ready asks the disk this often at most. */
#define PROBE_MS 1000

/* A request that somebody waits for. */
struct command {
	bool (*execute)(struct store *store, struct command *command, struct error *err);
	int64_t number;
	int64_t result;
	const char *name;
	bool is_done;
	bool is_good;
	struct error err;
	struct command *next;
};

struct store {
	struct writing writing; /* the writer's */
	struct store_options options;
	char *path;

	pthread_mutex_t lock;
	pthread_cond_t wake; /* the writer: something is queued, or stopping */
	pthread_cond_t told; /* requesters of commands */
	/* lock: */
	struct accept *accepts;
	struct accept **accepts_end;
	struct finish *finishes;
	struct finish **finishes_end;
	struct command *commands;
	struct command **commands_end;
	struct totals totals; /* as committed */
	bool is_stopping;
	bool is_failing; /* the last round could not be committed */
	struct error failure;
	int64_t last_write_mono_ms;
	int64_t keep_delivered_ms;
	int64_t keep_parked_ms;

	/* the writer's: */
	int64_t purge_cursor;
	int64_t next_purge_mono_ms;
	size_t purge_credit; /* events that may be looked at, for those that came in */
	struct calendar calendar;
	bool is_clock_ahead; /* and not believed */
	bool is_rewound;     /* parked work waits again */

	pthread_t thread;
	bool has_thread;
};

/* What one round works on. */
struct round {
	struct accept *accepts;
	struct finish *finishes;
	struct command *commands;
	size_t accept_count;
};

/* ---- destinations ---- */

int64_t writing_destination(struct writing *writing, const char *name, struct error *err)
{
	int64_t id;

	for (size_t i = 0; i < writing->destination_count; i++)
		if (strcmp(writing->destinations[i].name, name) == 0)
			return writing->destinations[i].id;
	if (writing->destination_count == DESTINATIONS_MAX ||
		strlen(name) >= sizeof(writing->destinations[0].name)) {
		(void)error_set(err, "more than %d destinations", DESTINATIONS_MAX);
		return 0;
	}
	if (!writing->ops->destination_id(writing->backend, name, &id, err))
		return 0;
	/* An id that a rollback takes back is forgotten with it, see roll_back. */
	const size_t at = writing->destination_count++;
	(void)snprintf(
		writing->destinations[at].name, sizeof(writing->destinations[at].name), "%s", name);
	writing->destinations[at].id = id;
	writing->destinations[at].has_new_work = false;
	return id;
}

void writing_note_work(struct writing *writing, int64_t destination_id)
{
	for (size_t i = 0; i < writing->destination_count; i++)
		if (writing->destinations[i].id == destination_id)
			writing->destinations[i].has_new_work = true;
}

static void notify_work(struct store *store)
{
	struct writing *writing = &store->writing;

	for (size_t i = 0; i < writing->destination_count; i++) {
		if (!writing->destinations[i].has_new_work)
			continue;
		writing->destinations[i].has_new_work = false;
		if (store->options.new_work != NULL)
			store->options.new_work(
				store->options.context, writing->destinations[i].id, false);
	}
	if (store->is_rewound && store->options.new_work != NULL)
		store->options.new_work(store->options.context, 0, true);
	store->is_rewound = false;
}

/* ---- one round ---- */

static bool begin(struct store *store, struct error *err)
{
	return store->writing.ops->begin(store->writing.backend, err);
}

static void roll_back(struct store *store, const struct totals *before)
{
	struct writing *writing = &store->writing;

	writing->ops->rollback(writing->backend);
	writing->totals = *before;
	writing->destination_count = 0;
	store->is_rewound = false;
}

static bool commit(struct store *store, struct error *err)
{
	struct writing *writing = &store->writing;

	return writing->ops->totals_save(writing->backend, &writing->totals, err) &&
		writing->ops->commit(writing->backend, err);
}

static bool execute_all(struct store *store, const struct round *round, struct error *err)
{
	for (struct finish *finish = round->finishes; finish != NULL; finish = finish->next)
		if (!finish_execute(&store->writing, finish, err))
			return false;
	for (struct accept *accept = round->accepts; accept != NULL; accept = accept->next)
		if (!accept_execute(&store->writing, accept, err))
			return false;
	for (struct command *command = round->commands; command != NULL; command = command->next)
		if (!command->execute(store, command, err))
			return false;
	return true;
}

/* *ret_begun false: the store takes nothing at all. */
static bool run_transaction(
	struct store *store, const struct round *round, bool *ret_begun, struct error *err)
{
	const struct totals before = store->writing.totals;

	*ret_begun = begin(store, err);
	if (*ret_begun && execute_all(store, round, err) && commit(store, err))
		return true;
	roll_back(store, &before);
	return false;
}

static void publish(struct store *store, bool is_good, const struct error *err)
{
	(void)pthread_mutex_lock(&store->lock);
	store->totals = store->writing.totals;
	store->last_write_mono_ms = clock_mono_ms(store->options.clock);
	const bool is_news = store->is_failing == is_good;
	store->is_failing = !is_good;
	if (!is_good)
		store->failure = *err;
	(void)pthread_mutex_unlock(&store->lock);

	if (is_news && is_good)
		log_info("the store takes events again");
	else if (is_news)
		log_error("the store can't take events; senders are told to come back",
			LOG_TEXT("error", err->text));
}

static void tell_accept(struct accept *accept, bool is_good, const struct error *err)
{
	if (!is_good) {
		accept->status = ACCEPT_FAILED;
		(void)snprintf(accept->reason, sizeof(accept->reason), "%.*s",
			(int)sizeof(accept->reason) - 1, err->text);
	}
	accept->done(accept);
}

static void tell_command(
	struct store *store, struct command *command, bool is_good, const struct error *err)
{
	(void)pthread_mutex_lock(&store->lock);
	command->is_good = is_good;
	if (!is_good)
		command->err = *err;
	command->is_done = true;
	(void)pthread_cond_broadcast(&store->told);
	(void)pthread_mutex_unlock(&store->lock);
}

/* A list of them back to the head of the queue, in order. */
static void keep_finishes(struct store *store, struct finish *first)
{
	struct finish *last = first;

	if (first == NULL)
		return;
	while (last->next != NULL)
		last = last->next;
	(void)pthread_mutex_lock(&store->lock);
	last->next = store->finishes;
	if (store->finishes == NULL)
		store->finishes_end = &last->next;
	store->finishes = first;
	(void)pthread_mutex_unlock(&store->lock);
}

static void tell_all(
	struct store *store, struct round *round, bool is_good, const struct error *err)
{
	if (!is_good) {
		keep_finishes(store, round->finishes);
		round->finishes = NULL;
	}
	/* `done` may free the request, so its link is read first. */
	for (struct finish *finish = round->finishes, *next; finish != NULL; finish = next) {
		next = finish->next;
		finish->done(finish);
	}
	for (struct accept *accept = round->accepts, *next; accept != NULL; accept = next) {
		next = accept->next;
		tell_accept(accept, is_good, err);
	}
	for (struct command *command = round->commands, *next; command != NULL; command = next) {
		next = command->next;
		tell_command(store, command, is_good, err);
	}
}

static bool has_several(const struct round *round)
{
	const size_t count =
		(round->finishes != NULL) + (round->accepts != NULL) + (round->commands != NULL);

	return count > 1 || (round->finishes != NULL && round->finishes->next != NULL) ||
		(round->accepts != NULL && round->accepts->next != NULL) ||
		(round->commands != NULL && round->commands->next != NULL);
}

/* The first request of a round, as a round of its own; what is left stays. */
static struct round take_one(struct round *round)
{
	struct round one = {0};

	if (round->finishes != NULL) {
		one.finishes = round->finishes;
		round->finishes = one.finishes->next;
		one.finishes->next = NULL;
	} else if (round->accepts != NULL) {
		one.accepts = round->accepts;
		round->accepts = one.accepts->next;
		one.accepts->next = NULL;
	} else {
		one.commands = round->commands;
		round->commands = one.commands->next;
		one.commands->next = NULL;
	}
	return one;
}

static bool is_empty(const struct round *round)
{
	return round->finishes == NULL && round->accepts == NULL && round->commands == NULL;
}

static void run_one_by_one(struct store *store, struct round *round)
{
	struct finish *kept = NULL;
	struct finish **kept_end = &kept;
	unsigned failures = 0;

	while (!is_empty(round)) {
		struct error err = {0};
		struct round one = take_one(round);
		bool is_begun;
		const bool is_good = run_transaction(store, &one, &is_begun, &err);

		publish(store, is_good, &err);
		/* Kept aside: put back one by one they would be in the reverse order. */
		if (!is_good && one.finishes != NULL) {
			*kept_end = one.finishes;
			kept_end = &one.finishes->next;
			one.finishes = NULL;
		}
		tell_all(store, &one, is_good, &err);
		notify_work(store); /* now: rolling the next one back forgets what is new */
		failures = is_good ? 0 : failures + 1;
		if (!is_begun || failures == 3) {
			*kept_end = round->finishes;
			round->finishes = NULL;
			tell_all(store, round, false, &err);
			break;
		}
	}
	keep_finishes(store, kept);
}

static void run_round(struct store *store, struct round *round)
{
	struct error err = {0};
	bool is_begun;
	const bool is_good = run_transaction(store, round, &is_begun, &err);

	if (!is_good && is_begun && has_several(round)) {
		run_one_by_one(store, round);
	} else {
		publish(store, is_good, &err);
		tell_all(store, round, is_good, &err);
		notify_work(store);
	}
}

/* ---- the queue ---- */

/* Takes up to BATCH_MAX requests; false when there are none. Holds the lock. */
static bool take_round(struct store *store, struct round *ret_round)
{
	size_t count = 0;

	*ret_round = (struct round){.finishes = store->finishes,
		.accepts = store->accepts,
		.commands = store->commands};
	store->commands = NULL;
	store->commands_end = &store->commands;

	struct finish **finish = &store->finishes;
	while (*finish != NULL && count < BATCH_MAX) {
		finish = &(*finish)->next;
		count++;
	}
	struct finish *finishes_left = *finish;
	*finish = NULL;
	store->finishes = finishes_left;
	if (finishes_left == NULL)
		store->finishes_end = &store->finishes;
	if (finish == &store->finishes)
		ret_round->finishes = NULL;

	/* Deliveries never crowd out webhooks: each kind has its own share of the round. */
	count = 0;
	struct accept **accept = &store->accepts;
	while (*accept != NULL && count < BATCH_MAX) {
		accept = &(*accept)->next;
		count++;
	}
	ret_round->accept_count = count;
	struct accept *accepts_left = *accept;
	*accept = NULL;
	store->accepts = accepts_left;
	if (accepts_left == NULL)
		store->accepts_end = &store->accepts;
	return !is_empty(ret_round);
}

static bool queue_is_empty(const struct store *store)
{
	return store->finishes == NULL && store->accepts == NULL && store->commands == NULL;
}

/* What could not be written a moment ago is not tried again at once. */
static bool is_stuck_now(const struct store *store)
{
	return store->is_failing && store->accepts == NULL && store->commands == NULL;
}

/* ---- housekeeping ---- */

static int64_t cutoff(int64_t now_ms, int64_t keep_ms)
{
	return keep_ms >= now_ms ? INT64_MIN : now_ms - keep_ms;
}

/* What the date is when it comes to throwing away; see calendar.h. */
static int64_t date_ms(struct store *store)
{
	const struct clock *clock = store->options.clock;
	bool is_ahead;
	const int64_t date = calendar_date_ms(
		&store->calendar, clock_mono_ms(clock), clock_wall_ms(clock), &is_ahead);

	if (is_ahead && !store->is_clock_ahead)
		log_warn("the clock is far ahead of where it was; what is old is told by the date "
			 "before, until the clock has stood like this for a day");
	store->is_clock_ahead = is_ahead;
	return date;
}

/* Forgets what is older than it is to be kept, a little at a time; true when there is more to do.
 */
static bool purge_some(struct store *store)
{
	const struct totals before = store->writing.totals;
	const int64_t now_ms = date_ms(store);
	struct writing *writing = &store->writing;
	struct error err = {0};
	int64_t cursor = store->purge_cursor;
	size_t purged;

	(void)pthread_mutex_lock(&store->lock);
	const int64_t delivered_before_ms = cutoff(now_ms, store->keep_delivered_ms);
	const int64_t parked_before_ms = cutoff(now_ms, store->keep_parked_ms);
	(void)pthread_mutex_unlock(&store->lock);

	if (delivered_before_ms == INT64_MIN && parked_before_ms == INT64_MIN)
		return false;
	if (!begin(store, &err) ||
		!writing->ops->purge(writing->backend, delivered_before_ms, parked_before_ms,
			&cursor, PURGE_LIMIT, &purged, &writing->totals, &err) ||
		!commit(store, &err)) {
		roll_back(store, &before);
		log_warn("purging failed", LOG_TEXT("error", err.text));
		return false;
	}
	store->purge_cursor = cursor;
	(void)pthread_mutex_lock(&store->lock);
	store->totals = writing->totals;
	(void)pthread_mutex_unlock(&store->lock);
	return cursor != 0;
}

static bool is_purge_due(const struct store *store)
{
	return clock_mono_ms(store->options.clock) >= store->next_purge_mono_ms;
}

/*
 * Between rounds, after everybody was told. A writer that is never idle purges as well, or the file
 * would grow for as long as the load lasts: for every two events that came in three may be looked at, so
 * that forgetting is faster than what is to be forgotten, in slices that a round can wait for.
 */
static void keep_house(struct store *store, bool is_idle, size_t accepted)
{
	store->writing.ops->tidy(store->writing.backend, is_idle);
	if (!is_purge_due(store)) {
		store->purge_credit = 0;
		return;
	}
	store->purge_credit += accepted + accepted / 2;
	if (!is_idle && store->purge_credit < PURGE_LIMIT)
		return;
	store->purge_credit = 0;
	if (!purge_some(store))
		store->next_purge_mono_ms = clock_mono_ms(store->options.clock) + PURGE_EVERY_MS;
}

/* ---- the thread ---- */

static struct timespec deadline_in(int64_t span_ms)
{
	struct timespec at;

	(void)clock_gettime(CLOCK_MONOTONIC, &at);
	at.tv_sec += (time_t)(span_ms / 1000);
	at.tv_nsec += (long)(span_ms % 1000) * 1000000L;
	if (at.tv_nsec >= 1000000000L) {
		at.tv_sec++;
		at.tv_nsec -= 1000000000L;
	}
	return at;
}

/* Waits for work; false when the store stops and nothing is left that can be done. Holds the lock.
 */
static bool wait_for_round(struct store *store, struct round *ret_round)
{
	bool was_idle = false;

	for (;;) {
		const bool is_stuck = is_stuck_now(store);

		if (!queue_is_empty(store) && (!is_stuck || was_idle || store->is_stopping))
			return take_round(store, ret_round);
		if (store->is_stopping)
			return false;
		if (!is_stuck && !was_idle) {
			(void)pthread_mutex_unlock(&store->lock);
			keep_house(store, true, 0);
			(void)pthread_mutex_lock(&store->lock);
			was_idle = true;
			continue;
		}
		const int64_t pause_ms = is_purge_due(store) ? PURGE_PAUSE_MS : PROBE_MS;
		const struct timespec deadline = deadline_in(is_stuck ? RETRY_MS : pause_ms);
		(void)pthread_cond_timedwait(&store->wake, &store->lock, &deadline);
		was_idle = is_stuck;
	}
}

static void *write_rounds(void *argument)
{
	struct store *store = argument;
	struct round round;

	(void)pthread_mutex_lock(&store->lock);
	while (wait_for_round(store, &round)) {
		const bool was_stopping = store->is_stopping;

		(void)pthread_mutex_unlock(&store->lock);
		run_round(store, &round);
		keep_house(store, false, round.accept_count);
		(void)pthread_mutex_lock(&store->lock);
		/* At the end one try must do: what can't be written then is done again after a
		 * restart. */
		if (was_stopping && store->is_failing)
			break;
	}
	(void)pthread_mutex_unlock(&store->lock);
	return NULL;
}

bool store_run(struct store *store)
{
	struct round round;

	(void)pthread_mutex_lock(&store->lock);
	const bool has_work = take_round(store, &round);
	(void)pthread_mutex_unlock(&store->lock);
	if (has_work)
		run_round(store, &round);
	keep_house(store, !has_work, has_work ? round.accept_count : 0);
	(void)pthread_mutex_lock(&store->lock);
	const bool has_refused = is_stuck_now(store) && store->finishes != NULL;
	(void)pthread_mutex_unlock(&store->lock);
	return has_work && !has_refused;
}

/* ---- requests ---- */

void store_accept(struct store *store, struct accept *accept)
{
	accept->next = NULL;
	accept->reason[0] = '\0';
	(void)pthread_mutex_lock(&store->lock);
	const bool was_empty = queue_is_empty(store);
	*store->accepts_end = accept;
	store->accepts_end = &accept->next;
	if (was_empty || store->is_failing)
		(void)pthread_cond_signal(&store->wake);
	(void)pthread_mutex_unlock(&store->lock);
}

void store_finish(struct store *store, struct finish *finish)
{
	finish->next = NULL;
	(void)pthread_mutex_lock(&store->lock);
	const bool was_empty = queue_is_empty(store);
	*store->finishes_end = finish;
	store->finishes_end = &finish->next;
	if (was_empty)
		(void)pthread_cond_signal(&store->wake);
	(void)pthread_mutex_unlock(&store->lock);
}

static bool run_command(struct store *store, struct command *command, struct error *err)
{
	(void)pthread_mutex_lock(&store->lock);
	command->next = NULL;
	*store->commands_end = command;
	store->commands_end = &command->next;
	(void)pthread_cond_signal(&store->wake);
	while (!command->is_done) {
		if (!store->has_thread) {
			(void)pthread_mutex_unlock(&store->lock);
			(void)store_run(store);
			(void)pthread_mutex_lock(&store->lock);
			continue;
		}
		(void)pthread_cond_wait(&store->told, &store->lock);
	}
	(void)pthread_mutex_unlock(&store->lock);
	return command->is_good || error_set(err, "%s", command->err.text);
}

static bool execute_retry(struct store *store, struct command *command, struct error *err)
{
	struct writing *writing = &store->writing;

	if (!writing->ops->job_unpark(writing->backend, command->number, &command->result, err))
		return false;
	writing->totals.parked -= command->result;
	writing->totals.waiting += command->result;
	store->is_rewound |= command->result > 0;
	return true;
}

bool store_retry(struct store *store, int64_t event_id, int64_t *ret_count, struct error *err)
{
	struct command command = {.execute = execute_retry, .number = event_id};

	if (!run_command(store, &command, err))
		return false;
	*ret_count = command.result;
	return true;
}

static bool execute_destination(struct store *store, struct command *command, struct error *err)
{
	command->result = writing_destination(&store->writing, command->name, err);
	return command->result != 0;
}

bool store_destination(struct store *store, const char *name, int64_t *ret_id, struct error *err)
{
	struct command command = {.execute = execute_destination, .name = name};

	if (!run_command(store, &command, err))
		return false;
	*ret_id = command.result;
	return true;
}

/* The totals are written in every round, so an empty command is a whole test of the disk. */
static bool execute_nothing(struct store *store, struct command *command, struct error *err)
{
	(void)store;
	(void)command;
	(void)err;
	return true;
}

bool store_is_ready(struct store *store, struct error *err)
{
	struct command command = {.execute = execute_nothing};

	(void)pthread_mutex_lock(&store->lock);
	const int64_t age_ms = clock_mono_ms(store->options.clock) - store->last_write_mono_ms;
	const bool is_fresh = age_ms < PROBE_MS;
	const bool is_failing = store->is_failing;
	if (is_fresh && is_failing)
		(void)error_set(err, "%s", store->failure.text);
	(void)pthread_mutex_unlock(&store->lock);
	return is_fresh ? !is_failing : run_command(store, &command, err);
}

void store_totals(struct store *store, struct totals *ret)
{
	(void)pthread_mutex_lock(&store->lock);
	*ret = store->totals;
	(void)pthread_mutex_unlock(&store->lock);
}

void store_set_retention(struct store *store, int64_t keep_delivered_ms, int64_t keep_parked_ms)
{
	(void)pthread_mutex_lock(&store->lock);
	store->keep_delivered_ms = keep_delivered_ms;
	store->keep_parked_ms = keep_parked_ms;
	(void)pthread_mutex_unlock(&store->lock);
}

struct backend *store_reader(struct store *store, struct error *err)
{
	return store->options.backend->open(store->path, false, err);
}

void store_reader_close(struct store *store, struct backend *reader)
{
	store->options.backend->close(reader);
}

const struct store_backend *store_ops(const struct store *store)
{
	return store->options.backend;
}

/* ---- life ---- */

static void init_queue(struct store *store)
{
	pthread_condattr_t attributes;

	store->accepts_end = &store->accepts;
	store->finishes_end = &store->finishes;
	store->commands_end = &store->commands;
	(void)pthread_mutex_init(&store->lock, NULL);
	(void)pthread_condattr_init(&attributes);
	(void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	(void)pthread_cond_init(&store->wake, &attributes);
	(void)pthread_cond_init(&store->told, &attributes);
	(void)pthread_condattr_destroy(&attributes);
}

static void destroy(struct store *store)
{
	if (store->writing.backend != NULL)
		store->options.backend->close(store->writing.backend);
	(void)pthread_cond_destroy(&store->told);
	(void)pthread_cond_destroy(&store->wake);
	(void)pthread_mutex_destroy(&store->lock);
	free(store->path);
	free(store);
}

static bool note_received(void *context, const struct event_row *row)
{
	int64_t *received_at_ms = context;

	*received_at_ms = row->event.received_at_ms;
	return false;
}

/* The newest event says what the date was when something was last written. */
static bool set_calendar(struct store *store, struct error *err)
{
	const struct event_filter newest = {.since_ms = TIME_NONE, .limit = 1};
	const struct clock *clock = store->options.clock;
	int64_t received_at_ms = TIME_NONE;

	if (!store->writing.ops->event_list(
		    store->writing.backend, &newest, note_received, &received_at_ms, err))
		return false;
	calendar_init(&store->calendar, received_at_ms, clock_mono_ms(clock), clock_wall_ms(clock));
	return true;
}

struct store *store_open(const struct store_options *options, struct error *err)
{
	struct store *store = xcalloc(1, sizeof(*store));

	store->options = *options;
	store->path = xstrdup(options->path);
	store->keep_delivered_ms = options->keep_delivered_ms;
	store->keep_parked_ms = options->keep_parked_ms;
	init_queue(store);
	store->writing.ops = options->backend;
	store->writing.clock = options->clock;
	store->writing.backend = options->backend->open(store->path, true, err);
	if (store->writing.backend == NULL ||
		!options->backend->totals_load(
			store->writing.backend, &store->writing.totals, err) ||
		!set_calendar(store, err))
		goto fail;
	store->totals = store->writing.totals;
	store->last_write_mono_ms = clock_mono_ms(options->clock) - PROBE_MS;
	if (options->has_thread) {
		if (pthread_create(&store->thread, NULL, write_rounds, store) != 0) {
			(void)error_set(err, "cannot start the store's thread");
			goto fail;
		}
		(void)pthread_setname_np(store->thread, "subrelay-store"); /* only for people */
		store->has_thread = true;
	}
	return store;
fail:
	/* Nothing is written on this way out: the totals that go with every commit aren't known. */
	destroy(store);
	return NULL;
}

void store_close(struct store *store)
{
	if (store == NULL)
		return;
	if (store->has_thread) {
		(void)pthread_mutex_lock(&store->lock);
		store->is_stopping = true;
		(void)pthread_cond_signal(&store->wake);
		(void)pthread_mutex_unlock(&store->lock);
		(void)pthread_join(store->thread, NULL);
	} else {
		while (store_run(store) && !store->is_failing)
			continue;
	}
	/* What the one try at the end did not get to. */
	for (struct accept *accept = store->accepts, *next; accept != NULL; accept = next) {
		next = accept->next;
		tell_accept(accept, false, &store->failure);
	}
	/* Reports that could not be written: the work is due again after a restart. */
	for (struct finish *finish = store->finishes, *next; finish != NULL; finish = next) {
		next = finish->next;
		finish->done(finish);
	}
	destroy(store);
}
