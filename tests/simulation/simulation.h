#ifndef SUBRELAY_TESTS_SIMULATION_H
#define SUBRELAY_TESTS_SIMULATION_H

/*
 * The whole relay and everything around it, in one thread, out of one number.
 *
 * A *seed* decides which kinds of trouble there are (swarm testing: each seed takes a random subset
 * of them, so that every combination comes up), who the customers are and what they buy, how long
 * each call takes, what Intercom says to it, when the process is killed, when the disk fails and
 * when the clock is set. Time is a number; hours pass in milliseconds. The same seed gives the same
 * run, byte by byte.
 *
 *   choices.c    what this seed is about
 *   webhooks.c   the customers' lives as webhooks, and what is to become of each
 *   relay.c      the daemon's parts put together, started, killed, driven
 *   network.c    calls under way, and Intercom's moods around the stand-in
 *   world.c      time: what happens when
 *   ledger.c     what the relay has promised, kept outside of it
 *   check.c      the invariants that can be told on the way
 *   verdict.c    the invariants at the end
 *   in_order.c   the same webhooks, in order, without trouble: what the attributes must be
 *   simulate_main.c  many seeds, side by side
 *
 * Trouble ends at `quiet_ms`; from then on everything must come to rest within a stated time.
 */

#include "base/backoff.h"
#include "base/clock.h"
#include "conf/conf.h"
#include "deliver/dispatcher.h"
#include "intake.h"
#include "store/store.h"
#include "support/disk.h"
#include "support/standin.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define START_WALL_MS INT64_C(1700000000000)
#define SECOND_MS INT64_C(1000)
#define MINUTE_MS (60 * SECOND_MS)
#define HOUR_MS (60 * MINUTE_MS)
#define DAY_MS (24 * HOUR_MS)

#define WORKSPACES 2 /* [intercom] and [intercom.test] */
#define CUSTOMERS_MAX 12
#define PARTIES_MAX 3 /* ids of one person */
#define CONTACTS_MAX 64
#define HOOKS_MAX 96
#define FLIGHTS_MAX 64
#define TROUBLES_MAX 24

/* ---- choices ---- */

/* Kinds of trouble that a seed may have. */
enum trouble_kind {
	TROUBLE_KILL,      /* the process dies; what it wrote is there */
	TROUBLE_POWER,     /* the machine dies, perhaps in the middle of a write */
	TROUBLE_STOP,      /* an orderly stop */
	TROUBLE_CLOCK,     /* the wall clock is set */
	TROUBLE_DISK_FULL, /* for a while */
	TROUBLE_DISK_BROKEN,
	TROUBLE_DISK_ONCE,  /* one operation fails */
	TROUBLE_RELOAD,     /* SIGHUP */
	TROUBLE_CALLS,      /* single calls go wrong, in every way */
	TROUBLE_OUTAGE,     /* Intercom is away for a while */
	TROUBLE_TOKEN,      /* 401 for a while */
	TROUBLE_SCOPE,      /* 403 for one kind of call for a while */
	TROUBLE_REFUSED,    /* one contact is refused for a while: 400, 422 */
	TROUBLE_FAILING,    /* one contact's calls fail for a while: 5xx, no answer */
	TROUBLE_RATE,       /* a small allowance */
	TROUBLE_FOREIGN,    /* other apps use it, too */
	TROUBLE_BLIND,      /* no X-RateLimit headers */
	TROUBLE_PEOPLE,     /* contacts are archived, merged, deleted, made by others */
	TROUBLE_ATTRIBUTES, /* the custom attributes don't exist yet */
	TROUBLE_LATE,       /* webhooks are late and out of order */
	TROUBLE_TWICE,      /* webhooks come twice and more */
	TROUBLE_STRANGERS,  /* malformed, unauthorized, badly signed */
	TROUBLE_RETRY,      /* an operator retries what is parked, at any time */
	TROUBLE_TIGHT,      /* events in the same millisecond */
	TROUBLE_KINDS,
};

