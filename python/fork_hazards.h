// What an import may leave behind that does not survive a fork: threads (they vanish, with whatever
// locks they held) and connected sockets (two processes on one connection corrupt it). The zygote's
// main thread, with the GIL.
#pragma once

#include <set>
#include <string>
#include <vector>

namespace green::python {

/// Inodes of the sockets open now. Taken before the import: those are ours or inherited.
std::set<unsigned long> open_sockets();

/// In words: "thread 'poller'", "native thread 'blas'", "socket 127.0.0.1:5432 (fd 9)".
/// Datagram sockets don't count: each message on them is whole, as with a syslog or statsd socket.
std::vector<std::string> find_fork_hazards(const std::set<unsigned long>& known_sockets);

}  // namespace green::python
