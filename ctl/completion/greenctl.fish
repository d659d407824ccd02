# Completion of greenctl for fish, with the sites and workers there are.

function __greenctl_bus
    string match -r -- '^--bus=.*|^--user$|^--host=.*' (commandline -opc)
end

function __greenctl_sites
    greenctl (__greenctl_bus) --no-pager --no-legend list 2>/dev/null | string match -r '^\S+'
end

function __greenctl_words
    string match -v -- '-*' (commandline -opc)
end

function __greenctl_pids
    set -l words (__greenctl_words)
    greenctl (__greenctl_bus) --no-pager --no-legend workers $words[3] 2>/dev/null | string replace -r '^\s*\S+\s+(\S+).*' '$1'
end

function __greenctl_needs_verb
    test (count (__greenctl_words)) -eq 1
end

# __greenctl_at N VERB...: the Nth word after one of these verbs is wanted.
function __greenctl_at
    set -l words (__greenctl_words)
    test (count $words) -eq (math $argv[1] + 1); and contains -- $words[2] $argv[2..]
end

complete -c greenctl -f
complete -c greenctl -n __greenctl_needs_verb -a 'list status workers requests top backtrace logs reload scale recycle drain undrain reexec config wait'
complete -c greenctl -n '__greenctl_at 1 status workers requests top backtrace logs reload scale recycle drain undrain reexec wait' -a '(__greenctl_sites)'
complete -c greenctl -n '__greenctl_at 1 config' -a 'check show diff'
complete -c greenctl -n '__greenctl_at 2 config' -a '(__greenctl_sites)'
complete -c greenctl -n '__greenctl_at 1 recycle backtrace' -a '(__greenctl_pids)'
complete -c greenctl -n '__greenctl_at 2 recycle backtrace' -a '(__greenctl_pids)'
complete -c greenctl -n '__greenctl_at 1 recycle' -a all
complete -c greenctl -n '__greenctl_at 2 recycle' -a all
complete -c greenctl -l bus -x -a 'system user' -d 'The bus to use'
complete -c greenctl -l user -d 'Sites of this user'
complete -c greenctl -s H -l host -x -d 'Another machine'
complete -c greenctl -l json -x -a 'pretty short' -d 'Write JSON'
complete -c greenctl -s q -l quiet -d 'Say nothing when all went well'
complete -c greenctl -l no-legend -d 'No heading above tables'
complete -c greenctl -l no-pager -d 'No pager'
complete -c greenctl -l no-ask-password -d 'No questions'
complete -c greenctl -n '__fish_seen_subcommand_from reload scale recycle drain undrain reexec' -l wait -d 'Wait until it is done'
complete -c greenctl -n '__fish_seen_subcommand_from reload scale recycle drain undrain reexec' -l no-block -d 'Only start it'
complete -c greenctl -n '__fish_seen_subcommand_from reload scale recycle drain undrain reexec wait' -l timeout -x -d 'Wait no longer'
complete -c greenctl -n '__fish_seen_subcommand_from wait' -l until -x -a 'ready idle' -d 'What to wait for'
complete -c greenctl -n '__fish_seen_subcommand_from logs' -s f -l follow -d 'Go on with what comes'
