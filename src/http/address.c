/*
 * Listening sockets.
 *
 * A name may have addresses of both families (localhost: ::1 and 127.0.0.1); IPv4 is tried first,
 * which is what the default configuration says in digits. Of several the first that binds is used;
 * what is reported is why the first one couldn't.
 */

#include "http/address_private.h"

#include "base/error.h"
#include "conf/conf.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BACKLOG 1024

static bool is_any(const struct conf_address *address)
{
	return strcmp(address->host, "*") == 0;
}

static bool set_flag(int fd, int level, int option, int value)
{
	return setsockopt(fd, level, option, &value, sizeof(value)) == 0;
}

/* -1 with errno set. */
static int open_one(const struct addrinfo *info, bool both_families)
{
	int fd = socket(info->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -1;
	bool is_open = set_flag(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	if (is_open && both_families && info->ai_family == AF_INET6)
		is_open = set_flag(fd, IPPROTO_IPV6, IPV6_V6ONLY, 0);
	is_open = is_open && bind(fd, info->ai_addr, info->ai_addrlen) == 0 &&
		listen(fd, BACKLOG) == 0;
	if (is_open)
		return fd;
	int error = errno;
	(void)close(fd); /* never listened */
	errno = error;
	return -1;
}

/* Tries those of one family. */
static int open_family(const struct addrinfo *infos, int family, bool both_families, int *ret_error)
{
	for (const struct addrinfo *info = infos; info; info = info->ai_next) {
		if (info->ai_family != family)
			continue;
		int fd = open_one(info, both_families);
		if (fd >= 0)
			return fd;
		if (*ret_error == 0)
			*ret_error = errno;
	}
	return -1;
}

static bool fail(const struct conf_address *address, const char *reason, struct error *err)
{
	return error_set(err,
		address->is_ipv6 ? "cannot listen on [%s]:%u: %s" : "cannot listen on %s:%u: %s",
		address->host, (unsigned)address->port, reason);
}

int address_listen(const struct conf_address *address, struct error *err)
{
	struct addrinfo hints = {
		.ai_family = address->is_ipv6 ? AF_INET6 : AF_UNSPEC,
		.ai_socktype = SOCK_STREAM,
		.ai_flags = AI_PASSIVE | AI_NUMERICSERV,
	};
	struct addrinfo *infos = NULL;
	char port[8];
	(void)snprintf(port, sizeof(port), "%u", (unsigned)address->port); /* fits */
	int code = getaddrinfo(is_any(address) ? NULL : address->host, port, &hints, &infos);
	if (code != 0) {
		fail(address, gai_strerror(code), err);
		return -1;
	}
	/* One IPv6 socket hears both families, so for "any" it goes first. */
	int first = is_any(address) ? AF_INET6 : AF_INET;
	int error = 0;
	int fd = open_family(infos, first, is_any(address), &error);
	if (fd < 0)
		fd = open_family(infos, first == AF_INET ? AF_INET6 : AF_INET, false, &error);
	freeaddrinfo(infos);
	if (fd < 0)
		fail(address, strerror(error), err);
	return fd;
}

bool address_adopt(int fd, struct error *err)
{
	int is_listening = 0;
	socklen_t len = sizeof(is_listening);
	if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &is_listening, &len) != 0)
		return error_set(err, "the passed socket: %s", strerror(errno));
	if (!is_listening)
		return error_set(err, "the passed socket does not listen");
	int flags = fcntl(fd, F_GETFL);
	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ||
		fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
		return error_set(err, "the passed socket: %s", strerror(errno));
	return true;
}

uint16_t address_port(int fd)
{
	struct sockaddr_storage address = {0};
	socklen_t len = sizeof(address);
	if (getsockname(fd, (struct sockaddr *)&address, &len) != 0)
		return 0;
	if (address.ss_family == AF_INET)
		return ntohs(((const struct sockaddr_in *)&address)->sin_port);
	if (address.ss_family == AF_INET6)
		return ntohs(((const struct sockaddr_in6 *)&address)->sin6_port);
	return 0;
}
