/*
 * From a subscription event to attributes and an Intercom event.
 *
 * The event is remembered as a record of its customer (one compact JSON object, see encode_fact);
 * the attributes are what all records of the customer add up to (event/subscription.c), transfers
 * followed. Nothing here depends on which of the events came first.
 *
 * Transfers: a link (time, from, to) moves what the source had at that time. To know what a
 * customer has, its own records after its last transfer out are taken together with what each later
 * transfer in brought: whatever the giver had at that time, found the same way, strictly back in
 * time. An event that arrives late for a customer who has given everything away therefore reaches
 * whoever has it now; all of them are worked out anew.
 */

#include "map/subscription_plan.h"

#include "base/clock.h"
#include "base/json_out.h"
#include "base/text.h"
#include "conf/conf.h"
#include "event/event.h"
#include "event/subscription.h"
#include "map/destination.h"
#include "map/plan.h"

#include <assert.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

/* A record or metadata: a dozen texts of at most TEXT_MAX bytes, escaped at worst. */
#define JSON_MAX ((size_t)64 * 1024)
/* Intercom cuts or refuses longer strings in metadata and custom attributes. */
#define TEXT_MAX 255
/* Purchases hardly ever change hands; a chain this long is a loop of somebody's tests. */
#define TRANSFER_DEPTH_MAX 16
/* Real transfers name a few ids; each pair of them is a link. */
#define TRANSFER_PAIRS_MAX 1024
/* Beyond this many records a customer's oldest are forgotten, see forget_one. */
#define RECORDS_MAX 128
/* Of those who have left a contact this many are remembered, the newest; see note_left. */
#define LEFT_MAX 16

/* A customer that was looked at on the way along the links. */
struct visit {
	const struct customer *customer;
	int64_t at_ms;
	int64_t entered_at_ms;
	unsigned depth;
};

/* Transfers among many fan out: without this memory, five of 32 customers each would be 32^5 ways. */
struct visits {
	struct visit *items;
	size_t count;
	size_t capacity;
};

struct planner {
	const struct conf *conf;
	const struct event *event;
	const struct sub_event *sub;
	struct ledger *ledger;
	struct plan *plan;
	struct visits heirs; /* whose own heirs are seen to */
};

static void visits_add(struct visits *visits, const struct visit *visit, struct arena *arena)
{
	if (visits->count == visits->capacity) {
		const size_t capacity = visits->capacity == 0 ? 8 : visits->capacity * 2;
		struct visit *items = arena_alloc(arena, capacity * sizeof(*items));

		if (visits->count > 0)
			memcpy(items, visits->items, visits->count * sizeof(*items));
		visits->items = items;
		visits->capacity = capacity;
	}
	visits->items[visits->count++] = *visit;
}

/* ---- names ---- */

static const char *event_key(const struct conf *conf, const struct sub_event *sub)
{
	switch (sub->kind) {
	case SUB_INITIAL_PURCHASE:
		if (sub->period == SUB_TRIAL)
			return "trial_started";
		return sub->period == SUB_PROMOTIONAL ? "non_subscription_purchase"
						      : "initial_purchase";
	case SUB_RENEWAL: return sub->is_trial_conversion ? "trial_converted" : "renewal";
	case SUB_CANCELLATION:
		if (text_equal(sub->reason, "CUSTOMER_SUPPORT") &&
			conf_event_name(conf, "refund") != NULL)
			return "refund";
		return sub->period == SUB_TRIAL ? "trial_cancelled" : "cancellation";
	case SUB_UNCANCELLATION: return "uncancellation";
	case SUB_ONE_TIME_PURCHASE: return "non_subscription_purchase";
	case SUB_PAUSE_SCHEDULED: return "subscription_paused";
	case SUB_EXPIRATION: return "expiration";
	case SUB_BILLING_ISSUE: return "billing_issue";
	case SUB_PRODUCT_CHANGE: return "product_change";
	case SUB_TRANSFER: return "transfer";
	case SUB_EXTENSION: return "subscription_extended";
	case SUB_TEMPORARY_GRANT: return "temporary_entitlement_grant";
	case SUB_REFUND_REVERSED: return "refund_reversed";
	case SUB_OTHER: break;
	}
	assert(false); /* an event that isn't relayed is never planned */
	return NULL;
}

