# Builds the packages, then makes a clean root and runs there what docs/using.md says from `apt-get` to a first
# attention, which may take two minutes, the downloads included.
# Usage: deb.sh SOURCE WORK; 77 = cannot be done here.
set -eu
source=$1 work=$2
here=$(cd "$(dirname "$0")" && pwd)
for tool in mmdebstrap dpkg-shlibdeps; do
    command -v $tool >/dev/null || { echo "no $tool: skipped"; exit 77; }
done
. /etc/os-release
[ "${ID:-}" = debian ] || { echo "not Debian: skipped"; exit 77; }

rm -rf "$work"
mkdir -p "$work/way"
cmake --preset package -S "$source" -B "$work/build"
cmake --build "$work/build"
(cd "$work/build" && cpack -G DEB -B "$work/way")
rm -rf "$work/way/_CPack_Packages"
ls -l "$work/way"
for package in "$work/way"/*.deb; do
    dpkg-deb -f "$package" Package Version Depends
done

# The commands, and around them what tells where and when they ran.
awk '/^<!-- run: packages -->$/ { wanted = 1 } wanted && /^```$/ { exit } inside { print }
     wanted && /^```sh$/ { inside = 1 }' "$source/docs/using.md" >"$work/way/commands"
grep -q apt-get "$work/way/commands"
cat >"$work/way/run" <<'WAY'
set -eu
cd /way
export HOME=/root DEBIAN_FRONTEND=noninteractive POCL_CACHE_DIR=/tmp/pocl
begin=$(date +%s)
export PS4='+ $(date +%T) '
sh -eux commands >output 2>&1 || { cat output; exit 1; }
seconds=$(($(date +%s) - begin))
cat output
grep -q 'the last position gets' output
man_pages=$(ls /usr/share/man/man1/clf*.1* | wc -l)
[ "$man_pages" -ge 7 ]
apt-get remove -qy clformers-tools libclformers-dev 'libclformers[0-9]*' >/dev/null
! ls /usr/bin/clf /usr/include/clformers /usr/lib/*/libclformers* 2>/dev/null
echo "From the packages to a first attention: $seconds s"
[ $seconds -lt 120 ]
WAY
mmdebstrap --quiet --variant=apt --dpkgopt=force-unsafe-io --customize-hook="copy-in $work/way /" \
    --customize-hook='chroot "$1" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin sh /way/run' "$VERSION_CODENAME" /dev/null
