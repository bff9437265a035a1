# Follows a page of docs/ literally, in a new folder: the block behind `<!-- file: PATH -->` becomes that file, the
# blocks behind `<!-- run -->` are run in their order by one shell, and what is behind `<!-- says: REGEX -->` has to be
# in what they print. With a SECTION, blocks behind `<!-- run: SECTION -->` are run instead. The installation in PREFIX
# is at hand.
# Usage: follow.sh PAGE FOLDER PREFIX LIBDIR [SECTION]
set -eu
page=$1 folder=$2 prefix=$3 libdir=$4 section=${5:-}

rm -rf "$folder"
mkdir -p "$folder"
awk -v folder="$folder" -v section="$section" '
    BEGIN { wanted = section == "" ? "<!-- run -->" : "<!-- run: " section " -->" }
    /^<!-- file: .* -->$/ {
        target = path = folder "/" $3
        sub("/[^/]*$", "", path)
        system("mkdir -p \"" path "\"")
        next
    }
    $0 == wanted { target = folder "/commands.sh"; next }
    /^<!-- says: .* -->$/ { sub("^<!-- says: ", ""); sub(" -->$", ""); print >> (folder "/says"); next }
    /^```/ && inside { inside = 0; target = ""; next }
    /^```/ && target != "" { inside = 1; next }
    inside { print >> target }
    END { exit inside || target != "" }
' "$page"
[ -s "$folder/commands.sh" ] || { echo "$page has no block to run" >&2; exit 1; }

export PREFIX="$prefix" PATH="$prefix/bin:$PATH" PKG_CONFIG_PATH="$prefix/$libdir/pkgconfig"
export CMAKE_PREFIX_PATH="$prefix"
[ -n "$section" ] || export LD_LIBRARY_PATH="$prefix/$libdir" # a section builds a library of its own
cd "$folder"
status=0
sh -eux commands.sh >output || status=1
cat output
while [ -z "$section" ] && read -r text; do
    grep -Eq -- "$text" output || { echo "nothing says '$text'" >&2; status=1; }
done <"$([ -e says ] && echo says || echo /dev/null)"
exit $status
