# shellcheck shell=bash
# Completion of greenctl for bash, with the sites and workers there are.

__greenctl_sites() {
  greenctl "${__greenctl_bus[@]}" --no-pager --no-legend list 2>/dev/null | { while read -r site _; do printf '%s\n' "$site"; done; }
}

__greenctl_pids() {
  greenctl "${__greenctl_bus[@]}" --no-pager --no-legend workers "$@" 2>/dev/null | { while read -r _ pid _; do printf '%s\n' "$pid"; done; }
}

_greenctl() {
  local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
  local verbs='list status workers requests top backtrace logs reload scale recycle drain undrain reexec config wait'
  local options='--bus --user --host --json --quiet --no-legend --no-pager --no-ask-password --help --version'
  local -a __greenctl_bus=() arguments=()
  local verb='' word i choices=''
  # Of "--bus=ADDRESS" bash makes several words: the line itself is looked at.
  if [[ $COMP_LINE =~ --bus[=\ ]([^\ ]+) ]]; then
    __greenctl_bus=("--bus=${BASH_REMATCH[1]}")
  elif [[ " $COMP_LINE " == *' --user '* ]]; then
    __greenctl_bus=(--user)
  elif [[ $COMP_LINE =~ (--host[=\ ]|-H\ ?)([^\ ]+) ]]; then
    __greenctl_bus=("--host=${BASH_REMATCH[2]}")
  fi
  for ((i = 1; i < COMP_CWORD; i++)); do
    word=${COMP_WORDS[i]}
    if [[ -z $verb ]]; then
      if [[ " $verbs " == *" $word "* ]]; then verb=$word; fi
    elif [[ $word != -* && $word != '=' && ${COMP_WORDS[i - 1]} != '=' ]]; then
      arguments+=("$word")
    fi
  done
  if [[ $current == '=' ]]; then current=''; fi
  if [[ $previous == '=' ]]; then previous=${COMP_WORDS[COMP_CWORD - 2]}; fi
  case $previous in
    --json) choices='pretty short' ;;
    --bus) choices='system user' ;;
    --until) choices='ready idle' ;;
    --timeout | --lines | --since | --host | -H | -n | -d) return ;;
  esac
  if [[ -n $choices ]]; then
    :
  elif [[ $current == -* ]]; then
    case $verb in
      reload | scale | recycle | drain | undrain | reexec) choices="$options --wait --no-block --timeout" ;;
      wait) choices="$options --until --timeout" ;;
      logs) choices="$options --follow --lines --priority --since" ;;
      status) choices="$options --lines" ;;
      top) choices="$options --delay" ;;
      *) choices=$options ;;
    esac
  elif [[ -z $verb ]]; then
    choices=$verbs
  else
    case $verb:${#arguments[@]} in
      list:*) ;;
      config:0) choices='check show diff' ;;
      config:1) choices=$(__greenctl_sites) ;;
      recycle:0) choices="$(__greenctl_sites) all $(__greenctl_pids)" ;;
      recycle:1) choices="all $(__greenctl_pids "${arguments[0]}")" ;;
      backtrace:0) choices="$(__greenctl_sites) $(__greenctl_pids)" ;;
      backtrace:1) choices=$(__greenctl_pids "${arguments[0]}") ;;
      *:0) choices=$(__greenctl_sites) ;;
    esac
  fi
  mapfile -t COMPREPLY < <(compgen -W "$choices" -- "$current")
}

complete -F _greenctl greenctl
