/*
 * The wire: threads that each drive many transfers with one curl multi handle.
 *
 * DESIGN. A thread owns a multi handle and its slots; a slot owns an easy handle, whose options are
 * set once, and the header list of the workspace it served last. The loop: take errands while slots
 * are free, let curl work, give finished ones back, and when nothing finished, sleep until a socket
 * is ready, the feed's wake time comes, or worker_pool_wake interrupts (by an eventfd).
 *
 * libcurl and its TLS library are set up when a thread has its first call to send: 3 MB that an
 * idle relay, or a dry run, doesn't need.
 *
 * There is no lock: a thread touches only what is its own. Shared are two atomics,
 * `stop_at_mono_ms` (written once) and each thread's `woken`, which joins many wakes into one write
 * to the eventfd. `woken` is cleared before the feed is asked, so a wake between asking and
 * sleeping is never lost.
 *
 * What must stay true: each errand that next handed out is given back to done exactly once, on the
 * same thread. A slot's easy handle is in the multi handle exactly while the slot has an errand.
 *
 * Proxies: libcurl's usual variables (https_proxy, no_proxy …) are honoured, except that a loopback
 * address is always reached directly.
 */

#include "deliver/worker.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/xalloc.h"
#include "conf/conf.h"
#include "deliver/dry_run.h"

#include <assert.h>
#include <curl/curl.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define CONNECT_TIMEOUT_MS 10000L
#define TOTAL_TIMEOUT_MS 30000L
#define CONNECTION_IDLE_MAX_S 50L  /* proxies in between commonly drop at 60 */
#define CONNECTION_LIFE_MAX_S 900L /* names may move */
#define KEEPALIVE_S 30L
#define POLL_MAX_MS 60000
#define URL_MAX ((size_t)32 * 1024)
#define HEADER_MAX ((size_t)16 * 1024)
#define NEVER INT64_MAX

/* One transfer at a time. */
struct slot {
	CURL *easy;
	struct errand *errand; /* NULL: free */
	const struct call *call;
	struct reply *reply;
	const struct clock *clock;
	int64_t started_mono_ms;
	struct buf url;
	struct curl_slist *headers;
	const struct conf_workspace *workspace; /* whose headers these are; never followed */
	char curl_error[CURL_ERROR_SIZE];
};

struct worker {
	struct worker_pool *pool;
	pthread_t thread;
	int wake_fd;
	CURLM *multi; /* NULL: nothing was sent yet */
	struct slot *slots;
	int slot_count;
	int busy_count;
	int *free_slots; /* stack of indexes */
	int64_t wake_mono_ms;
	atomic_bool woken;
};

struct worker_pool {
	struct worker_feed feed;
	const struct clock *clock;
	atomic_llong stop_at_mono_ms; /* NEVER: not stopping */
	struct worker *workers;
	int worker_count;
	int started_count;
};

/* ---- headers ---- */

static void headers_finish(struct slot *slot)
{
	for (struct curl_slist *line = slot->headers; line; line = line->next)
		explicit_bzero(line->data, strlen(line->data));
	curl_slist_free_all(slot->headers);
	slot->headers = NULL;
	slot->workspace = NULL;
}

static void headers_add(struct slot *slot, const char *line)
{
	struct curl_slist *longer = curl_slist_append(slot->headers, line);
	if (!longer)
		xalloc_die(strlen(line));
	slot->headers = longer;
}

static void authorization_of(const struct conf_workspace *workspace, struct buf *ret)
{
	buf_init(ret, HEADER_MAX);
	buf_add_text(ret, "Authorization: Bearer ");
	if (secret_is_set(&workspace->access_token))
		buf_add(ret, workspace->access_token.bytes, workspace->access_token.len);
}

static void wipe(struct buf *text)
{
	if (text->data)
		explicit_bzero(text->data, text->capacity);
	buf_finish(text);
}

