#ifndef SUBRELAY_ADMIN_ONLINE_PRIVATE_H
#define SUBRELAY_ADMIN_ONLINE_PRIVATE_H

/*
 * A few calls to an Intercom workspace from the operator's terminal, for `check --online` and
 * `setup`: who answers to the token, which custom attributes there are, and creating one. Each call
 * blocks its caller, at most 30 s, and is really made, also where the workspace's mode is dry-run.
 */

#include <stdbool.h>
#include <stddef.h>

struct conf;
struct conf_workspace;
struct error;

/* Whose token it is. Cut when longer. */
struct online_me {
	char app[80];
	char region[16]; /* "US"; "" when it isn't told */
};

enum online_standing {
	ONLINE_USABLE,
	ONLINE_MISSING,
	ONLINE_UNUSABLE, /* `text` says why */
};

/* A custom attribute that will be written, and how the workspace stands to it. */
struct online_attribute {
	const char *name; /* conf's */
	const char *data_type;
	const char *description;
	enum online_standing standing; /* after online_compare; so is text */
	char text[160];                /* of a usable one: a remark, or "" */
};

#define ONLINE_ATTRIBUTES_MAX 64

/* "[intercom]", "[intercom.test]"; ret at least 80 bytes. */
const char *online_section(const struct conf_workspace *workspace, char *ret, size_t ret_size);

/* What the configuration would write; ret has room for ONLINE_ATTRIBUTES_MAX. */
size_t online_attributes(const struct conf *conf, struct online_attribute *ret);

/* False: Intercom can't be reached or refuses; err has it in plain words, with the request's id. */
bool online_ask_me(
	const struct conf_workspace *workspace, struct online_me *ret_me, struct error *err);
bool online_compare(const struct conf_workspace *workspace, struct online_attribute *attributes,
	size_t count, struct error *err);
bool online_create(const struct conf_workspace *workspace, const struct online_attribute *attribute,
	struct error *err);

#endif
