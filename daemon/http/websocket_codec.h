// One WebSocket's bytes to messages and back (RFC 6455, 5 to 7; RFC 7692), without input or output:
// fragments, control frames between them, UTF-8, compression, limits. Loop thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "daemon/http/response_writer.h"
#include "daemon/http/utf8_stream.h"
#include "daemon/http/websocket.h"
#include "daemon/http/websocket_deflate.h"
#include "daemon/http/websocket_frames.h"

namespace green::http {

struct WebSocketEvent {
  enum class Kind {
    need_more,
    text,
    binary,
    ping,
    pong,
    close,    ///< `code` is 1005 where the Close has none; `data` is its reason
    failure,  ///< the client broke the rules: to be told `code`; nothing can be read any more
  };
  Kind kind = Kind::need_more;
  int code = 0;
  std::string_view data;  ///< until next() is called again
};

/// What all of a worker's codecs use in turn, so that an idle one needs no memory for it.
struct CodecTools {
  MessageDeflater deflater;
  std::string output;
};

class WebSocketCodec {
 public:
  /// `tools` outlive the codec; nullopt: no compression was agreed on.
  WebSocketCodec(std::size_t longest_message, CodecTools& tools,
                 std::optional<DeflateAgreement> agreement);

  /// Takes bytes off the input until there is an event. Not after a close or a failure.
  WebSocketEvent next(std::string_view& input);

  /// Frames to send; views hold until the next of these calls, of any codec, and as long as `data`.
  Frame message(MessageKind kind, std::string_view data);
  /// `data` has at most 125 bytes.
  Frame ping(std::string_view data);
  Frame pong(std::string_view data);
  /// close_no_status: a Close without a code. `reason` has at most 123 bytes.
  Frame close(int code, std::string_view reason);

 private:
  using Verdict = std::optional<WebSocketEvent>;

  static WebSocketEvent fail(int code, std::string_view why);
  Verdict check_head(const FrameHead& head);
  Verdict begin_message(const FrameHead& head);
  Verdict take_payload(std::size_t size_before);
  Verdict end_frame();
  WebSocketEvent end_message();
  WebSocketEvent read_close();
  void forget_told();
  Frame frame(Opcode opcode, std::uint8_t reserved, std::string_view data);

  const std::size_t longest_message_;
  CodecTools& tools_;
  const std::optional<DeflateAgreement> agreement_;
  FrameReader frames_;
  Utf8Stream utf8_;
  std::string message_;      ///< the one that is coming, as it came; or the one told last
  std::string control_;      ///< of a control frame, the same
  bool in_message_ = false;  ///< a fragmented one is not at its end
  bool is_told_ = false;     ///< message_ was told
  bool is_text_ = false;
  bool is_compressed_ = false;
};

}  // namespace green::http
