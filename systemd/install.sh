#!/bin/sh
# Installs Vestry from this checkout: `make install`, with PREFIX (default /usr/local), DESTDIR (default none) and PYTHON.
# A virtual environment of its own in $PREFIX/lib/vestry, the commands in $PREFIX/bin, the unit and its company beside it,
# and /etc/vestry with the sample tree. What already stands in /etc/vestry is left alone.
set -eu

python=${PYTHON:-python3}
prefix=${PREFIX:-/usr/local}
root=${DESTDIR:-}
source=$(cd "$(dirname "$0")/.." && pwd)
home=$prefix/lib/vestry
staged=$root$home

say() { printf '%s\n' "install: $*"; }

say "the programs go to $staged"
rm -rf "$staged"
"$python" -m venv "$staged"
"$staged/bin/pip" install -q --disable-pip-version-check -c "$source/constraints.txt" pip
"$staged/bin/pip" install -q --disable-pip-version-check -c "$source/constraints.txt" "$source[daemon]"
if [ -n "$root" ]; then # scripts name the interpreter by the place where they were made
  grep -lI "$staged" "$staged"/bin/* | xargs sed -i "s|$staged|$home|g"
fi
"$staged/bin/python" -m compileall -q "$staged/lib" || true # a read-only /usr must not cost every start a compilation

install -d "$root$prefix/bin"
for program in vestryd vestryctl; do
  ln -sf "$home/bin/$program" "$root$prefix/bin/$program"
done

units=$root$prefix/lib/systemd/system
install -d "$units" "$root$prefix/lib/sysusers.d" "$root$prefix/lib/tmpfiles.d"
sed "s|@bindir@|$prefix/bin|" "$source/systemd/vestryd.service" > "$units/vestryd.service"
install -m 0644 "$source/systemd/vestryd.sysusers" "$root$prefix/lib/sysusers.d/vestryd.conf"
install -m 0644 "$source/systemd/vestryd.tmpfiles" "$root$prefix/lib/tmpfiles.d/vestryd.conf"
say "the unit is $units/vestryd.service"

install -d -m 0755 "$root/etc/vestry"
(cd "$source/config" && find . -type f ! -name README.md) | while read -r file; do
  target=$root/etc/vestry/${file#./}
  if [ -e "$target" ]; then
    say "kept ${target#"$root"}"
  else
    install -D -m 0644 "$source/config/$file" "$target"
  fi
done
if [ -z "$root" ] && [ -d /run/systemd/system ]; then
  systemd-sysusers
  systemd-tmpfiles --create
  systemctl daemon-reload
  say "now: systemctl enable --now vestryd"
else
  say "next, on the host: systemd-sysusers && systemd-tmpfiles --create && systemctl enable --now vestryd"
fi
