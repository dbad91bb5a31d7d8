/* Hash tables for the stand-in: see lookup.h. Both double when they fill up, and never shrink. */

#include "support/lookup.h"

#include "base/xalloc.h"

#include <stdlib.h>

#define BUCKETS_MIN 1024

void lookup_finish(struct lookup *lookup)
{
	free(lookup->buckets);
	*lookup = (struct lookup){0};
}

static void lookup_grow(struct lookup *lookup)
{
	size_t count = lookup->bucket_count ? lookup->bucket_count * 2 : BUCKETS_MIN;
	struct lookup_node **buckets = xcalloc(count, sizeof(struct lookup_node *));
	for (size_t i = 0; i < lookup->bucket_count; i++) {
		struct lookup_node *next = NULL;
		for (struct lookup_node *node = lookup->buckets[i]; node; node = next) {
			next = node->next;
			struct lookup_node **bucket = &buckets[node->hash & (count - 1)];
			node->next = *bucket;
			*bucket = node;
		}
	}
	free(lookup->buckets);
	lookup->buckets = buckets;
	lookup->bucket_count = count;
}

void lookup_add(struct lookup *lookup, struct lookup_node *node, uint64_t hash, void *item)
{
	if (lookup->count >= lookup->bucket_count)
		lookup_grow(lookup);
	struct lookup_node **bucket = &lookup->buckets[hash & (lookup->bucket_count - 1)];
	*node = (struct lookup_node){.next = *bucket, .hash = hash, .item = item};
	*bucket = node;
	lookup->count++;
}

void lookup_remove(struct lookup *lookup, struct lookup_node *node)
{
	if (!node->item)
		return;
	struct lookup_node **link = &lookup->buckets[node->hash & (lookup->bucket_count - 1)];
	while (*link != node)
		link = &(*link)->next;
	*link = node->next;
	*node = (struct lookup_node){0};
	lookup->count--;
}

static struct lookup_node *same_hash(struct lookup_node *node, uint64_t hash)
{
	while (node && node->hash != hash)
		node = node->next;
	return node;
}

struct lookup_node *lookup_first(const struct lookup *lookup, uint64_t hash)
{
	if (!lookup->bucket_count)
		return NULL;
	return same_hash(lookup->buckets[hash & (lookup->bucket_count - 1)], hash);
}

struct lookup_node *lookup_next(const struct lookup_node *node)
{
	return same_hash(node->next, node->hash);
}

void hash_set_finish(struct hash_set *set)
{
	free(set->slots);
	*set = (struct hash_set){0};
}

static bool put(uint64_t *slots, size_t slot_count, uint64_t hash)
{
	size_t at = (size_t)(hash * 0x9e3779b97f4a7c15u >> 20) & (slot_count - 1);
	while (slots[at]) {
		if (slots[at] == hash)
			return false;
		at = (at + 1) & (slot_count - 1);
	}
	slots[at] = hash;
	return true;
}

bool hash_set_add(struct hash_set *set, uint64_t hash)
{
	if (!hash)
		hash = 1;
	if (set->count * 2 >= set->slot_count) {
		size_t slot_count = set->slot_count ? set->slot_count * 2 : BUCKETS_MIN;
		uint64_t *slots = xcalloc(slot_count, sizeof(uint64_t));
		for (size_t i = 0; i < set->slot_count; i++)
			if (set->slots[i])
				(void)put(slots, slot_count, set->slots[i]); /* they are distinct */
		free(set->slots);
		set->slots = slots;
		set->slot_count = slot_count;
	}
	if (!put(set->slots, set->slot_count, hash))
		return false;
	set->count++;
	return true;
}
