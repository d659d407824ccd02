#include "daemon/manager/stack_dump.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <utility>

#include "common/scoreboard.h"
#include "common/worker_channel.h"

namespace green::manager {
namespace {

/// A signal handler answers in milliseconds, or not at all.
constexpr std::uint64_t limit_usec = 2'000'000;
constexpr std::size_t longest_text = 1U << 20;
/// Room for many threads: what does not fit is lost, so that the worker never waits for us.
constexpr int pipe_size = 1 << 20;

}  // namespace

Result<std::unique_ptr<StackDump>> StackDump::start(EventLoop& loop, int stacks_socket,
                                                    const std::function<void()>& signal,
                                                    Done done) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC | O_NONBLOCK) < 0) return fail_errno("pipe for stacks");
  Fd ours(ends[0]);
  const Fd theirs(ends[1]);
  // Less is enough for most: no error.
  static_cast<void>(::fcntl(theirs.get(), F_SETPIPE_SZ, pipe_size));
  auto dump = std::unique_ptr<StackDump>(new StackDump);
  dump->pipe_ = std::move(ours);
  dump->done_ = std::move(done);
  auto source = loop.add_io(dump->pipe_.get(), EPOLLIN,
                            [self = dump.get()](std::uint32_t) { self->on_readable(); });
  if (!source) return fail(std::move(source.error()));
  auto timer = loop.add_timer(monotonic_usec() + limit_usec, [self = dump.get()] {
    self->finish(fail(ErrorCode::unavailable, "no answer came within 2 s"));
  });
  if (!timer) return fail(std::move(timer.error()));
  dump->source_ = std::move(*source);
  dump->limit_ = std::move(*timer);
  Message message;
  message.type = MessageType::dump_stacks;
  const int descriptor = theirs.get();
  if (auto sent = send_message(stacks_socket, message, {&descriptor, 1}); !sent)
    return fail(std::move(sent.error()));
  signal();
  return dump;
}

void StackDump::on_readable() {
  std::array<char, 16384> part;
  const ssize_t size = ::read(pipe_.get(), part.data(), part.size());
  if (size > 0) {
    if (text_.size() < longest_text) text_.append(part.data(), static_cast<std::size_t>(size));
    return;
  }
  if (size < 0 && (errno == EAGAIN || errno == EINTR)) return;
  close();
}

void StackDump::end() {
  // A child that it forked may hold the other end: what is not here by now is not waited for.
  while (pipe_) {
    const std::size_t before = text_.size();
    on_readable();
    if (pipe_ && text_.size() == before) close();
  }
  finish(fail(ErrorCode::unavailable, "it wrote none"));
}

void StackDump::close() {
  source_ = {};
  pipe_.reset();
  // A process that ends closes what it holds some time before its end is known, which says why
  // nothing came: the limit or end() is waited for.
  if (!text_.empty()) finish(std::move(text_));
}

void StackDump::finish(Result<std::string> text) {
  limit_.disarm();
  if (const auto done = std::exchange(done_, {})) done(std::move(text));
}

}  // namespace green::manager