/* The pointer alone won't do: after a reload another workspace may live at the same address. */
static bool headers_fit(const struct slot *slot, const struct conf_workspace *workspace)
{
	if (slot->workspace != workspace)
		return false;
	static const size_t token_at = sizeof("Authorization: Bearer ") - 1;
	static const size_t version_at = sizeof("Intercom-Version: ") - 1;
	const struct secret *token = &workspace->access_token;
	const char *sent_token = slot->headers->data + token_at;
	const char *sent_version = slot->headers->next->data + version_at;
	return strlen(sent_token) == token->len &&
		(token->len == 0 || memcmp(sent_token, token->bytes, token->len) == 0) &&
		strcmp(sent_version, workspace->api_version) == 0;
}

/* "https://localhost…", "http://127.0.0.1…", "http://[::1]…" */
static bool is_loopback(const char *base_url)
{
	const char *host = strstr(base_url, "://");
	if (!host)
		return false;
	host += strlen("://");
	size_t len = host[0] == '[' ? strcspn(host, "]") + 1 : strcspn(host, ":/");
	return (len == 9 && strncasecmp(host, "localhost", 9) == 0) ||
		(len == 5 && memcmp(host, "[::1]", 5) == 0) || strncmp(host, "127.", 4) == 0;
}

static CURLcode headers_build(struct slot *slot, const struct conf_workspace *workspace)
{
	headers_finish(slot);
	struct buf line;
	authorization_of(workspace, &line);
	headers_add(slot, buf_text(&line));
	wipe(&line);
	buf_addf(&line, "Intercom-Version: %s", workspace->api_version);
	headers_add(slot, buf_text(&line));
	buf_finish(&line);
	for (size_t i = 0; call_headers[i]; i++)
		headers_add(slot, call_headers[i]);
	headers_add(slot, "Expect:"); /* never ask first */
	curl_easy_setopt(slot->easy, CURLOPT_HTTPHEADER, slot->headers);
	CURLcode code = curl_easy_setopt(
		slot->easy, CURLOPT_NOPROXY, is_loopback(workspace->base_url) ? "*" : NULL);
	if (code == CURLE_OK)
		slot->workspace = workspace;
	return code;
}

/* ---- one transfer ---- */

static size_t on_header(char *data, size_t size, size_t count, void *context)
{
	struct slot *slot = context;
	reply_take_header(slot->reply, data, size * count);
	return size * count;
}

/* What is over the limit ends the transfer: a peer may send without end. */
static size_t on_body(char *data, size_t size, size_t count, void *context)
{
	struct buf *body = &((struct slot *)context)->reply->body;
	size_t len = size * count;
	size_t room = body->max - body->len;
	buf_add(body, data, len < room ? len : room);
	if (len <= room)
		return len;
	body->overflowed = true;
	return 0;
}

/* Options that never change. Those that fail are extras that an older libcurl lacks. */
static void slot_set_options(struct slot *slot)
{
	CURL *easy = slot->easy;
	curl_easy_setopt(easy, CURLOPT_PRIVATE, slot);
	curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, slot->curl_error);
	curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(easy, CURLOPT_HEADERDATA, slot);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, slot);
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
	curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_TIMEOUT_MS);
	curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, TOTAL_TIMEOUT_MS);
	/* Without CURLOPT_PIPEWAIT: a first connection that hangs must not hold up the others. */
	curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPIDLE, KEEPALIVE_S);
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPINTVL, KEEPALIVE_S);
	curl_easy_setopt(easy, CURLOPT_MAXAGE_CONN, CONNECTION_IDLE_MAX_S);
	curl_easy_setopt(easy, CURLOPT_MAXLIFETIME_CONN, CONNECTION_LIFE_MAX_S);
	curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, 1L); /* an id may be ".." */
	curl_easy_setopt(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
#if LIBCURL_VERSION_NUM >= 0x075500
	curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
#else
	curl_easy_setopt(easy, CURLOPT_PROTOCOLS, (long)(CURLPROTO_HTTP | CURLPROTO_HTTPS));
#endif
	/* A default CAPATH turns libcurl's cache of CA certificates off: 20 ms a connection. */
	const curl_version_info_data *version = curl_version_info(CURLVERSION_NOW);
	if (version->cainfo)
		curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
}