static bool is_purchase(enum sub_kind kind)
{
	return kind == SUB_INITIAL_PURCHASE || kind == SUB_RENEWAL || kind == SUB_ONE_TIME_PURCHASE;
}

/*
 * Purchases happened when the store says, expirations at the end of the period, everything else
 * when it was noticed (RevenueCat's sample events of its Intercom page). Apple charges up to a day
 * early, so a purchase's date may lie ahead of its event: never later than the event.
 */
static int64_t created_at_s(const struct sub_event *sub, int64_t event_at_ms)
{
	int64_t at_ms = event_at_ms;

	if (is_purchase(sub->kind) && sub->purchased_at_ms != TIME_NONE)
		at_ms = sub->purchased_at_ms;
	else if (sub->kind == SUB_EXPIRATION && sub->expires_at_ms != TIME_NONE)
		at_ms = sub->expires_at_ms;
	if (at_ms > event_at_ms)
		at_ms = event_at_ms;
	return at_ms / 1000;
}

/* ---- records ---- */

static const char *cut_text(struct arena *arena, const char *text)
{
	if (text == NULL)
		return NULL;

	size_t len = strlen(text);
	if (len <= TEXT_MAX)
		return text;
	len = TEXT_MAX;
	while (len > 0 && ((unsigned char)text[len] & 0xC0) == 0x80)
		len--; /* never through the middle of a character */
	return arena_dup_len(arena, text, len);
}

static void key_time(struct json_out *out, const char *key, int64_t at_ms)
{
	if (at_ms != TIME_NONE)
		json_out_key_integer(out, key, at_ms);
}

static void key_text(struct json_out *out, const char *key, const char *text)
{
	if (text != NULL)
		json_out_key_text(out, key, text);
}

/* Whom the event names as its customer's contact; "" stands for the customer's own key. */
static void key_identity(
	struct json_out *out, const struct sub_event *sub, const struct customer *customer)
{
	if (sub->identity == NULL)
		return;
	json_out_key_text(out, "identity",
		!sub->identity_is_email && strcmp(sub->identity, customer->key) == 0
			? ""
			: sub->identity);
	if (sub->identity_is_email)
		json_out_key_boolean(out, "email", true);
}

static const char *encode_fact(struct arena *arena, const struct sub_event *sub,
	const struct customer *customer, const char *name, int64_t created_at)
{
	struct buf buf;
	struct json_out out;

	buf_init(&buf, JSON_MAX);
	json_out_init(&out, &buf);
	json_out_object(&out);
	json_out_key_integer(&out, "kind", sub->kind);
	json_out_key_integer(&out, "period", sub->period);
	key_text(&out, "store", cut_text(arena, sub->store));
	if (sub->kind == SUB_INITIAL_PURCHASE || sub->kind == SUB_RENEWAL)
		key_text(&out, "product", cut_text(arena, sub->product));
	if (sub->kind == SUB_PRODUCT_CHANGE)
		key_text(&out, "new_product", cut_text(arena, sub->new_product));
	key_text(&out, "entitlement", cut_text(arena, sub->entitlement));
	key_text(&out, "reason", cut_text(arena, sub->reason));
	key_time(&out, "purchased", sub->purchased_at_ms);
	key_time(&out, "expires", sub->expires_at_ms);
	key_time(&out, "grace", sub->grace_until_ms);
	if (sub->is_free)
		json_out_key_boolean(&out, "free", true);
	key_identity(&out, sub, customer);
	if (name != NULL) {
		json_out_key_text(&out, "sent_as", name);
		json_out_key_integer(&out, "created_at", created_at);
	}
	json_out_object_end(&out);

	char *text = arena_dup_len(arena, buf_text(&buf), buf.len);
	buf_finish(&buf);
	return text;
}

