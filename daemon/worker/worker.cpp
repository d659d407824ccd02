#include "daemon/worker/worker.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <utility>

#include "common/high_fd.h"
#include "common/log.h"
#include "common/message_ids.h"
#include "common/names.h"
#include "daemon/worker/process_title.h"
#include "daemon/worker/request_report.h"
#include "daemon/worker/worker_signals.h"

namespace green::worker {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

/// A call that was given up and runs on stays the oldest: it is not looked at all the time.
constexpr std::uint64_t shortest_check_usec = 100'000;
constexpr unsigned given_up_exit_seconds = 1;
/// How often what an application may have broken (handlers, standard streams) is put right.
constexpr std::uint64_t repair_interval_usec = 1'000'000;

Microseconds heartbeat_interval(Microseconds timeout) {
  if (timeout.count() == 0) return seconds(5);
  return std::clamp<Microseconds>(timeout / 4, milliseconds(250), seconds(5));
}

}  // namespace

Worker::Worker(SiteProcess& process, Fd channel, std::uint32_t slot)
    : process_(process),
      slot_(slot),
      meter_(process.scoreboard, slot, process.generation),
      channel_(std::move(channel)) {}

std::expected<void, python::LoadFailure> Worker::load(bool imports) {
  std::expected<void, python::LoadFailure> loaded;
  auto access_log = http::AccessLog::create(
      process_.settings,
      {.site = process_.site, .generation = process_.generation, .worker = slot_});
  if (access_log)
    access_log_ = std::move(*access_log);
  else
    loaded = std::unexpected(
        python::LoadFailure{StartFailure::configuration, access_log.error().message()});
  if (loaded && imports) loaded = process_.runtime->load_application();
  if (loaded) {
    // Last: the import may have set handlers of its own.
    process_.runtime->enable_stack_dumps(worker_dump_signal(), process_.low_descriptors.error());
    answer_stuck_calls_on(worker_dump_signal());
    send_held_replies_at_death();
    if (auto opened = open_stacks(); !opened)
      log_warning("stacks can't be asked for: {}", opened.error().message());
    auto application = process_.runtime->make_application(
        process_.settings.workers > 1, static_cast<std::size_t>(process_.settings.threads));
    if (application)
      application_ = std::move(*application);
    else
      loaded = std::unexpected(application.error());
  }
  if (!loaded) report_failure(loaded.error());
  return loaded;
}

void Worker::report_failure(const python::LoadFailure& failure) {
  if (!channel_) return log_error("worker {}: {}", slot_, failure.text);
  if (auto sent = send_failure(channel_.get(), MessageType::start_failed, slot_, failure); !sent)
    log_error("{}: {}", sent.error().message(), failure.text);
}

std::expected<void, python::LoadFailure> Worker::start_up() {
  std::expected<void, python::LoadFailure> started;
  if (auto ready = set_up(); !ready)
    started =
        std::unexpected(python::LoadFailure{StartFailure::application, ready.error().message()});
  else
    started = application_->start_up();
  if (!started) report_failure(started.error());
  return started;
}

Result<void> Worker::serve() {
  // It may have been told to drain meanwhile.
  if (state_ == State::starting) {
    state_ = State::ready;
    meter_.set_resting(WorkerActivity::idle);
    meter_.heartbeat(monotonic_usec());
    if (auto said = say_ready(); !said) return said;
  }
  if (!calls_are(python::Calls::on_threads)) return application_->run_loop(*reactor_);
  Result<void> served;
  process_.runtime->without_gil([&] { served = application_->run_loop(*reactor_); });
  return served;
}

/// faulthandler writes to one number for ever: /dev/null, where no answer is asked for.
Result<void> Worker::open_stacks() {
  auto ends = make_channel();
  if (!ends) return fail(std::move(ends.error()));
  auto socket = move_high(std::move(ends->second));
  if (!socket) return fail(std::move(socket.error()));
  auto output = move_high(Fd(::open("/dev/null", O_WRONLY | O_CLOEXEC)));
  if (!output) return fail(std::move(output.error()));
  process_.runtime->dump_stacks_on(worker_stacks_signal(), output->get());
  if (auto answering = answer_stacks_on(worker_stacks_signal(), std::move(*socket),
                                        std::move(*output), &python::thread_with_gil);
      !answering)
    return answering;
  stacks_socket_ = std::move(ends->first);
  return {};
}

Result<void> Worker::say_ready() {
  const int descriptor = stacks_socket_.get();
  auto sent = send_message(channel_.get(), message_of(MessageType::ready),
                           stacks_socket_ ? std::span(&descriptor, 1) : std::span<const int>());
  stacks_socket_.reset();
  // A channel that is gone is noticed by its end.
  if (!sent) log_debug("worker {}: {}", slot_, sent.error().message());
  return {};
}

