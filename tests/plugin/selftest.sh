# clf with plugins, and clf selftest: parts that pass, fail and crash. Called as: sh selftest.sh CLF PLUGINS
. "$(dirname "$0")/../tool/lib.sh"
plugins=$2
need_device
"$clf" devices | grep -q 'Portable Computing' || exit 77
CLF_DEVICE=pocl; export CLF_DEVICE
CLF_PLUGINS=$plugins/libplugin_good.so; export CLF_PLUGINS

expect 0 list; says '^  gain '; says '^  stray '; says '^  scaled_dot_product '
expect 0 describe gain; says 'mean of the values, amplified'

# What passes: quickly, in its own process and, one case alone, in this one.
expect 0 selftest --component gain --quick; says '^device [0-9]+:[0-9]+: '; says 'gain has no reference'
says '^gain pocl: [45] passed, 0 failed, '
expect 0 selftest --component gain --case 2 --verbose; says '^passed clf selftest --component gain --device pocl --case 2: config'
expect 0 selftest --component gain --case 2 --json -
head -c 1 "$work/out" | grep -q '{' || problem "--json - does not write JSON alone"

# What fails is told as a command that fails again, and is in the report.
expect 1 selftest --component gain,stray --quick --json "$work/report.json"
says '^FAILED clf selftest --component stray --device pocl --case 1: .*cannot include'
complains '^clf: 1 of 2 failed.*report.json'
for key in '"version"' '"system"' '"driver"' '"environment"' '"ok":.false' '"why"' \
           '"command":.*clf selftest --component stray --device pocl --case 1'; do
    grep -q "$key" "$work/report.json" || problem "the report lacks $key"
done
expect 1 selftest --component stray --device pocl --case 1; says 'cannot include'

# A crash is one failure and names its case; what comes behind it is tested all the same.
CLF_PLUGINS=$plugins/libplugin_other.so
expect 1 selftest --component crash,gain --quick --json "$work/report.json"
says '^FAILED crash on .*: the process died of signal 6 in case 1: clf selftest --component crash --device pocl --case 1'
says '^gain pocl: [45] passed, 0 failed, '
grep -q '"trouble".*signal 6' "$work/report.json" || problem "the report does not tell of the crash"

CLF_PLUGINS=
expect 1 selftest --component gain; complains "no attention 'gain'"
expect 1 selftest --device no-such-device; complains no-such-device
expect 1 selftest --case 100000; says 'there is no case 100000'
expect 2 selftest stray
expect 2 selftest --case 0
expect 2 selftest --quick --slow
finish
