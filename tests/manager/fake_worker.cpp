// A green-worker without Python, for tests of greend: speaks the channel, double-forks as the real
// one, and does what settings.app says:
//   ok:app             imports, forks, serves (accepts nothing) and drains on request
//   missing:app        import_failed, configuration
//   broken:app         import_failed, application, a traceback of two lines
//   exits:app          ends with status 3 in the middle of its import
//   fails:app          every worker could not load the application
//   falters:app        as fails; and the zygote takes 0.8 s to tell of each worker but the first
//   wanes:app          every worker but the first two could not load the application
//   aloof:app          every worker closes its channel before it is ready, and stays
//   slow:app           forks a worker in 0.8 s
//   leaves:app         every worker has ended by the time that it is said to be forked and ready
//   quits:app          every worker drains of itself before it is ready, as on a SIGTERM
//   resigns:app        every worker drains of itself as soon as it serves
//   dies:app           every worker ends with status 7 as soon as it serves
//   stops:app          a worker never beats after ready
//   hangs:app          never says imported
//   probe500:app       answers the probe with 500
//   mute:app           never answers the probe
//   deaf:app           a worker ignores drain
//   fat:app            a worker says that it takes 1 GiB
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>

#include "common/scoreboard.h"
#include "common/settings.h"
#include "common/worker_channel.h"

namespace {

using namespace green;

struct Site {
  std::string behaviour;
  Scoreboard scoreboard;
  std::uint64_t generation;
  unsigned forked = 0;  ///< workers so far
};

void say(int channel, MessageType type, std::uint32_t slot = 0, std::int32_t code = 0,
         pid_t pid = 0, const std::string& text = {}) {
  Message message;
  message.type = type;
  message.slot = slot;
  message.code = code;
  message.pid = pid;
  Fd memfd;
  if (!text.empty()) memfd = std::move(*make_text_memfd("text", text));
  const int descriptor = memfd.get();
  if (!send_message(channel, message,
                    text.empty() ? std::span<const int>{} : std::span(&descriptor, 1)))
    ::_exit(90);
}

[[noreturn]] void work(const Site& site, std::uint32_t slot, int channel) {
  ScoreboardSlot& mine = site.scoreboard.slot(slot);
  mine.heartbeat_usec = monotonic_usec();
  mine.requests = 5;
  if (site.behaviour == "fat") mine.memory_bytes = 1 << 30;
  ::alarm(60);  // a test that forgets us does not leave us behind
  if (site.behaviour == "fails" || site.behaviour == "falters" ||
      (site.behaviour == "wanes" && site.forked > 2)) {
    say(channel, MessageType::start_failed, slot,
        static_cast<std::int32_t>(StartFailure::application), 0, "OSError: no");
    ::_exit(1);
  }
  if (site.behaviour == "aloof") {
    ::close(channel);
    ::pause();
  }
  if (site.behaviour == "quits") {
    say(channel, MessageType::draining, slot);
    ::_exit(0);
  }
  say(channel, MessageType::ready, slot);
  if (site.behaviour == "leaves") ::_exit(7);
  while (true) {
    auto received = receive_message(channel);
    if (!received || !*received) ::_exit(0);
    switch ((*received)->message.type) {
      case MessageType::serve:
        if (site.behaviour == "dies") ::_exit(7);
        if (site.behaviour == "resigns") {
          say(channel, MessageType::draining, slot);
          ::_exit(0);
        }
        break;
      case MessageType::drain:
        if (site.behaviour == "deaf") break;
        say(channel, MessageType::draining, slot);
        ::_exit(0);
      case MessageType::probe:
        if (site.behaviour == "mute") break;
        say(channel, MessageType::probed, slot, site.behaviour == "probe500" ? 500 : 200);
        break;
      default:
        ::_exit(91);
    }
  }
}

void wait_for_end(pid_t process) {
  const int pidfd = static_cast<int>(::syscall(SYS_pidfd_open, process, 0));
  if (pidfd < 0) return;  // reaped already
  pollfd end{.fd = pidfd, .events = POLLIN, .revents = 0};
  if (::poll(&end, 1, -1) != 1) ::_exit(96);
  ::close(pidfd);
}

void fork_worker(const Site& site, std::uint32_t slot, Fd worker_channel) {
  int pipe_ends[2];
  if (::pipe(pipe_ends) < 0) ::_exit(92);
  const pid_t middle = ::fork();
  if (middle == 0) {
    const pid_t worker = ::fork();
    if (worker == 0) {
      ::close(worker_channel_fd);
      work(site, slot, worker_channel.get());
    }
    ::_exit(::write(pipe_ends[1], &worker, sizeof worker) == sizeof worker ? 0 : 1);
  }
  pid_t worker = 0;
  if (::read(pipe_ends[0], &worker, sizeof worker) != sizeof worker) ::_exit(93);
  ::close(pipe_ends[0]);
  ::close(pipe_ends[1]);
  ::waitpid(middle, nullptr, 0);
  if (site.behaviour == "leaves") wait_for_end(worker);
  if (site.behaviour == "slow" || (site.behaviour == "falters" && site.forked > 1))
    ::usleep(800'000);
  say(worker_channel_fd, MessageType::forked, slot, 0, worker);
}

}  // namespace

int main() {
  auto spec = receive_message(worker_channel_fd);
  if (!spec || !*spec || (*spec)->message.type != MessageType::spec) return 94;
  auto& descriptors = (*spec)->descriptors;
  const auto toml = read_text(descriptors[spec_settings].get());
  const auto settings = settings_from_toml(*toml);
  auto scoreboard =
      Scoreboard::map(std::move(descriptors[spec_scoreboard]), (*spec)->message.spec.slot_count);
  if (!settings || !scoreboard) return 95;
  Site site{.behaviour = settings->app.substr(0, settings->app.find(':')),
            .scoreboard = std::move(*scoreboard),
            .generation = (*spec)->message.spec.generation};
  if (site.behaviour == "exits") return 3;
  if (site.behaviour == "missing" || site.behaviour == "broken") {
    const auto kind =
        site.behaviour == "missing" ? StartFailure::configuration : StartFailure::application;
    say(worker_channel_fd, MessageType::import_failed, 0, static_cast<std::int32_t>(kind), 0,
        kind == StartFailure::configuration ? "no module named \"missing\""
                                            : "Traceback (most recent call last):\nValueError: no");
    return 1;
  }
  if (site.behaviour != "hangs") say(worker_channel_fd, MessageType::imported);
  while (true) {
    auto received = receive_message(worker_channel_fd);
    if (!received || !*received) return 0;
    ++site.forked;
    fork_worker(site, (*received)->message.slot, std::move((*received)->descriptors.at(0)));
  }
}
