#!/bin/bash
# Checks the dependencies against a database of advisories (RustSec), by cargo-deny.
#
# The database is the folder that ADVISORY_DB names: a clone of https://github.com/rustsec/advisory-db, or its files
# alone. Without ADVISORY_DB it is fetched from there. Ends with 1 if an advisory applies, and with 2 if there is no
# database: then nothing has been checked.
set -euo pipefail
cd "$(dirname "$0")/.."
eval "$(scripts/env.sh)"

url=https://github.com/rustsec/advisory-db
seconds_to_fetch=60
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

no_database() {
    printf 'audit: NOT CHECKED: %s\n' "$*" >&2
    exit 2
}

# cargo-deny reads a git repository, so files alone become one.
as_repository() {
    local given=$1
    [ -d "$given/crates" ] || no_database "ADVISORY_DB=$given: has no folder \"crates\""
    cp -R "$given" "$work/given"
    rm -rf "$work/given/.git"
    git -C "$work/given" init -q
    git -C "$work/given" add -A
    git -C "$work/given" -c user.name=audit -c user.email=audit@localhost commit -q -m advisories
    url=file://$work/given
}

deny=$(scripts/cargo-deny.sh) || no_database "cargo-deny could not be installed"
[ -z "${ADVISORY_DB:-}" ] || as_repository "$(realpath "$ADVISORY_DB")"

# The project's settings, with this database in a folder of its own.
sed '/^\[advisories\]/a db-path = "'"$work"'/databases"\ndb-urls = ["'"$url"'"]' deny.toml >"$work/deny.toml"
timeout "$seconds_to_fetch" "$deny" fetch --config "$work/deny.toml" db >"$work/fetch.log" 2>&1 ||
    no_database "$url could not be fetched: $(tail -n 1 "$work/fetch.log")"
"$deny" --offline check --config "$work/deny.toml" --hide-inclusion-graph advisories || exit 1
echo "audit: no advisory applies"
