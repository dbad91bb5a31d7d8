/*
 * Lists of a plan, and the ledger's memory of what it loaded. All memory is the arena's but for the
 * attributes of updates, which own their strings.
 */

#include "map/plan.h"

#include "base/text.h"

#include <string.h>

/* Arrays in an arena grow by doubling; what they leave behind dies with the arena. */
static void *grown(struct arena *arena, void *items, size_t count, size_t size)
{
	if (count != 0 && (count < 4 || (count & (count - 1)) != 0))
		return items;

	void *bigger = arena_alloc(arena, size * (count == 0 ? 4 : count * 2));
	if (count > 0)
		memcpy(bigger, items, size * count);
	return bigger;
}

struct customer *ledger_customer(
	struct ledger *ledger, const char *scope, const char *key, struct error *err)
{
	for (struct customer *known = ledger->loaded; known != NULL; known = known->next)
		if (strcmp(known->key, key) == 0 && strcmp(known->scope, scope) == 0)
			return known;

	struct customer *customer = arena_alloc(ledger->arena, sizeof(*customer));
	customer->scope = arena_dup(ledger->arena, scope);
	customer->key = arena_dup(ledger->arena, key);
	if (ledger->load != NULL && !ledger->load(ledger->context, customer, ledger->arena, err))
		return NULL;
	customer->stored_contact = customer->contact;
	customer->next = ledger->loaded;
	ledger->loaded = customer;
	return customer;
}

bool contact_ref_equal(const struct contact_ref *a, const struct contact_ref *b)
{
	return text_equal(a->identity, b->identity) && text_equal(a->destination, b->destination) &&
		a->is_email == b->is_email;
}

bool ledger_customers_of(struct ledger *ledger, const char *scope,
	const struct contact_ref *contact, struct customer ***ret_customers, size_t *ret_count,
	struct error *err)
{
	const char **keys = NULL;
	size_t key_count = 0;
	size_t count = 0;

	if (ledger->keys_of != NULL &&
		!ledger->keys_of(
			ledger->context, scope, contact, ledger->arena, &keys, &key_count, err))
		return false;
	for (size_t i = 0; i < key_count; i++)
		if (ledger_customer(ledger, scope, keys[i], err) == NULL)
			return false;

	/* What is loaded may have become this contact, or another, by the event itself. */
	for (struct customer *one = ledger->loaded; one != NULL; one = one->next)
		count++;
	struct customer **customers = arena_alloc(ledger->arena, count * sizeof(struct customer *));
	count = 0;
	for (struct customer *one = ledger->loaded; one != NULL; one = one->next)
		if (strcmp(one->scope, scope) == 0 && contact_ref_equal(&one->contact, contact))
			customers[count++] = one;
	*ret_customers = customers;
	*ret_count = count;
	return true;
}

const char *plan_author(struct arena *arena, const char *scope, const struct contact_ref *contact)
{
	return arena_printf(arena, "%s#%08x", scope,
		(unsigned)text_hash(contact->identity, strlen(contact->identity), 0));
}

void plan_init(struct plan *plan, struct arena *arena)
{
	*plan = (struct plan){.arena = arena};
}

void plan_finish(struct plan *plan)
{
	for (size_t i = 0; i < plan->update_count; i++)
		attributes_finish(&plan->updates[i].attributes);
	*plan = (struct plan){0};
}

int record_compare(const struct record *a, const struct record *b)
{
	if (a->at_ms != b->at_ms)
		return a->at_ms < b->at_ms ? -1 : 1;
	if (a->rank != b->rank)
		return a->rank < b->rank ? -1 : 1;
	return strcmp(a->id, b->id);
}

void plan_add_record(struct plan *plan, struct customer *customer, const struct record *record)
{
	size_t at = customer->record_count;

	for (size_t i = 0; i < customer->record_count; i++)
		if (strcmp(customer->records[i].id, record->id) == 0)
			return;

	struct record *records =
		arena_alloc(plan->arena, (customer->record_count + 1) * sizeof(*records));
	while (at > 0 && record_compare(&customer->records[at - 1], record) > 0)
		at--;
	if (at > 0)
		memcpy(records, customer->records, at * sizeof(*records));
	records[at] = *record;
	if (at < customer->record_count)
		memcpy(&records[at + 1], &customer->records[at],
			(customer->record_count - at) * sizeof(*records));
	customer->records = records;
	customer->record_count++;

	plan->records =
		grown(plan->arena, plan->records, plan->record_count, sizeof(*plan->records));
	plan->records[plan->record_count++] =
		(struct plan_record){.customer = customer, .record = *record};
}

void plan_drop_record(struct plan *plan, struct customer *customer, const char *id)
{
	for (size_t i = 0; i < customer->record_count; i++) {
		if (strcmp(customer->records[i].id, id) != 0)
			continue;
		plan->records = grown(
			plan->arena, plan->records, plan->record_count, sizeof(*plan->records));
		plan->records[plan->record_count++] = (struct plan_record){
			.customer = customer, .record = customer->records[i], .is_drop = true};
		memmove(&customer->records[i], &customer->records[i + 1],
			(customer->record_count - i - 1) * sizeof(*customer->records));
		customer->record_count--;
		return;
	}
}

static void add_to(struct arena *arena, struct link **links, size_t *count, const struct link *link)
{
	*links = grown(arena, *links, *count, sizeof(**links));
	(*links)[(*count)++] = *link;
}

void plan_add_link(struct plan *plan, const char *scope, struct customer *from, struct customer *to,
	int64_t at_ms, const char *event_id)
{
	const struct link link = {.at_ms = at_ms, .id = event_id, .from = from->key, .to = to->key};

	for (size_t i = 0; i < from->links_out_count; i++)
		if (strcmp(from->links_out[i].id, event_id) == 0 &&
			strcmp(from->links_out[i].to, to->key) == 0)
			return;

	/* The loaded arrays are exactly full, so the lists a customer came with are copied first.
	 */
	struct link *out = arena_alloc(plan->arena, (from->links_out_count + 1) * sizeof(*out));
	struct link *in = arena_alloc(plan->arena, (to->links_in_count + 1) * sizeof(*in));
	if (from->links_out_count > 0)
		memcpy(out, from->links_out, from->links_out_count * sizeof(*out));
	if (to->links_in_count > 0)
		memcpy(in, to->links_in, to->links_in_count * sizeof(*in));
	out[from->links_out_count++] = link;
	in[to->links_in_count++] = link;
	from->links_out = out;
	to->links_in = in;

	plan->link_scope = scope;
	add_to(plan->arena, &plan->links, &plan->link_count, &link);
}

void plan_add_update_take(struct plan *plan, struct customer *customer,
	const struct contact_ref *contact, struct attributes *attributes)
{
	plan->updates =
		grown(plan->arena, plan->updates, plan->update_count, sizeof(*plan->updates));
	plan->updates[plan->update_count++] = (struct plan_update){
		.contact = *contact, .customer = customer, .attributes = *attributes};
	attributes_init(attributes);
}

void plan_add_event(struct plan *plan, const struct plan_event *event)
{
	plan->events = grown(plan->arena, plan->events, plan->event_count, sizeof(*plan->events));
	plan->events[plan->event_count++] = *event;
}
