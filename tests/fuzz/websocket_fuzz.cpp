// Fuzz target: a WebSocket client's bytes through the codec. What they mean must not depend on how
// they were cut into reads, no message may pass the limit, text must be UTF-8, and a message sent
// back must be read as it was. With -fsanitize=fuzzer, or with a main that replays files. The first
// byte is what was agreed on, the second how the bytes are cut.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>

#include "daemon/http/websocket_codec.h"
#include "tests/fuzz/replay.h"
#include "tests/http/websocket_bytes.h"

namespace green::http {
namespace {

constexpr std::size_t limit = 4096;

std::string describe(const WebSocketEvent& event) {
  return std::to_string(static_cast<int>(event.kind)) + " " + std::to_string(event.code) + " " +
         std::to_string(event.data.size()) + ":" + std::string(event.data) + "\n";
}

/// What the server would send of the event, read by another codec as a client's.
void check_echo(CodecTools& tools, const std::optional<DeflateAgreement>& agreement,
                WebSocketEvent::Kind kind, std::string_view data) {
  WebSocketCodec sender(limit, tools, agreement);
  const Frame frame = sender.message(
      kind == WebSocketEvent::Kind::text ? MessageKind::text : MessageKind::binary, data);
  std::string bytes = std::string(frame.before).append(frame.data).append(frame.after);
  const auto sent = testing::take_server_frames(bytes);
  if (sent.size() != 1 || !bytes.empty()) std::abort();
  const std::string back = testing::client_frame(sent[0].first & 0x0fU, sent[0].payload,
                                                 {.reserved = sent[0].first >> 4 & 7U});
  WebSocketCodec reader(limit, tools, agreement);
  std::string_view input = back;
  const auto event = reader.next(input);
  if (event.kind != kind || event.data != data) std::abort();
}

std::string read(std::string_view input, std::size_t piece_size,
                 const std::optional<DeflateAgreement>& agreement) {
  CodecTools tools;
  WebSocketCodec codec(limit, tools, agreement);
  std::string events;
  while (!input.empty()) {
    auto piece = input.substr(0, piece_size);
    input.remove_prefix(piece.size());
    for (;;) {
      const auto event = codec.next(piece);
      if (event.kind == WebSocketEvent::Kind::need_more) break;
      events += describe(event);
      if (event.data.size() > limit) std::abort();
      switch (event.kind) {
        case WebSocketEvent::Kind::text:
          if (!is_utf8(event.data)) std::abort();
          [[fallthrough]];
        case WebSocketEvent::Kind::binary: {
          const std::string data(event.data);
          check_echo(tools, agreement, event.kind, data);
          break;
        }
        case WebSocketEvent::Kind::close:
          if (event.code != close_no_status && !is_close_code(event.code)) std::abort();
          return events;
        case WebSocketEvent::Kind::failure:
          if (!is_close_code(event.code) || event.data.size() > longest_control - 2) std::abort();
          return events;
        default:
          break;
      }
    }
    if (!piece.empty()) std::abort();
  }
  return events;
}

}  // namespace
}  // namespace green::http

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace green::http;
  if (size < 2) return 0;
  std::optional<DeflateAgreement> agreement;
  if (data[0] % 2 == 1) agreement = DeflateAgreement{.server_window_bits = 9 + data[0] / 2 % 7};
  const std::string_view input(reinterpret_cast<const char*>(data) + 2, size - 2);
  const auto whole = read(input, size, agreement);
  if (read(input, 1, agreement) != whole) std::abort();
  if (read(input, std::size_t{data[1]} + 2, agreement) != whole) std::abort();
  return 0;
}
