// A connection that has left HTTP: its bytes to and from a protocol, what is unsent, time limits,
// and how it ends. Part of the Connection, which owns it. Loop thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "daemon/http/output_queue.h"
#include "daemon/http/upgraded.h"

namespace green::http {

class Connection;

/// The request that led to an upgrade, as far as anybody asks for it later.
struct UpgradeOrigin {
  std::string path;    ///< its beginning
  std::string client;  ///< empty: a unix socket's
};

class UpgradedConnection final : public UpgradedTransport {
 public:
  /// `output`: what is unsent before it. `connection` outlives it.
  UpgradedConnection(Connection& connection, OutputQueue output, UpgradeOrigin origin)
      : connection_(connection), output_(std::move(output)), origin_(std::move(origin)) {}
  const UpgradeOrigin& origin() const { return origin_; }

  void set_protocol(std::unique_ptr<UpgradedProtocol> protocol) { protocol_ = std::move(protocol); }
  /// The exchange that led here is over: bytes may be read.
  void begin();
  void on_events(std::uint32_t events);
  void on_timeout();
  void pump();
  /// Whether go_away() would do something.
  bool can_go() const { return !is_going_ && !is_ending_; }
  void go_away();
  /// Lets go of the socket; false: the application still has the protocol, so the connection stays.
  bool let_go();

  // The protocol's side.
  Result<void> send(const Frame& frame) override;
  std::uint64_t unsent() const override { return output_.size(); }
  void read_on() override;
  void wait_for(UpgradedWait what) override;
  void end() override;
  void released() override;

 private:
  bool receive();
  void flush();
  void note_progress(std::uint64_t sent_before);
  void note_all_taken();
  void start_wait();

  Connection& connection_;
  OutputQueue output_;
  const UpgradeOrigin origin_;
  std::unique_ptr<UpgradedProtocol> protocol_;
  UpgradedWait awaited_ = UpgradedWait::nothing;
  bool is_going_ = false;
  bool is_ending_ = false;
};

}  // namespace green::http
