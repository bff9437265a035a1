# Follows a page of docs/ literally: the block behind `<!-- file: PATH -->` becomes that file, the blocks behind
# `<!-- run -->` are run in their order by one shell. With a SECTION, those behind `<!-- run: SECTION -->` are run
# instead. Called as: sh follow.sh PAGE FOLDER [SECTION]; the environment is the page's.
set -eu
page=$1
folder=$2
section=${3:-}

rm -rf "$folder"
mkdir -p "$folder"
awk -v folder="$folder" -v section="$section" '
    BEGIN { wanted = section == "" ? "<!-- run -->" : "<!-- run: " section " -->" }
    /^<!-- file: .* -->$/ { target = folder "/" $3; sub("/[^/]*$", "", $3); system("mkdir -p \"" folder "/" $3 "\""); next }
    $0 == wanted { target = folder "/commands.sh"; next }
    /^```/ && inside { inside = 0; target = ""; next }
    /^```/ && target != "" { inside = 1; next }
    inside { print >> target }
' "$page"
[ -s "$folder/commands.sh" ] || { echo "$page has no block to run" >&2; exit 1; }
cd "$folder"
exec sh -eux commands.sh
