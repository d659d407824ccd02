// A service manager's side of sd_notify(3), for tests: a real datagram socket in NOTIFY_SOCKET.
#pragma once

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <string>
#include <vector>

#include "common/fd.h"

namespace green::manager {

class NotifyReceiver {
 public:
  NotifyReceiver() : fd_(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)) {
    sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
    const std::string name = "green-notify-" + std::to_string(::getpid());
    name.copy(address.sun_path + 1, name.size());
    const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
    bound_ = ::bind(fd_.get(), reinterpret_cast<const sockaddr*>(&address), size) == 0;
    ::setenv("NOTIFY_SOCKET", ("@" + name).c_str(), 1);
  }
  ~NotifyReceiver() { ::unsetenv("NOTIFY_SOCKET"); }
  NotifyReceiver(const NotifyReceiver&) = delete;
  NotifyReceiver& operator=(const NotifyReceiver&) = delete;

  bool bound() const { return bound_; }
  int fd() const { return fd_.get(); }
  /// Everything that has arrived, a datagram each.
  std::vector<std::string> take() {
    std::vector<std::string> all;
    std::array<char, 4096> buffer;
    ssize_t size = 0;
    while ((size = ::recv(fd_.get(), buffer.data(), buffer.size(), 0)) > 0)
      all.emplace_back(buffer.data(), static_cast<std::size_t>(size));
    return all;
  }

 private:
  Fd fd_;
  bool bound_ = false;
};

}  // namespace green::manager
