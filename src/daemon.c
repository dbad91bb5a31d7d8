/*
 * Starting, reloading, stopping: the order is the point. See daemon.h for the threads.
 */

#include "daemon.h"

#include "admin/control.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "conf/conf.h"
#include "deliver/dispatcher.h"
#include "deliver/worker.h"
#include "http/listener.h"
#include "http/routes.h"
#include "intake.h"
#include "source/source.h"
#include "store/store.h"

#include <arpa/inet.h>
#include <malloc.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#ifdef HAVE_SYSTEMD
#include <systemd/sd-daemon.h>
#endif

extern char **environ;

/* From SIGTERM on: kept connections may bring another request, those just opened their first, what
 * is in hand is answered, what is in flight to Intercom comes back, or not. Together well below the
 * unit's TimeoutStopSec. */
#define KEPT_GRACE_MS 2000
#define EXPECTED_GRACE_MS 1000
#define ANSWER_DEADLINE_MS 5000
#define DRAIN_DEADLINE_MS 10000
/* Every so many pauses of 5 ms: who has hung up? */
#define GONE_ROUNDS 10

struct daemon {
	const char *config_path;
	const struct clock *clock;
	struct conf *conf;
	struct store *store;
	struct dispatcher *dispatcher;
	struct worker_pool *workers;
	struct intake *intake;
	struct routes *routes;
	struct control *control;
	struct listener *listener;
	bool is_on_loopback; /* what is listened on since the start */
};

/* ---- systemd ---- */

static void tell_systemd(const char *state)
{
#ifdef HAVE_SYSTEMD
	/* Without systemd there is nobody to tell. */
	(void)sd_notify(0, state);
#else
	(void)state;
#endif
}

/* The socket that systemd listens on for us; -1: none. */
static bool passed_socket(int *ret_fd, struct error *err)
{
	*ret_fd = -1;
#ifdef HAVE_SYSTEMD
	const int count = sd_listen_fds(1);
	if (count > 1)
		return error_set(err, "systemd passed %d sockets, one is expected", count);
	if (count == 1)
		*ret_fd = SD_LISTEN_FDS_START;
#endif
	(void)err;
	return true;
}

static bool is_loopback(int fd)
{
	struct sockaddr_storage address = {0};
	socklen_t len = sizeof(address);

	if (getsockname(fd, (struct sockaddr *)&address, &len) != 0)
		return false; /* who knows */
	if (address.ss_family == AF_INET)
		return ntohl(((const struct sockaddr_in *)&address)->sin_addr.s_addr) >> 24 ==
			IN_LOOPBACKNET;
	return address.ss_family == AF_INET6 &&
		IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)&address)->sin6_addr);
}

/* The configuration could only look at its own `listen`; what is really listened on may be a passed
 * socket, or, after a reload, the address of the start: perhaps open to the world. */
static bool check_openness(const struct daemon *daemon, const struct conf *conf, struct error *err)
{
	for (size_t i = 0; i < conf->source_count && !daemon->is_on_loopback; i++) {
		const struct conf_source *source = &conf->sources[i];

		if (source->source->allows_anyone != NULL &&
			source->source->allows_anyone(source->options))
			return error_set(err,
				"[%s] lets anybody in, and what is listened on isn't a loopback "
				"address",
				source->name);
	}
	return true;
}

/* Half of what the watchdog allows; 0: there is none. */
static int64_t watchdog_interval_ms(void)
{
#ifdef HAVE_SYSTEMD
	uint64_t usec = 0;

	if (sd_watchdog_enabled(0, &usec) > 0)
		return (int64_t)(usec / 2000);
#endif
	return 0;
}

/* ---- configuration ---- */

static void log_problems(const struct conf_report *report)
{
	for (size_t i = 0; i < report->count; i++) {
		const struct conf_problem *problem = &report->problems[i];

		if (problem->is_warning)
			log_warn("configuration", LOG_TEXT("where", problem->where),
				LOG_TEXT("problem", problem->text));
		else
			log_error("configuration", LOG_TEXT("where", problem->where),
				LOG_TEXT("problem", problem->text));
	}
}

/* For people at a terminal the same as `check` prints. */
static struct conf *load_conf(const char *path, struct error *err)
{
	struct conf_report report = {0};
	struct conf *conf = conf_load(path, environ, &report);

	if (conf != NULL) {
		log_configure((enum log_level)conf->log.level, (enum log_format)conf->log.format);
		log_problems(&report);
	} else {
		for (size_t i = 0; i < report.count; i++)
			(void)fprintf(stderr, "%s: %s%s\n", report.problems[i].where,
				report.problems[i].is_warning ? "warning: " : "",
				report.problems[i].text);
		(void)error_set(err, "%zu problem%s in the configuration; nothing was started",
			report.error_count, report.error_count == 1 ? "" : "s");
	}
	conf_report_finish(&report);
	return conf;
}

