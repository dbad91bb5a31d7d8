/*
 * The store's front: one commit for all that waits, everyone told of their own outcome, and nothing
 * acknowledged that isn't on disk, with a disk that is full and one that comes back.
 */

#include "base/error.h"
#include "event/event.h"
#include "support/rig.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include <cmocka.h>

static const char PURCHASE[] =
	"{\"api_version\":\"1.0\",\"event\":{\"id\":\"%s\",\"type\":\"INITIAL_PURCHASE\","
	"\"event_timestamp_ms\":1699990001000,\"app_user_id\":\"%s\",\"period_type\":\"NORMAL\","
	"\"purchased_at_ms\":1699990000000,\"expiration_at_ms\":1702582000000,"
	"\"store\":\"APP_STORE\",\"environment\":\"PRODUCTION\",\"entitlement_ids\":[\"pro\"],"
	"\"product_id\":\"monthly\",\"original_transaction_id\":\"T1\"}}";

struct posted {
	unsigned status;
	char body[256];
};

static const char *header(void *context, const char *name)
{
	(void)context;
	return strcasecmp(name, "Authorization") == 0 ? "Bearer demo" : NULL;
}

static void note_answer(void *context, const struct intake_answer *answer)
{
	struct posted *posted = context;

	posted->status = answer->status;
	(void)snprintf(posted->body, sizeof(posted->body), "%s", answer->body);
}

/* Queued, not written out. The body must stay. */
static void queue(struct rig *rig, const char *body, struct posted *posted)
{
	*posted = (struct posted){0};
	intake_receive(rig->intake,
		&(struct intake_request){.conf = rig->conf,
			.section = &rig->conf->sources[0],
			.header = header,
			.body = body,
			.body_len = strlen(body),
			.answer = note_answer,
			.context = posted});
}

static void one_commit_answers_all_that_waits(void **state)
{
	struct rig *rig = rig_create(NULL, NULL);
	struct posted posted[20];
	char bodies[20][1024];

	(void)state;
	for (int i = 0; i < 20; i++) {
		char id[16];

		(void)snprintf(id, sizeof(id), "e%d", i < 10 ? i : i - 10);
		(void)snprintf(bodies[i], sizeof(bodies[i]), PURCHASE, id, id);
		queue(rig, bodies[i], &posted[i]);
		assert_int_equal(posted[i].status, 0);
	}
	assert_true(store_run(rig->store));
	for (int i = 0; i < 20; i++) {
		assert_int_equal(posted[i].status, 200);
		assert_string_equal(posted[i].body,
			i < 10 ? "{\"status\":\"accepted\"}" : "{\"status\":\"duplicate\"}");
	}
	assert_int_equal(rig_totals(rig).received, 20);
	assert_int_equal(rig_totals(rig).accepted, 10);
	assert_int_equal(rig_totals(rig).duplicate, 10);
	assert_int_equal(rig_totals(rig).waiting, 10);
	rig_destroy(rig);
}

static void what_is_ignored_is_kept_with_its_reason(void **state)
{
	struct rig *rig = rig_create(NULL, NULL);

	(void)state;
	assert_int_equal(
		rig_post_event(rig,
			"'id':'e1','type':'SOMETHING_NEW','event_timestamp_ms':1699990001000,"
			"'app_user_id':'u1'"),
		200);
	assert_string_equal(
		rig->answer, "{\"status\":\"ignored\",\"reason\":\"unknown type SOMETHING_NEW\"}");
	assert_int_equal(rig_totals(rig).ignored, 1);
	assert_int_equal(rig_totals(rig).waiting, 0);
	/* Nothing to change and its event off: ignored as well, and said so. */
	assert_int_equal(rig_post_event(rig,
				 "'id':'e2','type':'TEMPORARY_ENTITLEMENT_GRANT',"
				 "'event_timestamp_ms':1699990001000,'app_user_id':'u1'"),
		200);
	assert_non_null(strstr(rig->answer, "event temporary_entitlement_grant is off"));
	rig_destroy(rig);
}

