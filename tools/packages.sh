#!/bin/sh
# The programs that the tests drive: Chromium, PostgreSQL and gettext. Installed where missing, if we may.
set -e
missing=
command -v chromium > /dev/null || missing="$missing chromium"
command -v initdb > /dev/null || ls /usr/lib/postgresql/*/bin/initdb > /dev/null 2>&1 || missing="$missing postgresql"
command -v xgettext > /dev/null || missing="$missing gettext"
# Chromium without windows does for the tests as well, in less time.
welcome=
command -v chromium-headless-shell > /dev/null || welcome=chromium-headless-shell
[ -z "$missing$welcome" ] && exit 0

if [ "$(id -u)" != 0 ] || ! command -v apt-get > /dev/null; then
    [ -z "$missing" ] && exit 0
    echo "The tests need these Debian packages: apt-get install --no-install-recommends$missing $welcome" >&2
    exit 1
fi
echo "Installing Debian packages:$missing $welcome"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
for packages in "$missing" "$welcome"; do
    # shellcheck disable=SC2086 - a list of package names
    apt-get install -y -qq --no-install-recommends $packages > /dev/null || [ "$packages" = "$welcome" ]
done
