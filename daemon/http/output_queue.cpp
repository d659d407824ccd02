#include "daemon/http/output_queue.h"

#include <poll.h>
#include <signal.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "common/log.h"
#include "daemon/http/socket_calls.h"

namespace green::http {
namespace {

/// Of a file, ours or another's, before other connections have their turn.
constexpr std::uint64_t most_at_once = 4 << 20;

bool would_block(int error) { return error == EAGAIN || error == EWOULDBLOCK; }

/// sendfile() without SIGPIPE, whose disposition is the application's. The kernel raises it in the
/// calling thread, so it is taken back here, unless another one was pending before.
ssize_t send_from_file(int socket, int file, off_t offset, std::size_t length) {
  sigset_t pipe_signal;
  sigset_t pending;
  sigset_t mask;
  sigemptyset(&pipe_signal);
  sigaddset(&pipe_signal, SIGPIPE);
  sigpending(&pending);
  pthread_sigmask(SIG_BLOCK, &pipe_signal, &mask);
  const ssize_t count = ::sendfile(socket, file, &offset, length);
  const int error = errno;
  if (count < 0 && error == EPIPE && sigismember(&pending, SIGPIPE) == 0) {
    const timespec at_once{};
    while (sigtimedwait(&pipe_signal, nullptr, &at_once) < 0 && errno == EINTR) {
    }
  }
  pthread_sigmask(SIG_SETMASK, &mask, nullptr);
  errno = error;
  return count;
}

ssize_t send_frame(int socket, const Frame& frame) {
  if (frame.data.empty() && frame.after.empty()) {
    return send_now(socket, frame.before);
  }
  std::array<iovec, 3> parts{};
  std::size_t count = 0;
  for (const std::string_view part : {frame.before, frame.data, frame.after}) {
    if (part.empty()) continue;
    parts[count++] = {.iov_base = const_cast<char*>(part.data()), .iov_len = part.size()};
  }
  msghdr message{};
  message.msg_iov = parts.data();
  message.msg_iovlen = count;
  return sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/// Whether the socket takes something again, or never will. Cheaper than a try: that reads a piece
/// of the spool file first.
bool has_news(int socket) {
  pollfd one{.fd = socket, .events = POLLOUT, .revents = 0};
  return ::poll(&one, 1, 0) > 0;
}

}  // namespace

OutputQueue::Status OutputQueue::send(int socket, const Frame& frame) {
  // Within one call of an application nobody else looks: it may write without end.
  if (!empty() && has_news(socket) && flush(socket) == Status::broken) return Status::broken;
  std::size_t taken = 0;
  if (empty() && frame.size() > 0) {
    const auto count = send_frame(socket, frame);
    if (count >= 0) {
      taken = static_cast<std::size_t>(count);
      sent_ += taken;
    } else if (!would_block(errno) && errno != EINTR) {
      return broken(errno);
    }
  }
  for (std::string_view part : {frame.before, frame.data, frame.after}) {
    const auto gone = std::min(taken, part.size());
    taken -= gone;
    part.remove_prefix(gone);
    if (!part.empty() && keep(part) == Status::broken) return Status::broken;
  }
  return empty() ? Status::empty : Status::pending;
}

OutputQueue::Status OutputQueue::send_file(int socket, const Frame& frame, FilePart part) {
  // A head that the file follows at once does not leave in a packet of its own.
  if (empty() && part.length > 0) {
    const auto count = send_now(socket, frame.before, MSG_MORE);
    if (count < 0 && !would_block(errno) && errno != EINTR) return broken(errno);
    const auto taken = count < 0 ? std::size_t{0} : static_cast<std::size_t>(count);
    sent_ += taken;
    const auto rest = frame.before.substr(taken);
    if (!rest.empty() && keep(rest) == Status::broken) return Status::broken;
  } else if (!frame.before.empty() &&
             send(socket, {.before = frame.before, .data = {}, .after = {}}) == Status::broken) {
    return Status::broken;
  }
  if (part.length > 0) source_ = std::move(part);
  tail_ = frame.after;
  return flush(socket);
}

OutputQueue::Status OutputQueue::keep(std::string_view data) {
  if (!file_) {
    const auto kept = memory_.size() - memory_offset_;
    const auto room = limits_->output_memory > kept ? limits_->output_memory - kept : 0;
    const auto part = data.substr(0, room);
    // A reply may go on for ever behind a client that never takes all there is.
    if (memory_offset_ > memory_.size() / 2) memory_.erase(0, std::exchange(memory_offset_, 0));
    memory_.append(part);
    data.remove_prefix(part.size());
    if (data.empty()) return Status::pending;
    auto file = SpoolFile::create(limits_->spool_directory);
    if (!file) {
      log_error("spooling a reply: {}", file.error().message());
      return broken(file.error().errno_value());
    }
    file_ = std::move(*file);
    file_offset_ = 0;
  }
  if (auto appended = file_->append(data); !appended) {
    log_error("spooling a reply: {}", appended.error().message());
    return broken(appended.error().errno_value());
  }
  return Status::pending;
}

OutputQueue::Status OutputQueue::flush(int socket) {
  wants_turn_ = false;
  for (const auto part : {&OutputQueue::flush_memory, &OutputQueue::flush_file,
                          &OutputQueue::flush_source, &OutputQueue::flush_tail}) {
    if (const auto status = (this->*part)(socket); status != Status::empty) return status;
  }
  return Status::empty;
}

OutputQueue::Status OutputQueue::flush_memory(int socket) {
  while (memory_offset_ < memory_.size()) {
    const auto count = send_now(socket, std::string_view(memory_).substr(memory_offset_));
    if (count < 0) {
      if (errno == EINTR) continue;
      return would_block(errno) ? Status::pending : broken(errno);
    }
    memory_offset_ += static_cast<std::size_t>(count);
    sent_ += static_cast<std::uint64_t>(count);
  }
  memory_ = {};
  memory_offset_ = 0;
  return Status::empty;
}

OutputQueue::Status OutputQueue::flush_file(int socket) {
  std::array<char, 64 << 10> piece;
  const std::uint64_t last_offset = file_offset_ + most_at_once;
  while (file_ && file_offset_ < file_->size()) {
    if (file_offset_ >= last_offset) {
      wants_turn_ = true;
      return Status::pending;
    }
    const auto length = file_->read(file_offset_, piece);
    if (!length) {
      log_error("{}", length.error().message());
      return broken(length.error().errno_value());
    }
    if (*length == 0) return broken(EIO);  // the file is shorter than what was written to it
    const auto count = send_now(socket, {piece.data(), *length});
    if (count < 0) {
      if (errno == EINTR) continue;
      return would_block(errno) ? Status::pending : broken(errno);
    }
    file_offset_ += static_cast<std::uint64_t>(count);
    sent_ += static_cast<std::uint64_t>(count);
  }
  file_.reset();
  file_offset_ = 0;
  return Status::empty;
}

OutputQueue::Status OutputQueue::flush_source(int socket) {
  std::uint64_t at_once = most_at_once;
  while (source_ && source_->length > 0) {
    if (at_once == 0) {
      wants_turn_ = true;
      return Status::pending;
    }
    const auto count =
        send_from_file(socket, source_->file.get(), static_cast<off_t>(source_->offset),
                       static_cast<std::size_t>(std::min(source_->length, at_once)));
    if (count < 0) {
      if (errno == EINTR) continue;
      return would_block(errno) ? Status::pending : broken(errno);
    }
    if (count == 0) {
      log_warning("a file that is being sent became {} bytes shorter: connection closed",
                  source_->length);
      return broken(EIO);
    }
    const auto sent = static_cast<std::uint64_t>(count);
    source_->offset += sent;
    source_->length -= sent;
    at_once -= sent;
    sent_ += sent;
  }
  source_.reset();
  return Status::empty;
}

OutputQueue::Status OutputQueue::flush_tail(int socket) {
  while (!tail_.empty()) {
    const auto count = send_now(socket, tail_);
    if (count < 0) {
      if (errno == EINTR) continue;
      return would_block(errno) ? Status::pending : broken(errno);
    }
    tail_.erase(0, static_cast<std::size_t>(count));
    sent_ += static_cast<std::uint64_t>(count);
  }
  return Status::empty;
}

std::uint64_t OutputQueue::size() const {
  return memory_.size() - memory_offset_ + (file_ ? file_->size() - file_offset_ : 0) +
         (source_ ? source_->length : 0) + tail_.size();
}

OutputQueue::Status OutputQueue::broken(int errno_value) {
  clear();
  errno_value_ = errno_value;
  return Status::broken;
}

void OutputQueue::clear() {
  memory_ = {};
  memory_offset_ = 0;
  file_.reset();
  file_offset_ = 0;
  source_.reset();
  tail_.clear();
  wants_turn_ = false;
  sent_ = 0;
  errno_value_ = 0;
}

}  // namespace green::http
