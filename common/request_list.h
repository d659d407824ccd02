// What a worker is answering: the requests and WebSockets it has, as it tells greend when that
// asks. Written by the worker; greend reads what may be anything at all. Any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/result.h"

namespace green {

enum class RequestState {
  reading,     ///< its head or its body is not all here yet
  waiting,     ///< for a thread of the pool (threads = N)
  running,     ///< the application has it; nothing is sent
  streaming,   ///< the application has it, and a part of the reply is sent
  replying,    ///< the application is done; the client has not taken all of the reply
  background,  ///< answered, but its task goes on
  abandoned,   ///< nobody waits for it any more; the application has it still
  websocket,   ///< an open WebSocket
};
std::string_view request_state_name(RequestState state);

/// Of one worker no more than these are told; the others are counted.
inline constexpr std::size_t most_listed_requests = 256;
/// Bytes of a path that are told.
inline constexpr std::size_t longest_listed_path = 180;

struct ListedRequest {
  RequestState state{};
  std::uint64_t since_usec = 0;  ///< CLOCK_MONOTONIC
  std::string request{};         ///< "GET /report"; empty: not known yet
  std::string client{};          ///< "192.0.2.1"; empty: a unix socket's
};

struct RequestList {
  std::vector<ListedRequest> requests{};
  std::uint64_t unlisted = 0;  ///< how many more there are
};

/// Requests before WebSockets, the oldest first, as many as may be told.
RequestList shortened(std::vector<ListedRequest> all);

std::string request_list_to_text(const RequestList& list);
/// Errors: text that request_list_to_text() does not write.
Result<RequestList> request_list_from_text(std::string_view text);

}  // namespace green
