#include "daemon/http/websocket_codec.h"

#include <utility>

namespace green::http {
namespace {

/// Payloads up to this size are copied behind their head: one plain send() beats a gathering one.
constexpr std::size_t copied_payload = 8 << 10;
constexpr std::size_t kept_capacity = 512;
/// What deflate may add to a message that it cannot make shorter.
constexpr std::size_t deflate_overhead(std::size_t size) { return 64 + size / 256; }

bool is_known(std::uint8_t opcode) {
  switch (static_cast<Opcode>(opcode)) {
    case Opcode::continuation:
    case Opcode::text:
    case Opcode::binary:
    case Opcode::close:
    case Opcode::ping:
    case Opcode::pong:
      return true;
  }
  return false;
}

void shrink(std::string& text) {
  if (text.capacity() > kept_capacity) {
    text = {};
  } else {
    text.clear();
  }
}

}  // namespace

bool is_close_code(int code) {
  if (code >= 3000) return code <= 4999;
  return code >= 1000 && code <= 1014 && code != 1004 && code != close_no_status &&
         code != close_abnormal;
}

WebSocketCodec::WebSocketCodec(std::size_t longest_message, CodecTools& tools,
                               std::optional<DeflateAgreement> agreement)
    : longest_message_(longest_message), tools_(tools), agreement_(agreement) {}

WebSocketEvent WebSocketCodec::fail(int code, std::string_view why) {
  return {.kind = WebSocketEvent::Kind::failure, .code = code, .data = why};
}

void WebSocketCodec::forget_told() {
  if (std::exchange(is_told_, false)) shrink(message_);
}

WebSocketEvent WebSocketCodec::next(std::string_view& input) {
  forget_told();
  for (;;) {
    const bool is_control = frames_.head().is_control();
    std::string& payload = is_control ? control_ : message_;
    const auto size_before = payload.size();
    Verdict verdict;
    switch (frames_.next(input, payload)) {
      case FrameReader::Status::need_more:
        return {};
      case FrameReader::Status::malformed:
        return fail(close_protocol_error, "a frame's length is malformed");
      case FrameReader::Status::head:
        verdict = check_head(frames_.head());
        break;
      case FrameReader::Status::payload:
        if (!is_control) verdict = take_payload(size_before);
        break;
    }
    if (!verdict && frames_.at_end()) verdict = end_frame();
    if (verdict) return *verdict;
  }
}

WebSocketCodec::Verdict WebSocketCodec::check_head(const FrameHead& head) {
  if (!is_known(head.opcode)) return fail(close_protocol_error, "a frame's opcode is unknown");
  if (!head.is_masked) return fail(close_protocol_error, "a frame is not masked");
  if (head.is_control()) {
    if (head.reserved != 0) return fail(close_protocol_error, "a control frame has a reserved bit");
    if (!head.fin) return fail(close_protocol_error, "a control frame is fragmented");
    if (head.size > longest_control) return fail(close_protocol_error, "a control frame is long");
    control_.clear();
    return std::nullopt;
  }
  const bool is_first = head.opcode != static_cast<std::uint8_t>(Opcode::continuation);
  if (is_first) {
    if (in_message_) return fail(close_protocol_error, "a message begins within another");
    if (auto refused = begin_message(head)) return refused;
  } else if (!in_message_) {
    return fail(close_protocol_error, "a continuation has no message");
  } else if (head.reserved != 0) {
    return fail(close_protocol_error, "a continuation has a reserved bit");
  }
  in_message_ = true;
  const auto longest = longest_message_ + (is_compressed_ ? deflate_overhead(longest_message_) : 0);
  if (head.size > longest - message_.size()) return fail(close_too_big, "the message is too long");
  return std::nullopt;
}

WebSocketCodec::Verdict WebSocketCodec::begin_message(const FrameHead& head) {
  if ((head.reserved & ~reserved_compressed) != 0 || (head.reserved != 0 && !agreement_)) {
    return fail(close_protocol_error, "a frame has a reserved bit");
  }
  is_compressed_ = head.reserved != 0;
  is_text_ = head.opcode == static_cast<std::uint8_t>(Opcode::text);
  utf8_.clear();
  return std::nullopt;
}

WebSocketCodec::Verdict WebSocketCodec::take_payload(std::size_t size_before) {
  if (!is_text_ || is_compressed_) return std::nullopt;
  if (utf8_.feed(std::string_view(message_).substr(size_before))) return std::nullopt;
  return fail(close_bad_data, "a text is not UTF-8");
}

WebSocketCodec::Verdict WebSocketCodec::end_frame() {
  const FrameHead& head = frames_.head();
  switch (static_cast<Opcode>(head.opcode)) {
    case Opcode::ping:
      return WebSocketEvent{.kind = WebSocketEvent::Kind::ping, .code = 0, .data = control_};
    case Opcode::pong:
      return WebSocketEvent{.kind = WebSocketEvent::Kind::pong, .code = 0, .data = control_};
    case Opcode::close:
      return read_close();
    case Opcode::continuation:
    case Opcode::text:
    case Opcode::binary:
      break;
  }
  if (!head.fin) return std::nullopt;
  return end_message();
}

WebSocketEvent WebSocketCodec::end_message() {
  in_message_ = false;
  if (is_compressed_) {
    std::string whole;
    switch (tools_.deflater.inflate(message_, longest_message_, whole)) {
      case MessageDeflater::Inflation::done:
        break;
      case MessageDeflater::Inflation::malformed:
        return fail(close_bad_data, "a message is no deflate stream");
      case MessageDeflater::Inflation::too_long:
        return fail(close_too_big, "the message is too long");
    }
    message_ = std::move(whole);
    if (is_text_ && !is_utf8(message_)) return fail(close_bad_data, "a text is not UTF-8");
  } else if (is_text_ && !utf8_.is_complete()) {
    return fail(close_bad_data, "a text is not UTF-8");
  }
  is_told_ = true;
  return {.kind = is_text_ ? WebSocketEvent::Kind::text : WebSocketEvent::Kind::binary,
          .code = 0,
          .data = message_};
}

WebSocketEvent WebSocketCodec::read_close() {
  using enum WebSocketEvent::Kind;
  if (control_.empty()) return {.kind = close, .code = close_no_status, .data = {}};
  if (control_.size() == 1) return fail(close_protocol_error, "a Close has half a code");
  const int code =
      static_cast<unsigned char>(control_[0]) << 8 | static_cast<unsigned char>(control_[1]);
  const auto reason = std::string_view(control_).substr(2);
  if (!is_close_code(code)) return fail(close_protocol_error, "a Close has no valid code");
  if (!is_utf8(reason)) return fail(close_bad_data, "a Close's reason is not UTF-8");
  return {.kind = close, .code = code, .data = reason};
}

Frame WebSocketCodec::frame(Opcode opcode, std::uint8_t reserved, std::string_view data) {
  std::string& output = tools_.output;
  output.clear();
  append_frame_head(output, opcode, reserved, data.size());
  if (data.size() > copied_payload) return {.before = output, .data = data, .after = {}};
  output.append(data);
  return {.before = output, .data = {}, .after = {}};
}

Frame WebSocketCodec::message(MessageKind kind, std::string_view data) {
  const auto opcode = kind == MessageKind::text ? Opcode::text : Opcode::binary;
  if (agreement_) {
    if (const auto deflated = tools_.deflater.deflate(data, agreement_->server_window_bits)) {
      return frame(opcode, reserved_compressed, *deflated);
    }
  }
  return frame(opcode, 0, data);
}

Frame WebSocketCodec::ping(std::string_view data) { return frame(Opcode::ping, 0, data); }

Frame WebSocketCodec::pong(std::string_view data) { return frame(Opcode::pong, 0, data); }

Frame WebSocketCodec::close(int code, std::string_view reason) {
  std::string payload;
  if (code != close_no_status) {
    payload.push_back(static_cast<char>(code >> 8));
    payload.push_back(static_cast<char>(code & 0xff));
    payload.append(reason);
  }
  return frame(Opcode::close, 0, payload);
}

}  // namespace green::http