/* The event's name and second under which a record was sent; false when it wasn't. */
static bool decode_sent(const struct record *record, struct arena *arena, const char **ret_name,
	int64_t *ret_second)
{
	json_t *json = json_loads(record->data, 0, NULL);
	const json_t *name = json_object_get(json, "sent_as");
	const bool is_sent = json_is_string(name);

	if (is_sent) {
		*ret_name = arena_dup(arena, json_string_value(name));
		*ret_second = json_integer_value(json_object_get(json, "created_at"));
	}
	json_decref(json);
	return is_sent;
}

/* The contact that a record names; false when it names none. */
static bool decode_identity(const struct record *record, const struct customer *customer,
	struct arena *arena, struct contact_ref *ret_contact)
{
	json_t *json = json_loads(record->data, 0, NULL);
	const char *identity = json_string_value(json_object_get(json, "identity"));

	if (identity != NULL) {
		ret_contact->identity =
			identity[0] != '\0' ? arena_dup(arena, identity) : customer->key;
		ret_contact->is_email = json_is_true(json_object_get(json, "email"));
	}
	json_decref(json);
	return identity != NULL;
}

static int64_t time_of(const json_t *json, const char *key)
{
	const json_t *value = json_object_get(json, key);

	return json_is_integer(value) ? json_integer_value(value) : TIME_NONE;
}

static const char *text_of(const json_t *json, const char *key, struct arena *arena)
{
	return arena_dup(arena, json_string_value(json_object_get(json, key)));
}

/* False when the record says nothing of a subscription's state. */
static bool decode_fact(const struct record *record, int64_t entered_at_ms, struct arena *arena,
	struct sub_fact *ret_fact)
{
	json_t *json = json_loads(record->data, 0, NULL);
	const json_int_t kind = json_integer_value(json_object_get(json, "kind"));
	const json_int_t period = json_integer_value(json_object_get(json, "period"));
	const bool is_usable = json_is_object(json) && kind >= 0 && kind < SUB_OTHER &&
		sub_kind_has_state((enum sub_kind)kind) && period >= 0 && period <= SUB_PREPAID;

	if (is_usable)
		*ret_fact = (struct sub_fact){
			.event_id = record->id,
			.subject = record->subject,
			.at_ms = record->at_ms,
			.rank = record->rank,
			.entered_at_ms = entered_at_ms,
			.kind = (enum sub_kind)kind,
			.period = (enum sub_period)period,
			.store = text_of(json, "store", arena),
			.product = text_of(json, "product", arena),
			.new_product = text_of(json, "new_product", arena),
			.entitlement = text_of(json, "entitlement", arena),
			.reason = text_of(json, "reason", arena),
			.purchased_at_ms = time_of(json, "purchased"),
			.expires_at_ms = time_of(json, "expires"),
			.grace_until_ms = time_of(json, "grace"),
			.is_free = json_is_true(json_object_get(json, "free")),
		};
	json_decref(json);
	return is_usable;
}

/* ---- what a customer has ---- */

struct facts {
	struct sub_fact *items;
	size_t count;
	size_t capacity;
	struct visits givers;
};

/* True when a visit like that, or one that found more, was made before; notes it otherwise. */
static bool is_collected(struct facts *facts, const struct visit *visit, struct arena *arena)
{
	for (size_t i = 0; i < facts->givers.count; i++) {
		const struct visit *known = &facts->givers.items[i];

		if (known->customer == visit->customer && known->at_ms == visit->at_ms &&
			known->entered_at_ms >= visit->entered_at_ms &&
			known->depth <= visit->depth)
			return true;
	}
	visits_add(&facts->givers, visit, arena);
	return false;
}

