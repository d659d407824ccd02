#include "daemon/http/endpoints.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/un.h>

#include <array>
#include <cstddef>
#include <cstring>

namespace green::http {
namespace {

struct AddressText {
  std::string address;
  std::string port;
};

AddressText to_text(const sockaddr_storage& storage, socklen_t length) {
  std::array<char, INET6_ADDRSTRLEN> text{};
  if (storage.ss_family == AF_INET) {
    sockaddr_in v4{};
    std::memcpy(&v4, &storage, sizeof v4);
    inet_ntop(AF_INET, &v4.sin_addr, text.data(), text.size());
    return {text.data(), std::to_string(ntohs(v4.sin_port))};
  }
  if (storage.ss_family == AF_INET6) {
    sockaddr_in6 v6{};
    std::memcpy(&v6, &storage, sizeof v6);
    inet_ntop(AF_INET6, &v6.sin6_addr, text.data(), text.size());
    // A v4 client of a dual-stack listener is a v4 client to the application.
    const char* address = IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr) ? text.data() + 7 : text.data();
    return {address, std::to_string(ntohs(v6.sin6_port))};
  }
  if (storage.ss_family == AF_UNIX && length > offsetof(sockaddr_un, sun_path)) {
    sockaddr_un local{};
    std::memcpy(&local, &storage, sizeof local);
    if (local.sun_path[0] != '\0') {
      return {std::string(local.sun_path, strnlen(local.sun_path, sizeof local.sun_path)), {}};
    }
  }
  return {};
}

}  // namespace

Endpoints make_endpoints(int socket, const sockaddr_storage& peer, socklen_t peer_length) {
  Endpoints endpoints;
  if (peer.ss_family != AF_UNIX) {
    auto remote = to_text(peer, peer_length);
    endpoints.remote_address = std::move(remote.address);
    endpoints.remote_port = std::move(remote.port);
  }
  sockaddr_storage local{};
  socklen_t length = sizeof local;
  if (getsockname(socket, reinterpret_cast<sockaddr*>(&local), &length) == 0) {
    auto text = to_text(local, length);
    endpoints.local_address = std::move(text.address);
    endpoints.local_port = std::move(text.port);
  }
  return endpoints;
}

}  // namespace green::http
