#!/usr/bin/env bash
# Put the skills of this checkout into the assistants' folders, and prepare the Python that their scripts run with.
set -euo pipefail
unset CDPATH

usage() {
    cat <<'TEXT'
usage: install.sh [--assistant NAME]... [--copy] [--no-venv] [--dry-run | --check | --uninstall]

Links every skill of this checkout into the folders of the assistants named, without --assistant those of
opencode, claude and codex, links the command `trainyard` into ~/.local/bin and OpenCode's commands (/train, /status,
/why ...) into $XDG_CONFIG_HOME/opencode/command, and prepares $XDG_CONFIG_HOME/trainyard/venv with the packages the
skills need. May be run again at any time.

  opencode   $XDG_CONFIG_HOME/opencode/skills   (~/.config where XDG_CONFIG_HOME is not set)
  claude     ~/.claude/skills
  codex      ~/.agents/skills                   (Cursor, Copilot, Gemini CLI and others read it too)
  cursor     ~/.cursor/skills
  copilot    ~/.copilot/skills
  gemini     ~/.gemini/skills
  kiro       ~/.kiro/skills

Links follow this checkout: after an update run it again only for new skills; before moving the checkout, uninstall.
Copies do not: run it again after every update. It then updates the copies that nobody has changed.

  --assistant NAME  this assistant; may be given several times
  --copy       real copies instead of links, for assistants that drop links; a copy stays a copy in later runs
  --check      say what is installed, stale, changed, missing or not ours, and change nothing
               (without --assistant: wherever something of this checkout is)
  --dry-run    print what would be done, and do nothing
  --uninstall  remove the links to this checkout and the unchanged copies of it, the commands and the venv
               (without --assistant: wherever something of this checkout is)
  --no-venv    skills and commands only
  -h, --help   this text

What this script did not make, and a copy that was changed, is never overwritten or removed. The script names it,
leaves it, and exits with code 5.
Exit codes: 0 done, or all is fine; 1 --check found something else; 2 wrong option; 3 no skills here; 5 something was
left; 8 Python or a package is missing.
PYTHON names the Python (3.11 or newer) that the venv is made with; python3 where it is not set.

examples:
  ./install.sh --dry-run
  ./install.sh
  ./install.sh --assistant kiro --assistant cursor --copy
  ./install.sh --check
  ./install.sh --uninstall
TEXT
}

readonly ASSISTANTS=(opencode claude codex cursor copilot gemini kiro) # the first three are the default
mode=install dry_run=false copy=false with_venv=true left=0 wrong=0
chosen=()

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

tell() { # what --check found, text
    printf '%-9s %s\n' "$1" "$2"
    [[ $1 == ok ]] || wrong=$((wrong + 1))
}

folder_of() { # assistant
    case $1 in
        opencode) printf '%s\n' "$config/opencode/skills" ;;
        claude | cursor | copilot | gemini | kiro) printf '%s\n' "$HOME/.$1/skills" ;;
        codex) printf '%s\n' "$HOME/.agents/skills" ;;
        *) return 1 ;;
    esac
}

set_mode() { # of check, uninstall
    [[ $mode == install || $mode == "$1" ]] || fail 2 "--check and --uninstall exclude each other"
    mode=$1
}

while (($#)); do
    case $1 in
        --assistant)
            (($# > 1)) || fail 2 "--assistant needs a name: ${ASSISTANTS[*]}"
            chosen+=("$2")
            shift
            ;;
        --assistant=*) chosen+=("${1#*=}") ;;
        --copy) copy=true ;;
        --check) set_mode check ;;
        --uninstall) set_mode uninstall ;;
        --dry-run) dry_run=true ;;
        --no-venv) with_venv=false ;;
        -h | --help) usage && exit 0 ;;
        *) fail 2 "unknown option $1; see install.sh --help" ;;
    esac
    shift
done
$copy && [[ $mode != install ]] && fail 2 "--$mode looks at links and copies alike; leave --copy out"

[[ ${HOME:-} == /* ]] || fail 2 "HOME is not set"
config=${XDG_CONFIG_HOME:-$HOME/.config}
root=$(cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")" && pwd -P)
readonly config root mode copy dry_run

# shellcheck source=install/skills.sh
source "$root/install/skills.sh"
# shellcheck source=install/venv.sh
source "$root/install/venv.sh"
# shellcheck source=install/files.sh
source "$root/install/files.sh"

folders=()
for assistant in ${chosen[@]+"${chosen[@]}"}; do
    folder=$(folder_of "$assistant") || fail 2 "no assistant $assistant; there are ${ASSISTANTS[*]}"
    [[ " ${folders[*]-} " == *" $folder "* ]] || folders+=("$folder")
done
if ((${#folders[@]} == 0)); then # the default, and for --check and --uninstall wherever something of ours is
    for assistant in "${ASSISTANTS[@]}"; do
        folder=$(folder_of "$assistant")
        case $mode in
            check) ! holds_ours "$folder" || folders+=("$folder") ;;
            uninstall) [[ $assistant == @(opencode|claude|codex) ]] || holds_ours "$folder" && folders+=("$folder") ;;
            install) [[ $assistant == @(opencode|claude|codex) ]] && folders+=("$folder") ;;
        esac || true
    done
fi
if ((${#folders[@]} == 0)); then # --check where nothing was installed: then the default is missing
    folders=("$(folder_of opencode)" "$(folder_of claude)" "$(folder_of codex)")
fi

for folder in "${folders[@]}"; do
    "${mode}_skills" "$folder"
done
files_of "$mode"
$with_venv && "${mode}_venv"
if [[ $mode == install ]] && ! $dry_run; then say_next >&2; fi
((left == 0)) || fail 5 "$left of the places above were left as they are"
((wrong == 0)) || fail 1 "$wrong of the places above are not as install.sh would make them"
