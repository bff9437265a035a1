# clf run: a small problem with a known result, and bad input of every kind, which leaves no file behind.
. "$(dirname "$0")/lib.sh"
need_device

input() { "$tool_input" "$1" "$work/$1" || problem "tool_input $1"; }

# ---- what works ----
input plain; input rank4; input gradient; input expected; input noconfig; input buffer
expect 0 run -i "$work/plain" -o "$work/result" && says scaled_dot_product
expect 0 compare "$work/result" "$work/expected"; says '^ok +out'
expect 0 run -i "$work/plain" -o "$work/result" --json; says '"family"'
expect 0 run -i "$work/rank4" -o "$work/result"
expect 1 compare "$work/result" "$work/expected"; says 'shapes differ'
expect 0 run -i "$work/noconfig" -o "$work/result" --set name=scaled_dot_product
expect 0 compare "$work/result" "$work/expected"
echo '{"name": "scaled_dot_product"}' >"$work/config.json"
expect 0 run -i "$work/noconfig" -o "$work/result" --config "$work/config.json"
expect 0 compare "$work/result" "$work/expected"
expect 0 run -i "$work/plain" -o "$work/result" --all-outputs
expect 0 run -i "$work/gradient" -o "$work/result"
for name in out grad.q grad.k grad.v; do
    grep -aq "\"$name\"" "$work/result" || problem "the result has no $name"
done
expect 0 run -i "$work/plain" -o "$work/result" --set causal=true
expect 1 compare "$work/result" "$work/expected"; says '^DIFFERS +out'
expect 0 run -i "$work/plain" -o "$work/result" --family reference --allow-reference
expect 0 compare "$work/result" "$work/expected"
expect 0 run -i "$work/plain" -o "$work/result" --dtype bf16
expect 0 compare "$work/result" "$work/expected" --atol 2e-2
grep -aq BF16 "$work/result" || problem "--dtype bf16 gives another dtype"
expect 0 run -i "$work/buffer" -o "$work/result" # another implementation's buffer, for a part that has none

# ---- what does not: exit code 1, a message, no file, nothing beside it ----
rejects() {
    pattern=$1
    shift
    mkdir -p "$work/bad"
    expect 1 run "$@" -o "$work/bad/result"
    complains "$pattern"
    [ -z "$(ls -A "$work/bad")" ] || problem "clf run $* left $(ls -A "$work/bad")"
    rm -rf "$work/bad"
}
for kind in missing stranger parameter draw upstream badjson builder heads int; do
    input $kind
done
rejects "nowhere" -i "$work/nowhere"
rejects "'v'" -i "$work/missing"
rejects "att_msak" -i "$work/stranger"
rejects "param.weight" -i "$work/parameter"
rejects "rng.randn.0" -i "$work/draw"
rejects "grad_oot" -i "$work/upstream"
rejects "JSON" -i "$work/badjson"
rejects "some_function" -i "$work/builder"
rejects "heads" -i "$work/heads"
rejects "I32" -i "$work/int"
rejects "name" -i "$work/noconfig"
rejects "scaled_dot_product" -i "$work/plain" --set name=scaled_dot_produkt
rejects "casual" -i "$work/plain" --set casual=true
rejects "causal" -i "$work/plain" --set causal=3
rejects "dropout" -i "$work/plain" --set dropout=1.5
rejects "semantics" -i "$work/plain" --set semantics=nonsense
rejects "no_such_family" -i "$work/plain" --family no_such_family
rejects "no-such-device" -i "$work/plain" --device no-such-device
rejects "no-such-kind" -i "$work/plain" --kind no-such-kind
echo '["a list"]' >"$work/list.json"
rejects "object" -i "$work/plain" --config "$work/list.json"
rejects "missing.json" -i "$work/plain" --config "$work/missing.json"

head -c 5 "$work/plain" >"$work/cut"
rejects "cut" -i "$work/cut"
head -c 700 "$work/plain" >"$work/cut"
rejects "cut" -i "$work/cut"
: >"$work/empty"
rejects "empty" -i "$work/empty"
printf '\377\377\377\377\377\377\377\377{}' >"$work/huge"
rejects "huge" -i "$work/huge"
rejects "." -i "$work"

# An output that cannot be written.
expect 1 run -i "$work/plain" -o "$work/no/such/folder/result"
expect 1 run -i "$work/plain" -o "$work"
without_platforms
rejects "platform" -i "$work/plain"
finish
