// The only file that includes llhttp; one file because its callbacks and the state they share are
// one machine.
#include "daemon/http/request_parser.h"

#include <llhttp.h>

#include <algorithm>
#include <cstdint>
#include <string>

#include "common/log.h"
#include "daemon/http/ascii.h"
#include "daemon/http/request_head.h"

static_assert(LLHTTP_VERSION_MAJOR > 9 ||
                  (LLHTTP_VERSION_MAJOR == 9 &&
                   (LLHTTP_VERSION_MINOR > 2 ||
                    (LLHTTP_VERSION_MINOR == 2 && LLHTTP_VERSION_PATCH >= 1))),
              "llhttp before 9.2.1 has known request-smuggling bugs");

namespace green::http {
namespace {

constexpr std::size_t kept_head_capacity = 4 << 10;
constexpr std::size_t longest_unknown_method = 64;
constexpr std::string_view version_tail = " HTTP/1.1";

/// A piece of the head as offsets, since the bytes move once.
struct Piece {
  std::uint32_t begin = 0;
  std::uint32_t end = 0;
};

struct Field {
  Piece name;
  Piece value;
};

enum class Phase { head, unknown_method, body, complete, rejected };

}  // namespace

struct RequestParser::State {
  State(const Limits& the_limits, Body& the_body) : limits(the_limits), body(the_body) {}

  const Limits& limits;
  Body& body;
  llhttp_t llhttp{};
  Phase phase = Phase::head;

  /// The head, once it is whole or did not come in one read.
  std::string head;
  /// What offsets count from during feed(): the input, or head.data().
  const char* base = nullptr;
  Piece method;
  Piece target;
  Piece version;
  std::vector<Field> fields;
  bool in_field_name = false;

  RequestHead checked;
  bool keep_alive = false;
  std::size_t trailer_bytes = 0;
  std::uint64_t extension_bytes = 0;
  std::size_t chunk_extension_bytes = 0;
  Rejection rejection{};

  static State& of(llhttp_t* parser) { return *static_cast<State*>(parser->data); }

  int reject(int status, std::string_view explanation) {
    rejection = {status, explanation};
    phase = Phase::rejected;
    return HPE_USER;
  }
  Piece piece(const char* at, std::size_t length) const {
    const auto begin = static_cast<std::uint32_t>(at - base);
    return {begin, begin + static_cast<std::uint32_t>(length)};
  }
  /// A piece can come in several parts, which are neighbours in the head.
  void extend(Piece& whole, const char* at, std::size_t length) const {
    const Piece part = piece(at, length);
    if (whole.end == 0) whole.begin = part.begin;
    whole.end = part.end;
  }
  std::string_view text(const Piece& of_head) const {
    return std::string_view(base + of_head.begin, of_head.end - of_head.begin);
  }

  int on_target(const char* at, std::size_t length);
  int on_trailer(std::size_t length);
  int check_field();
  int on_field_name(const char* at, std::size_t length);
  int on_field_value(const char* at, std::size_t length);
  int on_head();
  int check_head();
  int on_body(const char* at, std::size_t length);

  Request known() const;
  int on_extension(std::size_t length);
  static const llhttp_settings_t settings;

