/*
 * The tables and why they are so.
 *
 *   event       every webhook as it came, with its body: for `show`, for replay, and to know a
 *               duplicate. Written once, hardly ever changed: what became of an event is told by
 *               where its job is (job: waiting, parked: parked, neither: delivered; ignored by the
 *               column), so that a delivery doesn't rewrite pages full of bodies.
 *   customer    whom a billing system's events are about, by scope (the source's section) and key.
 *   record      what is remembered of each of a customer's events, opaque to the store. State is
 *               derived from all of a customer's records, never patched.
 *   link        a transfer: at that time what `from` had became `to`'s.
 *   contact     the other end: a person in one workspace. `wanted` is what its attributes should
 *               be, `sent` what it was last told; where they differ and a job touches, an update
 *               is due.
 *   job         what waits for delivery, and nothing else: rows leave when they are done, so that
 *               the hot table stays as small as the backlog. Its key is the order of arrival
 *               within a destination (a destination on hold must not be in the way of another's
 *               cursor); job_lane is the order of delivery within a contact.
 *   parked      jobs that were given up, with the reason; they wait for an operator.
 *   attempt     one row a call to Intercom, kept by event.
 *   totals      one row of counters, changed in the same commit as what they count.
 *
 * Texts that may be long or random (event ids, customer keys, identities) are indexed by a 64-bit
 * hash, and a hit is compared in full: random keys dirty an index page each, so the index should
 * have few pages.
 *
 * Times are unix milliseconds; created_at alone is in seconds, as Intercom wants it.
 */

#include "schema.h"

static const char VERSION_1[] =
	"CREATE TABLE event ("
	" id INTEGER PRIMARY KEY,"
	" source TEXT NOT NULL,"
	" event_id TEXT NOT NULL,"
	" hash INTEGER NOT NULL,"
	" type TEXT NOT NULL,"
	" customer TEXT,"
	" at_ms INTEGER NOT NULL,"
	" received_at_ms INTEGER NOT NULL,"
	" ignored TEXT,"
	" body BLOB NOT NULL);"
	"CREATE INDEX event_hash ON event (hash);"

	"CREATE TABLE customer ("
	" id INTEGER PRIMARY KEY,"
	" scope TEXT NOT NULL,"
	" key TEXT NOT NULL,"
	" hash INTEGER NOT NULL,"
	" has_links INTEGER NOT NULL DEFAULT 0,"
	" destination TEXT,"
	" identity TEXT,"
	" is_email INTEGER NOT NULL DEFAULT 0);"
	"CREATE INDEX customer_hash ON customer (hash);"

	"CREATE TABLE record ("
	" customer_id INTEGER NOT NULL,"
	" at_ms INTEGER NOT NULL,"
	" rank INTEGER NOT NULL,"
	" id TEXT NOT NULL,"
	" subject TEXT NOT NULL,"
	" data TEXT NOT NULL,"
	" PRIMARY KEY (customer_id, at_ms, rank, id)) WITHOUT ROWID;"

	"CREATE TABLE link ("
	" from_id INTEGER NOT NULL,"
	" to_id INTEGER NOT NULL,"
	" at_ms INTEGER NOT NULL,"
	" id TEXT NOT NULL,"
	" PRIMARY KEY (from_id, at_ms, to_id, id)) WITHOUT ROWID;"
	"CREATE INDEX link_to ON link (to_id);"

	"CREATE TABLE destination ("
	" id INTEGER PRIMARY KEY,"
	" name TEXT NOT NULL UNIQUE);"

	"CREATE TABLE contact ("
	" id INTEGER PRIMARY KEY,"
	" destination_id INTEGER NOT NULL,"
	" is_email INTEGER NOT NULL,"
	" identity TEXT NOT NULL,"
	" hash INTEGER NOT NULL,"
	" intercom_id TEXT,"
	" wanted TEXT NOT NULL,"
	" sent TEXT NOT NULL DEFAULT '');"
	"CREATE INDEX contact_hash ON contact (hash);"

	"CREATE TABLE job ("
	" destination_id INTEGER NOT NULL,"
	" event_id INTEGER NOT NULL,"
	" contact_id INTEGER NOT NULL,"
	" at_ms INTEGER NOT NULL,"
	" rank INTEGER NOT NULL,"
	" received_at_ms INTEGER NOT NULL,"
	" touches INTEGER NOT NULL,"
	" is_main INTEGER NOT NULL,"
	" name TEXT,"
	" created_at INTEGER NOT NULL,"
	" metadata TEXT,"
	" PRIMARY KEY (destination_id, event_id, contact_id)) WITHOUT ROWID;"
	"CREATE INDEX job_lane ON job (contact_id, at_ms, rank, event_id);"

	"CREATE TABLE parked ("
	" event_id INTEGER NOT NULL,"
	" contact_id INTEGER NOT NULL,"
	" destination_id INTEGER NOT NULL,"
	" at_ms INTEGER NOT NULL,"
	" rank INTEGER NOT NULL,"
	" received_at_ms INTEGER NOT NULL,"
	" touches INTEGER NOT NULL,"
	" is_main INTEGER NOT NULL,"
	" name TEXT,"
	" created_at INTEGER NOT NULL,"
	" metadata TEXT,"
	" parked_at_ms INTEGER NOT NULL,"
	" reason TEXT NOT NULL,"
	" request_id TEXT NOT NULL,"
	" PRIMARY KEY (event_id, contact_id)) WITHOUT ROWID;"

	"CREATE TABLE attempt ("
	" event_id INTEGER NOT NULL,"
	" at_ms INTEGER NOT NULL,"
	" serial INTEGER NOT NULL,"
	" contact_id INTEGER NOT NULL,"
	" call TEXT NOT NULL,"
	" status INTEGER NOT NULL,"
	" verdict TEXT NOT NULL,"
	" request_id TEXT NOT NULL,"
	" reason TEXT NOT NULL,"
	" elapsed_ms INTEGER NOT NULL,"
	" PRIMARY KEY (event_id, at_ms, serial)) WITHOUT ROWID;"

	"CREATE TABLE totals ("
	" id INTEGER PRIMARY KEY CHECK (id = 1),"
	" received INTEGER NOT NULL DEFAULT 0,"
	" accepted INTEGER NOT NULL DEFAULT 0,"
	" duplicate INTEGER NOT NULL DEFAULT 0,"
	" ignored INTEGER NOT NULL DEFAULT 0,"
	" delivered INTEGER NOT NULL DEFAULT 0,"
	" parked INTEGER NOT NULL DEFAULT 0,"
	" waiting INTEGER NOT NULL DEFAULT 0,"
	" last_event_id INTEGER NOT NULL DEFAULT 0);"
	"INSERT INTO totals (id) VALUES (1);";

/* Who else is this contact? Most are the only one, under the id that is also the key: the index has
 * only the others. */
static const char VERSION_2[] =
	"CREATE INDEX customer_identity ON customer (identity) WHERE identity <> key;";

const char *const schema_migrations[] = {VERSION_1, VERSION_2};
const int schema_version = (int)(sizeof(schema_migrations) / sizeof(*schema_migrations));
