#include "daemon/http/date_line.h"

#include <fmt/format.h>

#include <array>

namespace green::http {

std::string_view DateLine::get() {
  timespec now{};
  clock_gettime(CLOCK_REALTIME_COARSE, &now);
  return now.tv_sec == made_for_ ? std::string_view(line_) : get_at(now.tv_sec);
}

std::string_view DateLine::get_at(std::time_t now) {
  // strftime would speak the application's locale.
  static constexpr std::array days{"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
  static constexpr std::array months{"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                     "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  std::tm utc{};
  gmtime_r(&now, &utc);
  line_ = fmt::format("Date: {}, {:02} {} {:04} {:02}:{:02}:{:02} GMT\r\n",
                      days[static_cast<std::size_t>(utc.tm_wday)], utc.tm_mday,
                      months[static_cast<std::size_t>(utc.tm_mon)], utc.tm_year + 1900, utc.tm_hour,
                      utc.tm_min, utc.tm_sec);
  made_for_ = now;
  return line_;
}

}  // namespace green::http
