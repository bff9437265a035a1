# Sourced by the scripts here, which are called as: sh AREA.sh CLF TOOL_INPUT
# $work is a folder that goes away; run_clf runs the command under the layer and leaves its report in $work/report.
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

# run_clf ARGUMENT...: its stdout and stderr are left in $work/out and $work/err.
run_clf() {
    rm -f "$work/report"
    CLF_LAYER_REPORT=$work/report "$clf" "$@" >"$work/out" 2>"$work/err"
}

# An error that comes before OpenCL is asked for anything leaves no report.
# of_report NAME: the number behind the name in the last report.
of_report() { sed -n "s/.*$1 \([0-9]*\).*/\1/p" "$work/report" | tail -n 1; }

nothing_alive() {
    [ -e "$work/report" ] || return
    grep -q '^alive: 0 contexts 0 queues 0 buffers 0 programs 0 kernels 0 events 0 device references, 0 strangers; bytes 0,' \
        "$work/report" || problem "$*: $(cat "$work/report")"
}

# 77 = skipped: no device here, or an OpenCL loader that knows no layers.
need_layer() {
    run_clf devices || exit 77
    [ -s "$work/report" ] || exit 77
}

finish() { [ "$failures" -eq 0 ]; exit; }