static void facts_add(struct facts *facts, const struct sub_fact *fact, struct arena *arena)
{
	/* What came by two ways came by the later one. */
	for (size_t i = 0; fact->entered_at_ms != fact->at_ms && i < facts->count; i++) {
		struct sub_fact *known = &facts->items[i];

		if (strcmp(known->event_id, fact->event_id) == 0) {
			if (fact->entered_at_ms > known->entered_at_ms)
				known->entered_at_ms = fact->entered_at_ms;
			return;
		}
	}
	if (facts->count == facts->capacity) {
		const size_t capacity = facts->capacity == 0 ? 8 : facts->capacity * 2;
		struct sub_fact *items = arena_alloc(arena, capacity * sizeof(*items));

		if (facts->count > 0)
			memcpy(items, facts->items, facts->count * sizeof(*items));
		facts->items = items;
		facts->capacity = capacity;
	}
	facts->items[facts->count++] = *fact;
}

static int64_t last_given_away_ms(const struct customer *customer, int64_t before_ms)
{
	int64_t last_ms = TIME_NONE;

	for (size_t i = 0; i < customer->links_out_count; i++) {
		const int64_t at_ms = customer->links_out[i].at_ms;

		if (at_ms < before_ms && at_ms > last_ms)
			last_ms = at_ms;
	}
	return last_ms;
}

/* What the customer had just before `before_ms`; entered_at_ms is TIME_NONE for what is its own. */
static bool collect(struct planner *planner, const struct customer *customer, int64_t before_ms,
	int64_t entered_at_ms, unsigned depth, struct facts *facts, struct error *err)
{
	const int64_t gone_ms = last_given_away_ms(customer, before_ms);
	struct arena *arena = planner->ledger->arena;

	for (size_t i = 0; i < customer->record_count; i++) {
		const struct record *record = &customer->records[i];
		struct sub_fact fact;

		if (record->at_ms <= gone_ms || record->at_ms > before_ms)
			continue;
		if (decode_fact(record, entered_at_ms == TIME_NONE ? record->at_ms : entered_at_ms,
			    arena, &fact))
			facts_add(facts, &fact, arena);
	}
	for (size_t i = 0; i < customer->links_in_count && depth < TRANSFER_DEPTH_MAX; i++) {
		const struct link *link = &customer->links_in[i];

		if (link->at_ms <= gone_ms || link->at_ms >= before_ms)
			continue;
		const struct customer *giver =
			ledger_customer(planner->ledger, customer->scope, link->from, err);
		if (giver == NULL)
			return false;
		const struct visit visit = {.customer = giver,
			.at_ms = link->at_ms,
			.entered_at_ms = entered_at_ms == TIME_NONE ? link->at_ms : entered_at_ms,
			.depth = depth + 1};
		if (!is_collected(facts, &visit, arena) &&
			!collect(planner, giver, visit.at_ms, visit.entered_at_ms, visit.depth,
				facts, err))
			return false;
	}
	return true;
}

static int64_t seconds_of(int64_t at_ms)
{
	return at_ms == TIME_NONE ? TIME_NONE : at_ms / 1000;
}

static void set_attributes(struct planner *planner, const char *by, const struct sub_state *state,
	struct attributes *set)
{
	const struct conf *conf = planner->conf;
	struct arena *arena = planner->plan->arena;
	const char *name;

	if (!state->is_known)
		return;
	if ((name = conf_attribute_name(conf, "latest_store")) != NULL)
		attributes_set_text(
			set, name, cut_text(arena, state->store), state->spoke_at_ms, by);
	if ((name = conf_attribute_name(conf, "latest_entitlement")) != NULL)
		attributes_set_text(
			set, name, cut_text(arena, state->entitlement), state->spoke_at_ms, by);
	if ((name = conf_attribute_name(conf, "expires_at")) != NULL)
		attributes_set_time(
			set, name, seconds_of(state->expires_at_ms), state->spoke_at_ms, by);
	if ((name = conf_attribute_name(conf, "subscription_status")) != NULL &&
		state->status != SUB_STATUS_UNKNOWN)
		attributes_set_text(
			set, name, sub_status_name(state->status), state->spoke_at_ms, by);
}

