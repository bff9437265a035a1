# clf compare: equal files agree, others do not; needs no platform.
. "$(dirname "$0")/lib.sh"
without_platforms

"$tool_input" plain "$work/a" && "$tool_input" gradient "$work/b" && "$tool_input" expected "$work/c" || exit 1
expect 0 compare "$work/a" "$work/a"; says '^ok +q'
expect 0 compare "$work/a" "$work/b"
expect 1 compare "$work/a" "$work/c"; complains 'no tensor in common'
expect 1 compare "$work/a" "$work/nowhere"; complains nowhere
head -c 20 "$work/a" >"$work/cut"
expect 1 compare "$work/cut" "$work/a"
finish
