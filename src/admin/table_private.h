#ifndef SUBRELAY_ADMIN_TABLE_PRIVATE_H
#define SUBRELAY_ADMIN_TABLE_PRIVATE_H

/*
 * Aligned columns for people. A cell is text from anywhere: what could steer a terminal is shown as
 * '?', and columns are as wide as their widest cell.
 */

#include <stddef.h>

struct table {
	char **cells; /* row after row */
	size_t count;
	size_t capacity;
	size_t columns;
};

/* The first row is the heading. */
void table_init(struct table *table, size_t columns);
void table_finish(struct table *table);
/* Copies; NULL is shown as "". */
void table_add(struct table *table, const char *cell);
/* On stdout, each line indented by `indent` blanks. */
void table_print(const struct table *table, int indent);

#endif