/* The attributes of a contact: what all the customers that it is have, as if they were one. */
static bool plan_contact(struct planner *planner, const char *scope,
	const struct contact_ref *contact, struct error *err)
{
	struct arena *arena = planner->plan->arena;
	struct facts facts = {0};
	struct sub_state state;
	struct attributes set;
	struct customer **customers;
	size_t count;

	if (contact->identity == NULL)
		return true;
	for (size_t i = 0; i < planner->plan->update_count; i++)
		if (contact_ref_equal(&planner->plan->updates[i].contact, contact))
			return true;
	if (!ledger_customers_of(planner->ledger, scope, contact, &customers, &count, err))
		return false;
	for (size_t i = 0; i < count; i++)
		if (!collect(planner, customers[i], INT64_MAX, TIME_NONE, 0, &facts, err))
			return false;
	if (count == 0)
		return true;
	sub_state_of_customer(facts.items, facts.count, &state);
	attributes_init(&set);
	set_attributes(planner, plan_author(arena, scope, contact), &state, &set);
	plan_add_update_take(planner->plan, customers[0], contact, &set);
	return true;
}

/* The customer's contact, and the one that it was until this event, if somebody else is that. Left
 * by its last customer, a contact keeps what it has: it is likely to be the same person, under an
 * address that Intercom may not know any more. */
static bool plan_customer(struct planner *planner, struct customer *customer, struct error *err)
{
	return plan_contact(planner, customer->scope, &customer->contact, err) &&
		plan_contact(planner, customer->scope, &customer->stored_contact, err);
}

/* True when its heirs since then, or since an earlier time, are seen to; notes it otherwise. */
static bool has_heirs_planned(
	struct planner *planner, const struct customer *customer, int64_t at_ms)
{
	for (size_t i = 0; i < planner->heirs.count; i++)
		if (planner->heirs.items[i].customer == customer &&
			planner->heirs.items[i].at_ms <= at_ms)
			return true;
	visits_add(&planner->heirs, &(struct visit){.customer = customer, .at_ms = at_ms},
		planner->plan->arena);
	return false;
}

/* The customer and all who were given something by it since `at_ms`. */
static bool plan_customer_and_heirs(
	struct planner *planner, struct customer *customer, int64_t at_ms, struct error *err)
{
	if (has_heirs_planned(planner, customer, at_ms))
		return true;
	if (!plan_customer(planner, customer, err))
		return false;
	for (size_t i = 0; i < customer->links_out_count; i++) {
		const struct link *link = &customer->links_out[i];

		if (link->at_ms < at_ms)
			continue;
		struct customer *heir =
			ledger_customer(planner->ledger, customer->scope, link->to, err);
		if (heir == NULL || !plan_customer_and_heirs(planner, heir, link->at_ms + 1, err))
			return false;
	}
	return true;
}

/* ---- the Intercom event ---- */

/*
 * Intercom takes two events of one name, contact and second for one. The later one moves by whole
 * seconds; the second it got is kept in its record, so that it is the same when computed again.
 */
struct seconds {
	int64_t *items;
	size_t count;
};

static void add_taken_seconds(const struct planner *planner, const struct customer *customer,
	const char *name, struct seconds *taken)
{
	for (size_t i = 0; i < customer->record_count; i++) {
		const char *other_name;
		int64_t second;

		if (decode_sent(
			    &customer->records[i], planner->ledger->arena, &other_name, &second) &&
			strcmp(name, other_name) == 0)
			taken->items[taken->count++] = second;
	}
}

static bool is_second_taken(const struct seconds *taken, int64_t second)
{
	for (size_t i = 0; i < taken->count; i++)
		if (taken->items[i] == second)
			return true;
	return false;
}

/* The second that this very event got when it was planned before. */
static bool known_second(
	const struct planner *planner, const struct customer *customer, int64_t *ret_second)
{
	const char *name;

	for (size_t i = 0; i < customer->record_count; i++)
		if (strcmp(customer->records[i].id, planner->event->id) == 0)
			return decode_sent(
				&customer->records[i], planner->ledger->arena, &name, ret_second);
	return false;
}

/*
 * What a customer sent while it was this contact counts for the contact when the customer has become
 * another: Intercom has it. Who has left is remembered as records of the contact, which for that is
 * a customer in a scope of its own.
 */
