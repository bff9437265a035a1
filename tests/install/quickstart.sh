# On a clean root with nothing but the sources: the README's first command, which installs, builds and measures.
# Usage: quickstart.sh SOURCE WORK; 77 = cannot be done here.
set -eu
source=$1 work=$2
command -v mmdebstrap >/dev/null || { echo "no mmdebstrap: skipped"; exit 77; }
. /etc/os-release
[ "${ID:-}" = debian ] || { echo "not Debian: skipped"; exit 77; }
grep -q '^    tools/quickstart ' "$source/README.md"

rm -rf "$work"
mkdir -p "$work/clformers"
tar -C "$source" --exclude=./.git --exclude=./build -c . | tar -C "$work/clformers" -x
cat >"$work/clformers/run" <<'RUN'
set -eu
cd /clformers
export HOME=/root DEBIAN_FRONTEND=noninteractive
begin=$(date +%s)
tools/quickstart --quick >measured 2>output || { cat output measured; exit 1; }
cat measured
build/quickstart/bin/clf list --json | sed -n 's/.*"name":[[:space:]]*"\([a-z_]*\)".*/\1/p' >parts
[ "$(wc -l <parts)" -ge 14 ]
while read -r part; do
    grep -q "$part" measured || { echo "$part was not measured"; exit 1; }
done <parts
echo "From the sources to $(wc -l <parts) measured parts: $(($(date +%s) - begin)) s"
RUN
mmdebstrap --quiet --variant=apt --dpkgopt=force-unsafe-io --customize-hook="copy-in $work/clformers /" \
    --customize-hook='chroot "$1" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin sh /clformers/run' "$VERSION_CODENAME" /dev/null
