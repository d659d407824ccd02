// All that crosses from greend to a green-worker process, on one page.
//
// greend (manager) ── exec ──▶ green-worker zygote ── double fork ──▶ worker
//
// Inherited at exec: standard input (/dev/null), output and error as greend's own, and descriptor
// 3, the zygote's end of a SOCK_SEQPACKET channel. No other descriptor; no NOTIFY_SOCKET, LISTEN_*,
// WATCHDOG_*. The first message on the channel is MessageType::spec with the WorkerSpec and its
// descriptors.
#pragma once

#include <signal.h>
#include <sys/types.h>

#include <array>
#include <cstdint>

namespace green {

/// Where a zygote finds its channel after exec.
inline constexpr int worker_channel_fd = 3;

/// Raised when the layout of anything below or of the scoreboard changes: greend and green-worker
/// must agree.
inline constexpr std::uint32_t worker_protocol_version = 3;

/// By this signal greend asks for Python stacks: the worker takes a `dump_stacks` message from its
/// stacks socket, in its handler, and writes them to the descriptor that came with it. It goes on.
inline int worker_stacks_signal() { return SIGRTMIN + 6; }

/// By this signal greend says that a request has had its time: the worker writes its Python stacks
/// and answers the request that holds up its loop with 504. It is killed next, unless it turns.
inline int worker_dump_signal() { return SIGRTMIN + 7; }

struct WorkerSpec {
  std::uint32_t protocol_version = worker_protocol_version;
  std::uint32_t slot_count = 0;  ///< slots in the scoreboard
  std::uint64_t generation = 0;
  std::uint32_t listener_count =
      0;  ///< descriptors: settings memfd, scoreboard memfd, then the listeners
  std::uint32_t padding = 0;
  std::array<char, 72> site{};  ///< NUL-terminated; empty without a site
};

/// Descriptors that travel with a spec, in this order; listeners follow.
enum SpecDescriptor : std::size_t { spec_settings = 0, spec_scoreboard = 1, spec_listeners = 2 };

enum class MessageType : std::uint32_t {
  // greend → zygote
  spec = 1,     ///< spec; descriptors as above
  fork_worker,  ///< slot; descriptor 0: the worker's end of its own channel
  // zygote → greend
  imported,  ///< the application is loaded; worker_fork may follow. text memfd: warnings, if any
  import_failed,  ///< code: StartFailure; text memfd: the traceback. The zygote exits after it
  forked,         ///< slot, pid: the worker exists and is greend's child
  fork_failed,    ///< slot, code: errno
  // greend → worker
  serve,  ///< start accepting
  drain,  ///< stop accepting, finish what is in flight, exit 0. code: DrainPace
  probe,  ///< ask the application for settings.probe of settings.probe_host, in process
  // worker → greend
  ready,  ///< set up, application loaded; waits for serve. descriptor: greend's end of its stacks
          ///< socket
  start_failed,  ///< as import_failed, for an application that each worker imports for itself
  draining,      ///< no longer accepts
  probed,        ///< code: HTTP status (0: the application raised); text memfd: the traceback then
  due,           ///< has answered request_limit requests: may be recycled
  overdue,       ///< gave up calls that outlived `timeout` on threads; it drains
  // greend → worker, on its stacks socket
  dump_stacks,  ///< descriptor: a pipe to write to
  // greend → worker
  list_requests,  ///< say which requests you have; code: the question's number
  // greend → zygote, worker
  log_level,  ///< code: LogLevel, from here on. Workers that the zygote forks have it too
  // worker → greend
  requests,  ///< answers list_requests; code: its number; text memfd: common/request_list.h
};

/// How long a draining worker keeps idle connections, whose clients may be about to send.
enum class DrainPace : std::int32_t {
  patient = 0,  ///< as long as ever: until `keepalive`, or near the end of `graceful_timeout`
  prompt = 1,   ///< about a second: somebody waits for the end
};

/// Why a start failed: decides between EX_CONFIG and a retry.
enum class StartFailure : std::int32_t {
  configuration = 1,  ///< no such module or attribute, not callable, unusable venv
  application = 2,    ///< the application's own code raised
};

/// One message: fixed size. Long texts travel as a memfd beside it.
struct Message {
  MessageType type{};
  std::uint32_t slot = 0;
  std::int32_t code = 0;
  pid_t pid = 0;
  WorkerSpec spec{};
};

}  // namespace green
