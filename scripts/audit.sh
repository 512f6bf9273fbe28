#!/bin/bash
# Checks the dependencies against a database of security advisories (RustSec) with cargo-deny.
#
# The database is the folder in ADVISORY_DB: a clone of https://github.com/rustsec/advisory-db, or only its files.
# Without ADVISORY_DB the script fetches the database from there. The exit code is 1 if an advisory applies. It is 2
# if there is no database, and then nothing has been checked.
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

# cargo-deny reads only git repositories. So this turns a folder of plain files into a repository.
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

# The settings of the project, with this database in a folder of its own.
sed '/^\[advisories\]/a db-path = "'"$work"'/databases"\ndb-urls = ["'"$url"'"]' deny.toml >"$work/deny.toml"
timeout "$seconds_to_fetch" "$deny" fetch --config "$work/deny.toml" db >"$work/fetch.log" 2>&1 ||
    no_database "$url could not be fetched: $(tail -n 1 "$work/fetch.log")"
"$deny" --offline check --config "$work/deny.toml" --hide-inclusion-graph advisories || exit 1
echo "audit: no advisory applies"
