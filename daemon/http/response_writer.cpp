#include "daemon/http/response_writer.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "daemon/http/ascii.h"

namespace green::http {
namespace {

constexpr std::size_t kept_capacity = 16 << 10;
/// Up to this size a body part is copied behind the head: one plain send() beats a gathering one.
constexpr std::size_t copied_part = 8 << 10;

/// RFC 9110, 5.5: field values hold no control characters but tab.
bool is_field_value(std::string_view text) {
  unsigned bad = 0;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    bad |= static_cast<unsigned>(byte < 0x20 && byte != '\t') | static_cast<unsigned>(byte == 0x7f);
  }
  return bad == 0;
}

std::optional<std::uint64_t> parse_length(std::string_view text) {
  std::uint64_t length = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), length);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return length;
}

void append_number(std::string& text, std::uint64_t number, int base = 10) {
  char digits[24];
  const auto end = std::to_chars(digits, digits + sizeof digits, number, base).ptr;
  text.append(digits, end);
}

bool has_close(std::string_view connection) {
  while (!connection.empty()) {
    if (equals_ignoring_case(next_element(connection), "close")) return true;
  }
  return false;
}

Result<void> check_header(const Header& header) {
  if (!is_token(header.name)) {
    return fail(ErrorCode::application, fmt::format("bad header name {:?}", header.name));
  }
  if (!is_field_value(header.value)) {
    return fail(ErrorCode::application,
                fmt::format("control character in the value of header {}", header.name));
  }
  return {};
}

void append_header(std::string& text, const Header& header) {
  text.append(header.name);
  text.append(": ");
  text.append(header.value);
  text.append("\r\n");
}

/// Headers of a connection or of a body's framing: no part of an interim response.
bool belongs_to_final_reply(std::string_view name) {
  constexpr std::array names{std::string_view("connection"), std::string_view("content-length"),
                             std::string_view("keep-alive"), std::string_view("proxy-connection"),
                             std::string_view("te"),         std::string_view("trailer"),
                             std::string_view("upgrade"),    std::string_view("transfer-encoding")};
  return std::ranges::any_of(
      names, [name](std::string_view known) { return equals_ignoring_case(name, known); });
}

bool forbids_body(int status) { return status == 204 || status == 304; }

}  // namespace

void ResponseWriter::begin(bool is_head, int version_minor, bool may_keep_alive) {
  is_head_ = is_head;
  version_minor_ = version_minor;
  keep_alive_ = may_keep_alive;
  head_made_ = overflowed_ = fell_short_ = false;
  written_ = 0;
  if (buffer_.capacity() > kept_capacity) buffer_ = {};
  discard();
}

void ResponseWriter::discard() {
  buffer_.clear();
  after_.clear();
  status_ = 0;
  has_date_ = has_server_ = false;
  declared_.reset();
  framing_ = Framing::none;
}

Result<void> ResponseWriter::start(int status, std::string_view reason,
                                   std::span<const Header> headers) {
  if (head_made_) return fail(ErrorCode::application, "the reply's head was sent already");
  discard();
  if (status < 200 || status > 999) {
    return fail(ErrorCode::application, fmt::format("status {} is not one of 200 to 999", status));
  }
  if (!is_field_value(reason)) {
    return fail(ErrorCode::application, "control character in the reason phrase");
  }
  buffer_.append("HTTP/1.1 ");
  append_number(buffer_, static_cast<std::uint64_t>(status));
  buffer_.push_back(' ');
  buffer_.append(reason);
  buffer_.append("\r\n");
  status_ = status;
  for (const Header& header : headers) {
    const auto passes = take_header(header);
    if (!passes) {
      discard();
      return fail(passes.error());
    }
    if (!*passes) continue;
    append_header(buffer_, header);
  }
  return {};
}

Result<bool> ResponseWriter::take_header(const Header& header) {
  if (auto checked = check_header(header); !checked) return fail(std::move(checked.error()));
  const auto is = [&header](std::string_view name) {
    return equals_ignoring_case(header.name, name);
  };
  switch (header.name.size()) {
    case 2:
      return !is("te");
    case 4:
      has_date_ = has_date_ || is("date");
      return true;
    case 6:
      has_server_ = has_server_ || is("server");
      return true;
    case 7:
      return !is("trailer") && !is("upgrade");
    case 10:
      if (is("keep-alive")) return false;
      if (!is("connection")) return true;
      if (has_close(header.value)) keep_alive_ = false;
      return false;
    case 14: {
      if (!is("content-length")) return true;
      const auto length = parse_length(trim_whitespace(header.value));
      if (!length) {
        return fail(ErrorCode::application, fmt::format("bad Content-Length {:?}", header.value));
      }
      if (declared_ && *declared_ != *length) {
        return fail(ErrorCode::application, "two different Content-Length headers");
      }
      declared_ = length;
      return false;  // make_head() says it where it belongs
    }
    case 16:
      return !is("proxy-connection");
    case 17:
      if (is("transfer-encoding")) {
        return fail(ErrorCode::application, "Transfer-Encoding is the server's to set");
      }
      return true;
    default:
      return true;
  }
}