enum identify { BY_APP_USER_ID, BY_ORIGINAL_ID, BY_KNOWN_ID, BY_EMAIL, BY_ATTRIBUTE };
enum naming { NAMES_DEFAULT, NAMES_ALL, NAMES_FEW };

struct choices {
	uint64_t seed;
	bool has[TROUBLE_KINDS];
	size_t customers;
	size_t hooks;
	int64_t life_ms;  /* the span in which the webhooks' events lie */
	int64_t quiet_ms; /* when trouble ends */
	/* the configuration */
	int connections;
	int64_t retry_base_ms;
	int64_t retry_cap_ms;
	int64_t give_up_ms;
	int64_t fixed_rate; /* 0: auto */
	int64_t keep_delivered_ms;
	enum identify identify;
	enum naming naming;
	bool skips_anonymous;
	bool skips_archived;
	bool skips_unmatched;
	bool creates_attributes;
	bool is_signed;
	bool has_sandbox;
	bool has_transfers;
	/* the world */
	int64_t limit; /* calls per window, of each workspace */
	int64_t latency_ms;
	int64_t commit_ms;        /* up to this long until the store's thread runs */
	int64_t refill_ms;        /* and the dispatcher's */
	unsigned fault_per_mille; /* of calls, with TROUBLE_CALLS */
};

void choices_make(struct choices *ret, uint64_t seed);
void choices_print(const struct choices *choices);
const char *trouble_name(enum trouble_kind kind);
/* No trouble that could cost a call more than it must. */
bool choices_are_peaceful(const struct choices *choices);

/* ---- dice ---- */

static inline int64_t dice_below(struct rng *rng, int64_t limit)
{
	return (int64_t)rng_below(rng, (uint64_t)limit);
}

/* Both ends included. */
static inline int64_t dice_between(struct rng *rng, int64_t low, int64_t high)
{
	return low + dice_below(rng, high - low + 1);
}

static inline bool dice_one_in(struct rng *rng, int64_t n)
{
	return dice_below(rng, n) == 0;
}

/* A span of random magnitude: small ones as likely as large ones. */
int64_t dice_span(struct rng *rng, int64_t max_ms);

/* ---- webhooks ---- */

enum hook_sort {
	HOOK_RELAYED,   /* 200 */
	HOOK_IGNORED,   /* 200, with a reason */
	HOOK_MALFORMED, /* 400 */
	HOOK_STRANGER,  /* 401 */
};

/* One id of the billing system. A person has up to three. */
struct customer_sim {
	char id[64];       /* app_user_id */
	char original[64]; /* original_app_user_id */
	size_t first;      /* the person's ids are customers[first], and so on */
	size_t count;
	char known[64];    /* an alias that isn't anonymous; "": none */
	int64_t known_ms;  /* from then on events list the aliases */
	char email[2][64]; /* before and since email_ms, the attribute as well; "" not known */
	int64_t email_ms;
	bool is_sandbox;
};

/* Whoever Intercom may be told about. */
struct contact_sim {
	char identity[64];
	bool is_email;
	bool is_sandbox;
	/* what others have done to it */
	bool is_merged; /* with another: both write to one */
	bool is_broken; /* deleted for good */
};

