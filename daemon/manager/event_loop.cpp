#include "daemon/manager/event_loop.h"

#include <utility>

namespace green::manager {

struct EventSource::State {
  State() = default;
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  ~State() { sd_event_source_disable_unref(source); }

  sd_event_source* source = nullptr;
  std::function<void(std::uint32_t)> callback;
  std::function<void()> prepare;
  std::weak_ptr<State> self;

  void dispatch(std::uint32_t events) {
    const std::shared_ptr<State> keep = self.lock();
    callback(events);
  }

  static int on_io(sd_event_source*, int, std::uint32_t events, void* data) {
    static_cast<State*>(data)->dispatch(events);
    return 0;
  }
  static int on_timer(sd_event_source*, std::uint64_t, void* data) {
    static_cast<State*>(data)->dispatch(0);
    return 0;
  }
  static int on_signal(sd_event_source*, const signalfd_siginfo*, void* data) {
    static_cast<State*>(data)->dispatch(0);
    return 0;
  }
  static int on_defer(sd_event_source*, void* data) {
    static_cast<State*>(data)->dispatch(0);
    return 0;
  }
  static int on_prepare(sd_event_source*, void* data) {
    auto* state = static_cast<State*>(data);
    const std::shared_ptr<State> keep = state->self.lock();
    state->prepare();
    return 0;
  }

  static std::shared_ptr<State> make(std::function<void(std::uint32_t)> callback) {
    auto state = std::make_shared<State>();
    state->callback = std::move(callback);
    state->self = state;
    return state;
  }
};

EventSource::EventSource(std::shared_ptr<State> state) : state_(std::move(state)) {}
EventSource::EventSource(EventSource&&) noexcept = default;

EventSource& EventSource::operator=(EventSource&& other) noexcept {
  if (this != &other) {
    // Off before the callback's state may outlive us inside dispatch().
    if (state_) sd_event_source_set_enabled(state_->source, SD_EVENT_OFF);
    state_ = std::move(other.state_);
  }
  return *this;
}

EventSource::~EventSource() {
  if (state_) sd_event_source_set_enabled(state_->source, SD_EVENT_OFF);
}

void EventSource::set_io_events(std::uint32_t events) {
  sd_event_source_set_io_events(state_->source, events);
}

void EventSource::set_time(std::uint64_t monotonic_usec) {
  sd_event_source_set_time(state_->source, monotonic_usec);
  sd_event_source_set_enabled(state_->source, SD_EVENT_ONESHOT);
}

void EventSource::disarm() { sd_event_source_set_enabled(state_->source, SD_EVENT_OFF); }

void EventSource::set_prepare(std::function<void()> callback) {
  state_->prepare = std::move(callback);
  sd_event_source_set_prepare(state_->source, &State::on_prepare);
}

Result<EventLoop> EventLoop::create() {
  sd_event* event = nullptr;
  const int error = sd_event_new(&event);
  if (error < 0) return fail(Error::from_errno("sd_event_new", -error));
  return EventLoop(event);
}

Result<EventSource> EventLoop::add_io(int fd, std::uint32_t events,
                                      std::function<void(std::uint32_t)> callback) {
  auto state = EventSource::State::make(std::move(callback));
  const int error = sd_event_add_io(event_.get(), &state->source, fd, events,
                                    &EventSource::State::on_io, state.get());
  if (error < 0) return fail(Error::from_errno("sd_event_add_io", -error));
  return EventSource(std::move(state));
}

Result<EventSource> EventLoop::add_timer(std::uint64_t monotonic_usec,
                                         std::function<void()> callback) {
  auto state = EventSource::State::make([call = std::move(callback)](std::uint32_t) { call(); });
  constexpr std::uint64_t accuracy_usec = 50'000;
  const int error = sd_event_add_time(event_.get(), &state->source, CLOCK_MONOTONIC, monotonic_usec,
                                      accuracy_usec, &EventSource::State::on_timer, state.get());
  if (error < 0) return fail(Error::from_errno("sd_event_add_time", -error));
  return EventSource(std::move(state));
}

Result<EventSource> EventLoop::add_signal(int signal_number, std::function<void()> callback) {
  auto state = EventSource::State::make([call = std::move(callback)](std::uint32_t) { call(); });
  const int error = sd_event_add_signal(event_.get(), &state->source, signal_number,
                                        &EventSource::State::on_signal, state.get());
  if (error < 0) return fail(Error::from_errno("sd_event_add_signal", -error));
  return EventSource(std::move(state));
}

Result<EventSource> EventLoop::add_defer(std::function<void()> callback) {
  auto state = EventSource::State::make([call = std::move(callback)](std::uint32_t) { call(); });
  const int error =
      sd_event_add_defer(event_.get(), &state->source, &EventSource::State::on_defer, state.get());
  if (error < 0) return fail(Error::from_errno("sd_event_add_defer", -error));
  return EventSource(std::move(state));
}

Result<int> EventLoop::run() {
  const int status = sd_event_loop(event_.get());
  if (status < 0) return fail(Error::from_errno("sd_event_loop", -status));
  return status;
}

Result<std::optional<int>> EventLoop::turn() {
  const int turned = sd_event_run(event_.get(), UINT64_MAX);
  if (turned < 0) return fail(Error::from_errno("sd_event_run", -turned));
  if (sd_event_get_state(event_.get()) != SD_EVENT_FINISHED) return std::nullopt;
  int status = 0;
  const int error = sd_event_get_exit_code(event_.get(), &status);
  if (error < 0) return fail(Error::from_errno("sd_event_get_exit_code", -error));
  return status;
}

void EventLoop::exit(int status) { sd_event_exit(event_.get(), status); }

}  // namespace green::manager
