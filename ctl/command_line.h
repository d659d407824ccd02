// greenctl as a function: arguments in, two streams and an exit status out.
#pragma once

#include <ostream>
#include <string>
#include <vector>

#include "common/names.h"

namespace green::ctl {

struct Streams {
  std::ostream& out;
  std::ostream& err;
  bool has_colour = false;
  bool err_is_terminal = false;  ///< then progress is shown there
  bool out_is_terminal = false;  ///< then what is long is shown by a pager
};

/// `default_bus`: what --bus says when it is not given.
ExitStatus run_greenctl(const std::vector<std::string>& arguments, const std::string& default_bus,
                        const Streams& streams);

}  // namespace green::ctl
