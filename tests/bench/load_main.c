/*
 * build/tests/bench/load: posts RevenueCat INITIAL_PURCHASE events of 1,380 bytes as fast as they
 * are answered (or at a given rate), over kept connections to 127.0.0.1, and prints what it
 * measured:
 *
 *   load --port 8080 --authorization 'Bearer demo' --connections 64 --seconds 10
 *   {"requests":…,"ok":…,"seconds":…,"acks_per_s":…,"p50_ms":…,"p99_ms":…,"max_ms":…,
 *    "not_200":{"503":…},"broken":…,"next_id":…}
 *
 * Each request has an event id of its own: its number, counted from --start-id. Every number is
 * also a customer of its own, unless --customers says how many take turns; then a customer's events
 * are a minute apart by the billing system's clock. One request is on its way per connection. With
 * --rate the latency counts from when a request should have been sent, so that a stall shows (an
 * open loop); without it, from when it was sent.
 *
 * One thread, one epoll. The request is built once; each connection has a copy in which only digits
 * change, so that the generator takes little of the processor it shares with what it measures.
 */

#include "base/text.h"
#include "base/xalloc.h"

#include <assert.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define BODY_BYTES 1380
#define CONNECTIONS_MAX 16384
#define EVENTS_MAX 512
#define ANSWER_MAX 4096
#define BUCKET_NS INT64_C(10000) /* of the latency histogram: 10 us */
#define BUCKETS 1000000          /* up to 10 s; the last one holds what is over */
#define NS_PER_S INT64_C(1000000000)
#define BROKEN_MAX 10000
#define STRAGGLERS_NS (30 * NS_PER_S) /* to wait for the last answers */

/* Runs of one letter are digits to fill in: N the number, C the customer, E the event's time, P the
 * purchase's, X the expiration's; FILLER grows until the body has BODY_BYTES. */
static const char body_template[] =
	"{\"api_version\":\"1.0\",\"event\":{\"type\":\"INITIAL_PURCHASE\","
	"\"id\":\"B3C1F2E4-7D60-4A58-9E21-NNNNNNNNNNNN\",\"event_timestamp_ms\":EEEEEEEEEEEEE,"
	"\"app_id\":\"app5f1e2d3c4b\",\"app_user_id\":\"customer-CCCCCCCCCCCC\","
	"\"original_app_user_id\":\"$RCAnonymousID:5d1c0b9a8f7e6d5c4b3aCCCCCCCCCCCC\","
	"\"aliases\":[\"$RCAnonymousID:5d1c0b9a8f7e6d5c4b3aCCCCCCCCCCCC\",\"customer-"
	"CCCCCCCCCCCC\"],"
	"\"subscriber_attributes\":{"
	"\"$email\":{\"value\":\"customer-CCCCCCCCCCCC@example.test\",\"updated_at_ms\":"
	"PPPPPPPPPPPPP},"
	"\"$displayName\":{\"value\":\"FILLER\",\"updated_at_ms\":PPPPPPPPPPPPP},"
	"\"$mediaSource\":{\"value\":\"newsletter\",\"updated_at_ms\":PPPPPPPPPPPPP},"
	"\"$campaign\":{\"value\":\"spring-reading\",\"updated_at_ms\":PPPPPPPPPPPPP},"
	"\"language\":{\"value\":\"de\",\"updated_at_ms\":PPPPPPPPPPPPP}},"
	"\"product_id\":\"com.example.reader.premium.monthly\",\"period_type\":\"NORMAL\","
	"\"purchased_at_ms\":PPPPPPPPPPPPP,\"expiration_at_ms\":XXXXXXXXXXXXX,"
	"\"environment\":\"PRODUCTION\",\"entitlement_ids\":[\"premium\"],\"entitlement_id\":null,"
	"\"presented_offering_id\":\"spring_offer\",\"transaction_id\":\"2000NNNNNNNNNNNN\","
	"\"original_transaction_id\":\"2000NNNNNNNNNNNN\",\"is_family_share\":false,"
	"\"country_code\":\"DE\",\"store\":\"APP_STORE\",\"currency\":\"EUR\",\"price\":10.43,"
	"\"price_in_purchased_currency\":9.99,\"tax_percentage\":0.1597,"
	"\"commission_percentage\":0.2521,\"takehome_percentage\":0.7,\"offer_code\":null,"
	"\"renewal_number\":1,\"metadata\":null}}";

