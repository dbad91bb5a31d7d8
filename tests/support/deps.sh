#!/bin/sh
# Installs the Debian packages named as arguments that are missing; elsewhere says what is needed.
set -eu
missing=
if command -v dpkg-query >/dev/null 2>&1; then
	for package in "$@"; do
		state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
		[ "$state" = installed ] || missing="$missing $package"
	done
	[ -n "$missing" ] || exit 0
fi
if [ -z "$missing" ] || ! command -v apt-get >/dev/null 2>&1; then
	# Not Debian: no way to tell by package name, so only help when something is really missing.
	if pkg-config --exists libmicrohttpd libcurl jansson sqlite3 openssl inih 2>/dev/null; then
		exit 0
	fi
	echo "Please install these (Debian's names): $*" >&2
	exit 1
fi
if [ "$(id -u)" = 0 ]; then
	sudo=
elif command -v sudo >/dev/null 2>&1; then
	sudo=sudo
else
	echo "Missing, and neither root nor sudo to install it:$missing" >&2
	echo "As root: apt-get install$missing" >&2
	exit 1
fi
echo "Installing:$missing"
export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086
if ! $sudo apt-get install -y --no-install-recommends $missing >/dev/null 2>&1; then
	$sudo apt-get update >/dev/null
	$sudo apt-get install -y --no-install-recommends $missing >/dev/null
fi
