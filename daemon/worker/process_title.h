// What ps and top show of this process. Before threads start, and after forks; main thread.
#pragma once

#include <string_view>

namespace green::worker {

/// Remembers where the kernel reads the command line. Moves the environment out of the way to make
/// room: call first in main(). /proc/PID/environ is blank from then on.
void prepare_process_title(int argc, char** argv);

/// Truncated to the room there is. Without prepare_process_title(): the thread's short name alone.
void set_process_title(std::string_view title);

}  // namespace green::worker
