#include "common/journal_socket.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <array>
#include <bit>
#include <cerrno>
#include <cstdint>
#include <cstring>

#include "common/high_fd.h"

namespace green {
namespace {

/// Entries up to here go as they are; the kernel may refuse more.
constexpr int send_buffer_bytes = 1 << 20;

sockaddr_un address_of(const char* path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, path, sizeof address.sun_path - 1);
  return address;
}

Result<void> send_message(int socket, sockaddr_un& address, msghdr& message) {
  message.msg_name = &address;
  message.msg_namelen = sizeof address;
  for (;;) {
    if (::sendmsg(socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0) return {};
    if (errno != EINTR) return fail_errno("the journal");
  }
}

}  // namespace

void append_journal_field(std::string& entry, std::string_view name, std::string_view value) {
  entry += name;
  if (!value.contains('\n')) {
    entry += '=';
  } else {
    entry += '\n';
    std::uint64_t size = value.size();
    if constexpr (std::endian::native == std::endian::big) size = std::byteswap(size);
    std::array<char, sizeof size> bytes{};
    std::memcpy(bytes.data(), &size, sizeof size);
    entry.append(bytes.data(), bytes.size());
  }
  entry += value;
  entry += '\n';
}

Result<JournalSocket> JournalSocket::open(const char* path) {
  auto socket = move_high(Fd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)));
  if (!socket) return fail(std::move(socket.error()).context("the journal's socket"));
  // What the kernel does not grant, send_as_file() makes up for.
  static_cast<void>(::setsockopt(socket->get(), SOL_SOCKET, SO_SNDBUF, &send_buffer_bytes,
                                 sizeof send_buffer_bytes));
  return JournalSocket(std::move(*socket), path);
}

Result<void> JournalSocket::send(std::string_view entry) const {
  auto address = address_of(path_);
  iovec bytes{.iov_base = const_cast<char*>(entry.data()), .iov_len = entry.size()};
  msghdr message{};
  message.msg_iov = &bytes;
  message.msg_iovlen = 1;
  auto sent = send_message(socket_.get(), address, message);
  if (!sent && (sent.error().errno_value() == EMSGSIZE || sent.error().errno_value() == ENOBUFS))
    return send_as_file(entry);
  return sent;
}

/// An entry that is too long for a datagram: journald takes a sealed file of it.
Result<void> JournalSocket::send_as_file(std::string_view entry) const {
  const Fd file(::memfd_create("journal-entry", MFD_ALLOW_SEALING | MFD_CLOEXEC));
  if (!file) return fail_errno("memfd_create");
  for (std::string_view rest = entry; !rest.empty();) {
    const auto written = ::write(file.get(), rest.data(), rest.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return fail_errno("writing a journal entry");
    rest.remove_prefix(static_cast<std::size_t>(written));
  }
  if (::fcntl(file.get(), F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) <
      0)
    return fail_errno("sealing a journal entry");
  auto address = address_of(path_);
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
  msghdr message{};
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(int));
  const int descriptor = file.get();
  std::memcpy(CMSG_DATA(header), &descriptor, sizeof descriptor);
  return send_message(socket_.get(), address, message);
}

}  // namespace green
