#ifndef SUBRELAY_TESTS_SUPPORT_DISK_PRIVATE_H
#define SUBRELAY_TESTS_SUPPORT_DISK_PRIVATE_H

/*
 * What the two files of the disk share: disk.c has the contents, the faults and the power,
 * disk_vfs.c shows them to SQLite.
 */

#include "disk.h"

#include <sqlite3.h>

struct disk_handle;

struct disk_bytes {
	unsigned char *data;
	int64_t len;
	int64_t capacity;
};

/* A write that no sync has covered yet; a truncation when `data_at` is negative. */
struct disk_change {
	int64_t offset; /* truncation: the new length */
	int64_t len;
	int64_t data_at; /* in the file's `unsynced` */
};

/* The -shm of a database: memory that lives as long as a handle maps it. */
struct disk_shm {
	unsigned char **regions;
	int region_count;
	int references;
	unsigned shared[SQLITE_SHM_NLOCK];
	const struct disk_handle *exclusive[SQLITE_SHM_NLOCK];
};

struct disk_file {
	char *path;                 /* NULL: deleted while it was open, or a nameless one */
	struct disk_bytes now;      /* what a reader sees */
	struct disk_bytes platter;  /* what is left of it when all changes are lost */
	struct disk_bytes unsynced; /* the changes' data */
	struct disk_change *changes;
	size_t change_count;
	size_t change_capacity;
	struct disk_shm *shm;
	size_t open_count;
	struct disk_file *next;
};

/* What SQLite knows as a file. */
struct disk_handle {
	sqlite3_file base; /* first: SQLite's */
	struct disk *disk;
	struct disk_file *file; /* NULL: the power was cut since */
	int lock;               /* SQLITE_LOCK_… */
	bool is_dropped_at_close;
	struct disk_shm *shm;
	unsigned shm_shared; /* slots that it has shared, as bits */
	struct disk_handle *next;
};

struct disk {
	sqlite3_vfs vfs;
	sqlite3_vfs *below; /* the default before; NULL: not mounted */
	struct disk_file *files;
	struct disk_handle *handles;
	uint64_t random;
	bool is_off;
	bool is_full;
	bool is_broken;
	struct {
		int64_t count;
		int64_t fail_at; /* 0: never */
		enum disk_fault fault;
	} operations[2]; /* by enum disk_operation */
	void (*watch)(void *context, const char *operation, const char *path);
	void *watch_context;
};

/* What is to become of an operation. */
enum disk_outcome {
	DISK_GOOD,
	DISK_FAILS,
	DISK_HAS_NO_ROOM,
	DISK_TEARS,
	DISK_STOPS, /* carry it out as far as the next power-on decides, and fail */
	DISK_DEAD,  /* no power, or none since the file was opened */
};

/* Counts the operation and says what is to become of it. handle NULL: of the whole disk. */
enum disk_outcome disk_begin(struct disk *disk, const struct disk_handle *handle,
	enum disk_operation operation, const char *name, const char *path);

uint64_t disk_random(struct disk *disk);
struct disk_file *disk_find(struct disk *disk, const char *path);
struct disk_file *disk_add(struct disk *disk, const char *path);
/* Frees it once no handle has it. */
void disk_unlink(struct disk *disk, struct disk_file *file);

void disk_write(struct disk_file *file, int64_t offset, const void *data, int64_t len);
/* Some of its sectors only. */
void disk_write_torn(
	struct disk *disk, struct disk_file *file, int64_t offset, const void *data, int64_t len);
void disk_truncate(struct disk_file *file, int64_t len);
void disk_sync(struct disk_file *file);
/* The changes count as clean; which of them arrived is drawn. */
void disk_sync_badly(struct disk *disk, struct disk_file *file);

void disk_shm_release(struct disk_shm *shm);

extern const sqlite3_vfs disk_vfs;

#endif