struct options {
	uint16_t port;
	const char *path;
	const char *authorization;
	int64_t connections;
	int64_t requests; /* 0: by time */
	int64_t seconds;
	int64_t rate; /* 0: closed loop */
	int64_t customers;
	int64_t start_id;
	int64_t base_ms; /* the first event's time */
	bool print_body;
};

struct patch {
	size_t offset;
	char letter;
};

struct request_template {
	char *bytes;
	size_t len;
	size_t body_offset;
	struct patch patches[32];
	size_t patch_count;
};

struct connection {
	int fd;
	bool busy;
	char *request;
	size_t unsent; /* bytes of the request's end that are still to be sent */
	int64_t since_ns;
	char answer[ANSWER_MAX];
	size_t answer_len;
};

struct load {
	struct options options;
	struct request_template template;
	struct connection *connections;
	struct connection **idle;
	size_t idle_count;
	int epoll;
	int timer;
	int64_t started_ns;
	int64_t ended_ns; /* when the last answer came */
	int64_t sent;
	int64_t answered;
	int64_t broken;
	int64_t by_status[1000];
	uint32_t *buckets;
	int64_t max_ns;
};

static int64_t now_ns(void)
{
	struct timespec now;
	(void)clock_gettime(CLOCK_MONOTONIC, &now); /* can't fail */
	return now.tv_sec * NS_PER_S + now.tv_nsec;
}

static void die(const char *what)
{
	fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* ---- the request ---- */

static size_t run_length(const char *text)
{
	size_t len = 1;
	while (text[len] == text[0])
		len++;
	return len;
}

static void find_patches(struct request_template *template)
{
	for (size_t i = template->body_offset; i < template->len; i++) {
		const char *at = template->bytes + i;
		const size_t run = strchr("NCEPX", *at) ? run_length(at) : 0;
		if (run < 12)
			continue;
		template->patches[template->patch_count++] = (struct patch){i, *at};
		i += run - 1;
	}
}

static void template_build(struct request_template *template, const struct options *options)
{
	static const char filler_mark[] = "FILLER";
	const char *mark = strstr(body_template, filler_mark);
	const size_t before = (size_t)(mark - body_template);
	const char *after = mark + strlen(filler_mark);
	const size_t rest = sizeof(body_template) - 1 - before - strlen(filler_mark);
	const size_t filler = BODY_BYTES - before - rest;
	template->bytes = xcalloc(1, (size_t)64 * 1024);
	const int head = snprintf(template->bytes, (size_t)32 * 1024,
		"POST %s HTTP/1.1\r\nHost: 127.0.0.1:%u\r\nAuthorization: %s\r\n"
		"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n",
		options->path, options->port, options->authorization, BODY_BYTES);
	if (head < 0 || head >= 32 * 1024) {
		fprintf(stderr, "load: path or authorization is too long\n");
		exit(2);
	}
	template->body_offset = (size_t)head;
	char *at = template->bytes + head;
	char words[BODY_BYTES] = "";
	for (size_t i = 0; i < filler; i++)
		words[i] = i % 7 ? 'a' : ' ';
	(void)snprintf(at, BODY_BYTES + 1, "%.*s%.*s%s", (int)before, body_template, (int)filler,
		words, after); /* just fits */
	template->len = (size_t)head + BODY_BYTES;
	find_patches(template);
}

/* Writes the number with leading zeros over the run of letters that stands there. */
static void put_digits(char *at, size_t width, int64_t number)
{
	while (width-- > 0) {
		at[width] = (char)('0' + number % 10);
		number /= 10;
	}
}

static void fill_in(const struct load *load, char *request, int64_t index)
{
	const struct options *options = &load->options;
	const int64_t number = options->start_id + index;
	const int64_t customer = options->customers ? number % options->customers : number;
	const int64_t turn = options->customers ? number / options->customers : 0;
	const int64_t event_ms = options->base_ms + turn * 60000 + customer % 1000;
	for (size_t i = 0; i < load->template.patch_count; i++) {
		const struct patch *patch = &load->template.patches[i];
		char *at = request + patch->offset;
		switch (patch->letter) {
		case 'N': put_digits(at, 12, number); break;
		case 'C': put_digits(at, 12, customer); break;
		case 'E': put_digits(at, 13, event_ms); break;
		case 'P': put_digits(at, 13, event_ms - 3000); break;
		default: put_digits(at, 13, event_ms + INT64_C(30) * 86400 * 1000); break;
		}
	}
}

/* ---- connections ---- */

static void watch(const struct load *load, struct connection *connection, int how, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.ptr = connection};
	if (epoll_ctl(load->epoll, how, connection->fd, &event) != 0)
		die("epoll_ctl");
}

