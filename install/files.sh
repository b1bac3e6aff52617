# shellcheck shell=bash disable=SC2154 # some names are of install.sh
# Single files: the command `trainyard` in ~/.local/bin, and the assistants' own commands. Links to this checkout, with --copy copies.
# A copy ends with a line that has a checksum of all before it, so that one which nobody has changed can be updated and removed.
# Sourced by install.sh, whose $root, $copy, $config, $dry_run and functions it uses.

readonly command_folder=$HOME/.local/bin
readonly COPIED='copied by install.sh: '

mark_of() { # place, checksum: the last line of a copy
    case $1 in
        *.md) printf '<!-- %s%s -->' "$COPIED" "$2" ;;
        *) printf '# %s%s' "$COPIED" "$2" ;;
    esac
}

is_unchanged_copy() { # place
    [[ -f $1 && ! -L $1 && $(tail -n 1 -- "$1") == "$(mark_of "$1" "$(sed '$d' -- "$1" | cksum)")" ]]
}

file_state() { # file of this checkout, place: absent, ours, copy, earlier (a copy), moved (a link to another checkout, or gone), foreign
    if [[ ! -e $2 && ! -L $2 ]]; then
        printf 'absent\n'
    elif [[ $2 -ef $1 ]]; then
        printf 'ours\n'
    elif [[ -L $2 && $(readlink -- "$2") == */"${1#"$root"/}" ]]; then
        printf 'moved\n'
    elif is_unchanged_copy "$2" && cmp -s <(sed '$d' -- "$2") "$1"; then
        printf 'copy\n'
    elif is_unchanged_copy "$2"; then
        printf 'earlier\n'
    else
        printf 'foreign\n'
    fi
}

link_file() { # file, place
    mkdir -p -- "${2%/*}"
    ln -sfn -- "$1" "$2"
}

copy_file() { # file, place: first beside it, so that a kill leaves the old one or none
    mkdir -p -- "${2%/*}"
    { cat -- "$1" && printf '%s\n' "$(mark_of "$2" "$(cksum <"$1")")"; } >"$2.new"
    [[ ! -x $1 ]] || chmod +x -- "$2.new"
    mv -f -- "$2.new" "$2"
}

put_file() { # file, place
    if $copy; then act copy "$2" copy_file "$@"; else act link "$2 -> $1" link_file "$@"; fi
}

install_file() { # file, place
    case $(file_state "$@") in
        absent) put_file "$@" ;;
        moved) act relink "$2 -> $1" link_file "$@" ;;
        earlier) act update "$2" copy_file "$@" ;;
        ours) if $copy; then put_file "$@"; else printf 'unchanged %s\n' "$2"; fi ;;
        copy) printf 'unchanged %s\n' "$2" ;;
        *) leave "$2" "not made by this script; move it away and run this again" ;;
    esac
}

check_file() { # file, place
    case $(file_state "$@") in
        ours) tell ok "$2" ;;
        copy) tell ok "$2 (a copy)" ;;
        earlier) tell stale "$2: a copy of an earlier state of this checkout" ;;
        absent) tell missing "$2" ;;
        moved) tell stale "$2 -> $(readlink -- "$2"), of another checkout or gone" ;;
        *) tell foreign "$2: not made by this script" ;;
    esac
}

uninstall_file() { # file, place
    case $(file_state "$@") in
        ours) act unlink "$2" rm -- "$2" ;;
        copy | earlier) act remove "$2" rm -- "$2" ;;
        absent | moved) ;; # of another checkout
        *) leave "$2" "not made by this script" ;;
    esac
}

files_of() { # what to do with a file: install, check, uninstall
    local file
    "$1_file" "$root/install/trainyard" "$command_folder/trainyard"
    [[ " ${folders[*]} " == *" $config/opencode/skills "* ]] || return 0
    for file in "$root"/commands/*.md; do # Claude Code has them from the plugin
        "$1_file" "$file" "$config/opencode/command/${file##*/}"
    done
}

say_next() { # what to type now; for people, so not on stdout
    local trainyard=trainyard
    if [[ ":$PATH:" != *":$command_folder:"* ]]; then
        trainyard=$command_folder/trainyard
        # shellcheck disable=SC2016 # the line is for the user's own shell
        printf '\n%s is not on PATH: add this line to the start file of your shell\n  %s\n' \
            "$command_folder" 'export PATH="$HOME/.local/bin:$PATH"'
    fi
    printf '\nnext: in your project: %s init, then %s run job.yaml\n' "$trainyard" "$trainyard"
    printf '      or tell your assistant: "train this project here with two processes, checkpoint every 100 steps"\n'
}