/* One webhook, and what has become of it. */
struct hook {
	char id[24];
	char *body;
	size_t body_len;
	enum hook_sort sort;
	size_t customer;
	char says[64]; /* which contact the customer is; "": nothing of it */
	bool is_transfer;
	size_t from[PARTIES_MAX];
	size_t from_count;
	size_t to[PARTIES_MAX];
	size_t to_count;
	const char *type;
	const char *key;    /* of [event_names]; NULL: none */
	int64_t base_s;     /* created_at, if nothing else has that second */
	int64_t at_ms;      /* event_timestamp_ms */
	int64_t send_at_ms; /* on the world's clock */
	unsigned sends;     /* how often the sender means to send it */
	/* what became of it */
	unsigned knocks;       /* tries under way */
	unsigned acknowledged; /* 200s */
	bool is_queued;        /* in the socket, while nobody listens */
	bool is_final;         /* the sender is through with it */
	bool is_recorded;      /* its row was read */
	bool is_relayed;       /* by its row */
	bool is_sure;          /* whether it is relayed or ignored doesn't depend on others */
	bool may_be_stored;    /* a try was not answered */
	int64_t store_id;
	int64_t received_at_ms; /* the relay's wall clock at the try that was stored */
	int64_t effective_ms;   /* its time as stored */
	int rank;
};

/* One job as it was when the event was accepted. */
struct delivery {
	size_t hook;
	size_t person;
	int64_t event_id;
	int64_t at_ms;
	int rank;
	bool touches;
	bool is_main;
	char *name; /* NULL: none */
	int64_t created_at;
	bool is_seen;      /* a whole refill has passed since */
	bool is_delivered; /* this process was told 2xx for its event */
	bool is_reported;  /* and that is on disk */
	bool is_parked;
	bool is_gone;   /* not waiting any more, by the store */
	bool is_loaded; /* by the contact's current run */
};

/* A contact of a workspace as the relay keeps it. */
struct person {
	int64_t contact_id;
	size_t workspace;
	bool is_email;
	char identity[64];
	size_t contact;
	unsigned in_flight;
	unsigned refusals;       /* real ones: 4xx that are no trouble of the workspace */
	unsigned failures;       /* answers that were no answer */
	int64_t last_failure_ms; /* of its own; -1: none since the last event that got through */
	int64_t tried_ms;        /* from failure to failure, restarts or not */
	int64_t own_trouble_ms;  /* the most that that ever was */
	int64_t failed_ms; /* the last failure, if nothing but its rest speaks against a try; -1 */
	unsigned hasty;    /* tries in a row that came almost at once */
	int64_t resting_until_ms;
	int64_t patience_ms; /* how long it has waited while nothing held it up */
	bool is_waiting;     /* had work when patience_ms was last over */
	bool is_stale;       /* something of it was delivered since it was looked at */
	bool was_ignored;    /* skip */
};

/* ---- the network ---- */

struct trouble {
	enum trouble_kind kind;
	int64_t from_ms;
	int64_t to_ms;
	size_t workspace;
	size_t contact; /* of REFUSED, FAILING */
	int what;       /* which kind of call, which status */
};

enum fate {
	FATE_REAL, /* what the stand-in says */
	FATE_NO_CONNECTION,
	FATE_LOST_BEFORE, /* nobody heard it */
	FATE_LOST_AFTER,  /* done, and the answer lost */
	FATE_SAID_BEFORE, /* this status instead, nothing was done */
	FATE_SAID_AFTER,  /* this status, though it was done */
	FATE_HTML,        /* done, and a web page for an answer */
	FATE_PORTAL,      /* not done, and 200 with a web page: something between us and Intercom */
	FATE_CUT,         /* done, and half of the answer's JSON */
};

struct flight {
	bool is_used;
	bool has_arrived;
	struct errand *errand; /* NULL: the process that sent it is dead */
	size_t workspace;
	size_t person;
	int kind; /* enum call_kind */
	int64_t event_id;
	bool is_probe;
	int64_t sent_ms;
	uint64_t number;
	/* as sent */
	char *method;
	char *path;
	char *body;
	size_t body_len;
	char token[64];
	char version[16];
	/* as answered */
	enum fate fate;
	bool has_failed; /* neither done nor refused, and nothing was said of the workspace */
	int wire;        /* enum wire */
	int status;
	char *headers;
	char *answer;
	size_t answer_len;
};

/* ---- the world ---- */

