#ifndef SUBRELAY_MAP_PLAN_H
#define SUBRELAY_MAP_PLAN_H

/*
 * What one event changes, worked out from the event and what is known of its customers.
 *
 * The planner (a source's `plan`) reads through the ledger and writes into the plan; the store's
 * front opens the ledger inside the transaction and carries the plan out in the same one. `map`
 * uses an empty ledger and prints the plan. Planning is pure: same event, same ledger, same plan.
 *
 * Words: a *customer* is the billing system's (scope + key: whose state is kept), a *contact* is
 * Intercom's (workspace + external id or e-mail: who is written to). A *record* is one remembered
 * fact of a customer, opaque to the store; a *link* says that at some time one customer's purchases
 * passed to another. Records and links only ever accumulate (a set), and whatever is derived is
 * derived from the whole set in event order: that is why the order of arrival does not matter.
 */

#include "base/arena.h"
#include "event/attributes.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct error;

struct record {
	const char *id;      /* unique within the customer: the event's id */
	const char *subject; /* what it is about: "APP_STORE/1000000123" */
	int64_t at_ms;
	int rank;
	const char *data; /* JSON, the planner's own */
};

struct link {
	int64_t at_ms;
	const char *id;   /* the event that made it */
	const char *from; /* customer keys */
	const char *to;
};

/* One person may have many ids, but a thousand of them are somebody's test address: this many of a
 * contact's customers are looked at, the newest. */
#define CONTACT_KEYS_MAX 16

struct contact_ref {
	const char *destination; /* see destination.h */
	const char *identity;
	bool is_email;
};

struct customer {
	const char *scope;
	const char *key;
	int64_t id;             /* the store's; 0: not stored yet */
	struct record *records; /* by (at_ms, rank, id) */
	size_t record_count;
	struct link *links_in;
	size_t links_in_count;
	struct link *links_out;
	size_t links_out_count;
	/* Whom Intercom knows it as; identity NULL: not known yet. */
	struct contact_ref contact;
	struct contact_ref stored_contact; /* as it was loaded */
	struct customer *next;             /* the ledger's own */
};

/* Where customers come from. */
struct ledger {
	struct arena *arena; /* dies with the event's accept */
	/* Fills records, links and contact of a customer whose scope and key are set; one that is
	 * not known stays empty with id 0. */
	bool (*load)(
		void *context, struct customer *customer, struct arena *arena, struct error *err);
	/* Keys of the scope's customers that are this contact, as they are stored. May be NULL. */
	bool (*keys_of)(void *context, const char *scope, const struct contact_ref *contact,
		struct arena *arena, const char ***ret_keys, size_t *ret_count, struct error *err);
	void *context;
	struct customer *loaded; /* so that each is loaded once */
};

/* The customer, loaded at first use; stays valid as long as the arena. NULL: the store failed. */
struct customer *ledger_customer(
	struct ledger *ledger, const char *scope, const char *key, struct error *err);

/* All customers of the scope that are this contact: it may go by several ids. Newest first as far as
 * they are stored; see CONTACT_KEYS_MAX. */
bool ledger_customers_of(struct ledger *ledger, const char *scope,
	const struct contact_ref *contact, struct customer ***ret_customers, size_t *ret_count,
	struct error *err);

bool contact_ref_equal(const struct contact_ref *a, const struct contact_ref *b);

/* Who says so, for the attributes that a scope's customers give this contact: short, and different
 * for each. */
const char *plan_author(struct arena *arena, const char *scope, const struct contact_ref *contact);

struct plan_record {
	struct customer *customer;
	struct record record;
	bool is_drop; /* forget the record of this id instead */
};

/* What a contact's attributes should now be, as far as this event's source has a say. */
struct plan_update {
	struct contact_ref contact;
	struct customer *customer; /* one of those that are this contact */
	struct attributes attributes;
};

/* One Intercom event to send. */
struct plan_event {
	struct contact_ref contact;
	const char *name;
	int64_t created_at;         /* unix seconds */
	const char *metadata;       /* JSON object without nulls: Intercom's metadata knows none */
	const char *metadata_shown; /* the same with its nulls: for `map` */
};

struct plan {
	struct arena *arena;
	struct plan_record *records;
	size_t record_count;
	struct link *links;
	size_t link_count;
	const char *link_scope;
	struct plan_update *updates;
	size_t update_count;
	struct plan_event *events;
	size_t event_count;
	const char *product; /* for `map`; may be NULL */
	const char *app_id;
	const char
		*no_event; /* why no Intercom event came of it; NULL: one did, or `nothing` tells */
	const char *nothing; /* why, when neither updates nor events came of it */
};

void plan_init(struct plan *plan, struct arena *arena);
void plan_finish(struct plan *plan);

/* In the order of events: by time, rank, id. */
int record_compare(const struct record *a, const struct record *b);

/* Puts a record into the plan and into the customer, in order; one with the same id is left alone.
 */
void plan_add_record(struct plan *plan, struct customer *customer, const struct record *record);
/* Forgets one, here and in the customer. */
void plan_drop_record(struct plan *plan, struct customer *customer, const char *id);
void plan_add_link(struct plan *plan, const char *scope, struct customer *from, struct customer *to,
	int64_t at_ms, const char *event_id);
/* The attributes are taken over (moved). */
void plan_add_update_take(struct plan *plan, struct customer *customer,
	const struct contact_ref *contact, struct attributes *attributes);
/* Strings are borrowed: they live in the plan's arena. */
void plan_add_event(struct plan *plan, const struct plan_event *event);

#endif
