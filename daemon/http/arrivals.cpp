#include "daemon/http/arrivals.h"

#include <algorithm>

#include "daemon/http/socket_calls.h"

namespace green::http {

Arrivals::Read Arrivals::read(int socket, std::uint64_t turn) {
  if (turn_ != turn) used_ = 0;
  turn_ = turn;
  const auto room = std::min(bytes_.size() - used_, most_of_one);
  if (room < least_room) return {};
  char* const data = bytes_.data() + used_;
  const auto count = receive_now(socket, data, room);
  if (count <= 0) return {};
  const auto size = static_cast<std::size_t>(count);
  used_ += size;
  return {.bytes = {data, size}, .is_all = size < room};
}

}  // namespace green::http