static void connection_open(struct load *load, struct connection *connection)
{
	const struct sockaddr_in address = {
		.sin_family = AF_INET,
		.sin_port = htons(load->options.port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	const int on = 1;
	connection->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (connection->fd < 0)
		die("socket");
	if (connect(connection->fd, (const struct sockaddr *)&address, sizeof(address)) != 0)
		die("connect");
	(void)setsockopt(
		connection->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)); /* else slower */
	watch(load, connection, EPOLL_CTL_ADD, EPOLLIN);
	connection->busy = false;
	connection->answer_len = 0;
	connection->unsent = 0;
	load->idle[load->idle_count++] = connection;
}

static void connection_break(struct load *load, struct connection *connection)
{
	(void)close(connection->fd); /* epoll forgets it with that */
	if (connection->busy && ++load->broken > BROKEN_MAX) {
		fprintf(stderr, "load: too many connections broke\n");
		exit(1);
	}
	if (!connection->busy) { /* it is in the list of idle ones: out with it */
		for (size_t i = 0; i < load->idle_count; i++)
			if (load->idle[i] == connection)
				load->idle[i] = load->idle[--load->idle_count];
	}
	connection_open(load, connection);
}

static void push(struct load *load, struct connection *connection)
{
	const bool was_waiting = connection->unsent < load->template.len;
	while (connection->unsent) {
		const ssize_t n = send(connection->fd,
			connection->request + load->template.len - connection->unsent,
			connection->unsent, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0 && errno == EAGAIN) {
			watch(load, connection, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
			return;
		}
		if (n < 0) {
			connection_break(load, connection);
			return;
		}
		connection->unsent -= (size_t)n;
	}
	if (was_waiting)
		watch(load, connection, EPOLL_CTL_MOD, EPOLLIN);
}

static void send_one(struct load *load, int64_t since_ns)
{
	struct connection *connection = load->idle[--load->idle_count];
	fill_in(load, connection->request, load->sent++);
	connection->busy = true;
	connection->since_ns = since_ns;
	connection->unsent = load->template.len;
	push(load, connection);
}

/* The length of a whole answer; 0 when more must come. The status goes into *ret_status. */
static size_t whole_answer(const struct connection *connection, int *ret_status, bool *ret_close)
{
	const char *answer = connection->answer;
	const char *end = strstr(answer, "\r\n\r\n");
	if (!end || strlen(answer) < 12)
		return 0;
	const char *length = strcasestr(answer, "\r\nContent-Length:");
	const size_t body_len = length && length < end ? strtoul(length + 17, NULL, 10) : 0;
	const size_t size = (size_t)(end - answer) + 4 + body_len;
	const char *closes = strcasestr(answer, "\r\nConnection: close");
	*ret_status = (int)strtol(answer + 9, NULL, 10);
	*ret_close = closes && closes < end;
	return connection->answer_len >= size ? size : 0;
}

static void count(struct load *load, const struct connection *connection, int status)
{
	load->ended_ns = now_ns();
	const int64_t latency_ns = load->ended_ns - connection->since_ns;
	const int64_t bucket = latency_ns / BUCKET_NS;
	load->buckets[bucket < BUCKETS ? bucket : BUCKETS - 1]++;
	if (latency_ns > load->max_ns)
		load->max_ns = latency_ns;
	load->answered++;
	load->by_status[status >= 0 && status < 1000 ? status : 0]++;
}

static void take_in(struct load *load, struct connection *connection)
{
	const ssize_t n = recv(connection->fd, connection->answer + connection->answer_len,
		ANSWER_MAX - 1 - connection->answer_len, MSG_DONTWAIT);
	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0 || !connection->busy) {
		connection_break(load, connection);
		return;
	}
	connection->answer_len += (size_t)n;
	connection->answer[connection->answer_len] = '\0';
	int status = 0;
	bool closes = false;
	if (!whole_answer(connection, &status, &closes))
		return;
	count(load, connection, status);
	connection->busy = false;
	connection->answer_len = 0;
	load->idle[load->idle_count++] = connection;
	if (closes)
		connection_break(load, connection);
}

/* ---- the loop ---- */

static bool may_send(const struct load *load, int64_t at_ns)
{
	const struct options *options = &load->options;
	if (options->requests)
		return load->sent < options->requests;
	return at_ns - load->started_ns < options->seconds * NS_PER_S;
}

static int64_t due_ns(const struct load *load)
{
	return load->started_ns + (int64_t)((double)load->sent * 1e9 / (double)load->options.rate);
}

static void send_due(struct load *load)
{
	const int64_t now = now_ns();
	if (!load->options.rate) {
		while (load->idle_count && may_send(load, now))
			send_one(load, now_ns());
		return;
	}
	while (load->idle_count && may_send(load, due_ns(load)) && due_ns(load) <= now)
		send_one(load, due_ns(load));
	if (!load->idle_count || !may_send(load, due_ns(load)))
		return;
	const int64_t next = due_ns(load);
	const struct itimerspec when = {
		.it_value = {.tv_sec = next / NS_PER_S, .tv_nsec = next % NS_PER_S},
	};
	if (timerfd_settime(load->timer, TFD_TIMER_ABSTIME, &when, NULL) != 0)
		die("timerfd_settime");
}

static bool is_done(const struct load *load, int64_t *stragglers_until_ns)
{
	const int64_t now = now_ns();
	if (may_send(load, load->options.rate ? due_ns(load) : now))
		return false;
	if (!*stragglers_until_ns)
		*stragglers_until_ns = now + STRAGGLERS_NS;
	return load->answered + load->broken >= load->sent || now > *stragglers_until_ns;
}

static void run(struct load *load)
{
	struct epoll_event events[EVENTS_MAX];
	int64_t stragglers_until_ns = 0;
	load->started_ns = load->ended_ns = now_ns();
	for (send_due(load); !is_done(load, &stragglers_until_ns); send_due(load)) {
		const int n = epoll_wait(load->epoll, events, EVENTS_MAX, 100);
		for (int i = 0; i < n; i++) {
			struct connection *connection = events[i].data.ptr;
			uint64_t expirations = 0;
			if (!connection) {
				(void)!read(load->timer, &expirations, sizeof(expirations));
				continue;
			}
			if (events[i].events & EPOLLOUT)
				push(load, connection);
			if (events[i].events & ~(uint32_t)EPOLLOUT)
				take_in(load, connection);
		}
	}
}

/* ---- start and report ---- */

static void prepare(struct load *load)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &limit); /* connect will say if it wasn't enough */
	}
	const size_t count = (size_t)load->options.connections;
	assert(load->template.bytes);
	load->buckets = xcalloc(BUCKETS, sizeof(*load->buckets));
	load->connections = xcalloc(count, sizeof(*load->connections));
	load->idle = xcalloc(count, sizeof(struct connection *));
	load->epoll = epoll_create1(EPOLL_CLOEXEC);
	load->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
	if (epoll_ctl(load->epoll, EPOLL_CTL_ADD, load->timer, &event) != 0)
		die("epoll_ctl");
	for (size_t i = 0; i < count; i++) {
		load->connections[i].request = xmalloc(load->template.len);
		memcpy(load->connections[i].request, load->template.bytes, load->template.len);
		connection_open(load, &load->connections[i]);
	}
}