enum thing_kind {
	THING_KNOCK,  /* a webhook is posted */
	THING_ARRIVE, /* a call reaches Intercom */
	THING_REPLY,  /* an answer reaches the relay */
	THING_KILL,
	THING_POWER,
	THING_STOP,
	THING_START,
	THING_CLOCK,
	THING_DISK_FULL,
	THING_DISK_BROKEN,
	THING_DISK_ONCE,
	THING_DISK_WELL,
	THING_RELOAD,
	THING_PEOPLE,
	THING_FOREIGN,
	THING_RETRY,
	THING_QUIET,
};

struct thing {
	int64_t at_ms;
	uint64_t serial;
	enum thing_kind kind;
	int64_t what;
};

/* What is known of a workspace from outside. */
struct workspace_sim {
	struct standin *standin;
	char token[64]; /* what Intercom takes */
	int64_t destination_id;
	bool is_scarce;              /* others took of it, or nobody says how much there is */
	int64_t stop_until_ms;       /* after a 429 */
	int64_t probe_not_before_ms; /* in a refused hold */
	int64_t born_ms;             /* the process that sends there was started */
	int64_t answered_ms;         /* its first answer; INT64_MAX: none yet */
	int64_t sends[512];          /* when calls were sent, for a fixed rate; a ring */
	size_t send_count;
	unsigned probes_out;
	unsigned stragglers; /* answered since the hold began */
};

struct world {
	struct choices choices;
	struct rng dice; /* the world's */
	struct rng mood; /* Intercom's */
	bool is_verbose;
	uint64_t trace;
	const char *folder;
	char path[160];

	int64_t now_ms;  /* since the start; true, and the relay's monotonic clock */
	int64_t skew_ms; /* of the relay's wall clock */
	struct thing *things;
	size_t thing_count;
	size_t thing_capacity;
	uint64_t serial;
	bool is_quiet;

	struct customer_sim customers[CUSTOMERS_MAX];
	struct contact_sim contacts[CONTACTS_MAX];
	size_t contact_count;
	struct hook hooks[HOOKS_MAX];
	size_t hook_count;
	struct trouble troubles[TROUBLES_MAX];
	size_t trouble_count;

	/* the relay */
	const struct disk *image;
	struct disk *disk;
	struct clock_fake clock;
	struct conf *conf;
	struct store *store;
	struct intake *intake;
	struct dispatcher *dispatcher;
	struct worker_feed feed;
	bool is_up;
	bool is_dying; /* what it says now nobody hears */
	unsigned life; /* how many processes there were */
	int64_t started_ms;
	int64_t store_due_ms;
	int64_t store_retry_ms; /* what failed isn't tried again before */
	int64_t refill_due_ms;
	int64_t feed_due_ms;
	int64_t disk_bad_ms; /* the last moment at which the disk was in trouble */
	bool is_disk_bad;
	bool is_disk_full;
	bool is_disk_broken;
	bool is_stopping;
	unsigned starts_failed; /* in a row */
	unsigned tokens;        /* reloads so far */

	/* Intercom */
	struct workspace_sim workspaces[WORKSPACES];
	struct flight flights[FLIGHTS_MAX];
	size_t in_flight;
	uint64_t calls;
	uint64_t kill_at_calls[4]; /* while these are under way */

	/* the ledger */
	struct delivery *deliveries;
	size_t delivery_count;
	size_t delivery_capacity;
	struct person *persons;
	size_t person_count;
	size_t person_capacity;
	char (*refusal_ids)[24];
	size_t refusal_id_count;
	size_t refusal_id_capacity;
};

/* One seed from beginning to end; returns the hash of everything that happened. A broken invariant
 * ends the process, see simulation_fail. image: a disk with an empty database; folder: a real one,
 * for the lock file. */
uint64_t world_run(uint64_t seed, const struct disk *image, const char *folder, bool is_verbose);
/* A disk with an empty database on it, to start from. */
struct disk *world_make_image(const char *folder);

