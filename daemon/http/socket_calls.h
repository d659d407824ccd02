// recv(2) and send(2) that do not wait, for the loop thread and for signal handlers. The C
// library's are cancellation points, which in a process with threads costs each two atomic
// operations: together 6 % of a small request's user time. Errors are in errno.
#pragma once

#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstddef>
#include <string_view>

namespace green::http {

inline ssize_t receive_now(int socket, char* data, std::size_t size) {
  return ::syscall(SYS_recvfrom, socket, data, size, MSG_DONTWAIT, nullptr, nullptr);
}

/// Without SIGPIPE. `flags`: MSG_MORE, or nothing.
inline ssize_t send_now(int socket, std::string_view data, int flags = 0) {
  return ::syscall(SYS_sendto, socket, data.data(), data.size(),
                   MSG_DONTWAIT | MSG_NOSIGNAL | flags, nullptr, 0);
}

}  // namespace green::http
