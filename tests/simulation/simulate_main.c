/*
 * Many seeds, side by side.
 *
 *   simulate --seeds 1000 [--jobs N]   seeds 1 to 1000
 *   simulate --seeds 5-9               these
 *   simulate --seeds =7 [-v]           this one, in this process, with a trace
 *
 * Each job is a child process that takes one seed after the other. A child that dies, whatever of,
 * or hangs has failed that one seed: the parent notes it and starts another child. Some seeds are
 * run twice, and both runs must have the same trace.
 */

#include "simulation.h"

#include "base/log.h"

#include <errno.h>
#include <ftw.h>
#include <jansson.h>
#include <malloc.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define JOBS_MAX 64
#define FAILURES_SHOWN 20
/* A seed takes milliseconds; under a sanitizer on a busy machine a hundred times that. */
#define HANGS_AFTER_S 60
#define TWICE_EVERY 16

struct slot {
	_Atomic uint64_t seed; /* 0: none */
	_Atomic int64_t since_s;
	char message[800];
};

/* Shared by parent and children. */
struct board {
	_Atomic uint64_t next;
	_Atomic uint64_t done;
	struct slot slots[JOBS_MAX];
};

static struct board *board;
static struct slot *mine; /* in a child; NULL: alone */
static char top[64];
static char folder[96];      /* this process's own, in it */
static pid_t pids[JOBS_MAX]; /* the parent's; 0: ended */
static bool is_verbose;

static int64_t now_s(void)
{
	struct timespec at;

	(void)clock_gettime(CLOCK_MONOTONIC, &at);
	return at.tv_sec;
}

static double now(void)
{
	struct timespec at;

	(void)clock_gettime(CLOCK_MONOTONIC, &at);
	return (double)at.tv_sec + (double)at.tv_nsec / 1e9;
}

static int remove_one(const char *path, const struct stat *stat, int flag, struct FTW *ftw)
{
	(void)stat;
	(void)flag;
	(void)ftw;
	return remove(path);
}

