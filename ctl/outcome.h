// What a verb ends in: a value, or a sentence for stderr with the exit status that tells the truth.
#pragma once

#include <expected>
#include <string>
#include <utility>

#include "common/names.h"

namespace green::ctl {

struct Failure {
  ExitStatus status;
  std::string message;
};

template <typename T = void>
using Outcome = std::expected<T, Failure>;

inline std::unexpected<Failure> fail_with(ExitStatus status, std::string message) {
  return std::unexpected(Failure{status, std::move(message)});
}

}  // namespace green::ctl
