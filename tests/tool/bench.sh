# clf bench: a small sweep on the default device, its JSON, and what cannot be measured.
. "$(dirname "$0")/lib.sh"
need_device

small="--component scaled_dot_product --lengths 16 --heads 1 --head-dims 8 --repeats 5 --quick"
expect 0 bench $small --json "$work/bench.json"
says 'scaled_dot_product +forward'; says 'scaled_dot_product +backward'
for key in '"samples"' '"driver"' '"date"' '"family"' '"wall_seconds"' '"peak_memory"'; do
    grep -q "$key" "$work/bench.json" || problem "the JSON file lacks $key"
done
expect 0 bench $small --passes forward --causal no --errors off --json -
head -c 1 "$work/out" | grep -q '{' || problem "--json - does not write JSON alone"

# More features bring favor nearer to exact attention; parts that do not approximate have no row.
far="--accuracy --lengths 256 --heads 4 --head-dims 16"
expect 0 bench $far --component favor,scaled_dot_product --causal no --knobs 16,64,256,1024
says '^favor .* dim_features +16 '
grep -q '^scaled_dot_product' "$work/out" && problem "--accuracy has rows of exact attention"
awk '/^favor/ { if (rows++ && $NF >= last) exit 1; last = $NF } END { exit rows != 4 || last <= 0 }' "$work/out" ||
    problem "the error of favor does not fall with its features"
expect 0 bench $far --component nystrom --causal no --knobs 256 --json -; says '"knob":\s*"num_landmarks"'
says '"distance_from_exact":\s*(0|[0-9.]+e-0?[678])$'

# A shape that nothing can do is a row with a reason and no failure.
expect 0 bench $small --passes forward --causal no --head-dims 100000; says 'unsupported: .'
expect 1 bench --component no_such_part; complains no_such_part
expect 1 bench --device no-such-device; complains no-such-device
expect 1 bench $small --passes forward --causal no --json "$work/no/such/folder/x"
[ -z "$(ls "$work" | grep XXXX)" ] || problem "a temporary file is left"
without_platforms
expect 1 bench; complains platform
finish
