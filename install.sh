#!/usr/bin/env bash
# Link the skills of this checkout into the assistants' folders, and prepare the Python that their scripts run with.
set -euo pipefail
unset CDPATH

usage() {
    cat <<'TEXT'
usage: install.sh [--dry-run] [--uninstall] [--no-venv]

Links every skill of this checkout into
  $XDG_CONFIG_HOME/opencode/skills   (OpenCode; ~/.config where XDG_CONFIG_HOME is not set)
  ~/.claude/skills                   (Claude Code)
  ~/.agents/skills                   (Codex, Cursor, Copilot, Gemini CLI and others)
and prepares $XDG_CONFIG_HOME/trainyard/venv with the packages the skills need. May be run again at any time.
Links follow this checkout: after an update run it again only for new skills; before moving the checkout, uninstall.

  --dry-run    print what would be done, and do nothing
  --uninstall  remove the links to this checkout, and the venv
  --no-venv    links only
  -h, --help   this text

Nothing that it did not make is ever overwritten or removed: it is named and left, and the exit code is then 5.
Exit codes: 0 done, 2 wrong option, 3 no skills here, 5 something else stands in a place, 8 Python or a package is missing.
PYTHON names the Python (3.11 or newer) that the venv is made with; python3 where it is not set.

examples:
  ./install.sh --dry-run
  ./install.sh
  ./install.sh --uninstall
TEXT
}

readonly PACKAGES=(click msgspec PyYAML rich xxhash)
readonly MARKER=made-by-trainyard # in the venv: this script made it, and what it was made from
dry_run=false uninstall=false with_venv=true left=0

fail() { # code, text
    printf 'install.sh: %s\n' "$2" >&2
    exit "$1"
}

leave() { # path, reason
    printf 'left      %s: %s\n' "$1" "$2" >&2
    left=$((left + 1))
}

act() { # verb for the user, path for the user, command...
    local verb=$1 path=$2
    shift 2
    if $dry_run; then
        printf 'would %-9s %s\n' "$verb" "$path"
    else
        "$@"
        printf '%-9s %s\n' "$verb" "$path"
    fi
}

is_our_link() { # a link into this checkout's skills, whether its target is still there or not
    [[ -L $1 && $(readlink -- "$1") == "$root/skills/"* ]]
}

# --- links -----------------------------------------------------------------------------------------------------------

link_skill() { # skill folder, folder of an assistant
    local skill=$1 place=$2/${1##*/}
    if is_our_link "$place" && [[ $place -ef $skill ]]; then
        printf 'unchanged %s\n' "$place"
    elif [[ $place -ef $skill ]]; then
        printf 'unchanged %s (leads here already, by a link of yours)\n' "$place"
    elif [[ -L $place && ! -e $place ]]; then
        leave "$place" "a link to $(readlink -- "$place"), which is gone; remove the link and run this again"
    elif [[ -L $place ]]; then
        leave "$place" "a link to $(readlink -- "$place"), not to this checkout"
    elif [[ -e $place ]]; then
        leave "$place" "not a link of this checkout; move it away and run this again"
    else
        act link "$place -> $skill" ln -s -- "$skill" "$place"
    fi
}

link_all() { # folder of an assistant
    if ! $dry_run && ! mkdir -p -- "$1" 2>/dev/null; then
        leave "$1" "this folder cannot be made"
        return
    fi
    local skill place
    for place in "$1"/*; do # a skill that the checkout no longer has
        if is_our_link "$place" && [[ ! -f $place/SKILL.md ]]; then
            act unlink "$place" rm -- "$place"
        fi
    done
    for skill in "${skills[@]}"; do
        link_skill "$skill" "$1"
    done
}

unlink_all() { # folder of an assistant
    local place skill
    for place in "$1"/*; do
        if is_our_link "$place"; then
            act unlink "$place" rm -- "$place"
        fi
    done
    for skill in "${skills[@]}"; do
        place=$1/${skill##*/}
        if [[ (-e $place || -L $place) ]] && ! is_our_link "$place"; then
            leave "$place" "not a link of this checkout"
        fi
    done
}

# --- the skills' Python ----------------------------------------------------------------------------------------------

venv_recipe() { # what the venv is made from; another recipe, another venv
    printf '%s\n' "${PACKAGES[@]}"
    cat -- "$root/constraints.txt"
}

make_venv() {
    local python=${PYTHON:-python3}
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
        fail 8 "$python is not there or older than 3.11; name another with PYTHON=... (or use --no-venv and uv run)"
    printf 'making    %s ...\n' "$venv" >&2
    mkdir -p -- "$venv"
    printf 'unfinished\n' >"$venv/$MARKER" # first: whatever happens from here on, the folder is known as ours
    "$python" -m venv --clear -- "$venv" || fail 8 "$python -m venv failed; on Debian it is in the package python3-venv"
    printf 'unfinished\n' >"$venv/$MARKER" # --clear has removed it
    "$venv/bin/python" -m pip install -q --disable-pip-version-check -c "$root/constraints.txt" uv ||
        fail 8 "uv could not be installed into $venv; run this again"
    "$venv/bin/python" -m uv pip install -q --compile-bytecode --python "$venv/bin/python" \
        -c "$root/constraints.txt" -- "${PACKAGES[@]}" || fail 8 "packages could not be installed into $venv; run this again"
    venv_recipe >"$venv/$MARKER"
}

prepare_venv() {
    if [[ (-e $venv || -L $venv) && ! -f $venv/$MARKER ]]; then
        leave "$venv" "not made by this script; the skills may use it all the same"
    elif [[ -x $venv/bin/python ]] && venv_recipe | cmp -s - "$venv/$MARKER"; then
        printf 'unchanged %s\n' "$venv"
    else
        act make "$venv (${PACKAGES[*]})" make_venv
    fi
}

remove_venv() {
    if [[ -f $venv/$MARKER && ! -L $venv ]]; then
        act remove "$venv" rm -r -- "$venv"
        $dry_run || rmdir -- "${venv%/*}" 2>/dev/null || true # only if nothing else is in it
    elif [[ -e $venv || -L $venv ]]; then
        leave "$venv" "not made by this script"
    fi
}

# --- what was asked for ----------------------------------------------------------------------------------------------

for word in "$@"; do
    case $word in
        --dry-run) dry_run=true ;;
        --uninstall) uninstall=true ;;
        --no-venv) with_venv=false ;;
        -h | --help) usage && exit 0 ;;
        *) fail 2 "unknown option $word; see install.sh --help" ;;
    esac
done

[[ ${HOME:-} == /* ]] || fail 2 "HOME is not set"
config=${XDG_CONFIG_HOME:-$HOME/.config}
venv=$config/trainyard/venv
root=$(cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")" && pwd -P)
readonly config venv root

skills=()
for manifest in "$root"/skills/*/SKILL.md; do
    [[ -f $manifest ]] && skills+=("${manifest%/SKILL.md}")
done
((${#skills[@]})) || fail 3 "no skills in $root/skills"

for folder in "$config/opencode/skills" "$HOME/.claude/skills" "$HOME/.agents/skills"; do
    if $uninstall; then unlink_all "$folder"; else link_all "$folder"; fi
done
if $with_venv; then
    if $uninstall; then remove_venv; else prepare_venv; fi
fi
if ((left)); then
    fail 5 "$left of the places above were left as they are"
fi