static double percentile_ms(const struct load *load, double share)
{
	const double wanted = share * (double)load->answered;
	double so_far = 0;
	for (int64_t i = 0; i < BUCKETS; i++) {
		so_far += load->buckets[i];
		if (so_far >= wanted && so_far > 0)
			return (double)((i + 1) * BUCKET_NS) / 1e6;
	}
	return 0;
}

static void report(const struct load *load)
{
	const double seconds = (double)(load->ended_ns - load->started_ns) / 1e9;
	const int64_t ok = load->by_status[200];
	printf("{\"requests\":%lld,\"ok\":%lld,\"seconds\":%.3f,\"acks_per_s\":%.0f,"
	       "\"p50_ms\":%.2f,\"p99_ms\":%.2f,\"max_ms\":%.2f,\"not_200\":{",
		(long long)load->sent, (long long)ok, seconds,
		seconds > 0 ? (double)ok / seconds : 0, percentile_ms(load, 0.5),
		percentile_ms(load, 0.99), (double)load->max_ns / 1e6);
	const char *comma = "";
	for (int status = 0; status < 1000; status++) {
		if (status == 200 || !load->by_status[status])
			continue;
		printf("%s\"%d\":%lld", comma, status, (long long)load->by_status[status]);
		comma = ",";
	}
	printf("},\"broken\":%lld,\"unanswered\":%lld,\"next_id\":%lld}\n", (long long)load->broken,
		(long long)(load->sent - load->answered - load->broken),
		(long long)(load->options.start_id + load->sent));
}

