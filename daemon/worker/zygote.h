// The zygote: starts the interpreter, imports the application, and then only forks workers, one a
// fork_worker message. Main thread of a green-worker process; in each worker it forks, run() goes
// on as that worker.
//
// preload = "auto" and an import that left threads or connections: forking from here would copy
// locks that nobody will release, and two workers would share one connection. The process then
// executes itself again, which no thread or descriptor survives, keeps its pid and its channel, and
// as a fresh zygote imports nothing: each worker imports for itself. The spec waits for the new
// program in the buffer of a socket pair, so that it reads it as it would from greend.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/fd.h"
#include "common/result.h"
#include "daemon/worker/site_process.h"

namespace green::worker {

/// Where a zygote that executed itself again finds its spec.
inline constexpr int respawn_spec_fd = 4;
/// The argument that says that it did.
inline constexpr std::string_view respawn_argument = "--workers-import";

/// The process as it was before the site's settings were applied, for executing it again.
struct OriginalProcess {
  std::vector<std::string> arguments;
  std::vector<std::string> environment;
  Fd working_folder;
  mode_t umask = 0;
};

class Zygote {
 public:
  /// `spec_channel`: where the spec waits, if not on `channel`: then workers import for themselves.
  Zygote(Fd channel, Fd spec_channel, OriginalProcess original);

  /// Until the channel closes. Returns an exit status: the zygote's or, in a worker, the worker's.
  int run();

 private:
  enum class ImportIn { zygote, workers };

  Result<SiteProcess> receive_spec();
  std::expected<void, python::LoadFailure> load();
  /// Only returns on failure.
  Result<void> respawn(const std::string& warning);
  Result<void> stash_spec(int channel, const std::string& warning);
  int serve();
  /// In the worker: its exit status. In the zygote: nothing.
  std::optional<int> fork_worker(std::uint32_t slot, Fd worker_channel);
  /// 0 in the worker; its pid in the zygote.
  Result<pid_t> fork_twice();

  Fd channel_;
  Fd spec_channel_;
  OriginalProcess original_;
  ImportIn import_in_ = ImportIn::zygote;
  std::string warning_;                   ///< for greend to log
  std::unique_ptr<SiteProcess> process_;  ///< set once the spec was read
};

}  // namespace green::worker
