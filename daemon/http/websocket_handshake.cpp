#include "daemon/http/websocket_handshake.h"

#include <fmt/format.h>
#include <nettle/base64.h>
#include <nettle/sha1.h>

#include <algorithm>
#include <array>

#include "daemon/http/ascii.h"
#include "daemon/http/body.h"
#include "daemon/http/response_writer.h"
#include "daemon/http/standard_reason.h"

namespace green::http {
namespace {

constexpr std::string_view protocol_guid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
constexpr std::size_t key_size = 16;
constexpr std::string_view handshake_prefix = "sec-websocket-";

bool lists(const Request& request, std::string_view lower_name, std::string_view lower_element) {
  for (const Header& header : request.headers) {
    if (!equals_ignoring_case(header.name, lower_name)) continue;
    for (auto list = header.value; !list.empty();) {
      if (equals_ignoring_case(next_element(list), lower_element)) return true;
    }
  }
  return false;
}

/// Empty: it is not there, or more than once.
std::string_view only_value(const Request& request, std::string_view lower_name) {
  std::string_view found;
  int count = 0;
  for (const Header& header : request.headers) {
    if (!equals_ignoring_case(header.name, lower_name)) continue;
    found = header.value;
    ++count;
  }
  return count == 1 ? found : std::string_view();
}

bool is_key(std::string_view text) {
  constexpr std::size_t encoded_size = BASE64_ENCODE_RAW_LENGTH(key_size);
  if (text.size() != encoded_size) return false;
  base64_decode_ctx decoder;
  base64_decode_init(&decoder);
  std::array<std::uint8_t, BASE64_DECODE_LENGTH(encoded_size)> key{};
  std::size_t size = key.size();
  return base64_decode_update(&decoder, &size, key.data(), text.size(), text.data()) == 1 &&
         base64_decode_final(&decoder) == 1 && size == key_size;
}

/// False: malformed.
bool read_subprotocols(const Request& request, std::vector<std::string_view>& subprotocols) {
  for (const Header& header : request.headers) {
    if (!equals_ignoring_case(header.name, "sec-websocket-protocol")) continue;
    for (auto list = header.value; !list.empty();) {
      const auto name = next_element(list);
      if (name.empty()) continue;
      if (!is_token(name) || std::ranges::find(subprotocols, name) != subprotocols.end())
        return false;
      subprotocols.push_back(name);
    }
  }
  return true;
}

std::optional<DeflateAgreement> read_extensions(const Request& request) {
  for (const Header& header : request.headers) {
    if (!equals_ignoring_case(header.name, "sec-websocket-extensions")) continue;
    if (auto agreement = choose_deflate(header.value)) return agreement;
  }
  return std::nullopt;
}

bool is_of_handshake(std::string_view name) {
  return equals_ignoring_case(name.substr(0, handshake_prefix.size()), handshake_prefix);
}

}  // namespace

bool asks_for_websocket(const Request& request) {
  return request.method == "GET" && request.version_minor > 0 &&
         lists(request, "upgrade", "websocket") && lists(request, "connection", "upgrade");
}

std::expected<WebSocketOffer, Rejection> read_websocket_offer(const Request& request) {
  const auto refuse = [](int status, std::string_view why) {
    return std::unexpected(Rejection{status, why});
  };
  WebSocketOffer offer;
  if (only_value(request, "sec-websocket-version") != websocket_version.value) {
    return refuse(426, "WebSockets are spoken in version 13 alone");
  }
  offer.key = only_value(request, "sec-websocket-key");
  if (!is_key(offer.key)) return refuse(400, "malformed Sec-WebSocket-Key");
  if (request.chunked || request.body->size() > 0) {
    return refuse(400, "a WebSocket's handshake has no body");
  }
  if (!read_subprotocols(request, offer.subprotocols)) {
    return refuse(400, "malformed Sec-WebSocket-Protocol");
  }
  offer.deflate = read_extensions(request);
  return offer;
}

void refuse_websocket(Exchange& exchange, const Rejection& rejection) {
  std::vector<Header> headers{{"Content-Type", "text/plain; charset=utf-8"}};
  if (rejection.status == 426) {
    headers.push_back(websocket_version);
    headers.push_back({.name = "Upgrade", .value = "websocket"});
  }
  const auto reason = standard_reason(rejection.status);
  if (!exchange.start(rejection.status, reason, headers)) return exchange.abort();
  exchange.finish(fmt::format("{} {}: {}\n", rejection.status, reason, rejection.explanation));
}

std::string websocket_accept(std::string_view key) {
  const std::string text = std::string(key).append(protocol_guid);
  sha1_ctx hash;
  sha1_init(&hash);
  sha1_update(&hash, text.size(), reinterpret_cast<const std::uint8_t*>(text.data()));
  std::array<std::uint8_t, SHA1_DIGEST_SIZE> digest{};
  sha1_digest(&hash, digest.size(), digest.data());
  std::string accept(BASE64_ENCODE_RAW_LENGTH(digest.size()), '\0');
  base64_encode_raw(accept.data(), digest.size(), digest.data());
  return accept;
}

Result<std::string> make_websocket_reply(const WebSocketOffer& offer, std::string_view subprotocol,
                                         std::span<const Header> headers) {
  if (!subprotocol.empty() &&
      std::ranges::find(offer.subprotocols, subprotocol) == offer.subprotocols.end()) {
    return fail(ErrorCode::application,
                fmt::format("the client did not offer the subprotocol {:?}", subprotocol));
  }
  for (const Header& header : headers) {
    if (is_of_handshake(header.name)) {
      return fail(ErrorCode::application, fmt::format("{} is the server's to set", header.name));
    }
  }
  auto text = make_switching_protocols(headers);
  if (!text) return text;
  *text += fmt::format("Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {}\r\n",
                       websocket_accept(offer.key));
  if (!subprotocol.empty()) *text += fmt::format("Sec-WebSocket-Protocol: {}\r\n", subprotocol);
  if (offer.deflate) {
    *text += fmt::format("Sec-WebSocket-Extensions: {}\r\n", offer.deflate->text());
  }
  return *text += "\r\n";
}

}  // namespace green::http