void ResponseWriter::make_head(std::optional<std::uint64_t> whole_length) {
  if (!has_date_) buffer_.append(date_->get());
  if (!has_server_) buffer_.append("Server: green\r\n");
  if (!declared_ && status_ != 304) declared_ = whole_length;
  if (status_ == 204) declared_.reset();
  if (declared_) {
    buffer_.append("Content-Length: ");
    append_number(buffer_, *declared_);
    buffer_.append("\r\n");
  }
  if (is_head_ || forbids_body(status_)) {
    framing_ = Framing::none;
  } else if (declared_) {
    framing_ = Framing::length;
  } else if (version_minor_ > 0) {
    framing_ = Framing::chunked;
    buffer_.append("Transfer-Encoding: chunked\r\n");
  } else {
    framing_ = Framing::until_close;
    keep_alive_ = false;
  }
  if (!keep_alive_) {
    buffer_.append("Connection: close\r\n");
  } else if (version_minor_ == 0) {
    buffer_.append("Connection: keep-alive\r\n");
  }
  buffer_.append("\r\n");
  head_made_ = true;
}

std::uint64_t ResponseWriter::frame(std::uint64_t size, bool is_last) {
  if (head_made_) {
    buffer_.clear();
  } else {
    make_head(is_last ? std::optional<std::uint64_t>(size) : std::nullopt);
  }
  after_.clear();
  switch (framing_) {
    case Framing::none:
      size = 0;
      break;
    case Framing::length: {
      const std::uint64_t room = *declared_ - written_;
      if (size > room) {
        overflowed_ = true;
        size = room;
      }
      if (is_last && size < room) fell_short_ = true;
      break;
    }
    case Framing::chunked:
      if (size > 0) {
        append_number(buffer_, size, 16);
        buffer_.append("\r\n");
        after_.append("\r\n");
      }
      if (is_last) after_.append("0\r\n\r\n");
      break;
    case Framing::until_close:
      break;
  }
  written_ += size;
  return size;
}

Frame ResponseWriter::next(std::string_view data, bool is_last) {
  data = data.substr(0, static_cast<std::size_t>(frame(data.size(), is_last)));
  if (data.size() <= copied_part) {
    buffer_.append(data);
    buffer_.append(after_);
    return {.before = buffer_, .data = {}, .after = {}};
  }
  return {.before = buffer_, .data = data, .after = after_};
}

Frame ResponseWriter::next_elsewhere(std::uint64_t& length) {
  length = frame(length, true);
  return {.before = buffer_, .data = {}, .after = after_};
}

Result<std::string> make_interim(int status, std::span<const Header> headers) {
  // 100 and 101 are the server's own.
  if (status < 102 || status > 199) {
    return fail(ErrorCode::application, fmt::format("interim status {} is not 102 to 199", status));
  }
  std::string text = fmt::format("HTTP/1.1 {} {}\r\n", status, standard_reason(status));
  for (const Header& header : headers) {
    if (auto checked = check_header(header); !checked) return fail(std::move(checked.error()));
    if (!belongs_to_final_reply(header.name)) append_header(text, header);
  }
  text.append("\r\n");
  return text;
}

std::string_view standard_reason(int status) {
  switch (status) {
    case 102:
      return "Processing";
    case 103:
      return "Early Hints";
    case 400:
      return "Bad Request";
    case 408:
      return "Request Timeout";
    case 413:
      return "Content Too Large";
    case 414:
      return "URI Too Long";
    case 417:
      return "Expectation Failed";
    case 431:
      return "Request Header Fields Too Large";
    case 500:
      return "Internal Server Error";
    case 501:
      return "Not Implemented";
    case 503:
      return "Service Unavailable";
    case 505:
      return "HTTP Version Not Supported";
    default:
      return "";
  }
}

}  // namespace green::http
