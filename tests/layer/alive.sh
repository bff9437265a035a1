# Whatever the command does, also when it fails, no OpenCL object is alive when it ends.
. "$(dirname "$0")/lib.sh"
need_layer
nothing_alive "clf devices"

for kind in plain gradient heads int; do
    "$tool_input" "$kind" "$work/$kind"
done
ln -s /dev/full "$work/full"
alive_after() {
    wanted=$1
    shift
    run_clf "$@"
    code=$?
    [ "$code" -eq "$wanted" ] || problem "clf $*: exit code $code, not $wanted: $(head -n 3 "$work/err")"
    nothing_alive "clf $*"
}
alive_after 0 run -i "$work/gradient" -o "$work/result"
[ "$(of_report launches)" -gt 0 ] || problem "the layer saw no launch"
[ "$(of_report peak)" -gt 0 ] || problem "the layer saw no memory"
alive_after 0 run -i "$work/plain" -o "$work/result" --family reference --allow-reference
alive_after 1 run -i "$work/heads" -o "$work/result"
alive_after 1 run -i "$work/int" -o "$work/result"
alive_after 1 run -i "$work/plain" -o "$work/full"
grep -q 'No space left' "$work/err" || problem "a full disk is not named: $(cat "$work/err")"
alive_after 1 run -i "$work/plain" -o "$work"
alive_after 0 bench --component scaled_dot_product --lengths 16 --heads 1 --head-dims 4 --repeats 3 --quick --causal no
alive_after 1 bench --component scaled_dot_product --lengths 16 --heads 1 --head-dims 4 --repeats 3 --quick --causal no \
    --json "$work/full"
[ -L "$work/full" ] || problem "the link to a device is replaced"

# Calls that fail end the command with a message, the code's name in it.
for fault in clCreateContext:1:-6 clCreateBuffer:1:-4:always clEnqueueNDRangeKernel:1:-5 clCreateKernel:1:-6:always \
    clEnqueueReadBuffer:1:-5:always clWaitForEvents:1:-14:always; do
    rm -f "$work/faulty"
    export CLF_LAYER_FAIL=$fault
    alive_after 1 run -i "$work/gradient" -o "$work/faulty"
    grep -q '^clf: .*CL' "$work/err" || problem "$fault: $(cat "$work/err")"
    [ ! -e "$work/faulty" ] || problem "$fault: there is a result"
    unset CLF_LAYER_FAIL
done
finish
