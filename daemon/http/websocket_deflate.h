// permessage-deflate (RFC 7692) without context takeover on either side: a message is compressed by
// itself, so one pair of zlib streams serves all connections of a worker, and an idle one has none.
// Loop thread.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace green::http {

/// What of an offer is accepted.
struct DeflateAgreement {
  int server_window_bits = 15;           ///< 9 to 15
  bool says_server_window_bits = false;  ///< they were asked for: the reply has to repeat them
  /// The reply's Sec-WebSocket-Extensions.
  std::string text() const;
};

/// The first offer of permessage-deflate in a Sec-WebSocket-Extensions value that can be met; other
/// extensions, and offers with parameters unknown, malformed or repeated, are passed over.
std::optional<DeflateAgreement> choose_deflate(std::string_view extensions);

class MessageDeflater {
 public:
  enum class Inflation { done, malformed, too_long };

  MessageDeflater();
  ~MessageDeflater();
  MessageDeflater(const MessageDeflater&) = delete;
  MessageDeflater& operator=(const MessageDeflater&) = delete;

  /// A whole message, to `message`; never makes more than `limit` bytes of it.
  Inflation inflate(std::string_view compressed, std::size_t limit, std::string& message);
  /// A whole message, compressed; the view holds until the next call. nullopt: better sent as it
  /// is.
  std::optional<std::string_view> deflate(std::string_view message, int window_bits);

 private:
  struct Streams;
  std::unique_ptr<Streams> streams_;  ///< once there is use for them
};

}  // namespace green::http