static bool slot_init(struct slot *slot, const struct clock *clock)
{
	*slot = (struct slot){.clock = clock};
	buf_init(&slot->url, URL_MAX);
	slot->easy = curl_easy_init();
	if (!slot->easy)
		return false;
	slot_set_options(slot);
	return true;
}

static void slot_finish(struct slot *slot)
{
	curl_easy_cleanup(slot->easy);
	headers_finish(slot);
	buf_finish(&slot->url);
}

static CURLcode slot_set_method(struct slot *slot, const struct call *call)
{
	CURL *easy = slot->easy;
	if (strcmp(call->method, "GET") == 0) {
		curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, NULL);
		return curl_easy_setopt(easy, CURLOPT_HTTPGET, 1L);
	}
	/* The size first, lest libcurl measure the text; POSTFIELDS is not copied. */
	curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)call->body.len);
	curl_easy_setopt(easy, CURLOPT_POSTFIELDS, buf_text(&call->body));
	curl_easy_setopt(easy, CURLOPT_POST, 1L);
	return curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, call->method);
}

/* Texts are copied by libcurl. One that it has no memory for is left out, and the call would be
 * another: a POST in place of a PUT. Such a call must not be made. */
static CURLcode slot_prepare(struct slot *slot, const struct conf_workspace *workspace,
	const struct call *call, struct reply *reply)
{
	CURLcode code = CURLE_OK;
	slot->call = call;
	slot->reply = reply;
	slot->started_mono_ms = clock_mono_ms(slot->clock);
	slot->curl_error[0] = '\0';
	buf_clear(&slot->url);
	buf_add_text(&slot->url, workspace->base_url);
	buf_add(&slot->url, buf_text(&call->path), call->path.len);
	if (!headers_fit(slot, workspace))
		code = headers_build(slot, workspace);
	if (code == CURLE_OK)
		code = curl_easy_setopt(slot->easy, CURLOPT_URL, buf_text(&slot->url));
	return code == CURLE_OK ? slot_set_method(slot, call) : code;
}

/* The call was not made. */
static void reply_unsent(struct reply *reply, const char *why)
{
	reply->wire = WIRE_UNREACHABLE;
	(void)snprintf(reply->wire_error, sizeof(reply->wire_error), "%s", why);
}

/* Errors that mean a connection, also when it was to replace a kept one that had gone. The others
 * are told by the time. */
static bool is_before_sending(CURLcode code)
{
	switch (code) {
	case CURLE_COULDNT_RESOLVE_PROXY:
	case CURLE_COULDNT_RESOLVE_HOST:
	case CURLE_COULDNT_CONNECT:
	case CURLE_SSL_CONNECT_ERROR:
	case CURLE_SSL_ENGINE_NOTFOUND:
	case CURLE_SSL_ENGINE_SETFAILED:
	case CURLE_SSL_ENGINE_INITFAILED:
	case CURLE_SSL_CERTPROBLEM:
	case CURLE_SSL_CIPHER:
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_CACERT_BADFILE:
	case CURLE_SSL_CRL_BADFILE:
	case CURLE_SSL_ISSUER_ERROR:
	case CURLE_SSL_PINNEDPUBKEYNOTMATCH:
	case CURLE_SSL_INVALIDCERTSTATUS:
	case CURLE_NO_CONNECTION_AVAILABLE:
	case CURLE_PROXY: return true;
	default: return false;
	}
}

static enum wire wire_of(const struct slot *slot, CURLcode code)
{
	if (code == CURLE_OK)
		return WIRE_ANSWERED;
	if (code == CURLE_WRITE_ERROR && slot->reply->body.overflowed)
		return WIRE_ANSWERED; /* cut by on_body */
	curl_off_t ready_us = 0;      /* connected, handshakes included */
	curl_easy_getinfo(slot->easy, CURLINFO_PRETRANSFER_TIME_T, &ready_us);
	return is_before_sending(code) || ready_us == 0 ? WIRE_UNREACHABLE : WIRE_BROKEN;
}

