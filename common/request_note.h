// Which request a worker is at, in its scoreboard slot: for whoever has to explain its end. Written
// by the slot's worker, cheaply; greend reads what may be torn or anything at all.
#pragma once

#include <string>
#include <string_view>

#include "common/scoreboard.h"

namespace green {

/// The method and the path, as much as there is room for, and the client's address. Never the
/// query: it may hold secrets, and what is noted here ends in the log.
void note_request(ScoreboardSlot& slot, std::string_view method, std::string_view path,
                  std::string_view client = {});

/// "GET /report", fit for a line of the log; empty: none was noted.
std::string noted_request(const ScoreboardSlot& slot);
/// "192.0.2.1"; empty: of a unix socket.
std::string noted_client(const ScoreboardSlot& slot);

/// What came from a client, for a line of the log or of a list: valid UTF-8 without control
/// characters.
std::string fit_for_a_line(std::string_view text);

}  // namespace green
