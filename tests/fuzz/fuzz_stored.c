/*
 * What the store reads back, as if a disk or a hand had changed it: attributes, and behind a
 * FUZZ_SEPARATOR the data of a customer's records.
 *
 * What must be true: what can be read is written again as the same; what can't is an error, never a
 * crash; and a record that makes no sense never keeps the customer's next event from being planned.
 */

#include "base/arena.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/error.h"
#include "conf/conf.h"
#include "deliver/lane.h"
#include "event/attributes.h"
#include "event/event.h"
#include "event/sub_event.h"
#include "fuzz.h"
#include "map/plan.h"
#include "source/source.h"

#include <jansson.h>

#define TEXT_MAX ((size_t)256 * 1024)
#define RECORDS_MAX 8

static void try_attributes(const char *text)
{
	struct attributes set, again;
	struct error err = {0};
	struct buf one, two;

	if (!attributes_decode(text, strlen(text), &set, &err)) {
		FUZZ_CHECK(error_is_set(&err));
		return;
	}
	buf_init(&one, TEXT_MAX);
	buf_init(&two, TEXT_MAX);
	attributes_encode(&set, &one);
	FUZZ_CHECK(attributes_decode(buf_text(&one), one.len, &again, &err));
	attributes_encode(&again, &two);
	FUZZ_CHECK(strcmp(buf_text(&one), buf_text(&two)) == 0);
	buf_clear(&two);
	/* What it says already changes nothing. */
	attributes_merge(&again, &set);
	attributes_encode(&again, &two);
	FUZZ_CHECK(strcmp(buf_text(&one), buf_text(&two)) == 0);
	buf_clear(&two);
	attributes_render(&set, &two);
	json_t *json = json_loadb(buf_text(&two), two.len, 0, NULL);
	FUZZ_CHECK(json_is_object(json) && json_object_size(json) == set.count);
	json_decref(json);
	attributes_finish(&set);
	attributes_finish(&again);
	buf_finish(&one);
	buf_finish(&two);
}

static void try_lane(const struct conf *conf, const char *wanted)
{
	struct arena arena;
	struct error err = {0};
	struct job job = {.event_id = 1, .touches = true, .is_main = true};
	struct lane_work work = {
		.contact = {.id = 1, .identity = "ann", .wanted = wanted, .sent = ""},
		.jobs = &job,
		.job_count = 1,
		.touches = true,
	};

	arena_init(&arena);
	struct lane_run *run = lane_run_create_take(&arena, &work, 0, &err);
	FUZZ_CHECK(run || error_is_set(&err));
	if (run)
		(void)lane_next_call(run, &conf->workspaces[0]);
	lane_run_destroy(run);
}

static bool load(void *context, struct customer *customer, struct arena *arena, struct error *err)
{
	struct fuzz_bytes bytes = *(struct fuzz_bytes *)context;

	(void)err;
	customer->id = 1;
	customer->records = arena_alloc(arena, RECORDS_MAX * sizeof(*customer->records));
	while (bytes.left > 0 && customer->record_count < RECORDS_MAX) {
		size_t i = customer->record_count++;
		char *data = fuzz_text(fuzz_part(&bytes));
		customer->records[i] = (struct record){
			.id = arena_printf(arena, "r%zu", i),
			.subject = i % 2 ? "APP_STORE/1" : "APP_STORE/2",
			.at_ms = INT64_C(1700000000000) + (int64_t)i * 1000,
			.data = arena_dup(arena, data),
		};
		free(data);
	}
	return true;
}

static void try_records(const struct conf *conf, struct fuzz_bytes bytes)
{
	struct arena arena;
	struct plan plan;
	struct error err = {0};
	struct ledger ledger = {.arena = &arena, .load = load, .context = &bytes};
	struct event *event = event_create("revenuecat");
	struct sub_event *sub = arena_alloc(&event->arena, sizeof(*sub));

	*sub = (struct sub_event){
		.kind = SUB_RENEWAL,
		.purchased_at_ms = TIME_NONE,
		.expires_at_ms = TIME_NONE,
		.grace_until_ms = TIME_NONE,
	};
	sub->customer = sub->identity = arena_dup(&event->arena, "ann");
	sub->scope = event->source;
	sub->workspace = arena_dup(&event->arena, "");
	sub->store = arena_dup(&event->arena, "APP_STORE");
	sub->transaction = arena_dup(&event->arena, "1");
	event->id = arena_dup(&event->arena, "new");
	event->type = arena_dup(&event->arena, "RENEWAL");
	event->at_ms = INT64_C(1700000003000);
	event->detail = sub;
	arena_init(&arena);
	plan_init(&plan, &arena);
	const struct conf_source *section = &conf->sources[0];
	FUZZ_CHECK(section->source->plan(conf, section, event, &ledger, &plan, &err));
	FUZZ_CHECK(plan.update_count == 1 && plan.event_count == 1);
	plan_finish(&plan);
	arena_finish(&arena);
	event_destroy(event);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct conf *conf;
	struct fuzz_bytes bytes = {data, size};
	struct conf_report report;

	if (!conf) {
		conf = conf_load_for_map(NULL, NULL, &report);
		FUZZ_CHECK(conf);
		conf_report_finish(&report);
	}
	char *wanted = fuzz_text(fuzz_part(&bytes));
	try_attributes(wanted);
	try_lane(conf, wanted);
	try_records(conf, bytes);
	free(wanted);
	return 0;
}