static void reload(struct daemon *daemon)
{
	struct conf_report report = {0};
	struct error err = {0};

	tell_systemd("RELOADING=1");
	struct conf *conf = conf_load(daemon->config_path, environ, &report);
	log_problems(&report);
	if (conf != NULL && !check_openness(daemon, conf, &err)) {
		log_error("configuration", LOG_TEXT("problem", err.text));
		conf_unref(conf);
		conf = NULL;
	}
	if (conf == NULL) {
		log_error("the configuration was not reloaded: the old one stays in force");
	} else {
		const char *fixed = conf_needs_restart(daemon->conf, conf);

		if (fixed != NULL)
			log_warn("this change takes effect after a restart",
				LOG_TEXT("option", fixed));
		log_configure((enum log_level)conf->log.level, (enum log_format)conf->log.format);
		store_set_retention(
			daemon->store, conf->store.keep_delivered_ms, conf->store.keep_parked_ms);
		dispatcher_reconfigure(daemon->dispatcher, conf);
		routes_reload(daemon->routes, conf);
		conf_unref(daemon->conf);
		daemon->conf = conf;
		log_info("the configuration was reloaded");
	}
	conf_report_finish(&report);
	tell_systemd("READY=1");
}

/* ---- start ---- */

static void pass_new_work(void *context, int64_t destination_id, bool is_rewound)
{
	const struct daemon *daemon = context;

	/* While it starts there is no dispatcher yet; it scans everything when it comes. */
	if (daemon->dispatcher != NULL)
		dispatcher_new_work(daemon->dispatcher, destination_id, is_rewound);
}

static void wake_workers(void *context)
{
	const struct daemon *daemon = context;

	if (daemon->workers != NULL)
		worker_pool_wake(daemon->workers);
}

static bool start_delivery(struct daemon *daemon, struct error *err)
{
	const struct conf *conf = daemon->conf;

	daemon->store = store_open(
		&(struct store_options){
			.backend = &store_sqlite,
			.path = conf->store.path,
			.clock = daemon->clock,
			.keep_delivered_ms = conf->store.keep_delivered_ms,
			.keep_parked_ms = conf->store.keep_parked_ms,
			.has_thread = true,
			.new_work = pass_new_work,
			.context = daemon,
		},
		err);
	if (daemon->store == NULL)
		return false;
	daemon->dispatcher = dispatcher_create(
		&(struct dispatcher_options){
			.conf = daemon->conf,
			.store = daemon->store,
			.clock = daemon->clock,
			.ready = wake_workers,
			.context = daemon,
		},
		err);
	if (daemon->dispatcher == NULL)
		return false;
	daemon->workers =
		worker_pool_create((int)conf->delivery.workers, (int)conf->delivery.connections,
			dispatcher_feed(daemon->dispatcher), daemon->clock, err);
	return daemon->workers != NULL && dispatcher_start(daemon->dispatcher, err);
}

static bool start_listening(struct daemon *daemon, struct error *err)
{
	int fd;

	if (!passed_socket(&fd, err))
		return false;
	daemon->is_on_loopback =
		fd >= 0 ? is_loopback(fd) : daemon->conf->server.listen.is_loopback;
	if (!check_openness(daemon, daemon->conf, err))
		return false;
	daemon->intake = intake_create(daemon->store, daemon->clock);
	daemon->routes = routes_create(daemon->conf, daemon->intake, daemon->store);
	daemon->control = control_create(
		&(struct control_options){
			.path = daemon->conf->control.socket,
			.store = daemon->store,
			.dispatcher = daemon->dispatcher,
			.intake = daemon->intake,
			.clock = daemon->clock,
			.started_at_ms = clock_wall_ms(daemon->clock),
		},
		err);
	if (daemon->control == NULL)
		return false;
	daemon->listener = listener_create(daemon->conf, routes_router(daemon->routes), fd, err);
	return daemon->listener != NULL;
}

static void log_start(const struct daemon *daemon)
{
	for (size_t i = 0; i < daemon->conf->source_count; i++)
		log_info("listening", LOG_TEXT("host", daemon->conf->server.listen.host),
			LOG_INT("port", listener_port(daemon->listener)),
			LOG_TEXT("path", daemon->conf->sources[i].path),
			LOG_TEXT("source", daemon->conf->sources[i].name));
	for (size_t i = 0; i < daemon->conf->workspace_count; i++) {
		const struct conf_workspace *workspace = &daemon->conf->workspaces[i];

		log_info("relaying to", LOG_TEXT("workspace", workspace->name),
			LOG_TEXT("base_url", workspace->base_url),
			LOG_TEXT("mode",
				workspace->mode == CONF_MODE_DRY_RUN
					? "dry-run (calls are printed, not sent)"
					: "live"));
	}
}

/* ---- stop ---- */

