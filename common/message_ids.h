// MESSAGE_ID of the log messages that an operator may want explained: units/green.catalog has a
// text for each but the access log's. An id never changes its meaning.
#pragma once

#include <string_view>

namespace green::message_id {

inline constexpr std::string_view start_failed = "aff606ae5b124673a1453858f8335a0a";
inline constexpr std::string_view reload_failed = "5c17aa563fca48038c38ef572c033685";
inline constexpr std::string_view worker_died = "d5b29f9fd8ba4521bcba716a976f6394";
inline constexpr std::string_view request_timed_out = "93ebee3577ae48f89099b9247e94b3ad";
inline constexpr std::string_view restarts_held_back = "7e18b69e0ff84261935b4cbb8376c99b";
inline constexpr std::string_view access = "35568c7b261345be98593d13a5b25c41";

}  // namespace green::message_id
