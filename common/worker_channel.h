// The SOCK_SEQPACKET channel between greend and a zygote or worker: fixed messages, descriptors by
// SCM_RIGHTS, the sender's pid by SCM_CREDENTIALS. One thread at each end.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/fd.h"
#include "common/result.h"
#include "common/worker_spec.h"

namespace green {

/// Most descriptors one message carries (the kernel's own limit, SCM_MAX_FD).
inline constexpr std::size_t channel_maximum_descriptors = 253;

struct ReceivedMessage {
  Message message;
  std::vector<Fd> descriptors;
  pid_t sender = 0;  ///< as the kernel saw it; 0 when unknown
};

/// Both ends, close-on-exec; `first` (the manager's) is non-blocking and reports senders' pids.
Result<std::pair<Fd, Fd>> make_channel();

/// Never blocks on a non-blocking end: a full channel is an error (EAGAIN).
Result<void> send_message(int channel, const Message& message,
                          std::span<const int> descriptors = {});

/// nullopt: the peer is gone. On a non-blocking end with nothing to read: error with EAGAIN.
/// A message of the wrong size is ErrorCode::protocol.
Result<std::optional<ReceivedMessage>> receive_message(int channel);

/// A sealed memfd that holds `text`; for MessageTypes with a text.
Result<Fd> make_text_memfd(const char* name, std::string_view text);
/// Reads at most `limit` bytes from the start of a descriptor; its file offset is not used.
Result<std::string> read_text(int fd, std::size_t limit = 1U << 20);

}  // namespace green