static void slot_take_result(struct slot *slot, CURLcode code)
{
	struct reply *reply = slot->reply;
	reply->wire = wire_of(slot, code);
	reply->elapsed_ms = clock_mono_ms(slot->clock) - slot->started_mono_ms;
	curl_easy_getinfo(slot->easy, CURLINFO_RESPONSE_CODE, &reply->status);
	reply->rate.too_many = reply->status == 429;
	if (reply->wire == WIRE_ANSWERED)
		return;
	const char *words = slot->curl_error[0] ? slot->curl_error : curl_easy_strerror(code);
	(void)snprintf(reply->wire_error, sizeof(reply->wire_error), "%.*s",
		(int)sizeof(reply->wire_error) - 1, words);
}

/* ---- the loop ---- */

static void give_back(struct worker *worker, struct errand *errand)
{
	const struct worker_feed *feed = &worker->pool->feed;
	feed->done(feed->context, errand);
}

static void slot_release(struct worker *worker, struct slot *slot)
{
	struct errand *errand = slot->errand;
	slot->errand = NULL;
	slot->call = NULL;
	slot->reply = NULL;
	worker->busy_count--;
	worker->free_slots[worker->slot_count - worker->busy_count - 1] =
		(int)(slot - worker->slots);
	give_back(worker, errand);
}

/* libcurl's handles, at the first call. */
static bool load(struct worker *worker)
{
	if (worker->multi)
		return true;
	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
		return false;
	bool good = true;
	for (int i = 0; i < worker->slot_count && good; i++)
		good = worker->slots[i].easy || slot_init(&worker->slots[i], worker->pool->clock);
	if (good)
		worker->multi = curl_multi_init();
	if (!worker->multi) {
		curl_global_cleanup();
		return false;
	}
	curl_multi_setopt(worker->multi, CURLMOPT_MAXCONNECTS, (long)worker->slot_count);
	return true;
}

static void send_errand(struct worker *worker, struct errand *errand)
{
	if (!load(worker)) {
		reply_unsent(&errand->reply, "cannot initialise libcurl");
		give_back(worker, errand);
		return;
	}
	int index = worker->free_slots[worker->slot_count - worker->busy_count - 1];
	struct slot *slot = &worker->slots[index];
	assert(!slot->errand);
	slot->errand = errand;
	worker->busy_count++;
	CURLcode prepared = slot_prepare(slot, errand->workspace, &errand->call, &errand->reply);
	CURLMcode added =
		prepared == CURLE_OK ? curl_multi_add_handle(worker->multi, slot->easy) : CURLM_OK;
	if (prepared == CURLE_OK && added == CURLM_OK)
		return;
	reply_unsent(&errand->reply,
		prepared != CURLE_OK ? curl_easy_strerror(prepared) : curl_multi_strerror(added));
	slot_release(worker, slot);
}

static void take_errand(struct worker *worker, struct errand *errand)
{
	reply_clear(&errand->reply);
	if (call_is_too_large(&errand->call)) {
		reply_refuse(&errand->reply);
		give_back(worker, errand);
	} else if (errand->workspace->mode == CONF_MODE_DRY_RUN) {
		dry_run_answer(errand, stdout);
		give_back(worker, errand);
	} else {
		send_errand(worker, errand);
	}
}

/* Asks for no more errands in one go than there are slots, so that answers don't wait for an
 * endless dry run. Returns true when the feed may have more right now. */
static bool take_errands(struct worker *worker)
{
	const struct worker_feed *feed = &worker->pool->feed;
	worker->wake_mono_ms = NEVER;
	(void)atomic_exchange(&worker->woken, false); /* whoever set it is seen from here on */
	for (int i = 0; i < worker->slot_count; i++) {
		if (worker->busy_count == worker->slot_count)
			return false;
		struct errand *errand = feed->next(feed->context, &worker->wake_mono_ms);
		if (!errand)
			return false;
		worker->wake_mono_ms = NEVER;
		take_errand(worker, errand);
	}
	return worker->busy_count < worker->slot_count;
}

