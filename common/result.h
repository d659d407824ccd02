// Errors of green: `Result<T>` holds a value or an `Error` (a code to branch on, a sentence for a
// person). No thread or process affinity.
//
// Doctrine: what a caller can handle travels as Result; exceptions stay inside the library edge
// that throws them; bad input from outside (network, configuration, D-Bus, application) is never an
// assert.
#pragma once

#include <expected>
#include <string>
#include <string_view>
#include <utility>

namespace green {

enum class ErrorCode {
  system,         ///< a system call failed; the message ends in strerror text
  configuration,  ///< the operator's settings are wrong: retrying changes nothing (EX_CONFIG)
  application,    ///< the application failed (import, factory, start-up): a retry may help
  protocol,       ///< a peer broke the agreed protocol
  not_found,
  denied,
  busy,
  timed_out,
  unavailable,  ///< the peer (bus, daemon, worker) is not there
  cancelled,
};

class Error {
 public:
  Error(ErrorCode code, std::string message) : code_(code), message_(std::move(message)) {}

  /// From errno: "what: strerror(errno_value)". `errno_value` defaults to the current errno.
  static Error from_errno(std::string_view what);
  static Error from_errno(std::string_view what, int errno_value);

  ErrorCode code() const { return code_; }
  /// errno of a `system` error, else 0.
  int errno_value() const { return errno_value_; }
  /// The whole chain in one line: "outer: inner: cause".
  const std::string& message() const { return message_; }

  /// Puts what was being done in front: "reading /etc/green/a.toml: No such file or directory".
  Error context(std::string_view doing) && {
    message_.insert(0, ": ");
    message_.insert(0, doing);
    return std::move(*this);
  }

 private:
  ErrorCode code_;
  int errno_value_ = 0;
  std::string message_;
};

template <typename T = void>
using Result = std::expected<T, Error>;

inline std::unexpected<Error> fail(ErrorCode code, std::string message) {
  return std::unexpected(Error(code, std::move(message)));
}
inline std::unexpected<Error> fail(Error error) { return std::unexpected(std::move(error)); }
/// Fails with the current errno.
std::unexpected<Error> fail_errno(std::string_view what);

}  // namespace green
