// Fuzz target: a connection's first bytes as a PROXY header. With -fsanitize=fuzzer, or with a main
// that replays files.
#include <cstdlib>
#include <string_view>

#include "common/ip_network.h"
#include "daemon/http/proxy_protocol.h"
#include "tests/fuzz/replay.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace green;
  using Status = http::ProxyHeaderRead::Status;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const auto read = http::read_proxy_header(bytes);
  if (read.status != Status::complete) {
    if (read.status == Status::need_more && size >= http::longest_proxy_header) std::abort();
    return 0;
  }
  if (read.consumed == 0 || read.consumed > size) std::abort();
  // Of any part of it, more was needed; of it alone, the same comes.
  if (http::read_proxy_header(bytes.substr(0, read.consumed - 1)).status != Status::need_more ||
      http::read_proxy_header(bytes.substr(0, read.consumed)).status != Status::complete) {
    std::abort();
  }
  if (read.header.origin != http::ProxyHeader::Origin::address) return 0;
  if (!parse_ip_address(read.header.source_address) ||
      !parse_ip_address(read.header.destination_address)) {
    std::abort();
  }
  return 0;
}