/* What went wrong, for whoever watches; does not return. In simulate_main.c. */
_Noreturn void simulation_fail(const char *message);
_Noreturn void world_fail(const struct world *world, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* Two numbers into the trace's hash. */
void world_note(struct world *world, uint64_t what, uint64_t value);
/* A line of the trace, for people. */
void world_say(const struct world *world, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

void world_schedule(struct world *world, int64_t at_ms, enum thing_kind kind, int64_t what);
/* Nothing of this kind will happen. */
void world_forget(struct world *world, enum thing_kind kind);
static inline int64_t world_wall_ms(const struct world *world)
{
	return START_WALL_MS + world->now_ms;
}

/* webhooks.c */
void webhooks_make(struct world *world);
void webhooks_finish(struct world *world);
/* The name of the Intercom event of this key in this seed's configuration; NULL: off. */
const char *webhooks_event_name(const struct choices *choices, const char *key);
/* The contact that a customer is when nothing is known but its id; "": none. */
const char *webhooks_contact_by_id(
	const struct choices *choices, const struct customer_sim *customer);

/* relay.c */
void relay_write_conf(struct world *world);
void relay_start(struct world *world);
/* Ends it with everything in memory. The disk stays as it is. */
void relay_drop(struct world *world);
void relay_kill(struct world *world);
void relay_cut_power(struct world *world);
void relay_stop(struct world *world);
void relay_reload(struct world *world);
void relay_set_clock(struct world *world);
/* Posts a webhook. */
void relay_knock(struct world *world, size_t hook);
/* Does what is due; true when anything was. */
bool relay_work(struct world *world);
int64_t relay_wake_ms(const struct world *world);
void relay_nudge_store(struct world *world);

/* network.c */
void network_send(struct world *world, struct errand *errand);
void network_arrive(struct world *world, struct flight *flight);
void network_reply(struct world *world, struct flight *flight);
/* The process is gone: what is under way takes effect or doesn't, and nobody hears of it. */
void network_orphan(struct world *world);
void network_finish(struct world *world);

/* ledger.c */
void ledger_record_hooks(struct world *world);
void ledger_sync(struct world *world); /* after a start: what waits must be what was not reported */
struct person *ledger_person(struct world *world, int64_t contact_id);
/* The contact that the customer is by the webhooks stored up to this one; "": not known. */
const char *ledger_contact_of(const struct world *world, size_t customer, int64_t store_id);
void ledger_note_refusal(struct world *world, const char *request_id);
void ledger_finish(struct world *world);

/* check.c */
void check_sent(struct world *world, struct errand *errand, struct flight *flight);
/* Gives the answer to the relay, and looks at what it makes of it. */
void check_replied(struct world *world, struct flight *flight);
/* Intercom's own 429. */
void check_limited(struct world *world, const struct flight *flight);
/* Nothing of the workspace is held any more: an answer, or a reload. */
void check_released(struct world *world, size_t workspace);
void check_refilled(struct world *world);
void check_stored(struct world *world);
void check_passed(struct world *world, int64_t span_ms);

/* verdict.c */
bool verdict_is_settled(struct world *world);
void verdict_check(struct world *world);
/* A contact for whom nothing waits has at Intercom what it should have. */
void verdict_check_person(struct world *world, struct person *person);

/* in_order.c */
struct wanted {
	int64_t destination_id;
	bool is_email;
	char *identity;
	char *json; /* of attributes_render */
};
/* JSON of what the store keeps as `wanted`; the caller's. */
char *in_order_render(const char *encoded);
/* The contacts of the store that is open now. */
void in_order_read(struct world *world, struct wanted **ret, size_t *ret_count);
/* Those of a fault-free run in order; the world's disk is not mounted meanwhile. */
void in_order_run(struct world *world, struct wanted **ret, size_t *ret_count);
void in_order_free(struct wanted *wanted, size_t count);

#endif
