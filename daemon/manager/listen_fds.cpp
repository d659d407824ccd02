#include "daemon/manager/listen_fds.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <utility>

#include "common/log.h"
#include "daemon/manager/failed_starts.h"

namespace green::manager {
namespace {

constexpr int listen_backlog = 4096;       // the kernel caps it at net.core.somaxconn
constexpr mode_t unix_socket_mode = 0666;  // as systemd's SocketMode=

Result<void> make_nonblocking(int fd) {
  const int flags = ::fcntl(fd, F_GETFL);
  if (flags < 0 || ::fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
    return fail_errno("O_NONBLOCK on a listening socket");
  return {};
}

/// Why a passed descriptor is of no use to us; empty: it is.
std::string refusal(int fd, std::string_view name) {
  if (name != "http" && name != "unknown" && !name.empty() && !name.ends_with(".socket"))
    return fmt::format("its name is \"{}\", not \"http\"", name);
  if (::sd_is_socket(fd, AF_UNSPEC, SOCK_STREAM, 1) <= 0) return "it is no listening stream socket";
  if (::sd_is_socket(fd, AF_INET, 0, -1) <= 0 && ::sd_is_socket(fd, AF_INET6, 0, -1) <= 0 &&
      ::sd_is_socket(fd, AF_UNIX, 0, -1) <= 0)
    return "its address family is not IPv4, IPv6 or unix";
  return {};
}

Error bind_error(std::string_view address, int error) {
  std::string hint;
  if (error == EADDRINUSE)
    hint = " (another program listens there; choose another address or stop it)";
  if (error == EACCES)
    hint = " (ports below 1024 and this folder need more rights; or let systemd open the socket)";
  return {ErrorCode::configuration,
          fmt::format("bind = \"{}\": {}{}", address, std::strerror(error), hint)};
}

/// True if a socket file is there that nobody listens on.
bool is_stale(const sockaddr_un& address) {
  struct stat status{};
  if (::lstat(address.sun_path, &status) < 0 || !S_ISSOCK(status.st_mode)) return false;
  const Fd probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  return ::connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) < 0 &&
         errno == ECONNREFUSED;
}

Result<Listener> bind_unix(const std::string& text) {
  const std::string path = text.substr(std::string_view("unix:").size());
  sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
  if (path.size() >= sizeof address.sun_path)
    return fail(ErrorCode::configuration,
                fmt::format("bind = \"{}\": the path is longer than {} bytes", text,
                            sizeof address.sun_path - 1));
  path.copy(address.sun_path, path.size());
  Listener listener{.fd = Fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)),
                    .address = text,
                    .unlink_path = path};
  if (!listener.fd) return fail_errno("socket");
  if (is_stale(address)) ::unlink(path.c_str());
  if (::bind(listener.fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) < 0)
    return fail(bind_error(text, errno));
  if (::chmod(path.c_str(), unix_socket_mode) < 0 ||
      ::listen(listener.fd.get(), listen_backlog) < 0)
    return fail(bind_error(text, errno));
  return listener;
}

