// Authority: who may do what over the bus. Asks the bus who a caller is and polkit whether it may,
// on a connection of its own and without waiting for either. greend's thread.
//
// Application code never may, whatever its user and whatever polkit says: a process that descends
// from greend is refused, and on the system bus so is the user that the site runs as.
#pragma once

#include <systemd/sd-bus.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "daemon/manager/event_loop.h"

namespace green::manager {

/// What a call needs.
enum class Access {
  change,   ///< root, or whom polkit lets
  inspect,  ///< root and group green-admin: request lines may tell of users
};

struct AccessQuestion {
  Access access = Access::change;
  std::string sender;  ///< the caller's unique name
  std::string member;  ///< "Reload", for the log
  std::string action;  ///< polkit's; of a change
  bool may_ask_user = false;
};

struct Verdict {
  bool is_allowed = false;
  std::string who;     ///< "uid 0, process 4711 (greenctl)"
  std::string reason;  ///< why not, for the caller
};

class Authority {
 public:
  using Answer = std::function<void(const Verdict&)>;

  /// `bus`: "system", or another one, where there is no polkit and greend's own user may change.
  Authority(EventLoop& loop, std::string bus, std::string site);
  /// Questions under way are dropped unanswered.
  ~Authority() = default;
  Authority(const Authority&) = delete;
  Authority& operator=(const Authority&) = delete;

  /// Answers once, later. More questions at a time than a caller should have, and polkit bear, are
  /// refused; root, whom polkit is not asked about, is not kept out by those of others.
  void ask(AccessQuestion question, Answer answer);

 private:
  struct CloseUnref {
    void operator()(sd_bus* bus) const { sd_bus_close_unref(bus); }
  };
  struct SlotUnref {
    void operator()(sd_bus_slot* slot) const { sd_bus_slot_unref(slot); }
  };
  struct Pending {
    Authority* authority;
    std::uint64_t number;
    AccessQuestion question;
    Answer answer;
    std::string who;
    std::optional<std::uint32_t> user;  ///< of whom polkit is being asked
    std::unique_ptr<sd_bus_slot, SlotUnref> call;
  };

  int connect();
  std::ptrdiff_t count(const std::function<bool(const Pending&)>& counts) const;
  int ask_credentials(Pending& pending);
  int ask_polkit(Pending& pending);
  void judge(Pending& pending, sd_bus_message* credentials);
  /// Logged, unless very many are.
  void note_denial(const Pending& pending, const std::string& reason);
  /// Ends it: `reason` empty allows.
  void settle(Pending& pending, const std::string& reason);
  static int on_credentials(sd_bus_message* reply, void* data, sd_bus_error* error);
  static int on_polkit(sd_bus_message* reply, void* data, sd_bus_error* error);
  static int on_message(sd_bus_message* message, void* data, sd_bus_error* error);

  EventLoop& loop_;
  const std::string bus_name_;
  const std::string site_;
  // Before the connection: their slots hold it.
  std::unique_ptr<sd_bus, CloseUnref> bus_;
  std::map<std::uint64_t, std::unique_ptr<Pending>> pending_;
  std::uint64_t last_number_ = 0;
  std::uint64_t denials_since_usec_ = 0;
  std::uint32_t denials_ = 0;
  EventSource reconnect_;
};

/// Whether process `pid` descends from `ancestor`, or is it. A process that can't be looked at is
/// somebody else's: it does not.
bool descends_from(pid_t pid, pid_t ancestor);

}  // namespace green::manager
