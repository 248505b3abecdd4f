#!/bin/sh
# Install Knoop on Raspberry Pi OS (64 bit) or Debian 12 or 13, bring it up to date, or remove it. Safe to run again.
#
#   sudo sh install.sh                          the right one of the packages beside this file
#   sudo sh install.sh knoop_….deb              this package
#   sudo sh install.sh --from URL --key FILE    from a folder on the web, if its signature is that key's
#   sudo sh install.sh --uninstall              remove it; configuration and data stay
#   sh install.sh --dry-run …                   only say what would be done
#
# There is no published release yet: --from is for whoever publishes packages, for a fleet of their own for example.
# What it does to the machine: docs/install.md. Exit codes: 0 done · 1 not done, and why · 2 usage.
set -eu

CONFIG=/etc/knoop/node.toml
KEY_BESIDE=knoop-release.pub   # an Ed25519 public key in PEM

dry_run='' uninstall='' from='' key='' deb='' work=''
self=$0
here=$(dirname "$self")

say() { printf '%s\n' "$@"; }
fail() {
    printf '%s\n' "$@" >&2
    exit 1
}
usage() {
    printf '%s\n' "$1" 'usage: sh install.sh [--dry-run] [FILE.deb | --from URL [--key FILE] | --uninstall]' >&2
    exit 2
}
would() { if [ -n "$dry_run" ]; then say "Would: $*"; else "$@"; fi; }
# Arguments as a shell takes them: those that are more than a word in quotes, and each ' in them as '\''.
quoted() {
    for argument; do
        case $argument in
            '' | *[!A-Za-z0-9_./:~+=-]*) printf " '%s'" "$(printf %s "$argument" | sed "s/'/'\\\\''/g")" ;;
            *) printf ' %s' "$argument" ;;
        esac
    done
}
# shellcheck disable=SC2317 # by the trap
clean() { if [ -n "$work" ]; then rm -rf "$work"; fi; }

read_arguments() {
    while [ $# -gt 0 ]; do
        case $1 in
            --dry-run) dry_run=yes ;;
            --uninstall) uninstall=yes ;;
            --from) [ $# -gt 1 ] || usage '--from wants the address of a folder'; from=$2; shift ;;
            --key) [ $# -gt 1 ] || usage '--key wants a file'; key=$2; shift ;;
            -h | --help) sed -n '2,/^set -eu$/{/^# \{0,1\}/s///p;}' "$self"; exit 0 ;;
            -*) usage "$1: no such option" ;;
            *) [ -z "$deb" ] || usage 'one package at a time'; deb=$1 ;;
        esac
        shift
    done
    if [ -n "$deb" ] && [ -n "$from$uninstall" ] || [ -n "$from" ] && [ -n "$uninstall" ]; then
        usage 'a package, --from or --uninstall: one of them'
    fi
    if [ -n "$key" ] && [ -z "$from" ]; then usage '--key goes with --from'; fi
}

# What was typed, for a shell that is in another folder: `su -` goes to root's own.
from_anywhere() {
    quoted "$(realpath "$self")"
    [ -z "$uninstall" ] || quoted --uninstall
    [ -z "$from" ] || quoted --from "$from"
    [ -z "$key" ] || quoted --key "$(realpath -m -- "$key")"
    [ -z "$deb" ] || quoted "$(realpath -m -- "$deb")"
}

need_root() {
    if [ -n "$dry_run" ] || [ "$(id -u)" -eq 0 ]; then return; fi
    if command -v sudo >/dev/null; then
        fail 'This needs root. Type:' "  sudo sh$(quoted "$self")$arguments"
    fi
    fail 'This needs root. Become root (su -), and type there:' "  sh$(from_anywhere)"
}