/* One pause of a wait that is polled, for it happens once in a process's life. */
static void pause_stopping(const struct daemon *daemon, unsigned *round)
{
	const struct timespec pause = {.tv_nsec = 5000000L};

	if (++*round % GONE_ROUNDS == 0)
		listener_cut_gone(daemon->listener);
	(void)nanosleep(&pause, NULL);
}

static bool has_passed(const struct daemon *daemon, int64_t since_ms, int64_t span_ms)
{
	return clock_mono_ms(daemon->clock) >= since_ms + span_ms;
}

/* Waits until no request is in hand or on its way. The silent get a short grace: they may be
 * connections that nobody uses. */
static void wait_for_answers(const struct daemon *daemon)
{
	struct listener *listener = daemon->listener;
	const int64_t began_ms = clock_mono_ms(daemon->clock);
	unsigned round = 0;

	listener_part(listener);
	while (listener_kept(listener) > 0 && !has_passed(daemon, began_ms, KEPT_GRACE_MS))
		pause_stopping(daemon, &round);

	listener_quiesce(listener);
	const int64_t closed_ms = clock_mono_ms(daemon->clock);
	/* In this order: who is expected becomes active. */
	while ((listener_expected(listener) > 0 &&
		       !has_passed(daemon, closed_ms, EXPECTED_GRACE_MS)) ||
		(listener_active(listener) > 0 &&
			!has_passed(daemon, closed_ms, ANSWER_DEADLINE_MS)))
		pause_stopping(daemon, &round);
	/* From here on none comes in. Those that are in must be answered, however long the disk
	 * hangs: there is nobody else who could, and the store waits for the disk as well. */
	intake_stop(daemon->intake);
	while (intake_in_hand(daemon->intake) > 0)
		pause_stopping(daemon, &round);
}

static void stop(struct daemon *daemon)
{
	tell_systemd("STOPPING=1");
	if (daemon->listener != NULL) {
		wait_for_answers(daemon);
		listener_destroy(daemon->listener);
	}
	control_destroy(daemon->control);
	routes_destroy(daemon->routes);
	if (daemon->dispatcher != NULL)
		dispatcher_stop(daemon->dispatcher);
	if (daemon->workers != NULL)
		worker_pool_destroy(daemon->workers, DRAIN_DEADLINE_MS);
	store_close(daemon->store);
	dispatcher_destroy(daemon->dispatcher);
	intake_destroy(daemon->intake);
	conf_unref(daemon->conf);
}

/* ---- the run ---- */

/* connections_max, the calls in flight and the store's files may be more than the usual soft limit.
 */
static void raise_file_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
		limit.rlim_cur = limit.rlim_max;
		/* Then the limit stays, and the listener accepts as many as it can. */
		(void)setrlimit(RLIMIT_NOFILE, &limit);
	}
}

/* The signals that main waits for; blocked here, and so in every thread that is started later. */
static void block_signals(sigset_t *ret_set)
{
	(void)sigemptyset(ret_set);
	(void)sigaddset(ret_set, SIGTERM);
	(void)sigaddset(ret_set, SIGINT);
	(void)sigaddset(ret_set, SIGHUP);
	(void)pthread_sigmask(SIG_BLOCK, ret_set, NULL);
	(void)signal(SIGPIPE, SIG_IGN);
	/* A file at its size limit is a disk without room: 503, not death. */
	(void)signal(SIGXFSZ, SIG_IGN);
}

static void wait_for_the_end(struct daemon *daemon, const sigset_t *signals)
{
	const int64_t beat_ms = watchdog_interval_ms();

	for (;;) {
		const struct timespec beat = {.tv_sec = (time_t)(beat_ms / 1000),
			.tv_nsec = (long)(beat_ms % 1000) * 1000000L};
		const int caught = beat_ms > 0 ? sigtimedwait(signals, NULL, &beat)
					       : sigwaitinfo(signals, NULL);

		if (caught == SIGHUP)
			reload(daemon);
		else if (caught == SIGTERM || caught == SIGINT)
			return;
		tell_systemd("WATCHDOG=1");
	}
}

bool daemon_run(const char *config_path, struct error *err)
{
	struct daemon daemon = {.config_path = config_path, .clock = &clock_system};
	sigset_t signals;
	bool done = false;

	block_signals(&signals);
	/* An arena for each of up to 8 threads: with 2 they wait for each other (measured: 12,300
	 * against 18,000 webhooks a second), without a limit there would be 8 for each core. */
	(void)mallopt(M_ARENA_MAX, 8);
	raise_file_limit();

	daemon.conf = load_conf(config_path, err);
	if (daemon.conf == NULL)
		goto out;
	if (!start_delivery(&daemon, err) || !start_listening(&daemon, err))
		goto out;
	log_start(&daemon);
	log_info("ready");
	tell_systemd("READY=1");
	wait_for_the_end(&daemon, &signals);
	log_info("stopping");
	done = true;
out:
	stop(&daemon);
	if (done)
		log_info("stopped");
	return done;
}