Result<void> Worker::set_up() {
  process_.low_descriptors.restore_streams();
  process_.low_descriptors.occupy();
  auto reactor = http::Reactor::create();
  if (!reactor) return fail(std::move(reactor.error()));
  reactor_ = std::move(*reactor);
  reactor_->set_turn_callback([this](std::uint64_t now_usec) { on_turn(now_usec); },
                              heartbeat_interval(process_.settings.timeout));
  if (calls_are(python::Calls::in_place)) {
    reactor_->set_blocking_wait(
        [this](const http::Reactor::Wait& wait) { process_.runtime->without_gil(wait); });
  } else {
    meter_.follow_calls(calls_are(python::Calls::as_tasks));
    if (auto started = application_->start(*reactor_, [this] { on_progress(); }); !started)
      return started;
    if (calls_are(python::Calls::on_threads)) give_up_overdue_calls();
  }
  auto limits = http::make_limits(process_.settings);
  if (!limits) return fail(std::move(limits.error()));
  server_ =
      http::Server::create(*reactor_, *application_, meter_, std::move(*limits), access_log_.get());
  for (Fd& listener : process_.listeners)
    if (auto added = server_->add_listener(std::move(listener)); !added) return added;
  if (auto watched = watch_channel(); !watched) return watched;
  return watch_signals();
}

Result<void> Worker::watch_channel() {
  const int flags = ::fcntl(channel_.get(), F_GETFL);
  if (flags < 0 || ::fcntl(channel_.get(), F_SETFL, flags | O_NONBLOCK) < 0)
    return fail_errno("O_NONBLOCK on the channel");
  channel_watch_.callback = [this](std::uint32_t) { read_channel(); };
  return reactor_->add(channel_.get(), EPOLLIN, channel_watch_, http::Priority::urgent);
}

Result<void> Worker::watch_signals() {
  auto event = watch_sigterm();
  if (!event) return fail(std::move(event.error()));
  term_event_ = std::move(*event);
  term_watch_.callback = [this](std::uint32_t) {
    std::uint64_t count = 0;
    [[maybe_unused]] const ssize_t size = ::read(term_event_.get(), &count, sizeof count);
    start_drain(DrainPace::patient);
  };
  return reactor_->add(term_event_.get(), EPOLLIN, term_watch_, http::Priority::urgent);
}

void Worker::read_channel() {
  while (channel_) {
    auto received = receive_message(channel_.get());
    if (!received) {
      if (received.error().errno_value() == EAGAIN) return;
      log_error("worker {}: {}", slot_, received.error().message());
      return channel_lost();
    }
    if (!*received) return channel_lost();
    handle((*received)->message);
  }
}

void Worker::handle(const Message& message) {
  switch (message.type) {
    case MessageType::serve:
      if (state_ == State::ready) state_ = State::serving;
      return update_accepting();
    case MessageType::drain:
      return start_drain(static_cast<DrainPace>(message.code));
    case MessageType::probe:
      return answer_probe();
    case MessageType::list_requests: {
      Message answer = message_of(MessageType::requests);
      answer.code = message.code;
      return send(answer, request_list_to_text(report_requests(*server_, *application_)));
    }
    case MessageType::log_level:
      return log_set_level(static_cast<LogLevel>(message.code));
    default:
      log_error("worker {}: a message of type {} that it does not know", slot_,
                static_cast<std::uint32_t>(message.type));
  }
}

void Worker::channel_lost() {
  reactor_->remove(channel_.get(), channel_watch_);
  channel_.reset();
  start_drain(DrainPace::patient);
}

void Worker::answer_probe() {
  const std::uint64_t start = monotonic_usec();
  meter_.heartbeat(start);
  static_cast<void>(process_.runtime->take_last_traceback());  // of another request
  if (probe_) return;  // one that is under way answers for both
  probe_.emplace(process_.settings.probe, process_.settings.probe_host);
  application_->call(*probe_);
  if (probe_ && probe_->is_done()) send_probe_result();  // or on_progress() did
}

void Worker::send_probe_result() {
  Message answer = message_of(MessageType::probed);
  answer.code = probe_->aborted() ? 0 : probe_->status();
  send(answer, process_.runtime->take_last_traceback());
  probe_.reset();
}

void Worker::on_progress() {
  meter_.update(monotonic_usec(), application_->under_way());
  if (probe_ && probe_->is_done()) send_probe_result();
}

/// Runs when the oldest call has had its time, or, where there is none, the next one could have.
void Worker::give_up_overdue_calls() {
  const auto timeout = static_cast<std::uint64_t>(process_.settings.timeout.count());
  if (timeout == 0) return;
  const std::uint64_t now = monotonic_usec();
  const std::uint64_t begun_by = now > timeout ? now - timeout : 0;
  if (const auto oldest = application_->under_way().oldest_usec; oldest != 0 && oldest <= begun_by)
    give_up_calls(begun_by);
  const auto calls = application_->under_way();
  const std::uint64_t due = std::max(calls.oldest_usec + timeout, now + shortest_check_usec);
  reactor_->call_after(std::chrono::microseconds(calls.oldest_usec == 0 ? timeout : due - now),
                       [this] { give_up_overdue_calls(); });
}