/* Returns true when any transfer ended. */
static bool give_back_finished(struct worker *worker)
{
	bool any = false;
	int left;
	CURLMsg *message;
	while (worker->multi && (message = curl_multi_info_read(worker->multi, &left))) {
		if (message->msg != CURLMSG_DONE)
			continue;
		CURLcode code = message->data.result;
		CURL *easy = message->easy_handle;
		struct slot *slot = NULL;
		curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **)&slot);
		slot_take_result(slot, code);
		curl_multi_remove_handle(worker->multi, easy);
		slot_release(worker, slot);
		any = true;
	}
	return any;
}

static void break_off(struct worker *worker)
{
	for (int i = 0; i < worker->slot_count; i++) {
		struct slot *slot = &worker->slots[i];
		if (!slot->errand)
			continue;
		curl_multi_remove_handle(worker->multi, slot->easy);
		struct reply *reply = slot->reply;
		reply->wire = WIRE_BROKEN;
		reply->elapsed_ms = clock_mono_ms(slot->clock) - slot->started_mono_ms;
		(void)snprintf(reply->wire_error, sizeof(reply->wire_error),
			"broken off: subrelay is stopping");
		slot_release(worker, slot);
	}
}

/* At least 1 ms, lest a feed that is always due and never ready make us spin. */
static int poll_ms(const struct worker *worker, int64_t until_mono_ms)
{
	int64_t span_ms = POLL_MAX_MS;
	if (until_mono_ms != NEVER) {
		int64_t now_ms = clock_mono_ms(worker->pool->clock);
		span_ms = until_mono_ms > now_ms ? until_mono_ms - now_ms : 0;
	}
	if (span_ms > POLL_MAX_MS)
		return POLL_MAX_MS;
	return span_ms < 1 ? 1 : (int)span_ms;
}

static void sleep_until(struct worker *worker, int64_t until_mono_ms)
{
	int ms = poll_ms(worker, until_mono_ms);
	uint64_t wakes;
	if (worker->multi) {
		struct curl_waitfd waited = {.fd = worker->wake_fd, .events = CURL_WAIT_POLLIN};
		curl_multi_poll(worker->multi, &waited, 1, ms, NULL);
	} else {
		struct pollfd waited = {.fd = worker->wake_fd, .events = POLLIN};
		(void)poll(&waited, 1, ms);
	}
	(void)!read(worker->wake_fd, &wakes, sizeof(wakes)); /* empty unless woken */
}

static void *worker_run(void *context)
{
	struct worker *worker = context;
	struct worker_pool *pool = worker->pool;
	for (;;) {
		int64_t stop_at_ms = atomic_load(&pool->stop_at_mono_ms);
		bool stopping = stop_at_ms != NEVER;
		if (stopping &&
			(worker->busy_count == 0 || clock_mono_ms(pool->clock) >= stop_at_ms))
			break;
		bool more = !stopping && take_errands(worker);
		int running;
		if (worker->multi)
			curl_multi_perform(worker->multi, &running);
		if (give_back_finished(worker) || more)
			continue;
		int64_t until_ms = stopping ? stop_at_ms : worker->wake_mono_ms;
		sleep_until(worker, until_ms);
	}
	break_off(worker);
	return NULL;
}

/* ---- the pool ---- */

static bool worker_init(struct worker *worker, struct worker_pool *pool, int slot_count)
{
	worker->pool = pool;
	worker->slots = xcalloc((size_t)slot_count, sizeof(*worker->slots));
	worker->free_slots = xcalloc((size_t)slot_count, sizeof(*worker->free_slots));
	worker->wake_mono_ms = NEVER;
	worker->slot_count = slot_count;
	for (int i = 0; i < slot_count; i++)
		worker->free_slots[i] = i;
	worker->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	return worker->wake_fd >= 0;
}

/* Takes a half-built one as well. */
static void worker_finish(struct worker *worker)
{
	for (int i = 0; i < worker->slot_count; i++)
		slot_finish(&worker->slots[i]);
	if (worker->multi) {
		curl_multi_cleanup(worker->multi);
		curl_global_cleanup();
	}
	if (worker->wake_fd > 0)
		(void)close(worker->wake_fd);
	free(worker->slots);
	free(worker->free_slots);
}

