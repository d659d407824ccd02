// The seam between a connection that has left HTTP by a 101 and who speaks on it from then on. Loop
// thread.
#pragma once

#include <cstdint>
#include <string_view>

#include "common/result.h"
#include "daemon/http/response_writer.h"

namespace green::http {

/// What a protocol waits for, each with a time limit of its own.
enum class UpgradedWait {
  nothing,
  traffic,  ///< anything from the client: the interval of pings
  answer,   ///< to a ping
  close,    ///< the client's part of the closing
};

/// The connection's side. The protocol may call it at any time until released().
class UpgradedTransport {
 public:
  /// Sends at once what the socket takes and keeps the rest. ErrorCode::unavailable: the client is
  /// gone, and lost() was told.
  virtual Result<void> send(const Frame& frame) = 0;
  virtual std::uint64_t unsent() const = 0;
  /// wants_input() turned true: goes on with what is there, on the next turn.
  virtual void read_on() = 0;
  /// The time limit that runs from here on, anew. That on unsent bytes comes first.
  virtual void wait_for(UpgradedWait what) = 0;
  /// What is unsent still goes out, then the connection is closed, as a reply's is.
  virtual void end() = 0;
  /// is_in_use() turned false.
  virtual void released() = 0;

 protected:
  ~UpgradedTransport() = default;
};

class UpgradedProtocol {
 public:
  virtual ~UpgradedProtocol() = default;
  virtual bool wants_input() const = 0;
  /// Some of the client's bytes; returns those that it does not take while it wants no input.
  virtual std::string_view take(std::string_view input) = 0;
  /// The client took some of what was unsent.
  virtual void output_taken() = 0;
  /// The client's side is at its end, or the connection broke. Nothing can be sent any more.
  virtual void lost() = 0;
  virtual void time_is_over(UpgradedWait what) = 0;
  /// The server drains: ends it in its own way.
  virtual void go_away() = 0;
  /// The application still has it: it must not be destroyed.
  virtual bool is_in_use() const = 0;
};

}  // namespace green::http