static struct customer *left_customers(struct planner *planner, const char *scope,
	const struct contact_ref *contact, struct error *err)
{
	return ledger_customer(planner->ledger,
		arena_printf(planner->ledger->arena, "%s/left/%s%s", scope, contact->destination,
			contact->is_email ? "/email" : ""),
		contact->identity, err);
}

static bool note_left(struct planner *planner, struct customer *customer, struct error *err)
{
	const struct contact_ref *before = &customer->stored_contact;

	if (before->identity == NULL || contact_ref_equal(before, &customer->contact))
		return true;
	struct customer *left = left_customers(planner, customer->scope, before, err);
	if (left == NULL)
		return false;
	plan_add_record(planner->plan, left,
		&(struct record){.id = customer->key,
			.subject = "",
			.at_ms = planner->event->at_ms,
			.data = "{}"});
	if (left->record_count > LEFT_MAX)
		plan_drop_record(planner->plan, left, left->records[0].id);
	return true;
}

/* All who are the contact, and all who were. */
static bool senders_to(struct planner *planner, const char *scope,
	const struct contact_ref *contact, struct customer ***ret, size_t *ret_count,
	struct error *err)
{
	struct customer **current;
	size_t count;

	const struct customer *left = left_customers(planner, scope, contact, err);
	if (left == NULL ||
		!ledger_customers_of(planner->ledger, scope, contact, &current, &count, err))
		return false;
	struct customer **senders = arena_alloc(
		planner->ledger->arena, (count + left->record_count) * sizeof(struct customer *));
	memcpy(senders, current, count * sizeof(struct customer *));
	for (size_t i = 0; i < left->record_count; i++) {
		senders[count] = ledger_customer(planner->ledger, scope, left->records[i].id, err);
		if (senders[count++] == NULL)
			return false;
	}
	*ret = senders;
	*ret_count = count;
	return true;
}

static bool free_second(struct planner *planner, const struct customer *customer, const char *name,
	int64_t *ret_second, struct error *err)
{
	int64_t second = created_at_s(planner->sub, planner->event->at_ms);
	struct customer **customers;
	struct seconds taken = {0};
	size_t count;
	size_t records = 0;

	*ret_second = second;
	if (name == NULL || customer->contact.identity == NULL ||
		known_second(planner, customer, ret_second))
		return true;
	if (!senders_to(planner, customer->scope, &customer->contact, &customers, &count, err))
		return false;
	for (size_t i = 0; i < count; i++)
		records += customers[i]->record_count;
	taken.items = arena_alloc(planner->ledger->arena, records * sizeof(*taken.items));
	for (size_t i = 0; i < count; i++)
		add_taken_seconds(planner, customers[i], name, &taken);
	while (is_second_taken(&taken, second))
		second++;
	*ret_second = second;
	return true;
}

static void metadata_text(struct json_out *out, bool with_nulls, const char *key, const char *text,
	struct arena *arena)
{
	if (text != NULL || with_nulls)
		json_out_key_text(out, key, cut_text(arena, text));
}

static const char *metadata(const struct planner *planner, bool with_nulls)
{
	const struct sub_event *sub = planner->sub;
	struct arena *arena = planner->plan->arena;
	struct buf buf;
	struct json_out out;

	buf_init(&buf, JSON_MAX);
	json_out_init(&out, &buf);
	json_out_object(&out);
	metadata_text(&out, with_nulls, "product_identifier", sub->product, arena);
	metadata_text(&out, with_nulls, "entitlement", sub->entitlement, arena);
	metadata_text(&out, with_nulls, "store", sub->store, arena);
	if (sub->expires_at_ms != TIME_NONE)
		json_out_key_integer(&out, "expires_at", sub->expires_at_ms / 1000);
	else if (with_nulls)
		json_out_key_text(&out, "expires_at", NULL);
	metadata_text(&out, false, "environment", sub->environment, arena);
	metadata_text(&out, false, "app_id", sub->app_id, arena);
	if (sub->kind == SUB_CANCELLATION)
		metadata_text(&out, false, "cancellation_reason", sub->reason, arena);
	if (sub->kind == SUB_EXPIRATION)
		metadata_text(&out, false, "expiration_reason", sub->reason, arena);
	json_out_object_end(&out);

	char *text = arena_dup_len(arena, buf_text(&buf), buf.len);
	buf_finish(&buf);
	return text;
}

