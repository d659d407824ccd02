// SiteProcess: what a zygote has when it forks, and each worker after it. Main thread.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "common/fd.h"
#include "common/log.h"
#include "common/result.h"
#include "common/scoreboard.h"
#include "common/settings.h"
#include "common/worker_channel.h"
#include "common/worker_spec.h"
#include "daemon/worker/low_descriptors.h"
#include "python/runtime.h"

namespace green::worker {

struct SiteProcess {
  std::string site;
  std::uint64_t generation = 0;
  Settings settings;
  Scoreboard scoreboard;
  std::vector<Fd> listeners;
  LowDescriptors low_descriptors;
  std::unique_ptr<python::Runtime> runtime{};

  /// Of a `spec` message; every descriptor it keeps is a high one. `extra`: a descriptor that
  /// follows the listeners, if one does.
  static Result<SiteProcess> receive(ReceivedMessage received, Fd& extra);

  LogLevel maximum_log_level() const;
  /// In the place of the settings' own, for this process and what it forks.
  void set_log_level(LogLevel level);
  /// "green-worker: SITE generation 3"; without a site, its application stands in.
  std::string title() const;
};

/// Sends `message`; with a text that is not empty, as a memfd beside it.
Result<void> send_with_text(int channel, Message message, std::string_view text);
/// Reports why a start failed, as import_failed or start_failed.
Result<void> send_failure(int channel, MessageType type, std::uint32_t slot,
                          const python::LoadFailure& failure);
/// The exit status that says the same.
int exit_status_of(const python::LoadFailure& failure);

}  // namespace green::worker
