// A worker: one loop that accepts, calls the application and replies, until greend says drain,
// SIGTERM comes, or the channel closes. Main thread of a process that a zygote forked. With
// threads = N the application runs on threads of its own, and the loop without the GIL.
//
//   starting ──ready sent──▶ ready ──serve──▶ serving ──drain, SIGTERM, channel closed──▶ draining
//   ──▶ exit 0
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>

#include "common/fd.h"
#include "daemon/http/in_process_exchange.h"
#include "daemon/http/reactor.h"
#include "daemon/http/server.h"
#include "daemon/worker/memory_use.h"
#include "daemon/worker/site_process.h"
#include "daemon/worker/worker_meter.h"

namespace green::worker {

/// The whole life of a worker; returns its exit status. `imports`: the application is not loaded
/// yet.
int run_worker(SiteProcess& process, Fd channel, std::uint32_t slot, bool imports);

class Worker {
 public:
  Worker(SiteProcess& process, Fd channel, std::uint32_t slot);

  /// Loads what the zygote did not. The failure was reported to greend.
  std::expected<void, python::LoadFailure> load(bool imports);
  /// Sets itself up, and has the application start up. A failure was reported to greend.
  std::expected<void, python::LoadFailure> start_up();
  /// Serves until drained.
  Result<void> serve();
  /// Its end is bounded already: calls that may never return hold threads of this process.
  bool exits_by_itself() const { return exits_by_itself_; }

 private:
  enum class State { starting, ready, serving, draining };

  /// A descriptor of the worker's own in the loop.
  struct Watch final : http::EventHandler {
    void on_events(std::uint32_t events) override { callback(events); }
    std::function<void(std::uint32_t)> callback;
  };

  Result<void> set_up();
  void report_failure(const python::LoadFailure& failure);
  Result<void> watch_channel();
  Result<void> watch_signals();
  void read_channel();
  void handle(const Message& message);
  void channel_lost();
  void answer_probe();
  void send_probe_result();
  bool calls_are(python::Calls calls) const { return application_->calls() == calls; }
  /// Calls on threads were answered, or have ended.
  void on_progress();
  void give_up_overdue_calls();
  void give_up_calls(std::uint64_t begun_by_usec);
  void start_drain(DrainPace pace);
  /// Accepts while it was told to serve and its generation is the one that serves.
  void update_accepting();
  void on_turn(std::uint64_t now_usec);
  void send(const Message& message, std::string_view text = {});
  Message message_of(MessageType type) const;
  Result<void> open_stacks();
  Result<void> say_ready();

  SiteProcess& process_;
  const std::uint32_t slot_;
  State state_ = State::starting;
  bool accepting_ = false;
  bool said_due_ = false;
  bool has_given_up_ = false;
  bool exits_by_itself_ = false;
  std::uint64_t next_repair_usec_ = 0;
  WorkerMeter meter_;
  MemoryUse memory_use_;
  Fd channel_;
  Fd stacks_socket_;  ///< greend's end, until it is sent
  Fd term_event_;
  Watch channel_watch_;
  Watch term_watch_;
  /// The probe under way.
  std::optional<http::InProcessExchange> probe_;
  // The application goes first: its threads end before the exchanges they answer. Then the server,
  // then the loop.
  std::unique_ptr<http::AccessLog> access_log_;  ///< null: off
  std::unique_ptr<http::Reactor> reactor_;
  std::unique_ptr<http::Server> server_;
  std::unique_ptr<python::SiteApplication> application_;
};

}  // namespace green::worker
