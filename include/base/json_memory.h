#ifndef SUBRELAY_BASE_JSON_MEMORY_H
#define SUBRELAY_BASE_JSON_MEMORY_H

/*
 * jansson's memory, for the whole process: out of memory ends it, as in xalloc.h.
 *
 * Once, before the first JSON is read and while there is one thread.
 */

void json_memory_init(void);

#endif
