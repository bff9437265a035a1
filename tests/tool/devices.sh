# clf devices: what exists, and a clear error where nothing does.
. "$(dirname "$0")/lib.sh"

if "$clf" devices >/dev/null 2>&1; then
    expect 0 devices; says '^[0-9]+:[0-9]+ '; says 'compute units'; says '<- default'
    expect 0 devices --json; says '"number"'; says '"default":.*true'; says '"max_allocation"'
fi
without_platforms
expect 1 devices; complains 'platform'
finish
