#include "daemon/http/websocket_deflate.h"

#include <fmt/format.h>
#include <zlib.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <new>
#include <utility>

#include "daemon/http/ascii.h"

namespace green::http {
namespace {

constexpr int least_window_bits = 9;  ///< zlib makes no smaller ones
constexpr int most_window_bits = 15;
/// Shorter messages gain nothing.
constexpr std::size_t shortest_deflated = 128;
constexpr std::size_t piece_size = 16 << 10;
constexpr int memory_level = 6;
constexpr std::size_t kept_capacity = 64 << 10;
/// Ends a message's last block, and does not travel (RFC 7692, 7.2.1).
constexpr std::string_view tail("\x00\x00\xff\xff", 4);

Bytef* as_bytes(std::string_view text) {
  return const_cast<Bytef*>(reinterpret_cast<const Bytef*>(text.data()));
}

/// Takes up to the next separator off the text, which may be within quotes.
std::string_view next_part(std::string_view& text, char separator) {
  bool is_quoted = false;
  std::size_t end = 0;
  for (; end < text.size(); ++end) {
    if (text[end] == '"') is_quoted = !is_quoted;
    if (text[end] == separator && !is_quoted) break;
  }
  const auto part = trim_whitespace(text.substr(0, end));
  text.remove_prefix(std::min(end + 1, text.size()));
  return part;
}

/// 8 to 15, without leading zeros (RFC 7692, 7.1.2).
std::optional<int> parse_window_bits(std::string_view value) {
  if (value.size() > 2 && value.front() == '"' && value.back() == '"') {
    value = value.substr(1, value.size() - 2);
  }
  if (value.empty() || value.front() == '0') return std::nullopt;
  int bits = 0;
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), bits);
  if (error != std::errc{} || end != value.data() + value.size()) return std::nullopt;
  return bits >= 8 && bits <= most_window_bits ? std::optional(bits) : std::nullopt;
}

/// nullopt: an offer that cannot be met.
std::optional<DeflateAgreement> read_parameters(std::string_view parameters) {
  constexpr std::array names{std::string_view("server_no_context_takeover"),
                             std::string_view("client_no_context_takeover"),
                             std::string_view("server_max_window_bits"),
                             std::string_view("client_max_window_bits")};
  std::array<bool, names.size()> seen{};
  DeflateAgreement agreement;
  while (!parameters.empty()) {
    const auto parameter = next_part(parameters, ';');
    const auto equals = parameter.find('=');
    const bool has_value = equals != std::string_view::npos;
    const auto name = trim_whitespace(parameter.substr(0, equals));
    const auto value =
        has_value ? trim_whitespace(parameter.substr(equals + 1)) : std::string_view();
    const auto index = static_cast<std::size_t>(
        std::ranges::find_if(
            names, [name](std::string_view known) { return equals_ignoring_case(name, known); }) -
        names.begin());
    if (index == names.size() || std::exchange(seen[index], true)) return std::nullopt;
    if (index < 2) {
      if (has_value) return std::nullopt;
    } else if (index == 2 || has_value) {
      const auto bits = parse_window_bits(value);
      if (!bits) return std::nullopt;
      if (index == 3) continue;
      if (*bits < least_window_bits) return std::nullopt;
      agreement.server_window_bits = *bits;
      agreement.says_server_window_bits = true;
    }
  }
  return agreement;
}

/// Not within one, which would have taken the tail for its own: what came was cut off (RFC 7692,
/// 7.2.2).
bool is_between_blocks(const z_stream& inflater) {
  constexpr int at_a_block = 128;
  constexpr int bits_left = 63;
  return (inflater.data_type & at_a_block) != 0 && (inflater.data_type & bits_left) == 0;
}

}  // namespace

std::string DeflateAgreement::text() const {
  std::string text = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
  if (says_server_window_bits) {
    text += fmt::format("; server_max_window_bits={}", server_window_bits);
  }
  return text;
}

std::optional<DeflateAgreement> choose_deflate(std::string_view extensions) {
  while (!extensions.empty()) {
    auto offer = next_part(extensions, ',');
    if (!equals_ignoring_case(next_part(offer, ';'), "permessage-deflate")) continue;
    if (auto agreement = read_parameters(offer)) return agreement;
  }
  return std::nullopt;
}

