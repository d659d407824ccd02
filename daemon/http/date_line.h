// "Date: …\r\n", made once a second. Loop thread.
#pragma once

#include <ctime>
#include <string>
#include <string_view>

namespace green::http {

class DateLine {
 public:
  /// With CRLF, for now.
  std::string_view get();
  /// For a given time: IMF-fixdate (RFC 9110, 5.6.7).
  std::string_view get_at(std::time_t now);

 private:
  std::time_t made_for_ = -1;
  std::string line_;
};

}  // namespace green::http
