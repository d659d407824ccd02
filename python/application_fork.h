// Notices that the application forked: its child must not go on as if it were the worker.
// Any thread; the handler runs in the child, right after its fork(2).
#pragma once

namespace green::python {

/// Once a process, before the application is loaded.
void watch_for_forks();

/// True while green itself forks (the children are then ours).
void set_own_fork(bool own);

/// After each return from application code: a child it forked ends here, loudly. Costs one load.
void end_if_forked();

}  // namespace green::python