static void finish(struct load *load)
{
	for (int64_t i = 0; i < load->options.connections; i++) {
		(void)close(load->connections[i].fd);
		free(load->connections[i].request);
	}
	(void)close(load->epoll);
	(void)close(load->timer);
	free(load->connections);
	free((void *)load->idle);
	free(load->buckets);
}

static const char help[] =
	"usage: load --port N [options]: posts RevenueCat events to 127.0.0.1\n"
	"  --path TEXT           (default /webhooks/revenuecat)\n"
	"  --authorization TEXT  (default 'Bearer demo')\n"
	"  --connections N       (default 64)\n"
	"  --requests N          so many, or\n"
	"  --seconds N           so long (default 10)\n"
	"  --rate N              requests per second (default: as fast as they are answered)\n"
	"  --customers N         so many customers take turns (default: each event has its own)\n"
	"  --start-id N          the first event's number (default 1)\n"
	"  --base-ms N           the first event's time (default: 30 days ago)\n"
	"  --print-body          prints the first body, and ends\n"
	"  --help\n";

static int64_t number_or_die(const char *text)
{
	int64_t number = 0;
	if (!text_to_int64(text, &number) || number < 0) {
		fprintf(stderr, "load: not a number: %s\n", text);
		exit(2);
	}
	return number;
}

static void read_options(int argc, char **argv, struct options *options)
{
	static const struct option long_options[] = {
		{"port", required_argument, NULL, 'p'},
		{"path", required_argument, NULL, 'u'},
		{"authorization", required_argument, NULL, 'a'},
		{"connections", required_argument, NULL, 'c'},
		{"requests", required_argument, NULL, 'n'},
		{"seconds", required_argument, NULL, 's'},
		{"rate", required_argument, NULL, 'r'},
		{"customers", required_argument, NULL, 'k'},
		{"start-id", required_argument, NULL, 'i'},
		{"base-ms", required_argument, NULL, 'b'},
		{"print-body", no_argument, NULL, 'P'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	for (int c = 0; (c = getopt_long(argc, argv, "h", long_options, NULL)) != -1;) {
		switch (c) {
		case 'p': options->port = (uint16_t)number_or_die(optarg); break;
		case 'u': options->path = optarg; break;
		case 'a': options->authorization = optarg; break;
		case 'c': options->connections = number_or_die(optarg); break;
		case 'n': options->requests = number_or_die(optarg); break;
		case 's': options->seconds = number_or_die(optarg); break;
		case 'r': options->rate = number_or_die(optarg); break;
		case 'k': options->customers = number_or_die(optarg); break;
		case 'i': options->start_id = number_or_die(optarg); break;
		case 'b': options->base_ms = number_or_die(optarg); break;
		case 'P': options->print_body = true; break;
		case 'h': fputs(help, stdout); exit(0);
		default: fputs(help, stderr); exit(2);
		}
	}
	if ((!options->port && !options->print_body) || options->connections < 1 ||
		options->connections > CONNECTIONS_MAX) {
		fputs(help, stderr);
		exit(2);
	}
}

int main(int argc, char **argv)
{
	struct load load = {
		.options =
			{
				.path = "/webhooks/revenuecat",
				.authorization = "Bearer demo",
				.connections = 64,
				.seconds = 10,
				.start_id = 1,
				.base_ms = ((int64_t)time(NULL) - INT64_C(30) * 86400) * 1000,
			},
	};
	read_options(argc, argv, &load.options);
	template_build(&load.template, &load.options);
	if (load.options.print_body) {
		fill_in(&load, load.template.bytes, 0);
		printf("%.*s\n", BODY_BYTES, load.template.bytes + load.template.body_offset);
	} else {
		prepare(&load);
		run(&load);
		report(&load);
		finish(&load);
	}
	free(load.template.bytes);
	return 0;
}
