# shellcheck shell=bash disable=SC2154 # some names are of install.sh
# The Python that the skills' scripts run with, and its packages. Sourced by install.sh, whose $root, $config, $dry_run and
# functions it uses.

readonly PACKAGES=(boto3 click isal kubernetes msgspec numpy packaging PyYAML requests rich xxhash)
readonly VENV_MARK=made-by-trainyard # in the venv: this script made it, and what it was made from
readonly venv=$config/trainyard/venv

venv_recipe() { # what the venv is made from; another recipe, another venv
    printf '%s\n' "${PACKAGES[@]}"
    cat -- "$root/constraints.txt"
}

venv_is_foreign() {
    [[ (-e $venv || -L $venv) && ! -f $venv/$VENV_MARK ]]
}

venv_is_fresh() {
    [[ -x $venv/bin/python ]] && venv_recipe | cmp -s - "$venv/$VENV_MARK"
}

make_venv() {
    local python=${PYTHON:-python3}
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
        fail 8 "$python is not there or older than 3.11; name another with PYTHON=... (or use --no-venv and uv run)"
    printf 'making    %s ...\n' "$venv" >&2
    mkdir -p -- "$venv"
    printf 'unfinished\n' >"$venv/$VENV_MARK" # first: whatever happens from here on, the folder is known as ours
    "$python" -m venv --clear -- "$venv" || fail 8 "$python -m venv failed; on Debian it is in the package python3-venv"
    printf 'unfinished\n' >"$venv/$VENV_MARK" # --clear has removed it
    "$venv/bin/python" -m pip install -q --disable-pip-version-check -c "$root/constraints.txt" -- "${PACKAGES[@]}" ||
        fail 8 "packages could not be installed into $venv; run this again"
    venv_recipe >"$venv/$VENV_MARK"
}

install_venv() {
    if venv_is_foreign; then
        leave "$venv" "not made by this script; the skills may use it all the same"
    elif venv_is_fresh; then
        printf 'unchanged %s\n' "$venv"
    else
        act make "$venv (${PACKAGES[*]})" make_venv
    fi
}

check_venv() {
    if venv_is_foreign; then
        tell foreign "$venv: not made by this script; the skills may use it all the same"
    elif [[ ! -e $venv && ! -L $venv ]]; then
        tell missing "$venv (--no-venv leaves it out of the check)"
    elif venv_is_fresh && "$venv/bin/python" -c 'import boto3, click, isal, kubernetes, msgspec, requests, rich, xxhash, yaml' 2>/dev/null; then
        tell ok "$venv"
    else
        tell stale "$venv: of an earlier state of this checkout, or not finished"
    fi
}

uninstall_venv() {
    if [[ -f $venv/$VENV_MARK && ! -L $venv ]]; then
        act remove "$venv" rm -r -- "$venv"
        $dry_run || rmdir -- "${venv%/*}" 2>/dev/null || true # only if nothing else is in it
    elif [[ -e $venv || -L $venv ]]; then
        leave "$venv" "not made by this script"
    fi
}
