#ifndef SUBRELAY_MAP_DESTINATION_H
#define SUBRELAY_MAP_DESTINATION_H

/*
 * The name under which the store keeps what goes to one workspace: "intercom", "intercom.test", and
 * with "~dry-run" appended while the workspace is in dry-run mode. A dry run thus has contacts of
 * its own: what it believes to have sent is not believed once the relay goes live.
 */

struct arena;
struct conf;
struct conf_workspace;

/* workspace: the part after the dot of [intercom.NAME], "" for [intercom]; it must exist. */
const char *destination_of(const struct conf *conf, const char *workspace, struct arena *arena);
/* The workspace that a destination's name means in this configuration and mode; NULL: none. */
const struct conf_workspace *destination_workspace(
	const struct conf *conf, const char *destination);

#endif
