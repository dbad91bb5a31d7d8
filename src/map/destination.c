#include "map/destination.h"

#include "base/arena.h"
#include "conf/conf.h"

#include <assert.h>
#include <string.h>

static const char *write_name(const struct conf_workspace *workspace, struct arena *arena)
{
	return arena_printf(arena, "intercom%s%s%s", workspace->name[0] != '\0' ? "." : "",
		workspace->name, workspace->mode == CONF_MODE_DRY_RUN ? "~dry-run" : "");
}

const char *destination_of(const struct conf *conf, const char *workspace, struct arena *arena)
{
	const struct conf_workspace *found = conf_workspace_get(conf, workspace);

	assert(found != NULL);
	return write_name(found, arena);
}

const struct conf_workspace *destination_workspace(const struct conf *conf, const char *destination)
{
	const struct conf_workspace *found = NULL;
	struct arena arena;

	arena_init(&arena);
	for (size_t i = 0; i < conf->workspace_count && found == NULL; i++)
		if (strcmp(write_name(&conf->workspaces[i], &arena), destination) == 0)
			found = &conf->workspaces[i];
	arena_finish(&arena);
	return found;
}
