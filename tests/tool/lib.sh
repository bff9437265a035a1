# Sourced by the scripts here, which are called as: sh AREA.sh CLF TOOL_INPUT
set -u
clf=$1
tool_input=$2
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
failures=0

problem() {
    echo "FAILED: $*" >&2
    failures=$((failures + 1))
}

# expect CODE ARGUMENT...: runs clf; stdout and stderr are left in $work/out and $work/err.
expect() {
    wanted=$1
    shift
    "$clf" "$@" >"$work/out" 2>"$work/err"
    code=$?
    if [ "$code" -ne "$wanted" ]; then
        problem "clf $*: exit code $code, not $wanted"
        head -n 5 "$work/out" "$work/err" >&2
    fi
    if [ "$wanted" -ne 0 ] && [ -n "$*" ] && [ ! -s "$work/out" ] && ! grep -q '^clf: ' "$work/err"; then
        problem "clf $*: no 'clf: <message>' on stderr"
    fi
    [ "$code" -eq "$wanted" ]
}

# says PATTERN: the last command's stdout; complains PATTERN: its stderr.
says() { grep -Eq -- "$1" "$work/out" || problem "stdout lacks '$1'"; }
complains() { grep -Eq -- "$1" "$work/err" || { problem "stderr lacks '$1':"; cat "$work/err" >&2; }; }

# An OpenCL installation without any platform.
without_platforms() { mkdir -p "$work/none"; OCL_ICD_VENDORS=$work/none; export OCL_ICD_VENDORS; }

# 77 = skipped: no device here.
need_device() { "$clf" devices >/dev/null 2>&1 || exit 77; }

finish() { [ "$failures" -eq 0 ]; exit; }
