#include "common/access_format.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "common/text.h"

namespace green {
namespace {

constexpr std::string_view common_format = R"(%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s)";
constexpr std::string_view combined_format =
    R"(%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s")";
constexpr std::string_view plain_atoms = "hlutrmUqHsBbfaTMDLp";
/// Beside HTTP_*, the variables of a request that are known without the application.
constexpr std::array<std::string_view, 11> variables{
    "REQUEST_METHOD", "QUERY_STRING",   "RAW_URI",        "SERVER_PROTOCOL",
    "SERVER_NAME",    "SERVER_PORT",    "REMOTE_ADDR",    "REMOTE_PORT",
    "CONTENT_TYPE",   "CONTENT_LENGTH", "wsgi.url_scheme"};

std::unexpected<Error> invalid(std::string message) {
  return fail(ErrorCode::configuration, std::move(message));
}

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }

Result<AccessPiece> named_piece(std::string_view name, char kind) {
  if (name.empty()) return invalid("an atom without a name in its braces");
  AccessPiece piece{.atom = kind, .text = std::string(name)};
  if (kind == 'i' || kind == 'o') {
    std::ranges::transform(piece.text, piece.text.begin(), lower);
    return piece;
  }
  if (kind != 'e') return invalid(fmt::format(R"("{{{}}}{}" is no atom)", printable(name), kind));
  if (!name.starts_with("HTTP_") && std::ranges::find(variables, name) == variables.end())
    return invalid(fmt::format(R"("{}" is none of the variables of a request: HTTP_* and {})",
                               printable(name), fmt::join(variables, ", ")));
  return piece;
}

Result<AccessPiece> atom_piece(std::string_view inner) {
  if (inner.size() == 1 && plain_atoms.contains(inner.front()))
    return AccessPiece{.atom = inner.front()};
  if (inner.size() >= 3 && inner.front() == '{' && inner[inner.size() - 2] == '}')
    return named_piece(inner.substr(1, inner.size() - 3), inner.back());
  return invalid(fmt::format(R"("%({})s" is no atom: there are {} and {{NAME}}i, o, e)",
                             printable(inner), fmt::join(plain_atoms, ", ")));
}

}  // namespace

bool AccessFormat::names_reply_headers() const {
  return std::ranges::any_of(pieces, [](const AccessPiece& piece) { return piece.atom == 'o'; });
}

Result<AccessFormat> parse_access_format(std::string_view text) {
  if (text == "json") return AccessFormat{.is_json = true, .pieces = {}};
  if (text == "common") text = common_format;
  if (text == "combined") text = combined_format;
  if (!text.contains("%("))
    return invalid(
        R"-(must be "common", "combined", "json" or a format of atoms such as "%(r)s")-");
  AccessFormat format;
  std::string literal;
  while (!text.empty()) {
    if (text.starts_with("%%")) {
      literal += '%';
      text.remove_prefix(2);
    } else if (text.starts_with("%(")) {
      const auto end = text.find(")s");
      if (end == std::string_view::npos)
        return invalid(fmt::format(R"("{}": an atom ends in ")s")", printable(text)));
      auto piece = atom_piece(text.substr(2, end - 2));
      if (!piece) return fail(std::move(piece.error()));
      if (!literal.empty()) format.pieces.push_back({.text = std::exchange(literal, {})});
      format.pieces.push_back(std::move(*piece));
      text.remove_prefix(end + 2);
    } else {
      const auto byte = static_cast<unsigned char>(text.front());
      if (byte == '%') return invalid(R"-(a percent sign begins "%(…)s" or "%%")-");
      if (byte < 0x20 || byte == 0x7F)
        return invalid("must be one line without control characters");
      literal += text.front();
      text.remove_prefix(1);
    }
  }
  if (!literal.empty()) format.pieces.push_back({.text = std::move(literal)});
  return format;
}

}  // namespace green
