#include "daemon/http/output_queue.h"

#include <sys/socket.h>
#include <sys/uio.h>

#include <array>
#include <cerrno>

#include "common/log.h"

namespace green::http {
namespace {

constexpr int send_flags = MSG_NOSIGNAL | MSG_DONTWAIT;

bool would_block(int error) { return error == EAGAIN || error == EWOULDBLOCK; }

ssize_t send_frame(int socket, const Frame& frame) {
  if (frame.data.empty() && frame.after.empty()) {
    return ::send(socket, frame.before.data(), frame.before.size(), send_flags);
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
  return sendmsg(socket, &message, send_flags);
}

}  // namespace

OutputQueue::Status OutputQueue::send(int socket, const Frame& frame) {
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

OutputQueue::Status OutputQueue::keep(std::string_view data) {
  if (!file_) {
    const auto kept = memory_.size() - memory_offset_;
    const auto room = limits_->output_memory > kept ? limits_->output_memory - kept : 0;
    const auto part = data.substr(0, room);
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
  if (const auto status = flush_memory(socket); status != Status::empty) return status;
  return flush_file(socket);
}

OutputQueue::Status OutputQueue::flush_memory(int socket) {
  while (memory_offset_ < memory_.size()) {
    const auto count = ::send(socket, memory_.data() + memory_offset_,
                              memory_.size() - memory_offset_, send_flags);
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
  // Not sendfile(): it raises SIGPIPE, whose disposition is the application's.
  std::array<char, 64 << 10> piece;
  while (file_ && file_offset_ < file_->size()) {
    const auto length = file_->read(file_offset_, piece);
    if (!length) {
      log_error("{}", length.error().message());
      return broken(length.error().errno_value());
    }
    if (*length == 0) return broken(EIO);  // the file is shorter than what was written to it
    const auto count = ::send(socket, piece.data(), *length, send_flags);
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
  sent_ = 0;
  errno_value_ = 0;
}

}  // namespace green::http
