#include "daemon/http/response_writer.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>

#include "daemon/http/ascii.h"
#include "daemon/http/standard_reason.h"

namespace green::http {

using namespace std::string_view_literals;

namespace {

constexpr std::size_t kept_capacity = 16 << 10;
/// Up to this size a body part is copied behind the head: one plain send() beats a gathering one.
constexpr std::size_t copied_part = 8 << 10;

/// RFC 9110, 5.5: field values hold no control characters but tab.
bool is_field_value(std::string_view text) {
  const auto is_control = [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return (byte < 0x20 && byte != '\t') || byte == 0x7f;
  };
  // Eight bytes at a time: the highest bit of each tells whether it, or one below it, may be one.
  constexpr std::uint64_t ones = 0x0101010101010101;
  for (; text.size() >= sizeof ones; text.remove_prefix(sizeof ones)) {
    std::uint64_t bytes = 0;
    std::memcpy(&bytes, text.data(), sizeof bytes);
    const std::uint64_t del = bytes ^ (ones * 0x7f);
    const std::uint64_t found = ((bytes - ones * 0x20) & ~bytes) | ((del - ones) & ~del);
    if ((found & (ones * 0x80)) != 0 &&
        std::ranges::any_of(text.substr(0, sizeof ones), is_control))
      return false;
  }
  return std::ranges::none_of(text, is_control);
}

std::optional<std::uint64_t> parse_length(std::string_view text) {
  std::uint64_t length = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), length);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return length;
}

/// All at once: one growth, and constant parts cost a store or two.
template <typename... Parts>
void append(std::string& text, const Parts&... parts) {
  const std::size_t before = text.size();
  const std::size_t size = before + (parts.size() + ...);
  text.resize_and_overwrite(size, [&](char* data, std::size_t) {
    char* end = data + before;
    ((std::char_traits<char>::copy(end, parts.data(), parts.size()), end += parts.size()), ...);
    return size;
  });
}

/// The digits of a number.
class Digits {
 public:
  explicit Digits(std::uint64_t number, int base = 10)
      : size_(static_cast<std::size_t>(
            std::to_chars(digits_.data(), digits_.data() + digits_.size(), number, base).ptr -
            digits_.data())) {}
  const char* data() const { return digits_.data(); }
  std::size_t size() const { return size_; }

 private:
  std::array<char, 20> digits_;
  std::size_t size_;
};

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
  append(text, header.name, ": "sv, header.value, "\r\n"sv);
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

/// Fields that frame, route or say what the body is: too late after it (RFC 9110, 6.5.1).
bool may_be_trailer(std::string_view name) {
  constexpr std::array names{std::string_view("host"), std::string_view("content-encoding"),
                             std::string_view("content-type"), std::string_view("content-range")};
  return !belongs_to_final_reply(name) && std::ranges::none_of(names, [name](auto known) {
    return equals_ignoring_case(name, known);
  });
}

/// Of an interim response or a 101, without the empty line at its end.
Result<std::string> make_head(int status, std::string_view reason,
                              std::span<const Header> headers) {
  std::string text = fmt::format("HTTP/1.1 {} {}\r\n", status, reason);
  for (const Header& header : headers) {
    if (auto checked = check_header(header); !checked) return fail(std::move(checked.error()));
    if (!belongs_to_final_reply(header.name)) append_header(text, header);
  }
  return text;
}

bool forbids_body(int status) { return status == 204 || status == 205 || status == 304; }

}  // namespace

void ResponseWriter::begin(bool is_head, int version_minor, bool may_keep_alive) {
  is_head_ = is_head;
  version_minor_ = version_minor;
  keep_alive_ = may_keep_alive;
  head_made_ = overflowed_ = fell_short_ = false;
  written_ = 0;
  if (buffer_.capacity() > kept_capacity) buffer_ = {};
  head_.clear();
  trailers_.clear();
  promises_trailers_ = false;
  request_id_ = {};
  discard();
}

void ResponseWriter::discard() {
  buffer_.clear();
  after_.clear();
  status_ = 0;
  has_date_ = has_server_ = has_request_id_ = offers_upgrade_ = false;
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
  append(buffer_, "HTTP/1.1 "sv, Digits(static_cast<std::uint64_t>(status)), " "sv, reason,
         "\r\n"sv);
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
      if (is("trailer")) return promises_trailers_ && version_minor_ > 0;
      if (!is("upgrade")) return true;
      // RFC 9110, 15.5.22: there it has to say which.
      offers_upgrade_ = status_ == 426;
      return offers_upgrade_;
    case 10:
      if (is("keep-alive")) return false;
      if (!is("connection")) return true;
      if (has_close(header.value)) keep_alive_ = false;
      return false;
    case 12:
      has_request_id_ = has_request_id_ || is("x-request-id");
      return true;
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

Result<void> ResponseWriter::add_trailers(std::span<const Header> trailers) {
  if (!promises_trailers_) return fail(ErrorCode::application, "no trailers were promised");
  std::string text;
  for (const Header& trailer : trailers) {
    if (auto checked = check_header(trailer); !checked) return checked;
    if (!may_be_trailer(trailer.name))
      return fail(ErrorCode::application, fmt::format("{} has no place in trailers", trailer.name));
    append_header(text, trailer);
  }
  trailers_ += text;
  return {};
}

void ResponseWriter::make_head(std::optional<std::uint64_t> whole_length) {
  append(buffer_, has_date_ ? ""sv : date_->get(), has_server_ ? ""sv : "Server: green\r\n"sv);
  if (!request_id_.empty() && !has_request_id_)
    append_header(buffer_, {.name = "X-Request-ID", .value = request_id_});
  // A reply to HEAD that has no body says nothing about GET's (RFC 9110, 8.6).
  const bool is_known = !is_head_ || whole_length != std::uint64_t{0};
  if (!declared_ && status_ != 304 && is_known) declared_ = whole_length;
  if (status_ == 204 || (promises_trailers_ && version_minor_ > 0)) declared_.reset();
  if (status_ == 205) declared_ = 0;  // unlike the others, framed as if it could have one
  if (declared_) append(buffer_, "Content-Length: "sv, Digits(*declared_), "\r\n"sv);
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
    append(buffer_, "Connection: close"sv, offers_upgrade_ ? ", upgrade\r\n"sv : "\r\n"sv);
  } else if (version_minor_ == 0) {
    append(buffer_, "Connection: keep-alive"sv, offers_upgrade_ ? ", upgrade\r\n"sv : "\r\n"sv);
  } else if (offers_upgrade_) {
    append(buffer_, "Connection: upgrade\r\n"sv);
  }
  if (keeps_head_) head_ = buffer_;
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
        append(buffer_, Digits(size, 16), "\r\n"sv);
        after_.append("\r\n");
      }
      if (is_last) after_.append("0\r\n").append(trailers_).append("\r\n");
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
    append(buffer_, data, after_);
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
  auto text = make_head(status, standard_reason(status), headers);
  if (text) text->append("\r\n");
  return text;
}

Result<std::string> make_switching_protocols(std::span<const Header> headers) {
  return make_head(101, "Switching Protocols", headers);
}

}  // namespace green::http
