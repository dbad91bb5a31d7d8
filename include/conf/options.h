#ifndef SUBRELAY_CONF_OPTIONS_H
#define SUBRELAY_CONF_OPTIONS_H

/*
 * Options as data: one row an option, with everything that the reader, `check`, the manual page and
 * config/subrelay.ini's test need to know of it. A new option is a new row and a new struct member.
 *
 * A row says where its value goes: `offset` into the section's own struct, of the member type that
 * `type` names. Tables end with a row whose key is NULL.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum option_type {
	OPTION_TEXT,     /* char *           (owned, NULL when blank and without default) */
	OPTION_SECRET,   /* struct secret;   also read from KEY_file */
	OPTION_BOOL,     /* bool */
	OPTION_INT,      /* int64_t          minimum … maximum */
	OPTION_DURATION, /* int64_t, ms;     minimum … maximum in ms; INT64_MAX for "forever" if
			    allowed */
	OPTION_SIZE,     /* int64_t, bytes;  minimum … maximum */
	OPTION_CHOICE,   /* int              index into choices */
	OPTION_CUSTOM,   /* any              read by `parse` */
};

#define OPTION_REQUIRED (1u << 0) /* no default, must be given */
#define OPTION_FOREVER (1u << 1)  /* duration: accepts "forever" */
#define OPTION_RESTART (1u << 2)  /* a reload can't change it */

struct error;

struct option {
	const char *key;
	enum option_type type;
	size_t offset;
	const char *fallback; /* the default as it would be written; NULL: none */
	int64_t minimum;
	int64_t maximum;            /* 0 with minimum 0: no range */
	const char *const *choices; /* ends with NULL */
	/* OPTION_CUSTOM: reads `text` (never NULL) into member; also frees what the member held. */
	bool (*parse)(const char *text, void *member, struct error *err);
	void (*finish)(void *member); /* OPTION_CUSTOM: frees what parse made; may be NULL */
	bool (*equal)(const void *a, const void *b); /* OPTION_CUSTOM with OPTION_RESTART */
	unsigned flags;
	const char *help; /* one or more sentences, as they stand in the manual page */
};

#endif