static void limit_file_size(rlim_t bytes)
{
	struct rlimit limit;

	assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
	limit.rlim_cur = bytes;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

/* Until a write is refused: the log grows to its limit. */
static int fill_the_disk(struct rig *rig)
{
	int i = 0;

	for (; i < 100000; i++) {
		char body[1024];
		char id[16];

		(void)snprintf(id, sizeof(id), "fill%d", i);
		(void)snprintf(body, sizeof(body), PURCHASE, id, id);
		if (rig_post(rig, body) != 200)
			break;
	}
	assert_int_equal(rig->status, 503);
	return i;
}

static void a_full_disk_is_a_503_and_mends_by_itself(void **state)
{
	struct rig *rig = rig_create(NULL, NULL);
	struct error err = {0};
	char body[1024];

	(void)state;
	(void)signal(SIGXFSZ, SIG_IGN);
	limit_file_size(8 * 1024 * 1024);
	const int stored = fill_the_disk(rig);
	assert_true(stored > 10);
	assert_int_equal(rig_totals(rig).accepted, stored);
	assert_false(store_is_ready(rig->store, &err));

	/* What delivery reports meanwhile is kept; nothing is lost or counted twice. */
	for (int i = 0; i < 50; i++)
		(void)rig_step(rig);
	assert_int_equal(rig_totals(rig).delivered + rig_totals(rig).waiting, stored);

	limit_file_size(RLIM_INFINITY);
	(void)snprintf(body, sizeof(body), PURCHASE, "after", "after");
	assert_int_equal(rig_post(rig, body), 200);
	assert_true(store_is_ready(rig->store, &err));
	rig_drain(rig, 3600 * 1000);
	assert_int_equal(rig_totals(rig).delivered, stored + 1);
	assert_int_equal(standin_event_count(rig->standin), stored + 1);
	rig_destroy(rig);
}

static void what_was_acknowledged_is_there_after_a_restart(void **state)
{
	struct rig *rig = rig_create(NULL, NULL);
	char body[1024];

	(void)state;
	(void)snprintf(body, sizeof(body), PURCHASE, "e1", "u1");
	assert_int_equal(rig_post(rig, body), 200);
	rig_restart(rig);
	assert_int_equal(rig_totals(rig).waiting, 1);
	assert_int_equal(rig_post(rig, body), 200);
	assert_string_equal(rig->answer, "{\"status\":\"duplicate\"}");
	rig_drain(rig, 3600 * 1000);
	assert_int_equal(standin_event_count(rig->standin), 1);
	rig_destroy(rig);
}

static void what_is_old_is_forgotten_and_what_waits_is_not(void **state)
{
	struct rig *rig = rig_create("[store]\nkeep_delivered = 1h\n", NULL);
	struct error err = {0};
	struct backend *reader;
	struct event_row row;
	struct arena arena;
	char body[1024];

	(void)state;
	(void)snprintf(body, sizeof(body), PURCHASE, "old", "u1");
	assert_int_equal(rig_post(rig, body), 200);
	rig_drain(rig, 3600 * 1000);
	rig->is_unreachable = true;
	(void)snprintf(body, sizeof(body), PURCHASE, "waits", "u2");
	assert_int_equal(rig_post(rig, body), 200);
	rig_run(rig, 2 * 3600 * 1000LL);

	reader = store_reader(rig->store, &err);
	assert_non_null(reader);
	arena_init(&arena);
	assert_true(store_ops(rig->store)->event_get(reader, 0, "old", &arena, &row, &err));
	assert_int_equal(row.event.id, 0);
	assert_true(store_ops(rig->store)->event_get(reader, 0, "waits", &arena, &row, &err));
	assert_string_equal(row.state, "waiting");
	arena_finish(&arena);
	store_reader_close(rig->store, reader);
	rig_destroy(rig);
}

/* SQLite with a fault that can be switched on. */
static struct store_backend faulty;
static bool is_faulty;
static char learnt[64];

static bool add_unless_bad(
	struct backend *backend, const struct stored_event *event, struct error *err)
{
	if (is_faulty && strcmp(event->event_id, "bad") == 0)
		return error_set(err, "not this one");
	return store_sqlite.event_add(backend, event, err);
}

static bool learn_unless_faulty(struct backend *backend, int64_t contact_id,
	const char *intercom_id, const char *sent, struct error *err)
{
	if (is_faulty)
		return error_set(err, "not now");
	if (strlen(sent) == 1)
		(void)strcat(learnt, sent);
	return store_sqlite.contact_learn(backend, contact_id, intercom_id, sent, err);
}

static struct rig *create_with_faults(void)
{
	struct rig *rig = rig_create(NULL, NULL);

	faulty = store_sqlite;
	faulty.event_add = add_unless_bad;
	faulty.contact_learn = learn_unless_faulty;
	is_faulty = false;
	learnt[0] = '\0';
	rig->backend = &faulty;
	rig_restart(rig);
	return rig;
}

static void one_that_cannot_be_stored_does_not_hide_the_others(void **state)
{
	struct rig *rig = create_with_faults();
	struct posted posted[2];
	char bodies[2][1024];

	(void)state;
	rig_run(rig, 1000); /* nothing is left to be scanned */
	is_faulty = true;
	(void)snprintf(bodies[0], sizeof(bodies[0]), PURCHASE, "good", "u1");
	(void)snprintf(bodies[1], sizeof(bodies[1]), PURCHASE, "bad", "u2");
	for (int i = 0; i < 2; i++)
		queue(rig, bodies[i], &posted[i]);
	assert_true(store_run(rig->store));
	assert_int_equal(posted[0].status, 200);
	assert_int_equal(posted[1].status, 503);
	is_faulty = false;
	rig_drain(rig, 60 * 1000);
	assert_int_equal(standin_event_count(rig->standin), 1);
	rig_destroy(rig);
}

static void destroy_finish(struct finish *finish)
{
	finish_destroy(finish);
}

static void reports_that_have_to_wait_keep_their_order(void **state)
{
	struct rig *rig = create_with_faults();
	char body[1024];

	(void)state;
	(void)snprintf(body, sizeof(body), PURCHASE, "e1", "u1");
	assert_int_equal(rig_post(rig, body), 200);
	is_faulty = true;
	for (int i = 0; i < 5; i++) {
		struct finish *finish = finish_create(1, 1);

		finish->learnt = true;
		finish->sent = arena_printf(&finish->arena, "%d", i);
		finish->done = destroy_finish;
		store_finish(rig->store, finish);
	}
	assert_false(store_run(rig->store));
	assert_string_equal(learnt, "");
	is_faulty = false;
	assert_true(store_run(rig->store));
	assert_string_equal(learnt, "01234");
	rig_destroy(rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_commit_answers_all_that_waits),
		cmocka_unit_test(what_is_ignored_is_kept_with_its_reason),
		cmocka_unit_test(a_full_disk_is_a_503_and_mends_by_itself),
		cmocka_unit_test(what_was_acknowledged_is_there_after_a_restart),
		cmocka_unit_test(what_is_old_is_forgotten_and_what_waits_is_not),
		cmocka_unit_test(one_that_cannot_be_stored_does_not_hide_the_others),
		cmocka_unit_test(reports_that_have_to_wait_keep_their_order),
	};

	log_configure(LOG_ERROR_LEVEL, LOG_LOGFMT);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
