#ifndef SUBRELAY_TESTS_SUPPORT_DISK_H
#define SUBRELAY_TESTS_SUPPORT_DISK_H

/*
 * A disk in memory that fails, fills up and loses power on cue: an SQLite VFS.
 *
 * Every file keeps two things apart: what a reader sees now, and what a power cut would leave. A
 * write changes the first; only a sync that succeeds moves a file's writes to the second. On a cut
 * each write since the last sync is kept, lost or torn by sectors of 512 bytes, as the seed has it,
 * each on its own, for a disk promises no order between syncs; one time in four each, all of a
 * file's writes or none, which chance alone would hardly ever try. The creation, renaming and
 * deletion of a file count as written at once (SQLite opens its log before it relies on it, and
 * syncs the folder where it must). Shared memory (-shm) is memory: a cut clears it.
 *
 * A sync that fails leaves the writes before it visible, and marked as clean, as Linux does: a
 * later sync that succeeds does not bring them to the platter. Only what is written again is.
 *
 * While mounted it is SQLite's default VFS of this process: the store lives on it whatever its
 * path, only the lock file beside the database is a real one. One disk is mounted at a time. Files
 * that were open when the power went are dead for good: they fail until they are closed.
 *
 * Single-threaded.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct disk;

enum disk_fault {
	DISK_IO_ERROR, /* SQLITE_IOERR_…: this operation alone */
	DISK_FULL,     /* a write: SQLITE_FULL, the others SQLITE_IOERR_…: this operation alone */
	DISK_TORN,  /* SQLITE_IOERR_WRITE, after some sectors were written: this operation alone */
	DISK_POWER, /* the power is cut in the middle of it: see disk_cut */
};

/* What disk_fail_at counts. */
enum disk_operation {
	DISK_WRITES, /* writes, truncations, syncs, deletions, growth of a -shm */
	DISK_READS,  /* reads, questions for a length or whether it is there, opening */
};

struct disk *disk_create(uint64_t seed);
/* Unmounts it first. No file may be open. NULL is fine. */
void disk_destroy(struct disk *disk);
void disk_mount(struct disk *disk);
void disk_unmount(struct disk *disk);

/* A copy with nothing open and no faults set; what was not synced is taken as written. For starting
 * many runs from one prepared database. */
struct disk *disk_copy(const struct disk *disk, uint64_t seed);

/* ---- faults ---- */

/* The nth operation from now on fails (1: the next), once. 0: none. */
void disk_fail_at(
	struct disk *disk, enum disk_operation operation, enum disk_fault fault, int64_t nth);
/* Every write that makes a file longer fails with SQLITE_FULL, as long as it is so. (A -shm is a
 * file, too: it can't grow either.) */
void disk_set_full(struct disk *disk, bool is_full);
/* Every write and sync fails with SQLITE_IOERR, as long as it is so. */
void disk_set_broken(struct disk *disk, bool is_broken);

/* ---- power ---- */

/* Now: from here on every operation fails, until disk_power_on. */
void disk_cut(struct disk *disk);
bool disk_is_off(const struct disk *disk);
/* What a reader finds is decided here. */
void disk_power_on(struct disk *disk);

/* ---- looking ---- */

/* Operations since it was made, failed ones too. */
int64_t disk_operations(const struct disk *disk, enum disk_operation operation);
/* Of all files together. */
int64_t disk_bytes(const struct disk *disk);
/* Files that are open now. */
size_t disk_open_files(const struct disk *disk);
/* Calls back before each write operation is carried out (NULL: nobody): what, and on which file. */
void disk_watch(struct disk *disk,
	void (*each)(void *context, const char *operation, const char *path), void *context);

#endif