# Sets $arch and $debian, or says why not.
look_around() {
    if ! command -v dpkg >/dev/null || ! command -v apt-get >/dev/null || [ ! -r /etc/os-release ]; then
        fail 'This is neither Debian nor Raspberry Pi OS. Knoop runs on other systems from its source: see README.md.'
    fi
    arch=$(dpkg --print-architecture)
    case $arch in
        arm64 | amd64) ;;
        armhf | armel) fail "This system is a 32-bit one ($arch), and libraries that Knoop needs exist for 64 bit only." \
            'A Raspberry Pi Zero 2 W, 3, 4 or 5 can run the 64-bit Raspberry Pi OS: choose that one in Raspberry Pi Imager.' \
            'A Raspberry Pi 1, 2 (but the last ones) or Zero W cannot.' ;;
        *) fail "Knoop is not packaged for this kind of processor ($arch), only for arm64 and amd64." ;;
    esac
    # shellcheck disable=SC1091
    debian=$(. /etc/os-release; case ${ID-} in debian | raspbian) printf %s "${VERSION_ID-}" ;; esac)
    case $debian in
        12 | 13) ;;
        *) # shellcheck disable=SC1091
            fail "This is $(. /etc/os-release; printf %s "${PRETTY_NAME-an unknown system}"); the packages are for Debian 12 and 13 and the Raspberry Pi OS made from them." ;;
    esac
    [ -d /usr/lib/systemd/system ] || fail 'This system does not use systemd, which starts Knoop and guards it.'
    if [ ! -d /run/systemd/system ]; then
        say 'systemd does not run here (a container, or a card that is being prepared?): Knoop starts when it does.'
    fi
}

# The newest package beside this file for this machine.
find_beside() {
    for file in "$here"/knoop_*~deb"$debian"_"$arch".deb; do
        [ -f "$file" ] || continue
        if [ -z "$deb" ] || dpkg --compare-versions "$(version_of "$file")" gt "$(version_of "$deb")"; then deb=$file; fi
    done
    [ -n "$deb" ] || fail "There is no knoop_…~deb${debian}_$arch.deb beside $self." \
        'Put it there, or name it: sudo sh install.sh knoop_….deb'
}

version_of() { dpkg-deb --field "$1" Version; }

get() {
    if command -v curl >/dev/null; then
        curl --fail --silent --show-error --location --proto '=http,https' --max-time 600 --output "$2" "$1"
    elif command -v wget >/dev/null; then
        wget --quiet --timeout=60 --tries=3 --output-document="$2" "$1"
    else
        fail 'Neither curl nor wget is here to download with. Type: sudo apt install curl'
    fi || fail "Could not download $1. Is the address right, and is there a network?"
}

# Nothing of a download is looked into before its signature is checked, and nothing else makes it trusted.
download() {
    case $from in https://* | http://*) ;; *) usage '--from wants an address that begins with https://' ;; esac
    key=${key:-$here/$KEY_BESIDE}
    [ -f "$key" ] || fail "Whose signature counts? Name the publisher's public key: --key FILE (or put $KEY_BESIDE beside this)."
    command -v openssl >/dev/null || fail 'openssl is missing, which checks the signature. Type: sudo apt install openssl'
    get "$from/SHA256SUMS" "$work/SHA256SUMS"
    get "$from/SHA256SUMS.sig" "$work/SHA256SUMS.sig"
    openssl pkeyutl -verify -rawin -pubin -inkey "$key" -sigfile "$work/SHA256SUMS.sig" -in "$work/SHA256SUMS" \
        >/dev/null 2>&1 || fail "SHA256SUMS at $from is not signed by the key in $key. Nothing was installed."
    name=$(sed -n "s/^[0-9a-f]\{64\} [ *]\(knoop_[0-9A-Za-z.+~-]*~deb${debian}_$arch\.deb\)$/\1/p" "$work/SHA256SUMS" |
        sort -V | tail -n 1)
    [ -n "$name" ] || fail "There is no package for Debian $debian on $arch at $from."
    get "$from/$name" "$work/$name"
    (cd "$work" && sha256sum --check --status --ignore-missing SHA256SUMS) ||
        fail "$name is not what its publisher signed: its SHA-256 differs. Nothing was installed."
    deb=$work/$name
}

