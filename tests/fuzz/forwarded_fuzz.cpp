// Fuzz target: lines of bytes as forwarding headers, and what a proxy of ours appends to them. With
// -fsanitize=fuzzer, or with a main that replays files.
#include <algorithm>
#include <cstdlib>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/http/forwarded.h"
#include "daemon/http/request_target.h"
#include "tests/fuzz/replay.h"

namespace green::http {
namespace {

constexpr std::string_view names[] = {"X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host",
                                      "X-Forwarded-Port", "Forwarded"};

/// The first byte of a line says which header the rest is.
std::vector<Header> split(std::string_view text) {
  std::vector<Header> headers;
  while (!text.empty()) {
    const auto line = text.substr(0, text.find('\n'));
    text.remove_prefix(line.size() < text.size() ? line.size() + 1 : text.size());
    if (line.empty()) continue;
    headers.push_back(
        {names[static_cast<unsigned char>(line.front()) % std::size(names)], line.substr(1)});
  }
  return headers;
}

void check(const Request& request, const Endpoints& endpoints) {
  if (request.scheme != "http" && request.scheme != "https") std::abort();
  if (!endpoints.remote_address.empty() && !parse_ip_address(endpoints.remote_address)) {
    std::abort();
  }
  for (const Header& header : request.headers) {
    if (header.name == "Host" && !is_valid_host(header.value)) std::abort();
  }
}

void run(std::string_view input) {
  const std::vector<std::string> trusted_names{"10.0.0.0/8", "unix:"};
  static const TrustedPeers trusted = *TrustedPeers::create(trusted_names);
  for (const std::string_view appended : {"", "X-Forwarded-For", "Forwarded"}) {
    auto headers = split(input);
    std::string line;
    if (!appended.empty()) {
      // As a proxy does, to the last line of that name; X-Forwarded-* would win over Forwarded.
      const bool is_standard = appended == "Forwarded";
      std::erase_if(headers, [&](const Header& h) { return is_standard && h.name != appended; });
      const auto last =
          std::ranges::find(headers.rbegin(), headers.rend(), appended, &Header::name);
      if (last != headers.rend()) line = std::string(last->value) + ", ";
      line += is_standard ? "for=192.0.2.7" : "192.0.2.7";
      if (last != headers.rend()) {
        last->value = line;
      } else {
        headers.push_back({appended, line});
      }
    }
    Request request;
    Endpoints endpoints;
    apply_forwarded(trusted, true, headers, request, endpoints);
    check(request, endpoints);
    // No byte of a client's changes what our proxy said.
    if (!appended.empty() && endpoints.remote_address != "192.0.2.7") std::abort();
    apply_forwarded(trusted, false, headers, request, endpoints);
    for (const Header& header : request.headers) {
      if (is_forwarding_header(header.name)) std::abort();
    }
  }
}

}  // namespace
}  // namespace green::http

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  green::http::run({reinterpret_cast<const char*>(data), size});
  return 0;
}