Result<std::vector<Listener>> bind_tcp(const std::string& text) {
  const std::size_t colon = text.rfind(':');
  std::string host = text.substr(0, colon);
  const std::string port = text.substr(colon + 1);
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  const addrinfo hints{.ai_flags = AI_PASSIVE,
                       .ai_family = AF_UNSPEC,
                       .ai_socktype = SOCK_STREAM,
                       .ai_protocol = 0,
                       .ai_addrlen = 0,
                       .ai_addr = nullptr,
                       .ai_canonname = nullptr,
                       .ai_next = nullptr};
  addrinfo* found = nullptr;
  const int error =
      ::getaddrinfo(host.empty() ? nullptr : host.c_str(), port.c_str(), &hints, &found);
  if (error != 0)
    return fail(ErrorCode::configuration,
                fmt::format("bind = \"{}\": {}", text, ::gai_strerror(error)));
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> owner(found, &::freeaddrinfo);
  std::vector<Listener> listeners;
  for (const addrinfo* one = found; one != nullptr; one = one->ai_next) {
    Fd fd(::socket(one->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!fd) {
      if (errno == EAFNOSUPPORT) continue;
      return fail_errno("socket");
    }
    const int on = 1;
    ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (one->ai_family == AF_INET6)
      ::setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    if (::bind(fd.get(), one->ai_addr, one->ai_addrlen) < 0 ||
        ::listen(fd.get(), listen_backlog) < 0)
      return fail(bind_error(text, errno));
    std::string address = describe_listener(fd.get());
    listeners.push_back({.fd = std::move(fd), .address = std::move(address)});
  }
  if (listeners.empty())
    return fail(ErrorCode::configuration,
                fmt::format("bind = \"{}\": this machine has no such address family", text));
  return listeners;
}

}  // namespace

std::string describe_listener(int fd) {
  sockaddr_storage storage{};
  socklen_t size = sizeof storage;
  if (::getsockname(fd, reinterpret_cast<sockaddr*>(&storage), &size) < 0) return "?";
  std::array<char, INET6_ADDRSTRLEN> text{};
  if (storage.ss_family == AF_INET) {
    const auto& v4 = reinterpret_cast<const sockaddr_in&>(storage);
    ::inet_ntop(AF_INET, &v4.sin_addr, text.data(), text.size());
    return fmt::format("{}:{}", text.data(), ntohs(v4.sin_port));
  }
  if (storage.ss_family == AF_INET6) {
    const auto& v6 = reinterpret_cast<const sockaddr_in6&>(storage);
    ::inet_ntop(AF_INET6, &v6.sin6_addr, text.data(), text.size());
    return fmt::format("[{}]:{}", text.data(), ntohs(v6.sin6_port));
  }
  const auto& local = reinterpret_cast<const sockaddr_un&>(storage);
  const std::size_t length = size - offsetof(sockaddr_un, sun_path);
  if (length > 1 && local.sun_path[0] == '\0')
    return fmt::format("unix:@{}", std::string_view(local.sun_path + 1, length - 1));
  return fmt::format("unix:{}", local.sun_path);
}

Result<PassedSockets> take_passed_sockets() {
  char** raw_names = nullptr;
  const int count = ::sd_listen_fds_with_names(1, &raw_names);
  if (count < 0) return fail(Error::from_errno("sd_listen_fds_with_names", -count));
  PassedSockets passed;
  for (int i = 0; i < count; ++i) {
    Fd fd(SD_LISTEN_FDS_START + i);
    const std::unique_ptr<char, void (*)(void*)> name(raw_names[i], &std::free);
    if (name && FailedStarts::kept_name == name.get()) {
      passed.failed_starts = std::move(fd);
      continue;
    }
    passed.any_passed = true;
    if (const std::string why = refusal(fd.get(), name.get()); !why.empty()) {
      log_warning("closing descriptor {} that systemd passed: {}", fd.get(), why);
      continue;
    }
    if (auto changed = make_nonblocking(fd.get()); !changed) return fail(changed.error());
    std::string address = describe_listener(fd.get());
    passed.listeners.push_back({.fd = std::move(fd), .address = std::move(address)});
  }
  std::free(raw_names);
  return passed;
}

Result<std::vector<Listener>> bind_sockets(std::span<const std::string> addresses) {
  std::vector<Listener> listeners;
  for (const std::string& address : addresses) {
    if (address.starts_with("unix:")) {
      auto one = bind_unix(address);
      if (!one) return fail(std::move(one.error()));
      listeners.push_back(std::move(*one));
    } else {
      auto several = bind_tcp(address);
      if (!several) return fail(std::move(several.error()));
      for (Listener& one : *several) listeners.push_back(std::move(one));
    }
  }
  return listeners;
}

}  // namespace green::manager