static void remove_folder(void)
{
	(void)nftw(top, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

void simulation_fail(const char *message)
{
	if (mine != NULL)
		(void)snprintf(mine->message, sizeof(mine->message), "%s", message);
	else
		printf("FAILED %s\n", message);
	if (mine == NULL)
		remove_folder();
	(void)fflush(stdout);
	_exit(1);
}

/* ---- a child ---- */

static void log_nothing(void *context, enum log_level level, const char *line)
{
	(void)context;
	if (is_verbose)
		printf("              [%d] %s\n", (int)level, line);
}

static struct disk *prepare(size_t number)
{
	/* Memory that was had once is kept: the next seed wants as much. */
	(void)mallopt(M_MMAP_THRESHOLD, 1 << 30);
	(void)mallopt(M_TRIM_THRESHOLD, 1 << 30);
	/* Containers in a different order would be another run. */
	(void)json_object_seed(1);
	log_configure(is_verbose ? LOG_DEBUG_LEVEL : LOG_ERROR_LEVEL, LOG_LOGFMT);
	log_redirect(log_nothing, NULL);
	(void)snprintf(folder, sizeof(folder), "%s/%zu", top, number);
	(void)mkdir(folder, 0700);
	return world_make_image(folder);
}

static void run_one(uint64_t seed, const struct disk *image)
{
	const uint64_t trace = world_run(seed, image, folder, is_verbose);

	if (seed % TWICE_EVERY == 0 && world_run(seed, image, folder, false) != trace)
		simulation_fail("the second run of the same seed is another one");
}

static _Noreturn void work(size_t number, uint64_t last)
{
	struct disk *image;

	mine = &board->slots[number];
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* nobody would hear of it any more */
	image = prepare(number);
	for (;;) {
		const uint64_t seed = atomic_fetch_add(&board->next, 1);

		if (seed > last)
			break;
		atomic_store(&mine->since_s, now_s());
		atomic_store(&mine->seed, seed);
		run_one(seed, image);
		atomic_store(&mine->seed, 0);
		atomic_fetch_add(&board->done, 1);
	}
	disk_destroy(image);
	exit(0);
}

/* ---- the parent ---- */

static void start(size_t number, uint64_t last)
{
	struct slot *slot = &board->slots[number];

	slot->message[0] = '\0';
	atomic_store(&slot->seed, 0);
	(void)fflush(stdout);
	const pid_t pid = fork();
	if (pid == 0)
		work(number, last);
	if (pid < 0) {
		perror("fork");
		exit(2);
	}
	pids[number] = pid;
}

static void tell(const char *program, const struct slot *slot, int status, unsigned failures)
{
	const unsigned long long seed = atomic_load(&slot->seed);

	if (failures > FAILURES_SHOWN)
		return;
	if (slot->message[0] != '\0')
		printf("seed %llu FAILED %s\n", seed, slot->message);
	else if (WIFSIGNALED(status))
		printf("seed %llu FAILED by signal %d (%s)\n", seed, WTERMSIG(status),
			WTERMSIG(status) == SIGKILL ? "hung, perhaps"
						    : strsignal(WTERMSIG(status)));
	else
		printf("seed %llu FAILED with status %d\n", seed, WEXITSTATUS(status));
	printf("    again: %s --seeds =%llu -v\n", program, seed);
	(void)fflush(stdout);
}

static struct slot *slot_of(pid_t pid, size_t jobs)
{
	for (size_t i = 0; i < jobs; i++)
		if (pids[i] == pid)
			return &board->slots[i];
	return NULL;
}

static void kill_hung(size_t jobs)
{
	for (size_t i = 0; i < jobs; i++) {
		struct slot *slot = &board->slots[i];

		if (pids[i] > 0 && atomic_load(&slot->seed) != 0 &&
			now_s() - atomic_load(&slot->since_s) > HANGS_AFTER_S)
			(void)kill(pids[i], SIGKILL);
	}
}

/* Returns how many seeds failed. */
static unsigned run_all(const char *program, uint64_t first, uint64_t last, size_t jobs)
{
	unsigned failures = 0;
	size_t running = jobs;

	atomic_store(&board->next, first);
	for (size_t i = 0; i < jobs; i++)
		start(i, last);
	while (running > 0) {
		int status;
		const pid_t pid = waitpid(-1, &status, WNOHANG);

		if (pid <= 0) {
			const struct timespec nap = {.tv_nsec = 20000000};

			kill_hung(jobs);
			(void)nanosleep(&nap, NULL);
			continue;
		}
		struct slot *slot = slot_of(pid, jobs);
		if (slot == NULL)
			continue;
		pids[slot - board->slots] = 0;
		if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
			running--;
			continue;
		}
		failures++;
		tell(program, slot, status, failures);
		if (atomic_load(&slot->seed) == 0) {
			printf("a job can't even begin\n");
			running--;
		} else {
			start((size_t)(slot - board->slots), last);
		}
	}
	return failures;
}

/* ---- arguments ---- */

static bool read_seeds(const char *text, uint64_t *ret_first, uint64_t *ret_last)
{
	const bool is_one = text[0] == '=';
	char *end;

	*ret_first = 1;
	*ret_last = strtoull(text + is_one, &end, 10);
	if (is_one)
		*ret_first = *ret_last;
	if (*end == '-' && !is_one) {
		*ret_first = *ret_last;
		*ret_last = strtoull(end + 1, &end, 10);
	}
	return *end == '\0' && *ret_first >= 1 && *ret_last >= *ret_first;
}

static bool make_folder(void)
{
	(void)snprintf(top, sizeof(top), "%s/subrelay-sim-XXXXXX",
		access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	return mkdtemp(top) != NULL;
}

static void replay(uint64_t seed)
{
	struct disk *image = prepare(0);

	printf("trace %016llx\n", (unsigned long long)world_run(seed, image, folder, is_verbose));
	disk_destroy(image);
}

int main(int argc, char **argv)
{
	const char *seeds = "1000";
	size_t jobs = 1;
	uint64_t first;
	uint64_t last;
	unsigned failures = 0;

	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--seeds") == 0 && i + 1 < argc)
			seeds = argv[++i];
		else if (strcmp(argv[i], "--jobs") == 0 && i + 1 < argc)
			jobs = strtoul(argv[++i], NULL, 10);
		else if (strcmp(argv[i], "-v") == 0)
			is_verbose = true;
		else
			seeds = "";
	}
	if (!read_seeds(seeds, &first, &last) || jobs < 1) {
		(void)fprintf(
			stderr, "usage: simulate --seeds N|FIRST-LAST|=ONE [--jobs N] [-v]\n");
		return 2;
	}
	if (!make_folder()) {
		perror("a folder for the lock files");
		return 2;
	}
	board = mmap(
		NULL, sizeof(*board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (board == MAP_FAILED) {
		perror("mmap");
		return 2;
	}
	const double began = now();
	if (first == last && seeds[0] == '=') {
		replay(first);
	} else {
		failures = run_all(argv[0], first, last, jobs < JOBS_MAX ? jobs : JOBS_MAX);
		printf("%llu seeds, %u failed, %.0f seeds/s\n",
			(unsigned long long)(last - first + 1), failures,
			(double)(last - first + 1) / (now() - began));
	}
	remove_folder();
	return failures == 0 ? 0 : 1;
}
