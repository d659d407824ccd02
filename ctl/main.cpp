// greenctl: asks and steers running sites over D-Bus. One thread, one command, then it ends.
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <iostream>

#include "ctl/command_line.h"
#include "ctl/output.h"

int main(int argc, char** argv) {
  try {
    // A closed pipe is reported as a failed write, not as a death by signal.
    std::signal(SIGPIPE, SIG_IGN);
    const char* const bus = std::getenv(green::bus_environment_variable);
    return green::ctl::run_greenctl({argv + (argc > 0 ? 1 : 0), argv + argc},
                                    bus != nullptr && *bus != '\0' ? bus : "system",
                                    {std::cout, std::cerr, green::ctl::wants_colour(STDOUT_FILENO),
                                     ::isatty(STDERR_FILENO) == 1, ::isatty(STDOUT_FILENO) == 1});
  } catch (const std::exception& error) {
    std::fprintf(stderr, "greenctl: %s\n", error.what());
    return green::exit_failure;
  }
}
