/*
 * backup: a copy of the store, made while the daemon runs.
 *
 * The daemon sends pages (control_backup.c), this side writes them to FILE.part, reads all of it
 * once more to see that it is a whole store, and only then calls it FILE.
 */

#include "admin/control.h"
#include "backup_file_private.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/text.h"
#include "base/xalloc.h"
#include "cli_private.h"
#include "client_private.h"
#include "store/copy.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PIECE_MAX ((int64_t)16 * 1024 * 1024)
#define PROGRESS_MS 250
#define MIB (1024.0 * 1024.0)

/* A signal can reach nothing else; and this is the command line's process, not the daemon's. */
static volatile sig_atomic_t is_interrupted;

struct backup {
	struct backup_file file;
	FILE *answer;
	char *piece;
	int64_t bytes; /* of the whole */
	int64_t got;
	int64_t began_mono_ms;
	int64_t told_mono_ms;
	bool is_told; /* on a terminal */
};

static void note_interrupt(int number)
{
	(void)number;
	is_interrupted = 1;
}

/* Without SA_RESTART: what waits for the daemon comes back. */
static void catch_signals(void)
{
	static const int NUMBERS[] = {SIGINT, SIGTERM, SIGHUP};
	const struct sigaction action = {.sa_handler = note_interrupt};

	for (size_t i = 0; i < sizeof(NUMBERS) / sizeof(NUMBERS[0]); i++)
		(void)sigaction(NUMBERS[i], &action, NULL);
}

static bool is_wanted(void *context)
{
	(void)context;
	return !is_interrupted;
}

/* ---- progress ---- */

static void tell_progress(struct backup *backup, const char *what)
{
	const int64_t now_ms = clock_mono_ms(&clock_system);
	const double seconds = (double)(now_ms - backup->began_mono_ms) / 1000.0;

	if (!backup->is_told || backup->bytes == 0 ||
		(!what && now_ms - backup->told_mono_ms < PROGRESS_MS))
		return;
	backup->told_mono_ms = now_ms;
	if (what) {
		(void)fprintf(stderr, "\r\033[K%s", what);
		return;
	}
	const double rate = seconds > 0 ? (double)backup->got / seconds : 0;
	const double left = (double)(backup->bytes - backup->got);
	(void)fprintf(stderr, "\r\033[K%3.0f %% of %.1f MiB, %.0f MiB/s, %.0f s left",
		100.0 * (double)backup->got / (double)backup->bytes, (double)backup->bytes / MIB,
		rate / MIB, rate > 0 ? left / rate : 0);
}

static void end_progress(const struct backup *backup)
{
	if (backup->is_told && backup->told_mono_ms > 0)
		(void)fputs("\r\033[K", stderr);
}

/* ---- the answer ---- */

static bool say_broken_off(struct error *err)
{
	if (is_interrupted)
		return error_set(err, "interrupted");
	return error_set(err, "the daemon broke off in the middle of the copy");
}

static bool take_piece(struct backup *backup, int64_t at, int64_t size, struct error *err)
{
	if (at < 0 || size <= 0 || size > PIECE_MAX || at > backup->bytes - size)
		return error_set(err, "the daemon's answer can't be understood");
	backup->piece = xrealloc(backup->piece, (size_t)size);
	if (fread(backup->piece, 1, (size_t)size, backup->answer) != (size_t)size)
		return say_broken_off(err);
	backup->got += size;
	return backup_file_write(&backup->file, at, backup->piece, (size_t)size, err);
}

/* One line and what belongs to it; *ret_end after the last. */
static bool take_line(struct backup *backup, const char *line, bool *ret_end, struct error *err)
{
	json_t *row = json_loads(line, 0, NULL);
	bool done = true;

	*ret_end = json_is_true(json_object_get(row, "ok"));
	if (json_is_false(json_object_get(row, "ok")))
		done = error_set(err, "%s", client_text(row, "error"));
	else if (json_object_get(row, "size"))
		done = take_piece(
			backup, client_integer(row, "at"), client_integer(row, "size"), err);
	else if (json_object_get(row, "bytes"))
		backup->bytes = client_integer(row, "bytes");
	else if (!*ret_end)
		done = error_set(err, "the daemon's answer can't be understood");
	json_decref(row);
	return done;
}

static bool receive(struct backup *backup, struct error *err)
{
	char *line = NULL;
	size_t size = 0;
	bool is_end = false;
	bool done = true;

	while (done && !is_end) {
		if (is_interrupted || getline(&line, &size, backup->answer) < 0)
			done = say_broken_off(err);
		else
			done = take_line(backup, line, &is_end, err);
		tell_progress(backup, NULL);
	}
	free(line);
	return done;
}

