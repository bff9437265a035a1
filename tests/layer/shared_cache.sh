# Eight processes fill one cache at the same time: all agree, no temporary file is left, and a ninth compiles nothing.
. "$(dirname "$0")/lib.sh"
need_layer
"$tool_input" gradient "$work/input"
CLF_CACHE_DIR=$work/cache
export CLF_CACHE_DIR

for i in 1 2 3 4 5 6 7 8; do
    CLF_LAYER_REPORT=$work/report$i "$clf" run -i "$work/input" -o "$work/result$i" >"$work/out$i" 2>&1 &
    eval "process$i=$!"
done
for i in 1 2 3 4 5 6 7 8; do
    eval "wait \$process$i" || problem "process $i: $(cat "$work/out$i")"
    cmp -s "$work/result1" "$work/result$i" || problem "process $i has another result"
done
[ -n "$(ls "$CLF_CACHE_DIR")" ] || problem "the cache is empty"
[ -z "$(ls -A "$CLF_CACHE_DIR" | grep -v '^[0-9a-f]*\.bin$')" ] || problem "left: $(ls -A "$CLF_CACHE_DIR")"
run_clf run -i "$work/input" -o "$work/result" || problem "$(cat "$work/err")"
[ "$(of_report builds)" -eq 0 ] || problem "the ninth process built $(of_report builds) programs"
cmp -s "$work/result1" "$work/result" || problem "the ninth process has another result"
finish