  Step feed_head(std::string_view input);
  Step feed_unknown_method(std::string_view input);
  Step execute(const char* data, std::size_t length);
  Step refuse(llhttp_errno_t error, std::size_t length);
  Step judge_method(std::string_view seen, std::size_t length);
};

int RequestParser::State::on_target(const char* at, std::size_t length) {
  extend(target, at, length);
  if (target.end + version_tail.size() > limits.request_line) {
    return reject(414, "the request line is too long");
  }
  return 0;
}

int RequestParser::State::on_trailer(std::size_t length) {
  trailer_bytes += length;
  return trailer_bytes > limits.head_bytes ? reject(431, "the trailers are too long") : 0;
}

int RequestParser::State::check_field() {
  const Field& field = fields.back();
  const std::size_t size = std::max(field.name.end, field.value.end) - field.name.begin;
  return size > limits.field_bytes ? reject(431, "a header is too long") : 0;
}

int RequestParser::State::on_field_name(const char* at, std::size_t length) {
  if (phase != Phase::head) return on_trailer(length);
  const Piece part = piece(at, length);
  if (in_field_name && fields.back().name.end == part.begin) {
    fields.back().name.end = part.end;
    return check_field();
  }
  if (fields.size() == limits.header_count) return reject(431, "too many headers");
  fields.push_back({.name = part, .value = {}});
  in_field_name = true;
  return check_field();
}

int RequestParser::State::on_field_value(const char* at, std::size_t length) {
  if (phase != Phase::head) return on_trailer(length + 4);
  extend(fields.back().value, at, length);
  in_field_name = false;
  return check_field();
}

int RequestParser::State::on_head() {
  // The bytes move to where they stay; CRLFs after the last field are of no further use.
  std::uint32_t end = std::max(target.end, version.end);
  if (!fields.empty()) end = std::max(fields.back().name.end, fields.back().value.end);
  if (end > limits.head_bytes) return reject(431, "the head is too long");
  if (base != head.data()) head.assign(base, end);
  base = head.data();
  if (const int refused = check_head(); refused != 0) return refused;
  const bool has_body = (llhttp.flags & F_CHUNKED) != 0 || llhttp.content_length > 0;
  phase = Phase::body;
  llhttp.upgrade = 0;  // Upgrade is ignored, as RFC 9110, 7.8 allows: the request is like any other
  return has_body ? HPE_PAUSED : 0;
}

int RequestParser::State::check_head() {
  // llhttp skips empty lines and spaces that RFC 9112 does not let a server skip.
  if (method.begin != 0 && text({0, method.begin}) != "\r\n") {
    return reject(400, "bytes before the request line");
  }
  if (version.end == 0 || target.begin != method.end + 1)
    return reject(400, "malformed request line");
  if (text({target.end, version.begin}) != " HTTP/") return reject(400, "malformed request line");
  if (llhttp.http_major != 1) return reject(505, "the HTTP version is not supported");

  checked.reserve(fields.size() + 1);
  for (const Field& field : fields) checked.add(text(field.name), text(field.value));
  const HeadFindings findings{
      .method = text(method),
      .target = text(target),
      .version_minor = llhttp.http_minor,
      .has_transfer_encoding = (llhttp.flags & F_TRANSFER_ENCODING) != 0,
      .is_chunked = (llhttp.flags & F_CHUNKED) != 0,
      .content_length = llhttp.content_length,
  };
  if (const auto refused = checked.check(findings, limits)) {
    return reject(refused->status, refused->explanation);
  }
  checked.request().body = &body;
  // RFC 9112, 9.3: "close" comes first, for HTTP/1.0 too.
  keep_alive = llhttp_should_keep_alive(&llhttp) != 0 && (llhttp.flags & F_CONNECTION_CLOSE) == 0;
  return 0;
}

Request RequestParser::State::known() const {
  const Request& request = checked.request();
  if (request.body != nullptr) return request;
  Request line;
  line.method = request.method;
  line.target = request.target;
  line.path = request.path;
  line.query = request.query;
  line.version_minor = request.version_minor;
  return line;
}

int RequestParser::State::on_body(const char* at, std::size_t length) {
  if (limits.body_bytes != 0 && body.size() + length > limits.body_bytes) {
    return reject(413, "the body is too long");
  }
  if (auto appended = body.append({at, length}); !appended) {
    log_error("{}", appended.error().message());
    return reject(500, "the body cannot be stored");
  }
  return 0;
}

int RequestParser::State::on_extension(std::size_t length) {
  // In all no more than the body itself and a head: they are read for nothing.
  extension_bytes += length;
  chunk_extension_bytes += length;
  const bool is_too_much = chunk_extension_bytes > limits.field_bytes ||
                           extension_bytes > limits.head_bytes + body.size();
  return is_too_much ? reject(400, "the chunk extensions are too long") : 0;
}

const llhttp_settings_t RequestParser::State::settings = [] {
  llhttp_settings_t callbacks{};
  llhttp_settings_init(&callbacks);
  callbacks.on_method = [](llhttp_t* p, const char* at, std::size_t length) {
    of(p).extend(of(p).method, at, length);
    return 0;
  };
  callbacks.on_url = [](llhttp_t* p, const char* at, std::size_t length) {
    return of(p).on_target(at, length);
  };
  callbacks.on_version = [](llhttp_t* p, const char* at, std::size_t length) {
    of(p).extend(of(p).version, at, length);
    return 0;
  };
  callbacks.on_header_field = [](llhttp_t* p, const char* at, std::size_t length) {
    return of(p).on_field_name(at, length);
  };
  callbacks.on_header_value = [](llhttp_t* p, const char* at, std::size_t length) {
    return of(p).on_field_value(at, length);
  };
  callbacks.on_headers_complete = [](llhttp_t* p) { return of(p).on_head(); };
  callbacks.on_body = [](llhttp_t* p, const char* at, std::size_t length) {
    return of(p).on_body(at, length);
  };
  callbacks.on_chunk_header = [](llhttp_t* p) {
    of(p).chunk_extension_bytes = 0;
    return 0;
  };
  const auto on_extension = [](llhttp_t* p, const char*, std::size_t length) {
    return of(p).on_extension(length);
  };
  callbacks.on_chunk_extension_name = on_extension;
  callbacks.on_chunk_extension_value = on_extension;
  callbacks.on_message_complete = [](llhttp_t* p) {
    of(p).phase = Phase::complete;
    return static_cast<int>(HPE_PAUSED);
  };
  return callbacks;
}();

RequestParser::Step RequestParser::State::feed_head(std::string_view input) {
  const bool is_first = head.empty();
  const std::size_t before = head.size();
  // One byte more than allowed tells a head that is too long from one that just fits.
  input = input.substr(0, limits.head_bytes + 1 - before);
  if (is_first) {
    base = input.data();
  } else {
    head.append(input);
    base = head.data();
  }
  const auto step = execute(base + before, input.size());
  if (step.progress != Progress::need_more) return step;
  if (before + input.size() > limits.head_bytes) {
    reject(431, "the head is too long");
    return {Progress::rejected, input.size()};
  }
  if (is_first) head.assign(input);
  return step;
}

RequestParser::Step RequestParser::State::execute(const char* data, std::size_t length) {
  if (llhttp_get_errno(&llhttp) == HPE_PAUSED) llhttp_resume(&llhttp);
  const auto error = llhttp_execute(&llhttp, data, length);
  if (error == HPE_OK) return {Progress::need_more, length};
  const auto consumed = static_cast<std::size_t>(llhttp_get_error_pos(&llhttp) - data);
  if (error == HPE_PAUSED) {
    return {phase == Phase::complete ? Progress::complete : Progress::head, consumed};
  }
  return refuse(error, length);
}

RequestParser::Step RequestParser::State::refuse(llhttp_errno_t error, std::size_t length) {
  if (phase == Phase::rejected) return {Progress::rejected, length};
  switch (error) {
    case HPE_INVALID_METHOD: {
      // A method that llhttp does not know: 501 if it is a token, which only the bytes to come may
      // say.
      phase = Phase::unknown_method;
      const std::size_t before = base == head.data() ? head.size() - length : 0;
      return judge_method(std::string_view(base, before + length), length);
    }
    case HPE_INVALID_VERSION:
      if (std::string_view(llhttp_get_error_reason(&llhttp)) == "Invalid HTTP version") {
        reject(505, "the HTTP version is not supported");
      } else {
        reject(400, "malformed HTTP version");
      }
      break;
    case HPE_PAUSED_H2_UPGRADE:
      reject(505, "the HTTP version is not supported");
      break;
    default:
      // llhttp's reasons are string constants.
      reject(400, llhttp_get_error_reason(&llhttp));
  }
  return {Progress::rejected, length};
}

RequestParser::Step RequestParser::State::judge_method(std::string_view seen, std::size_t length) {
  if (seen.starts_with("\r\n")) seen.remove_prefix(2);
  // No more of it than what is judged where it comes in small parts.
  seen = seen.substr(0, longest_unknown_method + 1);
  const auto end = std::find_if_not(seen.begin(), seen.end(), is_token_character);
  if (end == seen.end() && seen.size() <= longest_unknown_method) {
    if (base != head.data()) head.assign(base, length);
    return {Progress::need_more, length};
  }
  const bool is_method = end != seen.begin() && (end == seen.end() || *end == ' ');
  if (is_method) {
    reject(501, "the method is unknown");
  } else {
    reject(400, "malformed method");
  }
  return {Progress::rejected, length};
}

RequestParser::Step RequestParser::State::feed_unknown_method(std::string_view input) {
  input = input.substr(0, longest_unknown_method);
  head.append(input);
  base = head.data();
  return judge_method(head, input.size());
}

RequestParser::RequestParser(const Limits& limits, Body& body)
    : state_(std::make_unique<State>(limits, body)) {
  begin();
}
RequestParser::~RequestParser() = default;

void RequestParser::begin() {
  State& state = *state_;
  llhttp_init(&state.llhttp, HTTP_REQUEST, &State::settings);
  state.llhttp.data = &state;
  state.phase = Phase::head;
  if (state.head.capacity() > kept_head_capacity) {
    state.head = {};
  } else {
    state.head.clear();
  }
  state.method = state.target = state.version = {};
  state.fields.clear();
  state.in_field_name = false;
  state.checked.clear();
  state.keep_alive = false;
  state.trailer_bytes = state.chunk_extension_bytes = 0;
  state.extension_bytes = 0;
}

RequestParser::Step RequestParser::feed(std::string_view input) {
  State& state = *state_;
  switch (state.phase) {
    case Phase::head:
      return state.feed_head(input);
    case Phase::unknown_method:
      return state.feed_unknown_method(input);
    case Phase::body:
      return state.execute(input.data(), input.size());
    case Phase::complete:
      return {Progress::complete, 0};
    case Phase::rejected:
      break;
  }
  return {Progress::rejected, 0};
}

bool RequestParser::has_begun() const {
  return state_->phase != Phase::head ||
         state_->head.find_first_not_of("\r\n") != std::string::npos;
}
bool RequestParser::is_complete() const { return state_->phase == Phase::complete; }
Request& RequestParser::request() { return state_->checked.request(); }
const Request& RequestParser::request() const { return state_->checked.request(); }
Request RequestParser::known() const { return state_->known(); }
bool RequestParser::keep_alive() const { return state_->keep_alive; }
std::optional<std::uint64_t> RequestParser::body_left() const {
  if ((state_->llhttp.flags & F_CHUNKED) != 0) return std::nullopt;
  return is_complete() ? 0 : state_->llhttp.content_length;
}
bool RequestParser::expects_continue() const { return state_->checked.expects_continue(); }
bool RequestParser::has_forwarding_headers() const {
  return state_->checked.has_forwarding_headers();
}
std::vector<Header>& RequestParser::headers() { return state_->checked.headers(); }
const Rejection& RequestParser::rejection() const { return state_->rejection; }

}  // namespace green::http
