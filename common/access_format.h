// What a line of the access log says: the setting access_log_format, read once. No thread affinity.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "common/result.h"

namespace green {

/// Literal text, or one of Gunicorn's atoms.
struct AccessPiece {
  /// The letter of "%(h)s" and so on; 'i', 'o', 'e': a header of the request, of the reply, or a
  /// variable of the request, by name; 0: `text` as it is.
  char atom = 0;
  std::string text{};
  bool operator==(const AccessPiece&) const = default;
};

struct AccessFormat {
  bool is_json = false;
  std::vector<AccessPiece> pieces;  ///< none with is_json

  /// "%({x}o)s" is among them: the reply's head has to be kept.
  bool names_reply_headers() const;
};

/// "common", "combined", "json", or a format of atoms. Names of headers come in lower case.
Result<AccessFormat> parse_access_format(std::string_view text);

}  // namespace green
