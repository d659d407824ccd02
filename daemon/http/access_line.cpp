#include "daemon/http/access_line.h"

#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <iterator>

#include "daemon/http/ascii.h"
#include "daemon/http/body.h"

namespace green::http {
namespace {

constexpr std::size_t usual_longest_value = 8192;
constexpr std::size_t short_longest_value = 256;

std::string_view header_value(std::span<const Header> headers, std::string_view lower_name) {
  for (const Header& header : headers)
    if (equals_ignoring_case(header.name, lower_name)) return header.value;
  return {};
}

/// Of a head as it was sent.
std::string_view reply_header(std::string_view head, std::string_view lower_name) {
  while (!head.empty()) {
    const auto end = head.find("\r\n");
    const std::string_view field = head.substr(0, end);
    const auto colon = field.find(':');
    if (colon != std::string_view::npos && equals_ignoring_case(field.substr(0, colon), lower_name))
      return trim_whitespace(field.substr(colon + 1));
    if (end == std::string_view::npos) return {};
    head.remove_prefix(end + 2);
  }
  return {};
}

/// The name in an Authorization header of the Basic scheme (RFC 7617); empty where there is none.
std::string basic_user(std::string_view authorization) {
  constexpr std::string_view scheme = "basic ";
  if (authorization.size() <= scheme.size() ||
      !equals_ignoring_case(authorization.substr(0, scheme.size()), scheme))
    return {};
  constexpr std::string_view digits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string name;
  std::uint32_t bits = 0;
  int count = 0;
  for (const char c : trim_whitespace(authorization.substr(scheme.size()))) {
    const auto value = digits.find(c);
    if (value == std::string_view::npos) break;
    bits = bits << 6 | static_cast<std::uint32_t>(value);
    count += 6;
    if (count < 8) continue;
    count -= 8;
    const char byte = static_cast<char>(bits >> count & 0xFF);
    if (byte == ':') return name;
    name += byte;
  }
  return {};  // without a colon they are no credentials
}

std::string_view protocol_of(const Request& request) {
  return request.version_minor == 0 ? "HTTP/1.0" : "HTTP/1.1";
}

/// JSON's own escapes; bytes beyond ASCII as latin-1, as an application's environ has them.
void append_json_text(std::string& line, std::string_view text, std::size_t longest) {
  for (const char c : text.substr(0, longest)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte < 0x7F && c != '"' && c != '\\')
      line += c;
    else
      fmt::format_to(std::back_inserter(line), "\\u{:04x}", byte);
  }
}

}  // namespace

void append_escaped(std::string& line, std::string_view text, std::size_t longest) {
  for (const char c : text.substr(0, longest)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte < 0x7F && c != '"' && c != '\\')
      line += c;
    else
      fmt::format_to(std::back_inserter(line), "\\x{:02X}", byte);
  }
  if (text.size() > longest) line += "...";
}

std::string_view AccessLine::make(const AccessEntry& entry) {
  longest_value_ = usual_longest_value;
  render(entry);
  if (line_.size() >= longest) {
    longest_value_ = short_longest_value;
    render(entry);
  }
  return line_;
}

void AccessLine::render(const AccessEntry& entry) {
  line_.clear();
  if (format_.is_json) return append_json(entry);
  for (const AccessPiece& piece : format_.pieces) {
    if (piece.atom == 0)
      line_ += piece.text;
    else
      append_atom(piece, entry);
  }
}

void AccessLine::append_member(std::string_view name, std::string_view value) {
  if (value.empty()) return;
  fmt::format_to(std::back_inserter(line_), R"(,"{}":")", name);
  append_json_text(line_, value, longest_value_);
  line_ += '"';
}

void AccessLine::append_json(const AccessEntry& entry) {
  const Request& request = entry.request;
  line_ += R"({"time":")";
  append_utc_time();
  line_ += '"';
  append_member("site", origin_.site);
  fmt::format_to(std::back_inserter(line_), R"(,"generation":{},"worker":{},"pid":{})",
                 origin_.generation, origin_.worker, ::getpid());
  append_member("request_id", request.request_id);
  append_member("remote_addr", request.endpoints->remote_address);
  append_member("method", request.method);
  append_member("scheme", request.method.empty() ? std::string_view{} : request.scheme);
  append_member("host", header_value(request.headers, "host"));
  append_member("path", request.path);
  append_member("query", request.query);
  append_member("protocol", request.method.empty() ? std::string_view{} : protocol_of(request));
  fmt::format_to(std::back_inserter(line_), R"(,"status":{},"bytes":{},"duration_usec":{})",
                 entry.status, entry.bytes, entry.duration_usec);
  append_member("referer", header_value(request.headers, "referer"));
  append_member("user_agent", header_value(request.headers, "user-agent"));
  line_ += '}';
}

void AccessLine::append_text(std::string_view text) {
  if (text.empty())
    line_ += '-';
  else
    append_escaped(line_, text, longest_value_);
}