void Worker::give_up_calls(std::uint64_t begun_by_usec) {
  // One that holds the GIL holds up all others too: new connections are better off elsewhere, and
  // those who wait here for a thread wait no longer than a call may run.
  meter_.leave_connections_to_others();
  const auto names = application_->give_up_calls(begun_by_usec, has_given_up_);
  for (const std::string& name : names)
    log_event(message_id::request_timed_out, LogLevel::error,
              "worker {}: {} was not answered within timeout ({} s); the worker is replaced", slot_,
              name, std::chrono::duration<double>(process_.settings.timeout).count());
  if (std::exchange(has_given_up_, true)) return;
  ::raise(worker_dump_signal());
  send(message_of(MessageType::overdue));
  start_drain(DrainPace::patient);
}

void Worker::start_drain(DrainPace pace) {
  if (state_ == State::draining) {
    if (pace == DrainPace::prompt) server_->hurry();
    return;
  }
  state_ = State::draining;
  meter_.set_resting(WorkerActivity::draining);
  send(message_of(MessageType::draining));
  application_->drain();
  server_->drain(
      [this] {
        // A call that was given up may hold its thread, and the GIL with it, for ever.
        if (has_given_up_ && application_->under_way().count > 0) {
          exits_by_itself_ = true;
          exit_after(given_up_exit_seconds, exit_success);
        }
        application_->wind_down([this] { reactor_->stop(); });
      },
      pace);
}

void Worker::update_accepting() {
  if (state_ != State::serving) return;
  if (!accepting_ && meter_.may_accept()) {
    accepting_ = true;
    if (auto started = server_->start_accepting(); !started)
      reactor_->fail(std::move(started.error()));
  } else if (accepting_ && !meter_.may_accept()) {
    // Another generation serves: what waits in the sockets is for it. greend's drain is on its way,
    // and without this the loop would spin on listeners it may not take from.
    start_drain(DrainPace::patient);
  }
}

void Worker::on_turn(std::uint64_t now_usec) {
  if (calls_are(python::Calls::in_place))
    meter_.heartbeat(now_usec);
  else
    meter_.update(now_usec, application_->under_way());
  update_accepting();
  if (!said_due_ && meter_.is_due()) {
    said_due_ = true;
    send(message_of(MessageType::due));
  }
  if (now_usec < next_repair_usec_) return;
  next_repair_usec_ = now_usec + repair_interval_usec;
  restore_signal_handlers();
  process_.low_descriptors.restore_streams();
  process_.low_descriptors.occupy();
  if (access_log_) access_log_->report(now_usec);
  if (const std::int64_t limit = process_.settings.max_rss; limit > 0)
    meter_.set_memory(memory_use_.measure(static_cast<std::uint64_t>(limit), now_usec));
}

void Worker::send(const Message& message, std::string_view text) {
  if (!channel_) return;
  // A channel that is gone is noticed by its end; one that is full, by greend's own time limits.
  if (auto sent = send_with_text(channel_.get(), message, text); !sent)
    log_debug("worker {}: {}", slot_, sent.error().message());
}

Message Worker::message_of(MessageType type) const {
  Message message;
  message.type = type;
  message.slot = slot_;
  return message;
}

int run_worker(SiteProcess& process, Fd channel, std::uint32_t slot, bool imports) {
  set_process_title(fmt::format("{} worker {}", process.title(), slot));
  log_open({.identifier = "green-worker",
            .site = process.site,
            .generation = fmt::format("{}", process.generation),
            .worker = fmt::format("{}", slot)},
           process.maximum_log_level());
  int status = exit_success;
  {
    auto high = move_high(std::move(channel));
    if (!high) {
      log_error("{}", high.error().message());
      return exit_failure;
    }
    Worker worker(process, std::move(*high), slot);
    if (auto loaded = worker.load(imports); !loaded) {
      status = exit_status_of(loaded.error());
    } else if (auto started = worker.start_up(); !started) {
      status = exit_status_of(started.error());
    } else if (auto served = worker.serve(); !served) {
      log_error("worker {}: {}", slot, served.error().message());
      status = exit_failure;
    }
    // Threads are joined here and in finalize(), the pool's and the application's, and may never
    // end.
    const auto bound =
        std::chrono::duration_cast<seconds>(process.settings.graceful_timeout).count();
    if (!worker.exits_by_itself())
      exit_after(static_cast<unsigned>(std::clamp<std::int64_t>(bound, 1, 3600)), status);
  }
  process.runtime->finalize();
  return status;
}

}  // namespace green::worker