static void plan_event_for(struct planner *planner, const struct customer *customer,
	const char *name, int64_t created_at)
{
	if (name == NULL || customer->contact.identity == NULL)
		return;
	plan_add_event(planner->plan,
		&(struct plan_event){
			.contact = customer->contact,
			.name = name,
			.created_at = created_at,
			.metadata = metadata(planner, false),
			.metadata_shown = metadata(planner, true),
		});
}

/* ---- one event ---- */

static void remember(
	struct planner *planner, struct customer *customer, const char *name, int64_t created_at)
{
	const struct sub_event *sub = planner->sub;
	struct arena *arena = planner->plan->arena;
	const struct record record = {
		.id = planner->event->id,
		.subject = arena_printf(arena, "%s/%s", sub->store ? sub->store : "",
			sub->transaction ? sub->transaction : ""),
		.at_ms = planner->event->at_ms,
		.rank = planner->event->rank,
		.data = encode_fact(arena, sub, customer, name, created_at),
	};

	plan_add_record(planner->plan, customer, &record);
}

/* Whether a later purchase of the same subscription has made the i-th record irrelevant. */
static bool is_outdated(const struct customer *customer, size_t i, struct arena *arena)
{
	for (size_t later = i + 1; later < customer->record_count; later++) {
		struct sub_fact fact;

		if (strcmp(customer->records[i].subject, customer->records[later].subject) == 0 &&
			decode_fact(&customer->records[later], TIME_NONE, arena, &fact) &&
			is_purchase(fact.kind) && !fact.is_free)
			return true;
	}
	return false;
}

/* Whether the record tells nothing of any subscription: a product bought once (a grant is none). */
static bool is_without_subscription(const struct record *record, struct arena *arena)
{
	struct sub_fact fact;

	if (!decode_fact(record, TIME_NONE, arena, &fact))
		return true;
	return fact.kind == SUB_ONE_TIME_PURCHASE && fact.period != SUB_PROMOTIONAL &&
		!text_equal(fact.store, "PROMOTIONAL");
}

/*
 * A customer of many years has hundreds of records, and so has one who buys coins every day. The
 * oldest that a subscription's state can do without makes room for the new; the subscription itself
 * must not go for coins.
 */
static void forget_one(struct planner *planner, struct customer *customer)
{
	struct arena *arena = planner->ledger->arena;
	const struct record *records = customer->records;
	size_t victim = 0;

	if (customer->record_count <= RECORDS_MAX)
		return;
	while (victim < customer->record_count && !is_outdated(customer, victim, arena))
		victim++;
	if (victim == customer->record_count)
		for (victim = 0; victim < customer->record_count; victim++)
			if (is_without_subscription(&records[victim], arena))
				break;
	/* Nothing but subscriptions of different things: the oldest goes. */
	if (victim == customer->record_count)
		victim = 0;
	plan_drop_record(planner->plan, customer, records[victim].id);
}

static void know_contact(
	struct planner *planner, struct customer *customer, const char *identity, bool is_email)
{
	if (identity != NULL)
		customer->contact = (struct contact_ref){
			.destination = destination_of(
				planner->conf, planner->sub->workspace, planner->plan->arena),
			.identity = identity,
			.is_email = is_email,
		};
}

/*
 * Who the customer is by the newest event that said so, this one or one that is remembered: an id
 * becomes known, an address changes, and a late event must not turn that back.
 */