/* Signals are main's: a thread starts with all of them blocked. */
static bool worker_start(struct worker *worker, struct error *err)
{
	sigset_t all, before;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int code = pthread_create(&worker->thread, NULL, worker_run, worker);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (code != 0)
		return error_set(err, "cannot start a delivery thread: %s", strerror(code));
	(void)pthread_setname_np(worker->thread, "subrelay-send"); /* only for people */
	return true;
}

struct worker_pool *worker_pool_create(int threads, int connections, struct worker_feed feed,
	const struct clock *clock, struct error *err)
{
	assert(threads > 0 && connections > 0);
	if (threads > connections)
		threads = connections;
	struct worker_pool *pool = xcalloc(1, sizeof(*pool));
	pool->feed = feed;
	pool->clock = clock;
	pool->workers = xcalloc((size_t)threads, sizeof(*pool->workers));
	pool->worker_count = threads;
	atomic_init(&pool->stop_at_mono_ms, NEVER);
	for (int i = 0; i < threads; i++) {
		int slot_count = connections / threads + (i < connections % threads);
		if (!worker_init(&pool->workers[i], pool, slot_count)) {
			error_set(err, "cannot make an eventfd: %s", strerror(errno));
			goto out;
		}
	}
	for (int i = 0; i < threads; i++) {
		if (!worker_start(&pool->workers[i], err))
			goto out;
		pool->started_count++;
	}
	return pool;
out:
	worker_pool_destroy(pool, 0);
	return NULL;
}

static void signal_worker(struct worker *worker)
{
	uint64_t one = 1;
	(void)!write(worker->wake_fd, &one, sizeof(one)); /* full is as good as woken */
}

static void wake(struct worker *worker)
{
	if (!atomic_exchange(&worker->woken, true))
		signal_worker(worker);
}

void worker_pool_wake(struct worker_pool *pool)
{
	for (int i = 0; i < pool->started_count; i++)
		wake(&pool->workers[i]);
}

void worker_pool_destroy(struct worker_pool *pool, int64_t drain_ms)
{
	if (!pool)
		return;
	int64_t now_ms = clock_mono_ms(pool->clock);
	atomic_store(&pool->stop_at_mono_ms,
		drain_ms < NEVER - 1 - now_ms ? now_ms + drain_ms : NEVER - 1);
	for (int i = 0; i < pool->started_count; i++)
		signal_worker(&pool->workers[i]); /* past `woken`, which may be set */
	for (int i = 0; i < pool->started_count; i++)
		pthread_join(pool->workers[i].thread, NULL);
	for (int i = 0; i < pool->worker_count; i++)
		worker_finish(&pool->workers[i]);
	free(pool->workers);
	free(pool);
}

/* ---- a call by itself ---- */

static void call_dry(
	const struct conf_workspace *workspace, const struct call *call, struct reply *reply)
{
	struct errand errand = {.call = *call, .workspace = workspace, .reply = *reply};
	dry_run_answer(&errand, stdout);
	*reply = errand.reply;
}

bool worker_call_once(
	const struct conf_workspace *workspace, const struct call *call, struct reply *ret_reply)
{
	reply_clear(ret_reply);
	if (workspace->mode == CONF_MODE_DRY_RUN) {
		call_dry(workspace, call, ret_reply);
		return true;
	}
	if (call_is_too_large(call)) {
		reply_refuse(ret_reply);
		return true;
	}
	struct slot slot;
	curl_global_init(CURL_GLOBAL_DEFAULT);
	if (slot_init(&slot, &clock_system)) {
		CURLcode code = slot_prepare(&slot, workspace, call, ret_reply);
		if (code == CURLE_OK)
			slot_take_result(&slot, curl_easy_perform(slot.easy));
		else
			reply_unsent(ret_reply, curl_easy_strerror(code));
	} else {
		reply_unsent(ret_reply, "cannot initialise libcurl");
	}
	slot_finish(&slot);
	curl_global_cleanup();
	return ret_reply->wire == WIRE_ANSWERED;
}
