// Signals of zygotes and workers. Main thread; the handlers run wherever the kernel delivers.
#pragma once

#include "common/fd.h"
#include "common/result.h"

namespace green::worker {

/// In a zygote, inherited by its workers: what a terminal sends to the whole process group (SIGINT,
/// SIGQUIT, SIGHUP) is greend's to decide on, so it does nothing here. By handlers, not by SIG_IGN,
/// which the application's sub-processes would inherit. SIGPIPE and SIGXFSZ are ignored as in any
/// Python.
void ignore_terminal_signals();

/// In a worker, after the import: SIGTERM makes the returned descriptor readable.
Result<Fd> watch_sigterm();
/// In a worker, after faulthandler took `number` for its stack dumps: the same signal also answers
/// the call that holds up this thread, the loop's (http/stuck_call.h).
void answer_stuck_calls_on(int number);
/// After faulthandler has set its handlers: a signal that ends the process by default first gives
/// the kernel the replies that are held (daemon/http/held_replies.h). So does _exit(), which is
/// ours in this program; SIGKILL and exec do not.
void send_held_replies_at_death();
/// In a worker, after faulthandler took `number` to write all stacks to the number of `output`
/// (/dev/null): the signal takes a pipe from `socket`, puts it there, and has them written, on the
/// thread that `thread_with_gil` names if there is one, whose stacks and the others' stand still
/// meanwhile. Both stay open for ever.
Result<void> answer_stacks_on(int number, Fd socket, Fd output, pid_t (*thread_with_gil)());
/// The application may have set handlers of its own since: ours are put back where theirs would end
/// the worker or keep it from draining.
void restore_signal_handlers();

/// Bounds what follows: after `seconds` the process exits with `status`, whatever it is doing.
void exit_after(unsigned seconds, int status);

}  // namespace green::worker
