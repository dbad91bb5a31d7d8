/*
 * Addresses: where the server listens, and where Intercom is.
 *
 * Both decide who may see what (allow_unauthenticated is for loopback alone, a token goes over
 * plain http:// to loopback alone), so both readers take numeric addresses and the one name
 * "localhost" and never ask a resolver: a name that means loopback today may mean something else
 * tomorrow.
 */

#include "base/error.h"
#include "base/text.h"
#include "base/xalloc.h"
#include "conf/conf_private.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define ADDRESS_EXAMPLES "address:port, such as 127.0.0.1:8080, [::1]:8080 or *:8080"

static bool ipv4_is_loopback(const struct in_addr *address)
{
	return ntohl(address->s_addr) >> 24 == 127;
}

static bool ipv6_is_loopback(const struct in6_addr *address)
{
	if (IN6_IS_ADDR_V4MAPPED(address))
		return address->s6_addr[12] == 127;
	return IN6_IS_ADDR_LOOPBACK(address);
}

/* Digits only: strtol and its like also take " +80". */
static bool port_parse(const char *text, int64_t minimum, uint16_t *ret_port)
{
	int64_t port = 0;
	if (text[0] < '0' || text[0] > '9' || strlen(text) > 5 || !text_to_int64(text, &port))
		return false;
	if (port < minimum || port > UINT16_MAX)
		return false;
	*ret_port = (uint16_t)port;
	return true;
}

static bool host_parse_ipv6(const char *host, struct conf_address *address)
{
	struct in6_addr numeric;
	if (inet_pton(AF_INET6, host, &numeric) != 1)
		return false;
	address->is_ipv6 = true;
	address->is_loopback = ipv6_is_loopback(&numeric);
	return inet_ntop(AF_INET6, &numeric, address->host, sizeof(address->host)) != NULL;
}

static bool host_parse_ipv4(const char *host, struct conf_address *address)
{
	struct in_addr numeric;
	if (strcasecmp(host, "localhost") == 0)
		host = "127.0.0.1";
	else if (text_equal(host, "*"))
		host = "0.0.0.0";
	if (inet_pton(AF_INET, host, &numeric) != 1)
		return false;
	address->is_loopback = ipv4_is_loopback(&numeric);
	return inet_ntop(AF_INET, &numeric, address->host, sizeof(address->host)) != NULL;
}

bool address_parse(const char *text, void *member, struct error *err)
{
	struct conf_address *ret_address = member;
	struct conf_address address = {0};
	char *host = xstrdup(text);
	char *colon = strrchr(host, ':');
	bool is_ok = false;

	if (!colon || (host[0] == '[' && colon[-1] != ']')) {
		error_set(err, "'%s' is no " ADDRESS_EXAMPLES, conf_show(text).text);
		goto out;
	}
	*colon = '\0';
	if (!port_parse(colon + 1, 0, &address.port)) {
		error_set(err, "'%s' is no port: it is a number from 0 to 65535",
			conf_show(colon + 1).text);
		goto out;
	}
	if (host[0] == '[') {
		colon[-1] = '\0';
		is_ok = host_parse_ipv6(host + 1, &address);
	} else {
		is_ok = host_parse_ipv4(host, &address);
	}
	if (!is_ok && host[0] != '[' && strchr(host, ':'))
		error_set(err, "an IPv6 address stands in brackets, such as [::1]:8080");
	else if (!is_ok)
		error_set(err, "'%s' is no " ADDRESS_EXAMPLES " (names aren't looked up)",
			conf_show(text).text);
	else
		*ret_address = address;
out:
	free(host);
	return is_ok;
}

bool address_equal(const void *a, const void *b)
{
	const struct conf_address *one = a;
	const struct conf_address *other = b;
	return text_equal(one->host, other->host) && one->port == other->port;
}

static bool url_host_is_loopback(const char *host, bool is_bracketed)
{
	struct conf_address address = {0};
	if (is_bracketed)
		return host_parse_ipv6(host, &address) && address.is_loopback;
	return host_parse_ipv4(host, &address) && address.is_loopback;
}

/* "host", "host:port", "[v6]", "[v6]:port". Cuts `authority` up. */
static bool authority_parse(char *authority, const char **ret_host, bool *ret_is_bracketed)
{
	bool is_bracketed = authority[0] == '[';
	char *host = authority + (is_bracketed ? 1 : 0);
	size_t len = strspn(host,
		is_bracketed ? "0123456789abcdefABCDEF:."
			     : "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._");
	char *rest = host + len;
	uint16_t port;

	if (len == 0 || (is_bracketed && *rest != ']'))
		return false;
	if (is_bracketed)
		*rest++ = '\0';
	if (*rest != '\0' && (*rest != ':' || !port_parse(rest + 1, 1, &port)))
		return false;
	*rest = '\0';
	*ret_host = host;
	*ret_is_bracketed = is_bracketed;
	return true;
}

static bool url_path_is_plain(const char *path)
{
	for (; *path != '\0'; path++) {
		if (*path <= ' ' || *path > '~' || strchr("?#\\", *path))
			return false;
	}
	return true;
}

static bool url_check(const char *url, struct error *err)
{
	bool is_tls = strncasecmp(url, "https://", 8) == 0;
	bool is_plain = strncasecmp(url, "http://", 7) == 0;
	const char *host = NULL;
	bool is_bracketed = false;
	bool is_ok = false;

	char *authority = xstrdup(is_tls ? url + 8 : is_plain ? url + 7 : "");
	char *path = strchr(authority, '/');
	bool path_is_plain = !path || url_path_is_plain(path);
	if (path)
		*path = '\0';
	if ((!is_tls && !is_plain) || !path_is_plain)
		error_set(
			err, "'%s' is no URL such as https://api.intercom.io", conf_show(url).text);
	else if (!authority_parse(authority, &host, &is_bracketed))
		error_set(err, "'%s' has no host[:port] such as api.intercom.io after the '//'",
			conf_show(url).text);
	else if (is_plain && !url_host_is_loopback(host, is_bracketed))
		error_set(err,
			"http:// would show the access token to the network: it is for loopback "
			"alone (127.0.0.1, [::1], localhost); use https://");
	else
		is_ok = true;
	free(authority);
	return is_ok;
}

bool base_url_parse(const char *text, void *member, struct error *err)
{
	if (!url_check(text, err))
		return false;
	char **url = member;
	size_t len = strlen(text);
	while (text[len - 1] == '/')
		len--;
	free(*url);
	*url = xstrndup(text, len);
	return true;
}
