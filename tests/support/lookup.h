#ifndef SUBRELAY_TESTS_SUPPORT_LOOKUP_H
#define SUBRELAY_TESTS_SUPPORT_LOOKUP_H

/*
 * A chained hash table whose nodes live inside the things that are looked up, several under one
 * hash if need be; and a set of 64-bit hashes. What a hit means is the caller's: it compares the
 * whole key.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct lookup_node {
	struct lookup_node *next;
	uint64_t hash;
	void *item; /* NULL: not in a table */
};

struct lookup {
	struct lookup_node **buckets;
	size_t bucket_count; /* a power of two, or 0 */
	size_t count;
};

/* A zeroed lookup is an empty one. The items stay the caller's. */
void lookup_finish(struct lookup *lookup);
void lookup_add(struct lookup *lookup, struct lookup_node *node, uint64_t hash, void *item);
/* A node that is in no table is left alone. */
void lookup_remove(struct lookup *lookup, struct lookup_node *node);
struct lookup_node *lookup_first(const struct lookup *lookup, uint64_t hash);
struct lookup_node *lookup_next(const struct lookup_node *node);

struct hash_set {
	uint64_t *slots; /* 0: free */
	size_t slot_count;
	size_t count;
};

void hash_set_finish(struct hash_set *set);
/* False when it was there already. */
bool hash_set_add(struct hash_set *set, uint64_t hash);

#endif
