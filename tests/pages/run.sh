# Does what a page says: writes the blocks marked `file: NAME`, runs those marked `run`, in order, in an empty folder,
# with the clf command and an installed library at hand.
# Usage: run.sh PAGE WORK PREFIX LIBDIR
set -eu
page=$1 work=$2 prefix=$3 libdir=$4
rm -rf "$work"
mkdir -p "$work"
# Every block becomes a file; `steps` lists those to run.
awk -v work="$work" '
    /^<!-- file: [A-Za-z0-9_.\/-]+ -->$/ { target = work "/" $3; next }
    /^<!-- run -->$/ { target = work "/step" ++steps ".sh"; print target >(work "/steps"); next }
    /^```/ && inside { inside = 0; close(target); target = ""; next }
    /^```/ && target != "" { inside = 1; next }
    inside { print >target }
    END { exit inside || target != "" }' "$page"
[ -s "$work/steps" ] || { echo "$page: nothing to run"; exit 1; }

export PATH="$prefix/bin:$PATH" PKG_CONFIG_PATH="$prefix/$libdir/pkgconfig" LD_LIBRARY_PATH="$prefix/$libdir"
export CMAKE_PREFIX_PATH="$prefix"
cd "$work"
while read -r step; do
    sh -eux "$step"
done <steps
