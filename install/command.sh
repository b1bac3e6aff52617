# shellcheck shell=bash disable=SC2154 # some names are of install.sh
# The command `trainyard`: a link in ~/.local/bin, or with --copy a copy there. Sourced by install.sh, whose $root, $dry_run and functions it uses.

readonly command_folder=$HOME/.local/bin command_file=$root/install/trainyard
readonly command_link=$command_folder/trainyard

command_state() { # absent, ours, copy, moved (to another checkout, or gone), earlier (a copy), foreign
    if [[ ! -e $command_link && ! -L $command_link ]]; then
        printf 'absent\n'
    elif [[ $command_link -ef $command_file ]]; then
        printf 'ours\n'
    elif [[ -L $command_link && $(readlink -- "$command_link") == */install/trainyard ]]; then
        printf 'moved\n'
    elif is_unchanged_copy && cmp -s <(sed '$d' -- "$command_link") "$command_file"; then
        printf 'copy\n'
    elif is_unchanged_copy; then
        printf 'earlier\n'
    else
        printf 'foreign\n'
    fi
}

readonly COPIED='# copied by install.sh: '

is_unchanged_copy() { # its last line has the checksum of all before it
    [[ -f $command_link && ! -L $command_link && $(tail -n 1 -- "$command_link") == "$COPIED$(sed '$d' -- "$command_link" | cksum)" ]]
}

copy_command() {
    mkdir -p -- "$command_folder"
    { cat -- "$command_file" && printf '%s%s\n' "$COPIED" "$(cksum <"$command_file")"; } >"$command_link.new"
    chmod +x -- "$command_link.new"
    mv -f -- "$command_link.new" "$command_link"
}

command_is_found() {
    [[ ":$PATH:" == *":$command_folder:"* ]]
}

link_command() {
    mkdir -p -- "$command_folder"
    ln -sfn -- "$command_file" "$command_link"
}

install_command() {
    case $(command_state) in
        absent) if $copy; then act copy "$command_link" copy_command; else act link "$command_link -> $command_file" link_command; fi ;;
        moved) act relink "$command_link -> $command_file" link_command ;;
        earlier) act update "$command_link" copy_command ;;
        ours) if $copy; then act copy "$command_link" copy_command; else printf 'unchanged %s\n' "$command_link"; fi ;;
        copy) printf 'unchanged %s\n' "$command_link" ;;
        *) leave "$command_link" "not made by this script; $command_file works by its own path" ;;
    esac
}

check_command() {
    case $(command_state) in
        ours) tell ok "$command_link" ;;
        copy) tell ok "$command_link (a copy)" ;;
        earlier) tell stale "$command_link: a copy of an earlier state of this checkout" ;;
        absent) tell missing "$command_link" ;;
        moved) tell stale "$command_link -> $(readlink -- "$command_link"), of another checkout or gone" ;;
        *) tell foreign "$command_link: not made by this script" ;;
    esac
}

uninstall_command() {
    case $(command_state) in
        ours) act unlink "$command_link" rm -- "$command_link" ;;
        copy | earlier) act remove "$command_link" rm -- "$command_link" ;;
        absent | moved) ;; # of another checkout
        *) leave "$command_link" "not made by this script" ;;
    esac
}

say_next() { # what to type now; for people, so not on stdout
    local trainyard=trainyard
    if ! command_is_found; then
        trainyard=$command_link
        # shellcheck disable=SC2016 # the line is for the user's own shell
        printf '\n%s is not on PATH: add this line to the start file of your shell\n  %s\n' \
            "$command_folder" 'export PATH="$HOME/.local/bin:$PATH"'
    fi
    printf '\nnext: %s --help\n' "$trainyard"
    printf '      or tell your assistant: "train this project here with two processes, checkpoint every 100 steps"\n'
}
