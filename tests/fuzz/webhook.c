/*
 * A webhook body through the whole pure path: normalise, plan, what `map` prints, and the store's
 * transaction over lists in memory, in several orders.
 */

#include "webhook.h"

#include "admin/map_text_private.h"
#include "base/buf.h"
#include "base/error.h"
#include "base/xalloc.h"
#include "conf/conf.h"
#include "event/event.h"
#include "memory.h"
#include "source/source.h"

#include <jansson.h>

#define BODIES_MAX 6
#define ORDERS 4
#define METADATA_KEYS_MAX 10
#define METADATA_TEXT_MAX 255
#define VARIABLES_MAX 64

struct bodies {
	struct event *events[BODIES_MAX];
	size_t count;
};

/* Every Intercom event turned on, so that all that can be rendered is. */
static size_t turn_events_on(const char *source, char **variables, size_t count)
{
	for (const struct source *const *one = source_all(); *one; one++) {
		const struct source_name *names = (*one)->event_names;
		for (size_t i = 0; strcmp((*one)->name, source) == 0 && names[i].key; i++) {
			FUZZ_CHECK(count + 1 < VARIABLES_MAX);
			FUZZ_CHECK(asprintf(&variables[count], "SUBRELAY_EVENT_NAMES_%s=on",
					   names[i].key) > 0);
			for (char *c = variables[count]; *c != '='; c++)
				*c = (char)(*c >= 'a' && *c <= 'z' ? *c - 'a' + 'A' : *c);
			count++;
		}
	}
	return count;
}

/* Loaded once; it lives as long as the process. */
static const struct conf *configuration(const char *source, const char *const *environment)
{
	static struct conf *conf;
	char *variables[VARIABLES_MAX] = {NULL};
	struct conf_report report;

	if (conf)
		return conf;
	size_t count = turn_events_on(source, variables, 0);
	for (; *environment && count + 1 < VARIABLES_MAX; environment++)
		variables[count++] = xstrdup(*environment);
	conf = conf_load_for_map(NULL, variables, &report);
	FUZZ_CHECK(conf && report.count == 0);
	conf_report_finish(&report);
	for (size_t i = 0; i < count; i++)
		free(variables[i]);
	return conf;
}

/* ---- what `map` prints ---- */

static void check_metadata(const json_t *payload)
{
	const json_t *metadata = json_object_get(payload, "metadata");
	const char *key;
	json_t *value;

	FUZZ_CHECK(json_is_object(metadata));
	FUZZ_CHECK(json_object_size(metadata) <= METADATA_KEYS_MAX);
	FUZZ_CHECK(json_is_integer(json_object_get(payload, "created_at")));
	FUZZ_CHECK(json_string_length(json_object_get(payload, "event_name")) > 0);
	json_object_foreach((json_t *)(uintptr_t)metadata, key, value)
	{
		FUZZ_CHECK(json_is_string(value) || json_is_integer(value) || json_is_null(value));
		FUZZ_CHECK(json_string_length(value) <= METADATA_TEXT_MAX);
	}
}

static void check_payload(const json_t *payload)
{
	const json_t *user = json_object_get(payload, "user_payload");
	const json_t *event = json_object_get(payload, "event_payload");

	FUZZ_CHECK(json_is_object(payload) && user && event);
	FUZZ_CHECK(
		json_is_null(user) || json_is_object(json_object_get(user, "custom_attributes")));
	if (!json_is_null(event))
		check_metadata(event);
	/* Whoever asks "why not?" is told. */
	if (json_is_null(user) || json_is_null(event))
		FUZZ_CHECK(json_string_length(json_object_get(payload, "ignored")) > 0);
}

static void map_one(
	const struct conf *conf, const struct conf_source *section, struct fuzz_bytes body)
{
	struct buf text;
	struct error err = {0};

	buf_init(&text, (size_t)1024 * 1024);
	if (!map_body(conf, section, (const char *)body.at, body.left, WORLD_NOW_MS, &text, &err)) {
		FUZZ_CHECK(error_is_set(&err));
		buf_finish(&text);
		return;
	}
	json_t *json = json_loadb(buf_text(&text), text.len, 0, NULL);
	FUZZ_CHECK(json);
	if (json_is_array(json))
		for (size_t i = 0; i < json_array_size(json); i++)
			check_payload(json_array_get(json, i));
	else
		check_payload(json);
	json_decref(json);
	buf_finish(&text);
}

/* ---- in several orders ---- */

/* Of two with one id only the first would be relayed: which one that is does depend on the order.
 */
static bool is_known(const struct bodies *bodies, const char *id)
{
	for (size_t i = 0; i < bodies->count; i++)
		if (strcmp(bodies->events[i]->id, id) == 0)
			return true;
	return false;
}

static void check_event(const struct event *event)
{
	FUZZ_CHECK(event->id && event->id[0] && event->type && event->type[0] && event->source);
	FUZZ_CHECK(event->ignored ? event->ignored[0] != '\0' : event->detail != NULL);
	FUZZ_CHECK(event->at_ms > 0 && event->at_ms <= WORLD_NOW_MS + INT64_C(86400000));
}

static void normalise(const struct conf *conf, const struct conf_source *section,
	struct fuzz_bytes body, struct bodies *bodies)
{
	struct error err = {0};
	struct event *event =
		section->source->normalise(conf, section, (const char *)body.at, body.left, &err);

	FUZZ_CHECK(event || error_is_set(&err));
	if (!event)
		return;
	event_settle_time(event, WORLD_NOW_MS);
	check_event(event);
	if (is_known(bodies, event->id))
		event_destroy(event);
	else
		bodies->events[bodies->count++] = event;
}

/* Order 0 is as they came, 1 the other way round; the rest are walks through them all. */
static size_t position(size_t order, size_t i, size_t count)
{
	static const size_t steps[] = {0, 0, 2, 3};
	if (order == 1)
		return count - 1 - i;
	return order == 0 || count % steps[order] == 0 ? (i + order) % count
						       : i * steps[order] % count;
}

static void accept_in_orders(
	const struct conf *conf, const struct conf_source *section, const struct bodies *bodies)
{
	struct world *first = NULL;
	size_t orders = bodies->count > 1 ? ORDERS : bodies->count;

	for (size_t order = 0; order < orders; order++) {
		struct world *world = world_create();
		for (size_t i = 0; i < bodies->count; i++)
			world_accept(world, conf, section,
				bodies->events[position(order, i, bodies->count)]);
		if (!first) {
			world_deliver(world, conf);
			first = world;
			continue;
		}
		world_compare(first, world);
		world_destroy(world);
	}
	if (first)
		world_destroy(first);
}

int webhook_input(
	const char *source, const char *const *environment, const uint8_t *data, size_t size)
{
	const struct conf *conf = configuration(source, environment);
	const struct conf_source *section = conf_source_get(conf, source);
	struct fuzz_bytes rest = {data, size};
	struct bodies bodies = {.count = 0};

	FUZZ_CHECK(section);
	do {
		struct fuzz_bytes body = fuzz_part(&rest);
		map_one(conf, section, body);
		normalise(conf, section, body, &bodies);
	} while (rest.left > 0 && bodies.count < BODIES_MAX);
	accept_in_orders(conf, section, &bodies);
	for (size_t i = 0; i < bodies.count; i++)
		event_destroy(bodies.events[i]);
	return 0;
}