static bool finish_file(struct backup *backup, struct copy_report *ret, struct error *err)
{
	tell_progress(backup, "writing to disk");
	if (!backup_file_sync(&backup->file, err))
		return false;
	tell_progress(backup, "checking the copy");
	if (!copy_check(backup->file.part_path, is_wanted, NULL, ret, err)) {
		if (is_interrupted) {
			error_clear(err);
			return error_set(err, "interrupted");
		}
		return error_prefix(err, "the copy");
	}
	return backup_file_keep(&backup->file, err);
}

/* ---- the verb ---- */

static void print_result(
	const struct backup *backup, const struct copy_report *report, bool as_json)
{
	const int64_t took_ms = clock_mono_ms(&clock_system) - backup->began_mono_ms;

	if (!as_json) {
		(void)printf("%s: %lld events, %.1f MiB, checked, in %.1f s\n", backup->file.path,
			(long long)report->events, (double)backup->bytes / MIB,
			(double)took_ms / 1000.0);
		return;
	}
	json_t *json = json_pack("{s:s%, s:I, s:I, s:I, s:I, s:I, s:I}", "file", backup->file.path,
		strlen(backup->file.path), "bytes", (json_int_t)backup->bytes, "events",
		(json_int_t)report->events, "waiting", (json_int_t)report->waiting, "parked",
		(json_int_t)report->parked, "schema", (json_int_t)report->schema, "elapsed_ms",
		(json_int_t)took_ms);
	client_print_json(json);
	json_decref(json);
}

static int make_backup(
	const struct client_place *place, const char *path, bool may_replace, bool as_json)
{
	struct backup backup = {.file = {.fd = -1}, .is_told = isatty(STDERR_FILENO) == 1};
	struct copy_report report = {0};
	struct error err = {0};
	int code = CLI_FAILED;

	backup.began_mono_ms = clock_mono_ms(&clock_system);
	catch_signals();
	if (!backup_file_init(&backup.file, path, may_replace, &err)) {
		(void)cli_failed(&cmd_backup, "%s", err.text);
		goto out;
	}
	const int fd = client_open_take(&cmd_backup, place, json_pack("{s:s}", "verb", "backup"));
	if (fd < 0) {
		cli_note(&cmd_backup,
			"while the daemon is stopped, a plain copy of its file, and of the -wal "
			"beside it if there is one, is a backup");
		goto out;
	}
	backup.answer = fdopen(fd, "r");
	if (!backup.answer) {
		(void)close(fd);
		(void)cli_failed(&cmd_backup, "%s", strerror(errno));
		goto out;
	}
	const bool done = receive(&backup, &err) && finish_file(&backup, &report, &err);
	end_progress(&backup);
	if (done) {
		print_result(&backup, &report, as_json);
		code = CLI_DONE;
	} else {
		(void)cli_failed(&cmd_backup, "%s; there is no new %s", err.text, path);
	}
out:
	if (backup.answer)
		(void)fclose(backup.answer); /* it was only read */
	free(backup.piece);
	backup_file_finish(&backup.file);
	return code;
}

static int run(int argc, char **argv)
{
	struct client_place place = CLIENT_PLACE;
	bool may_replace = false;
	bool as_json = false;
	const struct cli_flag flags[] = {
		CLIENT_FLAGS(&place),
		{.name = "force", .is_set = &may_replace},
		{.name = "json", .is_set = &as_json},
		{.name = NULL},
	};
	char **operands;
	int code;

	if (!cli_parse(&cmd_backup, argc, argv, flags, 1, &operands, &code))
		return code;
	if (!operands[0] || operands[0][0] == '\0')
		return cli_misused(&cmd_backup, "the FILE that is to be made");
	return make_backup(&place, operands[0], may_replace, as_json);
}

const struct cli_command cmd_backup = {
	.name = "backup",
	.usage = "backup [-c FILE] [--socket PATH] [--force] [--json] FILE",
	.help = "writes a copy of the store while the daemon runs\n"
		"\n"
		"FILE holds every event that was answered 200 before the command began, what\n"
		"waits and what is parked; it is checked, readable by you alone (mode 0600), and\n"
		"appears when it is whole. Meanwhile webhooks are taken and delivered as ever.\n"
		"To go back to it: stop the daemon, take away the store's file and the -wal and\n"
		"-shm beside it, put FILE in their place, start the daemon. What it delivered\n"
		"since is delivered again; what it received since is missing.\n"
		"\n"
		"      --force         replaces a FILE that is there\n" CLIENT_HELP
		"      --json          {\"file\":…, \"bytes\":…, \"events\":…, \"waiting\":…,\n"
		"                      \"parked\":…, \"schema\":…, \"elapsed_ms\":…}\n"
		"\n"
		"example: subrelay backup \"/var/backups/subrelay-$(date +%F).db\"",
	.run = run,
};