void AccessLine::append_atom(const AccessPiece& piece, const AccessEntry& entry) {
  const Request& request = entry.request;
  const auto number = [this](std::uint64_t value) {
    fmt::format_to(std::back_inserter(line_), "{}", value);
  };
  switch (piece.atom) {
    case 'h':
      return append_text(request.endpoints->remote_address);
    case 'u':
      return append_user(request);
    case 't':
      return append_time();
    case 'r':
      return append_request_line(request);
    case 'm':
      return append_text(request.method);
    case 'U':
      return append_text(request.path);
    case 'q':
      return append_escaped(line_, request.query, longest_value_);
    case 'H':
      return append_text(request.method.empty() ? std::string_view{} : protocol_of(request));
    case 's':
      if (entry.status == 0) return append_text({});
      return number(static_cast<std::uint64_t>(entry.status));
    case 'b':
      if (entry.bytes == 0) return append_text({});
      return number(entry.bytes);
    case 'B':
      return number(entry.bytes);
    case 'f':
      return append_text(header_value(request.headers, "referer"));
    case 'a':
      return append_text(header_value(request.headers, "user-agent"));
    case 'T':
      return number(entry.duration_usec / 1'000'000);
    case 'M':
      return number(entry.duration_usec / 1'000);
    case 'D':
      return number(entry.duration_usec);
    case 'L':
      fmt::format_to(std::back_inserter(line_), "{}.{:06}", entry.duration_usec / 1'000'000,
                     entry.duration_usec % 1'000'000);
      return;
    case 'p':
      fmt::format_to(std::back_inserter(line_), "<{}>", ::getpid());
      return;
    case 'i':
      return append_text(header_value(request.headers, piece.text));
    case 'o':
      return append_text(reply_header(entry.reply_head, piece.text));
    case 'e':
      return append_variable(piece.text, entry);
    default:  // 'l': nobody asks identd
      return append_text({});
  }
}

void AccessLine::append_variable(std::string_view name, const AccessEntry& entry) {
  const Request& request = entry.request;
  if (name.starts_with("HTTP_")) {
    std::string header;
    for (const char c : name.substr(5)) header += c == '_' ? '-' : ascii_lower(c);
    return append_text(header_value(request.headers, header));
  }
  if (name == "CONTENT_LENGTH") {
    line_ += request.body == nullptr ? "-" : fmt::format("{}", request.body->size());
    return;
  }
  const std::array<std::pair<std::string_view, std::string_view>, 10> known{{
      {"REQUEST_METHOD", request.method},
      {"QUERY_STRING", request.query},
      {"RAW_URI", request.target},
      {"SERVER_PROTOCOL", protocol_of(request)},
      {"SERVER_NAME", request.endpoints->local_address},
      {"SERVER_PORT", request.endpoints->local_port},
      {"REMOTE_ADDR", request.endpoints->remote_address},
      {"REMOTE_PORT", request.endpoints->remote_port},
      {"CONTENT_TYPE", header_value(request.headers, "content-type")},
      {"wsgi.url_scheme", request.scheme},
  }};
  for (const auto& [variable, value] : known)
    if (variable == name) return append_text(value);
}

void AccessLine::append_request_line(const Request& request) {
  if (request.method.empty()) return append_text({});
  append_escaped(line_, request.method, longest_value_);
  line_ += ' ';
  append_escaped(line_, request.target, longest_value_);
  line_ += ' ';
  line_ += protocol_of(request);
}

void AccessLine::append_user(const Request& request) {
  const auto authorization = header_value(request.headers, "authorization");
  // A space in a name would shift what follows it.
  std::string user = authorization.empty() ? std::string{} : basic_user(authorization);
  for (char& c : user)
    if (c == ' ') c = '+';
  append_text(user);
}

/// As Apache's: "[23/Nov/2026:09:30:00 +0100]". strftime would speak the application's locale.
void AccessLine::append_time() {
  static constexpr std::array months{"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                     "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  timespec now{};
  clock_gettime(CLOCK_REALTIME_COARSE, &now);
  if (now.tv_sec != time_made_for_) {
    std::tm local{};
    localtime_r(&now.tv_sec, &local);
    const long minutes = std::labs(local.tm_gmtoff) / 60;
    time_ = fmt::format("[{:02}/{}/{:04}:{:02}:{:02}:{:02} {}{:02}{:02}]", local.tm_mday,
                        months[static_cast<std::size_t>(local.tm_mon)], local.tm_year + 1900,
                        local.tm_hour, local.tm_min, local.tm_sec, local.tm_gmtoff < 0 ? '-' : '+',
                        minutes / 60, minutes % 60);
    time_made_for_ = now.tv_sec;
  }
  line_ += time_;
}

void AccessLine::append_utc_time() {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  if (now.tv_sec != time_made_for_) {
    std::tm utc{};
    gmtime_r(&now.tv_sec, &utc);
    time_ = fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}", utc.tm_year + 1900, utc.tm_mon + 1,
                        utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec);
    time_made_for_ = now.tv_sec;
  }
  fmt::format_to(std::back_inserter(line_), "{}.{:06}Z", time_, now.tv_nsec / 1000);
}

}  // namespace green::http
