#include "common/result.h"

#include <cerrno>
#include <system_error>

namespace green {

Error Error::from_errno(std::string_view what) { return from_errno(what, errno); }

Error Error::from_errno(std::string_view what, int errno_value) {
  Error error(ErrorCode::system,
              std::string(what) + ": " + std::generic_category().message(errno_value));
  error.errno_value_ = errno_value;
  return error;
}

std::unexpected<Error> fail_errno(std::string_view what) {
  return std::unexpected(Error::from_errno(what, errno));
}

}  // namespace green
