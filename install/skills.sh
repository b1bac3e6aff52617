# shellcheck shell=bash disable=SC2154 # some names are of install.sh
# The skills in an assistant's folder: links to this checkout, or copies of it. Sourced by install.sh, whose $root, $copy,
# $dry_run and functions it uses. A copy is known by a file that names its checkout and has a checksum of every other file.

readonly COPY_MARK=.made-by-trainyard

skills=()
for manifest in "$root"/skills/*/SKILL.md; do
    [[ -f $manifest ]] && skills+=("${manifest%/SKILL.md}")
done
((${#skills[@]})) || fail 3 "no skills in $root/skills"

# --- what stands in a place ------------------------------------------------------------------------------------------

is_our_link() { # a link into this checkout's skills, whether its target is still there or not
    [[ -L $1 && $(readlink -- "$1") == "$root/skills/"* ]]
}

is_our_copy() {
    [[ -d $1 && ! -L $1 && -f $1/$COPY_MARK && $(head -n 1 -- "$1/$COPY_MARK") == "from $root" ]]
}

holds_ours() { # folder of an assistant
    local place
    for place in "$1"/*; do
        if is_our_link "$place" || is_our_copy "$place"; then return 0; fi
    done
    return 1
}

sums() { # folder: one line a file, without what Python leaves there when a skill is used
    (
        cd -- "$1" || exit
        find . -name __pycache__ -prune -o -type f ! -name "$COPY_MARK" -exec cksum {} +
        find . -name __pycache__ -prune -o -type l -print | sed 's/^/link 0 /'
    ) | LC_ALL=C sort -k 3
}

changed_files() { # copy: names of the files that differ from what was copied, at most three; none where nobody changed it
    { diff <(tail -n +2 -- "$1/$COPY_MARK") <(sums "$1") || true; } |
        sed -n 's/^[<>] [^ ]* [^ ]* \.\///p' | LC_ALL=C sort -u | sed -n 1,3p | paste -s -d , - | sed 's/,/, /g'
}

judge() { # place; sets state and why
    local place=$1 skill=$root/skills/${1##*/}
    state=foreign why=
    if is_our_link "$place" && [[ ! -f $place/SKILL.md ]]; then
        state=gone why="a link to a skill that this checkout no longer has"
    elif is_our_link "$place" && [[ $place -ef $skill ]]; then
        state="link"
    elif [[ $place -ef $skill ]]; then
        state="yours" why="leads here already, by a link of yours"
    elif [[ -L $place && ! -e $place ]]; then
        why="a link to $(readlink -- "$place"), which is gone; remove the link and run this again"
    elif [[ -L $place ]]; then
        why="a link to $(readlink -- "$place"), not to this checkout"
    elif is_our_copy "$place"; then
        judge_copy "$place" "$skill"
    elif [[ -f $place/$COPY_MARK ]]; then
        why="a copy $(head -n 1 -- "$place/$COPY_MARK"), not of this checkout; move it away and run this again"
    elif [[ -e $place ]]; then
        why="not made by this script; move it away and run this again"
    else
        state=absent
    fi
}

judge_copy() { # place, skill; sets state and why
    why=$(changed_files "$1")
    if [[ $why ]]; then
        state=changed why="a copy that was changed here ($why); move it away and run this again"
    elif [[ ! -f $2/SKILL.md ]]; then
        state=gone why="a copy of a skill that this checkout no longer has"
    elif cmp -s <(tail -n +2 -- "$1/$COPY_MARK") <(sums "$2"); then
        state=copy
    else
        state=stale why="a copy of an earlier state of this checkout"
    fi
}

# --- what install, check and uninstall do with it --------------------------------------------------------------------

put_copy() { # skill, place: first beside it, so that a kill leaves the old one or none, and never half of one
    local new=${2%/*}/.trainyard-new old=${2%/*}/.trainyard-old
    rm -rf -- "$new" "$old"
    cp -Rp -- "$1" "$new"
    find "$new" -name __pycache__ -prune -exec rm -r {} +
    { printf 'from %s\n' "$root" && sums "$new"; } >"$new/$COPY_MARK"
    [[ ! -e $2 && ! -L $2 ]] || mv -- "$2" "$old"
    mv -- "$new" "$2"
    rm -rf -- "$old"
}

install_skill() { # skill, place
    judge "$2"
    case $state in
        absent) if $copy; then act copy "$2" put_copy "$1" "$2"; else act link "$2 -> $1" ln -s -- "$1" "$2"; fi ;;
        link) if $copy; then act copy "$2" put_copy "$1" "$2"; else printf 'unchanged %s\n' "$2"; fi ;;
        stale) act update "$2" put_copy "$1" "$2" ;;
        copy) printf 'unchanged %s\n' "$2" ;;
        yours) printf 'unchanged %s (%s)\n' "$2" "$why" ;;
        *) leave "$2" "$why" ;;
    esac
}

remove_leftovers() { # folder of an assistant: what a killed put_copy left
    local place
    for place in "$1/.trainyard-new" "$1/.trainyard-old"; do
        [[ ! -e $place && ! -L $place ]] || act remove "$place" rm -r -- "$place"
    done
}

remove_gone() { # folder of an assistant: what this checkout put there and no longer has
    local place
    for place in "$1"/*; do
        judge "$place"
        [[ $state != gone ]] || act remove "$place" rm -r -- "$place"
    done
}

install_skills() { # folder of an assistant
    if ! $dry_run && ! mkdir -p -- "$1" 2>/dev/null; then
        leave "$1" "this folder cannot be made"
        return
    fi
    local skill
    remove_leftovers "$1"
    remove_gone "$1"
    for skill in "${skills[@]}"; do
        install_skill "$skill" "$1/${skill##*/}"
    done
}

uninstall_skills() { # folder of an assistant
    local place skill
    remove_leftovers "$1"
    for place in "$1"/*; do # also a skill that the checkout no longer has
        if is_our_link "$place"; then
            act unlink "$place" rm -- "$place"
        elif is_our_copy "$place"; then
            judge "$place"
            if [[ $state == changed ]]; then leave "$place" "$why"; else act remove "$place" rm -r -- "$place"; fi
        fi
    done
    for skill in "${skills[@]}"; do
        place=$1/${skill##*/}
        if [[ (-e $place || -L $place) ]] && ! is_our_link "$place" && ! is_our_copy "$place"; then
            leave "$place" "not made by this checkout"
        fi
    done
}

check_skills() { # folder of an assistant
    local place skill
    for place in "$1"/*; do
        judge "$place"
        [[ $state != gone ]] || tell stale "$place: $why"
    done
    for skill in "${skills[@]}"; do
        place=$1/${skill##*/}
        judge "$place"
        case $state in
            link) tell ok "$place -> $skill" ;;
            copy) tell ok "$place (a copy)" ;;
            yours) tell ok "$place ($why)" ;;
            absent) tell missing "$place" ;;
            gone) ;; # told above
            *) tell "$state" "$place: $why" ;;
        esac
    done
}
