# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_firmware_worker_global_optspecs
    string join \n h/help V/version
end

function __fish_firmware_worker_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_firmware_worker_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_firmware_worker_using_subcommand
    set -l cmd (__fish_firmware_worker_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c firmware-worker -n "__fish_firmware_worker_needs_command" -s h -l help -d 'Print help'
complete -c firmware-worker -n "__fish_firmware_worker_needs_command" -s V -l version -d 'Print version'
complete -c firmware-worker -n "__fish_firmware_worker_needs_command" -f -a "start" -d 'Register with the server and take jobs until stopped; the first SIGTERM or SIGINT drains, the second stops'
complete -c firmware-worker -n "__fish_firmware_worker_needs_command" -f -a "dev" -d 'The same at a developer\'s desk: verbose, without HTTP port unless one is configured, and the first signal stops'
complete -c firmware-worker -n "__fish_firmware_worker_needs_command" -f -a "connect" -d 'Join one room without registering and without dispatch'
complete -c firmware-worker -n "__fish_firmware_worker_needs_command" -f -a "devices" -d 'List the cameras and sound cards of this board'
complete -c firmware-worker -n "__fish_firmware_worker_needs_command" -f -a "bench" -d 'Measure a configured device: capture to last packet, opening, CPU and memory'
complete -c firmware-worker -n "__fish_firmware_worker_needs_command" -f -a "snapshot" -d 'Take one picture with a configured camera: JPEG to stdout'
complete -c firmware-worker -n "__fish_firmware_worker_needs_command" -f -a "jobs" -d 'List the jobs of the workers that run on this board'
complete -c firmware-worker -n "__fish_firmware_worker_needs_command" -f -a "check" -d 'Check a configuration and say what the worker would do with it'
complete -c firmware-worker -n "__fish_firmware_worker_needs_command" -f -a "doctor" -d 'Say what on this board keeps the worker from working well, with the remedy; 1 if something is wrong'
complete -c firmware-worker -n "__fish_firmware_worker_needs_command" -f -a "update" -d 'Install an update of a flashed image in its other slot, drain the worker, and restart into it'
complete -c firmware-worker -n "__fish_firmware_worker_needs_command" -f -a "board" -d 'On a flashed board: take over the settings on its boot partition'
complete -c firmware-worker -n "__fish_firmware_worker_needs_command" -f -a "token" -d 'Make a worker token from API key and secret, so that the secret stays off the board'
complete -c firmware-worker -n "__fish_firmware_worker_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand start" -l config -d 'Configuration file [default: a flashed board\'s own, else /etc/firmware-worker/config.toml if it exists]' -r -F
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand start" -l defaults -d 'One more, for what the configuration leaves out' -r -F
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand start" -l url -d 'Server, ws:// or wss://' -r
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand start" -l api-key -d 'API key' -r
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand start" -l api-secret-file -d 'File with the API secret' -r -F
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand start" -l token-file -d 'File with a ready token: a worker token, for `connect` a join token' -r -F
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand start" -l agent-name -d 'Name for explicit dispatch' -r
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand start" -l max-jobs -d 'Jobs at a time' -r
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand start" -l http -d 'Address and port for operators, or "off"' -r
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand start" -l log-level -d 'error, warn, info, debug or trace' -r -f -a "error\t''
warn\t''
info\t''
debug\t''
trace\t''"
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand start" -s h -l help -d 'Print help'
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand dev" -l config -d 'Configuration file [default: a flashed board\'s own, else /etc/firmware-worker/config.toml if it exists]' -r -F
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand dev" -l defaults -d 'One more, for what the configuration leaves out' -r -F
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand dev" -l url -d 'Server, ws:// or wss://' -r
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand dev" -l api-key -d 'API key' -r
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand dev" -l api-secret-file -d 'File with the API secret' -r -F
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand dev" -l token-file -d 'File with a ready token: a worker token, for `connect` a join token' -r -F
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand dev" -l agent-name -d 'Name for explicit dispatch' -r
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand dev" -l max-jobs -d 'Jobs at a time' -r
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand dev" -l http -d 'Address and port for operators, or "off"' -r
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand dev" -l log-level -d 'error, warn, info, debug or trace' -r -f -a "error\t''
warn\t''
info\t''
debug\t''
trace\t''"
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand dev" -s h -l help -d 'Print help'
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand connect" -l room -d 'Room to join' -r
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand connect" -l identity -d 'Identity to join as, unless a token says it' -r
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand connect" -l config -d 'Configuration file [default: a flashed board\'s own, else /etc/firmware-worker/config.toml if it exists]' -r -F
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand connect" -l defaults -d 'One more, for what the configuration leaves out' -r -F
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand connect" -l url -d 'Server, ws:// or wss://' -r
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand connect" -l api-key -d 'API key' -r
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand connect" -l api-secret-file -d 'File with the API secret' -r -F
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand connect" -l token-file -d 'File with a ready token: a worker token, for `connect` a join token' -r -F
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand connect" -l agent-name -d 'Name for explicit dispatch' -r
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand connect" -l max-jobs -d 'Jobs at a time' -r
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand connect" -l http -d 'Address and port for operators, or "off"' -r
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand connect" -l log-level -d 'error, warn, info, debug or trace' -r -f -a "error\t''
warn\t''
info\t''
debug\t''
trace\t''"
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand connect" -s h -l help -d 'Print help'
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand devices" -l config -d 'Configuration file, for cameras that are commands [default: the one that `start` would read]' -r -F
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand devices" -l json -d 'As JSON'
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand devices" -s h -l help -d 'Print help'
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand bench; and not __fish_seen_subcommand_from camera microphone speaker echo help" -s h -l help -d 'Print help'
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand bench; and not __fish_seen_subcommand_from camera microphone speaker echo help" -f -a "camera" -d 'A camera'
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand bench; and not __fish_seen_subcommand_from camera microphone speaker echo help" -f -a "microphone" -d 'A microphone'
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand bench; and not __fish_seen_subcommand_from camera microphone speaker echo help" -f -a "speaker" -d 'A speaker: plays a tone'
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand bench; and not __fish_seen_subcommand_from camera microphone speaker echo help" -f -a "echo" -d 'How a speaker is heard by a microphone: plays noise'
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand bench; and not __fish_seen_subcommand_from camera microphone speaker echo help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand bench; and __fish_seen_subcommand_from camera" -l seconds -d 'How long to measure' -r
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand bench; and __fish_seen_subcommand_from camera" -l config -d 'Configuration file [default: the one that `start` would read]' -r -F
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand bench; and __fish_seen_subcommand_from camera" -l json -d 'As JSON'
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand bench; and __fish_seen_subcommand_from camera" -s h -l help -d 'Print help'
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand bench; and __fish_seen_subcommand_from microphone" -l seconds -d 'How long to measure' -r
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand bench; and __fish_seen_subcommand_from microphone" -l config -d 'Configuration file [default: the one that `start` would read]' -r -F
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand bench; and __fish_seen_subcommand_from microphone" -l json -d 'As JSON'
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand bench; and __fish_seen_subcommand_from microphone" -s h -l help -d 'Print help'
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand bench; and __fish_seen_subcommand_from speaker" -l seconds -d 'How long to measure' -r
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand bench; and __fish_seen_subcommand_from speaker" -l config -d 'Configuration file [default: the one that `start` would read]' -r -F
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand bench; and __fish_seen_subcommand_from speaker" -l json -d 'As JSON'
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand bench; and __fish_seen_subcommand_from speaker" -s h -l help -d 'Print help'
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand bench; and __fish_seen_subcommand_from echo" -l seconds -d 'How long to measure' -r
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand bench; and __fish_seen_subcommand_from echo" -l config -d 'Configuration file [default: the one that `start` would read]' -r -F
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand bench; and __fish_seen_subcommand_from echo" -l json -d 'As JSON'
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand bench; and __fish_seen_subcommand_from echo" -s h -l help -d 'Print help'
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand bench; and __fish_seen_subcommand_from help" -f -a "camera" -d 'A camera'
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand bench; and __fish_seen_subcommand_from help" -f -a "microphone" -d 'A microphone'
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand bench; and __fish_seen_subcommand_from help" -f -a "speaker" -d 'A speaker: plays a tone'
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand bench; and __fish_seen_subcommand_from help" -f -a "echo" -d 'How a speaker is heard by a microphone: plays noise'
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand bench; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand snapshot" -l config -d 'Configuration file [default: the one that `start` would read]' -r -F
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand snapshot" -s h -l help -d 'Print help'
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand jobs; and not __fish_seen_subcommand_from stop help" -l json -d 'As JSON'
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand jobs; and not __fish_seen_subcommand_from stop help" -s h -l help -d 'Print help'
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand jobs; and not __fish_seen_subcommand_from stop help" -f -a "stop" -d 'End a job, and wait until it has ended'
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand jobs; and not __fish_seen_subcommand_from stop help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand jobs; and __fish_seen_subcommand_from stop" -s h -l help -d 'Print help'
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand jobs; and __fish_seen_subcommand_from help" -f -a "stop" -d 'End a job, and wait until it has ended'
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand jobs; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand check" -l handover -d 'Say whether this program could take the place of a running one, which has written its state to this descriptor: an upgrade asks so' -r
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand check" -l job -d 'Say only whether jobs could do something with what this command would read: a worker that reads it again asks so' -r -f -a "start\t''
dev\t''"
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand check" -l config -d 'Configuration file [default: a flashed board\'s own, else /etc/firmware-worker/config.toml if it exists]' -r -F
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand check" -l defaults -d 'One more, for what the configuration leaves out' -r -F
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand check" -l url -d 'Server, ws:// or wss://' -r
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand check" -l api-key -d 'API key' -r
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand check" -l api-secret-file -d 'File with the API secret' -r -F
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand check" -l token-file -d 'File with a ready token: a worker token, for `connect` a join token' -r -F
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand check" -l agent-name -d 'Name for explicit dispatch' -r
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand check" -l max-jobs -d 'Jobs at a time' -r
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand check" -l http -d 'Address and port for operators, or "off"' -r
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand check" -l log-level -d 'error, warn, info, debug or trace' -r -f -a "error\t''
warn\t''
info\t''
debug\t''
trace\t''"
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand check" -s h -l help -d 'Print help'
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand doctor" -l config -d 'Configuration file [default: a flashed board\'s own, else /etc/firmware-worker/config.toml if it exists]' -r -F
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand doctor" -l defaults -d 'One more, for what the configuration leaves out' -r -F
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand doctor" -l url -d 'Server, ws:// or wss://' -r
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand doctor" -l api-key -d 'API key' -r
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand doctor" -l api-secret-file -d 'File with the API secret' -r -F
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand doctor" -l token-file -d 'File with a ready token: a worker token, for `connect` a join token' -r -F
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand doctor" -l agent-name -d 'Name for explicit dispatch' -r
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand doctor" -l max-jobs -d 'Jobs at a time' -r
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand doctor" -l http -d 'Address and port for operators, or "off"' -r
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand doctor" -l log-level -d 'error, warn, info, debug or trace' -r -f -a "error\t''
warn\t''
info\t''
debug\t''
trace\t''"
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand doctor" -l fix -d 'Switch the memory controller of a Raspberry Pi on, in cmdline.txt, after showing the change'
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand doctor" -s h -l help -d 'Print help'
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand update" -l ca-file -d 'PEM certificates to trust beside the built-in roots' -r -F
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand update" -l status -d 'Say which slot runs, what is on trial, and which updates were taken back'
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand update" -l json -d 'The status as JSON'
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand update" -l watch -d 'Keep the slot that is on trial, or restart into the other one: what the service does after each start'
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand update" -l allow-older -d 'Also a version that is older than the running one'
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand update" -l again -d 'Also a version that was taken back before'
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand update" -s h -l help -d 'Print help'
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand board; and not __fish_seen_subcommand_from apply help" -s h -l help -d 'Print help'
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand board; and not __fish_seen_subcommand_from apply help" -f -a "apply" -d 'Read firmware-worker.toml there, keep it, and write what the system reads; mistakes go into a report beside it'
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand board; and not __fish_seen_subcommand_from apply help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand board; and __fish_seen_subcommand_from apply" -s h -l help -d 'Print help'
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand board; and __fish_seen_subcommand_from help" -f -a "apply" -d 'Read firmware-worker.toml there, keep it, and write what the system reads; mistakes go into a report beside it'
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand board; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand token" -l ttl -d 'How long it is valid: 90d, 12h, 30m' -r
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand token" -l output -d 'Write it to this new file, readable by its owner alone, instead of to stdout' -r -F
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand token" -l config -d 'Configuration file [default: a flashed board\'s own, else /etc/firmware-worker/config.toml if it exists]' -r -F
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand token" -l defaults -d 'One more, for what the configuration leaves out' -r -F
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand token" -l url -d 'Server, ws:// or wss://' -r
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand token" -l api-key -d 'API key' -r
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand token" -l api-secret-file -d 'File with the API secret' -r -F
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand token" -l token-file -d 'File with a ready token: a worker token, for `connect` a join token' -r -F
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand token" -l agent-name -d 'Name for explicit dispatch' -r
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand token" -l max-jobs -d 'Jobs at a time' -r
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand token" -l http -d 'Address and port for operators, or "off"' -r
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand token" -l log-level -d 'error, warn, info, debug or trace' -r -f -a "error\t''
warn\t''
info\t''
debug\t''
trace\t''"
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand token" -s h -l help -d 'Print help'
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand help; and not __fish_seen_subcommand_from start dev connect devices bench snapshot jobs check doctor update board token help" -f -a "start" -d 'Register with the server and take jobs until stopped; the first SIGTERM or SIGINT drains, the second stops'
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand help; and not __fish_seen_subcommand_from start dev connect devices bench snapshot jobs check doctor update board token help" -f -a "dev" -d 'The same at a developer\'s desk: verbose, without HTTP port unless one is configured, and the first signal stops'
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand help; and not __fish_seen_subcommand_from start dev connect devices bench snapshot jobs check doctor update board token help" -f -a "connect" -d 'Join one room without registering and without dispatch'
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand help; and not __fish_seen_subcommand_from start dev connect devices bench snapshot jobs check doctor update board token help" -f -a "devices" -d 'List the cameras and sound cards of this board'
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand help; and not __fish_seen_subcommand_from start dev connect devices bench snapshot jobs check doctor update board token help" -f -a "bench" -d 'Measure a configured device: capture to last packet, opening, CPU and memory'
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand help; and not __fish_seen_subcommand_from start dev connect devices bench snapshot jobs check doctor update board token help" -f -a "snapshot" -d 'Take one picture with a configured camera: JPEG to stdout'
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand help; and not __fish_seen_subcommand_from start dev connect devices bench snapshot jobs check doctor update board token help" -f -a "jobs" -d 'List the jobs of the workers that run on this board'
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand help; and not __fish_seen_subcommand_from start dev connect devices bench snapshot jobs check doctor update board token help" -f -a "check" -d 'Check a configuration and say what the worker would do with it'
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand help; and not __fish_seen_subcommand_from start dev connect devices bench snapshot jobs check doctor update board token help" -f -a "doctor" -d 'Say what on this board keeps the worker from working well, with the remedy; 1 if something is wrong'
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand help; and not __fish_seen_subcommand_from start dev connect devices bench snapshot jobs check doctor update board token help" -f -a "update" -d 'Install an update of a flashed image in its other slot, drain the worker, and restart into it'
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand help; and not __fish_seen_subcommand_from start dev connect devices bench snapshot jobs check doctor update board token help" -f -a "board" -d 'On a flashed board: take over the settings on its boot partition'
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand help; and not __fish_seen_subcommand_from start dev connect devices bench snapshot jobs check doctor update board token help" -f -a "token" -d 'Make a worker token from API key and secret, so that the secret stays off the board'
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand help; and not __fish_seen_subcommand_from start dev connect devices bench snapshot jobs check doctor update board token help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand help; and __fish_seen_subcommand_from bench" -f -a "camera" -d 'A camera'
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand help; and __fish_seen_subcommand_from bench" -f -a "microphone" -d 'A microphone'
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand help; and __fish_seen_subcommand_from bench" -f -a "speaker" -d 'A speaker: plays a tone'
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand help; and __fish_seen_subcommand_from bench" -f -a "echo" -d 'How a speaker is heard by a microphone: plays noise'
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand help; and __fish_seen_subcommand_from jobs" -f -a "stop" -d 'End a job, and wait until it has ended'
complete -c firmware-worker -n "__fish_firmware_worker_using_subcommand help; and __fish_seen_subcommand_from board" -f -a "apply" -d 'Read firmware-worker.toml there, keep it, and write what the system reads; mistakes go into a report beside it'