static void settle_contact(struct planner *planner, struct customer *customer)
{
	const struct sub_event *sub = planner->sub;
	const struct record own = {.id = planner->event->id,
		.at_ms = planner->event->at_ms,
		.rank = planner->event->rank};

	for (size_t i = customer->record_count; i > 0; i--) {
		const struct record *record = &customer->records[i - 1];
		struct contact_ref said;

		if (sub->identity != NULL && record_compare(record, &own) < 0)
			break;
		if (decode_identity(record, customer, planner->plan->arena, &said)) {
			know_contact(planner, customer, said.identity, said.is_email);
			return;
		}
	}
	know_contact(planner, customer, sub->identity, sub->identity_is_email);
}

static bool plan_transfer(struct planner *planner, const char *name, struct error *err)
{
	const struct sub_event *sub = planner->sub;
	const struct event *event = planner->event;

	if (sub->transferred_from_count > TRANSFER_PAIRS_MAX ||
		sub->transferred_to_count > TRANSFER_PAIRS_MAX ||
		sub->transferred_from_count * sub->transferred_to_count > TRANSFER_PAIRS_MAX) {
		planner->plan->nothing = "a transfer among too many customers";
		return true;
	}
	for (size_t t = 0; t < sub->transferred_to_count; t++) {
		struct customer *to = ledger_customer(
			planner->ledger, sub->scope, sub->transferred_to[t].customer, err);
		if (to == NULL)
			return false;
		if (to->contact.identity == NULL)
			know_contact(planner, to, sub->transferred_to[t].identity,
				sub->identity_is_email);
		for (size_t f = 0; f < sub->transferred_from_count; f++) {
			struct customer *from = ledger_customer(planner->ledger, sub->scope,
				sub->transferred_from[f].customer, err);
			if (from == NULL)
				return false;
			if (from->contact.identity == NULL)
				know_contact(planner, from, sub->transferred_from[f].identity,
					sub->identity_is_email);
			if (from != to)
				plan_add_link(planner->plan, sub->scope, from, to, event->at_ms,
					event->id);
		}
		int64_t second;
		if (!free_second(planner, to, name, &second, err))
			return false;
		remember(planner, to, name, second);
		forget_one(planner, to);
		plan_event_for(planner, to, name, second);
	}
	for (size_t f = 0; f < sub->transferred_from_count; f++) {
		struct customer *from = ledger_customer(
			planner->ledger, sub->scope, sub->transferred_from[f].customer, err);
		if (from == NULL || !plan_customer_and_heirs(planner, from, event->at_ms, err))
			return false;
	}
	return true;
}

static bool plan_own(struct planner *planner, const char *name, struct error *err)
{
	const struct sub_event *sub = planner->sub;
	struct customer *customer =
		ledger_customer(planner->ledger, sub->scope, sub->customer, err);
	if (customer == NULL)
		return false;
	settle_contact(planner, customer);
	if (!note_left(planner, customer, err))
		return false;
	if (customer->contact.identity == NULL)
		planner->plan->nothing = "nothing says which contact this customer is yet";

	int64_t second;
	if (!free_second(planner, customer, name, &second, err))
		return false;
	remember(planner, customer, name, second);
	forget_one(planner, customer);
	plan_event_for(planner, customer, name, second);
	return plan_customer_and_heirs(planner, customer, planner->event->at_ms, err);
}

bool subscription_plan(const struct conf *conf, const struct conf_source *section,
	const struct event *event, struct ledger *ledger, struct plan *plan, struct error *err)
{
	const struct sub_event *sub = event->detail;
	struct planner planner = {
		.conf = conf, .event = event, .sub = sub, .ledger = ledger, .plan = plan};
	const char *key = event_key(conf, sub);
	const char *name = conf_event_name(conf, key);

	(void)section; /* all that the section says is in the event already */
	plan->product = sub->product;
	plan->app_id = sub->app_id;
	if (name == NULL)
		plan->no_event = arena_printf(plan->arena, "event %s is off", key);
	plan->nothing = arena_printf(plan->arena, "no attribute changes, and %s",
		name == NULL ? plan->no_event : "there is nobody to tell");
	return sub->kind == SUB_TRANSFER ? plan_transfer(&planner, name, err)
					 : plan_own(&planner, name, err);
}
