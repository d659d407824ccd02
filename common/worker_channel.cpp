#include "common/worker_channel.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>

namespace green {
namespace {

constexpr std::size_t control_size =
    CMSG_SPACE(sizeof(int) * channel_maximum_descriptors) + CMSG_SPACE(sizeof(ucred));

/// Takes every descriptor and the credentials out of a received control message.
void take_control(msghdr& header, ReceivedMessage& received) {
  for (cmsghdr* part = CMSG_FIRSTHDR(&header); part != nullptr; part = CMSG_NXTHDR(&header, part)) {
    if (part->cmsg_level != SOL_SOCKET) continue;
    if (part->cmsg_type == SCM_RIGHTS) {
      const std::size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
      for (std::size_t i = 0; i < count; ++i) {
        int fd = -1;
        std::memcpy(&fd, CMSG_DATA(part) + i * sizeof(int), sizeof fd);
        received.descriptors.emplace_back(fd);
      }
    } else if (part->cmsg_type == SCM_CREDENTIALS) {
      ucred credentials{};
      std::memcpy(&credentials, CMSG_DATA(part), sizeof credentials);
      received.sender = credentials.pid;
    }
  }
}

}  // namespace

Result<std::pair<Fd, Fd>> make_channel() {
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) < 0)
    return fail_errno("socketpair for a worker's channel");
  Fd ours(ends[0]);
  Fd theirs(ends[1]);
  const int on = 1;
  if (::setsockopt(ours.get(), SOL_SOCKET, SO_PASSCRED, &on, sizeof on) < 0)
    return fail_errno("SO_PASSCRED on a worker's channel");
  const int flags = ::fcntl(ours.get(), F_GETFL);
  if (flags < 0 || ::fcntl(ours.get(), F_SETFL, flags | O_NONBLOCK) < 0)
    return fail_errno("O_NONBLOCK on a worker's channel");
  return std::pair(std::move(ours), std::move(theirs));
}

Result<void> send_message(int channel, const Message& message, std::span<const int> descriptors) {
  if (descriptors.size() > channel_maximum_descriptors)
    return fail(ErrorCode::protocol, "too many descriptors for one message");
  // sendmsg(2) does not write through it; iovec has no const form.
  iovec vector{const_cast<Message*>(&message), sizeof message};
  alignas(cmsghdr) std::array<char, control_size> control{};
  msghdr header{};
  header.msg_iov = &vector;
  header.msg_iovlen = 1;
  if (!descriptors.empty()) {
    header.msg_control = control.data();
    header.msg_controllen = CMSG_SPACE(descriptors.size_bytes());
    cmsghdr* part = CMSG_FIRSTHDR(&header);
    part->cmsg_level = SOL_SOCKET;
    part->cmsg_type = SCM_RIGHTS;
    part->cmsg_len = CMSG_LEN(descriptors.size_bytes());
    std::memcpy(CMSG_DATA(part), descriptors.data(), descriptors.size_bytes());
  }
  ssize_t sent = 0;
  do sent = ::sendmsg(channel, &header, MSG_NOSIGNAL);
  while (sent < 0 && errno == EINTR);
  if (sent < 0) return fail_errno("sending on a worker's channel");
  return {};
}

Result<std::optional<ReceivedMessage>> receive_message(int channel) {
  ReceivedMessage received;
  iovec vector{&received.message, sizeof received.message};
  alignas(cmsghdr) std::array<char, control_size> control{};
  msghdr header{};
  header.msg_iov = &vector;
  header.msg_iovlen = 1;
  header.msg_control = control.data();
  header.msg_controllen = control.size();
  ssize_t size = 0;
  do size = ::recvmsg(channel, &header, MSG_CMSG_CLOEXEC);
  while (size < 0 && errno == EINTR);
  if (size < 0) {
    if (errno == ECONNRESET) return std::nullopt;
    return fail_errno("reading a worker's channel");
  }
  take_control(header, received);
  if (size == 0) return std::nullopt;
  if (size != sizeof received.message || (header.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0)
    return fail(ErrorCode::protocol, "a message of the wrong size on a worker's channel");
  return received;
}

Result<Fd> make_text_memfd(const char* name, std::string_view text) {
  Fd fd(::memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd) return fail_errno("memfd_create");
  while (!text.empty()) {
    const ssize_t written = ::write(fd.get(), text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return fail_errno("writing a memfd");
    text.remove_prefix(static_cast<std::size_t>(written));
  }
  if (::fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) < 0)
    return fail_errno("sealing a memfd");
  return fd;
}

Result<std::string> read_text(int fd, std::size_t limit) {
  std::string text;
  std::array<char, 16384> buffer;
  while (text.size() < limit) {
    const std::size_t wanted = std::min(buffer.size(), limit - text.size());
    const ssize_t size = ::pread(fd, buffer.data(), wanted, static_cast<off_t>(text.size()));
    if (size < 0 && errno == EINTR) continue;
    if (size < 0) return fail_errno("reading a text");
    if (size == 0) break;
    text.append(buffer.data(), static_cast<std::size_t>(size));
  }
  return text;
}

}  // namespace green
