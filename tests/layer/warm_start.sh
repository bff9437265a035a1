# A process that finds our cache filled compiles nothing: the layer counts builds from source. The time from nothing
# to the first attention, forward and backward, is printed, not judged. PoCL's own cache is empty then.
. "$(dirname "$0")/lib.sh"
need_layer
"$tool_input" gradient "$work/input"

found=0
for device in pocl rusticl oclgrind; do
    CLF_CACHE_DIR= "$clf" run -i "$work/input" -o "$work/first" --device "$device" >/dev/null 2>&1 || continue
    found=1
    CLF_CACHE_DIR=$work/cache-$device
    export CLF_CACHE_DIR
    run_clf run -i "$work/input" -o "$work/first" --device "$device" || problem "$device: $(cat "$work/err")"
    first=$(of_report builds)
    [ "$first" -gt 0 ] || problem "$device: the first process built nothing"
    mkdir "$work/empty-$device"
    (
        POCL_CACHE_DIR=$work/empty-$device
        export POCL_CACHE_DIR
        begin=$(date +%s%N)
        run_clf run -i "$work/input" -o "$work/second" --device "$device" || problem "$device: $(cat "$work/err")"
        end=$(date +%s%N)
        echo "warm start: $device, $(((end - begin) / 1000000)) ms to the end of the process; $(cat "$work/out")"
        [ "$failures" -eq 0 ]
    ) || failures=1
    second=$(of_report builds)
    [ "$second" -eq 0 ] || problem "$device: the second process built $second programs from source"
    cmp -s "$work/first" "$work/second" || problem "$device: another result"
done
[ "$found" -eq 1 ] || exit 77
finish