check_package() {
    [ -f "$deb" ] || fail "$deb: there is no such file."
    [ "$(dpkg-deb --field "$deb" Package 2>/dev/null)" = knoop ] || fail "$deb is not a package of Knoop."
    its_arch=$(dpkg-deb --field "$deb" Architecture)
    version=$(version_of "$deb")
    [ "$its_arch" = "$arch" ] || fail "$deb is for $its_arch, and this machine is $arch."
    case $version in
        *~deb"$debian") ;;
        *) fail "$deb is for Debian ${version##*~deb}, and this is Debian $debian (or made from it)." ;;
    esac
}

state() {
    # shellcheck disable=SC2016 # dpkg-query's own
    dpkg-query --show --showformat='${db:Status-Status} ${Version}' knoop 2>/dev/null || true
}
installed() { state | sed -n 's/^installed //p'; }

apt() { DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 "$@" </dev/null; }

# With what apt-get is to be told beside it. apt's own user must be able to read the file, wherever it lies.
put_in() {
    if [ "$deb" != "$work/${deb##*/}" ]; then cp "$deb" "$work/"; fi
    chmod 755 "$work"
    file=$work/${deb##*/}
    if apt install --no-install-recommends "$@" "$file"; then return; fi
    say 'Once more, with fresh lists of packages …'
    apt update || true
    apt install --no-install-recommends "$@" "$file" || fail 'It could not be installed; the lines above say why.' \
        "If it is for want of a network: it needs python3, ca-certificates and libgcc-s1 of this system's Debian."
}

install_it() {
    before=$(installed)
    if [ "$before" = "$version" ] && [ -z "$(dpkg --verify knoop)" ]; then
        say "Knoop $version is installed already. Nothing to do."
    elif [ -n "$before" ] && dpkg --compare-versions "$before" gt "$version"; then
        fail "Knoop $before is installed, which is newer than $version. Nothing was done." \
            'An older one may not read what the newer one has stored. If you want it all the same: first' \
            '  sudo knoop export greenhouse.tar.gz' 'then' '  sudo apt install --allow-downgrades ./knoop_….deb'
    elif [ -n "$dry_run" ]; then
        say "Would: ${before:+upgrade Knoop from $before by }apt-get install $deb"
    else
        say "${before:+Upgrading from $before: }Installing Knoop $version …"
        if [ "$before" = "$version" ]; then put_in --reinstall; else put_in; fi
        say "Installed: $(knoop --version)."
    fi
    next
}

next() {
    if [ -e "$CONFIG" ]; then
        say "It uses $CONFIG. How it is: systemctl status knoop knoop-hw; its log: journalctl -u knoop -u knoop-hw"
        return
    fi
    say '' 'Next, a few questions:' '  sudo knoop init' 'and then start it, now and at each boot:' \
        '  sudo systemctl enable --now knoop-hw knoop'
}

uninstall_it() {
    case $(state) in
        '' | not-installed* | config-files*) say 'Knoop is not installed.' ;;
        *)  # whole, or what an installation that was cut short left
            say 'Stopping and removing Knoop; outputs go to their safe levels …'
            would apt remove knoop || fail 'It could not be removed; the lines above say why.' \
                'If an installation was cut short: sudo dpkg --configure -a. Then type the same again.' ;;
    esac
    left=''
    for path in /etc/knoop /var/lib/knoop /var/lib/knoop-hw /etc/credstore/xmpp.password \
        /etc/credstore.encrypted/xmpp.password; do
        if [ -e "$path" ]; then left="$left $path"; fi
    done
    [ -z "$left" ] || say "Left as it was:$left" 'To delete that as well: sudo apt purge knoop'
}

main() {
    arguments=$(quoted "$@")
    read_arguments "$@"
    trap clean EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    if [ -n "$uninstall" ]; then
        need_root
        uninstall_it
        return
    fi
    look_around
    need_root
    work=$(mktemp -d)
    if [ -n "$from" ]; then download; elif [ -z "$deb" ]; then find_beside; fi
    check_package
    install_it
}

# A shell reads these two lines as one: of a file that was cut short on its way, nothing is run.
{ main "$@"
exit; }
