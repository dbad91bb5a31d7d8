/*
 * The second world: the webhooks that the relay has stored, in the order of their own times, into
 * an empty store, without trouble. What the contacts should have then is what they should have
 * after any other order.
 */

#include "simulation.h"

#include "deliver/dispatcher_private.h"

#include "base/buf.h"
#include "base/error.h"
#include "base/xalloc.h"
#include "event/attributes.h"
#include "event/event.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define JSON_MAX ((size_t)64 * 1024)

char *in_order_render(const char *encoded)
{
	struct attributes set;
	struct buf text;

	buf_init(&text, JSON_MAX);
	if (encoded[0] != '\0' && attributes_decode(encoded, strlen(encoded), &set, NULL)) {
		attributes_render(&set, &text);
		attributes_finish(&set);
	}
	return buf_detach(&text);
}

static void read_contacts(const struct world *world, struct store *store, struct backend *reader,
	struct wanted **ret, size_t *ret_count)
{
	const struct store_backend *ops = store_ops(store);
	struct wanted *wanted = xcalloc(CONTACTS_MAX * WORKSPACES, sizeof(*wanted));
	size_t count = 0;

	for (size_t i = 0; i < world->contact_count; i++) {
		for (size_t j = 0; j < WORKSPACES; j++) {
			struct stored_contact contact = {
				.destination_id = world->workspaces[j].destination_id,
				.identity = world->contacts[i].identity,
				.is_email = world->contacts[i].is_email,
			};
			struct arena arena;
			struct error err = {0};

			arena_init(&arena);
			if (!ops->contact_load(reader, &contact, &arena, &err))
				world_fail(world, "a contact can't be read: %s", err.text);
			if (contact.id != 0)
				wanted[count++] = (struct wanted){
					.destination_id = contact.destination_id,
					.is_email = contact.is_email,
					.identity = xstrdup(contact.identity),
					.json = in_order_render(contact.wanted),
				};
			arena_finish(&arena);
		}
	}
	*ret = wanted;
	*ret_count = count;
}

void in_order_read(struct world *world, struct wanted **ret, size_t *ret_count)
{
	read_contacts(world, world->store, world->dispatcher->reader, ret, ret_count);
}

void in_order_free(struct wanted *wanted, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		free(wanted[i].identity);
		free(wanted[i].json);
	}
	free(wanted);
}

static int compare_hooks(const void *left, const void *right)
{
	const struct hook *a = *(const struct hook *const *)left;
	const struct hook *b = *(const struct hook *const *)right;

	if (a->effective_ms != b->effective_ms)
		return a->effective_ms < b->effective_ms ? -1 : 1;
	if (a->rank != b->rank)
		return a->rank < b->rank ? -1 : 1;
	return strcmp(a->id, b->id);
}

static void note_status(struct accept *accept)
{
	bool *is_failed = accept->context;

	*is_failed = accept->status == ACCEPT_FAILED;
}

/* The time that the relay took for it: its own, or, where that lay far ahead of the relay's clock (which
 * may have been set back meanwhile), the latest date that the relay had seen. */
static void settle_time(struct world *world, const struct hook *hook, struct event *event)
{
	if (event->at_ms == hook->effective_ms)
		return;
	if (event->at_ms != TIME_NONE && event->at_ms <= hook->received_at_ms + DAY_MS)
		world_fail(world, "webhook %s was given another time without need", hook->id);
	if (hook->effective_ms < hook->received_at_ms)
		world_fail(world, "webhook %s was given a time before it came", hook->id);
	event->at_ms = hook->effective_ms;
}

static void accept_one(struct world *world, struct store *store, const struct hook *hook)
{
	const struct conf_source *section = &world->conf->sources[0];
	struct error err = {0};
	struct event *event =
		section->source->normalise(world->conf, section, hook->body, hook->body_len, &err);
	bool is_failed = true;

	if (event == NULL)
		world_fail(world, "webhook %s can't be read: %s", hook->id, err.text);
	settle_time(world, hook, event);
	struct accept accept = {.conf = world->conf,
		.section = section,
		.event = event,
		.body = hook->body,
		.body_len = hook->body_len,
		.received_at_ms = hook->received_at_ms,
		.done = note_status,
		.context = &is_failed};
	store_accept(store, &accept);
	while (store_run(store))
		continue;
	event_destroy(event);
	if (is_failed)
		world_fail(world, "webhook %s can't be stored in order", hook->id);
}

void in_order_run(struct world *world, struct wanted **ret, size_t *ret_count)
{
	struct hook *hooks[HOOKS_MAX];
	size_t count = 0;
	struct clock_fake clock;
	struct error err = {0};
	struct disk *disk = disk_copy(world->image, 1);

	for (size_t i = 0; i < world->hook_count; i++)
		if (world->hooks[i].is_recorded)
			hooks[count++] = &world->hooks[i];
	qsort(hooks, count, sizeof(*hooks), compare_hooks);

	clock_fake_init(&clock, START_WALL_MS);
	disk_mount(disk);
	struct store *store = store_open(&(struct store_options){.backend = &store_sqlite,
						 .path = world->path,
						 .clock = &clock.clock,
						 .keep_delivered_ms = 365 * DAY_MS,
						 .keep_parked_ms = 365 * DAY_MS},
		&err);
	if (store == NULL)
		world_fail(world, "%s", err.text);
	for (size_t i = 0; i < count; i++)
		accept_one(world, store, hooks[i]);
	struct backend *reader = store_reader(store, &err);
	read_contacts(world, store, reader, ret, ret_count);
	store_reader_close(store, reader);
	store_close(store);
	disk_destroy(disk);
}
