/*
 * Subscription events of all kinds in every order that chance comes up with: what the contacts are
 * to have must not depend on it.
 *
 * Unlike a webhook body an input is a program here: ten bytes make one event, from few customers,
 * few subscriptions and few moments, so that events meet: purchases and ends of one moment,
 * transfers in a ring, grace periods beside cancellations; "c" and "d" are ids of one contact. For
 * every source that has subscriptions.
 */

#include "base/backoff.h"
#include "base/clock.h"
#include "conf/conf.h"
#include "event/event.h"
#include "event/sub_event.h"
#include "fuzz.h"
#include "memory.h"

#define EVENTS_MAX 8
#define ORDERS 6
#define T0 INT64_C(1700000000000)
#define STEP_MS INT64_C(100000)

static const char *const customers[] = {"a", "b", "c", "d"};
static const char *const contacts[] = {"a", "b", "c", "c"};
static const char *const stores[] = {"APP_STORE", "PLAY_STORE", "STRIPE", "PROMOTIONAL", NULL};
static const char *const reasons[] = {NULL, "UNSUBSCRIBE", "BILLING_ERROR", "CUSTOMER_SUPPORT",
	"SUBSCRIPTION_PAUSED", "DEVELOPER_INITIATED", "PRICE_INCREASE", "UNKNOWN"};
static const char *const products[] = {"monthly", "yearly", NULL};

/* As the sources rank them: a purchase before what is about it. */
static int rank_of(enum sub_kind kind)
{
	switch (kind) {
	case SUB_PRODUCT_CHANGE:
	case SUB_EXTENSION:
	case SUB_UNCANCELLATION:
	case SUB_REFUND_REVERSED: return 1;
	case SUB_BILLING_ISSUE: return 2;
	case SUB_CANCELLATION:
	case SUB_PAUSE_SCHEDULED: return 3;
	case SUB_EXPIRATION: return 4;
	case SUB_TRANSFER: return 5;
	default: return 0;
	}
}

#define PICK(list, bytes) (list)[fuzz_below(bytes, sizeof(list) / sizeof((list)[0]))]

static int64_t moment(struct fuzz_bytes *bytes)
{
	unsigned step = fuzz_below(bytes, 18);
	return step < 2 ? TIME_NONE : T0 + (int64_t)(step - 2) * STEP_MS;
}

/* Bits say who. */
static void read_parties(
	struct arena *arena, unsigned who, struct sub_party **ret, size_t *ret_count)
{
	struct sub_party *parties = arena_alloc(arena, 4 * sizeof(*parties));
	size_t count = 0;

	for (size_t i = 0; i < 4; i++)
		if (who & (1u << i))
			parties[count++] = (struct sub_party){
				arena_dup(arena, customers[i]), arena_dup(arena, contacts[i])};
	*ret = parties;
	*ret_count = count;
}

static struct event *read_event(struct fuzz_bytes *bytes, size_t index)
{
	struct event *event = event_create("revenuecat");
	struct arena *arena = &event->arena;
	struct sub_event *sub = arena_alloc(arena, sizeof(*sub));

	sub->kind = (enum sub_kind)fuzz_below(bytes, SUB_OTHER);
	sub->period = (enum sub_period)fuzz_below(bytes, SUB_PREPAID + 1);
	event->id = arena_printf(arena, "%zu", index);
	event->type = arena_dup(arena, "EVENT");
	event->at_ms = T0 + (int64_t)fuzz_below(bytes, 16) * STEP_MS;
	event->rank = rank_of(sub->kind);
	event->detail = sub;
	sub->scope = event->source;
	sub->workspace = arena_dup(arena, "");
	unsigned who = fuzz_byte(bytes);
	if (sub->kind == SUB_TRANSFER) {
		read_parties(arena, who, &sub->transferred_from, &sub->transferred_from_count);
		read_parties(arena, who >> 4 ? who >> 4 : 1, &sub->transferred_to,
			&sub->transferred_to_count);
	} else {
		sub->customer = arena_dup(arena, customers[who % 4]);
		sub->identity = arena_dup(arena, contacts[who % 4]);
	}
	event->customer = sub->customer;
	unsigned what = fuzz_byte(bytes);
	sub->transaction = arena_dup(arena, what & 1 ? "T1" : what & 2 ? "T2" : "T3");
	sub->entitlement = arena_dup(arena, what & 4 ? "pro" : what & 8 ? "gold" : NULL);
	sub->is_free = what & 16;
	sub->is_trial_conversion = what & 32;
	sub->store = arena_dup(arena, PICK(stores, bytes));
	sub->reason = arena_dup(arena, PICK(reasons, bytes));
	sub->product = arena_dup(arena, products[what >> 6 & 1]);
	sub->new_product = arena_dup(arena, PICK(products, bytes));
	sub->purchased_at_ms = moment(bytes);
	sub->expires_at_ms = moment(bytes);
	sub->grace_until_ms = what & 128 ? moment(bytes) : TIME_NONE;
	return event;
}

static const struct conf *configuration(void)
{
	static struct conf *conf;
	char transfers[] = "SUBRELAY_EVENT_NAMES_TRANSFER=on";
	char *const environment[] = {transfers, NULL};
	struct conf_report report;

	if (!conf) {
		conf = conf_load_for_map(NULL, environment, &report);
		FUZZ_CHECK(conf);
		conf_report_finish(&report);
	}
	return conf;
}

static struct world *accept_all(struct event *const *events, const size_t *order, size_t count)
{
	const struct conf *conf = configuration();
	struct world *world = world_create();
	for (size_t i = 0; i < count; i++)
		world_accept(world, conf, &conf->sources[0], events[order[i]]);
	return world;
}

static void shuffle(struct rng *rng, size_t *order, size_t count)
{
	for (size_t i = count; i > 1; i--) {
		size_t j = (size_t)rng_below(rng, i);
		size_t other = order[j];
		order[j] = order[i - 1];
		order[i - 1] = other;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_bytes bytes = {data, size};
	struct event *events[EVENTS_MAX];
	size_t order[EVENTS_MAX];
	size_t count = 0;
	struct rng rng;

	rng_seed(&rng, fuzz_byte(&bytes));
	while (bytes.left > 0 && count < EVENTS_MAX) {
		order[count] = count;
		events[count] = read_event(&bytes, count);
		count++;
	}
	struct world *first = accept_all(events, order, count);
	world_deliver(first, configuration());
	for (unsigned i = 0; i < ORDERS && count > 1; i++) {
		shuffle(&rng, order, count);
		struct world *other = accept_all(events, order, count);
		world_compare(first, other);
		world_destroy(other);
	}
	world_destroy(first);
	for (size_t i = 0; i < count; i++)
		event_destroy(events[i]);
	return 0;
}