struct MessageDeflater::Streams {
  Streams() = default;
  Streams(const Streams&) = delete;
  Streams& operator=(const Streams&) = delete;
  ~Streams() {
    if (can_inflate) inflateEnd(&inflater);
    if (window_bits != 0) deflateEnd(&deflater);
  }

  z_stream inflater{};
  z_stream deflater{};
  bool can_inflate = false;
  int window_bits = 0;  ///< the deflater's; 0: there is none yet
  std::string compressed;
};

MessageDeflater::MessageDeflater() = default;
MessageDeflater::~MessageDeflater() = default;

MessageDeflater::Inflation MessageDeflater::inflate(std::string_view compressed, std::size_t limit,
                                                    std::string& message) {
  message.clear();
  if (compressed.size() > std::numeric_limits<uInt>::max()) return Inflation::too_long;
  if (!streams_) streams_ = std::make_unique<Streams>();
  z_stream& stream = streams_->inflater;
  if (!streams_->can_inflate) {
    if (inflateInit2(&stream, -most_window_bits) != Z_OK) throw std::bad_alloc();
    streams_->can_inflate = true;
  }
  inflateReset(&stream);
  std::array<char, piece_size> piece;
  for (const bool is_tail : {false, true}) {
    const auto part = is_tail ? tail : compressed;
    stream.next_in = as_bytes(part);
    stream.avail_in = static_cast<uInt>(part.size());
    do {
      stream.next_out = reinterpret_cast<Bytef*>(piece.data());
      stream.avail_out = static_cast<uInt>(piece.size());
      const int status = ::inflate(&stream, Z_SYNC_FLUSH);
      const std::size_t made = piece.size() - stream.avail_out;
      if (made > limit - message.size()) return Inflation::too_long;
      message.append(piece.data(), made);
      if (status == Z_STREAM_END) {
        // A block may be marked as the last one; others may follow it (RFC 7692, 7.2.3.4).
        if (is_tail || stream.avail_in == 0) return Inflation::done;
        inflateReset(&stream);
      } else if (status != Z_OK && status != Z_BUF_ERROR) {
        return Inflation::malformed;
      }
    } while (stream.avail_in > 0 || stream.avail_out == 0);
  }
  return is_between_blocks(stream) ? Inflation::done : Inflation::malformed;
}

std::optional<std::string_view> MessageDeflater::deflate(std::string_view message,
                                                         int window_bits) {
  if (message.size() < shortest_deflated || message.size() > std::numeric_limits<uInt>::max()) {
    return std::nullopt;
  }
  if (!streams_) streams_ = std::make_unique<Streams>();
  z_stream& stream = streams_->deflater;
  if (streams_->window_bits != window_bits) {
    if (std::exchange(streams_->window_bits, 0) != 0) deflateEnd(&stream);
    stream = {};
    if (deflateInit2(&stream, Z_BEST_SPEED, Z_DEFLATED, -window_bits, memory_level,
                     Z_DEFAULT_STRATEGY) != Z_OK) {
      throw std::bad_alloc();
    }
    streams_->window_bits = window_bits;
  }
  deflateReset(&stream);
  std::string& compressed = streams_->compressed;
  if (compressed.capacity() > kept_capacity) compressed = {};
  // What does not become shorter is sent as it is: no more room is needed.
  compressed.resize(message.size());
  stream.next_in = as_bytes(message);
  stream.avail_in = static_cast<uInt>(message.size());
  stream.next_out = reinterpret_cast<Bytef*>(compressed.data());
  stream.avail_out = static_cast<uInt>(compressed.size());
  const bool is_all =
      ::deflate(&stream, Z_SYNC_FLUSH) == Z_OK && stream.avail_in == 0 && stream.avail_out > 0;
  const auto made = std::string_view(compressed).substr(0, compressed.size() - stream.avail_out);
  if (!is_all || !made.ends_with(tail)) return std::nullopt;
  return made.substr(0, made.size() - tail.size());
}

}  // namespace green::http
