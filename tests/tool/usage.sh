# Help, version and wrong command lines: exit codes 0 and 2, and never a device.
. "$(dirname "$0")/lib.sh"
without_platforms

expect 2; grep -q Usage "$work/err" || problem "clf alone shows no usage"
expect 0 --version; says '^clf \(clformers\) [0-9]+\.[0-9]+\.[0-9]+$'
expect 0 help; says describe
expect 0 --help; says describe
for command in devices list describe run compare bench selftest; do
    expect 0 $command --help; says "Usage: clf $command"
    expect 0 help $command; says "Usage: clf $command"
    expect 2 $command --no-such-option; complains '^clf: .*no-such-option'
done
expect 2 lisst; complains lisst
expect 2 help lisst
expect 2 list extra
expect 2 devices extra
expect 2 describe
expect 2 describe one two
expect 2 run
expect 2 run --input only
expect 2 run --input a --output b --set nothing
expect 2 run --input a --output b --set =1
expect 2 run --input a --output b --dtype i32
expect 2 run --input a --output b --seed -1
expect 2 run --input a --output b stray
expect 2 compare one
expect 2 compare one two three
expect 2 compare one two --rtol -1
expect 2 bench stray
expect 2 bench --lengths 0
expect 2 bench --lengths 12,x
expect 2 bench --lengths ''
expect 2 bench --dtypes f64
expect 2 bench --passes sideways
expect 2 bench --causal maybe
expect 2 bench --repeats 0
expect 2 bench --errors perhaps
expect 2 bench --accuracy perhaps
expect 2 bench --knobs 0

# What cannot be written is a failure.
if [ -w /dev/full ]; then
    "$clf" list >/dev/full 2>"$work/err" && problem "a full disk is not noticed"
    complains '^clf: cannot write'
    "$clf" --version >/dev/full 2>/dev/null && problem "a full disk is not noticed by --version"
    "$clf" run --help >/dev/full 2>/dev/null && problem "a full disk is not noticed by --help"
fi
finish
