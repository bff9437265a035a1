# clf list: needs no platform, opens none, and is fast.
. "$(dirname "$0")/lib.sh"
without_platforms

expect 0 list; says '^attention$'; says '^  scaled_dot_product  '
expect 0 list --json; says '"scaled_dot_product"'; says '"kind"'
expect 0 list --markdown; says '^\|.*scaled_dot_product'

# The best of five, so that a busy machine does not decide. Sanitizers and debuggers take their time.
if [ -z "${CLF_TOOL_ANY_SPEED:-}" ] && date +%N | grep -q '^[0-9]*$'; then
    best=1000000
    for i in 1 2 3 4 5; do
        start=$(date +%s%N)
        "$clf" list >/dev/null
        end=$(date +%s%N)
        took=$(((end - start) / 1000))
        [ "$took" -lt "$best" ] && best=$took
    done
    echo "clf list: $best us"
    [ "$best" -lt 20000 ] || problem "clf list takes $best us"
fi
if command -v strace >/dev/null && strace -o "$work/trace" -f "$clf" list >/dev/null 2>&1; then
    grep -q 'OpenCL/vendors\|/none' "$work/trace" && problem "clf list looks for OpenCL platforms"
fi
# A plugin that cannot be loaded is told, and stops what would be incomplete without it.
CLF_PLUGINS=/nowhere/libtoy.so; export CLF_PLUGINS
expect 1 list; complains '^clf: CLF_PLUGINS: .*/nowhere/libtoy.so'
expect 1 describe scaled_dot_product; complains CLF_PLUGINS
expect 0 list --help
finish
